"""The figures of an evaluation, pixel by pixel as they are worded."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.integer]


def many_to_one(classes: Pixels, labels: Pixels) -> tuple[float, float]:
    """Return accuracy and mean IoU after calling every class what most of its pixels are called."""
    both = (classes > 0) & (labels > 0)
    classes, labels = classes[both], labels[both]
    called = np.zeros_like(labels)
    for number in np.unique(classes):
        inside = labels[classes == number]
        called[classes == number] = max(np.unique(inside).tolist(), key=lambda label: ((inside == label).sum(), -label))
    return float((called == labels).mean()), _mean_iou(called, labels)


def one_to_one(classes: Pixels, labels: Pixels) -> float:
    """Return the accuracy of the best way to give every label a class of its own; tries all ways."""
    both = (classes > 0) & (labels > 0)
    classes, labels = classes[both], labels[both]
    there = np.unique(labels).tolist()
    numbers = np.unique(classes).tolist() + [-1] * len(there)  # -1: no class for this label
    return max(
        float(np.mean(np.any([(labels == t) & (classes == c) for t, c in zip(there, way, strict=True)], axis=0)))
        for way in set(permutations(numbers, len(there)))
    )


def boundary_recall(classes: Pixels, labels: Pixels, reach: int) -> float | None:
    """Return the share of labelled pixels on a border of the labels with a class border at most `reach` steps away."""
    return _share_near(_borders(labels) & (labels > 0), _borders(classes), reach)


def boundary_precision(classes: Pixels, labels: Pixels, reach: int) -> float | None:
    """Return the share of labelled pixels on a class border with a border of the labels at most `reach` steps away."""
    return _share_near(_borders(classes) & (labels > 0), _borders(labels) & (labels > 0), reach)


def boundary_density(classes: Pixels) -> float:
    return float(_borders(classes).mean())


def seam_ratio(classes: Pixels, tile: int) -> float | None:
    """Return the share of changes of class on tile lines over that 5, 7 and 9 px beside them."""
    on, beside = [], []
    for turned in (classes, classes.T):
        for line in range(tile, turned.shape[1] - 9, tile):
            on.append(_changes(turned, line))
            beside += [_changes(turned, line + step) for step in (-9, -7, -5, 5, 7, 9)]
    return float(np.mean(on)) / max(float(np.mean(beside)), 1e-12) if on else None


def _mean_iou(called: Pixels, labels: Pixels) -> float:
    return float(
        np.mean(
            [
                ((called == label) & (labels == label)).sum() / ((called == label) | (labels == label)).sum()
                for label in np.unique(labels)
            ]
        )
    )


def _borders(labels: Pixels) -> NDArray[np.bool_]:
    edge = np.zeros(labels.shape, bool)
    for y, x in np.ndindex(labels.shape):
        edge[y, x] = (x > 0 and labels[y, x] != labels[y, x - 1]) or (y > 0 and labels[y, x] != labels[y - 1, x])
    return edge


def _share_near(asked: NDArray[np.bool_], edge: NDArray[np.bool_], reach: int) -> float | None:
    if not asked.any():
        return None
    steps = np.abs(np.argwhere(asked)[:, None] - np.argwhere(edge)[None]).sum(axis=2)  # (asked, edge)
    return float((steps <= reach).any(axis=1).mean())


def _changes(classes: Pixels, col: int) -> float:
    pairs = [(a, b) for a, b in zip(classes[:, col - 1], classes[:, col], strict=True) if a > 0 and b > 0]
    return float(np.mean([a != b for a, b in pairs])) if pairs else 0.0
