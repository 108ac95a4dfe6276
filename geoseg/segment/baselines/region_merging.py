"""The region adjacency graph: superpixels that touch and look alike become one.

Nothing is learned here: the two neighbours with the nearest mean colours are joined, again and again, until no two
neighbours are nearer than a threshold. Regions have no end at a block line, and a scene's graph would not fit the
memory; so superpixels are joined in windows of two by two blocks, one around each corner where blocks meet, and each
superpixel takes on the looks of what it is joined with in the windows around it, blended by where it lies. Next to a
block line both sides hear the same windows. Classes are then made from these looks, for the whole scene at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import TileGrid
from geoseg.segment.grouped import grouped_sum
from geoseg.segment.superpixels import BlockSuperpixels
from geoseg.segment.union_find import find
from geoseg.segment.votes import FIXED, SuperpixelTable

_GRAIN = 1 / (256 * FIXED)  # to which blended looks are rounded: the same from all windows, they stay the same


def merge_table(
    own: SuperpixelTable,
    windows: Iterable[tuple[Sequence[SuperpixelTable], NDArray[np.float64]]],
    *,
    n_bands: int,
    threshold: float,
) -> SuperpixelTable:
    """Return the ground of a block, each superpixel with the mean looks of what it is joined with.

    Parameters
    ----------
    own : of the block
    windows : as of `corner_windows`: the grounds of a window's blocks, the block itself among them, and how much the
        window counts for each superpixel of the block
    n_bands : how many of the looks are bands; these alone decide what is joined
    threshold : of `merge_alike`

    Notes
    -----
    A window is half a block wider than where it counts. SuperpixelTable that goes on further can be joined otherwise in one
    window than in the next: its looks then change slowly from the one to the other, and where that passes from one
    class to another, a border of classes can cross it that is none on the ground. It can lie anywhere.
    """
    if not len(own.numbers):
        return own
    moments = sum(
        weight[:, None] * _merged_moments(own.numbers, superpixel_tables, n_bands, threshold)
        for superpixel_tables, weight in windows
    )
    return replace(own, moments=np.rint(moments / _GRAIN) * _GRAIN)


def corner_windows(
    grid: TileGrid, block: int, middles: NDArray[np.float64]
) -> list[tuple[list[int], NDArray[np.float64]]]:
    """Return the windows of two by two blocks around a block's corners, and how much each counts at each place.

    Parameters
    ----------
    grid : of the blocks
    middles : (n, 2) float64, row and column in the scene

    Returns
    -------
    For each window the numbers of its blocks, ascending, and (n,) weights, which add up to 1 over the windows: in a
    straight line from 1 at the window's corner to 0 one block away. At the rim of the scene, where a window would
    have blocks on one side only, the one further in counts instead.
    """
    row, col = divmod(block, grid.n_cols)
    core = grid.tile(block).core
    down = np.clip((middles[:, 0] - core.row_off) / core.shape[0], 0, 1)
    right = np.clip((middles[:, 1] - core.col_off) / core.shape[1], 0, 1)
    return [
        ([r * grid.n_cols + c for r in rows for c in cols], by_row * by_col)
        for rows, by_row in _couples(row, grid.n_rows, down)
        for cols, by_col in _couples(col, grid.n_cols, right)
    ]


def middles(made: BlockSuperpixels, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the row and column in the scene of the middles of a block's superpixels, (n, 2) float64."""
    if not len(numbers):
        return np.zeros((0, 2))
    inside = ndimage.center_of_mass(np.ones(made.labels.shape, np.float32), made.numbers, numbers)
    return np.asarray(inside) + np.array([made.block.read.row_off, made.block.read.col_off])


def merge_alike(
    totals: NDArray[np.float64], pixels: NDArray[np.int64], pairs: NDArray[np.int64], *, threshold: float
) -> NDArray[np.int64]:
    """Join the two neighbours whose means differ least, until no neighbours differ by less than `threshold`.

    Parameters
    ----------
    totals : (n, band) float64, sums over the pixels
    pixels : (n,) int64, above 0
    pairs : (m, 2) int64, rows that touch
    threshold : root mean square over the bands of the difference of two means

    Returns
    -------
    (n,) int64, the lowest row that each row has been joined with

    Notes
    -----
    What ``skimage.graph.merge_hierarchical`` does with mean colours, in a hundredth of its time. Only the nearest
    neighbour of each region waits in the heap; one that is out of date when its turn comes looks again. Ties go to the
    lowest rows.

    Examples
    --------
    >>> merge_alike(np.array([[0.1], [0.12], [0.5]]), np.ones(3, int), np.array([[0, 1], [1, 2]]), threshold=0.1)
    array([0, 0, 2])
    """
    n = len(pixels)
    if not n:
        return np.zeros(0, np.int64)
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    ends = ends[np.argsort(ends[:, 0], kind="stable")]
    first = np.searchsorted(ends[:, 0], np.arange(n + 1))
    following = np.arange(1, len(ends) + 1)
    following[first[1:][np.diff(first) > 0] - 1] = _END
    graph = _Graph(
        totals=totals.astype(np.float64),
        pixels=pixels.astype(np.float64),
        parent=np.arange(n),
        version=np.zeros(n, np.int64),
        seen=np.full(n, -1),
        first=np.where(np.diff(first) > 0, first[:-1], _END),
        last=first[1:] - 1,
        following=following,
        other=np.ascontiguousarray(ends[:, 1]),
    )
    region: NDArray[np.int64] = _merge(graph, float(threshold))
    return region


def _couples(index: int, count: int, share: NDArray[np.float64]) -> list[tuple[range, NDArray[np.float64]]]:
    """Return the two rows of blocks that meet before row `index` and the two behind, and how much they count."""
    if count == 1:
        return [(range(1), np.ones_like(share))]
    if index in (0, count - 1):  # the rim of the scene
        first = min(index, count - 2)
        return [(range(first, first + 2), np.ones_like(share))]
    return [(range(index - 1, index + 1), 1 - share), (range(index, index + 2), share)]


def _merged_moments(
    wanted: NDArray[np.int64], superpixel_tables: Sequence[SuperpixelTable], n_bands: int, threshold: float
) -> NDArray[np.float64]:
    """Return the mean looks of what the superpixels `wanted` are joined with in a window, (n, look) float64."""
    filled = [superpixel_table for superpixel_table in superpixel_tables if len(superpixel_table.numbers)]
    numbers, pixels, moments, pairs = (
        np.concatenate([vars(superpixel_table)[name] for superpixel_table in filled])
        for name in ("numbers", "pixels", "moments", "pairs")
    )  # ascending, as the blocks are
    ends = np.minimum(np.searchsorted(numbers, pairs), len(numbers) - 1)
    inside = (numbers[ends] == pairs).all(axis=1)  # the other end may lie in a block beyond the window
    totals = np.rint(moments * pixels[:, None] * FIXED)  # whole numbers: their sums do not depend on the order
    region = merge_alike(totals[:, :n_bands] / FIXED, pixels, ends[inside], threshold=threshold)
    sums = grouped_sum(totals, region, len(region))
    of_wanted = region[np.searchsorted(numbers, wanted)]
    return sums[of_wanted] / (FIXED * grouped_sum(pixels, region, len(region))[of_wanted, None])


_END = -1  # of a list of neighbours


class _Graph(NamedTuple):
    """Regions under way; `first`, `following` and `last` chain the places in `other` with a region's neighbours."""

    totals: NDArray[np.float64]
    pixels: NDArray[np.float64]
    parent: NDArray[np.int64]
    version: NDArray[np.int64]  # goes up whenever a region changes
    seen: NDArray[np.int64]  # by which search
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    following: NDArray[np.int64]
    other: NDArray[np.int64]


@njit(cache=True)
def _merge(graph, threshold):  # type: ignore[no-untyped-def]
    n = len(graph.pixels)
    n_searches = 0
    heap = []
    for x in range(n):
        heap.append(_nearest(graph, x, n_searches))
        n_searches += 1
    heapq.heapify(heap)
    while heap[0][0] < threshold:
        _, a, b, x, version_a, version_b = heapq.heappop(heap)
        version = version_a if x == a else version_b
        if graph.parent[x] != x or graph.version[x] != version:
            continue  # it is part of another, or has changed and searched since then
        if graph.version[a] == version_a and graph.version[b] == version_b:
            _join(graph, a, b)
            x = a
        heapq.heappush(heap, _nearest(graph, x, n_searches))
        n_searches += 1
    return np.array([find(graph.parent, x) for x in range(n)])


@njit(cache=True)
def _nearest(graph, x, search):  # type: ignore[no-untyped-def]
    """Return (difference, lower row, higher row, x, versions of both) for the neighbour that x differs least from."""
    least, nearest = np.inf, x
    before, place = _END, graph.first[x]
    while place != _END:
        y = find(graph.parent, graph.other[place])
        if y == x or graph.seen[y] == search:  # what has become one: this place is not needed any more
            if before == _END:
                graph.first[x] = graph.following[place]
            else:
                graph.following[before] = graph.following[place]
        else:
            graph.seen[y] = search
            before = place
            difference = _difference(graph, x, y)
            if difference < least or (difference == least and y < nearest):
                least, nearest = difference, y
        place = graph.following[place]
    graph.last[x] = before
    a, b = min(x, nearest), max(x, nearest)
    return least, a, b, x, graph.version[a], graph.version[b]


@njit(cache=True)
def _difference(graph, x, y):  # type: ignore[no-untyped-def]
    n_bands = graph.totals.shape[1]
    square = 0.0
    for band in range(n_bands):
        square += (graph.totals[x, band] / graph.pixels[x] - graph.totals[y, band] / graph.pixels[y]) ** 2
    return np.sqrt(square / n_bands)


@njit(cache=True)
def _join(graph, a, b):  # type: ignore[no-untyped-def]
    graph.parent[b] = a
    graph.version[a] += 1
    graph.version[b] += 1
    graph.totals[a] += graph.totals[b]
    graph.pixels[a] += graph.pixels[b]
    if graph.first[b] != _END:
        if graph.first[a] == _END:
            graph.first[a] = graph.first[b]
        else:
            graph.following[graph.last[a]] = graph.first[b]
        graph.last[a] = graph.last[b]
