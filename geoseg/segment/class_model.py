"""The class model: the rule that assigns a class to every superpixel of a scene, fitted to a sample of its blocks.

Superpixels are clustered by their features, clusters with multimodal votes are split, and each superpixel is assigned
to the nearest cluster by features and votes. The class tree merges the clusters into classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from geoseg.config import Classify
from geoseg.segment.class_tree import Borders, ClassTree, grow_tree
from geoseg.segment.clustering import kmeans, nearest, split_multimodal
from geoseg.segment.extra_features import extra_scale, known_rows, scaled
from geoseg.segment.features import moment_features
from geoseg.segment.grouped import grouped_mean, grouped_sum
from geoseg.segment.predictors import (
    CentroidPredictor,
    CodePredictor,
    Predictor,
    appearance_features,
    predictor_from_arrays,
    predictor_to_arrays,
    tree_features,
    vote_features,
)
from geoseg.segment.votes import SuperpixelTable, concatenate

_SIZE_POWER = 0.5  # superpixels are weighted by the root of their area, so that small areas keep their own cluster
_PAIRS = 2**13  # borders whose contrast is computed at once: there are several per superpixel


@dataclass(frozen=True)
class ClassModel:
    """The rule that assigns a class to a superpixel.

    Parameters
    ----------
    predictor : Predictor
        Assigns superpixels to clusters.
    tree : ClassTree
        Merges the clusters into classes.
    moments : (cluster, moment) float64
        Mean moments of the superpixels of each cluster.
    weights : (cluster,) float64
        Number of pixels of each cluster in the sample.
    n_bands : int
        Number of moments that are bands.
    auto_n_classes : int
        Number of classes for ``classes="auto"``, fixed when the model is fitted.
    extra_scale : float or None
        Factor of the extra components of superpixels (`extra_features.extra_scale`); None = there are none.
    """

    predictor: Predictor
    tree: ClassTree
    moments: NDArray[np.float64]
    weights: NDArray[np.float64]
    n_bands: int
    auto_n_classes: int
    extra_scale: float | None = None

    def clusters(self, table: SuperpixelTable) -> NDArray[np.int64]:
        """Return the cluster, from 0, of each superpixel.

        Parameters
        ----------
        table : SuperpixelTable
            Of n superpixels.

        Returns
        -------
        (n,) int64
        """
        return self.predictor.clusters(self._scaled(table))

    def class_of_cluster(self, n_classes: int | Literal["auto"]) -> NDArray[np.int64]:
        """Return the class of each cluster.

        Parameters
        ----------
        n_classes : int or "auto"
            Largest number of classes; "auto" = `auto_n_classes`.

        Returns
        -------
        (cluster,) int64
            From 1.
        """
        return self.tree.level(self.auto_n_classes if n_classes == "auto" else n_classes)

    def confidence(self, table: SuperpixelTable, class_of_cluster: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the share of its own class among all classes of each superpixel.

        Parameters
        ----------
        table : SuperpixelTable
            Of n superpixels.
        class_of_cluster : (cluster,) int64
            As returned by the method `class_of_cluster`.

        Returns
        -------
        (n,) float64
            From 0 to 1: the share of the votes if clusters are codes, otherwise the fuzzy membership
            (`predictors.fuzzy_membership`).
        """
        return self.predictor.confidence(self._scaled(table), class_of_cluster)

    def _scaled(self, table: SuperpixelTable) -> SuperpixelTable:
        return table if self.extra_scale is None else scaled(table, self.extra_scale)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the model as arrays by name.

        Returns
        -------
        dict of str to array
            Complete input for `from_arrays`.
        """
        extra = {} if self.extra_scale is None else {"extra_scale": np.array(self.extra_scale)}
        return (
            extra
            | predictor_to_arrays(self.predictor)
            | {
                "merges": self.tree.merges,
                "costs": self.tree.costs,
                "moments": self.moments,
                "weights": self.weights,
                "n_bands": np.array(self.n_bands),
                "auto_n_classes": np.array(self.auto_n_classes),
            }
        )

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> ClassModel:
        """Return the model of the arrays of `to_arrays`.

        Raises
        ------
        KeyError
            If an array is missing.
        ValueError
            If there are unknown arrays or the type of the predictor is unknown.
        """
        n_bands = int(arrays["n_bands"])
        model = cls(
            predictor=predictor_from_arrays(arrays, n_bands),
            tree=ClassTree(len(arrays["moments"]), arrays["merges"], arrays["costs"]),
            moments=arrays["moments"],
            weights=arrays["weights"],
            n_bands=n_bands,
            auto_n_classes=int(arrays["auto_n_classes"]),
            extra_scale=float(arrays["extra_scale"]) if "extra_scale" in arrays else None,
        )
        unknown = sorted(arrays.keys() - model.to_arrays().keys())
        if unknown:
            raise ValueError(f"the class model has unknown arrays {unknown}; was it written by a newer version?")
        return model


def class_moments(class_model: ClassModel, class_of_cluster: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean moments of each class.

    Parameters
    ----------
    class_model : ClassModel
    class_of_cluster : (cluster,) int64
        From 1, as returned by `ClassModel.class_of_cluster`.

    Returns
    -------
    (class + 1, moment) float64
        Row k is class k; row 0, nodata, is 0.

    Examples
    --------
    >>> tree = ClassTree(3, np.array([[0, 2]]), np.array([0.1]))
    >>> predictor = CodePredictor(np.array([0, 1, 2]))
    >>> model = ClassModel(predictor, tree, np.array([[0.1], [0.5], [0.4]]), np.array([10.0, 10.0, 20.0]), 1, 2)
    >>> class_moments(model, model.class_of_cluster(2)).round(2)
    array([[0. ],
           [0.3],
           [0.5]])
    """
    n = int(class_of_cluster.max()) + 1
    weights = grouped_sum(class_model.weights, class_of_cluster, n)
    sums = grouped_sum(class_model.moments, class_of_cluster, n, weights=class_model.weights)
    return np.asarray(sums / np.maximum(weights, 1)[:, None])


def fit_class_model(sample: list[SuperpixelTable], options: Classify, *, n_bands: int) -> ClassModel:
    """Fit the class model of a scene.

    Parameters
    ----------
    sample : list of SuperpixelTable
        Blocks from all over the scene, at least one with a superpixel.
    options : Classify
    n_bands : int
        Number of moments that are bands.

    Returns
    -------
    ClassModel
        The tree is grown from the initial clusters, before votes move superpixels between them, because these hardly
        depend on the training of the network.
    """
    table = concatenate(sample)
    if (np.diff(table.numbers) < 0).any():
        table = table.rows(np.argsort(table.numbers))
    table = known_rows(table)
    own = moment_features(table.moments, n_bands)
    scale = extra_scale(table, own, _weights(table), options.feature_weight)
    table = scaled(table, scale)
    if options.evidence == "votes":
        predictor: Predictor
        predictor, initial_clusters = _fit_codes(table)
        clusters, features = initial_clusters, moment_features(table.moments, n_bands)
    else:
        predictor, initial_clusters, clusters = _fit_centroids(table, options.clusters, n_bands)
        features = tree_features(table, n_bands)
    n_clusters = int(clusters.max()) + 1
    tree = _fit_tree(table, initial_clusters, n_clusters, features, options)
    return ClassModel(
        predictor=predictor,
        tree=tree,
        moments=grouped_mean(table.moments, clusters, n_clusters, weights=table.pixels),
        weights=grouped_sum(table.pixels, clusters, n_clusters),
        n_bands=n_bands,
        auto_n_classes=tree.auto_n_classes,
        extra_scale=None if table.extra is None else scale,
    )


def _fit_codes(table: SuperpixelTable) -> tuple[CodePredictor, NDArray[np.int64]]:
    """Make a cluster of each code that is the most frequent one of a superpixel; return it for each superpixel."""
    used, clusters = np.unique(table.votes.argmax(axis=1), return_inverse=True)
    cluster_of_code = np.zeros(table.votes.shape[1], np.int64)
    cluster_of_code[used] = np.arange(len(used))
    return CodePredictor(cluster_of_code), clusters


def _fit_centroids(
    table: SuperpixelTable, n_clusters: int, n_bands: int
) -> tuple[CentroidPredictor, NDArray[np.int64], NDArray[np.int64]]:
    """Cluster superpixels by features, split multimodal clusters, then reassign superpixels by features and votes.

    K-means on the votes would depend on the training of the network: from two seeds it would split an area of gradual
    transitions at different shades. Votes therefore only split clusters that are multimodal in them.

    Returns
    -------
    predictor : CentroidPredictor
    initial_clusters : (n,) int64
        Cluster of each superpixel before it is reassigned.
    clusters : (n,) int64
        Cluster of each superpixel; every cluster has superpixels in both.
    """
    weights = _weights(table)
    features = appearance_features(table, n_bands)
    initial = nearest(features, kmeans(features, weights, n_clusters))
    initial = split_multimodal(np.sqrt(table.votes), weights, initial)
    with_votes = vote_features(table, n_bands)
    centroids = grouped_mean(with_votes, initial, int(initial.max()) + 1, weights=weights)
    clusters = nearest(with_votes, centroids)
    used = np.unique(clusters)
    initial = np.where(np.isin(initial, used), initial, clusters)  # clusters that lose all superpixels are removed
    predictor = CentroidPredictor(centroids[used], n_bands)
    return predictor, np.searchsorted(used, initial), np.searchsorted(used, clusters)


def _fit_tree(
    table: SuperpixelTable,
    clusters: NDArray[np.int64],
    n_clusters: int,
    features: NDArray[np.float64],
    options: Classify,
) -> ClassTree:
    """Grow the class tree of clusters from the features of their superpixels, (n, feature)."""
    weights = _weights(table)
    centroids = grouped_mean(features, clusters, n_clusters, weights=weights)
    borders = _borders(table, clusters, n_clusters, features)
    sizes, pixels = (grouped_sum(values, clusters, n_clusters) for values in (weights, table.pixels))
    return grow_tree(centroids, sizes, borders, adjacency_weight=options.adjacency_weight, pixels=pixels)


def _borders(
    table: SuperpixelTable, clusters: NDArray[np.int64], n_clusters: int, features: NDArray[np.float64]
) -> Borders:
    """Return the sums over the borders between clusters."""
    rows = np.minimum(np.searchsorted(table.numbers, table.pairs), len(table.numbers) - 1)
    in_sample = (table.numbers[rows] == table.pairs).all(axis=1)  # the second may be in a block outside the sample
    a, b = rows[in_sample].T
    length = table.borders[in_sample].astype(float)
    contrast = length * _squared_distances(features, a, b)
    patch = _patch_sizes(table.pixels, clusters, a, b)
    patch_contact = length / np.minimum(patch[a], patch[b])
    pairs = clusters[a] * n_clusters + clusters[b]

    def matrix(values: NDArray[np.float64]) -> NDArray[np.float64]:
        half = grouped_sum(values, pairs, n_clusters**2).reshape(n_clusters, n_clusters)
        return half + half.T

    return Borders(matrix(length), matrix(contrast), matrix(patch_contact))


def _squared_distances(
    features: NDArray[np.float64], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the squared distance between the features of each pair of rows, (pair,); some pairs at a time."""
    found = np.empty(len(a))
    for begin in range(0, len(a), _PAIRS):
        some = slice(begin, begin + _PAIRS)
        found[some] = ((features[a[some]] - features[b[some]]) ** 2).sum(axis=1)
    return found


def _patch_sizes(
    pixels: NDArray[np.int64], clusters: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the pixels of the connected component of its cluster that each superpixel belongs to, (n,) float64."""
    same, n = clusters[a] == clusters[b], len(clusters)
    graph = sparse.coo_array((np.ones(same.sum(), np.int8), (a[same], b[same])), shape=(n, n))
    n_components, component = connected_components(graph, directed=False)
    return grouped_sum(pixels, component, n_components)[component]


def _weights(table: SuperpixelTable) -> NDArray[np.float64]:
    """Return the weight of each superpixel in means, (n,)."""
    return table.pixels.astype(np.float64) ** _SIZE_POWER
