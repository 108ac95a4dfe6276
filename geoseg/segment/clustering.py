"""K-means with deterministic initialisation, and splitting of multimodal clusters."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from geoseg.segment.compiled import compiled
from geoseg.segment.grouped import grouped_sum
from geoseg.segment.table_storage import IN_MEMORY, TableStorage, batches

Points = Callable[[slice], NDArray[np.float64]]  # rows → (row, feature)

_MAX_POINTS = 40_000  # to which k-means is fitted
_MAX_ITERATIONS = 100  # of k-means
_TOLERANCE = 1e-4  # of the sum of squared shifts of the centroids, relative to the mean variance; that of scikit-learn
_MIN_SCATTER = 1e-12  # of a cluster that is split, relative to the scatter of all points; less is rounding
# Distortion of the optimal quantizer of a normal distribution with 2, 3 and 4 levels, relative to its variance: Max
# (1960), Quantizing for minimum distortion, table I.
_NORMAL_DISTORTION = {2: 0.3634, 3: 0.1902, 4: 0.1175}
_MAX_DISTORTION = 2 / 3  # of the parts of a multimodal cluster, relative to that of a normal distribution
_SPLIT_ITERATIONS = 5  # of k-means when a cluster is split; well separated modes converge sooner
_MIN_SPLIT_VARIANCE = 0.03  # total variance, in squared units of the points; clusters with less are not split


def kmeans(points: NDArray[np.float64], weights: NDArray[np.float64], n_clusters: int) -> NDArray[np.float64]:
    """Return the centroids of k-means with deterministic initialisation.

    Parameters
    ----------
    points : (n, feature) float64
        K-means is fitted to at most 40 000 evenly spaced rows of these.
    weights : (n,) float64
        Above 0.
    n_clusters : int

    Returns
    -------
    (cluster, feature) float64
        At most `n_clusters` centroids; each is the nearest one of at least one point.

    Notes
    -----
    Lloyd's algorithm (1982), initialised by PCA-Part (Su and Dy 2007, In search of deterministic methods for
    initializing k-means): the cluster with the largest scatter is split at its mean, perpendicular to its first
    principal component, until there are `n_clusters`. Random initialisation finds a small cluster only in some runs.
    The rules for the end and for clusters that lose all points are those of scikit-learn, whose import takes 1.7 s.

    Examples
    --------
    >>> kmeans(np.array([[0.0], [0.2], [5.0], [5.4], [9.0]]), np.ones(5), 3).round(1)
    array([[0.1],
           [5.2],
           [9. ]])
    """
    rows = np.unique(np.linspace(0, len(points) - 1, min(len(points), _MAX_POINTS)).astype(int))
    with threadpool_limits(1):  # with several threads the order of summation, and so the last digits, would vary
        initial = _pca_part(points[rows], weights[rows], n_clusters)
        centroids = _lloyd(points[rows], weights[rows], initial)
    return np.asarray(centroids[np.unique(nearest(points, centroids))])


def split_multimodal(
    points: Points, weights: NDArray[np.float64], clusters: NDArray[np.int64], storage: TableStorage = IN_MEMORY
) -> NDArray[np.int64]:
    """Split clusters with two, three or four modes.

    Parameters
    ----------
    points : callable
        Returns some of the n points by the slice of their rows, (row, feature) float64.
    weights : (n,) float64
        Above 0.
    clusters : (n,) int64
        Cluster of each point, from 0.
    storage : TableStorage
        Where the points are kept, one cluster after the other.

    Returns
    -------
    (n,) int64
        Cluster of each point, from 0, every number in use. Points of different clusters stay in different clusters.

    Notes
    -----
    A cluster is split into k = 2, 3 or 4 parts, the first for which the scatter within the parts, found by k-means, is
    less than two thirds of that of the optimal quantizer of a normal distribution with k levels (Max 1960). Normally
    distributed clusters are therefore not split.

    Examples
    --------
    >>> points = np.array([[0.0], [0.1], [9.0], [9.1], [9.0]])
    >>> split_multimodal(lambda rows: points[rows], np.ones(5), np.array([0, 0, 0, 0, 1]))
    array([0, 0, 2, 2, 1])
    """
    split = np.unique(clusters, return_inverse=True)[1]
    order = np.argsort(split, kind="stable")
    n_clusters = int(split.max(initial=-1)) + 1
    offsets = np.searchsorted(split[order], np.arange(n_clusters + 1))
    ordered = _in_order(points, order, storage)
    with threadpool_limits(1):  # as in `kmeans`
        for begin, end in pairwise(offsets):
            rows = order[begin:end]
            for part in _modes(ordered[begin:end], weights[rows])[1:]:
                split[rows[part]] = n_clusters
                n_clusters += 1
            storage.release()
    return split


def _in_order(points: Points, order: NDArray[np.int64], storage: TableStorage) -> NDArray[np.float64]:
    """Return the points in an order, (n, feature)."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    ordered = storage.zeros((len(order), points(slice(0, 1)).shape[1]), np.float64)
    for some in batches(len(order), storage):
        ordered[place[some]] = points(some)
    return ordered


def _modes(points: NDArray[np.float64], weights: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Return the rows of each mode of a cluster; one array if it is unimodal."""
    rows = np.arange(len(points))
    scatter = _scatter(points, weights)[0]
    if scatter > _MIN_SPLIT_VARIANCE * weights.sum():
        for n_parts, distortion in _NORMAL_DISTORTION.items():
            part, within = _split(points, weights, n_parts)
            if within < _MAX_DISTORTION * distortion * scatter:
                return [rows[part == one] for one in np.unique(part)]
    return [rows]


def _split(points: NDArray[np.float64], weights: NDArray[np.float64], n_parts: int) -> tuple[NDArray[np.int64], float]:
    """Return the part of each point after a few iterations of k-means, and the scatter within the parts."""
    centroids = _pca_part(points, weights, n_parts)
    for _ in range(_SPLIT_ITERATIONS):
        part = nearest(points, centroids)
        members = [part == one for one in np.unique(part)]
        centroids = np.stack([np.average(points[rows], axis=0, weights=weights[rows]) for rows in members])
    part = nearest(points, centroids)
    apart = centroids[part]
    np.subtract(points, apart, out=apart)  # in place, as the cluster may be a large part of the scene
    np.square(apart, out=apart)
    return part, float((weights * apart.sum(axis=1)).sum())


def nearest(points: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of the nearest centroid of each point.

    Parameters
    ----------
    points : (n, feature) float64
    centroids : (cluster, feature) float64

    Returns
    -------
    (n,) int64
        Ties go to the first centroid.

    Examples
    --------
    >>> nearest(np.array([[0.1], [0.5], [0.8]]), np.array([[0.0], [1.0]]))
    array([0, 0, 1])
    """
    return _nearest(np.ascontiguousarray(points, np.float64), np.ascontiguousarray(centroids, np.float64))


@compiled(nogil=True)
def _nearest(points, centroids):  # type: ignore[no-untyped-def]
    # A loop instead of a matrix product, whose order of summation depends on the number of threads and would decide
    # ties; limiting it to one thread costs more than this loop.
    index = np.empty(len(points), np.int64)
    for i in range(len(points)):
        least = np.inf
        for j in range(len(centroids)):
            distance = 0.0
            for k in range(points.shape[1]):
                step = points[i, k] - centroids[j, k]
                distance += step * step
            if distance < least:
                least = distance
                index[i] = j
    return index


def _lloyd(
    points: NDArray[np.float64], weights: NDArray[np.float64], initial: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the centroids after Lloyd's algorithm."""
    mean = points.mean(axis=0)  # less rounding in the distances
    centred, centroids = points - mean, initial - mean
    least_shift = _TOLERANCE * centred.var(axis=0).mean()
    clusters = np.empty(0, np.intp)
    for _ in range(_MAX_ITERATIONS):
        before, moved = clusters, centroids
        clusters = ((moved**2).sum(axis=1) - 2 * centred @ moved.T).argmin(axis=1)
        centroids = _means(centred, weights, clusters, moved)
        if np.array_equal(clusters, before) or ((centroids - moved) ** 2).sum() <= least_shift:
            break
    return np.asarray(centroids + mean)


def _means(
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    clusters: NDArray[np.intp],
    centroids: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the weighted mean of each cluster; one without points gets the point farthest from its centroid."""
    sums = grouped_sum(points, clusters, len(centroids), weights=weights)
    totals = grouped_sum(weights, clusters, len(centroids))
    empty = np.flatnonzero(totals == 0)
    distances = ((points - centroids[clusters]) ** 2).sum(axis=1) if len(empty) else np.zeros(1)
    if distances.max() > 0:
        for cluster, point in zip(empty, np.argsort(-distances, kind="stable"), strict=False):
            weighted = points[point] * weights[point]
            sums[clusters[point]] -= weighted
            totals[clusters[point]] -= weights[point]
            sums[cluster], totals[cluster] = weighted, weights[point]
    kept = totals > 0
    return np.where(kept[:, None], sums / np.where(kept, totals, 1)[:, None], centroids)


def _pca_part(points: NDArray[np.float64], weights: NDArray[np.float64], n_clusters: int) -> NDArray[np.float64]:
    """Return the initial centroids of PCA-Part, fewer than `n_clusters` if there are fewer distinct points."""
    clusters = [np.arange(len(points))]
    scatters = [_scatter(points, weights)]
    min_scatter = _MIN_SCATTER * scatters[0][0]
    while len(clusters) < n_clusters:
        widest = int(np.argmax([scatter for scatter, _ in scatters]))
        scatter, upper = scatters[widest]
        if scatter <= min_scatter:
            break  # no cluster has distinct points
        rows = clusters.pop(widest)
        del scatters[widest]
        for half in (rows[~upper], rows[upper]):
            clusters.append(half)
            scatters.append(_scatter(points[half], weights[half]))
    return np.stack([np.average(points[rows], axis=0, weights=weights[rows]) for rows in clusters])


def _scatter(points: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, NDArray[np.bool_]]:
    """Return the weighted sum of squared distances from the mean, and which points are above it on the first component.

    The scatter is 0 if the cluster cannot be split, because all of its points are on one side.
    """
    deviations = points - np.average(points, axis=0, weights=weights)
    scatter = (deviations * weights[:, None]).T @ deviations
    axis = np.linalg.eigh(scatter)[1][:, -1]
    axis = axis * np.sign(axis[np.abs(axis).argmax()])  # the sign of an eigenvector depends on the library
    upper = deviations @ axis > 0
    return (0.0 if upper.all() or not upper.any() else float(np.trace(scatter))), upper
