"""``python -m geoseg`` is the command ``geoseg``."""

from geoseg.cli import main

if __name__ == "__main__":
    main()
