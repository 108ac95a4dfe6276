"""``python -m geoseg`` is the command ``geoseg``."""

import os
import sys
import threading

_FAILED, _SIGNALLED, _INTERRUPTED = 1, 128, 130  # as shells report signals, and Ctrl-C


def start() -> None:
    """Run the command line in a process of its own, which ends without a traceback whatever happens."""
    try:
        from geoseg.cli.failures import is_memory_error
        from geoseg.cli.main import main
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except (ImportError, OSError, MemoryError) as err:
        reason = " ".join(f"{type(err).__name__}: {err}".split())
        sys.exit(f"geoseg: a package cannot be imported ({reason}). Install geoseg again: pip install geoseg")
    try:
        main()
    except SystemExit as end:
        if end.__cause__ is not None and is_memory_error(end.__cause__):
            os._exit(_FAILED)  # what the interpreter does at its end would lack memory too, and print tracebacks
        if isinstance(end.code, int) and end.code > _SIGNALLED and threading.active_count() > 1:
            os._exit(end.code)  # the interpreter would wait for the tiles that threads compute
        raise


if __name__ == "__main__":
    start()
