"""Where a result comes from: the input and the versions of everything that made it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

from geoseg import __version__

_SAMPLED_BYTES = 64 * 1024
_PACKAGES = "numpy scipy scikit-image scikit-learn numba torch rasterio shapely geopandas pyogrio pyarrow dask"


def fingerprint(paths: list[str]) -> dict[str, dict[str, Any]]:
    """Return what tells whether the input is still the same, without reading all of it.

    By file name, so that a scene may move with its run folder: size in bytes, mtime_ns, and a blake2b digest of the
    first and last 64 KiB. A URL or a file that is not there is under its full name, with nothing.
    """
    prints: dict[str, dict[str, Any]] = {}
    for path in paths:
        is_local = Path(path).is_file()
        # Two files of one name in different folders: the later ones stay apart under their full names.
        name = path if not is_local or Path(path).name in prints else Path(path).name
        prints[name] = _file_print(Path(path)) if is_local else {}
    return prints


def versions() -> dict[str, str]:
    """Return the versions of Python, geoseg and the packages that results depend on; absent ones are left out."""
    found = {"geoseg": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES.split():
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    with suppress(ImportError):
        import rasterio  # here, because workers that only get and put do not need GDAL

        found["GDAL"] = rasterio.__gdal_version__
    return found


def _file_print(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        digest = hashlib.blake2b(file.read(_SAMPLED_BYTES), digest_size=16)
        file.seek(max(status.st_size - _SAMPLED_BYTES, 0))
        digest.update(file.read(_SAMPLED_BYTES))
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "blake2b": digest.hexdigest()}
