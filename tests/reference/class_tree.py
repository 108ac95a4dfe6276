"""The class tree with sets of leaves, whose features and borders are summed again for every pair."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.class_tree import Borders

Class = frozenset[int]


def merges(
    centroids: NDArray[np.float64],
    weights: NDArray[np.float64],
    borders: Borders,
    *,
    options_at: Callable[[int], tuple[float, float, float]],
) -> list[tuple[Class, Class]]:
    """Return the pairs of classes that are merged, one after the other, until two are left.

    Parameters
    ----------
    options_at : callable
        Number of remaining classes → exponent of the sizes, adjacency weight, length of a short border.
    """
    classes = [frozenset([leaf]) for leaf in range(len(centroids))]
    merged = []
    while len(classes) > 2:
        options = options_at(len(classes))
        pairs = list(combinations(classes, 2))
        costs = [cost(a, b, centroids, weights, borders, *options) for a, b in pairs]
        a, b = pairs[costs.index(min(costs))]
        classes = sorted([one for one in classes if one not in (a, b)] + [a | b], key=min)
        merged.append((a, b))
    return merged


def cost(
    a: Class,
    b: Class,
    centroids: NDArray[np.float64],
    weights: NDArray[np.float64],
    borders: Borders,
    size_power: float,
    adjacency_weight: float,
    short: float,
) -> float:
    """Return the cost of merging two classes as in the docstring of `grow_tree`."""
    mean_a, mean_b = (np.average(centroids[list(one)], axis=0, weights=weights[list(one)]) for one in (a, b))
    size_a, size_b = (sum(weights[leaf] for leaf in one) for one in (a, b))
    distance = float(((mean_a - mean_b) ** 2).sum())
    contrast = (between(a, b, borders.contrast) + short * distance) / (between(a, b, borders.length) + short)
    common = between(a, b, borders.patch_contact)
    everything = frozenset(range(len(centroids)))
    whole_a, whole_b = (
        between(a, everything - a, borders.patch_contact),
        between(b, everything - b, borders.patch_contact),
    )
    share = common / math.sqrt(whole_a * whole_b) if common else 0.0
    size = (size_a * size_b / (size_a + size_b)) ** size_power
    return float(contrast * size * math.exp(-adjacency_weight * share))


def between(a: Class, b: Class, table: NDArray[np.float64]) -> float:
    """Return the sum of a table over the borders between two classes."""
    return float(sum(table[i, j] for i in a for j in b))
