"""Smooth lines instead of pixel staircases, which leave every pixel centre on its side of the border."""

from __future__ import annotations

import numpy as np

from geoseg.segment.compiled import internal

MAX_SHIFT = 0.45  # px between the line and the middle of a pixel edge; 0.5 would be the centre of a pixel
_N_SHORTENING, _N_EVENING = 8, 40  # passes: the first kind removes long steps, the second reduces bending
_NEGLIGIBLE = 1e-9  # px²


@internal(nogil=True)
def pixel_edges(xy, ring):  # type: ignore[no-untyped-def]
    """Return the middles of the pixel edges along an arc, between its two nodes.

    Parameters
    ----------
    xy : (vertex, 2) float64
        Pixel corners, as in `Arcs`.
    ring : bool
        True = the arc has no nodes.

    Returns
    -------
    (edge, 2) float64, or (edge + 2, 2) with the nodes
    """
    n = 0
    for i in range(len(xy) - 1):
        n += int(abs(xy[i + 1, 0] - xy[i, 0]) + abs(xy[i + 1, 1] - xy[i, 1]))
    middles = np.empty((n if ring else n + 2, 2))
    k = 0
    if not ring:
        for axis in range(2):
            middles[0, axis], middles[n + 1, axis] = xy[0, axis], xy[len(xy) - 1, axis]
        k = 1
    for i in range(len(xy) - 1):
        x, y = xy[i, 0], xy[i, 1]
        right, down = np.sign(xy[i + 1, 0] - x), np.sign(xy[i + 1, 1] - y)
        for step in range(int(abs(xy[i + 1, 0] - x) + abs(xy[i + 1, 1] - y))):
            middles[k, 0], middles[k, 1] = x + (step + 0.5) * right, y + (step + 0.5) * down
            k += 1
    return middles


@internal(nogil=True)
def smooth_line(middles, ring):  # type: ignore[no-untyped-def]
    """Return a smooth line that crosses the pixel edges of an arc.

    Parameters
    ----------
    middles : (n, 2) float64
        From `pixel_edges`.
    ring : bool

    Returns
    -------
    (n, 2) float64

    Notes
    -----
    Each point slides along the line between the centres of the two pixels beside its edge, as in constrained elastic
    surface nets (Gibson 1998). Around each lattice point there is a cell with four pixel centres as its corners; the
    line passes from one side of it to another. Where two regions meet there is one line in the cell, and at a node all
    lines run straight from the sides to it. So lines never touch, however far they slide, and each arc can be smoothed
    alone.

    Gauss-Seidel iteration: first passes that shorten the line, then passes that reduce its second differences.
    `keep_area` then restores the area on both sides.
    """
    line = middles.copy()
    first, last = (0, len(line)) if ring else (1, len(line) - 1)
    for number in range(_N_SHORTENING + _N_EVENING):
        for i in range(first, last):
            free = 0 if middles[i, 1] % 1 else 1  # along an upright edge the point moves in x
            wanted = _between(line, i, free, ring) if number < _N_SHORTENING else _least_bending(line, i, free, ring)
            line[i, free] = min(max(wanted, middles[i, free] - MAX_SHIFT), middles[i, free] + MAX_SHIFT)
    return line


@internal(nogil=True)
def _between(line, i, free, ring):  # type: ignore[no-untyped-def]
    n = len(line)
    return (line[i - 1, free] + line[(i + 1) % n if ring else i + 1, free]) / 2


@internal(nogil=True)
def _least_bending(line, i, free, ring):  # type: ignore[no-untyped-def]
    """Return the position of a point with the least sum of squared second differences."""
    n = len(line)
    wanted, weight = 0.0, 0.0
    for middle in range(i - 1, i + 2):
        if not ring and not 0 < middle < n - 1:
            continue
        others = 0.0
        for k in range(middle - 1, middle + 2):
            if k != i:
                others += (1.0 if k != middle else -2.0) * line[k % n, free]
        own = -2.0 if middle == i else 1.0
        wanted -= own * others
        weight += own * own
    return wanted / weight


@internal(nogil=True)
def keep_area(line, middles, ring, area):  # type: ignore[no-untyped-def]
    """Shift a line until twice the area under it is `area`; return whether that was possible."""
    n = len(line)
    first, last = (0, n) if ring else (1, n - 1)
    for _ in range(12):
        apart = area - twice_area(line)
        if abs(apart) < _NEGLIGIBLE:
            return True
        total = 0.0
        for i in range(first, last):
            total += abs(_pull(line, middles, i, n))
        if total == 0:
            return False
        for i in range(first, last):
            free = 0 if middles[i, 1] % 1 else 1
            pull = _pull(line, middles, i, n)
            moved = line[i, free] + np.sign(pull) * apart / total
            line[i, free] = min(max(moved, middles[i, free] - MAX_SHIFT), middles[i, free] + MAX_SHIFT)
    return abs(area - twice_area(line)) < _NEGLIGIBLE


@internal(nogil=True)
def _pull(line, middles, i, n):  # type: ignore[no-untyped-def]
    """Return the change of twice the area per pixel that a point slides."""
    before, behind = i - 1, (i + 1) % n
    if middles[i, 1] % 1:
        return line[behind, 1] - line[before, 1]
    return line[before, 0] - line[behind, 0]


@internal(nogil=True)
def twice_area(line):  # type: ignore[no-untyped-def]
    """Return twice the signed area between a line and its first point, which avoids cancellation."""
    total = 0.0
    x, y = line[0, 0], line[0, 1]
    n = len(line)
    for i in range(1, n):
        total += (line[i - 1, 0] - x) * (line[i, 1] - y) - (line[i, 0] - x) * (line[i - 1, 1] - y)
    return total
