"""Label, merge and outline stages: from classes to regions with numbers of the whole scene, and to their outlines."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config
from geoseg.raster.bands import ndvi
from geoseg.raster.pixel_size import pixel_size
from geoseg.raster.scene import Scene
from geoseg.run.contents import TilePieces, TileRegions, VertexCounts
from geoseg.run.disk_tables import storage_of
from geoseg.run.job import Job, MapJob
from geoseg.run.products import (
    CLASS_MODEL,
    OUTLINES,
    PIECES,
    REGIONS,
    REPEATS,
    TILE_SUPERPIXELS,
    VERTEX_COUNTS,
    VOTES,
    ZONAL_SUMS,
    Product,
)
from geoseg.run.stages import Stages
from geoseg.segment import votes
from geoseg.segment.class_model import class_moments
from geoseg.segment.table_storage import batches
from geoseg.steps.attributes import attributes_to_make, fit_votes, read_window, store_attributes
from geoseg.steps.classify import table_of
from geoseg.steps.values import store_values, values_to_make
from geoseg.vectorize import outline, regions, zonal_stats
from geoseg.vectorize.merge import merge
from geoseg.vectorize.mosaic import Mosaic
from geoseg.vectorize.outline import CoreOutlines
from geoseg.vectorize.regions import CoreSides, Pieces, Regions
from geoseg.vectorize.rings import Polygons
from geoseg.vectorize.simplify import Shaping
from geoseg.vectorize.split_large import RegionCuts, cut_large_regions

_LARGE = 1_000_000  # vertices; a polygon of this size takes a GIS seconds to draw and some hundred MB to make


def label_tiles(job: Job, stages: Stages) -> None:
    """Give the pixels of all tiles their classes, and find the connected pieces of each class."""
    with stages.stage("label", len(stages.tiles)):
        stages.each_tile(label_tile, job, makes=[PIECES])


def merge_regions(job: Job, stages: Stages) -> Regions:
    """Merge the pieces of all tiles into the regions of the scene, and return them."""
    class_model = job.store.get(CLASS_MODEL)
    features = class_moments(class_model, class_model.class_of_cluster(job.config.classify.classes))
    with stages.stage("merge", len(stages.tiles)):
        return merge_pieces(job, stages, tables_of(job, stages.tiles), features)


def outline_tiles(job: Job, stages: Stages) -> None:
    """Outline the regions of all tiles, and sum the pixel values of each region."""
    makes: list[Product[Any]] = [ZONAL_SUMS, *attributes_to_make(job), *values_to_make(job), VERTEX_COUNTS, OUTLINES]
    with stages.stage("outline", len(stages.tiles)):
        fit_votes(job, stages)
        stages.each_tile(outline_tile, job, makes=makes)


def label_tile(job: Job, number: int) -> None:
    """Give the pixels of a tile their classes, and store the connected pieces of each class."""
    tile = job.tiles.tile(number)
    class_model = job.store.get(CLASS_MODEL)
    class_of_cluster = class_model.class_of_cluster(job.config.classify.classes)
    index = job.store.get(TILE_SUPERPIXELS, number).index
    numbers = job.store.get(VOTES, number).numbers
    is_owned = np.zeros(len(numbers) + 1, np.bool_)
    is_owned[index] = True  # the superpixels of the core; others of the tile lie in its halo. The last is nodata, -1
    owned = np.flatnonzero(is_owned[:-1])
    classes = np.zeros(len(numbers) + 1, np.int64)  # the last is nodata, -1: class 0
    confidence = np.zeros(len(numbers) + 1)
    table = votes.rows_of([table_of(job, block) for block in job.blocks.reading(tile.core)], numbers[owned])
    table = job.store.get(REPEATS).share(table)
    classes[owned] = class_of_cluster[class_model.clusters(table)]
    confidence[owned] = class_model.confidence(table, class_of_cluster)
    found, pieces = regions.pieces(
        classes[index],
        window=tile.core,
        scene_shape=job.scene.geobox.shape,
        min_pixels=job.config.polygons.min_pixels,
        features=class_moments(class_model, class_of_cluster),
    )
    job.store.put(PIECES, TilePieces(found, pieces, classes, confidence.astype(np.float32)), number)


def outline_tile(job: Job, number: int) -> None:
    """Store the outlines of a tile's pieces, the sums of their pixel values, and the attributes of their regions."""
    framed = framed_pieces(job, number)
    core = job.tiles.tile(number).core
    window = read_window(job, number)
    pixels = window.of(core)
    size = pixel_size(job.scene.geobox.cropped(core), job.scene.geobox)
    indices = [_confidence(job, number, framed)]  # in the order of `index_names`
    if job.scene.vegetation is not None:
        indices.append(ndvi(pixels, job.scene.vegetation))
    sums = zonal_stats.zonal_sums(
        framed.index, pixels, regions=framed.regions, size=size, n_pieces=framed.n_pieces, indices=np.stack(indices)
    )
    job.store.put(ZONAL_SUMS, sums, number)
    store_attributes(job, number, framed.pieces, framed.around, window)
    store_values(job, number, framed.pieces, framed.around)
    store_outlines(job, number, framed)


def index_names(scene: Scene) -> list[str]:
    """Return the names of the columns that are means of an index per pixel, in the order of `outline_tile`."""
    return ["confidence"] if scene.vegetation is None else ["confidence", "ndvi_mean"]


def tables_of(job: MapJob, tiles: Sequence[int]) -> Iterator[Pieces]:
    """Yield the table of pieces of every tile of the scene; an empty one for tiles that are not among `tiles`."""
    known = set(tiles)
    for tile in job.tiles:
        yield job.store.get(PIECES, tile.number).table if tile.number in known else regions.no_pieces(tile.core)


def merge_pieces(job: MapJob, stages: Stages, tables: Iterable[Pieces], features: NDArray[np.float64]) -> Regions:
    """Merge pieces into regions; store for each tile the regions of its pieces and of the pixels around its core.

    Parameters
    ----------
    job : MapJob
    stages : Stages
    tables : iterable of Pieces
        Of every tile of the scene, taken once.
    features : (class + 1, feature) float64
        By which a small region chooses among its neighbours, see `merge.merge`.
    """
    storage = storage_of(job.store.folder)
    min_pixels = job.config.polygons.min_pixels
    merged = merge(tables, job.tiles, min_pixels=min_pixels, features=features, storage=storage)
    finished = job.store.finished([REGIONS])
    known = set(stages.tiles)

    @functools.lru_cache(maxsize=2 * job.tiles.n_cols + 4)  # of the rows above and below, each tile is read once
    def sides(number: int) -> CoreSides:
        if number in known:
            return job.store.get(PIECES, number).table.sides
        return regions.no_pieces(job.tiles.tile(number).core).sides

    for tile in stages.tiles:
        if tile not in finished:
            around = regions.surroundings(sides, merged, job.tiles, tile)
            lookup = merged.of_tile(tile)
            classes, pixels = (merged.values(column, lookup) for column in (merged.classes, merged.pixels))
            job.store.put(REGIONS, TileRegions(lookup, classes, pixels, **around._asdict()), tile)
        stages.advance()
        if tile % job.tiles.n_cols == 0:
            storage.release()
    storage.release()
    return merged


@dataclass(frozen=True)
class FramedPieces:
    """Pieces of a tile with the regions of the pixels in and around its core.

    Parameters
    ----------
    pieces : TilePieces
    around : TileRegions
    regions : (y + 2, x + 2) int64
        Region of each pixel of the core and of one pixel around it; 0 = nodata or outside the scene.
    """

    pieces: TilePieces
    around: TileRegions
    regions: NDArray[np.int64]

    @property
    def index(self) -> NDArray[np.int32]:
        """The piece of each pixel of the core, (y, x)."""
        return self.pieces.index

    @property
    def n_pieces(self) -> int:
        """Number of pieces."""
        return len(self.around.lookup) - 1


def framed_pieces(job: MapJob, number: int) -> FramedPieces:
    """Return the pieces of a tile with the regions in and around its core."""
    pieces, around = job.store.get(PIECES, number), job.store.get(REGIONS, number)
    framed = np.zeros((pieces.index.shape[0] + 2, pieces.index.shape[1] + 2), np.int64)
    framed[1:-1, 1:-1] = around.lookup[pieces.index]
    framed[0], framed[-1] = around.above, around.below
    framed[1:-1, 0], framed[1:-1, -1] = around.left, around.right
    return FramedPieces(pieces, around, framed)


def store_outlines(job: MapJob, number: int, framed: FramedPieces) -> None:
    """Store the outlines of a tile's pieces and the number of their vertices."""
    core = job.tiles.tile(number).core
    found = outline.outline(
        framed.regions,
        pixels=framed.around.pixels[framed.index],
        shaping=shaping_of(job.config),
        offset=(core.col_off, core.row_off),
    )
    job.store.put(VERTEX_COUNTS, VertexCounts(found.regions[1:], found.vertices[1:]), number)
    job.store.put(OUTLINES, found, number)


def shaping_of(config: Config) -> Shaping:
    """Return how the borders of regions are simplified and smoothed."""
    options = config.polygons
    return Shaping(options.simplify, options.smooth, options.min_pixels)


def parts_of_run(job: MapJob, tiles: Sequence[int]) -> tuple[RegionCuts, str | None]:
    """Return how large regions are split along tile lines, and a note for the user or None."""
    tables = (job.store.get(VERTEX_COUNTS, tile) for tile in tiles)
    counts = ((tile, table.regions, table.vertices) for tile, table in zip(tiles, tables, strict=True))
    most = job.config.polygons.max_vertices
    parts, largest = cut_large_regions(counts, job.tiles, most)
    if most is not None or largest <= _LARGE:
        return parts, None
    return parts, (
        f"the largest region has {largest} vertices before simplification; --max-vertices {_LARGE} would split it"
    )


def polygons_of_run(job: MapJob, tiles: Sequence[int], merged: Regions, parts: RegionCuts) -> Iterator[Polygons]:
    """Yield the polygons of all regions; `owners` are region numbers.

    Held in memory: what touches the current row of tiles, and the regions that continue below it.
    """
    inside: list[Polygons] = []

    def outlines() -> Iterator[tuple[int, CoreOutlines]]:
        for tile in tiles:
            found = job.store.get(OUTLINES, tile)
            inside.append(found.polygons)
            yield tile, found

    storage = merged.storage
    pixels = storage.zeros((len(merged) + 1,), np.int64)
    pixels[:1] = 1
    for some in batches(len(merged), storage):
        pixels[1:][some] = merged.pixels[some]
    for across in Mosaic(job.tiles, pixels, shaping_of(job.config), parts).polygons(outlines()):
        yield from inside
        inside.clear()
        yield across


def _confidence(job: Job, number: int, framed: FramedPieces) -> NDArray[np.float32]:
    """Return the membership of each pixel's superpixel in the pixel's class, (y, x) from 0 to 1.

    It is 0 where a small region was merged into a neighbour of another class.
    """
    index = job.store.get(TILE_SUPERPIXELS, number).index
    pieces = framed.pieces
    kept = pieces.classes[index] == framed.around.classes[pieces.index]
    return np.where(kept, pieces.confidence[index], np.float32(0))
