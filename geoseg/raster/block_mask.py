"""Masks of rasters that are too large for an array: compressed bits, block by block."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import TileGrid, Window

_BLOCK = 512  # px; width and height. No result depends on it
_FULL = b""  # a block in which every pixel is True


@dataclass(frozen=True)
class BlockMask:
    """Which pixels of a raster are True. Blocks without such a pixel take no memory, and full ones very little.

    Parameters
    ----------
    shape : (rows, cols) int
        Of the raster.
    numbers : tuple of int
        Numbers of the blocks with a pixel that is True, ascending.
    masks : tuple of bytes
        Of each of these blocks, as `encode` returns them.

    Examples
    --------
    >>> mask = BlockMask.of_windows((2, 600), [Window(511, 0, 89, 1)])
    >>> mask.within(Window(510, 0, 4, 1)), mask.n_pixels
    (array([[False,  True,  True,  True]]), 89)
    """

    shape: tuple[int, int]
    numbers: tuple[int, ...] = ()
    masks: tuple[bytes, ...] = ()

    @classmethod
    def of_encoded(cls, shape: tuple[int, int], blocks: Mapping[int, bytes]) -> BlockMask:
        """Return the mask of a raster from its blocks by number, as `encode` returns them."""
        numbers = tuple(sorted(blocks))
        return cls(shape, numbers, tuple(blocks[number] for number in numbers))

    @classmethod
    def of_windows(cls, shape: tuple[int, int], windows: Iterable[Window]) -> BlockMask:
        """Return the mask of a raster that is True inside of some windows."""
        grid = TileGrid(shape, _BLOCK, 0)
        of_block: dict[int, list[Window]] = {}
        for window in windows:
            for number in grid.touching(window):
                of_block.setdefault(number, []).append(window)
        encoded: dict[int, bytes] = {}
        for number, touching in of_block.items():
            core = grid.tile(number).core
            mask = np.zeros(core.shape, bool)
            for part in (core.intersection(window) for window in touching):
                if part is not None:
                    mask[part.within(core)] = True
            encoded[number] = encode(mask)
        return cls.of_encoded(shape, encoded)

    @property
    def grid(self) -> TileGrid:
        """The blocks of the raster."""
        return TileGrid(self.shape, _BLOCK, 0)

    @property
    def n_pixels(self) -> int:
        """Number of pixels that are True."""
        return sum(int(self.block(number).sum()) for number in self.numbers)

    @property
    def partial_blocks(self) -> tuple[int, ...]:
        """Numbers of the blocks that have pixels of both kinds, ascending."""
        return tuple(number for number, mask in zip(self.numbers, self.masks, strict=True) if mask != _FULL)

    def block(self, number: int) -> NDArray[np.bool_]:
        """Return the mask of one block, (y, x) bool."""
        shape = self.grid.tile(number).core.shape
        encoded = self._blocks.get(number)
        return np.zeros(shape, bool) if encoded is None else decode(encoded, shape)

    def within(self, window: Window) -> NDArray[np.bool_]:
        """Return the mask of a window, (y, x) bool."""
        mask = np.zeros(window.shape, bool)
        grid = self.grid
        for number in grid.touching(window):
            if number in self._blocks:
                core = grid.tile(number).core
                part = core.intersection(window)
                if part is not None:
                    mask[part.within(window)] = self.block(number)[part.within(core)]
        return mask

    def near_border(self, margin: int) -> Iterator[int]:
        """Yield the numbers of blocks that have both True and False among their pixels and `margin` px around them."""
        grid, blocks = self.grid, self._blocks
        cores = (grid.tile(number).core for number in self.numbers)
        around = sorted({number for core in cores for number in grid.touching(core.expanded(margin, self.shape))})
        for number in around:
            nearby = grid.touching(grid.tile(number).core.expanded(margin, self.shape))
            if any(blocks.get(other) != _FULL for other in nearby):
                yield number

    def union(self, other: BlockMask) -> BlockMask:
        """Return the mask of the pixels that are True in this mask or another one of the same shape."""
        both = self._blocks.keys() & other._blocks.keys()
        merged = {number: encode(self.block(number) | other.block(number)) for number in both}
        return BlockMask.of_encoded(self.shape, self._blocks | other._blocks | merged)

    @functools.cached_property
    def _blocks(self) -> dict[int, bytes]:
        return dict(zip(self.numbers, self.masks, strict=True))


def encode(mask: NDArray[np.bool_]) -> bytes:
    """Return the compressed bits of the mask of one block."""
    return _FULL if mask.all() else zlib.compress(np.packbits(mask).tobytes(), 6)


def decode(encoded: bytes, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of a block of `shape` (rows, cols) from its compressed bits."""
    if encoded == _FULL:
        return np.ones(shape, bool)
    bits = np.frombuffer(zlib.decompress(encoded), np.uint8)
    return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)
