"""Columns of the regions of a run, computed for some regions at a time: those of all of them do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SomeColumns = Callable[[NDArray[np.int64]], dict[str, NDArray[Any]]]  # rows → (row,) arrays by name


@dataclass(frozen=True)
class RegionColumns:
    """The columns of a table of regions.

    Parameters
    ----------
    parts : tuple of callable
        Each returns some of the columns for some rows, (row,) int64; of two columns of one name the later one counts.
    """

    parts: tuple[SomeColumns, ...]

    def of(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return all columns of some rows.

        Examples
        --------
        >>> RegionColumns((lambda rows: {"region": rows + 1},)).of(np.array([4, 2]))
        {'region': array([5, 3])}
        """
        return {name: column for part in self.parts for name, column in part(rows).items()}


def stored(columns: dict[str, NDArray[Any]]) -> SomeColumns:
    """Return a part of `RegionColumns` that takes the rows of whole columns."""
    return lambda rows: {name: column[rows] for name, column in columns.items()}
