"""Locks on compiled functions: of several processes that need one, one compiles it and the others load it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geoseg.output.system import lock, remove_locked
from geoseg.segment.compiled import compile_once

_MOST_SECONDS = 120.0  # then the function is compiled here too: the other process may have been stopped
_PAUSE = 0.05  # s


def share_compilation() -> None:
    """Let this process wait for others that compile the function which it needs, see `compiled.compile_once`."""
    compile_once(wait_for_lock)


def dask_setup(_worker: Any) -> None:
    """Do the same in a worker that preloads this module; Dask calls it."""
    share_compilation()


def wait_for_lock(path: str) -> Callable[[], None]:
    """Wait until no other process has the lock of a file, and return how to release it.

    Where the file cannot be written or has no locks, and after two minutes, nothing is locked.
    """
    deadline = time.monotonic() + _MOST_SECONDS
    while True:
        try:
            file = io.FileIO(path, "a")
        except OSError:
            return _nothing
        try:
            lock(file, shared=False)
        except BlockingIOError:
            file.close()
            if time.monotonic() > deadline:
                return _nothing
            time.sleep(_PAUSE)
        except BaseException as err:
            file.close()
            if isinstance(err, OSError):
                return _nothing
            raise
        else:
            return lambda: remove_locked(file, Path(path))


def _nothing() -> None:
    """Release no lock."""
