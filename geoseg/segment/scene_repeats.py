"""Superpixels with identical values in a scene of any size, within bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.grouped import grouped_sum
from geoseg.segment.repeats import Repeats, moment_keys
from geoseg.segment.table_storage import IN_MEMORY, TableStorage, batches
from geoseg.segment.votes import SuperpixelTable

_KEYS = 2**20  # that are compared at once
_MAX_REPEATS = 2**16  # moments that several superpixels have; every tile reads them, with their votes
_PENDING = 200_000  # rows that are summed up at once


def repeats_of_blocks(
    load: Callable[[int], SuperpixelTable], blocks: Sequence[int], storage: TableStorage = IN_MEMORY
) -> Repeats:
    """Return the moments that several superpixels of any of the blocks have, with their mean votes.

    The tables are read one after the other for a key of the moments of each superpixel; then those with keys that occur
    more than once are read again and summed up. What is held in memory are the repeated moments: at most
    `_MAX_REPEATS`, those of the most superpixels. A mosaic that has an image twice would have more, and its other
    superpixels keep the votes of their own.

    Parameters
    ----------
    load : callable
        Returns the table of a block.
    blocks : sequence of int
        In ascending order.
    storage : TableStorage
        Where the keys are kept, 8 bytes for each superpixel.
    """
    n_rows: list[int] = []

    def keys() -> Iterator[dict[str, NDArray[Any]]]:
        for block in blocks:
            found = moment_keys(load(block).moments)
            n_rows.append(len(found))
            yield {"keys": found}

    sums = _Sums()
    if not blocks:
        return sums.repeats()
    every = storage.concatenate(keys())["keys"]
    repeated = _repeated(every, storage)
    begin = 0
    for block, n in zip(blocks, n_rows, strict=True):
        rows = np.flatnonzero(_is_among(repeated, every[begin : begin + n]))
        begin += n
        if len(rows):
            sums.add(load(block).rows(rows))
            storage.release()
    return sums.repeats()


class _Sums:
    """Sums of the votes of superpixels with equal moments."""

    def __init__(self) -> None:
        self._pending: list[tuple[NDArray[Any], ...]] = []
        self._n = 0

    def add(self, table: SuperpixelTable) -> None:
        """Add the superpixels of a table."""
        weights = table.pixels.astype(np.float64)[:, None]
        context = np.zeros((len(weights), 0)) if table.context is None else table.context.astype(np.float64)
        ones = np.ones((len(weights), 1))
        self._has_context = table.context is not None
        self._pending.append((table.moments, table.votes * weights, context * weights, weights, ones))
        self._n += len(weights)
        if self._n > _PENDING:
            self._sum_up()

    def repeats(self) -> Repeats:
        """Return the moments that were added more than once."""
        if not self._pending:
            return Repeats(np.zeros((0, 1)), np.zeros((0, 1)))
        self._sum_up()
        moments, votes, context, pixels, number = self._pending[0]
        kept = number[:, 0] > 1
        moments, votes, context = moments[kept], votes[kept] / pixels[kept], context[kept] / pixels[kept]
        return Repeats(moments, votes, context.astype(np.float16) if self._has_context else None)

    def _sum_up(self) -> None:
        moments, *values = (np.concatenate(parts) for parts in zip(*self._pending, strict=True))
        distinct, group = np.unique(moments, axis=0, return_inverse=True)
        self._pending = [(distinct, *(grouped_sum(some, group.ravel(), len(distinct)) for some in values))]
        self._n = 0


def _repeated(keys: NDArray[np.uint64], storage: TableStorage) -> NDArray[np.uint64]:
    """Return the keys that occur more than once, ascending; a share of all keys is in memory at a time.

    Of more than `_MAX_REPEATS`, they are the most frequent; of two with equal frequency, the smaller one.
    """
    n_shares = np.uint64(len(keys) // _KEYS + 1)
    found, numbers = [keys[:0]], [np.zeros(0, np.int64)]
    for share in range(int(n_shares)):
        parts = [keys[some][keys[some] % n_shares == share] for some in batches(len(keys), storage, _KEYS)]
        distinct, counts = np.unique(np.concatenate([keys[:0], *parts]), return_counts=True)
        found.append(distinct[counts > 1])
        numbers.append(counts[counts > 1])
    repeated = np.concatenate(found)
    order = np.lexsort((repeated, -np.concatenate(numbers)))[:_MAX_REPEATS]
    return np.sort(repeated[order])


def _is_among(some: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which keys are among some others, which are in ascending order."""
    if not len(some):
        return np.zeros(len(keys), np.bool_)
    return np.asarray(some[np.minimum(np.searchsorted(some, keys), len(some) - 1)] == keys)
