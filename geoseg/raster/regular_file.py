"""Refuse pipes and devices in the place of files: a program that reads them may wait without end."""

from __future__ import annotations

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
