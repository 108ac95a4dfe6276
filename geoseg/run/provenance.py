"""Provenance of results: fingerprints of the input files and versions of the software."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.errors import RasterError

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
        can be moved. URLs and missing files have their full name and an empty dict.

    Raises
    ------
    RasterError
        If a file cannot be read.
    """
    fingerprints: dict[str, dict[str, Any]] = {}
    for path in dict.fromkeys(paths):
        is_local = Path(path).is_file()
        # Of two files with the same name in different folders, the second is listed with its full name.
        name = path if not is_local or Path(path).name in fingerprints else Path(path).name
        fingerprints[name] = _file_fingerprint(Path(path)) if is_local else {}
    return fingerprints


def result_versions() -> dict[str, str]:
    """Return the versions on which results depend, without the patch level of Python and local parts as in 2.4+cpu."""
    found = versions()
    short = {name: found[name].partition("+")[0] for name in _RESULT_PACKAGES if name in found}
    return short | {"python": ".".join(found["python"].split(".")[:2])}


def versions() -> dict[str, str]:
    """Return the versions of Python, geoseg and the packages on which results depend, if they are installed."""
    found = {"geoseg": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES.split():
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    with suppress(ImportError):
        import rasterio  # here, so that the module can be imported without GDAL

        found["GDAL"] = rasterio.__gdal_version__
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
