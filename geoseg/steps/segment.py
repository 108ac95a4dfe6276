"""Superpixels and segment stages: superpixels of each block, votes of each tile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Tile, Window
from geoseg.raster.scene import read_tolerant
from geoseg.run.contents import SuperpixelLabels, TileSuperpixels
from geoseg.run.job import Job
from geoseg.run.products import NETWORK, SUPERPIXELS, TILE_SUPERPIXELS, VOTES
from geoseg.run.stages import Stages
from geoseg.segment import context, features, superpixels, votes
from geoseg.segment.patch import TileImage
from geoseg.segment.superpixels import BlockSuperpixels
from geoseg.segment.vote_sums import sum_shares
from geoseg.steps.features_raster import extra_of

if TYPE_CHECKING:
    from geoseg.segment.network import CodeNetwork


def make_superpixels(job: Job, stages: Stages) -> None:
    """Compute the superpixels of all blocks."""
    with stages.stage("superpixels", len(stages.blocks)):
        stages.each_block(segment_block, job, makes=[SUPERPIXELS])


def segment_tiles(job: Job, stages: Stages) -> None:
    """Compute the codes and the votes of all tiles."""
    with stages.stage("segment", len(stages.tiles)):
        stages.each_tile(segment_tile, job, makes=[TILE_SUPERPIXELS, VOTES])


def segment_block(job: Job, number: int) -> None:
    """Compute and store the superpixels of a block."""
    block = job.blocks.tile(number)
    pixels, valid = read_tolerant(job.scene, block.read)
    bands = job.survey.stretch.apply(pixels, valid)
    origin = (block.read.row_off, block.read.col_off)
    labels = superpixels.superpixels(bands, valid, job.survey.superpixels, origin)
    made = superpixels.block_superpixels(labels, block)
    job.store.put(SUPERPIXELS, SuperpixelLabels(made.labels, made.in_core), number)


def segment_tile(job: Job, number: int) -> None:
    """Compute the codes of a tile's pixels and store the votes of its superpixels."""
    prepared = prepare_tile(job, number)
    shares = _code_shares(job, prepared)
    sums = sum_shares(prepared.index, shares, job.tiles.feather(prepared.tile), len(prepared.seen))
    cells = prepared.sum_cells(shares) if job.config.uses_context else None
    store_votes(job, prepared, sums, cells)


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
    wide = tile.read.expanded(features.REACH + config.network.reach, job.scene.geobox.shape)
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


def superpixels_of(job: Job, window: Window) -> NDArray[np.int64]:
    """Return the superpixel numbers of a window, (y, x) int64; all blocks that read it must be stored."""
    return superpixels.assemble(window, (block_superpixels(job, number) for number in job.blocks.reading(window)))


def block_superpixels(job: Job, number: int) -> BlockSuperpixels:
    """Return the stored superpixels of a block."""
    stored = job.store.get(SUPERPIXELS, number)
    return BlockSuperpixels(job.blocks.tile(number), stored.labels, stored.in_core)


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


def _code_shares(job: Job, prepared: PreparedTile) -> NDArray[np.uint8]:
    """Return the share of each code in the pixels of the tile's read window, (y, x, code) uint8."""
    shape, config = prepared.index.shape, job.config
    if config.method != "backprop":
        return np.full((*shape, 1), 255, np.uint8)  # one code for all pixels: features alone decide
    if prepared.image is None:
        return np.zeros((*shape, config.network.channels[-1]), np.uint8)
    from geoseg.segment.tile_codes import code_shares  # here, because other methods do not need torch

    network = initial_network(job, len(prepared.image.channels))(prepared.tile.number)
    return code_shares(network, prepared.image, config, job.device)
