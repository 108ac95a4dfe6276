"""Superpixels with identical values in a scene of any size, within bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.grouped import grouped_sum
from geoseg.segment.repeats import Repeats
from geoseg.segment.splitmix import INCREMENT, mix64
from geoseg.segment.votes import SuperpixelTable

_BITS = 29  # of a key: two maps of 2^29 bits take 128 MiB, and 16 million different moments share 3 % of their bits
_PENDING = 200_000  # rows that are summed up at once


def repeats_of_blocks(load: Callable[[int], SuperpixelTable], blocks: Sequence[int]) -> Repeats:
    """Return the moments that several superpixels of any of the blocks have, with their mean votes.

    The tables are read twice, one after the other: first bits record which moments occur and which occur again; then
    the rows whose bit has been set twice are summed up. What is held are the bits and the repeated moments.

    Parameters
    ----------
    load : callable
        Returns the table of a block.
    blocks : sequence of int
        In ascending order.
    """
    once, again = (np.zeros(1 << (_BITS - 3), np.uint8) for _ in range(2))
    for block in blocks:
        _record(_keys(load(block).moments), once, again)
    sums = _Sums()
    for block in blocks:
        table = load(block)
        rows = np.flatnonzero(_is_set(_keys(table.moments), again))
        if len(rows):
            sums.add(table.rows(rows))
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


def _keys(moments: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return a key of `_BITS` bits for each row, equal for equal rows."""
    bits = np.ascontiguousarray(moments + 0.0).view(np.uint64)  # the sum makes -0 and 0 the same bits
    key = np.zeros(len(moments), np.uint64)
    for column in bits.T:
        key = mix64((key ^ column) + np.uint64(INCREMENT))
    return key >> np.uint64(64 - _BITS)


def _record(keys: NDArray[np.uint64], once: NDArray[np.uint8], again: NDArray[np.uint8]) -> None:
    """Set the bits of keys in `once`, and in `again` those that occur twice or are set already."""
    distinct, counts = np.unique(keys, return_counts=True)
    _set(distinct[(counts > 1) | _is_set(distinct, once)], again)
    _set(distinct, once)


def _is_set(keys: NDArray[np.uint64], bits: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (bits[keys >> np.uint64(3)] >> (keys & np.uint64(7)).astype(np.uint8)) & 1 > 0


def _set(keys: NDArray[np.uint64], bits: NDArray[np.uint8]) -> None:
    masks = np.uint8(1) << (keys & np.uint64(7)).astype(np.uint8)
    np.bitwise_or.at(bits, keys >> np.uint64(3), masks)
