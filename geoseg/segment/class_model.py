"""The class model: the rule that assigns a class to every superpixel of a scene, fitted to a sample of its blocks.

Superpixels are clustered by their features, clusters with multimodal votes are split, and each superpixel is assigned
to the nearest cluster by features and votes. The class tree merges the clusters into classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from geoseg.config import Classify
from geoseg.segment.class_tree import Borders, ClassTree, grow_tree
from geoseg.segment.clustering import kmeans, nearest, split_multimodal
from geoseg.segment.extra_features import extra_scale, known_rows, scaled
from geoseg.segment.features import moment_features
from geoseg.segment.grouped import GroupedSums, grouped_sum
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
from geoseg.segment.table_storage import IN_MEMORY, TableStorage, batches
from geoseg.segment.votes import SuperpixelTable, concatenate

_SIZE_POWER = 0.5  # superpixels are weighted by the root of their area, so that small areas keep their own cluster
_PAIRS = 2**13  # borders whose contrast is computed at once: there are several per superpixel


Rows = slice | NDArray[np.integer]
Features = Callable[[Rows], NDArray[np.float64]]  # rows of a table → (row, feature)


class Clustering(NamedTuple):
    """The cluster of each superpixel of a table, (n,) int64 from 0, and the number of clusters."""

    of: NDArray[np.int64]
    n: int


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


def fit_class_model(
    sample: list[SuperpixelTable], options: Classify, *, n_bands: int, storage: TableStorage = IN_MEMORY
) -> ClassModel:
    """Fit the class model of a scene.

    Parameters
    ----------
    sample : list of SuperpixelTable
        Blocks from all over the scene, at least one with a superpixel.
    options : Classify
    n_bands : int
        Number of moments that are bands.
    storage : TableStorage
        Where votes in another order are kept; if it is also that of the sample, which is then a single table, only a
        few numbers per superpixel are in memory.

    Returns
    -------
    ClassModel
        The tree is grown from the initial clusters, before votes move superpixels between them, because these hardly
        depend on the training of the network.
    """
    table = concatenate(sample)
    if (np.diff(table.numbers) < 0).any():
        table = table.rows(np.argsort(table.numbers))
    table = known_rows(table, storage)
    scale = 0.0
    if table.extra is not None:
        scale = extra_scale(table, moment_features(table.moments, n_bands), _weights(table), options.feature_weight)
        table = scaled(table, scale)
    if options.evidence == "votes":
        predictor: Predictor
        predictor, initial_clusters = _fit_codes(table, storage)
        clusters, with_votes = initial_clusters, False
    else:
        predictor, initial_clusters, clusters = _fit_centroids(table, options.clusters, n_bands, storage)
        with_votes = True

    def features(rows: Rows) -> NDArray[np.float64]:
        some = table.rows(rows)
        return tree_features(some, n_bands) if with_votes else moment_features(some.moments, n_bands)

    n_clusters = int(clusters.max()) + 1
    tree = _fit_tree(table, Clustering(initial_clusters, n_clusters), features, options, storage)
    return ClassModel(
        predictor=predictor,
        tree=tree,
        moments=_means(lambda rows: table.moments[rows], Clustering(clusters, n_clusters), table.pixels, storage),
        weights=grouped_sum(table.pixels, clusters, n_clusters),
        n_bands=n_bands,
        auto_n_classes=tree.auto_n_classes,
        extra_scale=None if table.extra is None else scale,
    )


def _fit_codes(table: SuperpixelTable, storage: TableStorage) -> tuple[CodePredictor, NDArray[np.int64]]:
    """Make a cluster of each code that is the most frequent one of a superpixel; return it for each superpixel."""
    most_frequent = [table.votes[some].argmax(axis=1) for some in batches(len(table.votes), storage)]
    used, clusters = np.unique(np.concatenate(most_frequent), return_inverse=True)
    cluster_of_code = np.zeros(table.votes.shape[1], np.int64)
    cluster_of_code[used] = np.arange(len(used))
    return CodePredictor(cluster_of_code), clusters


def _fit_centroids(
    table: SuperpixelTable, n_clusters: int, n_bands: int, storage: TableStorage
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
    n_features = appearance_features(table.rows(slice(0, 1)), n_bands).shape[1]
    features = storage.zeros((len(weights), n_features), np.float64)
    for some in batches(len(weights), storage):
        features[some] = appearance_features(table.rows(some), n_bands)
    initial = nearest(features, kmeans(features, weights, n_clusters))
    del features
    initial = split_multimodal(lambda rows: np.sqrt(table.votes[rows]), weights, initial, storage)

    def with_votes(rows: Rows) -> NDArray[np.float64]:
        return vote_features(table.rows(rows), n_bands)

    centroids = _means(with_votes, Clustering(initial, int(initial.max()) + 1), weights, storage)
    found = [nearest(with_votes(some), centroids) for some in batches(len(weights), storage)]
    clusters = np.concatenate(found)
    used = np.unique(clusters)
    initial = np.where(np.isin(initial, used), initial, clusters)  # clusters that lose all superpixels are removed
    predictor = CentroidPredictor(centroids[used], n_bands)
    return predictor, np.searchsorted(used, initial), np.searchsorted(used, clusters)


def _means(
    features: Features, clusters: Clustering, weights: NDArray[Any], storage: TableStorage
) -> NDArray[np.float64]:
    """Return the weighted mean features of each cluster, (cluster, feature)."""
    sums = GroupedSums(clusters.n)
    for some in batches(len(weights), storage):
        sums.add(features(some), clusters.of[some], weights=weights[some])
    return np.asarray(sums.total / np.bincount(clusters.of, weights, minlength=clusters.n)[:, None])


def _fit_tree(
    table: SuperpixelTable, clusters: Clustering, features: Features, options: Classify, storage: TableStorage
) -> ClassTree:
    """Grow the class tree of clusters from the features of their superpixels."""
    weights = _weights(table)
    centroids = _means(features, clusters, weights, storage)
    borders = _borders(table, clusters, features, storage)
    sizes, pixels = (grouped_sum(values, clusters.of, clusters.n) for values in (weights, table.pixels))
    return grow_tree(centroids, sizes, borders, adjacency_weight=options.adjacency_weight, pixels=pixels)


def _borders(table: SuperpixelTable, clusters: Clustering, features: Features, storage: TableStorage) -> Borders:
    """Return the sums over the borders between clusters."""
    n = clusters.n
    a, b, length = _known_pairs(table, storage)
    patch = _patch_sizes(table.pixels, clusters.of, a, b)
    sums = GroupedSums(n**2)
    for some in batches(len(a), storage, _PAIRS):
        one, other, sides = a[some], b[some], length[some].astype(np.float64)
        contrast = sides * ((features(one) - features(other)) ** 2).sum(axis=1)
        contact = sides / np.minimum(patch[one], patch[other])
        pairs = clusters.of[one] * n + clusters.of[other]
        sums.add(np.stack([sides, contrast, contact], axis=1), pairs)

    halves = sums.total.reshape(n, n, -1)  # without columns if there are no pairs
    return Borders(*(half + half.T for half in np.moveaxis(halves, 2, 0))) if len(a) else Borders.none(n)


def _known_pairs(
    table: SuperpixelTable, storage: TableStorage
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return the rows of both superpixels of the pairs that are in the table, and the lengths of their borders."""
    found = [np.zeros((0, 3), np.int32)]
    for some in batches(len(table.pairs), storage):
        rows = np.minimum(np.searchsorted(table.numbers, table.pairs[some]), len(table.numbers) - 1)
        known = (table.numbers[rows] == table.pairs[some]).all(axis=1)  # the second may be outside the sample
        found.append(np.column_stack([rows[known], table.borders[some][known]]).astype(np.int32))
    a, b, length = np.concatenate(found).T
    return a, b, length


def _patch_sizes(
    pixels: NDArray[np.int64], clusters: NDArray[np.int64], a: NDArray[np.int32], b: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Return the pixels of the connected component of its cluster that each superpixel belongs to, (n,) float64."""
    same, n = clusters[a] == clusters[b], len(clusters)
    graph = sparse.coo_array((np.ones(same.sum(), np.int8), (a[same], b[same])), shape=(n, n))
    n_components, component = connected_components(graph, directed=False)
    return grouped_sum(pixels, component, n_components)[component]


def _weights(table: SuperpixelTable) -> NDArray[np.float64]:
    """Return the weight of each superpixel in means, (n,)."""
    return table.pixels.astype(np.float64) ** _SIZE_POWER
