"""Provenance of results: fingerprints of the input files and versions of the software."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import shlex
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from geoseg import __version__
from geoseg.errors import RasterError, UnavailableError
from geoseg.raster.availability import remote_state
from geoseg.raster.names import BUCKETS, REMOTE, without_secrets

_PACKAGES = "numpy scipy scikit-image scikit-learn numba torch rasterio shapely geopandas pyogrio pyarrow dask"
_RESULT_PACKAGES = ("numpy", "scipy", "scikit-image", "scikit-learn", "numba", "torch", "rasterio", "shapely", "GDAL")


def fingerprint(paths: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the digests of input files, which are read completely.

    Parameters
    ----------
    paths : iterable of str
        Local files or URLs.

    Returns
    -------
    dict of str to dict
        File name → `size` in bytes and `blake2b`, a digest of the content. The folder is not included, so that a scene
        can be moved. A URL without its query → what `remote_state` returns of it, and of an object in a bucket what
        `bucket_state` does. Missing files → an empty dict.

    Raises
    ------
    RasterError
        If a file cannot be read.
    UnavailableError
        If a server does not answer.
    """
    fingerprints: dict[str, dict[str, Any]] = {}
    for path in dict.fromkeys(paths):
        is_local = Path(path).is_file()
        # Of two files with the same name in different folders, the second is listed with its full name.
        name = path if not is_local or Path(path).name in fingerprints else Path(path).name
        fingerprints[without_secrets(name)] = _file_fingerprint(Path(path)) if is_local else _remote_fingerprint(path)
    return fingerprints


def _remote_fingerprint(address: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = dict(remote_state(address))
        if address.startswith(BUCKETS):
            from geoseg.raster.bucket import bucket_state  # here, so that the module can be imported without GDAL

            found = dict(bucket_state(address))
    except UnavailableError:
        raise
    except RasterError:  # GDAL may have credentials that are not known here
        found = {}
    query = address.partition("?")[2]
    if query and "etag" not in found:  # otherwise the query may change, as that of a signed address does
        found["query"] = hashlib.blake2b(query.encode(), digest_size=16).hexdigest()
    return found


def source_of(scene: str, command: str | None) -> dict[str, str]:
    """Return what a result states of its origin: the scene, the version of geoseg and the command.

    Parameters
    ----------
    scene : str
        File, of which the name is returned, or address, which is returned without keys.
    command : str or None
        From `command_line`; None = called from Python.
    """
    name = without_secrets(scene) if scene.startswith(REMOTE) else Path(scene).name
    return {"scene": name, "geoseg": __version__, "command": command or "called from Python"}


def command_line(words: Iterable[str]) -> str:
    """Return a command without what its reader need not know: folders of absolute paths, and keys in addresses.

    Parameters
    ----------
    words : iterable of str
        The arguments of geoseg.

    Examples
    --------
    >>> command_line(["tile", "https://host.example/scene.tif?key=1", "--out=/home/me/labels.gpkg", "--classes", "8"])
    'geoseg tile https://host.example/scene.tif --out=labels.gpkg --classes 8'
    """
    return shlex.join(["geoseg", *map(_without_place, words)])


def _without_place(word: str) -> str:
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if "://" in value:
        value = without_secrets(value)
    else:
        for path in (PurePosixPath(value), PureWindowsPath(value)):
            value = path.name if path.is_absolute() else value
    return option + equals + value


def result_versions() -> dict[str, str]:
    """Return the versions on which results depend, without the patch level of Python and local parts as in 2.4+cpu."""
    found = versions()
    short = {name: found[name].partition("+")[0] for name in _RESULT_PACKAGES if name in found}
    return short | {"python": ".".join(found["python"].split(".")[:2])}


def versions() -> dict[str, str]:
    """Return the versions of Python, geoseg and the packages on which results depend, if they are installed."""
    found = {"geoseg": __version__, "python": platform.python_version(), "platform": platform.platform()}
    found |= _installed()
    with suppress(ImportError):
        import rasterio  # here, so that the module can be imported without GDAL

        found["GDAL"] = rasterio.__gdal_version__
    return found


@functools.cache  # reading them takes 60 ms
def _installed() -> dict[str, str]:
    """Return the versions of `_PACKAGES` that are installed."""
    found = {}
    for package in _PACKAGES.split():
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _file_fingerprint(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
            return {"size": os.fstat(file.fileno()).st_size, "blake2b": digest.hexdigest()}
    except OSError as err:
        raise RasterError(
            f"{path} cannot be read: {err.strerror or err}. Repair it, or copy it to another disk."
        ) from err
