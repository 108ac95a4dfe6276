"""Sums and means of table rows by group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def grouped_sum(
    values: NDArray[Any], groups: NDArray[np.integer], n_groups: int, *, weights: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Return the sum of the rows of each group.

    Parameters
    ----------
    values : (n,) or (n, column) of any number type
    groups : (n,) int
        Group of each row, from 0 to below `n_groups`.
    n_groups : int
    weights : (n,) of any number type, optional
        Factor of each row; None = 1.

    Returns
    -------
    (n_groups,) or (n_groups, column) float64
        0 for groups without rows. Rows are added one after the other in their order, in float64.

    Examples
    --------
    >>> grouped_sum(np.array([[1, 10], [2, 20], [3, 30]]), np.array([0, 2, 0]), 3)
    array([[ 4., 40.],
           [ 0.,  0.],
           [ 2., 20.]])
    """
    columns = [values] if values.ndim == 1 else list(values.T)
    sums = np.empty((n_groups, len(columns)))
    for i, column in enumerate(columns):
        weighted = column if weights is None else weights * column
        sums[:, i] = np.bincount(groups, weighted, minlength=n_groups)
    return sums[:, 0] if values.ndim == 1 else sums


def grouped_mean(
    values: NDArray[Any], groups: NDArray[np.integer], n_groups: int, *, weights: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Return the weighted mean of the rows of each group.

    Parameters
    ----------
    values : (n,) or (n, column) of any number type
    groups : (n,) int
        Group of each row, from 0 to below `n_groups`; every group has a row with a weight above 0.
    n_groups : int
    weights : (n,) of any number type, optional
        Weight of each row; None = 1.

    Returns
    -------
    (n_groups,) or (n_groups, column) float64

    Examples
    --------
    >>> grouped_mean(np.array([1.0, 2.0, 5.0]), np.array([0, 0, 1]), 2, weights=np.array([3, 1, 1]))
    array([1.25, 5.  ])
    """
    totals = np.bincount(groups, weights, minlength=n_groups)
    sums = grouped_sum(values, groups, n_groups, weights=weights)
    return np.asarray(sums / (totals if values.ndim == 1 else totals[:, None]))


class GroupedSums:
    """The sums of the rows of each group, from several batches of rows: the same as `grouped_sum` of all at once.

    Parameters
    ----------
    n_groups : int

    Examples
    --------
    >>> sums = GroupedSums(2)
    >>> sums.add(np.array([[1.0, 5.0]]), np.array([1]))
    >>> sums.add(np.array([[2.0, 6.0]]), np.array([1]), weights=np.array([10]))
    >>> sums.total
    array([[ 0.,  0.],
           [21., 65.]])
    """

    def __init__(self, n_groups: int) -> None:
        self.total = np.zeros(n_groups)
        self._n = n_groups

    def add(self, values: NDArray[Any], groups: NDArray[np.integer], *, weights: NDArray[Any] | None = None) -> None:
        """Add rows, as `grouped_sum` takes them."""
        if values.shape[1:] != self.total.shape[1:]:
            self.total = np.zeros((self._n, *values.shape[1:]))
        columns = [values] if values.ndim == 1 else list(values.T)
        totals = self.total.reshape(self._n, len(columns))
        for i, column in enumerate(columns):
            weighted = column if weights is None else weights * column
            np.add.at(totals[:, i], groups, weighted)  # one row after the other, as `grouped_sum` does
