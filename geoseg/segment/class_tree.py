"""The class tree: agglomerative clustering of the clusters of a scene by features and adjacency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AUTO_CLASSES = (4, 16)  # smallest and largest number of classes that is chosen automatically
_MIN_EXPLAINED = 0.975  # between-class variance that the automatic number of classes keeps, relative to the largest
# Parameters of the merge cost, chosen by the experiments described in docs/.
_SHORT_BORDER = 200.0  # px; weight of the distance between the means in the contrast, against the border length
_MIN_CONTACT = 1e-12  # avoids 0 / 0 for classes without borders
_MIN_SCATTER = 1e-30  # avoids 0 / 0 if all clusters have the same features


@dataclass(frozen=True)
class Borders:
    """Sums over the borders between clusters; symmetric matrices whose diagonal is not used.

    Parameters
    ----------
    length : (cluster, cluster) float64
        Number of pixel sides that two clusters share.
    contrast : (cluster, cluster) float64
        Sum over these sides of the squared distance between the features of the superpixels on both sides.
    patch_contact : (cluster, cluster) float64
        Sum over these sides of 1 / the pixels of the smaller of the two patches in contact. A patch is a connected
        component of one cluster. Large for clusters that alternate in small patches (stripes, speckle, tree crowns),
        small for a border between two large fields.
    """

    length: NDArray[np.float64]
    contrast: NDArray[np.float64]
    patch_contact: NDArray[np.float64]

    @classmethod
    def none(cls, n_clusters: int) -> Borders:
        """Return the borders of clusters that are never adjacent; the tree then depends on features alone."""
        zeros = np.zeros((n_clusters, n_clusters))
        return cls(zeros, zeros, zeros)


@dataclass(frozen=True)
class ClassTree:
    """Clusters and the order in which they are merged into classes.

    Parameters
    ----------
    n_clusters : int
        Number of leaves.
    merges : (m, 2) int64
        Step k merges the classes that contain the leaves ``merges[k, 0] < merges[k, 1]``, each the lowest leaf of its
        class.
    costs : (m,) float64
        Share of the variance between the clusters, from 0 to 1, that each step moves into the classes. Not always
        ascending, because the order of the steps depends on adjacency too.
    """

    n_clusters: int
    merges: NDArray[np.int64]
    costs: NDArray[np.float64]

    def level(self, n_classes: int) -> NDArray[np.int64]:
        """Return the class of each leaf when at most `n_classes` remain.

        Parameters
        ----------
        n_classes : int
            A tree has at least two classes, or one if it has one leaf.

        Returns
        -------
        (n_clusters,) int64
            From 1, numbered in the order of the lowest leaf of each class.

        Examples
        --------
        >>> ClassTree(4, np.array([[0, 2], [0, 1]]), np.array([0.1, 0.3])).level(3)
        array([1, 2, 1, 3])
        """
        lowest = np.arange(self.n_clusters)
        for a, b in self.merges[: self._n_steps(n_classes)]:
            lowest[lowest == b] = a
        return np.unique(lowest, return_inverse=True)[1] + 1

    def above(self, n_classes: int) -> ClassTree:
        """Return the upper part of the tree, whose leaves are the classes of ``level(n_classes)``.

        Parameters
        ----------
        n_classes : int

        Returns
        -------
        ClassTree
            Leaf i is class i + 1 of ``level(n_classes)``.

        Examples
        --------
        >>> ClassTree(4, np.array([[0, 2], [0, 1]]), np.array([0.1, 0.3])).above(3).merges
        array([[0, 1]])
        """
        classes, done = self.level(n_classes), self._n_steps(n_classes)
        return ClassTree(int(classes.max()), classes[self.merges[done:]] - 1, self.costs[done:])

    @property
    def auto_n_classes(self) -> int:
        """The automatic number of classes: 4 to 16, fewer only if there are fewer clusters.

        It is the smallest number that keeps 97.5 % of the between-class variance of 16 classes.

        Examples
        --------
        >>> ClassTree(6, np.array([[0, 1], [2, 3], [4, 5], [0, 2]]), np.array([0.005, 0.2, 0.1, 0.3])).auto_n_classes
        5
        """
        explained = 1 - np.concatenate([[0.0], np.cumsum(self.costs)])
        n_classes = self.n_clusters - np.arange(len(explained))
        largest = min(self.n_clusters, AUTO_CLASSES[1])
        in_range = (n_classes >= min(largest, AUTO_CLASSES[0])) & (n_classes <= largest)
        enough = explained >= _MIN_EXPLAINED * explained[n_classes == largest]
        return int(n_classes[enough & in_range].min())

    def _n_steps(self, n_classes: int) -> int:
        """Return the number of merges after which at most `n_classes` remain."""
        return min(max(self.n_clusters - n_classes, 0), len(self.merges))


def grow_tree(
    centroids: NDArray[np.float64],
    weights: NDArray[np.float64],
    borders: Borders,
    *,
    adjacency_weight: float,
    pixels: NDArray[np.float64] | None = None,
) -> ClassTree:
    """Return the tree that merges the pair of classes with the lowest cost until two are left.

    Parameters
    ----------
    centroids : (cluster, feature) float64
        Mean features.
    weights : (cluster,) float64
        Weight of each cluster in means, above 0.
    borders : Borders
    adjacency_weight : float
        λ for many classes; 0 = the borders count only through the contrast.
    pixels : (cluster,) float64, optional
        Size of each cluster, above 0; None = `weights`.

    Returns
    -------
    ClassTree

    Notes
    -----
    The cost of merging the classes i and j while k are left is that of Ward's linkage, the increase of the variance
    within the classes, with a contrast in place of the squared distance between the means, and a factor for adjacency::

        c_ij · w_i · w_j / (w_i + w_j) · exp(-λ · (1 - 2 / k) · q_ij / sqrt(q_i · q_j))

        c_ij = (C_ij + 200 · |m_i - m_j|²) / (L_ij + 200)

    with the means m, the weights w, the border length L, the contrast C summed over the border, and the patch contact
    q; q_i is the sum of q_ij over all other classes j. The contrast at a long border is low between shades that change
    gradually and high between a road and the sand beside it; without a border it is the squared distance between the
    means, and the cost is exactly Ward's. The last factor favours classes that alternate in small patches and are
    mostly adjacent to each other, even if their features differ. It vanishes towards the root: the few classes that
    are left there are all adjacent to each other.

    No merge makes a class with more pixels than half of the scene and an equal share of the other half, 1/2 + 1/(2k)
    with k classes left: at most 3/4 of the scene with two classes. Two of three or more classes can always be merged
    under this rule, because the two smallest of k + 1 classes have at most 2 / (k + 1) of the pixels.

    Examples
    --------
    >>> centroids = np.array([[0.0], [1.0], [1.1]])
    >>> grow_tree(centroids, np.ones(3), Borders.none(3), adjacency_weight=0.0).merges
    array([[1, 2]])
    """
    means, mass = centroids.copy(), weights.astype(float)
    pixels = (weights if pixels is None else pixels).astype(float)
    tables = np.stack([borders.length, borders.contrast, borders.patch_contact]).astype(float)  # (table, class, class)
    tables[:, np.arange(len(means)), np.arange(len(means))] = 0
    scatter = _scatter(means, mass)
    alive = np.arange(len(means))
    merges, costs = [], []
    while len(alive) > 2:
        cost = _pair_costs(means[alive], mass[alive], Borders(*tables[:, alive[:, None], alive]), adjacency_weight)
        cost[_too_large(pixels[alive])] = np.inf
        i, j = np.unravel_index(int(np.argmin(cost)), cost.shape)
        a, b = sorted((int(alive[i]), int(alive[j])))
        costs.append(_scatter(means[[a, b]], mass[[a, b]]) / max(scatter, _MIN_SCATTER))
        means[a] = (mass[a] * means[a] + mass[b] * means[b]) / (mass[a] + mass[b])
        mass[a] += mass[b]
        pixels[a] += pixels[b]
        tables[:, a] += tables[:, b]
        tables[:, :, a] += tables[:, :, b]
        tables[:, a, a] = 0
        merges.append((a, b))
        alive = alive[alive != b]
    return ClassTree(len(means), np.array(merges, np.int64).reshape(-1, 2), np.array(costs, np.float64))


def _scatter(means: NDArray[np.float64], mass: NDArray[np.float64]) -> float:
    """Return the weighted sum of squared distances from the weighted mean."""
    center = np.average(means, axis=0, weights=mass)
    return float((mass[:, None] * (means - center) ** 2).sum())


def _pair_costs(
    means: NDArray[np.float64], mass: NDArray[np.float64], borders: Borders, adjacency_weight: float
) -> NDArray[np.float64]:
    """Return the cost of merging each pair i < j, (class, class); infinite elsewhere."""
    distance = ((means[:, None] - means[None]) ** 2).sum(axis=-1)
    contrast = (borders.contrast + _SHORT_BORDER * distance) / (borders.length + _SHORT_BORDER)
    size = mass[:, None] * mass[None] / (mass[:, None] + mass[None])
    total_contact = np.maximum(borders.patch_contact.sum(axis=1), _MIN_CONTACT)
    relative_contact = borders.patch_contact / np.sqrt(total_contact[:, None] * total_contact[None])
    cost = contrast * size * np.exp(-adjacency_weight * (1 - 2 / len(means)) * relative_contact)
    cost[np.tril_indices(len(cost))] = np.inf
    return np.asarray(cost)


def _too_large(pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether the merge of each pair makes a class that is too large for one class fewer, (class, class)."""
    largest = 0.5 + 0.5 / (len(pixels) - 1)
    return np.asarray(pixels[:, None] + pixels[None] > largest * pixels.sum())
