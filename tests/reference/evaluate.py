"""Literal versions of the scores of an evaluation, pixel by pixel."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.integer]


def many_to_one(classes: Pixels, labels: Pixels) -> tuple[float, float]:
    """Return accuracy and mean IoU with every class assigned to the most frequent label of its pixels."""
    both = (classes > 0) & (labels > 0)
    classes, labels = classes[both], labels[both]
    assigned = np.zeros_like(labels)
    for number in np.unique(classes):
        inside = labels[classes == number]
        assigned[classes == number] = max(
            np.unique(inside).tolist(), key=lambda label: ((inside == label).sum(), -label)
        )
    return float((assigned == labels).mean()), _mean_iou(assigned, labels)


def one_to_one(classes: Pixels, labels: Pixels) -> float:
    """Return the best accuracy with at most one class for each label, by trying all assignments."""
    both = (classes > 0) & (labels > 0)
    classes, labels = classes[both], labels[both]
    used = np.unique(labels).tolist()
    numbers = np.unique(classes).tolist() + [-1] * len(used)  # -1: no class for this label
    return max(
        float(np.mean(np.any([(labels == t) & (classes == c) for t, c in zip(used, assignment, strict=True)], axis=0)))
        for assignment in set(permutations(numbers, len(used)))
    )


def boundary_recall(classes: Pixels, labels: Pixels, distance: int) -> float | None:
    """Return the share of labelled pixels on a label boundary with a class boundary within `distance` steps."""
    return _share_near(_boundaries(labels) & (labels > 0), _boundaries(classes), distance)


def boundary_precision(classes: Pixels, labels: Pixels, distance: int) -> float | None:
    """Return the share of labelled pixels on a class boundary with a label boundary within `distance` steps."""
    return _share_near(_boundaries(classes) & (labels > 0), _boundaries(labels) & (labels > 0), distance)


def boundary_density(classes: Pixels) -> float:
    return float(_boundaries(classes).mean())


def seam_ratio(classes: Pixels, tile_size: int) -> float | None:
    """Return the share of class changes on tile lines divided by that 5, 7 and 9 px beside them."""
    on, beside = [], []
    for oriented in (classes, classes.T):
        for line in range(tile_size, oriented.shape[1] - 9, tile_size):
            on.append(_changes(oriented, line))
            beside += [_changes(oriented, line + step) for step in (-9, -7, -5, 5, 7, 9)]
    return float(np.mean(on)) / max(float(np.mean(beside)), 1e-12) if on else None


def _mean_iou(assigned: Pixels, labels: Pixels) -> float:
    return float(
        np.mean(
            [
                ((assigned == label) & (labels == label)).sum() / ((assigned == label) | (labels == label)).sum()
                for label in np.unique(labels)
            ]
        )
    )


def _boundaries(labels: Pixels) -> NDArray[np.bool_]:
    edge = np.zeros(labels.shape, bool)
    for y, x in np.ndindex(labels.shape):
        edge[y, x] = (x > 0 and labels[y, x] != labels[y, x - 1]) or (y > 0 and labels[y, x] != labels[y - 1, x])
    return edge


def _share_near(chosen: NDArray[np.bool_], edge: NDArray[np.bool_], distance: int) -> float | None:
    if not chosen.any():
        return None
    steps = np.abs(np.argwhere(chosen)[:, None] - np.argwhere(edge)[None]).sum(axis=2)  # (chosen, edge)
    return float((steps <= distance).any(axis=1).mean())


def _changes(classes: Pixels, col: int) -> float:
    pairs = [(a, b) for a, b in zip(classes[:, col - 1], classes[:, col], strict=True) if a > 0 and b > 0]
    return float(np.mean([a != b for a, b in pairs])) if pairs else 0.0
