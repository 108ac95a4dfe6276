"""Predictors: rules that assign superpixels to clusters, and the confidence of their classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from geoseg.segment.clustering import nearest
from geoseg.segment.extra_features import completed
from geoseg.segment.features import moment_features
from geoseg.segment.votes import SuperpixelTable

_VOTE_WEIGHT = 0.25  # of the square roots of votes relative to the features of the moments
_ASSIGNMENT_CONTEXT_WEIGHT = 0.25  # of those of the context, if the clusters do not depend on it
_CLUSTER_CONTEXT_WEIGHT = 0.5  # of those of the context, if they do
_CONTEXT_WEIGHT = 0.3  # of the features of the moments of the context
_TREE_VOTE_WEIGHT = 0.1  # of the square roots of the votes in the class tree


class Predictor(Protocol):
    """A rule that assigns superpixels to clusters."""

    def clusters(self, table: SuperpixelTable) -> NDArray[np.int64]:
        """Return the cluster, from 0, of each superpixel, (n,) int64."""

    def confidence(self, table: SuperpixelTable, class_of_cluster: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the share of its own class among all classes of each superpixel, (n,) float64 from 0 to 1."""


@dataclass(frozen=True)
class CodePredictor:
    """Assign each superpixel to the cluster of its most frequent code.

    Parameters
    ----------
    cluster_of_code : (code,) int64
        Cluster, from 0, of each code of the scene.
    """

    cluster_of_code: NDArray[np.int64]

    def clusters(self, table: SuperpixelTable) -> NDArray[np.int64]:
        """Return the cluster, from 0, of each superpixel, (n,) int64."""
        return self.cluster_of_code[table.votes.argmax(axis=1)]

    def confidence(self, table: SuperpixelTable, class_of_cluster: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the share of the votes for codes of the own class, (n,) float64."""
        class_of_code = class_of_cluster[self.cluster_of_code]
        own = class_of_code[table.votes.argmax(axis=1)]
        return np.asarray((table.votes * (class_of_code == own[:, None])).sum(axis=1))


@dataclass(frozen=True)
class CentroidPredictor:
    """Assign each superpixel to the cluster with the nearest centroid by votes and moments.

    Parameters
    ----------
    centroids : (cluster, feature) float64
        In the space of `vote_features`.
    n_bands : int
        Number of moments that are bands.
    """

    centroids: NDArray[np.float64]
    n_bands: int

    def clusters(self, table: SuperpixelTable) -> NDArray[np.int64]:
        """Return the cluster, from 0, of each superpixel, (n,) int64."""
        return nearest(completed(vote_features(table, self.n_bands), self.centroids), self.centroids)

    def confidence(self, table: SuperpixelTable, class_of_cluster: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the fuzzy membership in the own class, (n,) float64; see `fuzzy_membership`."""
        points = completed(vote_features(table, self.n_bands), self.centroids)
        return fuzzy_membership(points, self.centroids, class_of_cluster)


@dataclass(frozen=True)
class ColorPredictor:
    """Assign each superpixel to the cluster with the nearest centroid by a linear mix of its moments.

    Parameters
    ----------
    centroids : (cluster, feature) float64
    mix : (feature, moment) float64
        Matrix that gives the features.
    """

    centroids: NDArray[np.float64]
    mix: NDArray[np.float64]

    def clusters(self, table: SuperpixelTable) -> NDArray[np.int64]:
        """Return the cluster, from 0, of each superpixel, (n,) int64."""
        return nearest(self._points(table), self.centroids)

    def confidence(self, table: SuperpixelTable, class_of_cluster: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the fuzzy membership in the own class, (n,) float64; see `fuzzy_membership`."""
        return fuzzy_membership(self._points(table), self.centroids, class_of_cluster)

    def _points(self, table: SuperpixelTable) -> NDArray[np.float64]:
        return completed(with_extra(table.moments @ self.mix.T, table), self.centroids)


def appearance_features(table: SuperpixelTable, n_bands: int) -> NDArray[np.float64]:
    """Return the features of superpixels that do not depend on the training of the network.

    Parameters
    ----------
    table : SuperpixelTable
    n_bands : int
        Number of moments that are bands.

    Returns
    -------
    (n, feature) float64
        `moment_features`; then 0.3 times those of the context, if the table has them; then the extra components.
    """
    features = moment_features(table.moments, n_bands)
    if _has_context_features(table) and table.context is not None:
        around = table.context[:, table.votes.shape[1] :].astype(np.float64)
        features = np.concatenate([features, _CONTEXT_WEIGHT * around], axis=1)
    return with_extra(features, table)


def vote_features(table: SuperpixelTable, n_bands: int) -> NDArray[np.float64]:
    """Return the features of superpixels that include their votes.

    Parameters
    ----------
    table : SuperpixelTable
    n_bands : int
        Number of moments that are bands.

    Returns
    -------
    (n, code + feature) float64
        Square roots of the votes, times 0.25, and of those of the context, times 0.25, or 0.5 where the table has the
        features of the context too; then `appearance_features`. The Euclidean distance of square roots of votes is
        their Hellinger distance up to a factor.

    Examples
    --------
    >>> none = np.zeros(0, np.int64)
    >>> table = SuperpixelTable(none, np.array([[0.64, 0.36]]), none, np.array([[0.5, 0.25]]), none, none)
    >>> vote_features(table, 1).round(2)
    array([[0.2 , 0.15, 0.62, 0.  ]])
    """
    votes = [_scaled_roots(table.votes, _VOTE_WEIGHT)]
    if table.context is not None:
        weight = _CLUSTER_CONTEXT_WEIGHT if _has_context_features(table) else _ASSIGNMENT_CONTEXT_WEIGHT
        votes.append(weight * table.context[:, : table.votes.shape[1]].astype(np.float64))
    return np.concatenate([*votes, appearance_features(table, n_bands)], axis=1)


def _has_context_features(table: SuperpixelTable) -> bool:
    """Return whether the context of a table has features of the moments beside votes."""
    return table.context is not None and table.context.shape[1] > table.votes.shape[1]


def tree_features(table: SuperpixelTable, n_bands: int) -> NDArray[np.float64]:
    """Return the features of superpixels by which clusters are merged in the class tree.

    Parameters
    ----------
    table : SuperpixelTable
    n_bands : int
        Number of moments that are bands.

    Returns
    -------
    (n, code + feature) float64
        Square roots of the votes, times 0.1; `moment_features`; the extra components. Clusters are merged by what they
        are, not by what lies around them.
    """
    votes = _scaled_roots(table.votes, _TREE_VOTE_WEIGHT)
    return with_extra(np.concatenate([votes, moment_features(table.moments, n_bands)], axis=1), table)


def _scaled_roots(votes: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    roots: NDArray[np.float64] = np.sqrt(votes)
    roots *= weight  # in place: there are millions of superpixels
    return roots


def with_extra(features: NDArray[np.float64], table: SuperpixelTable) -> NDArray[np.float64]:
    """Return features of superpixels, (n, feature), with the extra components of their table as further columns."""
    return features if table.extra is None else np.concatenate([features, table.extra], axis=1)


def fuzzy_membership(
    features: NDArray[np.float64], centroids: NDArray[np.float64], class_of_cluster: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the membership of each point in the class of its nearest centroid.

    Parameters
    ----------
    features : (n, feature) float64
    centroids : (cluster, feature) float64
    class_of_cluster : (cluster,) int64
        From 1, every class up to the highest in use.

    Returns
    -------
    (n,) float64
        From 1 / number of classes to 1.

    Notes
    -----
    The membership in class k is (1 / d_k²) / Σ_j (1 / d_j²) with the distance d_k to the nearest centroid of class k:
    fuzzy c-means (Bezdek 1981) with m = 2. For labelled pixels of two scenes, the membership of a correctly classified
    pixel exceeds that of a misclassified one with probability 0.79 and 0.72 (area under the ROC curve); with the
    share of the most frequent code instead it is 0.62 and 0.64.

    Examples
    --------
    >>> fuzzy_membership(np.array([[0.0], [1.0]]), np.array([[0.0], [3.0]]), np.array([1, 2]))
    array([1. , 0.8])
    """
    classes = np.arange(1, int(class_of_cluster.max(initial=0)) + 1)
    squared = cdist(features, centroids, "sqeuclidean")
    by_class = np.stack([squared[:, class_of_cluster == one].min(axis=1) for one in classes], axis=1)  # (n, class)
    smallest = by_class.min(axis=1, keepdims=True)
    ratios = np.divide(smallest, by_class, out=np.ones_like(by_class), where=by_class > 0)
    return np.asarray(1 / ratios.sum(axis=1))


def predictor_to_arrays(predictor: Predictor) -> dict[str, NDArray[Any]]:
    """Return the arrays of a predictor by name; "predictor" is the number of its type.

    Raises
    ------
    ValueError
        If the predictor is of another type than those of this module.

    Examples
    --------
    >>> predictor_to_arrays(CodePredictor(np.array([0, 1])))
    {'predictor': array(0), 'cluster_of_code': array([0, 1])}
    """
    match predictor:
        case CodePredictor(cluster_of_code):
            return {"predictor": np.array(0), "cluster_of_code": cluster_of_code}
        case CentroidPredictor(centroids):  # the number of bands is stored with the class model
            return {"predictor": np.array(1), "centroids": centroids}
        case ColorPredictor(centroids, mix):
            return {"predictor": np.array(2), "centroids": centroids, "mix": mix}
    raise ValueError(f"cannot store a {type(predictor).__name__}; store one of the predictors of geoseg.segment.")


def predictor_from_arrays(arrays: dict[str, NDArray[Any]], n_bands: int) -> Predictor:
    """Return the predictor of the arrays of `predictor_to_arrays`.

    Raises
    ------
    KeyError
        If an array is missing.
    ValueError
        If the number of the type is unknown.

    Examples
    --------
    >>> predictor_from_arrays({"predictor": np.array(0), "cluster_of_code": np.array([0, 1])}, n_bands=3)
    CodePredictor(cluster_of_code=array([0, 1]))
    """
    match int(arrays["predictor"]):
        case 0:
            return CodePredictor(arrays["cluster_of_code"])
        case 1:
            return CentroidPredictor(arrays["centroids"], n_bands)
        case 2:
            return ColorPredictor(arrays["centroids"], arrays["mix"])
        case number:
            raise ValueError(f"the predictor has type {number}, expected 0, 1 or 2; was it written by a newer version?")
