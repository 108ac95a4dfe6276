"""Neighbours of regions: lengths of common borders, contrast across them, borders to nodata, distance to nodata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from geoseg.grid import Window
from geoseg.raster.pixel_size import PixelSize
from geoseg.segment.compiled import compiled, internal
from geoseg.vectorize.region_runs import LocalRegions, RegionRuns

_MAX_CELLS = 2**22  # of the map of nodata
_MIN_CELL = 8  # px


class Borders(NamedTuple):
    """Borders of regions, in pixel edges.

    Parameters
    ----------
    edges : (region,) int64
        Pixel edges to other regions.
    to_nodata : (region,) int64
        Pixel edges to nodata or the outside of the scene.
    contrast, difference : (region,) float64
        Sum over the edges to other regions of the absolute difference in brightness, and of the own brightness minus
        the other one.
    """

    edges: NDArray[np.int64]
    to_nodata: NDArray[np.int64]
    contrast: NDArray[np.float64]
    difference: NDArray[np.float64]

    @classmethod
    def zeros(cls, n: int) -> Borders:
        """Return the borders of `n` regions without pixels."""
        return cls(np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n), np.zeros(n))


class Adjacency(NamedTuple):
    """Pairs of regions that share a border; each pair twice, once from either side.

    Parameters
    ----------
    pairs : (pair, 2) int64
    edges : (pair,) int64
        Pixel edges of the common border.
    length : (pair,) float64
        Length of these edges in m.
    """

    pairs: NDArray[np.int64]
    edges: NDArray[np.int64]
    length: NDArray[np.float64]


def borders_of(
    runs: RegionRuns, regions: LocalRegions, brightness: NDArray[np.float32], size: PixelSize
) -> tuple[Borders, Adjacency]:
    """Return the borders of the pixels of a core.

    Parameters
    ----------
    runs : RegionRuns
    regions : LocalRegions
    brightness : (y + 2, x + 2) float32
        Of the pixels of the core and of one pixel around it.
    size : PixelSize
        Of the core.
    """
    width, height = (side.reshape(len(side), -1) for side in (size.width, size.height))
    own, to_nodata, contrast, difference, pairs, edges, length = _borders(runs, regions.map, brightness, width, height)
    return Borders(own, to_nodata, contrast, difference), Adjacency(regions.numbers[pairs], edges, length)


def summed_adjacency(parts: list[Adjacency]) -> Adjacency:
    """Return the sum of the adjacency of tiles, with the pairs in ascending order."""
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *(part.pairs for part in parts)])
    edges = np.concatenate([np.zeros(0, np.int64), *(part.edges for part in parts)])
    length = np.concatenate([np.zeros(0), *(part.length for part in parts)])
    base = int(pairs.max(initial=0)) + 1
    keys, inverse = np.unique(pairs[:, 0] * base + pairs[:, 1], return_inverse=True)
    inverse = inverse.ravel()
    return Adjacency(
        np.stack(np.divmod(keys, base), axis=1),
        np.bincount(inverse, edges, minlength=len(keys)).astype(np.int64),
        np.asarray(np.bincount(inverse, length, minlength=len(keys)), np.float64),
    )


@dataclass(frozen=True)
class NodataMap:
    """Coarse map of nodata, whose cells belong to the scene and not to its tiles.

    Parameters
    ----------
    shape : (int, int)
        Pixels of the scene, (rows, cols).
    """

    shape: tuple[int, int]

    @property
    def cell(self) -> int:
        """Side of a cell in pixels: a power of two, at least 8, so that the map has at most 4 million cells."""
        side = _MIN_CELL
        while -(-self.shape[0] // side) * -(-self.shape[1] // side) > _MAX_CELLS:
            side *= 2
        return side

    def cells(self, window: Window) -> tuple[slice, slice]:
        """Return the (row, col) slices of the cells that a window touches."""
        side = self.cell
        return (
            slice(window.row_off // side, -(-window.row_end // side)),
            slice(window.col_off // side, -(-window.col_end // side)),
        )

    def of_tile(self, is_nodata: NDArray[np.bool_], window: Window) -> NDArray[np.bool_]:
        """Return which cells that a window touches have nodata in it, from its pixels, (y, x) bool."""
        rows, cols = self.cells(window)
        starts = (
            np.maximum(np.arange(some.start, some.stop) * self.cell - off, 0)
            for some, off in ((rows, window.row_off), (cols, window.col_off))
        )
        found = is_nodata
        for axis, first in enumerate(starts):
            found = np.logical_or.reduceat(found, first, axis=axis)
        return found

    def empty(self) -> NDArray[np.bool_]:
        """Return a map without nodata, (row, col) bool."""
        return np.zeros(tuple(-(-side // self.cell) for side in self.shape), np.bool_)

    def distances(self, cells: NDArray[np.bool_], centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance from points to nodata or the outside of the scene in pixels.

        Parameters
        ----------
        cells : (row, col) bool
            True = nodata in the cell.
        centre : (point, 2) float64
            (x, y) in pixels.

        Returns
        -------
        (point,) float64
            Between the centre of the point's cell and that of the nearest cell with nodata or outside of the scene; 0
            in such a cell.
        """
        distance = distance_transform_edt(~np.pad(cells, 1, constant_values=True))
        col, row = (np.floor(centre).astype(np.int64) // self.cell + 1).T
        return np.asarray(distance[row, col] * self.cell)


@compiled(nogil=True)
def _borders(runs, index, brightness, width, height):  # type: ignore[no-untyped-def]
    rows, begins, ends, offsets = runs
    n_regions = len(offsets) - 1
    own, to_nodata = np.zeros(n_regions, np.int64), np.zeros(n_regions, np.int64)
    contrast, difference = np.zeros(n_regions), np.zeros(n_regions)
    most = 4 * len(rows) + 2 * (index.shape[0] + index.shape[1])
    pairs, edges, length = np.empty((most, 2), np.int64), np.empty(most, np.int64), np.empty(most)
    place = np.full(n_regions, -1, np.int64)  # of the pair with each region
    each = 1 if width.shape[1] > 1 else 0  # one size per pixel, or one per row
    total = 0
    for region in range(n_regions):
        first = total
        for run in range(offsets[region], offsets[region + 1]):
            row = rows[run] + 1
            for col in range(begins[run] + 1, ends[run] + 1):
                for right, down in ((0, -1), (-1, 0), (1, 0), (0, 1)):
                    other = index[row + down, col + right]
                    if other == region:
                        continue
                    if other < 0:
                        to_nodata[region] += 1
                        continue
                    apart = np.float64(brightness[row, col]) - brightness[row + down, col + right]
                    own[region] += 1
                    contrast[region] += abs(apart)
                    difference[region] += apart
                    at = place[other]
                    if at < first:
                        if total == len(edges):
                            pairs, edges, length = _longer(pairs, edges, length)
                        at = place[other] = total
                        pairs[at, 0], pairs[at, 1], edges[at], length[at] = region, other, 0, 0.0
                        total += 1
                    edges[at] += 1
                    if right == 0:
                        length[at] += width[row - 1 + (down > 0), (col - 1) * each]
                    else:
                        length[at] += height[row - 1, (col - 1 + (right > 0)) * each]
    return own, to_nodata, contrast, difference, pairs[:total].copy(), edges[:total].copy(), length[:total].copy()


@internal(nogil=True)
def _longer(pairs, edges, length):  # type: ignore[no-untyped-def]
    n = len(edges)
    more_pairs, more_edges, more_length = np.empty((2 * n, 2), np.int64), np.empty(2 * n, np.int64), np.empty(2 * n)
    more_pairs[:n], more_edges[:n], more_length[:n] = pairs, edges, length
    return more_pairs, more_edges, more_length
