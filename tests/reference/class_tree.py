"""The class tree with sets of leaves, whose features and borders are summed again for every pair."""

from __future__ import annotations

import math
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
    adjacency_weight: float,
    pixels: NDArray[np.float64],
) -> list[tuple[Class, Class]]:
    """Return the pairs of classes that are merged, one after the other, until two are left."""
    classes = [frozenset([leaf]) for leaf in range(len(centroids))]
    merged = []
    while len(classes) > 2:
        strength = adjacency_weight * (1 - 2 / len(classes))
        largest = (1 / 2 + 1 / (2 * (len(classes) - 1))) * sum(pixels)
        pairs = [pair for pair in combinations(classes, 2) if sum(pixels[i] for i in pair[0] | pair[1]) <= largest]
        costs = [cost(a, b, centroids, weights, borders, strength) for a, b in pairs]
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
    strength: float,
) -> float:
    """Return the cost of merging two classes as in the docstring of `grow_tree`."""
    mean_a, mean_b = (np.average(centroids[list(one)], axis=0, weights=weights[list(one)]) for one in (a, b))
    size_a, size_b = (sum(weights[leaf] for leaf in one) for one in (a, b))
    distance = float(((mean_a - mean_b) ** 2).sum())
    contrast = (between(a, b, borders.contrast) + 200 * distance) / (between(a, b, borders.length) + 200)
    common = between(a, b, borders.patch_contact)
    everything = frozenset(range(len(centroids)))
    whole_a, whole_b = (
        between(a, everything - a, borders.patch_contact),
        between(b, everything - b, borders.patch_contact),
    )
    share = common / math.sqrt(whole_a * whole_b) if common else 0.0
    return float(contrast * size_a * size_b / (size_a + size_b) * math.exp(-strength * share))


def between(a: Class, b: Class, table: NDArray[np.float64]) -> float:
    """Return the sum of a table over the borders between two classes."""
    return float(sum(table[i, j] for i in a for j in b))
