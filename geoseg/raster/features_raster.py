"""Features rasters: rasters on a grid of their own whose bands take part in the classes of a scene.

The grid may be coarser, finer, shifted or rotated against that of the scene; only the CRS is the same. Its pixels are
called cells.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geoseg.errors import RasterError
from geoseg.grid import GeoBox, Window, same_crs
from geoseg.raster.nodata import NodataMode
from geoseg.raster.scene import Scene, open_scene, read_bands

_MAX_BYTES = 2**27  # of the cells that are in memory at once
_BYTES_PER_VALUE = 5  # float32, and whether there is data
_BYTES_PER_CELL = 128  # of the components that its bands are reduced to


def open_features(path: str, scene: Scene, *, nodata_mode: NodataMode = "all") -> Scene:
    """Return the description of a features raster, after checking that it suits a scene.

    Parameters
    ----------
    path : str
        As in `open_scene`; all bands except alpha are used.
    scene : Scene
    nodata_mode : {"all", "any"}
        Whether nodata in all bands or in any band leaves a cell without a value. A single band that is nodata counts as
        the mean of the band.

    Raises
    ------
    RasterError
        If it cannot be read, see `open_scene`, has another CRS than the scene, or does not overlap it.
    """
    features = open_scene(path, nodata_mode=nodata_mode, allow_no_crs=not scene.geobox.crs)
    check_features(features, scene)
    return features


def check_features(features: Scene, scene: Scene) -> None:
    """Check that a features raster has the CRS of a scene and overlaps it.

    Raises
    ------
    RasterError
        If not.
    """
    if not same_crs(features.geobox.crs, scene.geobox.crs):
        raise RasterError(
            f"{features.path} has another CRS than {scene.path}; features must have the same, at any resolution. Warp "
            f"them first: gdalwarp -r bilinear -t_srs <CRS of the scene> {features.path} features.tif"
        )
    if cells_of(features, scene.geobox, scene.geobox.window) is None:
        raise RasterError(
            f"{features.path} spans {_extent(features.geobox)}, and {scene.path} spans {_extent(scene.geobox)}: they "
            "do not overlap. Give features of the same place."
        )


def to_cells(features: Scene, grid: GeoBox) -> Affine:
    """Return the transform from the (col, row) of a pixel corner of a grid to the (col, row) of cells."""
    return ~features.geobox.transform @ grid.transform


def cells_of(features: Scene, grid: GeoBox, window: Window) -> Window | None:
    """Return the cells that bilinear interpolation needs at the pixel centres of a window; None if there are none.

    Parameters
    ----------
    features : Scene
    grid : GeoBox
        Of the scene.
    window : Window
        Of the scene.
    """
    cols = np.array([window.col_off + 0.5, window.col_end - 0.5] * 2)
    rows = np.repeat([window.row_off + 0.5, window.row_end - 0.5], 2)
    u, v = np.array(to_cells(features, grid) @ (cols, rows))
    if not (np.isfinite(u).all() and np.isfinite(v).all()):
        return None
    left, top = int(np.floor(u.min())) - 1, int(np.floor(v.min())) - 1
    right, bottom = int(np.floor(u.max())) + 2, int(np.floor(v.max())) + 2
    return Window(left, top, right - left, bottom - top).intersection(features.geobox.window)


def parts_of(features: Scene, grid: GeoBox, window: Window) -> Iterator[tuple[Window, Window]]:
    """Yield parts of a window of the scene whose cells fit into memory, each with the window of its cells.

    Parts without cells are left out.
    """
    cells = cells_of(features, grid, window)
    if cells is None:
        return
    n_bytes = cells.width * cells.height * (_BYTES_PER_VALUE * len(features.bands) + _BYTES_PER_CELL)
    if n_bytes <= _MAX_BYTES or max(window.shape) == 1:
        yield window, cells
        return
    for half in window.halves():
        yield from parts_of(features, grid, half)


def read_cells(features: Scene, cells: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the values of cells, (band, y, x) float32, and where each band has one, (band, y, x) bool.

    Raises
    ------
    RasterError
        If the file is damaged there.
    """
    pixels, known = read_bands(features, cells)
    return pixels, known & np.isfinite(pixels)


def _extent(geobox: GeoBox) -> str:
    rows, cols = geobox.shape
    x, y = np.array(geobox.transform @ (np.array([0.0, cols, 0.0, cols]), np.array([0.0, 0.0, rows, rows])))
    return f"x {x.min():.9g} to {x.max():.9g}, y {y.min():.9g} to {y.max():.9g}"
