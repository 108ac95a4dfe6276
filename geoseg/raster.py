"""Reading a raster window by window.

This module and those that write are the only ones that touch files with pixels. A raster is described by a `Scene`, a
small value that travels to the workers; each thread there opens the file for itself (`read`).
"""

from __future__ import annotations

import functools
import logging
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import rasterio.features
import rasterio.windows
import shapely
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError

from geoseg.errors import RasterError
from geoseg.grid import GeoBox, Window

log = logging.getLogger(__name__)

# Formats that hold their pixels themselves; no other can lead the program to another file or address.
DRIVERS = ("GTiff", "JP2OpenJPEG", "JPEG", "PNG", "HFA", "ENVI")
_SMALLEST_PART = 64  # px; a damaged window is read in parts down to this size
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
    red_green_blue : positions in `bands` that show natural colours, or the first bands there are
    aoi : WKB in the scene's CRS; pixels with their middle outside are no data; None = all
    files : every file the raster consists of
    """

    path: str
    geobox: GeoBox
    bands: tuple[int, ...]
    names: tuple[str, ...]
    red_green_blue: tuple[int, int, int]
    aoi: bytes | None
    files: tuple[str, ...]


def open_scene(path: str | Path, *, bands: tuple[int, ...] = (), aoi: str | Path | None = None) -> Scene:
    """Look at a raster and say how it would be read.

    Parameters
    ----------
    path : GeoTIFF, or another format of `DRIVERS`; a .vrt over local files; an address where the user wrote one
    bands : numbers from 1; empty = all but alpha
    aoi : vector file; pixels outside its polygons are no data

    Raises
    ------
    RasterError : not there, not readable, no place on the map, colours instead of measurements, no such band
    """
    with _opened(str(path)) as src:
        chosen = _choose_bands(src, str(path), bands)
        _check_place(src, str(path))
        geobox = GeoBox(src.shape, src.transform, src.crs.to_wkt())
        names = tuple((src.descriptions[band - 1] or "").strip() for band in chosen)
        colours = _colours(src, chosen, names)
        files = tuple(src.files) or (str(path),)
    area = None if aoi is None else _read_aoi(Path(aoi), geobox)
    return Scene(str(path), geobox, chosen, names, colours, area, files)


def read(scene: Scene, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read the pixels of a window.

    Returns
    -------
    pixels : (band, y, x) float32, raw values; 0 where there is no data
    valid : (y, x) bool; False = nodata, NaN, transparent, hidden by the file's own mask, or outside the area of interest

    Raises
    ------
    RasterError : the file is damaged there
    """
    handle = _handle(scene.path, threading.get_ident())
    part = rasterio.windows.Window(*window)
    try:
        with rasterio.Env(**_GDAL):
            pixels = handle.read(scene.bands, window=part, out_dtype=np.float32)
            opaque = all(MaskFlags.all_valid in flags for flags in handle.mask_flag_enums)
            valid = np.ones(window.shape, bool) if opaque else handle.dataset_mask(window=part) > 0
    except RasterioError as err:
        reason = " ".join(str(err.__cause__ or err).split())
        raise RasterError(f"{scene.path} cannot be read at {window}: {reason}") from err
    valid &= np.isfinite(pixels).all(axis=0)
    if scene.aoi is not None:
        valid &= _inside(scene, window)
    return np.where(valid, pixels, np.float32(0)), valid


def read_leniently(
    scene: Scene, window: Window, *, core: Window | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read a window of which only `core` must be readable; what is damaged around it becomes no data.

    Raises
    ------
    RasterError : the core is damaged
    """
    try:
        return read(scene, window)
    except RasterError as err:
        if core is not None and window.intersection(core) == window:
            raise
        if max(window.shape) <= _SMALLEST_PART:
            if core is not None and window.intersection(core) is not None:
                read(scene, core)  # the part around the core is damaged; is the core?
            log.info("%s", err)
            return np.zeros((len(scene.bands), *window.shape), np.float32), np.zeros(window.shape, bool)
    pixels = np.zeros((len(scene.bands), *window.shape), np.float32)
    valid = np.zeros(window.shape, bool)
    for part in _quarters(window):
        inner = part.within(window)
        pixels[:, *inner], valid[inner] = read_leniently(scene, part, core=core)
    return pixels, valid


def touches(scene: Scene, window: Window) -> bool:
    """Say whether a window has ground in the area of interest."""
    return scene.aoi is None or bool(_area(scene.aoi).intersects(_frame(scene.geobox.cropped(window))))


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    with rasterio.Env(**_GDAL), _open(path) as source:
        yield source


def _open(path: str) -> Any:
    failures = []
    for driver in _drivers(path):
        try:
            return rasterio.open(path, driver=driver)
        except (RasterioError, OSError) as err:
            failures.append(" ".join(str(err).split()))
    raise RasterError(f"{path} cannot be opened as a raster: {failures[0]}")


def _drivers(path: str) -> list[str]:
    if path.startswith(_REMOTE):
        return list(DRIVERS)
    if not Path(path).is_file():
        raise RasterError(f"there is no file {path}.")
    if Path(path).suffix.lower() == ".vrt":
        _check_vrt(Path(path), depth=8)
        return ["VRT"]
    return list(DRIVERS)


def _check_vrt(path: Path, *, depth: int) -> None:
    """Refuse a mosaic that would lead to anything but local raster files."""
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError) as err:
        raise RasterError(f"{path} is no readable VRT: {err}") from err
    tags = ("SourceFilename", "SourceDataset", "DatasetFilename")
    for node in (node for tag in tags for node in root.iter(tag)):
        name = (node.text or "").strip()
        if "://" in name or "/vsi" in name or name.startswith("<"):
            raise RasterError(f"{path} points to {name}; a VRT may only point to files on this machine.")
        member = path.parent / name
        if not member.is_file():
            raise RasterError(f"{path} points to {name}, which is not there.")
        if member.suffix.lower() == ".vrt":
            if depth == 0:
                raise RasterError(f"{path} is nested too deeply.")
            _check_vrt(member, depth=depth - 1)


@functools.lru_cache(maxsize=8)  # one open file per worker thread; opening a mosaic for each tile would be slow
def _handle(path: str, thread: int) -> Any:  # noqa: ARG001 # GDAL's handles must not be shared between threads
    with rasterio.Env(**_GDAL):
        return _open(path)


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


def _choose_bands(src: Any, path: str, wanted: tuple[int, ...]) -> tuple[int, ...]:
    missing = [band for band in wanted if band not in src.indexes]
    if missing:
        raise RasterError(f"{path} has bands 1 to {src.count}; there is no band {missing[0]}.")
    bands = wanted or tuple(
        band for band, meaning in zip(src.indexes, src.colorinterp, strict=True) if meaning != ColorInterp.alpha
    )
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


def _colours(src: Any, bands: tuple[int, ...], names: tuple[str, ...]) -> tuple[int, int, int]:
    meanings = [src.colorinterp[band - 1] for band in bands]
    found = []
    for meaning, word in ((ColorInterp.red, "red"), (ColorInterp.green, "green"), (ColorInterp.blue, "blue")):
        matches = [i for i, name in enumerate(names) if name.lower() == word]
        matches += [i for i, seen in enumerate(meanings) if seen == meaning]
        found.append(matches[0] if matches else None)
    if None not in found:
        return found[0], found[1], found[2]  # type: ignore[return-value] # None was just excluded
    last = len(bands) - 1
    return (0, 1, 2) if last >= 2 else (0, min(1, last), last)


def _read_aoi(path: Path, geobox: GeoBox) -> bytes:
    try:
        frame = geopandas.read_file(path)
    except Exception as err:  # pyogrio and GDAL raise many kinds
        raise RasterError(f"the area of interest {path} cannot be read: {' '.join(str(err).split())}") from err
    if frame.crs is None:
        raise RasterError(f"the area of interest {path} has no CRS, so it cannot be laid over the scene.")
    shapes = frame.to_crs(geobox.crs).geometry.dropna()
    area = shapely.make_valid(shapely.union_all(shapely.make_valid(shapes[shapes.geom_type.str.endswith("Polygon")])))
    if area.is_empty or not area.intersects(_frame(geobox)):
        raise RasterError(f"the area of interest {path} has no polygon that touches the scene.")
    return shapely.to_wkb(area)


@functools.lru_cache(maxsize=1)  # the same for every tile of a run
def _area(aoi: bytes) -> Any:
    area = shapely.from_wkb(aoi)
    shapely.prepare(area)
    return area


def _inside(scene: Scene, window: Window) -> NDArray[np.bool_]:
    geobox = scene.geobox.cropped(window)
    area = _area(scene.aoi or b"")
    if not touches(scene, window):
        return np.zeros(window.shape, bool)
    if area.covers(_frame(geobox)):
        return np.ones(window.shape, bool)
    inside: NDArray[np.bool_] = rasterio.features.geometry_mask(
        [area], out_shape=window.shape, transform=geobox.transform, invert=True
    )
    return inside


def _frame(geobox: GeoBox) -> Any:
    rows, cols = geobox.shape
    return shapely.Polygon([geobox.transform @ corner for corner in ((0, 0), (cols, 0), (cols, rows), (0, rows))])


def _quarters(window: Window) -> list[Window]:
    width, height = (window.width + 1) // 2, (window.height + 1) // 2
    parts = [
        Window(
            window.col_off + col, window.row_off + row, min(width, window.width - col), min(height, window.height - row)
        )
        for row in (0, height)
        for col in (0, width)
    ]
    return [part for part in parts if part.width > 0 and part.height > 0]
