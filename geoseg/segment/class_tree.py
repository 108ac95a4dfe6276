"""The tree of classes: which two classes become one, again and again, until two are left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Found by measuring. While many classes are left size counts, so that shades of the largest ground stay apart and with
# them the borders between them; then small but distinct ground survives; the last few are all of some size.
_COARSE = 16  # classes; with fewer left, coherence counts more than detail
_FINE_SIZE_POWER = 0.83  # before
_SIZE_POWER = (0.3, 1.0)  # from 0, size does not matter, to 1, small classes are joined first (Ward); step by step
_COHERENCE = 2.1  # times the interleaving, once so few are left
_SHORT = 200.0  # px; a border shorter than this says less of the contrast between two classes than their means do
NATURAL = (4, 16)  # classes, the fewest and the most that are ever chosen
_KEPT = 0.975  # of the spread that the most keep
_NOTHING = 1e-30  # where all fine classes look the same, no step gives anything up


@dataclass(frozen=True)
class Borders:
    """What is known of the borders between classes; all are (class, class), symmetric, the diagonal is not used.

    Parameters
    ----------
    length : pixel sides that two classes have in common
    contrast : sum over these of the squared difference between the ground on both sides
    patchy : sum over these of 1 / the smaller of the two patches that touch there: stripes, speckle and crowns of trees
        have much of it, two fields side by side have little
    """

    length: NDArray[np.float64]
    contrast: NDArray[np.float64]
    patchy: NDArray[np.float64]

    @classmethod
    def none(cls, n_classes: int) -> Borders:
        """Return the borders of classes that never touch: only their looks will count."""
        nothing = np.zeros((n_classes, n_classes))
        return cls(nothing, nothing, nothing)


@dataclass(frozen=True)
class ClassTree:
    """Fine classes and the order in which they are joined.

    Parameters
    ----------
    n_clusters : number of fine classes, the leaves
    merges : (m, 2) int64; step k joins the classes that hold the leaves ``merges[k, 0] < merges[k, 1]``, each
        the lowest leaf of its class
    costs : (m,) float64, from 0 to 1; how much of the spread between the fine classes each step gives up. They need
        not rise, as the order goes by more than looks
    """

    n_clusters: int
    merges: NDArray[np.int64]
    costs: NDArray[np.float64]

    def level(self, n_classes: int) -> NDArray[np.int64]:
        """Return the class of each leaf when at most `n_classes` are left.

        Returns
        -------
        (n_clusters,) int64, from 1, in the order of each class's lowest leaf

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
        """Return the rest of the tree: its leaves are the classes where at most `n_classes` are left.

        Leaf i is class i + 1 of `level`, so the two can be used together.

        Examples
        --------
        >>> ClassTree(4, np.array([[0, 2], [0, 1]]), np.array([0.1, 0.3])).above(3).merges
        array([[0, 1]])
        """
        classes, done = self.level(n_classes), self._n_steps(n_classes)
        return ClassTree(int(classes.max()), classes[self.merges[done:]] - 1, self.costs[done:])

    @property
    def natural(self) -> int:
        """The number of classes that suits the tree, from 4 to 16; fewer only where there are fewer fine classes.

        It is the fewest that keep 97.5 % of the spread which 16 classes keep: what is joined up to there looked nearly
        the same.

        Examples
        --------
        >>> ClassTree(6, np.array([[0, 1], [2, 3], [4, 5], [0, 2]]), np.array([0.005, 0.2, 0.1, 0.3])).natural
        5
        """
        kept = 1 - np.concatenate([[0.0], np.cumsum(self.costs)])
        left = self.n_clusters - np.arange(len(kept))
        most = min(self.n_clusters, NATURAL[1])
        enough = (kept >= _KEPT * kept[left == most]) & (left >= min(most, NATURAL[0])) & (left <= most)
        return int(left[enough].min())

    def _n_steps(self, n_classes: int) -> int:
        """Return how many steps are done when at most `n_classes` are left."""
        return min(max(self.n_clusters - n_classes, 0), len(self.merges))


def grow_tree(
    centres: NDArray[np.float64], weights: NDArray[np.float64], borders: Borders, *, adjacency_weight: float
) -> ClassTree:
    """Join classes that pass into each other and lie among each other, cheapest pair first.

    The cost of a pair is ``c_ij · (w_i w_j / (w_i + w_j))^p · exp(−λ q_ij / sqrt(q_i q_j))``. The contrast c is the
    mean squared difference across their common border, which tells shades of one ground, that pass into each other,
    from a road in the sand, that does not; where they hardly touch, ``|m_i − m_j|²`` of the means m. Weights are w, and
    q is the patchy border, q_i that of a class to all others: stripes and the fur between them share most of it, so
    they belong together although they look different.

    Down to 16 classes p is 0.83 and λ as given: a map of detail. From there p starts at 0.3 and grows, so that what is
    left near the root has a size to speak of, and λ is 2.1 times as large: maps of coherent ground.

    Parameters
    ----------
    centres : (class, feature), means of the classes' looks
    weights : (class,), how much of the ground each class has, above 0
    interleaving : λ while more than 16 classes are left, 0 = looks alone
    """
    means, mass = centres.copy(), weights.astype(float)
    tables = np.stack([borders.length, borders.contrast, borders.patchy]).astype(float)  # (table, class, class)
    tables[:, np.arange(len(means)), np.arange(len(means))] = 0
    spread = _spread(means, mass)
    alive = np.arange(len(means))
    merges, costs = [], []
    while len(alive) > 2:
        cost = _pair_costs(means[alive], mass[alive], Borders(*tables[:, alive[:, None], alive]), adjacency_weight)
        i, j = np.unravel_index(int(np.argmin(cost)), cost.shape)
        a, b = sorted((int(alive[i]), int(alive[j])))
        costs.append(_spread(means[[a, b]], mass[[a, b]]) / max(spread, _NOTHING))
        means[a] = (mass[a] * means[a] + mass[b] * means[b]) / (mass[a] + mass[b])
        mass[a] += mass[b]
        tables[:, a] += tables[:, b]
        tables[:, :, a] += tables[:, :, b]
        tables[:, a, a] = 0
        merges.append((a, b))
        alive = alive[alive != b]
    return ClassTree(len(centres), np.array(merges, np.int64).reshape(-1, 2), np.array(costs, np.float64))


def _spread(means: NDArray[np.float64], mass: NDArray[np.float64]) -> float:
    """Return the sum of the squared distances from the common mean, each times its mass."""
    middle = np.average(means, axis=0, weights=mass)
    return float((mass[:, None] * (means - middle) ** 2).sum())


def _pair_costs(
    means: NDArray[np.float64], mass: NDArray[np.float64], borders: Borders, adjacency_weight: float
) -> NDArray[np.float64]:
    power, strength = _phase(len(means), adjacency_weight)
    distance = ((means[:, None] - means[None]) ** 2).sum(axis=-1)
    contrast = (borders.contrast + _SHORT * distance) / (borders.length + _SHORT)
    size = (mass[:, None] * mass[None] / (mass[:, None] + mass[None])) ** power
    whole = np.maximum(borders.patchy.sum(axis=1), 1e-12)
    nearness = np.exp(-strength * borders.patchy / np.sqrt(whole[:, None] * whole[None]))
    cost = contrast * size * nearness
    cost[np.tril_indices(len(cost))] = np.inf
    return np.asarray(cost)


def _phase(n_left: int, adjacency_weight: float) -> tuple[float, float]:
    """Return the power of size and the strength of interleaving while so many classes are left."""
    if n_left > _COARSE:
        return _FINE_SIZE_POWER, adjacency_weight
    coarseness = (_COARSE - n_left) / (_COARSE - 2)
    return _SIZE_POWER[0] + (_SIZE_POWER[1] - _SIZE_POWER[0]) * coarseness, _COHERENCE * adjacency_weight
