"""Storage of tables with a row per superpixel or region: what the computation needs of it, and tables in memory.

The tables of a large scene do not fit into memory. A storage may keep arrays on the disk, where their rows are read and
written like those of others; whoever goes through all rows takes `batches`, after each of which the storage may let go
of the memory that held them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

ROWS = 2**12  # of a batch


class TableStorage(Protocol):
    """Where arrays with many rows are kept."""

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return a new array of zeros."""

    def concatenate(self, parts: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """Return the columns of several tables, at least one, with the rows of all; each part is taken once.

        The arrays are new, also those of a single part.
        """

    def release(self) -> None:
        """Release the memory of rows that were read or written; they are read again when they are needed."""


class InMemory:
    """The storage of tables that fit into memory."""

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return a new array of zeros."""
        return np.zeros(shape, dtype)

    def concatenate(self, parts: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """Return the columns of several tables with the rows of all."""
        tables = list(parts)
        return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}

    def release(self) -> None:
        """Do nothing."""


IN_MEMORY = InMemory()


def filled(storage: TableStorage, shape: tuple[int, ...], value: np.generic) -> NDArray[Any]:
    """Return a new array in which all values are the same."""
    array = storage.zeros(shape, value.dtype)
    for some in batches(len(array), storage, 8 * ROWS):
        array[some] = value
    return array


def batches(n: int, storage: TableStorage = IN_MEMORY, rows: int = ROWS) -> Iterator[slice]:
    """Yield the rows of a table of `n` rows in slices, and let the storage release each before the next.

    Examples
    --------
    >>> list(batches(5, rows=2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for begin in range(0, n, rows):
        yield slice(begin, min(begin + rows, n))
        storage.release()
