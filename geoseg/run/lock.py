"""Locks on files: one run at a time uses a run folder, and one at a time writes an output."""

from __future__ import annotations

import io
import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from geoseg.errors import RunError
from geoseg.output.files import writing
from geoseg.output.system import lock as lock_now
from geoseg.output.system import remove_locked

_log = logging.getLogger(__name__)

_ATTEMPTS, _PAUSE = 4, 0.05  # s
LOCK_SUFFIX = ".geoseg-lock"  # of the locks on outputs


def lock_file(path: Path, *, what: str, advice: str, shared: bool = False) -> io.FileIO:
    """Lock a file until it is closed or this process ends, and write to it who holds the lock.

    Parameters
    ----------
    path : Path
        Created if it does not exist.
    what : str
        What the lock protects, for messages.
    advice : str
        The last part of the message if it is locked.
    shared : bool
        Whether other processes may hold it too, if they share it.

    Raises
    ------
    RunError
        If another process, or another file object of this one, holds the lock.
    OutputError
        If the file cannot be created.
    """
    while True:
        with writing(path.parent):
            lock = io.FileIO(path, "a+")
        try:
            _acquire(lock, what, advice, shared=shared)
        except BaseException:
            lock.close()
            raise
        if _is_at(lock, path):
            break
        lock.close()  # the holder before has removed the file meanwhile
    with suppress(OSError):  # only used in messages
        lock.truncate(0)
        lock.write(f"{process_name()}\n".encode())
    return lock


def process_name() -> str:
    """Return how messages name this process."""
    return f"process {os.getpid()} on {socket.gethostname()}"


@contextmanager
def locked_outputs(paths: Iterable[Path]) -> Iterator[None]:
    """Hold a lock beside each output, so that two runs never write the same file; removed at the end.

    Raises
    ------
    RunError
        If another run writes one of them.
    OutputError
        If a lock cannot be created.
    """
    with ExitStack() as stack:
        for path in sorted({path.resolve() for path in paths}):
            lock_path = path.with_name(f".{path.name}{LOCK_SUFFIX}")
            lock = lock_file(lock_path, what=str(path), advice="wait for it, stop it, or choose another name.")
            stack.callback(remove_locked, lock, lock_path)
        yield


def holder_of(path: Path) -> str | None:
    """Return who holds the lock on a file, or None if nobody does; the lock is tried for a moment."""
    try:
        with _opened_to_try(path) as lock:
            for attempt in range(_ATTEMPTS):
                if attempt:
                    time.sleep(_PAUSE)  # another process may have tried it at the same moment
                with suppress(BlockingIOError):
                    lock_now(lock, shared=False)
                    return None
            return _holder(lock)
    except OSError:
        return None


def _opened_to_try(path: Path) -> io.FileIO:
    """Open a file without changing it; for writing where that is possible, as locks on network file systems need."""
    if not path.is_file():  # a pipe would be waited for
        raise FileNotFoundError(path)
    try:
        return io.FileIO(path, "r+")
    except OSError:
        return io.FileIO(path, "r")


def _holder(lock: io.FileIO) -> str:
    lock.seek(0)
    return lock.read(200).decode(errors="replace").strip() or "process unknown"


def _acquire(lock: io.FileIO, what: str, advice: str, *, shared: bool) -> None:
    try:
        for attempt in range(_ATTEMPTS):
            try:
                return lock_now(lock, shared=shared)
            except BlockingIOError as err:
                if attempt == _ATTEMPTS - 1:
                    raise RunError(f"another run uses {what} ({_holder(lock)}); {advice}") from err
                time.sleep(_PAUSE)  # `holder_of` holds it for a moment
    except OSError as err:  # for example a network file system without locks
        _log.warning("%s cannot be locked (%s); make sure that no other run uses it.", what, err)


def _is_at(lock: io.FileIO, path: Path) -> bool:
    """Return whether the locked file is still the one with this name."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False
