"""Reading a raster window by window.

This module and those that write are the only ones that touch files with pixels. A raster is described by a `Scene`, a
small value that travels to the workers; each thread there opens the file for itself (`read`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.windows
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning, RasterioError

from geoseg.errors import RasterError
from geoseg.grid import GeoBox, Window
from geoseg.raster.aoi import inside, read_aoi, touches_area
from geoseg.raster.bands import VegetationBands, natural_colours, vegetation_bands
from geoseg.raster.vrt import check_vrt

log = logging.getLogger(__name__)

# Formats that hold their pixels themselves; no other can lead the program to another file or address.
DRIVERS = ("GTiff", "JP2OpenJPEG", "JPEG", "PNG", "HFA", "ENVI")
_MOSAIC_PART = 16  # px; in parts of this size a damaged window of a mosaic is read
_REMOTE = ("http://", "https://", "s3://")
_GDAL = {
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "15",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_CACHEMAX": 64,  # MB; every worker has one, and windows are read once
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}


@dataclass(frozen=True)
class Scene:
    """A raster that can be segmented: where it is, its grid, and what of it counts.

    Parameters
    ----------
    path : file or http(s) or s3 address
    geobox : GeoBox
    bands : numbers of the bands to use, from 1
    names : what each of `bands` is called, "" where the raster does not say
    dtypes : the type of the values of each of `bands`, as "uint8"
    red_green_blue : positions in `bands` that show natural colours, or the first bands there are
    vegetation : which of `bands` are red and near infrared, None where that is not known
    aoi : WKB in the scene's CRS; pixels with their middle outside are no data; None = all
    files : every file the raster consists of
    """

    path: str
    geobox: GeoBox
    bands: tuple[int, ...]
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    red_green_blue: tuple[int, int, int]
    vegetation: VegetationBands | None
    aoi: bytes | None
    files: tuple[str, ...]


def open_scene(
    path: str | Path,
    *,
    bands: tuple[int, ...] = (),
    aoi: str | Path | None = None,
    red: int | None = None,
    nir: int | None = None,
) -> Scene:
    """Look at a raster and say how it would be read.

    Parameters
    ----------
    path : GeoTIFF, or another format of `DRIVERS`; a .vrt over local files; an address where the user wrote one
    bands : numbers from 1; empty = all but alpha
    aoi : vector file; pixels outside its polygons are no data
    red, nir : numbers of the bands for NDVI, from 1; None = as the raster says, where it does

    Raises
    ------
    RasterError : not there, not readable, no place on the map, colours instead of measurements, no such band
    """
    with opened(str(path), anew=True) as src:
        chosen = _choose_bands(src, str(path), bands)
        geobox = geobox_of(src, str(path))
        names = tuple((src.descriptions[band - 1] or "").strip() for band in chosen)
        dtypes = tuple(src.dtypes[band - 1] for band in chosen)
        colours = natural_colours(src, chosen, names)
        vegetation = vegetation_bands(src, chosen, names, red=red, nir=nir)
        files = tuple(src.files) or (str(path),)
    area = None if aoi is None else read_aoi(Path(aoi), geobox)
    return Scene(str(path), geobox, chosen, names, dtypes, colours, vegetation, area, files)


@contextlib.contextmanager
def opened(path: str, *, anew: bool = False) -> Iterator[Any]:
    """Open a raster as rasterio's dataset, safely and with GDAL's settings for as long as it is open.

    Parameters
    ----------
    anew : forget the files that `reading` has open: a member of a mosaic may have changed since the last run

    Raises
    ------
    RasterError : not there, or not readable
    """
    if anew:
        _handle.cache_clear()
    with rasterio.Env(**_GDAL), _open(path) as source:
        yield source


@contextlib.contextmanager
def reading(path: str, window: Window) -> Iterator[Any]:
    """Give this thread's own open file, as rasterio's dataset, to read a window of it.

    Raises
    ------
    RasterError : not there, or the file is damaged in the window
    """
    handle = _handle(path, _state(path), threading.get_ident())
    try:
        with rasterio.Env(**_GDAL):
            yield handle
    except RasterioError as err:
        reason = " ".join(str(err.__cause__ or err).split())
        raise RasterError(f"{path} cannot be read at {window}: {reason}") from err


def geobox_of(src: Any, path: str) -> GeoBox:
    """Return the grid of an open raster.

    Raises
    ------
    RasterError : it has no place on the map, or none that a grid can describe
    """
    _check_place(src, path)
    return GeoBox(src.shape, src.transform, _wkt(src, path))


def read(scene: Scene, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read the pixels of a window.

    Returns
    -------
    pixels : (band, y, x) float32, raw values; 0 where there is no data
    valid : (y, x) bool; False = nodata, NaN, transparent, hidden by the file's own mask, or outside the AOI

    Raises
    ------
    RasterError : the file is damaged there

    Notes
    -----
    A nodata value such as -9999 or NaN is no measurement: a pixel that has it in one of the bands is no data. One of
    unsigned bands, such as 0 or 255, is a colour too: only a pixel that has it in all of the bands is no data.
    """
    part = rasterio.windows.Window(*window)
    with reading(scene.path, window) as handle:
        pixels = handle.read(scene.bands, window=part, out_dtype=np.float32)
        valid = _valid(handle, scene.bands, part)
    valid &= np.isfinite(pixels).all(axis=0)
    if scene.aoi is not None:
        valid &= inside(scene.aoi, scene.geobox.cropped(window))
    return np.where(valid, pixels, np.float32(0)), valid


def read_leniently(
    scene: Scene, window: Window, *, core: Window | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read a window of which only `core` must be readable; what is damaged around it becomes no data.

    Raises
    ------
    RasterError : the core is damaged
    """
    with contextlib.suppress(RasterError):
        return read(scene, window)
    pixels = np.zeros((len(scene.bands), *window.shape), np.float32)
    valid = np.zeros(window.shape, bool)
    for part in _parts(window, _block_shape(scene)):
        inner = part.within(window)
        pixels[:, *inner], valid[inner] = _read_part(scene, part, core)
    return pixels, valid


def touches(scene: Scene, window: Window) -> bool:
    """Say whether a window has ground in the area of interest."""
    return scene.aoi is None or touches_area(scene.aoi, scene.geobox.cropped(window))


def _block_shape(scene: Scene) -> tuple[int, int]:
    """Return the (rows, cols) of what is readable or damaged as a whole."""
    handle = _handle(scene.path, _state(scene.path), threading.get_ident())
    rows, cols = handle.block_shapes[0]
    # The blocks of a mosaic are not those of the files in it.
    return (_MOSAIC_PART, _MOSAIC_PART) if handle.driver == "VRT" else (int(rows), int(cols))


def _parts(window: Window, shape: tuple[int, int]) -> list[Window]:
    """Cut a window along the lines of blocks of a shape."""
    rows, cols = (
        sorted({begin, *range(begin - begin % step + step, end, step), end})
        for begin, end, step in (
            (window.row_off, window.row_end, shape[0]),
            (window.col_off, window.col_end, shape[1]),
        )
    )
    return [
        Window(left, top, right - left, bottom - top)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(cols)
    ]


def _read_part(scene: Scene, part: Window, core: Window | None) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read a part of a damaged window: all of it, or only what of it lies in the core, which must be readable."""
    try:
        return read(scene, part)
    except RasterError as err:
        log.info("%s", err)
    pixels = np.zeros((len(scene.bands), *part.shape), np.float32)
    valid = np.zeros(part.shape, bool)
    own = None if core is None else part.intersection(core)
    if own is not None:
        inner = own.within(part)
        pixels[:, *inner], valid[inner] = read(scene, own)
    return pixels, valid


def _valid(handle: Any, bands: tuple[int, ...], part: rasterio.windows.Window) -> NDArray[np.bool_]:
    flags = [handle.mask_flag_enums[band - 1] for band in bands]
    valid = np.ones((part.height, part.width), bool)
    if not all(MaskFlags.all_valid in of_band for of_band in flags):
        unsigned = all(handle.dtypes[band - 1].startswith("uint") for band in bands)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NodataShadowWarning)  # alpha comes below
            shown = handle.read_masks(bands, window=part) > 0  # (band, y, x)
        valid = shown.any(axis=0) if unsigned else shown.all(axis=0)
    if any(MaskFlags.nodata in of_band for of_band in flags):  # which hides alpha from GDAL
        for band in _alpha(handle):
            valid &= handle.read(band, window=part) > 0
    return valid


def _alpha(src: Any) -> list[int]:
    return [band for band, meaning in zip(src.indexes, src.colorinterp, strict=True) if meaning == ColorInterp.alpha]


def _open(path: str) -> Any:
    failures = []
    for driver in _drivers(path):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)  # `_check_place` says what to do
                return rasterio.open(path, driver=driver)
        except (RasterioError, OSError) as err:
            failures.append(" ".join(str(err).split()))
    raise RasterError(f"{path} cannot be opened as a raster: {failures[0]}")


def _drivers(path: str) -> list[str]:
    if path.startswith(_REMOTE):
        return list(DRIVERS)
    if not _state(path) or not Path(path).is_file():
        raise RasterError(f"there is no file {path}.")
    if Path(path).suffix.lower() == ".vrt":
        check_vrt(Path(path))
        return ["VRT"]
    return list(DRIVERS)


@functools.lru_cache(maxsize=8)  # one open file per worker thread; opening a mosaic for each tile would be slow
def _handle(path: str, state: tuple[int, ...], thread: int) -> Any:  # noqa: ARG001
    """Return an open file; another one for each thread, since GDAL's must not be shared, and for each state of it."""
    with rasterio.Env(**_GDAL):
        return _open(path)


def _state(path: str) -> tuple[int, ...]:
    """Return what changes when a file is written anew, so that a worker that lives long does not read the old one."""
    try:
        found = Path(path).stat()
    except OSError:  # an address, or a file that has gone: reading says so
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _check_place(src: Any, path: str) -> None:
    gcps, _ = src.gcps
    if src.transform.is_identity and gcps:
        raise RasterError(
            f"{path} is placed by ground control points only, so its pixels form no grid on the map. "
            f"Warp it first: gdalwarp -tps {path} warped.tif"
        )
    if src.crs is None:
        raise RasterError(
            f"{path} has no CRS, so its polygons could not be placed on a map. "
            f"Give it one first: gdal_edit.py -a_srs EPSG:<code> {path}"
        )
    if src.transform.is_identity:
        raise RasterError(
            f"{path} has a CRS but no place on the map. Give it one first: "
            f"gdal_edit.py -a_ullr <left> <top> <right> <bottom> {path}"
        )
    if src.transform.determinant == 0:
        raise RasterError(f"{path} has pixels without an area (transform {tuple(src.transform)[:6]}).")


def _wkt(src: Any, path: str) -> str:
    try:
        wkt: str = src.crs.to_wkt()
        CRS(wkt)  # what writes the polygons must understand it too
    except (rasterio.errors.CRSError, CRSError) as err:
        raise RasterError(
            f"{path} has a CRS that cannot be read: {' '.join(str(err).split())} "
            f"Give it another one: gdal_edit.py -a_srs EPSG:<code> {path}"
        ) from err
    return wkt


def _choose_bands(src: Any, path: str, wanted: tuple[int, ...]) -> tuple[int, ...]:
    missing = [band for band in wanted if band not in src.indexes]
    if missing:
        raise RasterError(f"{path} has bands 1 to {src.count}; there is no band {missing[0]}.")
    bands = wanted or tuple(band for band in src.indexes if band not in _alpha(src))
    if not bands:
        raise RasterError(f"{path} has no band but alpha, so there is nothing to segment.")
    for band in bands:
        dtype = src.dtypes[band - 1]
        if "complex" in dtype:
            raise RasterError(
                f"{path} holds complex numbers ({dtype}) in band {band}. Take their magnitude first: "
                f"gdal_calc.py -A {path} --calc 'abs(A)' --type Float32 --outfile magnitude.tif"
            )
        if src.colorinterp[band - 1] == ColorInterp.palette:
            raise RasterError(
                f"{path} holds numbers of a palette in band {band}, not measurements. "
                f"Expand them first: gdal_translate -expand rgb {path} rgb.tif"
            )
    return bands
