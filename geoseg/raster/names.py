"""File names that no file can have, found before a library raises one of many kinds of errors."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from geoseg.errors import RasterError

BUCKETS = ("s3://", "gs://", "az://")
REMOTE = ("http://", "https://", *BUCKETS)  # addresses; all else is a file

_MAX_PART, _MAX_PATH = 255, 4095  # bytes, of nearly all file systems
_MAX_ADDRESS = 8192
_SHOWN = 60  # characters of a name in a message


def name_problem(name: str) -> str | None:
    r"""Return what is wrong with the name of a file, whether it exists or not; None if nothing is.

    Examples
    --------
    >>> name_problem("scene.tif"), name_problem(""), name_problem("a\0b.tif")
    (None, 'is empty', 'contains a NUL character')
    >>> name_problem(300 * "x")
    'has a part of 300 bytes, and file systems allow 255'
    """
    if not name.strip():
        return "is empty"
    if "\0" in name:
        return "contains a NUL character"
    try:
        n_bytes = len(name.encode())
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if name.startswith(REMOTE):
        return f"has {n_bytes} bytes, which no server accepts" if n_bytes > _MAX_ADDRESS else None
    longest = max(len(part.encode()) for part in name.split("/"))
    if longest > _MAX_PART:
        return f"has a part of {longest} bytes, and file systems allow {_MAX_PART}"
    if n_bytes > _MAX_PATH:
        return f"has {n_bytes} bytes, and file systems allow {_MAX_PATH}"
    return None


def quoted(name: str) -> str:
    r"""Return a name as it stands in a message: in quotes, on one line, with escapes, and not too long.

    Examples
    --------
    >>> quoted("a\nb")
    "'a\\nb'"
    """
    return repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}…"


def check_input_name(name: str) -> None:
    """Check that a file can have this name.

    Raises
    ------
    RasterError
        If it is empty, too long, not valid UTF-8, or contains a NUL character.
    """
    problem = name_problem(name)
    if problem is not None:
        raise RasterError(f"the file name {quoted(name)} {problem}. Give the name of an existing file.")


def without_secrets(name: str) -> str:
    """Return an address without user, password, query and fragment, which may contain keys; any other name as it is.

    Examples
    --------
    >>> without_secrets("https://user:key@host.example:8443/a/scene.tif?token=key#part")
    'https://host.example:8443/a/scene.tif'
    >>> without_secrets("what?.tif")
    'what?.tif'
    """
    if "://" not in name:
        return name
    try:
        parts = urlsplit(name)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:  # no address that anybody can open
        return name.partition("?")[0].rpartition("@")[2]


def shown_name(name: str) -> str:
    """Return the name of a raster for titles and documents: without folders, and without the keys of an address.

    Examples
    --------
    >>> shown_name("/data/scene.tif"), shown_name("https://host.example/a/scene.tif?token=key")
    ('scene.tif', 'scene.tif')
    """
    return Path(without_secrets(name) if name.startswith(REMOTE) else name).name
