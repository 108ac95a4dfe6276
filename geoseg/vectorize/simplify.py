"""Fewer vertices on arcs, and no staircase of pixels where that is wanted; each arc by itself, once, where it is whole.

What becomes of an arc follows from itself, from the lattice points on other arcs near it, and from the sizes of the two
regions beside it. Neither the order of the arcs nor the tiles have a say, and a border to no data never moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.vectorize.arcs import Arcs, starts_of
from geoseg.vectorize.smooth import keep_area, pixel_edges, smooth_line, twice_area

_ROUNDER = 0.25  # × tolerance: a smooth line shows its corners sooner than a staircase shows its steps
_WITHIN = 0.49  # pixels beside the middle of a pixel edge: there a smooth border passes between the pixels' middles
_STRAIGHT = 1e-9  # px or px²: the corner is none


@dataclass(frozen=True)
class Shaping:
    """What is done to borders.

    Parameters
    ----------
    tolerance : pixels that a border may move when it is simplified, a smooth one a quarter of that; 0 = no corner goes
    smooth : round off the staircase of pixels first
    min_pixels : no region gets smaller than this, and none that is smaller gets smaller still
    """

    tolerance: float = 0.0
    smooth: bool = False
    min_pixels: float = 0.0

    @property
    def changes(self) -> bool:
        """Whether anything is done at all."""
        return self.smooth or self.tolerance > 0

    @property
    def neighbours(self) -> float:
        """How near the lattice points of other arcs must lie to matter, in pixels; 0 = none of them does."""
        return 0.0 if self.smooth else 2 * self.tolerance


class Points(NamedTuple):
    """Lattice points on arcs, in reading order.

    Parameters
    ----------
    keys : (point,) int64, row · `width` + col, ascending; a point may be there several times
    arcs : (point,) int64, the arc that turns here; -1 = it is none of those that are simplified, or a node
    places : (point,) int64, which vertex of the arc it is, from 0
    width : int, above any col
    """

    keys: NDArray[np.int64]
    arcs: NDArray[np.int64]
    places: NDArray[np.int64]
    width: int


def no_points() -> Points:
    """Return points of which there are none."""
    nothing = np.zeros(0, np.int64)
    return Points(nothing, nothing, nothing, 1)


def points_of(arcs: Arcs, *, others: NDArray[np.int64] | None = None) -> Points:
    """Return the vertices of arcs as they were traced, and `others`, (point, 2) int64 col and row, as nobody's."""
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


def room_of(arcs: Arcs, pixels: NDArray[np.int64], min_pixels: float) -> NDArray[np.float64]:
    """Say how much each arc may take from the regions on its left and right, (arc, 2) float64 px².

    Parameters
    ----------
    arcs : as they were traced
    pixels : (piece + 1,) int64, of the region that each piece belongs to; the first one is not used

    Notes
    -----
    What a region has above its least size, which is never below half of it, is shared out to its border by length. A
    region of n pixels has a border of at most 2n + 2 edges, so all arcs together stay within what there is.
    """
    size = np.asarray(pixels, np.float64)
    spare = size - np.maximum(np.minimum(size, min_pixels), size / 2)
    share = (spare / (2 * size + 2))[np.stack([arcs.left, arcs.right], axis=1)]
    return np.asarray(share * arcs.edges()[:, None])


def shaped(arcs: Arcs, room: NDArray[np.float64], shaping: Shaping, points: Points) -> Arcs:
    """Smooth and simplify arcs.

    Parameters
    ----------
    arcs : as they were traced; those that are not whole, and those with no data on their left, stay as they are
    room : as `room_of` gives it
    points : the lattice points on these arcs and on those around them; only where `shaping.neighbours`

    Returns
    -------
    Arcs, in the same order and with the same nodes

    Notes
    -----
    The corner with the smallest triangle goes first (Visvalingam and Whyatt 1993), as long as every vertex that the arc
    had lies within the tolerance of the line that takes its place.

    The border passes from one state to the next over the triangle of the corner that goes. Without `smooth`, no
    triangle may hold a lattice point on another arc, whatever has become of that arc: so no two borders ever cross, in
    whatever order they are simplified. With `smooth`, the line must go on passing between the same pairs of pixels,
    which does the same and leaves every pixel's middle in its region.

    Two arcs with the same nodes cannot fall together: between them lies a region that would lose all of its area, and
    `room` is never more than half of it.
    """
    out = np.empty((len(arcs.xy) + int((arcs.edges() + 2).sum() if shaping.smooth else 0), 2))
    sizes = np.empty(arcs.n, np.int64)
    reach = max(float(shaping.tolerance) * (_ROUNDER if shaping.smooth else 1), _STRAIGHT)
    options = (reach, shaping.smooth, shaping.neighbours > 0)
    n = _shape_all(arcs, room, options, points, out, sizes)
    return arcs._replace(xy=out[:n].copy(), offsets=starts_of(sizes))


@njit(cache=True, nogil=True)
def _shape_all(arcs, room, options, points, out, sizes):  # type: ignore[no-untyped-def]
    total = 0
    smooth = options[1]
    for arc in range(len(sizes)):
        own, ring = arcs.xy[arcs.offsets[arc] : arcs.offsets[arc + 1]], arcs.ring[arc]
        if not arcs.whole[arc] or arcs.left[arc] == 0:
            line = own
        elif smooth:
            line = _smoothed(own, ring, room[arc], options, (points, arc))
        else:
            line = _thinned(own, own, ring, room[arc], options, (points, arc))
        for k in range(len(line)):
            out[total + k, 0], out[total + k, 1] = line[k, 0], line[k, 1]
        sizes[arc] = len(line)
        total += len(line)
    return total


@njit(cache=True, nogil=True)
def _smoothed(own, ring, room, options, near):  # type: ignore[no-untyped-def]
    middles = pixel_edges(own, ring)
    line = smooth_line(middles, ring)
    if not keep_area(line, middles, ring, twice_area(own)):
        return own  # nothing that is smooth has its area: the staircase stays
    closed = np.empty((len(line) + ring, 2))
    for k in range(len(closed)):
        closed[k, 0], closed[k, 1] = line[k % len(line), 0], line[k % len(line), 1]
    return _thinned(closed, middles, ring, room, options, near)


@njit(cache=True, nogil=True)
def _thinned(line, middles, ring, room, options, near):  # type: ignore[no-untyped-def]
    """Return a line without the corners that are not needed.

    Corners that may not go yet, because a side would lose too much, are looked at again when others have gone.
    """
    gain = 0.0  # of the right side, px²
    n = len(line) - 1 if ring else len(line)
    before, behind = np.arange(n) - 1, np.arange(n) + 1
    before[0], behind[n - 1] = n - 1, 0
    gone, stamps = np.zeros(n, np.bool_), np.zeros(n, np.int64)
    waiting = [(0.0, 0, 0)][:0]
    for i in range(0 if ring else 1, n if ring else n - 1):
        waiting.append((abs(_triangle(line, before[i], i, behind[i])), i, 0))
    heapify(waiting)
    left = n
    least = 3 if ring else 4 if line[0, 0] == line[n - 1, 0] and line[0, 1] == line[n - 1, 1] else 2
    later = waiting[:0]
    moved = False
    while left > least:
        if len(waiting) == 0:
            if not moved or len(later) == 0:
                break
            waiting, later, moved = later, waiting, False
            heapify(waiting)
        area, i, stamp = heappop(waiting)
        if gone[i] or stamp != stamps[i]:
            continue
        a, b = before[i], behind[i]
        change = -_triangle(line, a, i, b)
        if not (-room[1] - 1e-9 <= gain + change <= room[0] + 1e-9) and area > _STRAIGHT:
            later.append((area, i, stamp))
            continue
        if not _may_go(line, middles, (a, i, b), n, options, near):
            continue
        gone[i] = moved = True
        gain += change
        left -= 1
        behind[a], before[b] = b, a
        for k in (a, b):
            if ring or 0 < k < n - 1:
                stamps[k] += 1
                heappush(waiting, (abs(_triangle(line, before[k], k, behind[k])), k, stamps[k]))
    kept = np.empty((left + 1 if ring else left, 2))
    k = 0
    for i in range(n):
        if not gone[i]:
            kept[k, 0], kept[k, 1] = line[i, 0], line[i, 1]
            k += 1
    if ring:
        kept[k, 0], kept[k, 1] = kept[0, 0], kept[0, 1]
    return kept


@njit(cache=True, nogil=True)
def _triangle(line, a, b, c):  # type: ignore[no-untyped-def]
    """Return the signed area of a triangle."""
    x, y = line[a, 0], line[a, 1]
    return ((line[b, 0] - x) * (line[c, 1] - y) - (line[c, 0] - x) * (line[b, 1] - y)) / 2


@njit(cache=True, nogil=True)
def _may_go(line, middles, corner, n, options, near):  # type: ignore[no-untyped-def]
    """Tell whether the line may go straight from the corner before to the one behind."""
    reach, smooth, features = options
    a, _, b = corner
    k = (a + 1) % n
    while k != b:
        if _distance(line, k, a, b) > reach:
            return False
        k = (k + 1) % n
    if smooth:
        return _passes(line, middles, a, b, n)
    return not features or _is_free(line, corner, n, near)


@njit(cache=True, nogil=True)
def _passes(line, middles, a, b, n):  # type: ignore[no-untyped-def]
    """Tell whether the straight line from one point to another crosses all pixel edges between, in their order."""
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
        if not latest < share < 1 or abs(free - middles[k, along]) > _WITHIN:
            return False
        latest = share
        k = (k + 1) % n
    return True


@njit(cache=True, nogil=True)
def _distance(line, k, a, b):  # type: ignore[no-untyped-def]
    """Return the distance of a point from the straight line between two others."""
    x, y = line[k, 0] - line[a, 0], line[k, 1] - line[a, 1]
    right, down = line[b, 0] - line[a, 0], line[b, 1] - line[a, 1]
    length = right * right + down * down
    share = min(max((x * right + y * down) / length, 0.0), 1.0) if length > 0 else 0.0
    return np.hypot(x - share * right, y - share * down)


@njit(cache=True, nogil=True)
def _is_free(line, corner, n, near):  # type: ignore[no-untyped-def]
    """Tell whether the triangle of a corner holds no lattice point but those of the line between its ends."""
    a, i, b = corner
    points, arc = near
    top, bottom = min(line[a, 1], line[i, 1], line[b, 1]), max(line[a, 1], line[i, 1], line[b, 1])
    first, last = min(line[a, 0], line[i, 0], line[b, 0]), max(line[a, 0], line[i, 0], line[b, 0])
    for row in range(int(top), int(bottom) + 1):
        at = np.searchsorted(points.keys, row * points.width + int(first))
        while at < len(points.keys) and points.keys[at] <= row * points.width + int(last):
            x, y = points.keys[at] - row * points.width, row
            within = points.arcs[at] == arc and (points.places[at] - a) % n <= (b - a) % n
            is_end = (x == line[a, 0] and y == line[a, 1]) or (x == line[b, 0] and y == line[b, 1])
            if not within and not is_end and _holds(line, a, i, b, x, y):
                return False
            at += 1
    return True


@njit(cache=True, nogil=True)
def _holds(line, a, b, c, x, y):  # type: ignore[no-untyped-def]
    """Tell whether a point lies in a triangle or on its rim."""
    signs = 0
    for one, other in ((a, b), (b, c), (c, a)):
        side = (line[other, 0] - line[one, 0]) * (y - line[one, 1]) - (line[other, 1] - line[one, 1]) * (
            x - line[one, 0]
        )
        signs |= (side > 0) + 2 * (side < 0)
    return signs != 3
