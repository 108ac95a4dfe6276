"""Bilinear interpolation of a coarse or fine grid at the pixels of a scene, independent of the window."""

from __future__ import annotations

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.segment.compiled import compiled

_PER_CELL = 2.0**20  # positions are rounded to this part of a cell: equal grids then give exactly the values of cells


def interpolate(
    values: NDArray[np.float64], known: NDArray[np.bool_], cells: Window, to_cells: Affine, window: Window
) -> NDArray[np.float32]:
    """Return the values at the pixel centres of a window.

    Parameters
    ----------
    values : (component, y, x) float64
        Values at the centres of cells.
    known : (y, x) bool
        False = the cell has no value.
    cells : Window
        The window of these cells in their grid: at least those around every pixel centre that exist.
    to_cells : Affine
        (col, row) of a pixel corner of the scene → (col, row) of cells.
    window : Window
        Of the scene.

    Returns
    -------
    (component + 1, y, x) float32
        The mean of the four cells around the pixel centre that have a value, with bilinear weights; then 1. All are 0
        where the cell that contains the pixel centre has no value or does not exist. A pixel has the same values in
        every window, to the last bit.

    Examples
    --------
    >>> halves = Affine.scale(0.5)
    >>> interpolate(
    ...     np.array([[[1.0, 3.0]]]), np.ones((1, 2), bool), Window(0, 0, 2, 1), halves, Window(0, 0, 5, 1)
    ... )
    array([[[1. , 1.5, 2.5, 3. , 0. ]],
    <BLANKLINE>
           [[1. , 1. , 1. , 1. , 0. ]]], dtype=float32)
    """
    found = np.zeros((len(values) + 1, *window.shape), np.float32)
    first = (cells.col_off, cells.row_off, window.col_off, window.row_off)
    coefficients = np.array(tuple(to_cells)[:6], np.float64)
    by_cell = np.ascontiguousarray(np.moveaxis(values, 0, -1))  # (y, x, component)
    _interpolate(by_cell, np.ascontiguousarray(known), coefficients, first, found)
    return found


@compiled(nogil=True)
def _interpolate(values, known, to_cells, first, found):  # type: ignore[no-untyped-def]
    """Fill `found` from values (y, x, component)."""
    n_rows, n_cols, n_values = values.shape
    cell_col, cell_row, first_col, first_row = first
    a, b, c, d, e, f = to_cells
    sums = np.empty(n_values)
    for y in range(found.shape[1]):
        row = first_row + y + 0.5
        for x in range(found.shape[2]):
            col = first_col + x + 0.5
            u = np.rint((a * col + b * row + c) * _PER_CELL) / _PER_CELL - cell_col
            v = np.rint((d * col + e * row + f) * _PER_CELL) / _PER_CELL - cell_row
            if not (0 <= u < n_cols and 0 <= v < n_rows) or not known[int(v), int(u)]:
                continue
            left, top = np.floor(u - 0.5), np.floor(v - 0.5)
            right_share, lower_share = u - 0.5 - left, v - 0.5 - top
            total = 0.0
            sums[:] = 0
            for corner in range(4):
                i, j = int(top) + corner // 2, int(left) + corner % 2
                weight = lower_share if corner // 2 else 1 - lower_share
                weight *= right_share if corner % 2 else 1 - right_share
                if weight > 0 and 0 <= i < n_rows and 0 <= j < n_cols and known[i, j]:
                    total += weight
                    for k in range(n_values):
                        sums[k] += weight * values[i, j, k]
            for k in range(n_values):
                found[k, y, x] = sums[k] / total
            found[n_values, y, x] = 1
