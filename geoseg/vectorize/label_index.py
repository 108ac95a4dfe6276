"""Arbitrary integer labels as classes, numbered from 1 without gaps, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.grouped import grouped_sum
from geoseg.vectorize.regions import Pieces

_TABLE = 2**22  # up to this range a lookup table is faster than sorting the pixels of a tile


def number_labels(
    labels: NDArray[np.integer[Any]], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the labels of a tile as classes, numbered from 1 in ascending order.

    Parameters
    ----------
    labels : (y, x) int
    valid : (y, x) bool

    Returns
    -------
    classes : (y, x) int32
        0 where not valid.
    values : (class,) int64
        Label of class i + 1, ascending.

    Examples
    --------
    >>> number_labels(np.array([[70, -1, 70]]), np.array([[True, True, False]]))
    (array([[2, 1, 0]], dtype=int32), array([-1, 70]))
    """
    if not valid.any():
        return np.zeros(labels.shape, np.int32), np.empty(0, np.int64)
    seen = labels[valid]
    low, high = int(seen.min()), int(seen.max())
    classes = np.zeros(labels.shape, np.int32)
    if high - low < _TABLE:
        places = (seen.astype(np.int64) - low).astype(np.intp)
        known = np.zeros(high - low + 1, bool)
        known[places] = True
        classes[valid] = np.cumsum(known, dtype=np.int32)[places]
        return classes, np.flatnonzero(known) + low
    values, order = np.unique(seen.astype(np.int64), return_inverse=True)
    classes[valid] = order.ravel() + 1
    return classes, values


def labels_of_tables(tables: Iterable[Pieces]) -> NDArray[np.int64]:
    """Return the labels of the whole scene, (class,) int64 ascending, from the tables of all tiles."""
    return np.unique(np.concatenate([np.unique(table.classes) for table in tables])).astype(np.int64)


def renumber_tables(tables: Iterable[Pieces], values: NDArray[np.int64]) -> Iterator[Pieces]:
    """Yield tables with classes of the whole scene instead of labels.

    Parameters
    ----------
    tables : iterable of Pieces
        One per tile, with labels as `classes`.
    values : (class,) int64
        Label of class i + 1, from `labels_of_tables`.
    """
    for table in tables:
        yield replace(table, classes=(np.searchsorted(values, table.classes) + 1).astype(np.int32))


@dataclass(frozen=True)
class LabelFeatures:
    """Features of the labels in a part of the scene, from a second raster; row i describes label `values[i]`.

    Parameters
    ----------
    values : (label,) int64
        Ascending.
    pixels : (label,) int64
        Number of pixels with a value.
    sums : (label, band) float64
        Sums over these pixels; exact for integers, so that they do not depend on the order of summation.
    """

    values: NDArray[np.int64]
    pixels: NDArray[np.int64]
    sums: NDArray[np.float64]

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean of each label and band, (label, band) float64; NaN where no pixel has a value."""
        return self.sums / np.where(self.pixels > 0, self.pixels, np.nan)[:, None]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the columns by name."""
        return {"values": self.values, "pixels": self.pixels, "sums": self.sums}

    def of(self, values: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the features of the classes of some labels, (class + 1, band) float64; row 0 is not used."""
        means = self.means[np.searchsorted(self.values, values)]
        return np.concatenate([np.zeros((1, means.shape[1])), means])


def features(
    classes: NDArray[np.int32], values: NDArray[np.int64], pixels: NDArray[np.float32], known: NDArray[np.bool_]
) -> LabelFeatures:
    """Return the sums of the values of each label of a tile.

    Parameters
    ----------
    classes : (y, x) int32
    values : (class,) int64
        Both from `number_labels`.
    pixels : (band, y, x) float32
    known : (y, x) bool
        Where `pixels` contains values.
    """
    seen = np.where(known, classes, 0).ravel()
    n = len(values) + 1
    sums = grouped_sum(pixels.reshape(len(pixels), -1).T, seen, n)[1:]  # (label, band)
    return LabelFeatures(values, np.bincount(seen, minlength=n)[1:], sums)


def combine(parts: Sequence[LabelFeatures]) -> LabelFeatures:
    """Return the features of the labels of the scene, from those of its tiles."""
    values = np.unique(np.concatenate([part.values for part in parts]))
    total = LabelFeatures(values, np.zeros(len(values), np.int64), np.zeros((len(values), parts[0].sums.shape[1])))
    for part in parts:
        rows = np.searchsorted(values, part.values)  # each label once
        total.pixels[rows] += part.pixels
        total.sums[rows] += part.sums
    return total
