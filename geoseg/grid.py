"""Windows, pixel grids with a CRS, and the tiles of a scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

_CORNER_TOLERANCE = 0.01  # px; corners of two grids closer than this are the same


class Window(NamedTuple):
    """A rectangle of pixels of the scene, as in rasterio.

    Parameters
    ----------
    col_off, row_off : int
        First column and row.
    width, height : int
        Size in pixels.
    """

    col_off: int
    row_off: int
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (rows, cols) of an array of the window."""
        return self.height, self.width

    @property
    def col_end(self) -> int:
        """First column to the right of the window."""
        return self.col_off + self.width

    @property
    def row_end(self) -> int:
        """First row below the window."""
        return self.row_off + self.height

    def expanded(self, margin: int, shape: tuple[int, int]) -> Window:
        """Return the window with `margin` pixels more on each side, clipped to a scene of `shape` (rows, cols)."""
        top, left = max(self.row_off - margin, 0), max(self.col_off - margin, 0)
        bottom, right = min(self.row_end + margin, shape[0]), min(self.col_end + margin, shape[1])
        return Window(left, top, right - left, bottom - top)

    def intersection(self, other: Window) -> Window | None:
        """Return the window of the common pixels, or None if there are none."""
        top, left = max(self.row_off, other.row_off), max(self.col_off, other.col_off)
        bottom, right = min(self.row_end, other.row_end), min(self.col_end, other.col_end)
        return Window(left, top, right - left, bottom - top) if bottom > top and right > left else None

    def halves(self) -> tuple[Window, Window]:
        """Return the two halves of a window of at least two pixels, cut across its longer side."""
        col, row, width, height = self
        if height >= width:
            half = height // 2
            return Window(col, row, width, half), Window(col, row + half, width, height - half)
        half = width // 2
        return Window(col, row, half, height), Window(col + half, row, width - half, height)

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Return the (row, col) slices of this window in an array of the window `outer`.

        Examples
        --------
        >>> Window(10, 20, 4, 3).within(Window(8, 20, 16, 16))
        (slice(0, 3, None), slice(2, 6, None))
        """
        top, left = self.row_off - outer.row_off, self.col_off - outer.col_off
        return slice(top, top + self.height), slice(left, left + self.width)


@dataclass(frozen=True)
class GeoBox:
    """A pixel grid with its place in a CRS.

    Parameters
    ----------
    shape : (rows, cols) int
    transform : Affine
        Pixel corner (col, row) → CRS (x, y); may rotate or mirror.
    crs : str
        WKT; "" = none, and lengths and areas are in pixels.
    """

    shape: tuple[int, int]
    transform: Affine
    crs: str

    @property
    def window(self) -> Window:
        """The window of all pixels."""
        return Window(0, 0, self.shape[1], self.shape[0])

    def cropped(self, window: Window) -> GeoBox:
        """Return the geobox of a window of this one."""
        return GeoBox(window.shape, self.transform @ Affine.translation(window.col_off, window.row_off), self.crs)


def same_corners(one: GeoBox, other: GeoBox) -> bool:
    """Return True if the corners of two grids are the same to a hundredth of a pixel."""
    rows, cols = one.shape
    if other.transform.determinant == 0:
        return False
    corners = np.array([[0, cols, 0, cols], [0, 0, rows, rows]], float)
    on_other = np.array(~other.transform @ tuple(one.transform @ tuple(corners)))
    return bool(np.abs(on_other - corners).max() <= _CORNER_TOLERANCE)


def same_crs(one: str, other: str) -> bool:
    """Return True if two CRS, as WKT, are the same except for the order of their axes."""
    try:
        return bool(CRS(one).equals(CRS(other), ignore_axis_order=True))
    except CRSError:
        return one == other


class Tile(NamedTuple):
    """One tile of a scene.

    Parameters
    ----------
    number : int
        From 0, in row-major order.
    core : Window
        The pixels that the tile owns.
    read : Window
        The core and its halo, clipped to the scene: the pixels that the tile has votes on.
    """

    number: int
    core: Window
    read: Window


@dataclass(frozen=True)
class TileGrid:
    """The tiles of a scene, numbered from 0 in row-major order; their cores partition the scene.

    A last row or column of tiles that would be narrower than two halos is merged into the one before. So at most two
    tiles overlap in each direction, and the weights of `feather` have the same sum everywhere.

    Parameters
    ----------
    shape : (rows, cols) int
        Of the scene.
    size : int
        Width and height of a core in pixels.
    halo : int
        Pixels read on each side of a core; at most half of `size`.

    Examples
    --------
    >>> grid = TileGrid((600, 1024), size=512, halo=32)
    >>> grid.n_rows, grid.n_cols
    (2, 2)
    >>> grid[1, 0].core
    Window(col_off=0, row_off=512, width=512, height=88)
    """

    shape: tuple[int, int]
    size: int
    halo: int

    def __len__(self) -> int:
        return self.n_rows * self.n_cols

    @property
    def n_rows(self) -> int:
        """Number of rows of tiles."""
        return self._count(self.shape[0])

    @property
    def n_cols(self) -> int:
        """Number of columns of tiles."""
        return self._count(self.shape[1])

    def __iter__(self) -> Iterator[Tile]:
        return (self.tile(number) for number in range(len(self)))

    def __getitem__(self, place: tuple[int, int]) -> Tile:
        row, col = place
        return self.tile(row * self.n_cols + col)

    def tile(self, number: int) -> Tile:
        """Return tile `number`, counted from 0 in row-major order."""
        row, col = divmod(number, self.n_cols)
        top, bottom = self._span(row, self.n_rows, self.shape[0])
        left, right = self._span(col, self.n_cols, self.shape[1])
        core = Window(left, top, right - left, bottom - top)
        return Tile(number, core, core.expanded(self.halo, self.shape))

    def touching(self, window: Window) -> list[int]:
        """Return the numbers of the tiles whose cores overlap `window`, ascending."""
        rows = self._indices(window.row_off, window.row_end, self.n_rows)
        cols = self._indices(window.col_off, window.col_end, self.n_cols)
        return [row * self.n_cols + col for row in rows for col in cols]

    def reading(self, window: Window) -> list[int]:
        """Return the numbers of the tiles whose read windows overlap `window`, ascending."""
        return self.touching(window.expanded(self.halo, self.shape))

    def feather(self, tile: Tile) -> NDArray[np.int64]:
        """Return the weight of a tile's votes on each pixel that it reads.

        The weights decrease linearly from the inside towards the edge of the halo. They are integers, so that sums do
        not depend on the order of the tiles. Over all tiles that read a pixel their sum is (4 halo)², or 1 without a
        halo.

        Returns
        -------
        (y, x) int64
            Over `tile.read`.
        """
        core, read = tile.core, tile.read
        rows = self._ramp(core.row_off, core.row_end, read.row_off, read.row_end)
        cols = self._ramp(core.col_off, core.col_end, read.col_off, read.col_end)
        return rows[:, None] * cols[None, :]

    def _count(self, length: int) -> int:
        n_whole, rest = divmod(length, self.size)
        return max(1, n_whole + (1 if rest and rest >= 2 * self.halo else 0))

    def _span(self, index: int, count: int, length: int) -> tuple[int, int]:
        return index * self.size, length if index == count - 1 else (index + 1) * self.size

    def _indices(self, begin: int, end: int, count: int) -> range:
        return range(min(begin // self.size, count - 1), min((end - 1) // self.size, count - 1) + 1)

    def _ramp(self, core_begin: int, core_end: int, begin: int, end: int) -> NDArray[np.int64]:
        positions = np.arange(begin, end)
        full = max(4 * self.halo, 1)
        rising = 2 * (positions - begin) + 1 if begin < core_begin else np.full(positions.shape, full)
        falling = 2 * (end - 1 - positions) + 1 if end > core_end else np.full(positions.shape, full)
        return np.minimum(np.minimum(rising, falling), full).astype(np.int64)


def windows_of(shape: tuple[int, int], size: tuple[int, int]) -> Iterator[Window]:
    """Yield windows of at most `size` that partition a raster, by rows; both are (rows, cols).

    Examples
    --------
    >>> [tuple(window) for window in windows_of((3, 5), (2, 4))]
    [(0, 0, 4, 2), (4, 0, 1, 2), (0, 2, 4, 1), (4, 2, 1, 1)]
    """
    for row in range(0, shape[0], size[0]):
        for col in range(0, shape[1], size[1]):
            yield Window(col, row, min(size[1], shape[1] - col), min(size[0], shape[0] - row))
