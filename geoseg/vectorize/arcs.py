"""The borders between regions, each once, as arcs in the core of a tile.

A node is a lattice point (pixel corner) at which three or more borders meet. An arc follows pixel edges from node to
node, or is a ring without nodes, between the same two regions; nodata counts as a region. The polygons on both sides
are built from the same arc, so they share its vertices however it is simplified.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.compiled import compiled, internal


class Arcs(NamedTuple):
    """Arcs, or parts of arcs. The region with the lower number is on the left; nodata (0) is the lowest.

    Parameters
    ----------
    xy : (vertex, 2) float64
        (col, row) in pixels where an arc turns and where it ends. A ring ends where it begins.
    offsets : (arc + 1,) int64
        Where the vertices of each arc begin in `xy`.
    left, right : (arc,) int64
        Pieces on both sides in the direction of the arc, with rows increasing downwards; 0 = nodata.
    ways : (arc, 2) int8
        Directions of the first and the last pixel edge: 0 right, 1 down, 2 left, 3 up.
    ring : (arc,) bool
        True = has no node.
    whole : (arc,) bool
        True = does not continue in another tile.
    """

    xy: NDArray[np.float64]
    offsets: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    ways: NDArray[np.int8]
    ring: NDArray[np.bool_]
    whole: NDArray[np.bool_]

    @property
    def n(self) -> int:
        """Number of arcs."""
        return len(self.left)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of vertices of each arc."""
        return np.diff(self.offsets)

    def take(self, chosen: NDArray[np.bool_]) -> Arcs:
        """Return some of the arcs, in the same order."""
        sizes = self.sizes
        xy = self.xy[np.repeat(chosen, sizes)]
        columns = (column[chosen] for column in self[2:])
        return Arcs(xy, starts_of(sizes[chosen]), *columns)  # type: ignore[arg-type]

    def edges(self) -> NDArray[np.int64]:
        """Return the number of pixel edges of each arc; valid only before it is simplified or smoothed."""
        steps = np.abs(np.diff(self.xy, axis=0)).sum(axis=1)
        total = np.concatenate([[0.0], np.cumsum(steps)])
        last = np.maximum(self.offsets[1:] - 1, 0)
        return np.rint(total[last] - total[self.offsets[:-1]]).astype(np.int64)


def no_arcs() -> Arcs:
    """Return an empty set of arcs."""
    return concatenate_arcs([])


def concatenate_arcs(parts: list[Arcs]) -> Arcs:
    """Return several sets of arcs as one."""
    nothing = np.zeros(0, np.int64)
    empty = Arcs(
        np.zeros((0, 2)),
        np.zeros(1, np.int64),
        nothing,
        nothing,
        np.zeros((0, 2), np.int8),
        np.zeros(0, np.bool_),
        np.zeros(0, np.bool_),
    )
    parts = [empty, *parts]
    columns = [np.concatenate([part[i] for part in parts]) for i in range(len(Arcs._fields)) if i != 1]
    return Arcs(columns[0], starts_of(np.concatenate([part.sizes for part in parts])), *columns[1:])


def starts_of(sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the offsets of consecutive groups of the given sizes, (group + 1,) int64."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def trace(regions: NDArray[np.int64], pieces: NDArray[np.int32], *, offset: tuple[int, int] = (0, 0)) -> Arcs:
    """Return the arcs in the core of a tile, and the parts of arcs that continue in another tile.

    Parameters
    ----------
    regions : (y + 2, x + 2) int64
        Region of each pixel of the core and of one pixel around it; 0 = nodata or outside the scene.
    pieces : (y + 2, x + 2) int32
        Piece of each pixel of the core; 0 = nodata or around the core.
    offset : (int, int)
        (col, row) of the first pixel of the core in the scene.

    Returns
    -------
    Arcs

    Notes
    -----
    Pixel edges on a tile line between two valid pixels are left out, since both tiles contain them; `mosaic` adds them.
    An arc that ends on a tile line at a point that is no node continues in another tile or in such an edge.

    Examples
    --------
    >>> arcs = trace(np.pad(np.array([[5, 7]]), 1), np.pad(np.array([[1, 2]], np.int32), 1))
    >>> arcs.xy[arcs.offsets[2] :].tolist(), arcs.left.tolist(), arcs.right.tolist()
    ([[1.0, 1.0], [1.0, 0.0]], [0, 0, 1], [2, 1, 2])
    """
    regions = np.require(regions, np.int64, ["C", "W"])  # one kind of array, so numba compiles once
    pieces = np.require(pieces, np.int32, ["C", "W"])
    stops = np.empty((regions.shape[0] - 1, regions.shape[1] - 1), np.uint8)
    n_edges = _find_stops(regions, pieces, stops)
    columns = _trace(regions, pieces, stops, n_edges, offset)
    n_vertices, n_arcs = columns[-2:]
    xy, ends, left, right, ways, ring, whole = columns[:-2]
    return Arcs(
        xy[:n_vertices],  # the rest was never written, so it takes no memory
        np.concatenate([np.zeros(1, np.int64), ends[:n_arcs]]),
        left[:n_arcs].copy(),
        right[:n_arcs].copy(),
        ways[:n_arcs].copy(),
        ring[:n_arcs].copy(),
        whole[:n_arcs].copy(),
    )


# Bits of a lattice point: its kind, then one bit for each direction in which a border leaves it.
_PASSED, _OPEN, _NODE = 1, 2, 3  # kinds of lattice points on a border; 0 = not on one
_KIND, _WAYS = 3, 2  # mask of the kind, and its number of bits


@internal(nogil=True)
def _sides(y, x, way):  # type: ignore[no-untyped-def]
    """Return the pixels left and right of the edge that leaves a lattice point, as rows and cols of the framed core."""
    if way == 0:
        return y, x + 1, y + 1, x + 1
    if way == 1:
        return y + 1, x + 1, y + 1, x
    if way == 2:
        return y + 1, x, y, x
    return y, x, y, x + 1


@internal(nogil=True)
def _is_traced(regions, pieces, y, x, way):  # type: ignore[no-untyped-def]
    """Return whether the edge that leaves a lattice point is a border that this tile traces."""
    height, width = regions.shape
    if (
        (way == 0 and x == width - 2)
        or (way == 1 and y == height - 2)
        or (way == 2 and x == 0)
        or (way == 3 and y == 0)
    ):
        return False
    a, b, c, d = _sides(y, x, way)
    if regions[a, b] == regions[c, d]:
        return False
    return (pieces[a, b] > 0 or regions[a, b] == 0) and (pieces[c, d] > 0 or regions[c, d] == 0)


@compiled(nogil=True)
def _find_stops(regions, pieces, stops):  # type: ignore[no-untyped-def]
    """Write the bits of every lattice point, and return the number of edges."""
    n_edges = 0
    height, width = stops.shape
    for y in range(height):
        for x in range(width):
            a, b, c, d = regions[y, x], regions[y, x + 1], regions[y + 1, x + 1], regions[y + 1, x]
            degree = (a != b) + (b != c) + (c != d) + (d != a)
            stops[y, x] = 0
            if degree == 0:
                continue
            ours, ways = degree, (b != c) + 2 * (c != d) + 4 * (d != a) + 8 * (a != b)
            if y == 0 or x == 0 or y == height - 1 or x == width - 1:
                ours, ways = 0, 0
                for way in range(4):
                    if _is_traced(regions, pieces, y, x, way):
                        ours, ways = ours + 1, ways + (1 << way)
            n_edges += ours
            if ours:
                stops[y, x] = (ways << _WAYS) + (_NODE if degree > 2 else _PASSED if ours == 2 else _OPEN)
    return n_edges // 2


@compiled(nogil=True)
def _trace(regions, pieces, stops, n_edges, offset):  # type: ignore[no-untyped-def]
    """Return the columns of the arcs, the number of vertices and that of arcs; changes `stops`."""
    xy = np.empty((2 * n_edges, 2), np.float64)
    ends = np.empty(n_edges, np.int64)
    left = np.empty(n_edges, np.int64)
    right = np.empty(n_edges, np.int64)
    ways = np.empty((n_edges, 2), np.int8)
    ring = np.zeros(n_edges, np.bool_)
    whole = np.zeros(n_edges, np.bool_)
    n_vertices, n_arcs = 0, 0
    for rings in (False, True):  # first from nodes and tile lines; what then remains are rings
        for y in range(stops.shape[0]):
            for x in range(stops.shape[1]):
                stop = stops[y, x]
                if stop == 0 or ((stop & _KIND) == _PASSED) != rings:
                    continue
                for way in range(4):
                    if not stop >> (_WAYS + way) & 1:
                        continue
                    a, b, c, d = _sides(y, x, way)
                    if regions[a, b] > regions[c, d]:
                        continue
                    n_vertices, last_y, last_x, last = _walk(stops, (y, x, way), offset, xy, n_vertices)
                    left[n_arcs], right[n_arcs] = pieces[a, b], pieces[c, d]
                    ways[n_arcs, 0], ways[n_arcs, 1] = way, last
                    ring[n_arcs] = rings
                    whole[n_arcs] = (stop & _KIND) != _OPEN and (stops[last_y, last_x] & _KIND) != _OPEN
                    ends[n_arcs] = n_vertices
                    n_arcs += 1
                    if rings:
                        break
    return xy, ends, left, right, ways, ring, whole, n_vertices, n_arcs


@internal(nogil=True)
def _walk(stops, start, offset, xy, n):  # type: ignore[no-untyped-def]
    """Follow an arc to its end; return the number of vertices, the end, and the last direction.

    Points between its ends belong to this arc alone, and are set to 0 in `stops`.
    """
    y, x, way = start
    left, top = offset
    xy[n, 0], xy[n, 1] = x + left, y + top
    n += 1
    while True:
        y += (way == 1) - (way == 3)
        x += (way == 0) - (way == 2)
        stop = stops[y, x]
        if (stop & _KIND) == _PASSED:
            stops[y, x] = 0
        if (stop & _KIND) != _PASSED or (y == start[0] and x == start[1]):
            xy[n, 0], xy[n, 1] = x + left, y + top
            return n + 1, y, x, way
        on = (stop >> _WAYS) & ~(1 << (way + 2) % 4)  # the direction that does not lead back
        following = 0 if on == 1 else 1 if on == 2 else 2 if on == 4 else 3
        if following != way:
            xy[n, 0], xy[n, 1] = x + left, y + top
            n += 1
            way = following
