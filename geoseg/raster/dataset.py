"""Open raster files safely, and describe their grids."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rasterio
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from geoseg.errors import RasterError
from geoseg.grid import GeoBox, Window
from geoseg.raster.damage import DamageError, check_complete, damage_reported
from geoseg.raster.vrt import check_vrt

# Formats that contain their pixels. Others may refer to further files or addresses.
DRIVERS = ("GTiff", "JP2OpenJPEG", "JPEG", "PNG", "HFA", "ENVI")
_REMOTE = ("http://", "https://", "s3://")
_GDAL = {
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "15",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_CACHEMAX": 64,  # MB; each worker has its own cache, and a window is read once
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",  # of a file of format JPEG; see `damage` for JPEG blocks in others
}


@contextlib.contextmanager
def opened(path: str, *, reload: bool = False) -> Iterator[Any]:
    """Open a raster with GDAL's settings for as long as it is open, and return the rasterio dataset.

    Parameters
    ----------
    path : str
    reload : bool
        Close the files that `reading` keeps open. A member of a mosaic may have changed since the last run.

    Raises
    ------
    RasterError
        If the file is missing or unreadable.
    """
    if reload:
        _dataset.cache_clear()
    with rasterio.Env(**_GDAL), _open(path) as source:
        check_complete(source, path)
        yield source


@contextlib.contextmanager
def reading(path: str, window: Window) -> Iterator[Any]:
    """Return this thread's open rasterio dataset, to read a window of it.

    Raises
    ------
    RasterError
        If the file is missing; a DamageError if it is damaged in the window.
    """
    dataset = dataset_of(path)
    try:
        with rasterio.Env(**_GDAL), damage_reported() as messages:
            yield dataset
    except RasterioError as err:
        raise _unreadable(path, window, str(err.__cause__ or err)) from err
    if messages:
        _dataset.cache_clear()  # GDAL would return the damaged pixels from its cache, without a warning
        raise _unreadable(path, window, messages[0])


def dataset_of(path: str) -> Any:
    """Return this thread's open rasterio dataset; it stays open.

    Raises
    ------
    RasterError
        If the file is missing or unreadable.
    """
    return _dataset(path, _file_state(path), threading.get_ident())


def geobox_of(src: Any, path: str) -> GeoBox:
    """Return the grid of an open rasterio dataset.

    Raises
    ------
    RasterError
        If it has no CRS, no transform, or only ground control points.
    """
    _check_georeferencing(src, path)
    return GeoBox(src.shape, src.transform, _wkt(src, path))


def _unreadable(path: str, window: Window, reason: str) -> DamageError:
    return DamageError(f"{path} cannot be read at {window}: {' '.join(reason.split())}")


def _open(path: str) -> Any:
    failures = []
    for driver in _drivers(path):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)  # `_check_georeferencing` reports it
                return rasterio.open(path, driver=driver)
        except (RasterioError, OSError) as err:
            failures.append(" ".join(str(err).split()))
    raise RasterError(f"{path} cannot be opened as a raster: {failures[0]}")


def _drivers(path: str) -> list[str]:
    if path.startswith(_REMOTE):
        return list(DRIVERS)
    if not _file_state(path) or not Path(path).is_file():
        raise RasterError(f"there is no file {path}; give the path of a raster.")
    if Path(path).suffix.lower() == ".vrt":
        check_vrt(Path(path))
        return ["VRT"]
    return list(DRIVERS)


@functools.lru_cache(maxsize=8)  # one open file per worker thread; opening a mosaic for each tile would be slow
def _dataset(path: str, state: tuple[int, ...], thread: int) -> Any:  # noqa: ARG001
    """Return an open dataset, one per thread (GDAL datasets must not be shared) and per state of the file."""
    with rasterio.Env(**_GDAL):
        return _open(path)


def _file_state(path: str) -> tuple[int, ...]:
    """Return values that change when a file is rewritten, so that a long-lived worker does not read the old one."""
    try:
        found = Path(path).stat()
    except OSError:  # an address, or a missing file, which reading reports
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _check_georeferencing(src: Any, path: str) -> None:
    gcps, _ = src.gcps
    if src.transform.is_identity and gcps:
        raise RasterError(
            f"{path} is georeferenced by ground control points only, so its pixels form no regular grid in a CRS. "
            f"Warp it first: gdalwarp -tps {path} warped.tif"
        )
    if src.crs is None:
        raise RasterError(
            f"{path} has no CRS, so its polygons would have no location. "
            f"Set one first: gdal_edit.py -a_srs EPSG:<code> {path}"
        )
    if src.transform.is_identity:
        raise RasterError(
            f"{path} has a CRS but no transform. Set one first: "
            f"gdal_edit.py -a_ullr <left> <top> <right> <bottom> {path}"
        )
    if src.transform.determinant == 0:
        raise RasterError(
            f"{path} has pixels of zero area (transform {tuple(src.transform)[:6]}). "
            f"Set a valid one first: gdal_edit.py -a_ullr <left> <top> <right> <bottom> {path}"
        )


def _wkt(src: Any, path: str) -> str:
    try:
        wkt: str = src.crs.to_wkt()
        CRS(wkt)  # pyproj must be able to read it to write the polygons
    except (rasterio.errors.CRSError, CRSError) as err:
        raise RasterError(
            f"{path} has a CRS that cannot be read: {' '.join(str(err).split())} "
            f"Set another one: gdal_edit.py -a_srs EPSG:<code> {path}"
        ) from err
    return wkt
