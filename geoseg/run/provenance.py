"""Provenance of results: fingerprints of the input files and versions of the software."""

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
    """Return fingerprints that show whether input files have changed, without reading them completely.

    Parameters
    ----------
    paths : list of str
        Local files or URLs.

    Returns
    -------
    dict of str to dict
        File name → `size` in bytes, `mtime_ns`, and `blake2b`, a digest of the first and last 64 KiB. The folder is not
        included, so that a scene can be moved. URLs and missing files have their full name and an empty dict.
    """
    fingerprints: dict[str, dict[str, Any]] = {}
    for path in paths:
        is_local = Path(path).is_file()
        # Of two files with the same name in different folders, the second is listed with its full name.
        name = path if not is_local or Path(path).name in fingerprints else Path(path).name
        fingerprints[name] = _file_fingerprint(Path(path)) if is_local else {}
    return fingerprints


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
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        digest = hashlib.blake2b(file.read(_SAMPLED_BYTES), digest_size=16)
        file.seek(max(status.st_size - _SAMPLED_BYTES, 0))
        digest.update(file.read(_SAMPLED_BYTES))
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "blake2b": digest.hexdigest()}
