"""Rasterise polygons by scanlines: which pixels of a grid have their centres in which polygon.

`rasterio.features.rasterize` converts every polygon to a Python dictionary, which takes most of its time; reports draw
a million polygons.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.errors import RasterError

_MAX_CROSSINGS = 2**23  # of edges with pixel rows, that are in memory at once
_MAX_OF_ONE = 2**26  # of one polygon


def covered_pixels(
    polygons: NDArray[np.object_], to_grid: Affine, shape: tuple[int, int]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pixels whose centres are in polygons.

    Parameters
    ----------
    polygons : (n,) array of shapely geometries
        Polygons or multi-polygons; other parts are ignored. No holes are filled: the even-odd rule.
    to_grid : Affine
        Coordinates of the polygons → (col, row) of the grid.
    shape : tuple of int
        (rows, cols) of the grid.

    Yields
    ------
    pixels : (m,) int64
        Positions in the raveled grid. A pixel of several polygons occurs several times.
    owners : (m,) int64
        Position in `polygons` of the polygon that has the pixel.

    Raises
    ------
    RasterError
        If a polygon takes too much memory.

    Examples
    --------
    >>> square = np.array([shapely.box(1, 0, 3, 2)])
    >>> [pixels.tolist() for pixels, _ in covered_pixels(square, Affine.identity(), (2, 4))]
    [[1, 2, 5, 6]]
    """
    if not len(polygons):
        return
    start, end, owners = _edges(polygons, to_grid)
    crossings = _row_span(start, end, shape[0])[1]
    of_polygon = np.bincount(owners, crossings, minlength=len(polygons)).astype(np.int64)
    if of_polygon.max() > _MAX_OF_ONE:
        raise RasterError(
            f"a polygon has edges that cross {of_polygon.max()} pixel rows; expected at most {_MAX_OF_ONE}. "
            f"Simplify or split the polygons first."
        )
    batches = np.cumsum(of_polygon) // _MAX_CROSSINGS
    for batch in np.unique(batches):
        kept = (batches == batch)[owners]
        yield _fill(start[kept], end[kept], owners[kept], shape)


def _edges(
    polygons: NDArray[np.object_], to_grid: Affine
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the start and end, each (edge, 2) as (col, row), and the polygon of the edges of all rings."""
    parts, of_part = shapely.get_parts(polygons, return_index=True)
    rings, of_ring = shapely.get_rings(parts, return_index=True)
    xy, of_vertex = shapely.get_coordinates(rings, return_index=True)
    place = np.array(to_grid @ (xy[:, 0], xy[:, 1]), np.float64).T
    inside = of_vertex[1:] == of_vertex[:-1]
    inside &= np.isfinite(place[1:]).all(axis=1) & np.isfinite(place[:-1]).all(axis=1)
    return place[:-1][inside], place[1:][inside], of_part[of_ring[of_vertex[:-1][inside]]]


def _row_span(
    start: NDArray[np.float64], end: NDArray[np.float64], n_rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row whose centre line each edge crosses, and how many it crosses."""
    rows = np.stack([start[:, 1], end[:, 1]])
    first, last = (np.ceil(np.clip(each - 0.5, -1, n_rows)).astype(np.int64) for each in (rows.min(0), rows.max(0)))
    first, last = np.maximum(first, 0), np.minimum(last, n_rows)
    return first, np.maximum(last - first, 0)


def _fill(
    start: NDArray[np.float64], end: NDArray[np.float64], owners: NDArray[np.int64], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels between the crossings of each row of each polygon, and their polygons."""
    first, n_rows = _row_span(start, end, shape[0])
    edges, steps = _counted(n_rows)
    rows = first[edges] + steps
    height = end[edges, 1] - start[edges, 1]  # not 0: the edge crosses a centre line
    cols = start[edges, 0] + (rows + 0.5 - start[edges, 1]) * (end[edges, 0] - start[edges, 0]) / height
    order = np.lexsort((cols, rows, owners[edges]))
    begin, until = order[0::2], order[1::2]  # closed rings cross each line an even number of times
    begin = begin[: len(until)]
    left, right = (np.ceil(np.clip(cols[each] - 0.5, -1, shape[1])).astype(np.int64) for each in (begin, until))
    left = np.maximum(left, 0)
    spans, steps = _counted(np.maximum(np.minimum(right, shape[1]) - left, 0))
    return rows[begin][spans] * shape[1] + left[spans] + steps, owners[edges][begin][spans]


def _counted(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each i ``counts[i]`` times, i and a number from 0.

    Examples
    --------
    >>> [each.tolist() for each in _counted(np.array([2, 0, 1]))]
    [[0, 0, 2], [0, 1, 0]]
    """
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
