"""All that differs between operating systems: flushes, renames, locks, processes, signals, limits, names of files.

Nothing here needs POSIX. Where a call is missing or refused, as on Windows, another one is used, or the result is None.
The other modules of geoseg call nothing that exists on some systems only.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import re
import signal
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)  # SIGHUP is not on Windows, SIGBREAK (Ctrl-Break) only there

# EINVAL: Windows, for "incorrect function".
_NO_HARD_LINKS = ("EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK", "EXDEV", "EINVAL")
NO_HARD_LINKS = tuple(getattr(errno, name) for name in _NO_HARD_LINKS if hasattr(errno, name))

_RENAME_SECONDS = 2.0  # for which a virus scanner or an indexer may hold a file open on Windows
_SHARED_LOCKS = 1024  # processes that can share a lock on Windows
_LOCK_OFFSET = 1 << 30  # byte; locked bytes cannot be read on Windows, and messages read the beginning of the file
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r'[<>:"|?*\\]')


def is_windows() -> bool:
    """Return whether this is Windows: for rules of its file names alone. What a call can do is found by calling it."""
    return sys.platform == "win32"


def flush_file(path: Path) -> None:
    """Flush the content of a file to the disk.

    Raises
    ------
    OSError
        If that fails.
    """
    try:
        handle = os.open(path, os.O_RDWR)  # Windows flushes no file that is open for reading
    except PermissionError:
        handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_folder(path: Path) -> None:
    """Flush the entries of a folder to the disk, where the system supports it; Windows opens no folder."""
    # Not an error: if a power failure undoes the rename, the file is merely absent.
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def replace_file(source: Path, target: Path) -> None:
    """Rename a file; a file that has the other name is replaced.

    Raises
    ------
    OSError
        If that fails: on Windows also while another program has one of them open, after some attempts.
    """
    deadline = time.monotonic() + _RENAME_SECONDS
    while True:
        try:
            source.replace(target)
        except PermissionError:
            if not is_windows() or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@functools.lru_cache(maxsize=256)
def folds_case(folder: Path) -> bool:
    """Return whether names that differ in case alone are one file, as on most disks of Windows and macOS.

    Parameters
    ----------
    folder : Path
        An existing folder; it is found by its own name, and nothing is written.
    """
    path = folder.resolve()
    for each in (path, *path.parents):
        other = each.with_name(each.name.swapcase()) if each.name else each
        if other.name != each.name:
            try:
                return other.samefile(each)
            except OSError:
                return False
    return False


def file_key(path: Path) -> str:
    """Return a text that is equal for two paths of the same file, whether it exists or not."""
    resolved = path.resolve()
    existing = next((parent for parent in resolved.parents if parent.is_dir()), resolved)
    return str(resolved).casefold() if folds_case(existing) else str(resolved)


def name_refused(name: str) -> str | None:
    """Return why Windows refuses the name of a file; None on another system, or if it does not.

    Examples
    --------
    >>> windows_problem("labels.gpkg"), windows_problem("aux.tif"), windows_problem("a:b.tif")
    (None, 'is the name of a device of Windows', "contains ':', which Windows does not allow")
    """
    return windows_problem(name) if is_windows() else None


def windows_problem(name: str) -> str | None:
    """Return why Windows refuses the name of a file, see `name_refused`."""
    if found := _NOT_IN_NAMES.search(name):
        return f"contains {found[0]!r}, which Windows does not allow"
    if _DEVICES.match(name):
        return "is the name of a device of Windows"
    return "ends in a dot or a space, which Windows removes" if name[-1:] in (".", " ") else None


def lock(file: io.FileIO, *, shared: bool) -> None:
    """Lock an open file until it is closed.

    Parameters
    ----------
    file : io.FileIO
    shared : bool
        Whether other processes may hold the lock too, if they share it.

    Raises
    ------
    BlockingIOError
        If another process, or another file object of this one, holds the lock.
    OSError
        If the file system has no locks.
    """
    try:
        import fcntl  # not on Windows
    except ImportError:
        _lock_bytes(file, shared=shared)
    else:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def remove_locked(file: io.FileIO, path: Path) -> None:
    """Remove a file whose lock this process holds, and close it."""
    with suppress(OSError):
        try:
            path.unlink(missing_ok=True)  # while it is held, so that nobody else holds it
        except PermissionError:  # Windows removes no open file, and none that another process has opened since
            file.close()
            path.unlink(missing_ok=True)
    file.close()


def end_process(pid: int) -> None:
    """End a process at once, if it exists."""
    with suppress(OSError):
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # any signal ends a process on Windows


def can_fork() -> bool:
    """Return whether a process may fork after it has loaded libraries: on Linux. Those of macOS do not allow it."""
    return sys.platform == "linux" and hasattr(os, "fork")


def may_have_gpu(devices: Path = Path("/dev")) -> bool:
    """Return whether there may be a GPU for torch. Importing torch, which knows for certain, takes seconds.

    On Linux the drivers of NVIDIA, of its Jetson boards, of AMD and of Windows' subsystem have device files.
    """
    names = ("nvidia*", "nvhost*", "nvmap", "kfd", "dxg")
    return sys.platform != "linux" or any(next(devices.glob(name), None) is not None for name in names)


def is_running(pid: int) -> bool:
    """Return whether a process of this machine exists."""
    import psutil  # `os.kill` with signal 0 interrupts processes on Windows

    return bool(psutil.pid_exists(pid))


@contextmanager
def inherited_mask(before: Any = None) -> Iterator[None]:
    """Block the stop signals until the end, and for good in processes that are started meanwhile.

    On Windows, which has no masks of signals, nothing happens.

    Parameters
    ----------
    before : callable or None
        Called when only SIGHUP is blocked.
    """
    with ExitStack() as stack:
        if hasattr(signal, "pthread_sigmask"):
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
            stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
            if before is not None:
                before()
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        yield


def address_space_limit() -> int | None:
    """Return the limit of the address space of this process in bytes; None = there is none, or it is unknown."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def peak_memory() -> int | None:
    """Return the largest memory of this process so far in bytes; None where the system does not report it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def reserve_space(file: IO[bytes], n_bytes: int) -> None:
    """Extend an empty file to a number of bytes, all 0, for which there is space on the disk.

    Raises
    ------
    OSError
        If there is not.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        except OSError as err:
            if err.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise  # otherwise the file system does not reserve space
        else:
            return
    zeros = bytes(min(n_bytes, 2**20))  # also macOS and Windows
    for begin in range(0, n_bytes, 2**20):
        file.write(zeros[: n_bytes - begin])
    file.flush()


def n_usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_read_only(folder: Path) -> bool:
    """Return whether a folder is on a read-only file system; False where that is not known."""
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _lock_bytes(file: io.FileIO, *, shared: bool) -> None:
    """Lock bytes beyond the end of a file: one of them if the lock is shared, otherwise all."""
    try:
        import msvcrt
    except ImportError as err:
        raise OSError(errno.ENOTSUP, "this system has no locks on files") from err
    module: Any = msvcrt  # its types are those of Windows alone
    for first in range(_SHARED_LOCKS) if shared else (0,):
        file.seek(_LOCK_OFFSET + first)
        try:
            module.locking(file.fileno(), module.LK_NBLCK, 1 if shared else _SHARED_LOCKS)
        except PermissionError:
            continue
        finally:
            file.seek(0)
        return
    raise BlockingIOError(errno.EAGAIN, "the file is locked")
