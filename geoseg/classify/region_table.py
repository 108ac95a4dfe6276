"""The regions of a layer as a table of numbers, and what a classifier compares them by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_WIDE_STEPS = 4  # of averaging over neighbours; reaches about as many regions in each direction


@dataclass(frozen=True)
class RegionTable:
    """Regions of a layer, in the order of the file.

    Parameters
    ----------
    attributes : tuple of str
        Columns of `values`.
    values : (region, attribute) float32
        NaN = no value.
    sizes : (region,) float64
        Areas; only their ratios count.
    centres : (region, 2) float64
        Middle of the bounding box, in coordinates of the CRS.
    borders : (region, region) sparse float32
        Length of the common border of each pair of neighbours.
    levels : dict of str to (region,) int32
        Class of each region at the levels of the class tree, such as `class`, `class_8`; numbers from 0.
    """

    attributes: tuple[str, ...]
    values: NDArray[np.float32]
    sizes: NDArray[np.float64]
    centres: NDArray[np.float64]
    borders: sparse.csr_array
    levels: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)


class Features:
    """What the classifier compares: the attributes of regions, and those of their neighbourhood.

    Parameters
    ----------
    table : RegionTable
    medians : (attribute,) float32
        In place of NaN.

    Notes
    -----
    The parts are the attributes; their mean over the neighbours, weighted by the length of the common border; the
    difference of the two; a mean over a wider neighbourhood, each step of which averages a region and its neighbours,
    weighted by border and size; and the means over the classes of the region, one per level of the class tree: the
    numbers of the classes mean nothing in another scene, but their means do. Only the rows that are asked for are put
    together, to save memory.
    """

    def __init__(self, table: RegionTable, medians: NDArray[np.float32]) -> None:
        self._own = np.where(np.isnan(table.values), medians, table.values)
        self._share = neighbour_shares(table.borders)
        wide = _widened(self._share, table.sizes)
        self._wide = self._own
        for _ in range(_WIDE_STEPS):
            self._wide = wide @ self._wide
        self._levels = [(of, _class_means(self._own, of, table.sizes)) for of in table.levels.values()]

    def __len__(self) -> int:
        return len(self._own)

    def of(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Return the features of regions, (row, feature) float32, in the order of `feature_names`."""
        own, share = self._own[rows], self._share[rows]
        near = share @ self._own
        has_none = np.diff(share.indptr) == 0
        near[has_none] = own[has_none]
        return np.hstack([own, near, own - near, self._wide[rows], *(means[of[rows]] for of, means in self._levels)])


def feature_names(attributes: Sequence[str], levels: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the features of a table with these attributes and levels.

    Examples
    --------
    >>> feature_names(["mean_1"], ["class_4"])
    ('mean_1', 'mean_1 of neighbours', 'mean_1 against neighbours', 'mean_1 around', 'mean_1 of class_4')
    """
    ends = ("", " of neighbours", " against neighbours", " around", *(f" of {level}" for level in levels))
    return tuple(f"{name}{end}" for end in ends for name in attributes)


def neighbour_shares(borders: sparse.csr_array) -> sparse.csr_array:
    """Return the share of each neighbour in the common borders of a region, (region, region) float32."""
    return _scaled(borders, np.ones(borders.shape[0]))


def _widened(share: sparse.csr_array, sizes: NDArray[np.float64]) -> sparse.csr_array:
    n = share.shape[0]
    return _scaled(sparse.csr_array(share + sparse.eye_array(n, dtype=np.float32, format="csr")), sizes)


def _scaled(matrix: sparse.csr_array, weights: NDArray[np.float64]) -> sparse.csr_array:
    """Return a matrix whose columns are multiplied with weights and whose rows have the sum 1, or 0 if empty."""
    data = matrix.data.astype(np.float64) * weights[matrix.indices]
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    sums = np.bincount(row, data, minlength=matrix.shape[0])
    data /= np.where(sums > 0, sums, 1)[row]
    return sparse.csr_array((data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def _class_means(
    values: NDArray[np.float32], classes: NDArray[np.int32], sizes: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the mean of each attribute over the regions of each class, weighted by size, (class, attribute)."""
    n = int(classes.max()) + 1
    total = np.maximum(np.bincount(classes, sizes, minlength=n), np.finfo(np.float64).tiny)
    sums = (np.bincount(classes, sizes * column, minlength=n) for column in values.T)
    return np.stack([each / total for each in sums], axis=1).astype(np.float32)
