"""Flood fill of rasters that are too large for an array: only the blocks that the fill reaches are read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import TileGrid, Window
from geoseg.raster.block_mask import BlockMask, decode, encode

_EIGHT = np.ones((3, 3), bool)

_Line = tuple[Any, NDArray[np.bool_]]  # index of the pixels of one side of a block, and which of them are reached


def flood(seeds: BlockMask, candidates: Callable[[Window], NDArray[np.bool_]]) -> BlockMask:
    """Return the candidates that are connected with a seed through candidates that share a side (4-connected).

    Parameters
    ----------
    seeds : BlockMask
        Where the fill begins.
    candidates : callable
        Window → (y, x) bool. Called once for each block that the fill reaches.

    Notes
    -----
    The result is that of a flood fill of the whole raster. Only compressed bits of the blocks are kept in memory.
    """
    grid = seeds.grid
    known: dict[int, bytes] = {}
    reached: dict[int, bytes] = {}
    waiting: dict[int, list[_Line]] = {}
    first = set(seeds.numbers)
    queue = deque(seeds.numbers)
    while queue:
        number = queue.popleft()
        core = grid.tile(number).core
        if number not in known:
            known[number] = encode(candidates(core))
        begin = seeds.block(number) if number in first else np.zeros(core.shape, bool)
        first.discard(number)
        for index, line in waiting.pop(number, ()):
            begin[index] |= line
        before = decode(reached[number], core.shape) if number in reached else np.zeros(core.shape, bool)
        found = _connected(decode(known[number], core.shape), begin & ~before)
        if not found.any():
            continue
        reached[number] = encode(before | found)
        for own, neighbour, its in _sides(grid, number):
            if found[own].any():
                if neighbour not in waiting and neighbour not in first:
                    queue.append(neighbour)
                waiting.setdefault(neighbour, []).append((its, found[own].copy()))
    return BlockMask.of_encoded(seeds.shape, reached)


def grow(mask: BlockMask, candidates: Callable[[Window], NDArray[np.bool_]], *, steps: int) -> BlockMask:
    """Return a mask with the candidates that are at most `steps` pixels away on a way through candidates.

    Parameters
    ----------
    mask : BlockMask
    candidates : callable
        Window → (y, x) bool.
    steps : int
        Number of steps from a pixel to one that shares a side or a corner with it, as in square blocks of JPEG.
    """
    grid = mask.grid
    grown = dict(zip(mask.numbers, mask.masks, strict=True))
    for number in mask.near_border(steps):
        core = grid.tile(number).core
        window = core.expanded(steps, mask.shape)
        begin = mask.within(window)
        near = ndimage.binary_dilation(begin, _EIGHT, iterations=steps, mask=begin | candidates(window))
        found = near[core.within(window)]
        if found.any():
            grown[number] = encode(found)
    return BlockMask.of_encoded(mask.shape, grown)


def _connected(candidates: NDArray[np.bool_], begin: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the 4-connected pieces of candidates with a pixel in `begin`."""
    begin = begin & candidates
    if not begin.any() or candidates.all():
        return candidates & begin.any()
    pieces, n_pieces = ndimage.label(candidates)
    chosen = np.zeros(n_pieces + 1, bool)
    chosen[pieces[begin]] = True
    return np.asarray(chosen[pieces])


def _sides(grid: TileGrid, number: int) -> Iterator[tuple[Any, int, Any]]:
    """Yield each neighbour of a block: index of the block's pixels beside it, its number, and the index of its own."""
    row, col = divmod(number, grid.n_cols)
    if row > 0:
        yield (0, slice(None)), number - grid.n_cols, (-1, slice(None))
    if row < grid.n_rows - 1:
        yield (-1, slice(None)), number + grid.n_cols, (0, slice(None))
    if col > 0:
        yield (slice(None), 0), number - 1, (slice(None), -1)
    if col < grid.n_cols - 1:
        yield (slice(None), -1), number + 1, (slice(None), 0)
