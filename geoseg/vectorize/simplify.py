"""Simplification and smoothing of whole arcs, each by itself and only once.

The result for an arc depends on the arc, on the lattice points of other arcs near it, and on the sizes of the two
regions beside it; neither on the order of the arcs nor on the tiles. A border to nodata never moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.compiled import compiled, internal
from geoseg.vectorize.arcs import Arcs, starts_of
from geoseg.vectorize.smooth import keep_area, pixel_edges, smooth_line, twice_area

_SMOOTH_SHARE = 0.25  # × tolerance: corners are more visible in a smooth line than in a staircase
_MAX_OFFSET = 0.49  # px from the middle of a pixel edge: within it a smooth border separates the two pixel centres
_NEGLIGIBLE = 1e-9  # px or px²: below it a vertex is no corner


@dataclass(frozen=True)
class Shaping:
    """Options for the simplification and smoothing of borders.

    Parameters
    ----------
    tolerance : float
        Distance in pixels that a border may move when it is simplified, a smooth one a quarter of it. 0 = no corner is
        removed.
    smooth : bool
        Smooth the staircase of pixels first.
    min_pixels : float
        No region becomes smaller than this, and smaller ones do not shrink.
    """

    tolerance: float = 0.0
    smooth: bool = False
    min_pixels: float = 0.0

    @property
    def changes(self) -> bool:
        """Whether borders are changed at all."""
        return self.smooth or self.tolerance > 0

    @property
    def neighbours(self) -> float:
        """Distance in pixels within which lattice points of other arcs matter; 0 = none matters."""
        return 0.0 if self.smooth else 2 * self.tolerance


class Points(NamedTuple):
    """Lattice points on arcs, in reading order.

    Parameters
    ----------
    keys : (point,) int64
        row · `width` + col, ascending; a point may occur several times.
    arcs : (point,) int64
        Arc that turns at the point; -1 = a node, or an arc that is not simplified.
    places : (point,) int64
        Index of the vertex in its arc, from 0.
    width : int
        Above every col.
    """

    keys: NDArray[np.int64]
    arcs: NDArray[np.int64]
    places: NDArray[np.int64]
    width: int


def no_points() -> Points:
    """Return an empty set of points."""
    nothing = np.zeros(0, np.int64)
    return Points(nothing, nothing, nothing, 1)


def lattice_points(arcs: Arcs, *, others: NDArray[np.int64] | None = None) -> Points:
    """Return the vertices of traced arcs, and `others`, (point, 2) int64 col and row, as points without an arc."""
    others = np.zeros((0, 2), np.int64) if others is None else others
    xy = np.concatenate([arcs.xy.astype(np.int64), others])
    owners = np.repeat(np.arange(arcs.n), arcs.sizes)
    places = np.arange(len(arcs.xy)) - np.repeat(arcs.offsets[:-1], arcs.sizes)
    ends = (places == 0) | (places == np.repeat(arcs.sizes, arcs.sizes) - 1)
    owners[ends & ~np.repeat(arcs.ring, arcs.sizes)] = -1
    owners = np.concatenate([owners, np.full(len(others), -1)])
    places = np.concatenate([places, np.zeros(len(others), np.int64)])
    width = int(xy[:, 0].max(initial=0)) + 1
    keys = xy[:, 1] * width + xy[:, 0]
    order = np.argsort(keys, kind="stable")
    return Points(keys[order], owners[order], places[order], width)


def area_allowances(arcs: Arcs, pixels: NDArray[np.int64], min_pixels: float) -> NDArray[np.float64]:
    """Return the area that each arc may take from the regions on its left and right.

    Parameters
    ----------
    arcs : Arcs
        As traced.
    pixels : (piece + 1,) int64
        Size of the region of each piece; the first element is not used.
    min_pixels : float
        Size below which no region may fall.

    Returns
    -------
    (arc, 2) float64
        px².

    Notes
    -----
    The area of a region above its minimum, which is never below half of its area, is distributed over its border by
    length. A region of n pixels has a border of at most 2n + 2 edges, so all arcs together take no more than that.
    """
    size = np.asarray(pixels, np.float64)
    spare = size - np.maximum(np.minimum(size, min_pixels), size / 2)
    share = (spare / (2 * size + 2))[np.stack([arcs.left, arcs.right], axis=1)]
    return np.asarray(share * arcs.edges()[:, None])


def shape_arcs(arcs: Arcs, allowances: NDArray[np.float64], shaping: Shaping, points: Points) -> Arcs:
    """Return smoothed and simplified arcs.

    Parameters
    ----------
    arcs : Arcs
        As traced; those that are not whole, and those with nodata on their left, are not changed.
    allowances : (arc, 2) float64
        From `area_allowances`.
    shaping : Shaping
    points : Points
        Lattice points on these arcs and on those around them; used only if `shaping.neighbours` is above 0.

    Returns
    -------
    Arcs
        In the same order and with the same nodes.

    Notes
    -----
    The corner with the smallest triangle is removed first (Visvalingam and Whyatt 1993), if every original vertex of
    the arc remains within the tolerance of the new line.

    Removing a corner moves the border across its triangle. Without `smooth`, no triangle may contain a lattice point on
    another arc, even if that arc has been simplified: so no two borders ever cross, whatever the order of the arcs.
    With `smooth`, the line must still pass between the same pairs of pixels, which has the same effect and leaves every
    pixel centre in its region.

    Two arcs with the same nodes cannot coincide: the region between them would lose all of its area, and
    `room` is never more than half of it.
    """
    out = np.empty((len(arcs.xy) + int((arcs.edges() + 2).sum() if shaping.smooth else 0), 2))
    sizes = np.empty(arcs.n, np.int64)
    reach = max(float(shaping.tolerance) * (_SMOOTH_SHARE if shaping.smooth else 1), _NEGLIGIBLE)
    options = (reach, shaping.smooth, shaping.neighbours > 0)
    shape = _smooth_each if shaping.smooth else _simplify_each
    n = shape(arcs, allowances, options, points, out, sizes)
    return arcs._replace(xy=out[:n].copy(), offsets=starts_of(sizes))


@compiled(nogil=True)
def _simplify_each(arcs, allowances, options, points, out, sizes):  # type: ignore[no-untyped-def]
    """Write the lines to `out` and their lengths to `sizes`, and return the number of vertices.

    Separate from `_smooth_each`, which takes seconds to compile and is not needed by default.
    """
    total = 0
    for arc in range(len(sizes)):
        line = arcs.xy[arcs.offsets[arc] : arcs.offsets[arc + 1]]
        if arcs.whole[arc] and arcs.left[arc] != 0:
            line = _thinned(line, line, arcs.ring[arc], allowances[arc], options, (points, arc))
        total = _append_line(out, total, line)
        sizes[arc] = len(line)
    return total


@compiled(nogil=True)
def _smooth_each(arcs, allowances, options, points, out, sizes):  # type: ignore[no-untyped-def]
    """Do what `_simplify_each` does, with smooth lines."""
    total = 0
    for arc in range(len(sizes)):
        line = arcs.xy[arcs.offsets[arc] : arcs.offsets[arc + 1]]
        if arcs.whole[arc] and arcs.left[arc] != 0:
            line = _smoothed(line, arcs.ring[arc], allowances[arc], options, (points, arc))
        total = _append_line(out, total, line)
        sizes[arc] = len(line)
    return total


@internal(nogil=True)
def _append_line(out, total, line):  # type: ignore[no-untyped-def]
    """Write a line behind the first `total` vertices, and return their new number."""
    for k in range(len(line)):
        out[total + k, 0], out[total + k, 1] = line[k, 0], line[k, 1]
    return total + len(line)


@internal(nogil=True)
def _smoothed(own, ring, allowances, options, near):  # type: ignore[no-untyped-def]
    middles = pixel_edges(own, ring)
    line = smooth_line(middles, ring)
    if not keep_area(line, middles, ring, twice_area(own)):
        return own  # no smooth line has the same area: keep the staircase
    closed = np.empty((len(line) + ring, 2))
    for k in range(len(closed)):
        closed[k, 0], closed[k, 1] = line[k % len(line), 0], line[k % len(line), 1]
    return _thinned(closed, middles, ring, allowances, options, near)


@internal(nogil=True)
def _thinned(line, middles, ring, allowances, options, near):  # type: ignore[no-untyped-def]
    """Return a line without the corners that may be removed.

    A corner whose removal would take too much area from a side is tried again after others have been removed.
    """
    gain = 0.0  # of the right side, px²
    n = len(line) - 1 if ring else len(line)
    before, behind, stamps = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    removed = np.zeros(n, np.bool_)
    for k in range(n):
        before[k], behind[k], stamps[k] = k - 1, k + 1, 0
    before[0], behind[n - 1] = n - 1, 0
    queue = _corners_by_area(line, before, behind, ring)
    n_left = n
    min_vertices = 3 if ring else 4 if line[0, 0] == line[n - 1, 0] and line[0, 1] == line[n - 1, 1] else 2
    postponed = queue[:0]
    moved = False
    while n_left > min_vertices:
        if len(queue) == 0:
            if not moved or len(postponed) == 0:
                break
            queue, postponed, moved = postponed, queue, False
            heapify(queue)
        area, i, stamp = heappop(queue)
        if removed[i] or stamp != stamps[i]:
            continue
        a, b = before[i], behind[i]
        change = -_triangle(line, a, i, b)
        if not (-allowances[1] - 1e-9 <= gain + change <= allowances[0] + 1e-9) and area > _NEGLIGIBLE:
            postponed.append((area, i, stamp))
            continue
        if not _is_removable(line, middles, (a, i, b), n, options, near):
            continue
        removed[i] = moved = True
        gain += change
        n_left -= 1
        behind[a], before[b] = b, a
        for k in (a, b):
            if ring or 0 < k < n - 1:
                stamps[k] += 1
                heappush(queue, (abs(_triangle(line, before[k], k, behind[k])), k, stamps[k]))
    return _remaining(line, removed, n_left, ring)


@internal(nogil=True)
def _corners_by_area(line, before, behind, ring):  # type: ignore[no-untyped-def]
    """Return a heap of (area of the triangle, vertex, stamp) of the vertices that may be removed."""
    n = len(before)
    corners = [(0.0, 0, 0)][:0]
    for i in range(0 if ring else 1, n if ring else n - 1):
        corners.append((abs(_triangle(line, before[i], i, behind[i])), i, 0))
    heapify(corners)
    return corners


@internal(nogil=True)
def _remaining(line, removed, n_left, ring):  # type: ignore[no-untyped-def]
    """Return the vertices of a line that are not `removed`; a ring is closed again."""
    kept = np.empty((n_left + 1 if ring else n_left, 2))
    k = 0
    for i in range(len(removed)):
        if not removed[i]:
            kept[k, 0], kept[k, 1] = line[i, 0], line[i, 1]
            k += 1
    if ring:
        kept[k, 0], kept[k, 1] = kept[0, 0], kept[0, 1]
    return kept


@internal(nogil=True)
def _triangle(line, a, b, c):  # type: ignore[no-untyped-def]
    """Return the signed area of a triangle."""
    x, y = line[a, 0], line[a, 1]
    return ((line[b, 0] - x) * (line[c, 1] - y) - (line[c, 0] - x) * (line[b, 1] - y)) / 2


@internal(nogil=True)
def _is_removable(line, middles, corner, n, options, near):  # type: ignore[no-untyped-def]
    """Return whether the line may go straight from the previous corner to the next."""
    reach, smooth, features = options
    a, _, b = corner
    k = (a + 1) % n
    while k != b:
        if _distance(line, k, a, b) > reach:
            return False
        k = (k + 1) % n
    if smooth:
        return _crosses_edges(line, middles, a, b, n)
    return not features or _is_triangle_free(line, corner, n, near)


@internal(nogil=True)
def _crosses_edges(line, middles, a, b, n):  # type: ignore[no-untyped-def]
    """Return whether the straight line between two points crosses all pixel edges between them, in their order."""
    x, y = line[a, 0], line[a, 1]
    right, down = line[b, 0] - x, line[b, 1] - y
    latest = 0.0
    k = (a + 1) % n
    while k != b:
        across, along = (1, 0) if middles[k, 1] % 1 else (0, 1)  # the coordinate that is given, and the free one
        step = down if across == 1 else right
        if step == 0:
            return False
        share = (middles[k, across] - (y if across == 1 else x)) / step
        free = (x + share * right) if along == 0 else (y + share * down)
        if not latest < share < 1 or abs(free - middles[k, along]) > _MAX_OFFSET:
            return False
        latest = share
        k = (k + 1) % n
    return True


@internal(nogil=True)
def _distance(line, k, a, b):  # type: ignore[no-untyped-def]
    """Return the distance of a point from the straight line between two others."""
    x, y = line[k, 0] - line[a, 0], line[k, 1] - line[a, 1]
    right, down = line[b, 0] - line[a, 0], line[b, 1] - line[a, 1]
    length = right * right + down * down
    share = min(max((x * right + y * down) / length, 0.0), 1.0) if length > 0 else 0.0
    return np.hypot(x - share * right, y - share * down)


@internal(nogil=True)
def _is_triangle_free(line, corner, n, near):  # type: ignore[no-untyped-def]
    """Return whether the triangle of a corner contains no lattice point except those of the line it replaces."""
    a, i, b = corner
    points, arc = near
    top, bottom = min(line[a, 1], line[i, 1], line[b, 1]), max(line[a, 1], line[i, 1], line[b, 1])
    first, last = min(line[a, 0], line[i, 0], line[b, 0]), max(line[a, 0], line[i, 0], line[b, 0])
    for row in range(int(top), int(bottom) + 1):
        at = _first_from(points.keys, row * points.width + int(first))
        while at < len(points.keys) and points.keys[at] <= row * points.width + int(last):
            x, y = points.keys[at] - row * points.width, row
            within = points.arcs[at] == arc and (points.places[at] - a) % n <= (b - a) % n
            is_end = (x == line[a, 0] and y == line[a, 1]) or (x == line[b, 0] and y == line[b, 1])
            if not within and not is_end and _contains(line, a, i, b, x, y):
                return False
            at += 1
    return True


@internal(nogil=True)
def _first_from(keys, least):  # type: ignore[no-untyped-def]
    """Return what `numpy.searchsorted` returns, which takes a second to compile."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < least:
            low = middle + 1
        else:
            high = middle
    return low


@internal(nogil=True)
def _contains(line, a, b, c, x, y):  # type: ignore[no-untyped-def]
    """Return whether a point is inside a triangle or on its boundary."""
    signs = 0
    for one, other in ((a, b), (b, c), (c, a)):
        side = (line[other, 0] - line[one, 0]) * (y - line[one, 1]) - (line[other, 1] - line[one, 1]) * (
            x - line[one, 0]
        )
        signs |= (side > 0) + 2 * (side < 0)
    return signs != 3
