"""Train a forest on the regions that have samples, and predict the names of all regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.classify.region_table import Features, feature_names
from geoseg.classify.trees import Trees, trees_of

N_TREES = 200
_LEAF = 2  # samples of a leaf, at least
_CHUNK = 32_768  # regions whose features are put together at a time


@dataclass(frozen=True)
class Forest:
    """All that the name of a region depends on, besides the regions.

    Parameters
    ----------
    names : tuple of str
    attributes, levels : tuple of str
        Columns of the regions.
    medians : (attribute,) float32
        In place of missing values.
    shares : (name,) float64
        Share of each name among the samples, with sum 1.
    trees : Trees
    """

    names: tuple[str, ...]
    attributes: tuple[str, ...]
    levels: tuple[str, ...]
    medians: NDArray[np.float32]
    shares: NDArray[np.float64]
    trees: Trees


@dataclass(frozen=True)
class TrainingSet:
    """Samples as rows for training.

    Parameters
    ----------
    values : (row, feature) float32
        Features of the region of each row.
    names : (row,) int64
        Number of the name.
    weights : (row,) float64
        Number of samples.
    n_names : int
    """

    values: NDArray[np.float32]
    names: NDArray[np.int64]
    weights: NDArray[np.float64]
    n_names: int

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each name among the samples, (name,)."""
        counts = np.bincount(self.names, self.weights, minlength=self.n_names)
        return counts / counts.sum()

    def part(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> TrainingSet:
        """Return some of the rows."""
        return TrainingSet(self.values[rows], self.names[rows], self.weights[rows], self.n_names)


def train(samples: TrainingSet, *, seed: int = 0, n_trees: int | None = None) -> Trees:
    """Return extremely randomised trees (Geurts, Ernst and Wehenkel 2006) that were fitted to samples.

    Parameters
    ----------
    samples : TrainingSet
    seed : int
    n_trees : int or None
        None = `N_TREES`.
    """
    from sklearn.ensemble import ExtraTreesClassifier  # here, because it takes a second to import

    forest = ExtraTreesClassifier(n_trees or N_TREES, min_samples_leaf=_LEAF, random_state=seed)
    forest.fit(samples.values, samples.names, sample_weight=samples.weights)
    trees = trees_of(forest)
    shares = np.zeros((len(trees.shares), samples.n_names), np.float32)
    shares[:, forest.classes_] = trees.shares
    return Trees(trees.roots, trees.attribute, trees.threshold, trees.left, trees.right, shares)


def predict(trees: Trees, features: Features) -> NDArray[np.float32]:
    """Return the probability of each name for all regions, (region, name) float32."""
    parts = (slice(first, first + _CHUNK) for first in range(0, len(features), _CHUNK))
    return np.concatenate([trees.predict(features.of(part)) for part in parts])


def importance(samples: TrainingSet, trees: Trees) -> NDArray[np.float64]:
    """Return the share of each feature in the decrease of Gini impurity, (feature,) float64 with sum 1.

    Parameters
    ----------
    samples : TrainingSet
        With which the trees were trained.
    trees : Trees
    """
    counts = _node_counts(samples, trees)  # (node, name)
    total = counts.sum(axis=1)
    impurity = total - (counts**2).sum(axis=1) / np.maximum(total, 1e-12)
    inner = np.flatnonzero(trees.attribute >= 0)
    decrease = impurity[inner] - impurity[trees.left[inner]] - impurity[trees.right[inner]]
    found = np.bincount(trees.attribute[inner], np.maximum(decrease, 0), minlength=samples.values.shape[1])
    return found / max(found.sum(), 1e-12)


def _node_counts(samples: TrainingSet, trees: Trees) -> NDArray[np.float64]:
    """Return the weight of the samples of each name that pass each node."""
    counts = np.zeros((len(trees.attribute), samples.n_names))
    rows = np.arange(len(samples.names))
    for root in trees.roots:
        node = np.full(len(rows), root)
        active = rows
        while len(active):
            np.add.at(counts, (node[active], samples.names[active]), samples.weights[active])
            active = active[trees.attribute[node[active]] >= 0]
            at = node[active]
            goes_left = samples.values[active, trees.attribute[at]] <= trees.threshold[at]
            node[active] = np.where(goes_left, trees.left[at], trees.right[at])
    return counts


def group_importance(
    found: NDArray[np.float64], attributes: tuple[str, ...], levels: tuple[str, ...]
) -> list[tuple[str, float]]:
    """Return the importance of each attribute, over all features made of it, from the largest to the smallest.

    Parameters
    ----------
    found : (feature,) float64
    attributes, levels : tuple of str
    """
    n_parts = len(feature_names(attributes, levels)) // len(attributes)
    of_attribute = found.reshape(n_parts, len(attributes)).sum(axis=0)
    order = np.argsort(-of_attribute, kind="stable")
    return [(attributes[i], float(of_attribute[i])) for i in order]
