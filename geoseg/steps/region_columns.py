"""Columns of the regions of a run, computed for some regions at a time: those of all of them do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.table_storage import batches

SomeColumns = Callable[[NDArray[np.int64]], dict[str, NDArray[Any]]]  # rows → (row,) arrays by name


@dataclass(frozen=True)
class RegionColumns:
    """The columns of a table of regions.

    Parameters
    ----------
    n : int
        Number of regions.
    parts : tuple of callable
        Each returns some of the columns for some rows, (row,) int64; of two columns of one name the later one counts.
    """

    n: int
    parts: tuple[SomeColumns, ...]

    def __contains__(self, name: str) -> bool:
        return name in self.of(np.zeros(0, np.int64))

    def of(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return all columns of some rows."""
        return {name: column for part in self.parts for name, column in part(rows).items()}

    def whole(self, name: str) -> NDArray[Any]:
        """Return one column of all rows.

        Examples
        --------
        >>> RegionColumns(3, (lambda rows: {"region": rows + 1},)).whole("region")
        array([1, 2, 3])
        """
        numbers = (np.arange(some.start, some.stop) for some in batches(self.n))
        return np.concatenate([self.of(np.zeros(0, np.int64))[name], *(self.of(rows)[name] for rows in numbers)])


def stored(columns: dict[str, NDArray[Any]]) -> SomeColumns:
    """Return a part of `RegionColumns` that takes the rows of whole columns."""
    return lambda rows: {name: column[rows] for name, column in columns.items()}
