"""Whether a raster could not be read because of the disk, the network or the system, and not because of its content."""

from __future__ import annotations

import errno
import os
import re
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path

from geoseg.errors import RasterError, UnavailableError
from geoseg.raster.names import REMOTE, without_secrets

_REMOTE = (*REMOTE, "/vsi")
_REFUSED = re.compile(r"HTTP (response|error) code\s*:\s*(401|403|404|410)\b|AccessDenied|NoSuchKey|NoSuchBucket")
# Of a file behind an address, libtiff reports fewer bytes than expected where the server does not answer.
_NO_ANSWER = re.compile(
    r"HTTP|CURL|timed? ?out|[Rr]ead error|got \d+ bytes|Connection|Could not resolve|Request for .* failed"
)
_SERVER_TIMEOUT = 15  # s
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


def check_server(address: str) -> None:
    """Ask a server for the first byte of a raster that no driver opens, whose errors do not name the cause.

    The parameters and errors are those of `remote_state`.
    """
    remote_state(address)


def remote_state(address: str) -> dict[str, str]:
    """Return what a server states of the content of a raster: its length, ETag and time of change, where it does.

    Parameters
    ----------
    address : str
        http:// or https://. Nothing is asked for another, and nothing is returned.

    Returns
    -------
    dict of str to str
        `size` in bytes, `etag` and `last_modified`; what the server does not state is left out.

    Raises
    ------
    RasterError
        If the server refuses the request.
    UnavailableError
        If it does not answer, or fails.
    """
    if not address.startswith(("http://", "https://")):
        return {}
    from urllib.error import HTTPError, URLError  # takes 50 ms, and few scenes are behind an address
    from urllib.request import Request, urlopen

    shown = without_secrets(address)
    try:
        with urlopen(Request(address, headers={"Range": "bytes=0-0"}), timeout=_SERVER_TIMEOUT) as answer:
            answer.read(1)
            headers = answer.headers
    except HTTPError as err:
        answered = f"the server of {shown} answers {err.code} {err.reason}"
        if err.code >= HTTPStatus.INTERNAL_SERVER_ERROR or err.code == HTTPStatus.TOO_MANY_REQUESTS:
            raise UnavailableError(f"{answered}. Try again later.") from err
        raise RasterError(f"{answered}. Check the address and the permission to read it.") from err
    except (OSError, HTTPException) as err:
        reason = err.reason if isinstance(err, URLError) else err
        raise UnavailableError(
            f"the server of {shown} does not answer: {reason}. Check the address and the connection."
        ) from err
    # Of a part, as was asked for: "bytes 0-0/1234". A server without parts states the length of the whole.
    size = (headers["Content-Range"] or "").rpartition("/")[2] or headers["Content-Length"]
    stated = {"size": size, "etag": headers["ETag"], "last_modified": headers["Last-Modified"]}
    return {name: value for name, value in stated.items() if value}


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
