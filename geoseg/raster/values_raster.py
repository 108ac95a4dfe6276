"""Rasters of values on any grid and in any CRS, whose statistics become columns: elevation, heights, indices, crops.

Their pixels are called cells, as those of features rasters.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from pyproj.exceptions import CRSError, ProjError

from geoseg.errors import RasterError
from geoseg.grid import GeoBox, Window, same_crs
from geoseg.raster.alpha import spread_windows
from geoseg.raster.damage import DamageError
from geoseg.raster.dataset import opened
from geoseg.raster.label_raster import LabelInput, LabelRaster, open_label_raster, read_labels
from geoseg.raster.nodata import NodataMode
from geoseg.raster.scene import Scene, open_scene, read_bands

N_BINS = 4096  # of the range of a sample; whole numbers of a smaller range than _MAX_WHOLE have bins of their own
_MAX_WHOLE = 2**16
_N_WINDOWS, _WINDOW = 8, 64  # of the sample: per direction, and their side in cells
_MAX_EXACT = 2**53
_LATTICE = 16  # px of the scene between positions that are projected; between them they are interpolated
_MAX_BYTES = 2**27  # of the cells that are in memory at once
_BYTES_PER_VALUE = 18  # as read, as float64, and whether there is data


@dataclass(frozen=True)
class Bins:
    """Bins of equal width by which the values of a band are counted for percentiles.

    Parameters
    ----------
    width : float
        A percentile is at most half of it wrong.
    is_whole : bool
        Whether each whole number is in the middle of a bin, so that percentiles of whole numbers are exact.
    low, high : float
        Range of a sample. Values further away than its length are counted at that distance.
    """

    width: float
    is_whole: bool
    low: float
    high: float

    @classmethod
    def of_sample(cls, values: NDArray[Any], dtype: str) -> Bins:
        """Return the bins for a sample of the values of a band of a data type such as "uint8"."""
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        if np.dtype(dtype).kind in "iu" and high - low < _MAX_WHOLE:
            return cls(1 / max(1, int(N_BINS // max(high - low, 1))), True, low, high)
        width = (high - low) / N_BINS
        return cls(width if width > 0 else max(abs(low), 1.0) / N_BINS, False, low, high)


@dataclass(frozen=True)
class ValuesRaster:
    """A raster of values.

    Parameters
    ----------
    name : str
        Begin of the names of its columns.
    source : Scene or LabelRaster
        LabelRaster = categories, of which the most frequent one counts.
    bins : tuple of Bins
        Of each band; empty for categories.
    """

    name: str
    source: Scene | LabelRaster
    bins: tuple[Bins, ...] = ()

    @property
    def is_categories(self) -> bool:
        """Whether its values are categories."""
        return isinstance(self.source, LabelRaster)

    @property
    def layers(self) -> tuple[str, ...]:
        """Name of each band in the names of columns: that of the raster, with a number if there are several."""
        bands = self.source.bands if isinstance(self.source, Scene) else ()
        return (self.name,) if len(bands) < 2 else tuple(f"{self.name}_{band}" for band in bands)


def open_values(path: str, name: str, *, majority: bool = False, nodata_mode: NodataMode = "all") -> ValuesRaster:
    """Return the description of a raster of values, with the bins for percentiles from a sample of its cells.

    Parameters
    ----------
    path : str
        As in `open_scene`; all bands except alpha are used. With a palette or category names, the values are
        categories, in a single band.
    name : str
        Begin of the names of its columns.
    majority : bool
        Whether its values are categories in any case.
    nodata_mode : {"all", "any"}
        As in `Scene`; a band without data in a cell has no value there in either case.

    Raises
    ------
    RasterError
        If it cannot be read, has no CRS, or has no value in the sample.
    """
    with opened(path, reload=True) as src:
        has_names = any(interpretation.name == "palette" for interpretation in src.colorinterp)
    if majority or has_names:
        return ValuesRaster(name, open_label_raster(LabelInput(path)))
    scene = open_scene(path, nodata_mode=nodata_mode)
    samples: list[list[NDArray[Any]]] = [[] for _ in scene.bands]
    for window in spread_windows(scene.geobox.window, _N_WINDOWS, _WINDOW):
        try:
            pixels, known = _bands(scene, window)
        except DamageError:  # the tiles there will report it
            continue
        for i, sample in enumerate(samples):
            sample.append(pixels[i][known[i]])
    found = [np.concatenate([np.zeros(0, np.float32), *sample]) for sample in samples]
    if not any(len(sample) for sample in found):
        raise RasterError(f"{path} has no value in a sample of its cells. Check its nodata value, or leave it out.")
    return ValuesRaster(name, scene, tuple(map(Bins.of_sample, found, scene.dtypes)))


def check_overlap(raster: ValuesRaster, grid: GeoBox, path: str) -> None:
    """Check that a raster of values overlaps the grid of a scene, or of labels, at `path`.

    Raises
    ------
    RasterError
        If it does not, or its CRS cannot be transformed.
    """
    source = raster.source
    if _reaches(raster, grid) or any(
        cells_of(raster, *positions(raster, grid, window)) is not None
        for window in spread_windows(grid.window, _N_WINDOWS, 1)
    ):
        return
    if same_crs(source.geobox.crs, grid.crs):
        raise RasterError(f"{source.path} does not overlap {path}. Give values of the same place.")
    raise RasterError(
        f"{source.path} does not overlap {path} when it is transformed to its CRS. Give values of the same place, and "
        "check both CRS."
    )


def parts_of(
    raster: ValuesRaster, grid: GeoBox, window: Window
) -> Iterator[tuple[Window, Window, tuple[NDArray[np.float64], NDArray[np.float64]]]]:
    """Yield parts of a window whose cells fit into memory, each with the window of its cells and its `positions`.

    Parts without cells are left out.
    """
    at = positions(raster, grid, window)
    cells = cells_of(raster, *at)
    if cells is None:
        return
    n_bands = len(raster.source.bands) if isinstance(raster.source, Scene) else 1
    if cells.width * cells.height * n_bands * _BYTES_PER_VALUE <= _MAX_BYTES or max(window.shape) == 1:
        yield window, cells, at
        return
    for half in window.halves():
        yield from parts_of(raster, grid, half)


def read_values(raster: ValuesRaster, cells: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the values of cells, (band, y, x) float32 or int64, and where each band has one, (band, y, x) bool.

    Raises
    ------
    RasterError
        If the file is damaged there, or has categories beyond 2**53.
    """
    if isinstance(raster.source, LabelRaster):
        numbers, valid = read_labels(raster.source, cells)
        _check_exact(raster.source.path, numbers[valid])
        return numbers.astype(np.int64)[None], valid[None]
    return _bands(raster.source, cells)


def positions(raster: ValuesRaster, grid: GeoBox, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (col, row) in cells of the pixel centres of a window, (y, x) each; NaN = nowhere in that CRS.

    Notes
    -----
    From one CRS to another, positions are projected at every 16th pixel of the scene and interpolated between. They do
    not depend on the window.
    """
    geobox = raster.source.geobox
    cols, rows = window.col_off + np.arange(window.width) + 0.5, window.row_off + np.arange(window.height) + 0.5
    if same_crs(geobox.crs, grid.crs):
        t = ~geobox.transform @ grid.transform
        return t.a * cols + (t.b * rows + t.c)[:, None], t.d * cols + (t.e * rows + t.f)[:, None]
    nodes = [
        np.arange(int(along[0]) // _LATTICE, int(along[-1]) // _LATTICE + 2) * float(_LATTICE) for along in (cols, rows)
    ]
    node_x, node_y = grid.transform @ tuple(np.meshgrid(*nodes))
    x, y = _transformer(grid.crs, geobox.crs).transform(node_x, node_y)
    far = np.isinf(x) | np.isinf(y)
    u, v = ~geobox.transform @ (np.where(far, np.nan, x), np.where(far, np.nan, y))
    shares = [along / _LATTICE - some[0] / _LATTICE for along, some in zip((cols, rows), nodes, strict=True)]
    return _between(u, *shares), _between(v, *shares)


def cells_of(raster: ValuesRaster, u: NDArray[np.float64], v: NDArray[np.float64]) -> Window | None:
    """Return the cells that are needed at `positions`; None if there are none."""
    known = np.isfinite(u) & np.isfinite(v)
    if not known.any():
        return None
    rows, cols = raster.source.geobox.shape
    left, right = np.clip([u[known].min() - 1, u[known].max() + 2], -2, cols + 2).astype(np.int64)
    top, bottom = np.clip([v[known].min() - 1, v[known].max() + 2], -2, rows + 2).astype(np.int64)
    wanted = Window(int(left), int(top), int(right - left), int(bottom - top))
    return wanted.intersection(raster.source.geobox.window)


def _reaches(raster: ValuesRaster, grid: GeoBox) -> bool:
    """Return whether the rectangle around points spread over a raster, in pixels of a grid, overlaps that grid."""
    (rows, cols), (n_rows, n_cols) = raster.source.geobox.shape, grid.shape
    col, row = (axis.ravel() for axis in np.meshgrid(np.linspace(0, cols, 33), np.linspace(0, rows, 33)))
    x, y = raster.source.geobox.transform @ (col, row)
    if not same_crs(raster.source.geobox.crs, grid.crs):
        x, y = _transformer(raster.source.geobox.crs, grid.crs).transform(x, y)
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return False
    u, v = ~grid.transform @ (x[known], y[known])
    return bool(u.max() > 0 and u.min() < n_cols and v.max() > 0 and v.min() < n_rows)


def _check_exact(path: str, numbers: NDArray[np.integer]) -> None:
    """Check that categories are whole numbers that float64 represents, in which statistics are computed."""
    if numbers.size and max(abs(int(numbers.min())), abs(int(numbers.max()))) > _MAX_EXACT:
        raise RasterError(
            f"{path} has the categories {numbers.min()} to {numbers.max()}; expected numbers up to {_MAX_EXACT}. "
            "Renumber them first."
        )


def _bands(scene: Scene, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    pixels, known = read_bands(scene, window)
    return pixels, known & np.isfinite(pixels)


@functools.lru_cache(maxsize=32)  # takes some ms, and is needed for every tile
def _transformer(source: str, target: str) -> Transformer:
    try:
        return Transformer.from_crs(source, target, always_xy=True)
    except (CRSError, ProjError) as err:
        raise RasterError(f"the CRS of the values cannot be reached from that of the scene: {err}. Warp them.") from err


def _between(values: NDArray[np.float64], col: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values (y, x) at nodes between them, at each of `row` and `col`, counted in nodes."""
    i, j = (np.minimum(at.astype(np.int64), side - 2) for at, side in ((row, len(values)), (col, values.shape[1])))
    down, right = (row - i)[:, None], col - j
    upper = values[i][:, j] * (1 - right) + values[i][:, j + 1] * right
    lower = values[i + 1][:, j] * (1 - right) + values[i + 1][:, j + 1] * right
    return np.asarray(upper * (1 - down) + lower * down)
