"""The steps that a worker does for one block or tile.

Each is a plain function of a `Job` and a number: it reads pixels and what earlier steps left in the run folder, calls
the functions that compute, and puts its result there, whole. What it returns is small.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config
from geoseg.grid import Tile, TileGrid, Window
from geoseg.raster.bands import ndvi
from geoseg.raster.pixel_size import pixel_size
from geoseg.raster.scene import Scene, read_tolerant
from geoseg.run.folder import RunFolder
from geoseg.segment import features, superpixels, votes
from geoseg.segment.baselines import region_merging
from geoseg.segment.class_model import ClassModel
from geoseg.segment.superpixels import BlockSuperpixels
from geoseg.segment.survey import Survey
from geoseg.segment.votes import SuperpixelTable, Votes
from geoseg.steps import vectorize
from geoseg.vectorize import regions, zonal_stats


@dataclass(frozen=True)
class Job:
    """What every step must know.

    Parameters
    ----------
    run : the run folder
    device : "cpu" or "cuda"
    """

    run: RunFolder
    scene: Scene
    config: Config
    survey: Survey
    device: str

    @property
    def tiles(self) -> TileGrid:
        """The tiles of the scene."""
        return vectorize.tile_grid(self.scene.geobox.shape, self.config)

    @property
    def blocks(self) -> TileGrid:
        """The blocks in which superpixels are made; they do not depend on the tiles."""
        return block_grid(self.scene.geobox.shape)


def block_grid(shape: tuple[int, int]) -> TileGrid:
    """Return the blocks in which the superpixels of a scene of `shape` (rows, cols) are made."""
    return TileGrid(shape, superpixels.BLOCK, superpixels.BLOCK_MARGIN)


def make_superpixels(job: Job, number: int) -> None:
    """Make the superpixels of a block."""
    block = job.blocks.tile(number)
    pixels, valid = read_tolerant(job.scene, block.read)
    bands = job.survey.stretch.apply(pixels, valid)
    origin = (block.read.row_off, block.read.col_off)
    labels = superpixels.superpixels(bands, valid, job.survey.superpixels, origin)
    made = superpixels.block_superpixels(labels, block)
    job.run.put("superpixels", number, {"labels": made.labels, "home": made.home})


def segment_tile(job: Job, number: int) -> None:
    """Give a tile's pixels codes and count its votes."""
    tile = job.tiles.tile(number)
    margin = features.REACH + job.config.network.reach
    wide = tile.read.expanded(margin, job.scene.geobox.shape)
    pixels, valid = read_tolerant(job.scene, wide, core=tile.core)
    read = tile.read.within(wide)
    numbers = np.where(valid[read], superpixels_of(job, tile.read), superpixels.NONE)
    bands = job.survey.stretch.apply(pixels, valid)
    core = tile.core.within(tile.read)
    if job.config.method == "backprop":
        shares = _shares(job, tile, bands, valid, numbers)
    else:
        shares = np.full((*numbers.shape, 1), 255, np.uint8)  # one code for everything: its looks decide
    table = votes.count_votes(numbers, shares, job.tiles.feather(tile), features.moments(bands[:, *read]), core=core)
    job.run.put("map", number, {"index": votes.ranked(numbers)[1][core]})
    job.run.put("votes", number, table.to_arrays())


def gather_block(job: Job, number: int) -> None:
    """Add up what all tiles say of the superpixels of a block."""
    tiles = [tile for tile in job.tiles.reading(job.blocks.tile(number).read) if job.run.has("votes", tile)]
    tables = ((votes_of(job.run, tile), _translation(job.run, tile)) for tile in tiles)
    job.run.put("ground", number, votes.gather(number, tables).to_arrays())


def merge_block(job: Job, number: int) -> None:
    """Give the superpixels of a block the looks of what they are joined with, here and in the blocks around it."""

    @functools.cache
    def load(block: int) -> SuperpixelTable:
        return SuperpixelTable(**job.run.get("ground", block))

    own = load(number)
    middles = region_merging.middles(_block_superpixels(job, number), own.numbers)
    windows = [
        ([load(block) for block in blocks if job.run.has("ground", block)], weight)
        for blocks, weight in region_merging.corner_windows(job.blocks, number, middles)
    ]
    merged = region_merging.merge_table(own, windows, n_bands=len(job.scene.bands), threshold=job.config.rag.threshold)
    job.run.put("merged", number, merged.to_arrays())


def label_tile(job: Job, number: int) -> None:
    """Give a tile's pixels the classes of the scene, and find the connected pieces of each class."""
    tile = job.tiles.tile(number)
    class_model = ClassModel.from_arrays(job.run.get("classes", "class_model"))
    class_of_cluster = class_model.classes(job.config.classify.classes)
    index = job.run.get("map", number)["index"]
    owned = np.unique(index[index >= 0])  # of the tile's superpixels, those that are not in its halo alone
    numbers = job.run.get("votes", number)["numbers"]
    class_of = np.zeros(len(numbers) + 1, np.int64)  # the last is no data, -1: class 0
    share_of = np.zeros(len(numbers) + 1)
    superpixel_table = votes.rows_of([table_of(job, block) for block in job.blocks.reading(tile.core)], numbers[owned])
    class_of[owned] = class_of_cluster[class_model.clusters(superpixel_table)]
    share_of[owned] = class_model.shares(superpixel_table, class_of_cluster)
    found, table = regions.pieces(
        class_of[index],
        window=tile.core,
        scene_shape=job.scene.geobox.shape,
        min_pixels=job.config.polygons.min_pixels,
        features=class_moments(class_model, class_of_cluster),
    )
    arrays: dict[str, NDArray[Any]] = {
        "map": found,
        "own_classes": class_of,
        "own_shares": share_of.astype(np.float32),
        **table.to_arrays(),
    }
    job.run.put("pieces", number, arrays)


def outline_tile(job: Job, number: int) -> None:
    """Draw the outlines of a tile's pieces of regions, and add up their pixels."""
    framed = vectorize.framed_pieces(job, number)
    core, found = job.tiles.tile(number).core, framed.found
    pixels, _ = read_tolerant(job.scene, core, core=core)
    size = pixel_size(job.scene.geobox.cropped(core), job.scene.geobox)
    layers = [_confidence(job, number, framed.pieces, framed.around["classes"])]  # in the order of `index_names`
    if job.scene.vegetation is not None:
        layers.append(ndvi(pixels, job.scene.vegetation))
    sums = zonal_stats.zonal_sums(
        found, pixels, regions=framed.regions, size=size, n_pieces=framed.n_pieces, indices=np.stack(layers)
    )
    job.run.put("sums", number, sums.to_arrays())
    vectorize.draw_outlines(job, number, framed)


def index_names(scene: Scene) -> list[str]:
    """Return what is known of every pixel beside the bands; `outline_tile` adds it up."""
    return ["confidence"] if scene.vegetation is None else ["confidence", "ndvi_mean"]


def votes_of(run: RunFolder, number: int) -> Votes:
    """Return what a tile says."""
    return Votes(**run.get("votes", number))


def superpixels_of(job: Job, window: Window) -> NDArray[np.int64]:
    """Return the numbers of the superpixels of a window, (y, x) int64; every block that reads it must be made."""
    return superpixels.assemble(window, (_block_superpixels(job, number) for number in job.blocks.reading(window)))


def table_of(job: Job, number: int) -> SuperpixelTable:
    """Return what is known of the superpixels of a block, once all that comes before the classes is done."""
    return SuperpixelTable(**job.run.get("merged" if job.config.method == "rag" else "ground", number))


def class_moments(class_model: ClassModel, class_of_cluster: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean looks of each class, (class + 1, look) float64; row 0, no data, is 0."""
    n_classes = int(class_of_cluster.max())
    weights = np.bincount(class_of_cluster, class_model.weights, minlength=n_classes + 1)
    sums = [
        np.bincount(class_of_cluster, class_model.weights * moment, minlength=n_classes + 1)
        for moment in class_model.moments.T
    ]
    return np.asarray((np.stack(sums) / np.maximum(weights, 1)).T)


def _block_superpixels(job: Job, number: int) -> BlockSuperpixels:
    arrays = job.run.get("superpixels", number)
    return BlockSuperpixels(job.blocks.tile(number), arrays["labels"], arrays["home"])


def _confidence(
    job: Job, number: int, pieces: dict[str, NDArray[Any]], classes: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return the share that its superpixel gives to the class that each pixel of a tile has ended in, (y, x).

    It is 0 where a region too small to stay has left its pixels to a neighbour of another class.

    Parameters
    ----------
    pieces : what `label_tile` found
    classes : (piece + 1,) class of the region that each piece belongs to
    """
    index = job.run.get("map", number)["index"]
    kept = pieces["own_classes"][index] == classes[pieces["map"]]
    return np.where(kept, pieces["own_shares"][index], np.float32(0))


def _shares(
    job: Job,
    tile: Tile,
    bands: NDArray[np.float32],
    valid: NDArray[np.bool_],
    numbers: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Return what the pixels of the tile's read window give to each code; `bands` and `valid` hold the wide window."""
    from geoseg.segment import backprop  # only here: torch takes seconds, and other methods do without
    from geoseg.segment.network import from_arrays, new_network

    wide = tile.read.expanded(features.REACH + job.config.network.reach, job.scene.geobox.shape)
    layers = job.survey.standard.apply(features.network_input(bands, valid, job.config.network.inputs), valid)
    if not valid.any():
        return np.zeros((*numbers.shape, job.config.network.channels[-1]), np.uint8)
    if job.config.training == "tile":
        seed = job.config.seed + 1 + tile.number
        network = new_network(len(layers), job.config.network, seed=seed)
    else:
        network = from_arrays(job.run.get("scene", "network"), len(layers), job.config.network).eval()
    if job.config.steps:
        patch = backprop.Patch(np.ascontiguousarray(layers[:, *tile.read.within(wide)]), votes.ranked(numbers)[1])
        fit = backprop.train if job.config.training == "tile" else backprop.refine
        network = fit(network, patch, job.config.backprop, steps=job.config.steps, device=job.device)
    shares = backprop.shares(
        network,
        layers,
        device=job.device,
        own_statistics=job.config.training == "tile",
        hard=job.config.classify.evidence == "votes",
    )
    return shares[tile.read.within(wide)]


def _translation(run: RunFolder, number: int) -> NDArray[np.float64] | None:
    return run.get("translation", number)["words"] if run.has("translation", number) else None
