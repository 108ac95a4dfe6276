"""A forest of decision trees as flat arrays, which predicts without the library that trained it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.compiled import compiled

LEAF = -1  # in place of the attribute


@dataclass(frozen=True)
class Trees:
    """Nodes of all trees, one tree after the other; a child has a higher number than its parent.

    Parameters
    ----------
    roots : (tree,) int32
        Node with which each tree begins.
    attribute : (node,) int32
        Column that is compared; `LEAF` = a leaf.
    threshold : (node,) float64
        Values up to it go left.
    left, right : (node,) int32
        Children; 0 for leaves.
    shares : (node, name) float32
        Share of each name among the samples of a leaf, with sum 1; 0 for other nodes.
    """

    roots: NDArray[np.int32]
    attribute: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    shares: NDArray[np.float32]

    def predict(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each name, the mean over all trees, (row, name) float32.

        Parameters
        ----------
        values : (row, attribute) float32
            Without NaN.
        """
        sums = np.zeros((len(values), self.shares.shape[1]), np.float32)
        nodes = np.stack([self.attribute, self.left, self.right], axis=1)
        _add_leaves(np.ascontiguousarray(values, np.float32), self.roots, nodes, self.threshold, self.shares, sums)
        return sums / np.float32(len(self.roots))

    def problem(self, n_attributes: int) -> str:
        """Return what is wrong with the arrays of a file; "" = nothing, so that a prediction ends and stays inside.

        Parameters
        ----------
        n_attributes : int
            Number of columns of the values.
        """
        n = len(self.attribute)
        kinds = {"roots": "i4", "attribute": "i4", "threshold": "f8", "left": "i4", "right": "i4", "shares": "f4"}
        for each in fields(self):
            array = getattr(self, each.name)
            if array.dtype != np.dtype(kinds[each.name]) or array.ndim != (2 if each.name == "shares" else 1):
                return f"{each.name} is {array.dtype} with {array.ndim} dimensions"
        if not len(self.roots) or {len(self.threshold), len(self.left), len(self.right), len(self.shares)} != {n}:
            return "the arrays of the nodes differ in length"
        if self.roots.min() < 0 or self.roots.max() >= n:
            return "a tree begins outside of the nodes"
        number, is_leaf = np.arange(n), self.attribute == LEAF
        if ((self.attribute < LEAF) | (self.attribute >= n_attributes)).any():
            return "a node compares an attribute that does not exist"
        for child in (self.left[~is_leaf], self.right[~is_leaf]):
            if ((child <= number[~is_leaf]) | (child >= n)).any():
                return "a child is not after its parent"
        sums = self.shares[is_leaf].sum(axis=1)
        if not (np.isfinite(self.threshold).all() and (self.shares >= 0).all() and np.allclose(sums, 1, atol=1e-3)):
            return "thresholds or shares are no numbers in their range"
        return ""


def trees_of(forest: Any) -> Trees:
    """Return the trees of a fitted forest of scikit-learn, whose values are float32.

    Parameters
    ----------
    forest : sklearn.ensemble.ExtraTreesClassifier or RandomForestClassifier
    """
    parts = [each.tree_ for each in forest.estimators_]
    starts = np.cumsum([0, *(tree.node_count for tree in parts)])

    def joined(arrays: list[NDArray[Any]], dtype: str) -> NDArray[Any]:
        return np.concatenate(arrays).astype(dtype)

    is_leaf = [tree.children_left < 0 for tree in parts]
    children = [
        [
            np.where(leaf, 0, getattr(tree, side) + start)
            for tree, leaf, start in zip(parts, is_leaf, starts[:-1], strict=True)
        ]
        for side in ("children_left", "children_right")
    ]
    shares = [
        np.where(leaf[:, None], tree.value[:, 0] / tree.value[:, 0].sum(axis=1, keepdims=True), 0)
        for tree, leaf in zip(parts, is_leaf, strict=True)
    ]
    return Trees(
        roots=starts[:-1].astype(np.int32),
        attribute=joined([np.where(leaf, LEAF, tree.feature) for tree, leaf in zip(parts, is_leaf, strict=True)], "i4"),
        threshold=joined([np.where(leaf, 0, tree.threshold) for tree, leaf in zip(parts, is_leaf, strict=True)], "f8"),
        left=joined(children[0], "i4"),
        right=joined(children[1], "i4"),
        shares=joined(shares, "f4"),
    )


@compiled(nogil=True)
def _add_leaves(values: Any, roots: Any, nodes: Any, threshold: Any, shares: Any, sums: Any) -> None:
    """Add the shares of the leaf of each row in each tree; `nodes` is (node, 3): attribute, left, right."""
    for row in range(values.shape[0]):
        for tree in range(roots.shape[0]):
            node = roots[tree]
            while nodes[node, 0] >= 0:
                node = nodes[node, 1] if values[row, nodes[node, 0]] <= threshold[node] else nodes[node, 2]
            for name in range(shares.shape[1]):
                sums[row, name] += shares[node, name]
