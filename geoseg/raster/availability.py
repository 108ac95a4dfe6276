"""Whether a raster could not be read because of the disk, the network or the system, and not because of its content."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from geoseg.errors import UnavailableError

_REMOTE = ("http://", "https://", "s3://", "/vsi")
_REFUSED = re.compile(r"HTTP (response|error) code\s*:\s*(401|403|404|410)\b|AccessDenied|NoSuchKey|NoSuchBucket")
# Of a file behind an address, libtiff reports fewer bytes than expected where the server does not answer.
_NO_ANSWER = re.compile(
    r"HTTP|CURL|timed? ?out|[Rr]ead error|got \d+ bytes|Connection|Could not resolve|Request for .* failed"
)
_SYSTEM = {
    os.strerror(number): number
    for number in (errno.EMFILE, errno.ENFILE, errno.EIO, errno.EACCES, errno.ENOENT, errno.ESTALE, errno.ETIMEDOUT)
}


def check_available(path: str, error: Exception) -> None:
    """Check, after an error of GDAL, that the raster itself can be reached and read.

    Parameters
    ----------
    path : str
        File or address.
    error : Exception
        The error, with those that caused it.

    Raises
    ------
    UnavailableError
        If it cannot; its cause is an `OSError` of the system. A file that is only damaged raises nothing.
    """
    message = _messages(error)
    cause = _remote_failure(message) if path.startswith(_REMOTE) else _local_failure(path, message)
    if cause is not None:
        reason = message if isinstance(cause, ConnectionError) else cause.strerror
        raise UnavailableError(f"{path} cannot be read at present: {reason}") from cause


def _remote_failure(message: str) -> OSError | None:
    if _REFUSED.search(message):
        return PermissionError(errno.EACCES, message)
    return ConnectionError(errno.ECONNABORTED, message) if _NO_ANSWER.search(message) else None


def _local_failure(path: str, message: str) -> OSError | None:
    try:
        with Path(path).open("rb", buffering=0) as file:
            file.read(1)
    except OSError as err:
        return err
    return next((OSError(number, text) for text, number in _SYSTEM.items() if text in message), None)


def _messages(error: BaseException) -> str:
    """Return the messages of an error and of its causes, in one line."""
    messages: list[str] = []
    one: BaseException | None = error
    while one is not None and len(messages) < 10:
        messages.append(" ".join(str(one).split()))
        one = one.__cause__ or one.__context__
    return "; ".join(dict.fromkeys(messages))[:600]
