"""Read a raster of any size at a lower resolution, part by part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import rasterio.windows
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import NodataShadowWarning

from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.raster.dataset import reading
from geoseg.raster.ignored_warnings import ignored_warnings
from geoseg.raster.scene import Scene

_PARTS = 8  # along each side; a damaged part is left out


def decimated_shape(shape: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """Return the largest shape (rows, cols) in the proportions of a raster with at most about `max_pixels`.

    Examples
    --------
    >>> decimated_shape((4000, 8000), 2_000_000), decimated_shape((40, 80), 2_000_000)
    ((1000, 2000), (40, 80))
    """
    rows, cols = shape
    scale = min(1.0, (max_pixels / (rows * cols)) ** 0.5)
    return max(1, min(rows, round(rows * scale), max_pixels)), max(1, min(cols, round(cols * scale), max_pixels))


def read_decimated(
    scene: Scene, positions: tuple[int, ...], shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return bands of a raster at a lower resolution, from its overviews where it has any.

    Parameters
    ----------
    scene : Scene
    positions : tuple of int
        Positions of the bands in ``scene.bands``.
    shape : tuple of int
        (rows, cols) of the result.

    Returns
    -------
    pixels : (band, y, x) float32
        Weighted means of the pixels with data; 0 where not valid.
    valid : (y, x) bool
        False where all bands, or with nodata mode "any" one of them, are nodata, masked or not finite, and where the
        file is damaged.
    """
    pixels, valid = np.zeros((len(positions), *shape), np.float32), np.zeros(shape, bool)
    whole = Window(0, 0, shape[1], shape[0])
    try:
        pixels[:], valid[:] = _read_part(scene, positions, whole, shape)
    except RasterError:
        for part in _parts(shape):
            with contextlib.suppress(RasterError):
                inner = part.within(whole)
                pixels[:, *inner], valid[inner] = _read_part(scene, positions, part, shape)
    return pixels, valid


def _read_part(
    scene: Scene, positions: tuple[int, ...], part: Window, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    unique = sorted({scene.bands[position] for position in positions})
    window = _window_of(part, shape, scene.geobox.shape)
    # A warning about alpha, which is not among the bands that are shown.
    with reading(scene.path, scene.geobox.window) as handle, ignored_warnings(NodataShadowWarning):
        found = handle.read(
            unique,
            window=window,
            out_shape=(len(unique), *part.shape),
            # The nearest pixel is slower by far where blocks are compressed: GDAL decodes a block for each row of it.
            resampling=Resampling.bilinear,
            masked=True,
            out_dtype="float32",
        )
    values: NDArray[np.float32] = np.ma.filled(found, np.nan)[
        [unique.index(scene.bands[position]) for position in positions]
    ]
    known = np.isfinite(values)
    valid = np.asarray(known.all(axis=0) if scene.nodata_mode == "any" else known.any(axis=0))
    stored = [scene.nodata[position] if scene.nodata else None for position in positions]
    fill = np.nan_to_num(np.array([each or 0 for each in stored], np.float32))  # of bands that are nodata alone
    return np.where(valid, np.where(known, values, fill[:, None, None]), np.float32(0)), valid


def _parts(shape: tuple[int, int]) -> Iterator[Window]:
    rows, cols = (sorted({side * i // _PARTS for i in range(_PARTS + 1)}) for side in shape)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(cols):
            yield Window(left, top, right - left, bottom - top)


def _window_of(part: Window, shape: tuple[int, int], whole: tuple[int, int]) -> rasterio.windows.Window:
    """Return the window of the raster that a part of the result shows; its edges may be between pixels."""
    down, across = whole[0] / shape[0], whole[1] / shape[1]
    return rasterio.windows.Window(part.col_off * across, part.row_off * down, part.width * across, part.height * down)
