"""Attributes of regions besides zonal statistics: measured per tile in the outline stage, named in the write stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.grid import GeoBox, Window
from geoseg.output.columns import extra_groups
from geoseg.output.extra_columns import MAX_CLASSES
from geoseg.raster.pixel_size import pixel_size, resolution
from geoseg.raster.scene import read_tolerant
from geoseg.run.contents import TilePieces, TileRegions
from geoseg.run.disk_tables import storage_of
from geoseg.run.job import Job, MapJob
from geoseg.run.products import ATTRIBUTES, TILE_SUPERPIXELS, VOTE_COMPONENTS, VOTES, Product
from geoseg.run.stages import Stages
from geoseg.segment.vote_components import N_COMPONENTS, fit_vote_components
from geoseg.segment.votes import rows_of, stored_table
from geoseg.steps.classify import sampled_tables, table_of
from geoseg.vectorize import attributes
from geoseg.vectorize.attributes import RegionAttributes
from geoseg.vectorize.objects import objects_of
from geoseg.vectorize.region_runs import last_tiles, local_regions
from geoseg.vectorize.regions import Regions
from geoseg.vectorize.tile_attributes import Matrices, TilePixels, tile_attributes

_LIT = {"texture", "context"}  # groups that need the brightness of pixels
_OF_BRIGHTNESS = {"border_contrast", "border_difference"}
_OF_LABELS = {"shape", "context"}
_MIN_COSINE = 1e-6  # at the poles


def attributes_to_make(job: MapJob) -> list[Product[Any]]:
    """Return the product of the outline stage with attributes, if any is asked for."""
    return [ATTRIBUTES] if _groups(job) else []


@dataclass(frozen=True)
class WindowPixels:
    """Pixels of a window around the core of a tile, and which are valid, as `scene.read` returns them."""

    window: Window
    pixels: NDArray[np.float32]
    valid: NDArray[np.bool_]

    def of(self, core: Window) -> NDArray[np.float32]:
        """Return the pixels of the core."""
        return np.ascontiguousarray(self.pixels[:, *core.within(self.window)])


def fit_votes(job: Job, stages: Stages) -> None:
    """Store the principal components of the votes, if they are asked for."""
    if "votes" in _groups(job) and not job.store.has(VOTE_COMPONENTS, verify=True):
        sample = stored_table(sampled_tables(job, stages), storage_of(job.store.folder))
        job.store.put(VOTE_COMPONENTS, fit_vote_components([sample]))


def read_window(job: Job, number: int) -> WindowPixels:
    """Return the pixels of a tile's core, and of one pixel around it if the attributes that are asked for need them.

    Raises
    ------
    RasterError
        If the scene is damaged in the core.
    """
    core = job.tiles.tile(number).core
    window = core.expanded(1, job.scene.geobox.shape) if _groups(job) & _LIT else core
    return WindowPixels(window, *read_tolerant(job.scene, window, core=core))


def store_attributes(
    job: MapJob, number: int, pieces: TilePieces, around: TileRegions, window: WindowPixels | None = None
) -> None:
    """Measure the regions of a tile and store their attributes, if any is asked for.

    Parameters
    ----------
    job : MapJob
    number : int
        Of the tile.
    pieces : TilePieces
    around : TileRegions
    window : WindowPixels or None
        From `read_window`; None = the brightness of pixels is not known.
    """
    groups = _groups(job)
    if not groups:
        return
    geobox, core = job.scene.geobox, job.tiles.tile(number).core
    pixels = TilePixels(
        core,
        pixel_size(geobox.cropped(core), geobox),
        geobox.shape,
        plane_matrices(geobox),
        _brightness(job, core, window) if isinstance(job, Job) and window and groups & _LIT else None,
    )
    if isinstance(job, Job) and "votes" in groups:
        pixels = _with_votes(job, number, pixels)
    frame = around.above, around.below, around.left, around.right
    regions = local_regions(pieces.index, around.lookup, frame)
    job.store.put(ATTRIBUTES, tile_attributes(regions, pixels, groups), number)


def extra_columns(
    job: MapJob,
    tiles: Sequence[int],
    regions: Regions,
    levels: Mapping[int, NDArray[Any]] | None = None,
    n_classes: int = 0,
) -> dict[str, NDArray[Any]]:
    """Return the columns that were asked for besides zonal statistics.

    Parameters
    ----------
    job : MapJob
    tiles : sequence of int
        Numbers of the tiles that have not failed, ascending.
    regions : Regions
    levels : mapping of int to (class,) int
        The class at the coarser levels of the class tree of each class; None = there is no tree.
    n_classes : int
        Number of classes with a column for the border to each; 0 = none.
    """
    groups = _groups(job)
    if not groups:
        return {}
    found = combined_attributes(job, tiles, regions)
    geobox, is_lit = job.scene.geobox, levels is not None
    columns: dict[str, NDArray[Any]] = {}
    if "shape" in groups:
        columns |= attributes.shape_columns(found, plane_matrices(geobox)(found.moments.centre))
    if "texture" in groups:
        columns |= attributes.texture_columns(found)
    if "context" in groups:
        n_shown = n_classes if n_classes <= MAX_CLASSES else 0
        columns |= attributes.context_columns(found, geobox.shape, resolution(geobox), regions.classes, n_shown)
        columns = {name: column for name, column in columns.items() if is_lit or name not in _OF_BRIGHTNESS}
    if "votes" in groups:
        columns |= attributes.votes_columns(found)
    if "objects" in groups:
        named = (levels or {}).items()
        columns |= {
            f"object_{level}": objects_of(found.adjacency.pairs, coarser[regions.classes - 1])
            for level, coarser in named
        }
    return columns


def combined_attributes(job: MapJob, tiles: Sequence[int], regions: Regions) -> RegionAttributes:
    """Return the attributes of all regions, from those of the tiles that have not failed."""
    known, geobox = set(tiles), job.scene.geobox
    parts = (
        (tile.core, job.store.get(ATTRIBUTES, tile.number) if tile.number in known else None) for tile in job.tiles
    )
    last = last_tiles(regions, len(job.tiles))
    return attributes.combine(parts, last, scene_shape=geobox.shape, matrices=plane_matrices(geobox))


def plane_matrices(geobox: GeoBox) -> Matrices:
    """Return a function from the centres of regions to the matrices from steps in pixels to steps east and north.

    Notes
    -----
    Degrees of longitude are shortened by the cosine of the latitude; other CRS are taken as they are.
    """
    t = geobox.transform
    linear = np.array([[t.a, t.b], [t.d, t.e]])
    is_geographic = CRS(geobox.crs).is_geographic

    def matrices(centre: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.tile(linear, (len(centre), 1, 1))
        if is_geographic:
            _, latitude = t @ tuple(centre.T)
            found[:, 0] *= np.maximum(np.cos(np.radians(latitude)), _MIN_COSINE)[:, None]
        return found

    return matrices


def _groups(job: MapJob) -> frozenset[str]:
    """Return the groups of columns that are asked for and that the job can have."""
    groups = extra_groups(job.config.polygons.attributes)
    if not isinstance(job, Job):
        return groups & _OF_LABELS
    return groups if job.config.method == "backprop" else groups - {"votes"}


def _with_votes(job: Job, number: int, pixels: TilePixels) -> TilePixels:
    """Return the pixels of a tile with the components of the votes of their superpixels."""
    index = job.store.get(TILE_SUPERPIXELS, number).index
    owned = np.unique(index[index >= 0])
    numbers = job.store.get(VOTES, number).numbers
    table = rows_of([table_of(job, block) for block in job.blocks.reading(job.tiles.tile(number).core)], numbers[owned])
    components = np.zeros((len(numbers) + 1, N_COMPONENTS))  # the last is nodata, -1
    components[owned] = job.store.get(VOTE_COMPONENTS).apply(table.votes)
    return replace(pixels, superpixels=index, votes=components)


def _brightness(job: Job, core: Window, window: WindowPixels) -> NDArray[np.float32]:
    """Return the mean of the stretched bands at the pixels of a core and one pixel around it, (y + 2, x + 2)."""
    bands = job.survey.stretch.apply(window.pixels, window.valid)
    total = bands[0].copy()
    for band in bands[1:]:  # one after the other, so that the sum does not depend on the shape of the tile
        total += band
    found = np.zeros((core.height + 2, core.width + 2), np.float32)
    inner = window.window.within(Window(core.col_off - 1, core.row_off - 1, core.width + 2, core.height + 2))
    found[inner] = np.clip(total / np.float32(len(bands)), 0, 1)
    return found
