"""A tile on its way through the segment stage: read and prepared, and its votes stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Tile, Window
from geoseg.raster.scene import read_tolerant
from geoseg.run.contents import TileSuperpixels
from geoseg.run.job import Job
from geoseg.run.products import NETWORK, SUPERPIXELS, TILE_SUPERPIXELS, VOTES
from geoseg.segment import context, features, superpixels, votes
from geoseg.segment.patch import TileImage
from geoseg.segment.superpixels import BlockSuperpixels
from geoseg.segment.vote_sums import sum_shares
from geoseg.steps.features_raster import extra_of

if TYPE_CHECKING:
    from geoseg.segment.network import CodeNetwork


@dataclass(frozen=True)
class PreparedTile:
    """A tile that has been read.

    Parameters
    ----------
    tile : Tile
    seen, index : (n,) int64 and (y, x) int32
        Superpixels of the read window, from `votes.ranked`.
    moments : (moment, y, x) float32
        Of the read window.
    extra : (component + 1, y, x) float32 or None
        Components of the features raster in the core.
    image : TileImage or None
        What the network sees; None = there is no network, or no pixel is valid.
    """

    tile: Tile
    seen: NDArray[np.int64]
    index: NDArray[np.int32]
    moments: NDArray[np.float32]
    extra: NDArray[np.float32] | None
    image: TileImage | None

    @property
    def core(self) -> tuple[slice, slice]:
        """Rows and columns of the core in the read window."""
        return self.tile.core.within(self.tile.read)

    def sum_cells(self, shares: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Return the sums over the cells of the core, given the shares of the codes in the read window."""
        core = self.core
        return context.sum_cells(self.index[core], shares[core], self.moments[:, *core], self.tile.core)


def prepare_tile(job: Job, number: int) -> PreparedTile:
    """Read a tile, and compute all that its codes do not take part in."""
    tile, config = job.tiles.tile(number), job.config
    wide = wide_window(job, tile)
    pixels, valid = read_tolerant(job.scene, wide, core=tile.core)
    read = tile.read.within(wide)
    numbers = np.where(valid[read], superpixels_of(job, tile.read), superpixels.NONE)
    seen, index = votes.ranked(numbers)
    bands = job.survey.stretch.apply(pixels, valid)
    image = None
    if config.method == "backprop" and valid.any():
        layers = features.network_input(bands, valid, config.network.inputs)
        image = TileImage(number, job.survey.channels(layers, valid), read, index)
    moments = features.pixel_moments(bands[:, *read])
    extra = None if job.features is None else extra_of(job, tile.core)
    return PreparedTile(tile, seen, index, moments, extra, image)


def wide_window(job: Job, tile: Tile) -> Window:
    """Return the read window of a tile with the margin on which its features and codes depend."""
    return tile.read.expanded(features.REACH + job.config.network.reach, job.scene.geobox.shape)


def store_shares(job: Job, prepared: PreparedTile, shares: NDArray[np.uint8]) -> None:
    """Store the votes of the superpixels of a tile, given the shares of the codes in its read window, (y, x, code)."""
    sums = sum_shares(prepared.index, shares, job.tiles.feather(prepared.tile), len(prepared.seen))
    store_votes(job, prepared, sums, prepared.sum_cells(shares) if job.config.uses_context else None)


def store_votes(
    job: Job, prepared: PreparedTile, sums: NDArray[np.int64], cells: NDArray[np.int32] | None = None
) -> None:
    """Store the votes of the superpixels of a tile.

    Parameters
    ----------
    sums : (n, code) int64
        Weighted sums of the codes of each superpixel, see `votes.Votes`.
    cells : (cell row, cell column, code + moment + 1) int32 or None
        As there.
    """
    core, moments = prepared.core, prepared.moments
    table = votes.votes_of_sums(prepared.seen, prepared.index, sums, moments, core=core, extra=prepared.extra)
    number = prepared.tile.number
    job.store.put(TILE_SUPERPIXELS, TileSuperpixels(prepared.index[core]), number)
    job.store.put(VOTES, replace(table, cells=cells), number)


def initial_network(job: Job, n_channels: int) -> Callable[[int], CodeNetwork]:
    """Return a function of the number of a tile that returns the network its codes begin with.

    It is that of the scene, in evaluation mode, or with ``training: tile`` one with random weights.
    """
    from geoseg.segment.network import from_arrays, new_network  # here, because torch takes seconds to import

    config = job.config
    if config.training == "tile":
        return lambda number: new_network(n_channels, config.network, seed=config.seed + 1 + number)
    network = from_arrays(job.store.get(NETWORK).arrays, n_channels, config.network).eval()
    return lambda _: network


def superpixels_of(job: Job, window: Window) -> NDArray[np.int64]:
    """Return the superpixel numbers of a window, (y, x) int64; all blocks that read it must be stored."""
    return superpixels.assemble(window, (block_superpixels(job, number) for number in job.blocks.reading(window)))


def block_superpixels(job: Job, number: int) -> BlockSuperpixels:
    """Return the stored superpixels of a block."""
    stored = job.store.get(SUPERPIXELS, number)
    return BlockSuperpixels(job.blocks.tile(number), stored.labels, stored.in_core)
