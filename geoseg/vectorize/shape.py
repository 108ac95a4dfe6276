"""Shape of regions: second moments of their pixels, convex hulls and rectangles around them.

Coordinates are (x, y) = (col, row); a pixel is a square, its centre half a pixel right of and below its corner.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.compiled import compiled, internal
from geoseg.vectorize.region_runs import RegionRuns


class Moments(NamedTuple):
    """Number, centre and second central moments of the pixels of regions.

    Parameters
    ----------
    pixels : (region,) float64
    centre : (region, 2) float64
        Mean x and y of the pixel centres; 0 without pixels.
    scatter : (region, 3) float64
        Sums of (x - mean x)², (x - mean x)(y - mean y), (y - mean y)².
    """

    pixels: NDArray[np.float64]
    centre: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def zeros(cls, n: int) -> Moments:
        """Return the moments of `n` regions without pixels."""
        return cls(np.zeros(n), np.zeros((n, 2)), np.zeros((n, 3)))

    def add(self, part: Moments, rows: NDArray[np.integer]) -> None:
        """Add the moments of parts to the regions `rows`, each at most once (Chan, Golub & LeVeque 1979, eq. 2.1)."""
        n, more = self.pixels[rows], part.pixels
        both = np.maximum(n + more, 1)
        x, y = (part.centre - self.centre[rows]).T
        between = np.stack([x * x, x * y, y * y], axis=1) * (n * (more / both))[:, None]
        self.scatter[rows] += part.scatter + between
        self.centre[rows] += (part.centre - self.centre[rows]) * (more / both)[:, None]
        self.pixels[rows] += more


def moments_of(runs: RegionRuns, origin: tuple[int, int]) -> Moments:
    """Return the moments of the regions of a core whose first pixel is `origin`, (col, row) in the scene."""
    return Moments(*_moments(*runs, *origin))


def axes(scatter: NDArray[np.float64], matrices: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return the elongation and the orientation of regions.

    Parameters
    ----------
    scatter : (region, 3) float64
        As in `Moments`.
    matrices : (region, 2, 2) float64
        From steps in pixels to steps to the east and to the north, in one unit.

    Returns
    -------
    elongation : (region,) float64
        1 - minor / major axis of the ellipse with the same second moments: 0 = round or square, 1 = a line.
    orientation : (region,) float64
        Direction of the major axis in degrees clockwise from north, from 0 to below 180; NaN where both axes are equal.

    Notes
    -----
    The axes are those of ``skimage.measure.regionprops``.
    """
    xx, xy, yy = scatter.T
    tensor = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2)
    tensor = matrices @ tensor @ np.swapaxes(matrices, 1, 2)
    a, b, c = tensor[:, 0, 0], tensor[:, 0, 1], tensor[:, 1, 1]
    middle, spread = (a + c) / 2, np.hypot((a - c) / 2, b)
    major, minor = middle + spread, np.maximum(middle - spread, 0)
    has_extent = major > 0
    elongation = np.where(has_extent, 1 - np.sqrt(minor / np.where(has_extent, major, 1)), 0.0)
    degrees = np.degrees(np.arctan2(2 * b, c - a) / 2) % 180  # from north; a is along the east
    degrees = np.where(degrees > 180 - 1e-7, 0, degrees)  # which rounding would otherwise decide
    return elongation, np.where(spread > 1e-9 * middle, degrees, np.nan)


class HullPoints(NamedTuple):
    """Corners of convex hulls.

    Parameters
    ----------
    xy : (point, 2) int64
        Pixel corners in the scene, hull after hull, in their order around it.
    offsets : (hull + 1,) int64
        Where the corners of each hull begin.
    """

    xy: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def take(self, chosen: NDArray[np.bool_]) -> HullPoints:
        """Return the hulls that are chosen, (hull,) bool."""
        sizes = np.diff(self.offsets)
        kept = np.repeat(chosen, sizes)
        return HullPoints(self.xy[kept], np.concatenate([[0], np.cumsum(sizes[chosen])]).astype(np.int64))


def hulls_of(runs: RegionRuns, origin: tuple[int, int]) -> HullPoints:
    """Return the convex hulls of the regions of a core whose first pixel is `origin`, (col, row) in the scene."""
    xy, offsets = _hulls(*runs)
    return HullPoints(xy + np.asarray(origin, np.int64), offsets)


def hulls_of_points(xy: NDArray[np.int64], groups: NDArray[np.int64], n_groups: int) -> HullPoints:
    """Return the convex hulls of groups of points, (point, 2) int64; an empty one for a group without points.

    Examples
    --------
    >>> points = np.array([[0, 0], [2, 0], [1, 1], [2, 2], [0, 2], [1, 0]])
    >>> hulls_of_points(points, np.zeros(6, np.int64), 1).xy.tolist()
    [[0, 0], [0, 2], [2, 2], [2, 0]]
    """
    order = np.lexsort((xy[:, 0], xy[:, 1], groups))
    offsets = np.searchsorted(groups[order], np.arange(n_groups + 1))
    return HullPoints(*_hulls_of_sorted(np.ascontiguousarray(xy[order]), offsets))


def hull_areas(hulls: HullPoints, matrices: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the areas of hulls and of the smallest rectangles around them, both in pixels.

    Parameters
    ----------
    hulls : HullPoints
    matrices : (hull, 2, 2) float64
        As for `axes`; in the plane that they lead to, the corners of the rectangle are right angles.

    Returns
    -------
    hull, rectangle : (hull,) float64
        0 for an empty hull.

    Notes
    -----
    One side of the smallest rectangle lies along a side of the hull (Freeman and Shapira 1975).
    """
    areas: tuple[NDArray[np.float64], NDArray[np.float64]] = _areas(*hulls, np.ascontiguousarray(matrices))
    return areas


@compiled(nogil=True)
def _moments(rows, begins, ends, offsets, col_off, row_off):  # type: ignore[no-untyped-def]
    n_regions = len(offsets) - 1
    pixels, centre, scatter = np.zeros(n_regions), np.zeros((n_regions, 2)), np.zeros((n_regions, 3))
    for region in range(n_regions):
        n, x, y, xx, xy, yy = 0, 0, 0, 0, 0, 0
        if offsets[region] == offsets[region + 1]:
            continue
        first = offsets[region]
        row0, col0 = np.int64(rows[first]), np.int64(begins[first])
        for run in range(first, offsets[region + 1]):
            row = rows[run] - row0
            a, b = begins[run] - col0, ends[run] - col0  # sums over a, …, b - 1
            some = b - a
            linear = (b * (b - 1) - a * (a - 1)) // 2
            square = ((b - 1) * b * (2 * b - 1) - (a - 1) * a * (2 * a - 1)) // 6
            n += some
            x += linear
            y += some * row
            xx += square
            xy += linear * row
            yy += some * row * row
        mean_x, mean_y = x / n, y / n
        pixels[region] = n
        centre[region, 0], centre[region, 1] = col_off + col0 + mean_x + 0.5, row_off + row0 + mean_y + 0.5
        scatter[region, 0] = max(xx - x * mean_x, 0.0)
        scatter[region, 1] = xy - x * mean_y
        scatter[region, 2] = max(yy - y * mean_y, 0.0)
    return pixels, centre, scatter


@compiled(nogil=True)
def _hulls(rows, begins, ends, offsets):  # type: ignore[no-untyped-def]
    n_regions, most = len(offsets) - 1, 0
    for region in range(n_regions):
        most = max(most, offsets[region + 1] - offsets[region])
    left, right = np.empty((2 * most + 2, 2), np.int64), np.empty((2 * most + 2, 2), np.int64)
    xy = np.empty((4 * len(rows), 2), np.int64)
    found = np.zeros(n_regions + 1, np.int64)
    total = 0
    for region in range(n_regions):
        n_left = n_right = 0
        run = offsets[region]
        while run < offsets[region + 1]:
            row, begin, end = rows[run], begins[run], ends[run]
            while run < offsets[region + 1] and rows[run] == row:  # from left to right
                end = ends[run]
                run += 1
            for down in range(2):
                n_left = _push(left, n_left, begin, row + down, 1)
                n_right = _push(right, n_right, end, row + down, -1)
        total = _joined(xy, total, left[:n_left], right[:n_right])
        found[region + 1] = total
    return xy[:total].copy(), found


@compiled(nogil=True)
def _hulls_of_sorted(points, offsets):  # type: ignore[no-untyped-def]
    n_groups = len(offsets) - 1
    left, right = np.empty((len(points) + 1, 2), np.int64), np.empty((len(points) + 1, 2), np.int64)
    xy = np.empty((2 * len(points), 2), np.int64)
    found = np.zeros(n_groups + 1, np.int64)
    total = 0
    for group in range(n_groups):
        n_left = n_right = 0
        for i in range(offsets[group], offsets[group + 1]):
            n_left = _push(left, n_left, points[i, 0], points[i, 1], 1)
            n_right = _push(right, n_right, points[i, 0], points[i, 1], -1)
        total = _joined(xy, total, left[:n_left], right[:n_right])
        found[group + 1] = total
    return xy[:total].copy(), found


@internal(nogil=True)
def _push(chain, n, x, y, side):  # type: ignore[no-untyped-def]
    """Add a point to the left (`side` 1) or right (-1) chain of a hull, in ascending y; return its new length."""
    if n > 0 and chain[n - 1, 1] == y:
        if side * (chain[n - 1, 0] - x) <= 0:
            return n
        n -= 1
    while n > 1:
        ax, ay = chain[n - 2, 0], chain[n - 2, 1]
        bx, by = chain[n - 1, 0], chain[n - 1, 1]
        if side * ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) < 0:  # b lies outside of the line from a
            break
        n -= 1
    chain[n, 0], chain[n, 1] = x, y
    return n + 1


@internal(nogil=True)
def _joined(xy, total, left, right):  # type: ignore[no-untyped-def]
    for i in range(len(left)):
        xy[total, 0], xy[total, 1] = left[i, 0], left[i, 1]
        total += 1
    for i in range(len(right) - 1, -1, -1):
        xy[total, 0], xy[total, 1] = right[i, 0], right[i, 1]
        total += 1
    return total


@compiled(nogil=True)
def _areas(xy, offsets, matrices):  # type: ignore[no-untyped-def]
    n_hulls = len(offsets) - 1
    hull, rectangle = np.zeros(n_hulls), np.zeros(n_hulls)
    for number in range(n_hulls):
        some, matrix = xy[offsets[number] : offsets[number + 1]], matrices[number]
        if len(some) < 3:
            continue
        points = np.empty((len(some), 2))
        double = 0
        for i in range(len(some)):
            x, y = some[i, 0] - some[0, 0], some[i, 1] - some[0, 1]
            following = some[(i + 1) % len(some)] - some[0]
            double += x * following[1] - y * following[0]
            points[i, 0] = matrix[0, 0] * x + matrix[0, 1] * y
            points[i, 1] = matrix[1, 0] * x + matrix[1, 1] * y
        hull[number] = abs(double) / 2
        determinant = abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
        rectangle[number] = _smallest_rectangle(points) / determinant
    return hull, rectangle


@internal(nogil=True)
def _smallest_rectangle(points):  # type: ignore[no-untyped-def]
    smallest = np.inf
    for i in range(len(points)):
        step = points[(i + 1) % len(points)] - points[i]
        length = np.hypot(step[0], step[1])
        if length == 0:
            continue
        low = across_low = np.inf
        high = across_high = -np.inf
        for k in range(len(points)):
            along = (points[k, 0] * step[0] + points[k, 1] * step[1]) / length
            across = (points[k, 1] * step[0] - points[k, 0] * step[1]) / length
            low, high = min(low, along), max(high, along)
            across_low, across_high = min(across_low, across), max(across_high, across)
        smallest = min(smallest, (high - low) * (across_high - across_low))
    return smallest
