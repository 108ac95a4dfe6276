"""Baseline: hierarchical merging of a region adjacency graph.

The two adjacent regions whose mean colours differ least are merged until no two adjacent regions differ by less than a
threshold. The graph of a whole scene does not fit into memory. So superpixels are merged in windows of 2 × 2 blocks,
one around each corner where blocks meet, and the moments of a superpixel are the means of its regions in the windows
around it, weighted by its position. On both sides of a border between blocks the same windows are used, so that no seam
appears. The classes are then found from these moments for the whole scene.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import TileGrid
from geoseg.segment.compiled import compiled, internal
from geoseg.segment.grouped import grouped_sum
from geoseg.segment.union_find import find
from geoseg.segment.vote_sums import FIXED
from geoseg.segment.votes import SuperpixelTable

_PRECISION = 1 / (256 * FIXED)  # blended moments are rounded to it, so that equal ones from all windows stay equal


def merge_table(
    own: SuperpixelTable,
    windows: Iterable[tuple[Sequence[SuperpixelTable], NDArray[np.float64]]],
    *,
    n_bands: int,
    threshold: float,
) -> SuperpixelTable:
    """Return the superpixel table of a block with the mean moments of the regions that superpixels are merged into.

    Parameters
    ----------
    own : SuperpixelTable
        Of the block.
    windows : iterable of (sequence of SuperpixelTable, (n,) float64)
        For each of the `corner_windows` the tables of its blocks, including `own`, and the weights of the superpixels.
    n_bands : int
        Number of the moments that are band means; merging depends on these alone.
    threshold : float
        As in `merge_similar`.

    Returns
    -------
    SuperpixelTable

    Notes
    -----
    A region that extends beyond a window may be merged differently in the next one. Its moments then change gradually
    between the two windows, and a class border may appear where the change crosses from one class to another.
    """
    if not len(own.numbers):
        return own
    moments = sum(
        weight[:, None] * _merged_moments(own.numbers, tables, n_bands, threshold) for tables, weight in windows
    )
    return replace(own, moments=np.rint(moments / _PRECISION) * _PRECISION)


def corner_windows(
    grid: TileGrid, block: int, centroids: NDArray[np.float64]
) -> list[tuple[list[int], NDArray[np.float64]]]:
    """Return the windows of 2 × 2 blocks around the corners of a block, and their weights at given positions.

    Parameters
    ----------
    grid : TileGrid
        Of the blocks.
    block : int
        Number of the block.
    centroids : (n, 2) float64
        Row and column in the scene.

    Returns
    -------
    list of (list of int, (n,) float64)
        For each window the numbers of its blocks, ascending, and its weights. The weights of all windows add up to 1:
        they decrease linearly from 1 at the corner to 0 one block away. At the border of the scene, where a window
        would have blocks on one side only, the adjacent window further inside is used instead.
    """
    row, col = divmod(block, grid.n_cols)
    core = grid.tile(block).core
    down = np.clip((centroids[:, 0] - core.row_off) / core.shape[0], 0, 1)
    right = np.clip((centroids[:, 1] - core.col_off) / core.shape[1], 0, 1)
    return [
        ([r * grid.n_cols + c for r in rows for c in cols], by_row * by_col)
        for rows, by_row in _block_pairs(row, grid.n_rows, down)
        for cols, by_col in _block_pairs(col, grid.n_cols, right)
    ]


def merge_similar(
    totals: NDArray[np.float64], pixels: NDArray[np.int64], pairs: NDArray[np.int64], *, threshold: float
) -> NDArray[np.int64]:
    """Return the regions after merging the most similar neighbours until none differ by less than `threshold`.

    Parameters
    ----------
    totals : (n, band) float64
        Sums over the pixels of each row.
    pixels : (n,) int64
        Above 0.
    pairs : (m, 2) int64
        Adjacent rows.
    threshold : float
        Difference of two means, the root mean square over the bands.

    Returns
    -------
    (n,) int64
        Lowest row of the region that each row is merged into.

    Notes
    -----
    Equal to ``skimage.graph.merge_hierarchical`` with mean colours, in a hundredth of its time. The heap holds the
    nearest neighbour of each region alone; an outdated entry is replaced when it is popped. Ties go to the lowest rows.

    Examples
    --------
    >>> merge_similar(np.array([[0.1], [0.12], [0.5]]), np.ones(3, int), np.array([[0, 1], [1, 2]]), threshold=0.1)
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


def _block_pairs(index: int, count: int, share: NDArray[np.float64]) -> list[tuple[range, NDArray[np.float64]]]:
    """Return the pairs of adjacent rows of blocks before and after the centre of row `index`, and their weights."""
    if count == 1:
        return [(range(1), np.ones_like(share))]
    if index in (0, count - 1):  # at the border of the scene
        first = min(index, count - 2)
        return [(range(first, first + 2), np.ones_like(share))]
    return [(range(index - 1, index + 1), 1 - share), (range(index, index + 2), share)]


def _merged_moments(
    wanted: NDArray[np.int64], tables: Sequence[SuperpixelTable], n_bands: int, threshold: float
) -> NDArray[np.float64]:
    """Return the mean moments of the regions of the superpixels `wanted` in a window, (n, moment) float64."""
    filled = [table for table in tables if len(table.numbers)]
    numbers, pixels, moments, pairs = (
        np.concatenate([vars(table)[name] for table in filled]) for name in ("numbers", "pixels", "moments", "pairs")
    )  # ascending, as the blocks are sorted
    ends = np.minimum(np.searchsorted(numbers, pairs), len(numbers) - 1)
    inside = (numbers[ends] == pairs).all(axis=1)  # the second superpixel may lie outside the window
    totals = np.rint(moments * pixels[:, None] * FIXED)  # integers: exact sums in any order
    region = merge_similar(totals[:, :n_bands] / FIXED, pixels, ends[inside], threshold=threshold)
    sums = grouped_sum(totals, region, len(region))
    of_wanted = region[np.searchsorted(numbers, wanted)]
    return sums[of_wanted] / (FIXED * grouped_sum(pixels, region, len(region))[of_wanted, None])


_END = -1  # of a linked list of neighbours


class _Graph(NamedTuple):
    """Mutable graph of regions. `first`, `following` and `last` link the entries of `other`, a region's neighbours."""

    totals: NDArray[np.float64]
    pixels: NDArray[np.float64]
    parent: NDArray[np.int64]
    version: NDArray[np.int64]  # incremented when a region changes
    seen: NDArray[np.int64]  # number of the last search that visited the region
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    following: NDArray[np.int64]
    other: NDArray[np.int64]


@compiled()
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
            continue  # outdated: merged or changed since the search
        if graph.version[a] == version_a and graph.version[b] == version_b:
            _join(graph, a, b)
            x = a
        heapq.heappush(heap, _nearest(graph, x, n_searches))
        n_searches += 1
    return np.array([find(graph.parent, x) for x in range(n)])


@compiled()
def _nearest(graph, x, search):  # type: ignore[no-untyped-def]
    """Return (difference, lower row, higher row, x, versions of both) for the most similar neighbour of x."""
    least, nearest = np.inf, x
    before, place = _END, graph.first[x]
    while place != _END:
        y = find(graph.parent, graph.other[place])
        if y == x or graph.seen[y] == search:  # already merged or visited: remove the entry
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


@internal()
def _difference(graph, x, y):  # type: ignore[no-untyped-def]
    n_bands = graph.totals.shape[1]
    square = 0.0
    for band in range(n_bands):
        square += (graph.totals[x, band] / graph.pixels[x] - graph.totals[y, band] / graph.pixels[y]) ** 2
    return np.sqrt(square / n_bands)


@internal()
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
