"""Read class and label rasters window by window, warped to a given grid where theirs is another."""

from __future__ import annotations

import os
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
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geoseg.config_parser import shown
from geoseg.errors import ConfigError, RasterError, shorten
from geoseg.grid import GeoBox, Window, same_corners, same_crs
from geoseg.raster.aoi import frame_of
from geoseg.raster.dataset import opened
from geoseg.raster.placement import check_placement
from geoseg.raster.unreadable import GDAL_ERRORS

_INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64")


@dataclass(frozen=True)
class Labels:
    """Classes or labels on a pixel grid.

    Parameters
    ----------
    geobox : GeoBox
        The grid; its CRS is "" if the raster has none.
    read : callable
        Window → (y, x) int; 0 = none, never negative.
    names : mapping of int to int, float or str
        Names of numbers that represent something else.
    notes : tuple of str
        Remarks for the user, one sentence each.
    """

    geobox: GeoBox
    read: Callable[[Window], NDArray[np.integer]]
    names: Mapping[int, int | float | str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@contextmanager
def open_labels(path: str | Path) -> Iterator[Labels]:
    """Open a raster of integers on its own grid.

    Parameters
    ----------
    path : str or Path

    Yields
    ------
    Labels
        0, negative numbers and nodata are 0.

    Raises
    ------
    RasterError
        If the file does not exist, cannot be read, has several bands or no integers.
    """
    with opened(str(path)) as src:
        _check_integers(src, path)
        yield Labels(_geobox(src, str(path)), partial(_read, src, str(path)))


@contextmanager
def open_labels_on(path: str | Path, geobox: GeoBox) -> Iterator[Labels]:
    """Open a raster of integers on a given grid.

    Parameters
    ----------
    path : str or Path
    geobox : GeoBox
        The grid. If that of the raster is another, each pixel has the value of the nearest pixel of the raster.

    Yields
    ------
    Labels
        As `open_labels`.

    Raises
    ------
    RasterError
        As `open_labels`; or if the raster does not overlap the grid, or has no CRS and a grid of another shape.
    """
    with opened(str(path)) as src:
        _check_integers(src, path)
        own = _geobox(src, str(path))
        if not own.crs or not geobox.crs:
            yield Labels(geobox, partial(_read, src, str(path)), notes=_pixel_by_pixel(path, own, geobox))
        elif _is_same(own, geobox):
            yield Labels(geobox, partial(_read, src, str(path)))
        else:
            with _warped(src, path, own, geobox) as on_grid:
                note = f"{path} has another grid than the classes, so it was resampled to the nearest pixel."
                yield Labels(geobox, partial(_read, on_grid, str(path)), notes=(note,))


def check_overlap(path: str | Path, bounds: tuple[float, float, float, float], geobox: GeoBox) -> None:
    """Check that a file overlaps a grid.

    Parameters
    ----------
    path : str or Path
        Named in the message.
    bounds : tuple of float
        (left, bottom, right, top) of the file in the CRS of `geobox`.
    geobox : GeoBox

    Raises
    ------
    RasterError
        If it does not.
    """
    left, bottom, right, top = frame_of(geobox).bounds
    if bounds[0] < right and bounds[2] > left and bounds[1] < top and bounds[3] > bottom:
        return
    raise RasterError(
        f"{path} does not overlap the classes: it extends from {_point(*bounds[:2])} to {_point(*bounds[2:])}, the "
        f"classes from {_point(left, bottom)} to {_point(right, top)}, both in the CRS of the classes. Give a "
        "reference of the same area, or correct its CRS."
    )


def _point(x: float, y: float) -> str:
    return f"({x:.9g}, {y:.9g})"


def _check_integers(src: Any, path: str | Path) -> None:
    if src.count != 1:
        raise RasterError(
            f"{path} has {src.count} bands; expected a single band of classes or labels. Extract it: "
            f"gdal_translate -b 1 {path} labels.tif"
        )
    if src.dtypes[0] not in _INTEGERS:
        raise RasterError(
            f"{path} has dtype {src.dtypes[0]}; expected integers for classes or labels. If all values are integers, "
            f"convert it: gdal_translate -ot Int32 {path} labels.tif"
        )


def _geobox(src: Any, path: str) -> GeoBox:
    geobox = GeoBox(src.shape, src.transform, src.crs.to_wkt() if src.crs else "")
    check_placement(geobox, path)
    return geobox


def _read(src: Any, path: str, window: Window) -> NDArray[np.integer]:
    part = rasterio.windows.Window(*window)
    try:
        numbers, valid = src.read(1, window=part), src.read_masks(1, window=part) > 0
    except GDAL_ERRORS as err:
        reason = shorten(err.__cause__ or err)
        raise RasterError(f"{path} cannot be read at {window}: {reason}. Is the file complete?") from err
    return np.where(valid & (numbers > 0), numbers, np.zeros(1, numbers.dtype))


def _pixel_by_pixel(path: str | Path, own: GeoBox, geobox: GeoBox) -> tuple[str, ...]:
    """Return the note that two rasters are compared without a CRS; check that their grids allow it."""
    georeferenced = not (own.transform.is_identity or geobox.transform.is_identity)
    if own.shape != geobox.shape or (georeferenced and not same_corners(own, geobox)):
        missing, file = ("the class raster", "CLASSES") if own.crs else (str(path), str(path))
        raise RasterError(
            f"{missing} has no CRS, so a reference of {own.shape} and classes of {geobox.shape} (rows, cols) with "
            f"different corners cannot be aligned. Assign a CRS first: gdal_edit.py -a_srs EPSG:<code> {file}"
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
            tolerance=1e-6,  # px; a larger one would depend on the windows, and rasterio rejects 0
        )
    except GDAL_ERRORS as err:
        reason = shorten(err.__cause__ or err)
        raise RasterError(
            f"{path} cannot be warped to the grid of the classes: {reason}. Warp it first with gdalwarp -r near."
        ) from err
    with on_grid:
        yield on_grid


def check_path(name: str, value: object) -> None:
    """Check that an argument is the path of a file.

    Raises
    ------
    ConfigError
        If it is neither str nor Path.
    """
    if not isinstance(value, str | os.PathLike):
        raise ConfigError(f"{name} is {shown(value)}; expected the path of a file. Give it as a str or a Path.")
