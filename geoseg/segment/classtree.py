"""The tree of classes: which two classes become one, again and again, until two are left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Found by measuring: small but distinct ground survives while many classes are left; the last few are all of some size.
_COARSE = 16  # classes; with fewer left, size counts more and interleaving less, step by step
_SIZE_POWER = (0.1, 1.0)  # from 0, size does not matter, to 1, small classes are joined first (Ward)
_INTERLEAVING_LEFT = 0.25  # of `interleaving`, where two classes are left
NATURAL = (4, 16)  # classes, the fewest and the most that are ever chosen
_KEPT = 0.975  # of the spread that the most keep
_NOTHING = 1e-30  # where all fine classes look the same, no step gives anything up


@dataclass(frozen=True)
class ClassTree:
    """Fine classes and the order in which they are joined.

    Parameters
    ----------
    n_fine : number of fine classes, the leaves
    merges : (m, 2) int64; step k joins the classes that hold the leaves ``merges[k, 0] < merges[k, 1]``, each
        the lowest leaf of its class
    costs : (m,) float64, from 0 to 1; how much of the spread between the fine classes each step gives up. They need
        not rise, as the order goes by more than looks
    """

    n_fine: int
    merges: NDArray[np.int64]
    costs: NDArray[np.float64]

    def level(self, n_classes: int) -> NDArray[np.int64]:
        """Return the class of each leaf when at most `n_classes` are left.

        Returns
        -------
        (n_fine,) int64, from 1, in the order of each class's lowest leaf

        Examples
        --------
        >>> ClassTree(4, np.array([[0, 2], [0, 1]]), np.array([0.1, 0.3])).level(3)
        array([1, 2, 1, 3])
        """
        lowest = np.arange(self.n_fine)
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
        left = self.n_fine - np.arange(len(kept))
        most = min(self.n_fine, NATURAL[1])
        enough = (kept >= _KEPT * kept[left == most]) & (left >= min(most, NATURAL[0])) & (left <= most)
        return int(left[enough].min())

    def _n_steps(self, n_classes: int) -> int:
        """Return how many steps are done when at most `n_classes` are left."""
        return min(max(self.n_fine - n_classes, 0), len(self.merges))


def grow_tree(
    centres: NDArray[np.float64], weights: NDArray[np.float64], borders: NDArray[np.float64], *, interleaving: float
) -> ClassTree:
    """Join classes that look alike and lie among each other, cheapest pair first.

    The cost of a pair is ``|m_i − m_j|² · (w_i w_j / (w_i + w_j))^p · exp(−λ b_ij / sqrt(b_i b_j))`` with the means m,
    weights w, common border b_ij and whole border b_i of a class to all others: stripes and the fur between them share
    most of their border, so they belong together although they look different. The power p grows and λ falls from 16
    classes downwards: what is left near the root then has a size to speak of.

    Parameters
    ----------
    centres : (class, feature), means of the classes' looks
    weights : (class,), how much of the ground each class has, above 0
    borders : (class, class), symmetric, length of the border between two classes; the diagonal is not used
    interleaving : λ with many classes, 0 = looks alone
    """
    means, mass, common = centres.copy(), weights.astype(float), borders.astype(float)
    np.fill_diagonal(common, 0)
    spread = _spread(means, mass)
    alive = np.arange(len(means))
    merges, costs = [], []
    while len(alive) > 2:
        cost = _pair_costs(means[alive], mass[alive], common[np.ix_(alive, alive)], interleaving)
        i, j = np.unravel_index(int(np.argmin(cost)), cost.shape)
        a, b = sorted((int(alive[i]), int(alive[j])))
        costs.append(_spread(means[[a, b]], mass[[a, b]]) / max(spread, _NOTHING))
        means[a] = (mass[a] * means[a] + mass[b] * means[b]) / (mass[a] + mass[b])
        mass[a] += mass[b]
        common[a] += common[b]
        common[:, a] += common[:, b]
        common[a, a] = 0
        merges.append((a, b))
        alive = alive[alive != b]
    return ClassTree(len(centres), np.array(merges, np.int64).reshape(-1, 2), np.array(costs, np.float64))


def _spread(means: NDArray[np.float64], mass: NDArray[np.float64]) -> float:
    """Return the sum of the squared distances from the common mean, each times its mass."""
    middle = np.average(means, axis=0, weights=mass)
    return float((mass[:, None] * (means - middle) ** 2).sum())


def _pair_costs(
    means: NDArray[np.float64], mass: NDArray[np.float64], common: NDArray[np.float64], interleaving: float
) -> NDArray[np.float64]:
    coarseness = max(0.0, (_COARSE - len(means)) / (_COARSE - 2))
    power = _SIZE_POWER[0] + (_SIZE_POWER[1] - _SIZE_POWER[0]) * coarseness
    interleaving *= 1 - (1 - _INTERLEAVING_LEFT) * coarseness
    distance = ((means[:, None] - means[None]) ** 2).sum(axis=-1)
    size = (mass[:, None] * mass[None] / (mass[:, None] + mass[None])) ** power
    whole = np.maximum(common.sum(axis=1), 1e-12)
    nearness = np.exp(-interleaving * common / np.sqrt(whole[:, None] * whole[None]))
    cost = distance * size * nearness
    cost[np.tril_indices(len(cost))] = np.inf
    return np.asarray(cost)
