"""Regions of a tile as runs of pixels: the order in which their attributes are computed, one region after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.compiled import compiled
from geoseg.vectorize.regions import Regions


class RegionRuns(NamedTuple):
    """Runs of pixels of one region in one row of a tile's core, region after region, from top to bottom.

    Parameters
    ----------
    rows, begins, ends : (run,) int32
        Row, first column, and column after the last, in the core.
    offsets : (region + 1,) int64
        Where the runs of each region begin.
    """

    rows: NDArray[np.int32]
    begins: NDArray[np.int32]
    ends: NDArray[np.int32]
    offsets: NDArray[np.int64]


class LocalRegions(NamedTuple):
    """Regions in and around a core, numbered from 0.

    Parameters
    ----------
    numbers : (region,) int64
        Number of each in the scene, ascending.
    map : (y + 2, x + 2) int32
        Region of each pixel of the core and of one pixel around it; -1 = nodata or outside the scene.
    is_open : (region,) bool
        Whether a region has pixels on both sides of a side of the core; such a region may continue in any tile.
    """

    numbers: NDArray[np.int64]
    map: NDArray[np.int32]
    is_open: NDArray[np.bool_]


def local_regions(
    pieces: NDArray[np.int32], lookup: NDArray[np.int64], frame: Sequence[NDArray[np.int64]]
) -> LocalRegions:
    """Return the regions in and around a core with numbers of their own.

    Parameters
    ----------
    pieces : (y, x) int32
        Piece of each pixel, from 1; 0 = nodata.
    lookup : (piece + 1,) int64
        Region of each piece; 0 stays 0.
    frame : sequence of 4 (n,) int64
        Regions of the pixels above, below (both with the corners), left and right; 0 = nodata or outside the scene.

    Examples
    --------
    >>> nothing = np.zeros(1, np.int64)
    >>> frame = (np.zeros(3, np.int64), np.zeros(3, np.int64), nothing, np.array([9]))
    >>> found = local_regions(np.array([[1]], np.int32), np.array([0, 9]), frame)
    >>> found.numbers, found.is_open, found.map[1]
    (array([9]), array([ True]), array([-1,  0,  0], dtype=int32))
    """
    numbers = np.unique(np.concatenate([lookup, *frame]))
    numbers = numbers[numbers > 0]

    def local(regions: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.where(regions > 0, np.searchsorted(numbers, regions), -1).astype(np.int32)

    index = np.full((pieces.shape[0] + 2, pieces.shape[1] + 2), -1, np.int32)
    index[1:-1, 1:-1] = local(lookup)[pieces]
    above, below, left, right = map(local, frame)
    index[0], index[-1], index[1:-1, 0], index[1:-1, -1] = above, below, left, right
    is_open = np.zeros(len(numbers) + 1, np.bool_)  # the last takes nodata
    for inside, outside in (
        (index[1, 1:-1], index[0, 1:-1]),
        (index[-2, 1:-1], index[-1, 1:-1]),
        (index[1:-1, 1], index[1:-1, 0]),
        (index[1:-1, -2], index[1:-1, -1]),
    ):
        is_open[inside[inside == outside]] = True
    return LocalRegions(numbers, index, is_open[:-1])


def last_tiles(regions: Regions, n_tiles: int) -> NDArray[np.int64]:
    """Return the last tile in which each region has pixels, (region,) int64."""
    last = np.zeros(len(regions) + 1, np.int64)
    for number in range(n_tiles):
        last[regions.of_tile(number)] = number
    return last[1:]


def region_runs(regions: LocalRegions) -> RegionRuns:
    """Return the runs of the regions of a core.

    Examples
    --------
    >>> index = np.pad(np.array([[0, 0, 1], [1, 1, 1]], np.int32), 1, constant_values=-1)
    >>> runs = region_runs(LocalRegions(np.array([5, 7]), index, np.zeros(2, bool)))
    >>> runs.offsets, runs.rows, runs.begins, runs.ends
    (array([0, 1, 3]), array([0, 0, 1], dtype=int32), array([0, 2, 0], dtype=int32), array([2, 3, 3], dtype=int32))
    """
    return RegionRuns(*_runs(regions.map, len(regions.numbers)))


def summed_rows(runs: RegionRuns, index: NDArray[np.integer[Any]], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums over the pixels of each region of the rows of a table, (region, column) float64.

    Parameters
    ----------
    runs : RegionRuns
    index : (y, x) int
        Row of the table of each pixel.
    rows : (n, column) float64
    """
    sums: NDArray[np.float64] = _summed(runs, np.ascontiguousarray(index, np.int64), np.ascontiguousarray(rows))
    return sums


@compiled(nogil=True)
def _summed(runs, index, table):  # type: ignore[no-untyped-def]
    rows, begins, ends, offsets = runs
    sums = np.zeros((len(offsets) - 1, table.shape[1]))
    for region in range(len(offsets) - 1):
        for run in range(offsets[region], offsets[region + 1]):
            for col in range(begins[run], ends[run]):
                for k in range(table.shape[1]):
                    sums[region, k] += table[index[rows[run], col], k]
    return sums


@compiled(nogil=True)
def _runs(index, n_regions):  # type: ignore[no-untyped-def]
    height, width = index.shape[0] - 2, index.shape[1] - 2
    offsets = np.zeros(n_regions + 2, np.int64)
    for row in range(1, height + 1):
        for col in range(1, width + 1):
            region = index[row, col]
            if region >= 0 and (col == 1 or index[row, col - 1] != region):
                offsets[region + 2] += 1
    for region in range(n_regions):
        offsets[region + 2] += offsets[region + 1]
    n_runs = offsets[n_regions + 1]
    rows, begins, ends = np.empty(n_runs, np.int32), np.empty(n_runs, np.int32), np.empty(n_runs, np.int32)
    for row in range(1, height + 1):
        begin = 1
        for col in range(2, width + 2):
            region = index[row, begin]
            if col <= width and index[row, col] == region:
                continue
            if region >= 0:
                at = offsets[region + 1]
                rows[at], begins[at], ends[at] = row - 1, begin - 1, col - 1
                offsets[region + 1] = at + 1
            begin = col
    return rows, begins, ends, offsets[: n_regions + 1].copy()
