"""Division of regions with too many vertices into parts, along tile lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Tile, TileGrid


@dataclass(frozen=True)
class RegionCuts:
    """Blocks of tiles into which large regions are cut.

    Parameters
    ----------
    keys : (n,) int64
        region · number of tiles + tile, ascending, for each tile that a cut region reaches.
    blocks : (n,) int64
        Block of tiles from 1. A region is one part within a block, and cut between two blocks.
    """

    keys: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    blocks: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def of(self, regions: NDArray[np.int64], tile: Tile, grid: TileGrid) -> NDArray[np.int64]:
        """Return the block of a tile for each region in it, (region,) int64; 0 = the region is not cut."""
        keys = regions * len(grid) + tile.number
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.blocks[at], 0) if len(self.keys) else 0 * keys


def cut_large_regions(
    tables: Iterable[tuple[int, NDArray[np.int64], NDArray[np.int64]]], grid: TileGrid, most: int | None
) -> tuple[RegionCuts, int]:
    """Return how regions with too many vertices are cut along tile lines, and how many vertices the largest has.

    Parameters
    ----------
    tables : iterable of (int, (n,) int64, (n,) int64)
        For each tile, of which there is at least one, its number, the regions that touch its tile lines, and their
        vertices; a region may occur several times.
    most : int or None
        Largest number of vertices of a part, before its border is simplified; only a part of a single tile has more.
        None = no region is cut.

    Returns
    -------
    cuts : RegionCuts
    largest : int

    Notes
    -----
    The tiles of a region are bisected, across the longer side of their bounding rectangle, until no part has too many.
    """
    found = [(regions * len(grid) + tile, vertices) for tile, regions, vertices in tables]
    every, vertices = (np.concatenate([np.zeros(0, np.int64), *column]) for column in zip(*found, strict=True))
    keys, place = np.unique(every, return_inverse=True)
    counts = np.bincount(place, vertices, len(keys)).astype(np.int64)
    owner, tile = np.divmod(keys, len(grid))
    begins = np.unique(owner, return_index=True)[1]
    totals = np.add.reduceat(counts, begins) if len(keys) else counts
    blocks = np.zeros(len(keys), np.int64)
    if most is not None:
        ends = np.append(begins, len(keys))[1:]
        for i in np.flatnonzero(totals > most):
            own = slice(begins[i], ends[i])
            blocks[own] = _bisect(np.stack(np.divmod(tile[own], grid.n_cols)), counts[own], most)
    return RegionCuts(keys[blocks > 0], blocks[blocks > 0]), int(totals.max(initial=0))


def _bisect(places: NDArray[np.int64], counts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the block of each tile, from 1; `places` are their (row or col, tile)."""
    blocks = np.zeros(len(counts), np.int64)
    waiting, n = [np.arange(len(counts))], 0
    while waiting:
        chosen = waiting.pop()
        low, high = places[:, chosen].min(axis=1), places[:, chosen].max(axis=1)
        if counts[chosen].sum() <= most or (low == high).all():
            n += 1
            blocks[chosen] = n
            continue
        axis = int(np.argmax(high - low))
        first = places[axis, chosen] <= (low[axis] + high[axis]) // 2
        waiting += [chosen[~first], chosen[first]]
    return blocks
