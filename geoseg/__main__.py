"""``python -m geoseg`` is the command ``geoseg``."""

import sys

_INTERRUPTED = 130  # as shells report Ctrl-C


def start() -> None:
    """Run the command line; Ctrl-C before it is imported ends the process without a traceback."""
    try:
        from geoseg.cli.main import main
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    main()


if __name__ == "__main__":
    start()
