"""The steps that are done once for a scene, between those that workers do tile by tile.

Each reads what earlier steps left in the run folder and puts its result there; what is there already is not made again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geoseg.config import Config
from geoseg.grid import TileGrid, Window
from geoseg.output.model import Model
from geoseg.raster.scene import Scene
from geoseg.run.folder import RunFolder
from geoseg.segment import superpixels
from geoseg.segment.baselines import kmeans
from geoseg.segment.class_model import ClassModel, class_moments, fit_class_model
from geoseg.segment.class_tree import AUTO_CLASSES
from geoseg.segment.per_tile import align_codes
from geoseg.segment.votes import SuperpixelTable
from geoseg.steps import vectorize
from geoseg.steps.segment import Job, table_of, votes_of
from geoseg.steps.survey import Survey, fit_stretch, read_crop, survey
from geoseg.vectorize.regions import Regions

_MOST_BLOCKS = 256  # from which the classes are found; spread over the scene, so that memory does not grow with it


def survey_scene(run: RunFolder, scene: Scene, config: Config) -> Survey:
    """Look at the scene, or at what was found the last time."""
    if not run.has_json("survey"):
        run.put_json("survey", survey(scene, config).to_dict())
    return Survey.from_dict(run.get_json("survey"))


def take_survey(run: RunFolder, scene: Scene, config: Config, model: Model, *, restretch: bool) -> None:
    """Put what a model knows in the place of what would be found in the scene."""
    if not run.has_json("survey"):
        stretch = fit_stretch(scene, config) if restretch else model.survey.stretch
        run.put_json("survey", replace(model.survey, stretch=stretch).to_dict())


def learn_network(job: Job, progress: Callable[[int], None]) -> None:
    """Learn the scene network from crops that are spread over the scene."""
    learns = job.config.method == "backprop" and job.config.training == "scene"
    if not learns or job.run.has("scene", "network", verify=True):
        return
    from geoseg.segment import backprop  # only here: torch takes seconds, and other methods do without
    from geoseg.segment.network import new_network, to_arrays

    patches = [backprop.Patch(*_layers_and_labels(job, window)) for window in job.survey.windows]
    config = job.config
    network = new_network(len(patches[0].channels), config.network, seed=config.seed)
    learned = backprop.learn(
        network, patches, config.backprop, config.learn, seed=config.seed, device=job.device, progress=progress
    )
    job.run.put("scene", "network", to_arrays(learned))


def forget_later_steps(job: Job, tiles: Sequence[int]) -> None:
    """Remove what was made from the votes of other tiles than these: one that failed may have come out now."""
    if job.run.has_json("segmented") and job.run.get_json("segmented") != list(tiles):
        job.run.remove_steps(
            "translation", "ground", "merged", "classes", "pieces", "regions", "sums", "vertices", "outlines"
        )
    job.run.put_json("segmented", list(tiles))


def translate_codes(job: Job, tiles: Sequence[int]) -> None:
    """Say which codes of tiles that were trained alone are the same."""
    if job.config.training == "scene" or len(tiles) == 1 or set(tiles) <= job.run.finished("translation"):
        return
    load = functools.lru_cache(maxsize=2 * job.tiles.n_cols + 4)(functools.partial(votes_of, job.run))
    tables = [align_codes.code_table(load(tile)) for tile in tiles]
    n_codes = len(tables[0][0])
    blocks = {
        (a, b): align_codes.overlap(load(tile), load(other))
        for a, tile in enumerate(tiles)
        for other in _later_neighbours(job.tiles, tile)
        if (b := _place(tiles, other)) is not None
    }
    codes = align_codes.Codes(
        tiles=np.repeat(np.asarray(tiles), n_codes),
        mass=np.concatenate([mass for mass, _ in tables]),
        moments=np.concatenate([moments for _, moments in tables]),
        overlaps=_symmetric(blocks, len(tiles), n_codes),
    )
    n_scene_codes, n_bands = job.config.classify.clusters, len(job.scene.bands)
    words = align_codes.translate(codes, n_scene_codes=n_scene_codes, n_bands=n_bands)
    for i, tile in enumerate(tiles):
        job.run.put("translation", tile, {"words": words[i * n_codes : (i + 1) * n_codes]})


def find_classes(job: Job, blocks: Sequence[int]) -> ClassModel:
    """Find the classes of the scene and their tree."""
    if not job.run.has("classes", "class_model", verify=True):
        chosen = np.unique(np.linspace(0, len(blocks) - 1, min(len(blocks), _MOST_BLOCKS)).astype(int))
        class_model = classes_of(job, [table_of(job, blocks[i]) for i in chosen])
        job.run.put("classes", "class_model", class_model.to_arrays())
    return ClassModel.from_arrays(job.run.get("classes", "class_model"))


def classes_of(job: Job, sample: list[SuperpixelTable]) -> ClassModel:
    """Find classes in a sample of blocks, the way the method does it."""
    options, n_bands = job.config.classify, len(job.scene.bands)
    if job.config.method == "backprop":
        return fit_class_model(sample, options, n_bands=n_bands)
    n_colours = AUTO_CLASSES[1] if options.classes == "auto" else options.classes
    return kmeans.fit_kmeans(sample, n_classes=n_colours, n_bands=n_bands, seed=job.config.seed)


def join_regions(job: Job, tiles: Sequence[int]) -> Regions:
    """Join the pieces of all tiles to regions, and tell each tile what its pieces and its surroundings belong to."""
    class_model = ClassModel.from_arrays(job.run.get("classes", "class_model"))
    moments = class_moments(class_model, class_model.class_of_cluster(job.config.classify.classes))
    return vectorize.join_pieces(job, tiles, vectorize.tables_of(job, tiles), moments)


def _layers_and_labels(job: Job, window: Window) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    bands, layers, valid = read_crop(job.scene, window, job.survey.stretch, job.config.network.inputs)
    labels = superpixels.superpixels(bands, valid, job.survey.superpixels)
    return job.survey.standard.apply(layers, valid), labels


def _later_neighbours(grid: TileGrid, number: int) -> list[int]:
    """Return the neighbours to the right and below, so that each pair of tiles comes once."""
    return [other for other in grid.reading(grid.tile(number).read) if other > number]


def _place(tiles: Sequence[int], number: int) -> int | None:
    i = int(np.searchsorted(tiles, number))
    return i if i < len(tiles) and tiles[i] == number else None


def _symmetric(blocks: dict[tuple[int, int], sparse.coo_array], n_tiles: int, n_codes: int) -> sparse.csr_array:
    """Put small (code, code) tables of pairs of tiles together to one symmetric (node, node) table."""
    rows = [block.row + a * n_codes for (a, _), block in blocks.items()]
    cols = [block.col + b * n_codes for (_, b), block in blocks.items()]
    values = [block.data for block in blocks.values()]
    n = n_tiles * n_codes
    half = sparse.coo_array(
        (np.concatenate([[0.0], *values]), (np.concatenate([[0], *rows]), np.concatenate([[0], *cols]))), shape=(n, n)
    )
    return sparse.csr_array(half + half.T)
