"""Numbers of classes or labels on a pixel grid, read window by window; another grid is warped on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.warp
import rasterio.windows
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # rasterio lets it out, but gives it no public name
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from geoseg.errors import RasterError
from geoseg.grid import GeoBox, Window, same_corners, same_crs
from geoseg.raster.aoi import frame_of
from geoseg.raster.dataset import opened

_WHOLE_NUMBERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64")


@dataclass(frozen=True)
class Labels:
    """Numbers on a pixel grid.

    Parameters
    ----------
    geobox : the grid; its CRS is "" where the raster has none
    read : window → (y, x) int; 0 = none, never negative
    names : of numbers that stand for something else
    notes : what one must know about them, a sentence each
    """

    geobox: GeoBox
    read: Callable[[Window], NDArray[np.integer]]
    names: Mapping[int, int | float | str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@contextmanager
def open_labels(path: str | Path) -> Iterator[Labels]:
    """Open a raster of whole numbers on its own grid; 0, negative numbers and nodata are none.

    Raises
    ------
    RasterError : not there, not readable, several bands, or no whole numbers
    """
    with opened(str(path)) as src:
        _check_numbers(src, path)
        yield Labels(_geobox(src), partial(_read, src, str(path)))


@contextmanager
def open_labels_on(path: str | Path, geobox: GeoBox) -> Iterator[Labels]:
    """Open a raster of whole numbers on the grid of another; where its own is another, the nearest pixel counts.

    Raises
    ------
    RasterError : as `open_labels`; or it lies elsewhere, or nothing says where it lies
    """
    with opened(str(path)) as src:
        _check_numbers(src, path)
        own = _geobox(src)
        if not own.crs or not geobox.crs:
            yield Labels(geobox, partial(_read, src, str(path)), notes=_pixel_by_pixel(path, own, geobox))
        elif _is_same(own, geobox):
            yield Labels(geobox, partial(_read, src, str(path)))
        else:
            with _warped(src, path, own, geobox) as on_grid:
                note = f"{path} has another grid than the classes, so the nearest of its pixels was taken for each."
                yield Labels(geobox, partial(_read, on_grid, str(path)), notes=(note,))


def check_overlap(path: str | Path, bounds: tuple[float, float, float, float], geobox: GeoBox) -> None:
    """Look whether what lies within `bounds` (left, bottom, right, top in the CRS of `geobox`) touches a grid.

    Raises
    ------
    RasterError : it does not
    """
    left, bottom, right, top = frame_of(geobox).bounds
    if bounds[0] < right and bounds[2] > left and bounds[1] < top and bounds[3] > bottom:
        return
    raise RasterError(
        f"{path} does not overlap the classes: it reaches from {_point(*bounds[:2])} to {_point(*bounds[2:])}, the "
        f"classes from {_point(left, bottom)} to {_point(right, top)}, both in the CRS of the classes. Give one of the "
        "same place; if it is, look at its CRS."
    )


def _point(x: float, y: float) -> str:
    return f"({x:.9g}, {y:.9g})"


def _check_numbers(src: Any, path: str | Path) -> None:
    if src.count != 1:
        raise RasterError(
            f"{path} has {src.count} bands, and classes or labels are one band of numbers. Take the one that holds "
            f"them: gdal_translate -b 1 {path} numbers.tif"
        )
    if src.dtypes[0] not in _WHOLE_NUMBERS:
        raise RasterError(
            f"{path} holds values of {src.dtypes[0]}, and numbers of classes or labels are whole. If it does hold such "
            f"numbers: gdal_translate -ot Int32 {path} numbers.tif"
        )


def _geobox(src: Any) -> GeoBox:
    return GeoBox(src.shape, src.transform, src.crs.to_wkt() if src.crs else "")


def _read(src: Any, path: str, window: Window) -> NDArray[np.integer]:
    part = rasterio.windows.Window(*window)
    try:
        numbers, known = src.read(1, window=part), src.read_masks(1, window=part) > 0
    except RasterioError as err:
        reason = " ".join(str(err.__cause__ or err).split())
        raise RasterError(f"{path} cannot be read at {window}: {reason}. Is the file complete?") from err
    return np.where(known & (numbers > 0), numbers, np.zeros(1, numbers.dtype))


def _pixel_by_pixel(path: str | Path, own: GeoBox, geobox: GeoBox) -> tuple[str, ...]:
    """Say that two rasters are compared without a CRS; only the same grid, or none at all, is good enough for that."""
    placed = not (own.transform.is_identity or geobox.transform.is_identity)
    if own.shape != geobox.shape or (placed and not same_corners(own, geobox)):
        missing, file = ("the class raster", "CLASSES") if own.crs else (str(path), str(path))
        raise RasterError(
            f"{missing} has no CRS, so a reference of {own.shape} and classes of {geobox.shape} (rows, cols) with "
            "corners of their own cannot be laid over each other. Give it one first: "
            f"gdal_edit.py -a_srs EPSG:<code> {file}"
        )
    return (f"one of the rasters has no CRS; {path} was compared with the classes pixel by pixel.",)


def _is_same(own: GeoBox, geobox: GeoBox) -> bool:
    return own.shape == geobox.shape and same_crs(own.crs, geobox.crs) and same_corners(own, geobox)


@contextmanager
def _warped(src: Any, path: str | Path, own: GeoBox, geobox: GeoBox) -> Iterator[Any]:
    try:
        bounds = rasterio.warp.transform_bounds(own.crs, geobox.crs, *frame_of(own).bounds)
        if np.isfinite(bounds).all():
            check_overlap(path, bounds, geobox)
        on_grid = WarpedVRT(
            src,
            crs=geobox.crs,
            transform=geobox.transform,
            height=geobox.shape[0],
            width=geobox.shape[1],
            resampling=Resampling.nearest,
            nodata=0 if src.nodata is None else src.nodata,
            tolerance=1e-6,  # px; a coarser approximation would depend on the windows, and of 0 rasterio makes an error
        )
    except (RasterioError, CPLE_BaseError) as err:
        reason = " ".join(str(err.__cause__ or err).split())
        raise RasterError(
            f"{path} cannot be brought onto the grid of the classes: {reason}. Warp it first, with gdalwarp -r near."
        ) from err
    with on_grid:
        yield on_grid
