"""Cross-validation of the samples by spatial blocks, and what more samples would bring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.classify.forest import TrainingSet, train
from geoseg.classify.probabilities import corrected

_MAX_FOLDS = 5
_BLOCKS = 6  # along each side of the extent of the samples
_N_TREES = 50  # of each forest
_CURVE = (0.25, 0.5, 1.0)
_MORE = 10  # samples of a name, in the advice
_LEAST_GAIN = 0.002


@dataclass(frozen=True)
class Validation:
    """Result of a cross-validation.

    Parameters
    ----------
    confusion : (name, name) float64
        Number of samples by their own name (row) and the predicted one (column).
    n_folds : int
    curve : tuple of (float, float)
        Samples per name on average, and mean IoU with so many.
    gains : (name,) float64 or None
        Estimated gain in mean IoU by `_MORE` samples of each name.
    """

    confusion: NDArray[np.float64]
    n_folds: int
    curve: tuple[tuple[float, float], ...] = ()
    gains: NDArray[np.float64] | None = None


def spatial_folds(centres: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the fold of each sample, from 0; samples in the same block have the same fold.

    Neighbours resemble each other: were they in different folds, the accuracy would be overestimated.

    Parameters
    ----------
    centres : (row, 2) float64
        Coordinates.
    weights : (row,) float64

    Notes
    -----
    The extent is divided into at most 6 × 6 blocks of equal size. The largest blocks are distributed first, each to
    the fold with the fewest samples.

    Examples
    --------
    >>> corners = np.array([[0.0, 0.0], [0.1, 0.0], [9.0, 9.0]])
    >>> spatial_folds(corners, np.ones(3)).tolist()
    [0, 0, 1]
    """
    low, high = centres.min(axis=0), centres.max(axis=0)
    side = max(float((high - low).max()) / _BLOCKS, 1e-9)
    cell = np.minimum((centres - low) // side, _BLOCKS - 1).astype(np.int64)
    blocks, block = np.unique(cell[:, 0] * _BLOCKS + cell[:, 1], return_inverse=True)
    sizes = np.bincount(block, weights)
    fold_of, filled = np.zeros(len(blocks), np.int64), np.zeros(min(_MAX_FOLDS, len(blocks)))
    for each in np.argsort(-sizes, kind="stable"):
        fold_of[each] = int(np.argmin(filled))
        filled[fold_of[each]] += sizes[each]
    return fold_of[block]


def cross_validate(
    samples: TrainingSet, folds: NDArray[np.int64], shares: NDArray[np.float64], *, seed: int = 0
) -> Validation:
    """Return the confusion of the samples, each predicted without the samples of its fold, and the learning curve.

    Parameters
    ----------
    samples : TrainingSet
    folds : (row,) int64
        From `spatial_folds`.
    shares : (name,) float64
        Share of each name in the scene, to which the probabilities are corrected.
    seed : int
    """
    n_folds = int(folds.max()) + 1
    if n_folds < 2:
        return Validation(np.zeros((samples.n_names,) * 2), n_folds)
    rng = np.random.default_rng(seed)
    everything = np.ones(len(folds), bool)
    confusion = _confusion(samples, folds, everything, shares)
    order = rng.permutation(len(folds))
    per_name = samples.weights.sum() / samples.n_names
    curve = []
    for part in _CURVE:
        kept = np.isin(np.arange(len(folds)), order[: max(round(part * len(order)), 2)])
        matrix = confusion if part == 1 else _confusion(samples, folds, kept, shares)
        curve.append((float(per_name * part), mean_iou(matrix)))
    return Validation(confusion, n_folds, tuple(curve), _gains(samples, folds, shares, (confusion, rng)))


def mean_iou(confusion: NDArray[np.float64]) -> float:
    """Return the mean intersection over union of the names that occur; NaN if none does.

    Examples
    --------
    >>> mean_iou(np.array([[3.0, 1.0], [0.0, 4.0]]))
    0.775
    """
    hits, own = np.diag(confusion), confusion.sum(axis=1)
    union = own + confusion.sum(axis=0) - hits
    occurs = own > 0
    return float(np.mean(hits[occurs] / union[occurs])) if occurs.any() else float("nan")


def _confusion(
    samples: TrainingSet,
    folds: NDArray[np.int64],
    kept: NDArray[np.bool_],
    shares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the confusion of all samples, where only those that are kept are used for training."""
    confusion = np.zeros((samples.n_names, samples.n_names))
    for fold in range(int(folds.max()) + 1):
        own, rest = np.flatnonzero(folds == fold), np.flatnonzero((folds != fold) & kept)
        if not len(own) or not len(rest):
            continue
        training = samples.part(rest)
        raw = train(training, n_trees=_N_TREES).predict(samples.values[own])
        predicted = corrected(raw, training.shares, shares).argmax(axis=1)
        np.add.at(confusion, (samples.names[own], predicted), samples.weights[own])
    return confusion


def _gains(
    samples: TrainingSet,
    folds: NDArray[np.int64],
    shares: NDArray[np.float64],
    known: tuple[NDArray[np.float64], np.random.Generator],
) -> NDArray[np.float64]:
    """Return the gain by more samples of each name, from the loss without half of its samples.

    A learning curve is about linear in the logarithm of the number of samples. `known` is the confusion with all
    samples, and what draws the half.
    """
    full, rng = mean_iou(known[0]), known[1]
    gains = np.zeros(samples.n_names)
    for name in range(samples.n_names):
        own = rng.permutation(np.flatnonzero(samples.names == name))
        if len(own) < 2:
            gains[name] = np.inf
            continue
        kept = np.ones(len(folds), bool)
        kept[own[: len(own) // 2]] = False
        loss = full - mean_iou(_confusion(samples, folds, kept, shares))
        gains[name] = loss * np.log1p(_MORE / len(own)) / np.log(2)
    return gains


def advice(gains: NDArray[np.float64] | None, names: tuple[str, ...]) -> str:
    """Return a sentence on the name of which more samples would help most; "" = unknown.

    Examples
    --------
    >>> advice(np.array([0.0, 0.02]), ("road", "water"))
    'Ten more samples of water would help most: about +0.02 mean IoU.'
    """
    if gains is None or not len(gains):
        return ""
    best = int(np.argmax(gains))
    if np.isinf(gains[best]):
        return f"There is only one region with samples of {names[best]}; ten more would help most."
    if gains[best] < _LEAST_GAIN:
        return "More samples of a single name would change little; take some of each name, or use --suggest."
    return f"Ten more samples of {names[best]} would help most: about +{gains[best]:.2f} mean IoU."
