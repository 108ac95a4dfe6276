"""Superpixels and segment stages: superpixels of each block, votes of each tile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Tile, Window
from geoseg.raster.scene import read_tolerant
from geoseg.run.contents import SuperpixelLabels, TileSuperpixels
from geoseg.run.job import Job
from geoseg.run.products import NETWORK, SUPERPIXELS, TILE_SUPERPIXELS, VOTES
from geoseg.run.stages import Stages
from geoseg.segment import context, features, superpixels, votes
from geoseg.segment.patch import Patch
from geoseg.segment.superpixels import BlockSuperpixels
from geoseg.steps.features_raster import extra_of


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
    tile = job.tiles.tile(number)
    margin = features.REACH + job.config.network.reach
    wide = tile.read.expanded(margin, job.scene.geobox.shape)
    pixels, valid = read_tolerant(job.scene, wide, core=tile.core)
    read = tile.read.within(wide)
    numbers = np.where(valid[read], superpixels_of(job, tile.read), superpixels.NONE)
    bands = job.survey.stretch.apply(pixels, valid)
    core = tile.core.within(tile.read)
    if job.config.method == "backprop":
        shares = _code_shares(job, tile, bands, valid, numbers)
    else:
        shares = np.full((*numbers.shape, 1), 255, np.uint8)  # one code for all pixels: features alone decide
    moments = features.pixel_moments(bands[:, *read])
    extra = None if job.features is None else extra_of(job, tile.core)
    table = votes.count_votes(numbers, shares, job.tiles.feather(tile), moments, core=core, extra=extra)
    index = votes.ranked(numbers)[1][core]
    if job.config.uses_context:
        table = replace(table, cells=context.sum_cells(index, shares[core], moments[:, *core], tile.core))
    job.store.put(TILE_SUPERPIXELS, TileSuperpixels(index), number)
    job.store.put(VOTES, table, number)


def superpixels_of(job: Job, window: Window) -> NDArray[np.int64]:
    """Return the superpixel numbers of a window, (y, x) int64; all blocks that read it must be stored."""
    return superpixels.assemble(window, (block_superpixels(job, number) for number in job.blocks.reading(window)))


def block_superpixels(job: Job, number: int) -> BlockSuperpixels:
    """Return the stored superpixels of a block."""
    stored = job.store.get(SUPERPIXELS, number)
    return BlockSuperpixels(job.blocks.tile(number), stored.labels, stored.in_core)


def _code_shares(
    job: Job,
    tile: Tile,
    bands: NDArray[np.float32],
    valid: NDArray[np.bool_],
    numbers: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Return the share of each code in the pixels of the tile's read window, (y, x, code) uint8.

    Parameters
    ----------
    bands, valid : (band, y, x) float32 and (y, x) bool
        Of the read window with the margin that the network needs.
    numbers : (y, x) int64
        Superpixels of the read window.
    """
    from geoseg.segment import backprop  # here, because torch takes seconds to import and other methods do not need it
    from geoseg.segment.network import from_arrays, new_network, with_device

    config = job.config
    wide = tile.read.expanded(features.REACH + config.network.reach, job.scene.geobox.shape)
    if not valid.any():
        return np.zeros((*numbers.shape, config.network.channels[-1]), np.uint8)
    layers = job.survey.channels(features.network_input(bands, valid, config.network.inputs), valid)
    alone = config.training == "tile"
    if alone:
        network = new_network(len(layers), config.network, seed=config.seed + 1 + tile.number)
    else:
        network = from_arrays(job.store.get(NETWORK).arrays, len(layers), config.network).eval()
    if config.steps:
        patch = Patch(np.ascontiguousarray(layers[:, *tile.read.within(wide)]), votes.ranked(numbers)[1])
        fit = backprop.train if alone else backprop.refine
        start = network
        network = with_device(
            lambda device: fit(start, patch, config.backprop, steps=config.steps, device=device), job.device
        )
    hard = config.classify.evidence == "votes"
    shares = with_device(
        lambda device: backprop.shares(network, layers, device=device, own_statistics=alone, hard=hard), job.device
    )
    return shares[tile.read.within(wide)]
