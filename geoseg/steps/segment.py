"""Superpixels and segment stages: superpixels of each block, votes of each tile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.raster.scene import read_tolerant
from geoseg.run.contents import SuperpixelLabels
from geoseg.run.job import Job
from geoseg.run.outcome import Batched
from geoseg.run.products import NETWORK, SUPERPIXELS, TILE_SUPERPIXELS, VOTES
from geoseg.run.stages import Stages
from geoseg.segment import superpixels
from geoseg.steps.prepared_tile import PreparedTile, initial_network, prepare_tile, store_shares
from geoseg.steps.segment_batches import segment_together


def make_superpixels(job: Job, stages: Stages) -> None:
    """Compute the superpixels of all blocks."""
    with stages.stage("superpixels", len(stages.blocks)):
        stages.each_block(segment_block, job, makes=[SUPERPIXELS])


def segment_tiles(job: Job, stages: Stages) -> None:
    """Compute the codes and the votes of all tiles, on a GPU several tiles at once."""
    function = segment_tile if job.device == "cpu" else Batched(segment_together)
    with stages.stage("segment", len(stages.tiles)):
        stages.each_tile(function, job, makes=[TILE_SUPERPIXELS, VOTES])


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
    store_shares(job, prepared, _code_shares(job, prepared))


def _code_shares(job: Job, prepared: PreparedTile) -> NDArray[np.uint8]:
    """Return the share of each code in the pixels of the tile's read window, (y, x, code) uint8."""
    shape, config = prepared.index.shape, job.config
    if config.method != "backprop":
        return np.full((*shape, 1), 255, np.uint8)  # one code for all pixels: features alone decide
    if prepared.image is None:
        return np.zeros((*shape, config.network.channels[-1]), np.uint8)
    from geoseg.segment.tile_codes import code_shares, scene_code_shares  # here: other methods do not need torch

    if config.training == "scene" and not config.steps:
        return scene_code_shares(job.store.get(NETWORK).arrays, prepared.image, config, job.device)
    network = initial_network(job, len(prepared.image.channels))(prepared.tile.number)
    return code_shares(network, prepared.image, config, job.device)
