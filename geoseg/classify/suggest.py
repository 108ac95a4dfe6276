"""Regions whose name would teach a classifier most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geoseg.classify.region_table import Features

_CANDIDATES = 40  # times the number of suggestions
_POSITION = 0.5  # weight of the distance on the map, over the longer side of the extent, against that in feature space


def suggestions(
    probabilities: NDArray[np.float32],
    features: Features,
    sizes: NDArray[np.float64],
    centres: NDArray[np.float64],
    known: NDArray[np.int64],
    n: int,
) -> NDArray[np.int64]:
    """Return the rows of regions to name next, the most useful first.

    Parameters
    ----------
    probabilities : (region, name) float32
    features : Features
    sizes : (region,) float64
        Areas.
    centres : (region, 2) float64
        Coordinates.
    known : (row,) int64
        Regions that the user has named; none of them is suggested. Points name places, not regions: a region with
        points of different names can be suggested.
    n : int

    Notes
    -----
    Each region is scored by its area times 1 - the difference of its two highest probabilities. From the best of them,
    one is taken after the other: the one with the largest product of its score and its distance from the nearest region
    that is known or taken. The distance is that in feature space (rank-transformed) and on the map, so that the
    suggestions are spread over both.
    """
    score = _uncertainty(probabilities) * sizes
    score[known] = -1
    n = min(n, int((score >= 0).sum()))
    best = np.argsort(-score, kind="stable")[: n * _CANDIDATES]
    best = best[score[best] >= 0]
    rows = np.concatenate([best, known])
    ranks = _scaled(features.of(rows))
    extent = max(float(np.ptp(centres, axis=0).max()), np.finfo(np.float64).tiny)
    scaled = np.hstack([ranks / np.sqrt(ranks.shape[1]), _POSITION * (centres[rows] / extent)])
    candidates, seen = scaled[: len(best)], scaled[len(best) :]
    gap = cKDTree(seen).query(candidates)[0] if len(seen) else np.full(len(best), np.inf)
    gap = np.where(np.isfinite(gap), gap, 1.0)
    left, chosen = score[best].copy(), []
    for _ in range(n):
        i = int(np.argmax(np.where(left >= 0, left * gap, -1)))
        chosen.append(int(best[i]))
        left[i] = -1
        gap = np.minimum(gap, np.linalg.norm(candidates - candidates[i], axis=1))
    return np.array(chosen, np.int64)


def _uncertainty(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return 1 - the difference of the two highest probabilities of each region."""
    second, first = np.partition(probabilities.astype(np.float64), -2, axis=1)[:, -2:].T
    return 1 - (first - second)


def _scaled(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the rank of each value in its column, 0 to 1."""
    return values.argsort(axis=0).argsort(axis=0) / max(len(values) - 1, 1)
