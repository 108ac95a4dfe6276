"""Grouping: k-means without luck."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

_MOST_SAMPLES = 40_000  # points from which the groups are found
_ROUNDS = 100  # of k-means, at most
_NOTHING = 1e-12  # of the scatter of all points: less is rounding
_LEFT_OF_NORMAL = {2: 0.3634, 3: 0.1902, 4: 0.1175}  # number of parts → share of the scatter that is left in them
_ROUNDS_OF_KINDS = 5  # of k-means; what is of several kinds needs no more
_KINDS = 2 / 3  # times that; less is left where the parts are kinds
_ONE_KIND = 0.03  # mean squared distance from the mean; a group of codes' shares that scatters less is of one kind


def group(points: NDArray[np.float64], weights: NDArray[np.float64], n_groups: int) -> NDArray[np.float64]:
    """Find groups of like points and return their means, at most `n_groups`; nothing is drawn at random.

    K-means (Lloyd 1982) from where halving ends: the group with the greatest scatter is cut through its mean, across
    its main direction, until there are enough groups. A random start keeps or loses a small ground by luck, and the
    best of several costs as many times more.

    Parameters
    ----------
    points : (n, feature) float64; more than 40 000 are thinned out evenly
    weights : (n,) float64, above 0

    Returns
    -------
    (group, feature) float64; each is the nearest one of some point

    Notes
    -----
    The start is PCA-Part of Su and Dy (2007), In search of deterministic methods for initializing k-means.

    Examples
    --------
    >>> group(np.array([[0.0], [0.2], [5.0], [5.4], [9.0]]), np.ones(5), 3).round(1)
    array([[0.1],
           [5.2],
           [9. ]])
    """
    from sklearn.cluster import KMeans  # only here: it takes most of a second, and few steps need it

    rows = np.unique(np.linspace(0, len(points) - 1, min(len(points), _MOST_SAMPLES)).astype(int))
    with threadpool_limits(1):  # the order in which threads add up would change the last digits
        start = _halved(points[rows], weights[rows], n_groups)
        means = KMeans(len(start), init=start, n_init=1, max_iter=_ROUNDS)
        centres = means.fit(points[rows], sample_weight=weights[rows]).cluster_centers_
    return np.asarray(centres[np.unique(nearest(points, centres))])


def divide(points: NDArray[np.float64], weights: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cut groups that are of two, three or four kinds.

    A group is cut into so many parts, found as in `group`, if less of its scatter is left in them than two thirds of
    what would be left of a normal distribution along a line. What lies around one middle is never cut.

    Parameters
    ----------
    points : (n, feature) float64
    weights : (n,) float64, above 0
    groups : (n,) int64, from 0

    Returns
    -------
    (n,) int64, from 0, every number in use; whoever was in different groups still is

    Notes
    -----
    What is left of a normal distribution is that of the best quantizer (Max 1960, Quantizing for minimum distortion).

    Examples
    --------
    >>> divide(np.array([[0.0], [0.1], [9.0], [9.1], [9.0]]), np.ones(5), np.array([0, 0, 0, 0, 1]))
    array([0, 0, 2, 2, 1])
    """
    divided = np.unique(groups, return_inverse=True)[1]
    n_groups = int(divided.max(initial=-1)) + 1
    with threadpool_limits(1):  # as in `group`
        for number in range(n_groups):
            for part in _kinds(points, weights, np.flatnonzero(divided == number))[1:]:
                divided[part] = n_groups
                n_groups += 1
    return divided


def _kinds(
    points: NDArray[np.float64], weights: NDArray[np.float64], rows: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    own, heavy = points[rows], weights[rows]
    scatter = _scatter(points, weights, rows)[0]
    if scatter > _ONE_KIND * heavy.sum():
        for n_parts, left in _LEFT_OF_NORMAL.items():
            centres = _halved(own, heavy, n_parts)
            for _ in range(_ROUNDS_OF_KINDS):
                part = nearest(own, centres)
                used = np.unique(part)
                centres = np.stack([np.average(own[part == one], axis=0, weights=heavy[part == one]) for one in used])
            part = nearest(own, centres)
            if (heavy * ((own - centres[part]) ** 2).sum(axis=1)).sum() < _KINDS * left * scatter:
                return [rows[part == one] for one in np.unique(part)]
    return [rows]


def nearest(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the row of the nearest centre of each point, (n,) int64; ties go to the first."""
    return _nearest(np.ascontiguousarray(points, np.float64), np.ascontiguousarray(centres, np.float64))


@njit(cache=True)
def _nearest(points, centres):  # type: ignore[no-untyped-def]
    # No matrix product: the order in which a library's threads add up would decide ties, and to hold it to one thread
    # costs more than this loop.
    found = np.empty(len(points), np.int64)
    for i in range(len(points)):
        least = np.inf
        for j in range(len(centres)):
            distance = 0.0
            for k in range(points.shape[1]):
                step = points[i, k] - centres[j, k]
                distance += step * step
            if distance < least:
                least = distance
                found[i] = j
    return found


def _halved(points: NDArray[np.float64], weights: NDArray[np.float64], n_groups: int) -> NDArray[np.float64]:
    groups = [np.arange(len(points))]
    scatters = [_scatter(points, weights, groups[0])]
    least = _NOTHING * scatters[0][0]
    while len(groups) < n_groups:
        widest = int(np.argmax([total for total, _ in scatters]))
        total, above = scatters[widest]
        if total <= least:
            break  # there are no more different points
        cut = groups.pop(widest)
        del scatters[widest]
        for half in (cut[~above], cut[above]):
            groups.append(half)
            scatters.append(_scatter(points, weights, half))
    return np.stack([np.average(points[rows], axis=0, weights=weights[rows]) for rows in groups])


def _scatter(
    points: NDArray[np.float64], weights: NDArray[np.float64], rows: NDArray[np.int64]
) -> tuple[float, NDArray[np.bool_]]:
    """Return the weighted squared distance to the mean, 0 = cannot be cut, and who lies above it on the main axis."""
    away = points[rows] - np.average(points[rows], axis=0, weights=weights[rows])
    scatter = (away * weights[rows, None]).T @ away
    axis = np.linalg.eigh(scatter)[1][:, -1]
    axis = axis * np.sign(axis[np.abs(axis).argmax()])  # its direction is the library's whim
    above = away @ axis > 0
    return (0.0 if above.all() or not above.any() else float(np.trace(scatter))), above
