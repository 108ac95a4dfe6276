"""The tree of classes with sets of leaves, whose looks and borders are added up anew for every pair."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.class_tree import Borders

Class = frozenset[int]


def merges(
    centres: NDArray[np.float64],
    weights: NDArray[np.float64],
    borders: Borders,
    *,
    options_at: Callable[[int], tuple[float, float, float]],
) -> list[tuple[Class, Class]]:
    """Return which classes are joined, one pair after the other, until two are left.

    Parameters
    ----------
    options_at : number of classes that are left → power of their sizes, interleaving, what a short border is
    """
    classes = [frozenset([leaf]) for leaf in range(len(centres))]
    joined = []
    while len(classes) > 2:
        options = options_at(len(classes))
        pairs = list(combinations(classes, 2))
        costs = [cost(a, b, centres, weights, borders, *options) for a, b in pairs]
        a, b = pairs[costs.index(min(costs))]
        classes = sorted([one for one in classes if one not in (a, b)] + [a | b], key=min)
        joined.append((a, b))
    return joined


def cost(
    a: Class,
    b: Class,
    centres: NDArray[np.float64],
    weights: NDArray[np.float64],
    borders: Borders,
    size_power: float,
    adjacency_weight: float,
    short: float,
) -> float:
    """Mean contrast across the border, times size, less for what lies among each other."""
    mean_a, mean_b = (np.average(centres[list(one)], axis=0, weights=weights[list(one)]) for one in (a, b))
    size_a, size_b = (sum(weights[leaf] for leaf in one) for one in (a, b))
    distance = float(((mean_a - mean_b) ** 2).sum())
    contrast = (between(a, b, borders.contrast) + short * distance) / (between(a, b, borders.length) + short)
    common = between(a, b, borders.patchy)
    everything = frozenset(range(len(centres)))
    whole_a, whole_b = between(a, everything - a, borders.patchy), between(b, everything - b, borders.patchy)
    share = common / math.sqrt(whole_a * whole_b) if common else 0.0
    size = (size_a * size_b / (size_a + size_b)) ** size_power
    return float(contrast * size * math.exp(-adjacency_weight * share))


def between(a: Class, b: Class, table: NDArray[np.float64]) -> float:
    """Return what a table holds of the border between two classes."""
    return float(sum(table[i, j] for i in a for j in b))
