"""Files as the system sees them: whether reading one ends, and whether it has changed."""

from __future__ import annotations

import os
from pathlib import Path


def regular_file(path: Path) -> Path:
    """Return a path that is no pipe, device or socket, so that reading it ends.

    Parameters
    ----------
    path : Path
        A path of nothing or of a folder is returned, too: reading it fails at once.

    Raises
    ------
    OSError
        If it is a pipe, a device or a socket.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(f"{path} is a pipe, a device or a socket, not a file")
    return path


def file_state(path: str | Path) -> tuple[int, ...]:
    """Return numbers that change when a file is written again; none if there is no such file, as at an address."""
    try:
        return _numbers(Path(path).stat())
    except (OSError, ValueError):  # a missing file or an impossible name, which reading reports
        return ()


def opened_state(path: Path) -> tuple[int, ...]:
    """Return what `file_state` does, of a file that other machines may write.

    A network file system may answer from what it knew of a file a minute ago, but asks the server when it is opened.
    """
    try:
        with regular_file(path).open("rb") as file:
            return _numbers(os.fstat(file.fileno()))
    except OSError:
        return ()


def _numbers(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
