"""Superpixels with identical values: they share their votes, so that equal input gets an equal class.

The votes of a superpixel depend on the pixels around it. In a photograph hardly two superpixels have the same mean
values. In a mask or a thematic raster most have, and without this they would be split by their surroundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.grouped import grouped_mean
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
        return {name: array for name, array in vars(self).items() if array is not None}

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
        rows = np.flatnonzero(np.isin(table.moments[:, -1], self.moments[:, -1]))  # few rows in a photograph
        if not len(rows):
            return table
        n = len(self.moments)
        both = np.concatenate([self.moments, table.moments[rows]])
        group = np.unique(both, axis=0, return_inverse=True)[1].ravel()
        repeat = np.full(int(group.max()) + 1, -1)
        repeat[group[:n]] = np.arange(n)
        found = repeat[group[n:]]
        rows, found = rows[found >= 0], found[found >= 0]
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
