"""Open raster files safely, and describe their grids."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio._path import _parse_path  # rasterio has no public name for it
from rasterio.errors import NotGeoreferencedWarning

from geoseg.errors import RasterError, shorten
from geoseg.grid import GeoBox, Window
from geoseg.raster.availability import check_available, check_server
from geoseg.raster.damage import DamageError, check_complete, damage_reported
from geoseg.raster.ignored_warnings import ignored_warnings
from geoseg.raster.names import REMOTE, check_input_name
from geoseg.raster.placement import check_placement
from geoseg.raster.raster_file import Folders, check_raster
from geoseg.raster.regular_file import file_state
from geoseg.raster.tiff_header import check_block, check_references
from geoseg.raster.unreadable import GDAL_ERRORS, missing_file, unreadable
from geoseg.raster.vrt import read_vrt

# Formats that contain their pixels. Others may refer to further files or addresses.
DRIVERS = ("GTiff", "JP2OpenJPEG", "JPEG", "PNG", "HFA", "ENVI")
# Drivers that open addresses. GDAL obeys this when it is used for the first time in a process, and the checks of files
# do not depend on it.
_SKIPPED = "DAAS EEDA EEDAI HTTP PLMOSAIC STACIT STACTA WCS WMS WMTS"
_OR_PIXELS = "or, for a picture, use pixel coordinates: --allow-no-crs"
_MAX_PIXELS = 2**42  # 65 000 tiles of a million pixels each
_MAX_BANDS = 4096
# Of the blocks that GDAL keeps after decoding them, in each process: the pixels of a small scene, or of the current row
# of tiles, are decoded once. rasterio passes the number on as bytes; GDAL itself takes a small one as megabytes.
CACHE_BYTES = 64 * 2**20
_GDAL = {
    "GDAL_SKIP": _SKIPPED,
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_LOW_SPEED_TIME": "15",  # s without a byte
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_CONNECTTIMEOUT": "15",
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_CACHEMAX": CACHE_BYTES,
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",  # of a file of format JPEG; see `damage` for JPEG blocks in others
}


@dataclass(frozen=True)
class _Source:
    """What GDAL opens, and how.

    Parameters
    ----------
    target : str or Path
        A file, an address, or the XML of a VRT.
    drivers : tuple of str
        GDAL's names of the formats that are tried.
    options : dict
        GDAL's settings while it is open.
    files : tuple of str
        The file and all others that it refers to. Empty = those that GDAL names.
    """

    target: str | Path
    drivers: tuple[str, ...]
    options: dict[str, Any]
    files: tuple[str, ...] = ()


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
        If the file is missing or unreadable, refers to something that is not a local raster, or takes too much memory.
    """
    check_input_name(path)
    if reload:
        _dataset.cache_clear()
    source = _source(path)
    with rasterio.Env(**source.options), _open(path, source) as dataset:
        check_complete(dataset, path)
        try:
            yield dataset
        except GDAL_ERRORS as err:
            raise unreadable(path, [shorten(err.__cause__ or err)]) from err


def files_of(src: Any, path: str) -> tuple[str, ...]:
    """Return every file of an open raster: itself, the members of a mosaic, and the files beside them."""
    if _is_remote(path):
        return (path,)  # GDAL's name of it would be taken for that of a file
    return _source(path).files or tuple(src.files) or (path,)


@contextlib.contextmanager
def reading(path: str, window: Window) -> Iterator[Any]:
    """Return this thread's open rasterio dataset, to read a window of it.

    Raises
    ------
    RasterError
        If the file is missing; a DamageError if it is damaged in the window.
    UnavailableError
        If it cannot be reached or read at present.
    """
    dataset = dataset_of(path)
    try:
        with rasterio.Env(**_options(path)), damage_reported() as messages:
            yield dataset
    except GDAL_ERRORS as err:
        check_available(path, err)
        raise _unreadable(path, window, str(err.__cause__ or err)) from err
    if messages:
        _dataset.cache_clear()  # GDAL would return the damaged pixels from its cache, without a warning
        raise _unreadable(path, window, messages[0])


def dataset_of(path: str) -> Any:
    """Return this thread's open rasterio dataset; it stays open.

    Raises
    ------
    RasterError
        If the file is damaged.
    UnavailableError
        If it cannot be reached or read at present.
    """
    try:
        state = file_state(path)  # so that a long-lived worker does not read what was there before
        return _dataset(path, state, threading.get_ident())
    except RasterError as err:
        check_available(path, err)
        raise


def geobox_of(src: Any, path: str, *, allow_no_crs: bool = False) -> GeoBox:
    """Return the grid of an open rasterio dataset.

    Parameters
    ----------
    src : rasterio.DatasetReader
    path : str
    allow_no_crs : bool
        Whether a raster without CRS or transform is on the grid of its pixels: x is the column and y the negative row,
        as QGIS shows such a raster. The transform of a raster without CRS is kept.

    Raises
    ------
    RasterError
        If it has no CRS, no transform, or only ground control points, and that is not allowed; or if its pixels have
        no place, see `check_placement`.
    """
    if allow_no_crs and src.transform.is_identity:
        return GeoBox(src.shape, Affine.scale(1, -1), "")
    _check_georeferencing(src, path, needs_crs=not allow_no_crs)
    geobox = GeoBox(src.shape, src.transform, _wkt(src, path) if src.crs is not None else "")
    check_placement(geobox, path)
    return geobox


def _unreadable(path: str, window: Window, reason: str) -> DamageError:
    return DamageError(f"{path} cannot be read at {window}: {shorten(reason)}")


def _open(path: str, source: _Source) -> Any:
    failures = []
    for driver in source.drivers:
        try:
            with ignored_warnings(NotGeoreferencedWarning):  # `_check_georeferencing` reports it
                dataset = rasterio.open(source.target, driver=driver)
        except (*GDAL_ERRORS, OSError) as err:
            failures.append(shorten(err))
            continue
        try:
            _check_contents(dataset, path)
        except RasterError:
            dataset.close()
            raise
        return dataset
    if _is_remote(path):
        check_server(path)
    raise unreadable(path, failures)


def _source(path: str) -> _Source:
    """Return what GDAL may open of a raster, after checking it."""
    if _is_remote(path):
        return _Source(path, DRIVERS, _options(path))
    if not file_state(path) or not Path(path).is_file():
        raise missing_file(path)
    if Path(path).suffix.lower() == ".vrt":
        mosaic = read_vrt(Path(path))
        return _Source(mosaic.xml, ("VRT",), _options(path), mosaic.files)
    check_raster(Path(path), Folders())
    # As an absolute path, no name is an address or the name of a driver: not zip:scene.tif, nor GTIFF_DIR:1:scene.tif.
    return _Source(Path(os.path.abspath(path)), DRIVERS, _options(path))  # noqa: PTH100 # `..` of a link is kept


def _options(path: str) -> dict[str, Any]:
    """Return GDAL's settings for a raster: it opens no address but that of the raster itself."""
    if not _is_remote(path):
        return _GDAL | {"CPL_VSIL_CURL_ALLOWED_FILENAME": "none"}
    # Without a list of its folder, GDAL opens no files beside it.
    return _GDAL | {
        "CPL_VSIL_CURL_ALLOWED_FILENAME": _parse_path(path).as_vsi(),
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    }


def _is_remote(path: str) -> bool:
    return path.startswith(REMOTE) and not Path(path).is_file()


def _check_contents(src: Any, path: str) -> None:
    """Check that an open raster refers to no other file, and its numbers of pixels, bands and bytes per block."""
    check_references(path, " ".join(src.tags(ns="OVERVIEWS")).encode("utf-8", "replace"))
    rows, cols = src.shape
    if rows * cols > _MAX_PIXELS:
        raise RasterError(
            f"{path} has {cols} x {rows} pixels; expected at most {_MAX_PIXELS:.0e}. Is the file what it should be? "
            f"Otherwise cut it first: gdal_translate -projwin {path} part.tif"
        )
    if src.count > _MAX_BANDS:
        raise RasterError(
            f"{path} has {src.count} bands; expected at most {_MAX_BANDS}. Select some first: gdal_translate -b 1 -b 2 "
            f"{path} bands.tif"
        )
    n_bands = src.count if src.interleaving is not None and src.interleaving.value == "PIXEL" else 1
    for (height, width), dtype in zip(src.block_shapes, src.dtypes, strict=True):
        check_block(path, height * width * n_bands * np.dtype(_numpy_type(dtype)).itemsize)


def _numpy_type(dtype: str) -> str:
    return "complex64" if dtype == "complex_int16" else dtype


@functools.lru_cache(maxsize=32)  # of each raster one per thread; opening a mosaic for each tile would be slow
def _dataset(path: str, state: tuple[int, ...], thread: int) -> Any:  # noqa: ARG001
    """Return an open dataset, one per thread (GDAL datasets must not be shared) and per state of the file."""
    source = _source(path)
    with rasterio.Env(**source.options):
        return _open(path, source)


def _check_georeferencing(src: Any, path: str, *, needs_crs: bool) -> None:
    gcps, _ = src.gcps
    if src.transform.is_identity and gcps:
        raise RasterError(
            f"{path} is georeferenced by ground control points only, so its pixels form no regular grid in a CRS. "
            f"Warp it first: gdalwarp -tps {path} warped.tif"
        )
    if src.crs is None and needs_crs:
        raise RasterError(
            f"{path} has no CRS, so its polygons would have no location. "
            f"Set one first: gdal_edit.py -a_srs EPSG:<code> {path}; {_OR_PIXELS}"
        )
    if src.transform.is_identity:
        raise RasterError(
            f"{path} has a CRS but no transform. Set one first: "
            f"gdal_edit.py -a_ullr <left> <top> <right> <bottom> {path}; {_OR_PIXELS}"
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
            f"{path} has a CRS that cannot be read: {shorten(err)} "
            f"Set another one: gdal_edit.py -a_srs EPSG:<code> {path}"
        ) from err
    return wkt
