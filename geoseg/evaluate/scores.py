"""Compute the agreement of classes with reference labels from their contingency table.

The table of a scene is the sum of the tables of its windows, so the scores do not depend on the windows. Computes with
arrays; reads no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import comb, entr

from geoseg.errors import RasterError

Name = int | float | str  # of a label, as the reference has it
Table = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # as `Contingency.table` returns it

_DENSE = 4_000_000  # cells; up to this size, the table of a window is a single bincount
_MOST_CELLS = 10_000_000  # of the table of a scene; more are region numbers or identifiers, not classes and labels


@dataclass(frozen=True)
class Contingency:
    """Numbers of pixels by class and label, as a sparse table.

    Parameters
    ----------
    pairs : (n, 2) int64
        Class and label of the pairs that occur, ascending; 0 = no class, no label.
    pixels : (n,) int64
        Pixels of each pair.
    """

    pairs: NDArray[np.int64]
    pixels: NDArray[np.int64]

    def plus(self, other: Contingency) -> Contingency:
        """Return the sum of two tables.

        Raises
        ------
        RasterError
            If the sum has too many cells to be a table of classes and labels.
        """
        both = np.concatenate([self.pairs, other.pairs])
        pairs, position = np.unique(both, axis=0, return_inverse=True)
        pixels = np.zeros(len(pairs), np.int64)
        np.add.at(pixels, position.ravel(), np.concatenate([self.pixels, other.pixels]))
        n_classes, n_labels = (len(np.unique(numbers)) for numbers in pairs.T)
        if n_classes * n_labels > _MOST_CELLS:
            raise RasterError(
                f"There are at least {n_classes} classes and {n_labels} labels, so these are numbers of regions or "
                f"polygons; expected a table of at most {_MOST_CELLS} cells. Give a raster of classes and a reference "
                "whose labels are shared by many pixels."
            )
        return Contingency(pairs, pixels)

    def table(self) -> Table:
        """Return the dense table.

        Returns
        -------
        classes : (class,) int64
            Ascending; the first is always 0.
        labels : (label,) int64
            Ascending; the first is always 0.
        pixels : (class, label) int64
        """
        classes, row = np.unique(np.append(self.pairs[:, 0], 0), return_inverse=True)
        labels, col = np.unique(np.append(self.pairs[:, 1], 0), return_inverse=True)
        pixels = np.zeros((len(classes), len(labels)), np.int64)
        pixels[row[:-1], col[:-1]] = self.pixels
        return classes, labels, pixels


@dataclass(frozen=True)
class LabelScore:
    """Scores of one label, with every class assigned to the label of most of its pixels.

    Parameters
    ----------
    label : int, float or str
        Number in the raster, or value of the field.
    pixels : int
        Pixels with this label.
    unclassified : int
        Of these, pixels without a class; they are excluded from the scores below.
    iou, precision, recall : float or None
        From 0 to 1; None where the denominator is 0.
    classes : tuple of int
        Classes assigned to this label, those with the most pixels first.
    one_to_one : int or None
        The class matched to this label in the one-to-one assignment; None = none.
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
    """Composition of one class.

    Parameters
    ----------
    number : int
        Number of the class.
    pixels : int
        Pixels of the class.
    labelled : int
        Of these, pixels with a label.
    label : int, float, str or None
        Most frequent label; None if no pixel has one.
    purity : float or None
        Share of the labelled pixels with this label; None if no pixel has one.
    """

    number: int
    pixels: int
    labelled: int
    label: Name | None
    purity: float | None


@dataclass(frozen=True)
class Agreement:
    """Agreement of classes with labels, over the pixels that have both.

    Parameters
    ----------
    n_classes, n_reference : int
        Distinct classes and labels of the whole rasters.
    compared : int
        Pixels with a class and a label.
    unclassified : float
        Share of the labelled pixels without a class.
    oa, miou : float
        Overall accuracy and mean IoU with every class assigned to the label of most of its pixels (many-to-one).
    oa_one_to_one, miou_one_to_one : float
        The same with at most one class for each label, assigned such that the accuracy is greatest.
    nmi : float
        Normalised mutual information 2 I(C; L) / (H(C) + H(L)); 0 if there is a single class and a single label.
    ari : float
        Adjusted Rand index.
    per_label : tuple of LabelScore
        Ascending.
    per_class : tuple of ClassScore
        Ascending.
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
    classes, labels : (y, x) int
        From 0; 0 = none.

    Returns
    -------
    Contingency

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
    """Compute the scores of a scene from its contingency table.

    Parameters
    ----------
    counts : Contingency
        Of the whole scene; at least one pixel has a class and a label.
    names : mapping of int to int, float or str
        Names of labels that differ from their numbers.

    Returns
    -------
    Agreement

    Notes
    -----
    The one-to-one matching is the assignment of greatest overlap (Kuhn 1955). The adjusted Rand index is that of Hubert
    and Arabie (1985), equation 5. If two labels have the same share of a class, the class is assigned to the lower one.

    Examples
    --------
    >>> scores = agreement(count_pairs(np.array([[1, 1, 2, 3]]), np.array([[5, 5, 5, 6]])), {})
    >>> scores.oa, scores.oa_one_to_one
    (1.0, 0.75)
    """
    classes, labels, pixels = counts.table()
    table = pixels[1:, 1:]  # (class, label)
    compared, present = int(table.sum()), table.sum(axis=0) > 0
    assigned = table.argmax(axis=1)  # (class,)
    confusion = np.zeros((len(labels) - 1,) * 2, np.int64)  # (assigned label, label)
    np.add.at(confusion, assigned, table)
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
    """Return the (label,) intersection over union; 0 where the union is empty."""
    return np.asarray(hits / np.maximum(found + present - hits, 1))


def _match(table: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match each label with at most one class; return the (label,) common pixels and the (label,) class positions."""
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
    # Pairs of pixels, as floats: the square of the number of pixels of a large scene overflows an int64.
    together, in_class, in_label, all_pairs = (float(comb(group, 2).sum()) for group in groups)
    expected = in_class * in_label / max(all_pairs, 1.0)
    most = (in_class + in_label) / 2
    return (together - expected) / (most - expected) if most != expected else 1.0


def _label_scores(
    table: Table, confusion: NDArray[np.int64], partner: NDArray[np.int64], names: Mapping[int, Name]
) -> tuple[LabelScore, ...]:
    classes, labels, pixels = table
    sizes, assigned = pixels[1:].sum(axis=1), pixels[1:, 1:].argmax(axis=1)
    labelled = pixels[1:, 1:].sum(axis=1) > 0
    largest_first = np.argsort(-sizes, kind="stable")
    scores = []
    for i, label in enumerate(labels[1:].tolist()):
        hit, found, present = int(confusion[i, i]), int(confusion[i].sum()), int(confusion[:, i].sum())
        own = largest_first[(assigned == i)[largest_first] & labelled[largest_first]]
        scores.append(
            LabelScore(
                label=names.get(label, label),
                pixels=int(pixels[:, i + 1].sum()),
                unclassified=int(pixels[0, i + 1]),
                iou=hit / (found + present - hit) if present else None,
                precision=hit / found if found else None,
                recall=hit / present if present else None,
                classes=tuple(classes[1:][own].tolist()),
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
