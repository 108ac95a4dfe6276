"""Runs of all stages but the last in a given folder, for the tests of the products and of the stages."""

from dataclasses import dataclass, field

import numpy as np
from affine import Affine

from geoseg import pipeline
from geoseg.config import load_config
from geoseg.raster.features_raster import open_features
from geoseg.raster.label_raster import LabelInput, open_label_raster
from geoseg.raster.scene import open_scene
from geoseg.raster.values_raster import open_values
from geoseg.run.job import LabelJob, Task, block_grid, tile_grid
from geoseg.run.products import PIECES, ProductStore
from geoseg.run.stages import Stages
from geoseg.steps import label_raster

from .conftest import TRANSFORM, fields, write_raster

SHAPE = (64, 256)  # four tiles and four blocks in a row, where BLOCK is 64

MODES = {
    "scene": {},
    "tile": {"training": "tile", "tile_steps": 2},
    "rag": {"method": "rag"},
    "labels": {},
}
WITH_FEATURES = ("rag",)

_TINY = {
    "tiles": {"size": 64, "halo": 16},
    "superpixels": {"min_size": 8},
    "network": {"kernels": [3, 1], "channels": [8, 8]},
    "learn": {"windows": 4, "crop": 32, "batch": 2, "steps": 4},
    "classify": {"classes": 4, "clusters": 8, "context": "clusters"},
    "polygons": {"min_pixels": 12, "simplify": 0, "attributes": ["all"]},
}


@dataclass(frozen=True)
class Made:
    """Both rasters of a run, the tiles that failed, and the driver of its stages."""

    classes: np.ndarray
    regions: np.ndarray
    failed: dict[int, str]
    stages: Stages = field(repr=False)


def write_inputs(folder):
    """Write the scene and the labels of the runs into a folder."""
    pixels = fields(SHAPE, patch=24, noise=12)
    write_raster(folder / "scene.tif", pixels)
    write_raster(folder / "cover.tif", (pixels[:1] // 60).astype(np.uint8))
    write_raster(folder / "features.tif", pixels[1:, ::8, ::8], transform=TRANSFORM @ Affine.scale(8))


def run_in(folder, inputs, mode, **stage_options):
    """Run all stages but the last: run_in(RunFolder or MemoryFolder, folder of the inputs, name in MODES) → Made."""
    config = load_config(_TINY, **MODES[mode])
    store = ProductStore(folder)
    scene = open_scene(inputs / "scene.tif", bands=())
    rasters = (open_values(str(inputs / "features.tif"), "v"),)
    n_pixels = SHAPE[0] * SHAPE[1]
    tiles = range(len(tile_grid(SHAPE, config)))
    if mode == "labels":
        job = LabelJob(store, config, open_label_raster(LabelInput(str(inputs / "cover.tif"))), scene, rasters)
        stages = Stages(store, tiles, n_pixels=n_pixels, **stage_options)
        means = label_raster.label_tiles(job, stages)
        regions, _ = label_raster.merge_labels(job, stages, means)
        label_raster.outline_tiles(job, stages)
    else:
        stages = Stages(store, tiles, range(len(block_grid(SHAPE))), n_pixels=n_pixels, **stage_options)
        features = open_features(str(inputs / "features.tif"), scene) if mode in WITH_FEATURES else None
        job, regions = pipeline.run_stages(Task(store, scene, config, features=features, rasters=rasters), stages)
    numbers = np.zeros(SHAPE, np.int64)
    for tile in stages.tiles:
        core = job.tiles.tile(tile).core
        index = store.get(PIECES, tile).index
        numbers[core.row_off : core.row_end, core.col_off : core.col_end] = regions.of_tile(tile)[index]
    return Made(np.concatenate([[0], regions.classes])[numbers], numbers, dict(stages.failed), stages)
