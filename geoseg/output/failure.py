"""The cause of a failed write, as the system names it; the messages of libraries quote long statements."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

_FULL = 1 << 16  # bytes; a disk with less free space is full


def write_failure(err: BaseException, path: Path) -> str:
    """Return the reason why a file could not be written, without a full stop.

    Parameters
    ----------
    err : BaseException
        The error of the system or of a library.
    path : Path
        The file.

    Examples
    --------
    >>> write_failure(RuntimeError("INSERT INTO labels VALUES (1): database or disk is full"), Path("labels.gpkg"))
    'No space left on device'
    """
    if isinstance(err, OSError) and err.strerror:
        return err.strerror
    text = " ".join(str(err).split())
    with suppress(OSError):
        if "disk is full" in text or shutil.disk_usage(path.parent).free < _FULL:
            return os.strerror(errno.ENOSPC)
    return text
