"""Values of a grid at any positions, by the cell around each or by bilinear interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.segment.compiled import compiled

_PER_CELL = 2.0**20  # positions are rounded to this part of a cell: equal grids then give exactly the values of cells


def sample(
    values: NDArray[Any], known: NDArray[np.bool_], cells: Window, at: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the mean of the four cells around each position that have a value, with bilinear weights.

    Parameters
    ----------
    values : (y, x) number
        Values of cells.
    known : (y, x) bool
        False = the cell has no value.
    cells : Window
        The window of these cells in their grid.
    at : two (row, col) float64
        (col, row) of each position in cells; NaN = nowhere.

    Returns
    -------
    found : (row, col) float64
    has_value : (row, col) bool
        False where the cell that contains the position has no value or does not exist.

    Examples
    --------
    >>> cells, col = Window(0, 0, 2, 1), np.array([[0.5, 1.0, 2.5]])
    >>> sample(np.array([[1.0, 3.0]]), np.ones((1, 2), bool), cells, (col, np.full((1, 3), 0.5)))
    (array([[1., 2., 0.]]), array([[ True,  True, False]]))
    """
    u, v = at[0] - cells.col_off, at[1] - cells.row_off
    found: tuple[NDArray[np.float64], NDArray[np.bool_]] = _bilinear(
        np.ascontiguousarray(values, np.float64), np.ascontiguousarray(known), u, v
    )
    return found


def sample_nearest(
    values: NDArray[Any], known: NDArray[np.bool_], cells: Window, at: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the values of the cells that contain positions, of the dtype of `values`; as `sample` for the rest.

    Examples
    --------
    >>> cells, col = Window(0, 0, 2, 1), np.array([[0.5, 1.0, 2.5]])
    >>> sample_nearest(np.array([[1, 3]]), np.ones((1, 2), bool), cells, (col, np.full((1, 3), 0.5)))
    (array([[1, 3, 0]]), array([[ True,  True, False]]))
    """
    col, row = (np.floor(np.rint(some * _PER_CELL) / _PER_CELL) for some in at)
    inside = (col >= cells.col_off) & (col < cells.col_end) & (row >= cells.row_off) & (row < cells.row_end)
    i = np.where(inside, row - cells.row_off, 0).astype(np.int64)
    j = np.where(inside, col - cells.col_off, 0).astype(np.int64)
    has_value = inside & known[i, j]
    return np.where(has_value, values[i, j], 0), has_value


@compiled(nogil=True)
def _bilinear(values, known, u, v):  # type: ignore[no-untyped-def]
    n_rows, n_cols = values.shape
    found, has_value = np.zeros(u.shape), np.zeros(u.shape, np.bool_)
    for y in range(u.shape[0]):
        for x in range(u.shape[1]):
            col, row = np.rint(u[y, x] * 2.0**20) / 2.0**20, np.rint(v[y, x] * 2.0**20) / 2.0**20
            if not (0 <= col < n_cols and 0 <= row < n_rows) or not known[int(row), int(col)]:
                continue
            left, top = np.floor(col - 0.5), np.floor(row - 0.5)
            right_share, lower_share = col - 0.5 - left, row - 0.5 - top
            total, weights = 0.0, 0.0
            for corner in range(4):
                i, j = int(top) + corner // 2, int(left) + corner % 2
                weight = lower_share if corner // 2 else 1 - lower_share
                weight *= right_share if corner % 2 else 1 - right_share
                if weight > 0 and 0 <= i < n_rows and 0 <= j < n_cols and known[i, j]:
                    weights += weight
                    total += weight * values[i, j]
            found[y, x], has_value[y, x] = total / weights, True
    return found, has_value
