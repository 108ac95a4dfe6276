"""The tree of classes: which two classes become one, again and again, until two are left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Found by measuring: small but distinct ground survives while many classes are left; the last few are all of some size.
_COARSE = 16  # classes; with fewer left, size counts more and interleaving less, step by step
_SIZE_POWER = (0.1, 1.0)  # from 0, size does not matter, to 1, small classes are joined first (Ward)
_INTERLEAVING_LEFT = 0.25  # of `interleaving`, where two classes are left


@dataclass(frozen=True)
class ClassTree:
    """Fine classes and the order in which they are joined.

    Parameters
    ----------
    n_fine : number of fine classes, the leaves
    merges : (m, 2) int64; step k joins the classes that hold the leaves ``merges[k, 0] < merges[k, 1]``, each
        the lowest leaf of its class
    """

    n_fine: int
    merges: NDArray[np.int64]

    def level(self, n_classes: int) -> NDArray[np.int64]:
        """Return the class of each leaf when at most `n_classes` are left.

        Returns
        -------
        (n_fine,) int64, from 1, in the order of each class's lowest leaf

        Examples
        --------
        >>> ClassTree(3, np.array([[0, 2], [0, 1]])).level(2)
        array([1, 2, 1])
        """
        lowest = np.arange(self.n_fine)
        for a, b in self.merges[: max(self.n_fine - n_classes, 0)]:
            lowest[lowest == b] = a
        return np.unique(lowest, return_inverse=True)[1] + 1


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
    alive = np.arange(len(means))
    merges = []
    while len(alive) > 2:
        cost = _pair_costs(means[alive], mass[alive], common[np.ix_(alive, alive)], interleaving)
        i, j = np.unravel_index(int(np.argmin(cost)), cost.shape)
        a, b = sorted((int(alive[i]), int(alive[j])))
        means[a] = (mass[a] * means[a] + mass[b] * means[b]) / (mass[a] + mass[b])
        mass[a] += mass[b]
        common[a] += common[b]
        common[:, a] += common[:, b]
        common[a, a] = 0
        merges.append((a, b))
        alive = alive[alive != b]
    return ClassTree(len(centres), np.array(merges, np.int64).reshape(-1, 2))


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
