"""Run the stages of a segmentation on the tiles that a window touches.

This is the only module of the preview that depends on how stages store their products.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config
from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.progress import ProgressCallback, StageReporter
from geoseg.raster.scene import Scene, read_tolerant
from geoseg.run.job import Job, Task
from geoseg.run.memory import MemoryFolder
from geoseg.run.products import NETWORK, SUPERPIXELS, ProductStore
from geoseg.run.stages import Stages
from geoseg.segment.class_model import ClassModel
from geoseg.segment.repeats import find_repeats
from geoseg.segment.superpixels import NONE, block_of
from geoseg.segment.votes import SuperpixelTable, concatenate
from geoseg.steps import align_codes, classify, learn, prepared_tile, segment, survey


@dataclass(frozen=True)
class View:
    """Pixels and superpixels of a window.

    Parameters
    ----------
    window : Window
    bands : (band, y, x) float32
        Stretched.
    valid : (y, x) bool
    superpixels : (y, x) int64
        Numbers of the superpixels, `NONE` where nodata; empty before `with_superpixels`.
    """

    window: Window
    bands: NDArray[np.float32]
    valid: NDArray[np.bool_]
    superpixels: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))


def start_job(
    scene: Scene, config: Config, device: str, progress: ProgressCallback, *, features: Scene | None = None
) -> Job:
    """Survey a scene; return what the stages need.

    Parameters
    ----------
    scene : Scene
    config : Config
    device : {"cpu", "cuda", "mps"}
    progress : ProgressCallback
    features : Scene or None
        Features raster.
    """
    store = ProductStore(MemoryFolder())
    stages = Stages(store, (), n_pixels=_size(scene.geobox.window), progress=progress)
    stages.note_missing_cache()
    return survey.survey_scene(Task(store, scene, config, device, features=features), stages)


def read_view(job: Job, window: Window) -> View:
    """Return the pixels of a window.

    Raises
    ------
    RasterError
        If all of them are nodata.
    """
    pixels, valid = read_tolerant(job.scene, window, core=window)
    if not valid.any():
        raise RasterError(
            f"{job.scene.path} has no valid pixel in the window {','.join(map(str, window))}; give another window, or "
            "omit it to use the most varied one."
        )
    return View(window, job.survey.stretch.apply(pixels, valid), valid)


def with_superpixels(job: Job, view: View, progress: StageReporter) -> View:
    """Return the view with its superpixels."""
    _make_superpixels(job, job.blocks.reading(view.window), progress)
    return replace(view, superpixels=np.where(view.valid, prepared_tile.superpixels_of(job, view.window), NONE))


def find_classes(job: Job, view: View, progress: StageReporter) -> tuple[ClassModel, NDArray[np.int64]]:
    """Fit classes to the superpixels of a view.

    Returns
    -------
    class_model : ClassModel
    clusters : (y, x) int64
        Cluster of each pixel, from 0; -1 = nodata.
    """
    train(job, progress, pixels=_size(view.window))
    class_model, (clusters,) = fit_classes(job, [view], progress)
    return class_model, clusters


def train(job: Job, progress: StageReporter, *, pixels: int) -> None:
    """Train the network of the scene and store it, if the configuration has one; `pixels` is that of the progress."""
    if job.config.method != "backprop" or job.config.training != "scene":
        return
    progress.begin("learn", len(job.survey.windows) + job.config.learn.steps, pixels=pixels)
    count = itertools.count(1)
    job.store.put(NETWORK, learn.train_network(job, lambda: progress.advance(next(count))))


def fit_classes(job: Job, views: Sequence[View], progress: StageReporter) -> tuple[ClassModel, list[NDArray[np.int64]]]:
    """Fit classes to the superpixels of several views together, with the stored network.

    Returns
    -------
    class_model : ClassModel
    clusters : list of (y, x) int64
        Of each view: cluster of each pixel, from 0; -1 = nodata.
    """
    tables = _superpixel_tables(job, views, progress)
    numbers = np.concatenate([table.numbers for table in tables])
    repeats = find_repeats(tables)
    shared = [repeats.share(table) for table in tables]
    class_model = classify.find_classes(job, concatenate(shared))
    clusters = np.concatenate([class_model.clusters(table) for table in shared])
    return class_model, [
        np.where(view.valid, clusters[np.searchsorted(numbers, view.superpixels)], -1) for view in views
    ]


def _make_superpixels(job: Job, blocks: Iterable[int], progress: StageReporter) -> None:
    missing = [block for block in blocks if not job.store.has(SUPERPIXELS, block)]
    if not missing:
        return
    progress.begin("superpixels", len(missing), pixels=sum(_size(job.blocks.tile(block).core) for block in missing))
    for done, block in enumerate(missing, start=1):
        segment.segment_block(job, block)
        progress.advance(done)


def _superpixel_tables(job: Job, views: Sequence[View], progress: StageReporter) -> list[SuperpixelTable]:
    """Return the tables of the superpixels of views, with the votes of all tiles, by block in ascending order."""
    tiles = sorted({tile for view in views for tile in job.tiles.touching(view.window)})
    blocks = {block for tile in tiles for block in job.blocks.reading(job.tiles.tile(tile).read)}
    _make_superpixels(job, sorted(blocks), progress)
    progress.begin("segment", len(tiles), pixels=sum(_size(job.tiles.tile(tile).core) for tile in tiles))
    for done, tile in enumerate(tiles, start=1):
        segment.segment_tile(job, tile)
        progress.advance(done)
    align_codes.align_tiles(job, tiles)
    numbers = np.unique(np.concatenate([view.superpixels[view.superpixels >= 0] for view in views]))
    shown = np.unique(block_of(numbers)).tolist()
    for block in sorted(blocks) if job.config.method == "rag" else shown:
        classify.gather_block(job, block)
    if job.config.method == "rag":
        for block in shown:
            classify.merge_block(job, block)
    tables = [classify.table_of(job, block) for block in shown]
    return [table.rows(np.isin(table.numbers, numbers)) for table in tables]


def _size(window: Window) -> int:
    return window.width * window.height
