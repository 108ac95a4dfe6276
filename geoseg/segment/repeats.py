"""Superpixels with identical values: they share their votes, so that equal input gets an equal class.

The votes of a superpixel depend on the pixels around it. In a photograph hardly two superpixels have the same mean
values. In a mask or a thematic raster most have, and without this they would be split by their surroundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.grouped import grouped_mean
from geoseg.segment.splitmix import INCREMENT, mix64
from geoseg.segment.table_storage import TableStorage, batches
from geoseg.segment.votes import SuperpixelTable, concatenate


@dataclass(frozen=True)
class Repeats:
    """Moments that several superpixels have, and their common votes.

    Parameters
    ----------
    moments : (n, moment) float64
        All rows different.
    votes : (n, code) float64
        Mean votes of the superpixels with these moments.
    context : (n, code + feature) or (n, code) float16 or None
        Mean context of these superpixels; None = it does not count.
    """

    moments: NDArray[np.float64]
    votes: NDArray[np.float64]
    context: NDArray[np.float16] | None = None

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fields by name, without one that is None."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in arrays.items() if array is not None}

    @cached_property
    def _sorted_keys(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Keys of the moments, ascending, and the row of each."""
        keys = moment_keys(self.moments)
        row_of = np.argsort(keys)
        return keys[row_of], row_of

    def _rows_of(self, moments: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the row of `self.moments` that equals each of `moments`; -1 = none."""
        keys, row_of = self._sorted_keys
        wanted = moment_keys(moments)
        found = np.full(len(moments), -1)
        place = np.searchsorted(keys, wanted)
        left = np.arange(len(moments))
        while len(left):  # once, unless different moments have equal keys
            left = left[place[left] < len(keys)]
            left = left[keys[place[left]] == wanted[left]]
            rows = row_of[place[left]]
            is_equal = (self.moments[rows] == moments[left]).all(axis=1)
            found[left[is_equal]] = rows[is_equal]
            left = left[~is_equal]
            place[left] += 1
        return found

    def share(self, table: SuperpixelTable) -> SuperpixelTable:
        """Return a table whose superpixels with repeated moments have the common votes.

        Parameters
        ----------
        table : SuperpixelTable

        Returns
        -------
        SuperpixelTable
            The same object where no superpixel has repeated moments.

        Examples
        --------
        >>> none = np.zeros(0, np.int64)
        >>> moments, votes = np.array([[0.5, 0.25], [0.1, 0.01]]), np.array([[0.9, 0.1], [0.3, 0.7]])
        >>> table = SuperpixelTable(np.arange(2), votes, np.ones(2, int), moments, none, none)
        >>> Repeats(moments[:1], np.array([[0.8, 0.2]])).share(table).votes.tolist()
        [[0.8, 0.2], [0.3, 0.7]]
        """
        found = self._rows_of(table.moments)
        rows = np.flatnonzero(found >= 0)
        if not len(rows):
            return table
        found = found[rows]
        common = {"votes": self.votes} | ({} if self.context is None else {"context": self.context})
        changed = {name: vars(table)[name].copy() for name in common}
        for name, values in common.items():
            changed[name][rows] = values[found]
        return replace(table, **changed)

    def share_in(self, table: SuperpixelTable, storage: TableStorage) -> None:
        """Change the votes and the context of the superpixels of a table that `storage` keeps, as `share` does."""
        for some in batches(len(table.numbers), storage):
            part = table.rows(some)
            shared = self.share(part)
            if shared is part:
                continue
            table.votes[some] = shared.votes
            if table.context is not None and shared.context is not None:
                table.context[some] = shared.context


def moment_keys(moments: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return a key for each row of moments, (n,): equal for equal rows, and for others hardly ever.

    Examples
    --------
    >>> keys = moment_keys(np.array([[0.5, 0.0], [0.5, -0.0], [0.0, 0.5]]))
    >>> bool(keys[0] == keys[1]), bool(keys[0] == keys[2])
    (True, False)
    """
    bits = np.ascontiguousarray(moments + 0.0).view(np.uint64)  # the sum makes -0 and 0 the same bits
    key = np.zeros(len(moments), np.uint64)
    for column in bits.T:
        key = mix64((key ^ column) + np.uint64(INCREMENT))
    return key


def find_repeats(tables: Sequence[SuperpixelTable]) -> Repeats:
    """Return the moments that several superpixels have, with their mean votes, weighted by pixels.

    Parameters
    ----------
    tables : sequence of SuperpixelTable
        Of several blocks, in ascending order.

    Examples
    --------
    >>> none = np.zeros(0, np.int64)
    >>> moments, votes = np.array([[0.5], [0.5], [0.1]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> found = find_repeats([SuperpixelTable(np.arange(3), votes, np.array([3, 1, 1]), moments, none, none)])
    >>> found.moments.tolist(), found.votes.tolist()
    ([[0.5]], [[0.75, 0.25]])
    """
    if not any(len(table.numbers) for table in tables):
        return Repeats(np.zeros((0, 1)), np.zeros((0, 1)))
    table = concatenate(tables)
    moments = table.moments
    _, inverse, counts = np.unique(moments[:, -1], return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[inverse] > 1)  # of several that agree in one moment: a quick first choice
    distinct, group, counts = np.unique(moments[rows], axis=0, return_inverse=True, return_counts=True)
    repeated = counts > 1
    kept = repeated[group.ravel()]
    place = (np.cumsum(repeated) - 1)[group.ravel()[kept]]
    same = table.rows(rows[kept])

    def common(values: NDArray[Any]) -> NDArray[np.float64]:
        return grouped_mean(values, place, int(repeated.sum()), weights=same.pixels.astype(float))

    context = None if same.context is None else common(same.context.astype(float)).astype(np.float16)
    return Repeats(distinct[repeated], common(same.votes), context)
