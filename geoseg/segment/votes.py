"""Votes of the tiles per superpixel, and their sums per block: the superpixel table.

All sums are integers, so they depend neither on the tile size nor on the order of the tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.blockwise import dense_index
from geoseg.segment.superpixels import NUMBERS_PER_BLOCK
from geoseg.segment.table_storage import TableStorage
from geoseg.segment.vote_sums import FIXED, sum_moments


@dataclass(frozen=True)
class Votes:
    """Sums of one tile per superpixel.

    Parameters
    ----------
    numbers : (n,) int64
        Superpixels in the read window of the tile, ascending.
    votes : (n, code) int64
        Sum over the pixels of the read window of the share of each code times the feathering weight of the pixel.
    pixels : (n,) int64
        Number of pixels in the core of the tile.
    moments : (n, moment) int64
        Sum of the moments of these pixels in units of 1/`FIXED`.
    pairs : (m, 2) int64
        Numbers, the smaller first, of superpixels that share pixel sides in the core or on its right or lower side;
        ascending by the first.
    borders : (m,) int64
        Number of pixel sides that each pair shares.
    extra : (n, component + 1) int64 or None
        Sum of the components of a features raster over the pixels of the core where it has a value, and the number of
        these pixels, in units of 1/`FIXED`. None = there is no such raster.
    cells : (cell row, cell column, code + moment + 1) int32 or None
        Sums over the cells of the core, see `context.sum_cells`. None = the context of superpixels does not count.
    """

    numbers: NDArray[np.int64]
    votes: NDArray[np.int64]
    pixels: NDArray[np.int64]
    moments: NDArray[np.int64]
    pairs: NDArray[np.int64]
    borders: NDArray[np.int64]
    extra: NDArray[np.int64] | None = None
    cells: NDArray[np.int32] | None = None

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fields by name, without one that is None."""
        return {name: array for name, array in vars(self).items() if array is not None}


@dataclass(frozen=True)
class SuperpixelTable:
    """The superpixels of one block, one per row, and their borders.

    Parameters
    ----------
    numbers : (n,) int64
        Numbers in the scene, ascending.
    votes : (n, code) float64
        Share of each code of the scene; every row sums to 1.
    pixels : (n,) int64
        Number of pixels, above 0.
    moments : (n, moment) float64
        Mean moments (`features.pixel_moments`).
    pairs : (m, 2) int64
        Numbers of adjacent superpixels, the smaller first; the first is in this block.
    borders : (m,) int64
        Number of pixel sides that each pair shares.
    extra : (n, component) float64 or None
        Mean components of a features raster; NaN = it has no value there. None = there is no such raster.
    context : (n, code + feature) or (n, code) float16 or None
        Features of what lies around, see `context.context_features`. None = it does not count.
    total : (n,) float64 or None
        Sum of the votes of each superpixel before they became shares; None = unknown. Serves to store the table.
    """

    numbers: NDArray[np.int64]
    votes: NDArray[np.float64]
    pixels: NDArray[np.int64]
    moments: NDArray[np.float64]
    pairs: NDArray[np.int64]
    borders: NDArray[np.int64]
    extra: NDArray[np.float64] | None = None
    context: NDArray[np.float16] | None = None
    total: NDArray[np.float64] | None = None

    def fields(self) -> dict[str, NDArray[Any]]:
        """Return the fields by name, without one that is None."""
        return {name: array for name, array in vars(self).items() if array is not None}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays to store: shares and means as the integer sums that give them, a third of the bytes.

        Arrays that are not exactly the quotients of such sums are stored as they are.
        """
        arrays = self.fields()
        total = arrays.pop("total", None)
        if total is not None:
            votes = np.rint(self.votes * total[:, None]).astype(np.uint64)
            if np.array_equal(_shares_of(votes), self.votes):
                arrays["votes"] = votes
        moments = np.rint(self.moments * (FIXED * self.pixels[:, None])).astype(np.int64)
        if np.array_equal(_means_of(moments, self.pixels), self.moments):
            arrays["moments"] = moments
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> SuperpixelTable:
        """Return the table from the arrays of `to_arrays`."""
        arrays = dict(arrays)
        if arrays["votes"].dtype.kind == "u":
            arrays["total"] = arrays["votes"].sum(axis=1, dtype=np.float64)
            arrays["votes"] = _shares_of(arrays["votes"])
        if arrays["moments"].dtype.kind == "i":
            arrays["moments"] = _means_of(arrays["moments"], arrays["pixels"])
        return cls(**arrays)

    def rows(self, chosen: slice | NDArray[Any]) -> SuperpixelTable:
        """Return some superpixels, by slice, index or mask, and all pairs, also those with superpixels left out."""
        changed = {name: array for name, array in self.fields().items() if name not in ("pairs", "borders")}
        return replace(self, **{name: array[chosen] for name, array in changed.items()})


def concatenate(tables: Sequence[SuperpixelTable]) -> SuperpixelTable:
    """Return the superpixels and pairs of several tables in one, in the order of the tables.

    Parameters
    ----------
    tables : sequence of SuperpixelTable
        At least one; those without superpixels may have other numbers of codes and moments.
    """
    filled = [table for table in tables if len(table.numbers)] or list(tables[:1])
    if len(filled) == 1:
        return replace(filled[0], total=None)
    arrays = [replace(table, total=None).fields() for table in filled]  # of some tables it may be unknown
    return SuperpixelTable(**{name: np.concatenate([one[name] for one in arrays]) for name in arrays[0]})


def stored_table(tables: Iterable[SuperpixelTable], storage: TableStorage) -> SuperpixelTable:
    """Return the superpixels and pairs of several tables as `concatenate` does; each table is taken once."""
    filled = (replace(table, total=None) for table in tables if len(table.numbers))
    first = next(filled, None)
    if first is None:
        return _empty()
    return SuperpixelTable(**storage.concatenate(table.fields() for table in chain([first], filled)))


def votes_of_sums(
    seen: NDArray[np.int64],
    index: NDArray[np.int32],
    sums: NDArray[np.int64],
    moments: NDArray[np.float32],
    *,
    core: tuple[slice, slice],
    extra: NDArray[np.float32] | None = None,
) -> Votes:
    """Return the votes of a tile from the sums of its codes.

    Parameters
    ----------
    seen, index : (n,) int64 and (y, x) int32
        Superpixels of the read window, from `ranked`.
    sums : (n, code) int64
        From `vote_sums.sum_shares`, with the feathering weight (`TileGrid.feather`).
    moments : (moment, y, x) float32
        As returned by `features.pixel_moments`, of the read window.
    core : tuple of slice
        Rows and columns of the core in the read window.
    extra : (component + 1, y, x) float32 or None
        Components of a features raster in the core, then 1; all 0 where it has no value. None = there is no such
        raster.

    Returns
    -------
    Votes

    Examples
    --------
    >>> from geoseg.segment.vote_sums import sum_shares
    >>> seen, index = ranked(np.array([[7, 7, 9]]))
    >>> shares = np.array([[[255, 0], [0, 255], [0, 255]]], np.uint8)
    >>> sums = sum_shares(index, shares, np.ones((1, 3), int), len(seen))
    >>> everything = (slice(0, 1), slice(0, 3))
    >>> votes = votes_of_sums(seen, index, sums, np.zeros((1, 1, 3), np.float32), core=everything)
    >>> votes.votes.tolist(), votes.pixels.tolist(), votes.pairs.tolist(), votes.borders.tolist()
    ([[255, 255], [0, 255]], [2, 1], [[7, 9]], [1])
    """
    inner = np.ascontiguousarray(index[core])
    pixels, moment_sums = sum_moments(inner, np.ascontiguousarray(moments[:, *core]), len(seen))
    pairs, borders = _adjacent(index, core)
    return Votes(
        numbers=seen,
        votes=sums,
        pixels=pixels,
        moments=moment_sums,
        pairs=seen[pairs],
        borders=borders,
        extra=None if extra is None else sum_moments(inner, np.ascontiguousarray(extra), len(seen))[1],
    )


def ranked(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the superpixels that occur and the index of each pixel's superpixel among them.

    The same as ``np.unique(numbers, return_inverse=True)``, but without sorting the pixels.

    Parameters
    ----------
    numbers : (y, x) int64
        Below 0 = nodata.

    Returns
    -------
    seen : (n,) int64
        Ascending.
    index : (y, x) int32
        -1 = nodata.

    Examples
    --------
    >>> ranked(np.array([[7, 7, -1, 3]]))
    (array([3, 7]), array([[ 1,  1, -1,  0]], dtype=int32))
    """
    seen, index = dense_index(numbers, NUMBERS_PER_BLOCK)
    return seen, index


def gather(block: int, tables: Iterable[tuple[Votes, NDArray[np.float64] | None]]) -> SuperpixelTable:
    """Return the superpixel table of a block: the sums of the votes of all tiles.

    Parameters
    ----------
    block : int
        Number of the block.
    tables : iterable of (Votes, translation)
        Every tile whose read window intersects that of the block, in ascending order. A translation, (code, scene code)
        float64 with rows that sum to 1, maps the codes of the tile to those of the scene; None = they are the same.

    Returns
    -------
    SuperpixelTable
        Superpixels without pixels in the core of any of the tiles are left out.
    """
    parts = [(_of_block(table, block), translation) for table, translation in tables]
    if not parts:
        return _empty()
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
    extra = _mean_extra([part for part, _ in parts], numbers)
    pairs, borders = _sum_borders([part for part, _ in parts])
    kept = pixels > 0
    total = votes[kept].sum(axis=1)
    return SuperpixelTable(
        numbers=numbers[kept],
        votes=votes[kept] / total[:, None],
        pixels=pixels[kept],
        moments=_means_of(moments[kept], pixels[kept]),
        pairs=pairs,
        borders=borders,
        extra=None if extra is None else extra[kept],
        total=total,
    )


def rows_of(superpixel_tables: Sequence[SuperpixelTable], numbers: NDArray[np.int64]) -> SuperpixelTable:
    """Return the rows of some superpixels from the tables of several blocks, without pairs and borders.

    Parameters
    ----------
    superpixel_tables : sequence of SuperpixelTable
        Blocks in ascending order, at least one.
    numbers : (n,) int64
        Superpixels, each in one of the blocks.

    Returns
    -------
    SuperpixelTable
        Row i is that of ``numbers[i]``.
    """
    table = concatenate(superpixel_tables)
    none = np.zeros((0, 2), np.int64)
    return replace(table.rows(np.searchsorted(table.numbers, numbers)), pairs=none, borders=none[:, 0])


def _adjacent(index: NDArray[np.int32], core: tuple[slice, slice]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs a < b of superpixels that share pixel sides, and the number of these sides.

    A side belongs to the tile whose core contains its left or upper pixel.
    """
    rows, cols = core
    keys = []
    for down, right in ((0, 1), (1, 0)):
        a = index[
            rows.start : min(rows.stop, index.shape[0] - down), cols.start : min(cols.stop, index.shape[1] - right)
        ]
        b = index[rows.start + down : rows.stop + down, cols.start + right : cols.stop + right]
        differ = (a != b) & (a >= 0) & (b >= 0)
        first, second = a[differ].astype(np.int64), b[differ].astype(np.int64)
        keys.append(np.minimum(first, second) << 32 | np.maximum(first, second))
    unique, borders = np.unique(np.concatenate(keys), return_counts=True)
    return np.stack([unique >> 32, unique & 0xFFFFFFFF], axis=1), borders.astype(np.int64)


def _of_block(table: Votes, block: int) -> Votes:
    """Return the rows of a tile's votes that belong to a block."""
    ends = [block * NUMBERS_PER_BLOCK, (block + 1) * NUMBERS_PER_BLOCK]
    rows, edges = (slice(*np.searchsorted(numbers, ends)) for numbers in (table.numbers, table.pairs[:, 0]))
    return Votes(
        table.numbers[rows],
        table.votes[rows],
        table.pixels[rows],
        table.moments[rows],
        table.pairs[edges],
        table.borders[edges],
        None if table.extra is None else table.extra[rows],
    )


def _mean_extra(parts: list[Votes], numbers: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return the mean extra components of superpixels, (n, component) float64; NaN where there are none."""
    sums: NDArray[np.int64] | None = None
    for part in parts:
        if part.extra is not None:
            sums = np.zeros((len(numbers), part.extra.shape[1]), np.int64) if sums is None else sums
            sums[np.searchsorted(numbers, part.numbers)] += part.extra
    if sums is None:
        return None
    counts = sums[:, -1:]
    return np.asarray(np.where(counts > 0, sums[:, :-1] / np.maximum(counts, 1), np.nan))


def _sum_borders(parts: list[Votes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of all tiles and the sums of their borders."""
    pairs = np.concatenate([part.pairs for part in parts])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    pairs, borders = pairs[order], np.concatenate([part.borders for part in parts])[order]
    is_first = np.ones(len(pairs), np.bool_)
    is_first[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return pairs[is_first], np.add.reduceat(borders, np.flatnonzero(is_first)) if len(pairs) else borders


def _shares_of(votes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the share of each code, (n, code) float64, from integer sums."""
    return np.asarray(votes / votes.sum(axis=1, dtype=np.float64)[:, None])


def _means_of(moments: NDArray[np.int64], pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return mean moments, (n, moment) float64, from sums in units of 1/`FIXED`."""
    return np.asarray(moments / (FIXED * pixels[:, None]))


def _empty() -> SuperpixelTable:
    none = np.zeros(0, np.int64)
    return SuperpixelTable(none, np.zeros((0, 1)), none, np.zeros((0, 1)), np.zeros((0, 2), np.int64), none)
