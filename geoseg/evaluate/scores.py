"""How well classes agree with reference labels: every figure from one table of pixels by class and label.

The table of a scene is the sum of those of its windows, so these figures do not depend on how it is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import comb, entr

from geoseg.errors import RasterError

Name = int | float | str  # of a label
Table = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # as `Contingency.table` returns it

_DENSE = 4_000_000  # cells; a window's table is counted in one go up to this size
_MOST_CELLS = 10_000_000  # of a scene's table; classes by the million are regions, and labels by the million are ids


@dataclass(frozen=True)
class Contingency:
    """How many pixels have each class together with each label; pairs that do not occur are left out.

    Parameters
    ----------
    pairs : (n, 2) int64, class and label, ascending; 0 = no class, no label
    pixels : (n,) int64
    """

    pairs: NDArray[np.int64]
    pixels: NDArray[np.int64]

    def plus(self, other: Contingency) -> Contingency:
        """Return the table of both.

        Raises
        ------
        RasterError : it becomes too large for classes and labels
        """
        both = np.concatenate([self.pairs, other.pairs])
        pairs, position = np.unique(both, axis=0, return_inverse=True)
        pixels = np.zeros(len(pairs), np.int64)
        np.add.at(pixels, position.ravel(), np.concatenate([self.pixels, other.pixels]))
        n_classes, n_labels = (len(np.unique(numbers)) for numbers in pairs.T)
        if n_classes * n_labels > _MOST_CELLS:
            raise RasterError(
                f"There are at least {n_classes} classes and {n_labels} labels, so these are numbers of single regions "
                "or polygons. Give a raster of classes, and a reference of labels that many pixels share."
            )
        return Contingency(pairs, pixels)

    def table(self) -> Table:
        """Return the (class,) and (label,) numbers, ascending and 0 always the first, and the (class, label) pixels."""
        classes, row = np.unique(np.append(self.pairs[:, 0], 0), return_inverse=True)
        labels, col = np.unique(np.append(self.pairs[:, 1], 0), return_inverse=True)
        pixels = np.zeros((len(classes), len(labels)), np.int64)
        pixels[row[:-1], col[:-1]] = self.pixels
        return classes, labels, pixels


@dataclass(frozen=True)
class LabelScore:
    """How well one label was found; every class counts as the label that most of its pixels carry.

    Parameters
    ----------
    label : number, or the word of a field
    pixels : with this label
    unclassified : of these, how many have no class; they do not count below
    iou, precision, recall : 0 to 1; None where there is nothing to divide by
    classes : that count as this label, those with the most pixels first
    one_to_one : the only class that may count as this label where each may have one, or None
    """

    label: Name
    pixels: int
    unclassified: int
    iou: float | None
    precision: float | None
    recall: float | None
    classes: tuple[int, ...]
    one_to_one: int | None


@dataclass(frozen=True)
class ClassScore:
    """What one class is.

    Parameters
    ----------
    number : of the class
    pixels : of the class
    labelled : of these, how many have a label
    label : that most of them carry; None where none has one
    purity : share of the labelled pixels that carry it
    """

    number: int
    pixels: int
    labelled: int
    label: Name | None
    purity: float | None


@dataclass(frozen=True)
class Agreement:
    """How well classes agree with labels, over the pixels that have both.

    Parameters
    ----------
    n_classes, n_reference : distinct classes and labels of the whole rasters
    compared : pixels with a class and a label
    unclassified : share of the labelled pixels without a class
    oa, miou : accuracy and mean IoU, every class counting as the label that most of its pixels carry (many-to-one)
    oa_one_to_one, miou_one_to_one : each label may have one class, so chosen that the accuracy is greatest
    nmi : mutual information 2 I / (H + H); 0 where both are the same everywhere
    ari : Rand index, adjusted for chance
    per_label, per_class : ascending
    """

    n_classes: int
    n_reference: int
    compared: int
    unclassified: float
    oa: float
    miou: float
    oa_one_to_one: float
    miou_one_to_one: float
    nmi: float
    ari: float
    per_label: tuple[LabelScore, ...]
    per_class: tuple[ClassScore, ...]


def count_pairs(classes: NDArray[np.integer], labels: NDArray[np.integer]) -> Contingency:
    """Count the pixels of each pair of class and label.

    Parameters
    ----------
    classes, labels : (y, x) int, from 0

    Examples
    --------
    >>> count_pairs(np.array([[1, 1, 3]]), np.array([[2, 2, 0]]))
    Contingency(pairs=array([[1, 2],
           [3, 0]]), pixels=array([2, 1]))
    """
    n_labels = int(labels.max(initial=0)) + 1
    if (int(classes.max(initial=0)) + 1) * n_labels <= _DENSE:
        counts = np.bincount((classes.astype(np.int64) * n_labels + labels).ravel())
        keys = np.flatnonzero(counts)
        return Contingency(np.stack(np.divmod(keys, n_labels), axis=1), counts[keys].astype(np.int64))
    class_numbers, of_class = np.unique(classes, return_inverse=True)
    label_numbers, of_label = np.unique(labels, return_inverse=True)
    keys, pixels = np.unique(of_class.ravel() * len(label_numbers) + of_label.ravel(), return_counts=True)
    of_class, of_label = np.divmod(keys, len(label_numbers))
    pairs = np.stack([class_numbers[of_class], label_numbers[of_label]], axis=1)
    return Contingency(pairs.astype(np.int64), pixels.astype(np.int64))


def agreement(counts: Contingency, names: Mapping[int, Name]) -> Agreement:
    """Score the classes of a scene.

    Parameters
    ----------
    counts : of the whole scene; at least one pixel has a class and a label
    names : of labels that are not called by their numbers

    Notes
    -----
    The one-to-one matching is the assignment of greatest overlap (Kuhn 1955); the adjusted Rand index that of Hubert
    and Arabie (1985), equation 5. Of two labels with the same share of a class, the lower number counts.
    """
    classes, labels, pixels = counts.table()
    table = pixels[1:, 1:]  # (class, label)
    compared, present = int(table.sum()), table.sum(axis=0) > 0
    taken_for = table.argmax(axis=1)  # (class,)
    confusion = np.zeros((len(labels) - 1,) * 2, np.int64)  # (taken for, label)
    np.add.at(confusion, taken_for, table)
    hits, matched, partner = np.diag(confusion), *_match(table)
    return Agreement(
        n_classes=len(classes) - 1,
        n_reference=len(labels) - 1,
        compared=compared,
        unclassified=float(pixels[0, 1:].sum() / pixels[:, 1:].sum()),
        oa=float(hits.sum() / compared),
        miou=float(_iou(hits, confusion.sum(axis=1), table.sum(axis=0))[present].mean()),
        oa_one_to_one=float(matched.sum() / compared),
        miou_one_to_one=float(_iou(matched, table.sum(axis=1)[partner], table.sum(axis=0))[present].mean()),
        nmi=_nmi(table),
        ari=_ari(table),
        per_label=_label_scores((classes, labels, pixels), confusion, np.where(matched > 0, partner, -1), names),
        per_class=_class_scores((classes, labels, pixels), names),
    )


def _iou(hits: NDArray[np.int64], found: NDArray[np.int64], present: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the (label,) intersection over union; 0 where there is neither."""
    return np.asarray(hits / np.maximum(found + present - hits, 1))


def _match(table: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each label at most one class; return the (label,) pixels in common, and the (label,) class, 0 for none."""
    of_class, of_label = linear_sum_assignment(table, maximize=True)
    partner = np.zeros(table.shape[1], np.int64)
    matched = np.zeros(table.shape[1], np.int64)
    partner[of_label], matched[of_label] = of_class, table[of_class, of_label]
    return matched, partner


def _nmi(table: NDArray[np.int64]) -> float:
    shares = table / table.sum()
    of_class, of_label = shares.sum(axis=1), shares.sum(axis=0)
    row, col = np.nonzero(table)
    mutual = (shares[row, col] * np.log(shares[row, col] / (of_class[row] * of_label[col]))).sum()
    entropies = float(entr(of_class).sum() + entr(of_label).sum())
    return float(2 * mutual / entropies) if entropies > 0 else 0.0


def _ari(table: NDArray[np.int64]) -> float:
    groups = (table, table.sum(axis=1), table.sum(axis=0), table.sum())
    # Pairs of pixels, as floats: the square of a large scene's pixels is too large for an integer.
    together, in_class, in_label, all_pairs = (float(comb(group, 2).sum()) for group in groups)
    expected = in_class * in_label / max(all_pairs, 1.0)
    most = (in_class + in_label) / 2
    return (together - expected) / (most - expected) if most != expected else 1.0


def _label_scores(
    table: Table, confusion: NDArray[np.int64], partner: NDArray[np.int64], names: Mapping[int, Name]
) -> tuple[LabelScore, ...]:
    classes, labels, pixels = table
    sizes, taken_for = pixels[1:].sum(axis=1), pixels[1:, 1:].argmax(axis=1)
    labelled = pixels[1:, 1:].sum(axis=1) > 0
    largest_first = np.argsort(-sizes, kind="stable")
    scores = []
    for i, label in enumerate(labels[1:].tolist()):
        hit, found, present = int(confusion[i, i]), int(confusion[i].sum()), int(confusion[:, i].sum())
        mine = largest_first[(taken_for == i)[largest_first] & labelled[largest_first]]
        scores.append(
            LabelScore(
                label=names.get(label, label),
                pixels=int(pixels[:, i + 1].sum()),
                unclassified=int(pixels[0, i + 1]),
                iou=hit / (found + present - hit) if present else None,
                precision=hit / found if found else None,
                recall=hit / present if present else None,
                classes=tuple(classes[1:][mine].tolist()),
                one_to_one=int(classes[1:][partner[i]]) if partner[i] >= 0 else None,
            )
        )
    return tuple(scores)


def _class_scores(table: Table, names: Mapping[int, Name]) -> tuple[ClassScore, ...]:
    classes, labels, pixels = table
    scores = []
    for number, row in zip(classes[1:].tolist(), pixels[1:], strict=True):
        labelled, best = int(row[1:].sum()), int(row[1:].argmax()) + 1
        label = int(labels[best])
        name = names.get(label, label) if labelled else None
        purity = int(row[best]) / labelled if labelled else None
        scores.append(ClassScore(number, int(row.sum()), labelled, name, purity))
    return tuple(scores)
