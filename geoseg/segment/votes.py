"""Votes: what a tile says of the superpixels that it sees, and all tiles together of the superpixels of a block.

All sums are whole numbers, so that they do not depend on how the scene is cut nor on the order of the tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.segment.superpixels import NONE, block_of

FIXED = 1 << 16  # looks are summed in 1/65536 of the stretch, so that squares are told apart too


@dataclass(frozen=True)
class Votes:
    """The word of one tile.

    Parameters
    ----------
    numbers : (n,) int64, ascending, the superpixels in the tile's read window
    votes : (n, code) int64, feathered sum of what its pixels give to each code
    pixels : (n,) int64, pixels in the tile's core
    looks : (n, look) int64, sum of `FIXED` times the looks of these pixels
    pairs : (m, 2) int64, numbers of superpixels that touch in the core or on its right or lower side
    borders : (m,) int64, pixel sides that a pair has in common
    """

    numbers: NDArray[np.int64]
    votes: NDArray[np.int64]
    pixels: NDArray[np.int64]
    moments: NDArray[np.int64]
    pairs: NDArray[np.int64]
    borders: NDArray[np.int64]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fields by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class SuperpixelTable:
    """What all tiles together know of the superpixels of one block.

    Parameters
    ----------
    numbers : (n,) int64, ascending
    votes : (n, code) float64, share of each scene code; a row adds up to 1
    pixels : (n,) int64
    looks : (n, look) float64, mean looks
    pairs, borders : as in `Votes`, the first number of each pair in this block
    """

    numbers: NDArray[np.int64]
    votes: NDArray[np.float64]
    pixels: NDArray[np.int64]
    moments: NDArray[np.float64]
    pairs: NDArray[np.int64]
    borders: NDArray[np.int64]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fields by name."""
        return dict(vars(self))


def count_votes(
    numbers: NDArray[np.int64],
    shares: NDArray[np.uint8],
    weight: NDArray[np.int64],
    moments: NDArray[np.float32],
    *,
    core: tuple[slice, slice],
) -> Votes:
    """Count what a tile says.

    Parameters
    ----------
    numbers : (y, x) int64 over the read window, superpixels; below 0 = no data
    shares : (y, x, code) uint8, how much the network gives each pixel to each code
    weight : (y, x) int64, `TileGrid.feather`
    looks : (look, y, x) float32, `channels.looks`
    core : (row, col) slices of the core in the read window
    """
    seen, index = ranked(numbers)
    inner = np.ascontiguousarray(index[core])
    pixels, sums = _sum_moments(inner, np.ascontiguousarray(moments[:, *core]), len(seen))
    pairs, borders = _touching(index, core)
    return Votes(
        numbers=seen,
        votes=_sum_shares(index, shares, weight, len(seen)),
        pixels=pixels,
        moments=sums,
        pairs=seen[pairs],
        borders=borders,
    )


def ranked(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the numbers of superpixels that occur, ascending, and which of these each pixel has.

    What ``np.unique(numbers, return_inverse=True)`` says, without sorting every pixel.

    Parameters
    ----------
    numbers : (y, x) int64; below 0 = no data

    Returns
    -------
    seen : (n,) int64
    index : (y, x) int32; -1 = no data

    Examples
    --------
    >>> ranked(np.array([[7, 7, -1, 3]]))
    (array([3, 7]), array([[ 1,  1, -1,  0]], dtype=int32))
    """
    flat = numbers.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=NONE - 1))  # superpixels come in runs along a row
    runs, inverse = np.unique(flat[starts], return_inverse=True)
    n_negative = int(np.searchsorted(runs, 0))
    place = np.where(runs[inverse] < 0, -1, inverse - n_negative).astype(np.int32)
    index = np.repeat(place, np.diff(starts, append=flat.size))
    return runs[n_negative:], index.reshape(numbers.shape)


def gather(block: int, tables: Iterable[tuple[Votes, NDArray[np.float64] | None]]) -> SuperpixelTable:
    """Add up what the tiles say of the superpixels of a block.

    Parameters
    ----------
    block : number of the block
    tables : every tile whose read window touches the block's, in ascending order, each with its translation
        (code, scene code) float64, whose rows add up to 1; None = its codes are those of the scene
    """
    parts = [(_of_block(table, block), translation) for table, translation in tables]
    if not parts:
        return _nothing()
    numbers = np.unique(np.concatenate([part.numbers for part, _ in parts]))
    first, translation = parts[0]
    n_codes = first.votes.shape[1] if translation is None else translation.shape[1]
    votes = np.zeros((len(numbers), n_codes))
    pixels = np.zeros(len(numbers), np.int64)
    moments = np.zeros((len(numbers), first.moments.shape[1]), np.int64)
    for part, translation in parts:
        rows = np.searchsorted(numbers, part.numbers)
        votes[rows] += part.votes if translation is None else part.votes @ translation
        pixels[rows] += part.pixels
        moments[rows] += part.moments
    pairs, borders = _add_pairs([part for part, _ in parts])
    kept = pixels > 0
    return SuperpixelTable(
        numbers=numbers[kept],
        votes=votes[kept] / votes[kept].sum(axis=1, keepdims=True),
        pixels=pixels[kept],
        moments=moments[kept] / (FIXED * pixels[kept, None]),
        pairs=pairs,
        borders=borders,
    )


def rows_of(superpixel_tables: Sequence[SuperpixelTable], numbers: NDArray[np.int64]) -> SuperpixelTable:
    """Return what blocks, in ascending order, know of some of their superpixels; without the pairs.

    Parameters
    ----------
    numbers : (n,) int64, each in one of the blocks
    """
    rows = np.searchsorted(
        np.concatenate([superpixel_table.numbers for superpixel_table in superpixel_tables]), numbers
    )
    filled = [superpixel_table for superpixel_table in superpixel_tables if len(superpixel_table.numbers)] or list(
        superpixel_tables[:1]
    )
    votes, pixels, moments = (
        np.concatenate([vars(superpixel_table)[name] for superpixel_table in filled])[rows]
        for name in ("votes", "pixels", "moments")
    )
    return SuperpixelTable(numbers, votes, pixels, moments, np.zeros((0, 2), np.int64), np.zeros(0, np.int64))


@njit(cache=True)
def _sum_moments(index, moments, n):  # type: ignore[no-untyped-def]
    """Return how many pixels each superpixel has, and the sums of their looks in `FIXED`."""
    pixels, sums = np.zeros(n, np.int64), np.zeros((n, moments.shape[0]), np.int64)
    for moment in range(moments.shape[0]):
        for y in range(index.shape[0]):
            for x in range(index.shape[1]):
                if index[y, x] >= 0:
                    sums[index[y, x], moment] += np.int64(np.rint(moments[moment, y, x] * np.float32(FIXED)))
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            if index[y, x] >= 0:
                pixels[index[y, x]] += 1
    return pixels, sums


@njit(cache=True)
def _sum_shares(index, shares, weight, n):  # type: ignore[no-untyped-def]
    height, width, n_codes = shares.shape
    sums = np.zeros((n, n_codes), np.int64)
    for y in range(height):
        for x in range(width):
            if index[y, x] >= 0:
                for code in range(n_codes):
                    sums[index[y, x], code] += weight[y, x] * shares[y, x, code]
    return sums


def _touching(index: NDArray[np.int32], core: tuple[slice, slice]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs a < b of superpixels that share pixel sides, each where its left or upper pixel is."""
    rows, cols = core
    keys = []
    for down, right in ((0, 1), (1, 0)):
        a = index[
            rows.start : min(rows.stop, index.shape[0] - down), cols.start : min(cols.stop, index.shape[1] - right)
        ]
        b = index[rows.start + down : rows.stop + down, cols.start + right : cols.stop + right]
        apart = (a != b) & (a >= 0) & (b >= 0)
        ones, others = a[apart].astype(np.int64), b[apart].astype(np.int64)
        keys.append(np.minimum(ones, others) << 32 | np.maximum(ones, others))
    unique, borders = np.unique(np.concatenate(keys), return_counts=True)
    return np.stack([unique >> 32, unique & 0xFFFFFFFF], axis=1), borders.astype(np.int64)


def _of_block(table: Votes, block: int) -> Votes:
    rows = block_of(table.numbers) == block
    edges = block_of(table.pairs[:, 0]) == block
    return Votes(
        table.numbers[rows],
        table.votes[rows],
        table.pixels[rows],
        table.moments[rows],
        table.pairs[edges],
        table.borders[edges],
    )


def _add_pairs(parts: list[Votes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pairs = np.concatenate([part.pairs for part in parts])
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    borders = np.concatenate([part.borders for part in parts])
    return unique.reshape(-1, 2), np.bincount(inverse.ravel(), borders, minlength=len(unique)).astype(np.int64)


def _nothing() -> SuperpixelTable:
    none = np.zeros(0, np.int64)
    return SuperpixelTable(none, np.zeros((0, 1)), none, np.zeros((0, 1)), np.zeros((0, 2), np.int64), none)
