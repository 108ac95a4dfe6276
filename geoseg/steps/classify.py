"""Classify stage: superpixel tables of all blocks, and the classes of the scene with their tree."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geoseg.output.model import Model
from geoseg.run.disk_tables import storage_of
from geoseg.run.job import Job
from geoseg.run.products import (
    CLASS_MODEL,
    CODE_ASSIGNMENTS,
    MERGED_TABLE,
    REPEATS,
    SUPERPIXEL_TABLE,
    VOTES,
    Product,
)
from geoseg.run.stages import Stages
from geoseg.segment import context, votes
from geoseg.segment.baselines import kmeans, region_merging
from geoseg.segment.centroids import centroids
from geoseg.segment.class_model import ClassModel, fit_class_model
from geoseg.segment.class_tree import AUTO_CLASSES
from geoseg.segment.repeats import Repeats
from geoseg.segment.scene_repeats import repeats_of_blocks
from geoseg.segment.table_storage import IN_MEMORY, TableStorage, batches
from geoseg.segment.votes import SuperpixelTable, Votes
from geoseg.steps.align_codes import align_tiles
from geoseg.steps.prepared_tile import block_superpixels

_MAX_BLOCKS = 256  # from which classes are found; spread over the scene, so that memory does not grow with it


def classify_superpixels(job: Job, stages: Stages, model: Model | None = None) -> None:
    """Combine the votes of all tiles, and find the classes of the scene or take those of a model."""
    merges = job.config.method == "rag"
    with stages.stage("classify", len(stages.blocks) * (2 if merges else 1) + 1):
        align_tiles(job, stages.tiles)
        stages.each_block(gather_block, job, makes=[SUPERPIXEL_TABLE])
        if merges:
            stages.each_block(merge_block, job, makes=[MERGED_TABLE])
        if model is not None:
            job.store.put(CLASS_MODEL, model.class_model)
        if not (job.store.has(REPEATS, verify=True) and job.store.has(CLASS_MODEL, verify=True)):
            storage = storage_of(job.store.folder)
            sample = votes.stored_table(sampled_tables(job, stages), storage)
            repeats = _repeats(job, stages, sample, storage)
            job.store.put(REPEATS, repeats)
            if model is None:
                if job.config.method == "backprop":
                    repeats.share_in(sample, storage)
                job.store.put(CLASS_MODEL, find_classes(job, sample, storage))
        stages.advance()


def gather_block(job: Job, number: int) -> None:
    """Combine the votes of all tiles on the superpixels of a block, and store their table."""

    @functools.cache  # with context, most tiles are needed twice
    def load(tile: int) -> tuple[Votes, NDArray[np.float64] | None]:
        has_codes = job.store.has(CODE_ASSIGNMENTS, tile)
        return job.store.get(VOTES, tile), job.store.get(CODE_ASSIGNMENTS, tile).weights if has_codes else None

    block, shape = job.blocks.tile(number), job.scene.geobox.shape
    table = votes.gather(number, (load(tile) for tile in _with_votes(job, job.tiles.reading(block.read))))
    if job.config.uses_context and len(table.numbers):
        around = _with_votes(job, job.tiles.touching(context.window_around(block.core, shape)))
        sums = [
            (job.tiles.tile(tile).core, found.cells, weights)
            for tile in around
            for found, weights in [load(tile)]
            if found.cells is not None
        ]
        places = centroids(block_superpixels(job, number), table.numbers)
        n_bands, votes_alone = len(job.scene.bands), job.config.classify.context == "assignment"
        features = context.context_features(places, block.core, shape, sums, n_bands=n_bands, votes_alone=votes_alone)
        table = replace(table, context=features)
    job.store.put(SUPERPIXEL_TABLE, table, number)


def merge_block(job: Job, number: int) -> None:
    """Merge similar superpixels of a block with those of the blocks around it, and store the merged table."""

    @functools.cache
    def load(block: int) -> SuperpixelTable:
        return job.store.get(SUPERPIXEL_TABLE, block)

    own = load(number)
    places = centroids(block_superpixels(job, number), own.numbers)
    windows = [
        ([load(block) for block in blocks if job.store.has(SUPERPIXEL_TABLE, block)], weight)
        for blocks, weight in region_merging.corner_windows(job.blocks, number, places)
    ]
    merged = region_merging.merge_table(own, windows, n_bands=len(job.scene.bands), threshold=job.config.rag.threshold)
    job.store.put(MERGED_TABLE, merged, number)


def find_classes(job: Job, sample: SuperpixelTable, storage: TableStorage = IN_MEMORY) -> ClassModel:
    """Return the classes of a sample of superpixels, by the configured method.

    Parameters
    ----------
    job : Job
    sample : SuperpixelTable
        In `storage`. With a network, equal superpixels share their votes.
    storage : TableStorage
    """
    options, n_bands = job.config.classify, len(job.scene.bands)
    if job.config.method == "backprop":
        return fit_class_model([sample], options, n_bands=n_bands, storage=storage)
    n_colors = AUTO_CLASSES[1] if options.classes == "auto" else options.classes
    return kmeans.fit_kmeans(
        [sample], n_classes=n_colors, n_bands=n_bands, seed=job.config.seed, feature_weight=options.feature_weight
    )


def sampled_tables(job: Job, stages: Stages) -> Iterator[SuperpixelTable]:
    """Yield the superpixel tables of a sample of the blocks that have not failed."""
    blocks = _filled_blocks(job, stages)
    n = len(blocks)
    for i in np.unique(np.linspace(0, n - 1, min(n, _MAX_BLOCKS)).astype(int)):
        yield table_of(job, blocks[i])


def _repeats(job: Job, stages: Stages, sample: SuperpixelTable, storage: TableStorage) -> Repeats:
    """Return the moments that several superpixels of the scene have; the sample of a small scene is all of it."""
    blocks = _filled_blocks(job, stages)
    if len(blocks) > _MAX_BLOCKS:
        return repeats_of_blocks(functools.partial(table_of, job), blocks, storage)
    parts = list(batches(len(sample.numbers)))
    return repeats_of_blocks(lambda part: sample.rows(parts[part]), range(len(parts)), storage)


def _filled_blocks(job: Job, stages: Stages) -> list[int]:
    return [block for block in stages.blocks if job.store.has(_table_product(job), block)]


def table_of(job: Job, number: int) -> SuperpixelTable:
    """Return the stored superpixel table of a block, as the classes are found from it."""
    return job.store.get(_table_product(job), number)


def _table_product(job: Job) -> Product[SuperpixelTable]:
    return MERGED_TABLE if job.config.method == "rag" else SUPERPIXEL_TABLE


def _with_votes(job: Job, tiles: Sequence[int]) -> list[int]:
    """Return the tiles that have not failed."""
    return [tile for tile in tiles if job.store.has(VOTES, tile)]
