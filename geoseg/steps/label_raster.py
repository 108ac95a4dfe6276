"""The steps from a raster of labels to regions and their outlines.

In the table of a tile's pieces the label itself stands for the class. `join_labels` gives the labels of the whole scene
numbers without gaps, so no worker needs a list of them, and there may be millions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config
from geoseg.grid import TileGrid, Window
from geoseg.raster.label_raster import LabelRaster, read_labels
from geoseg.raster.pixel_size import pixel_size
from geoseg.raster.scene import Scene, read
from geoseg.run.folder import RunFolder
from geoseg.steps.vectorize import draw_outlines, framed_pieces, join_pieces, tables_of, tile_grid
from geoseg.vectorize import label_index, regions, zonal_stats
from geoseg.vectorize.label_index import LabelFeatures


@dataclass(frozen=True)
class LabelJob:
    """What every step from labels to polygons must know.

    Parameters
    ----------
    run : the run folder
    source : the raster of labels
    values : the raster whose mean and spread in each region are told, on the same grid; None = none
    """

    run: RunFolder
    config: Config
    source: LabelRaster
    values: Scene | None

    @property
    def scene(self) -> Scene:
        """The grid of the labels."""
        return self.source.grid

    @property
    def tiles(self) -> TileGrid:
        """The tiles of the scene."""
        return tile_grid(self.source.geobox.shape, self.config)

    @property
    def uses_features(self) -> bool:
        """Whether likeness may decide where a small region goes."""
        return self.values is not None and self.config.polygons.min_pixels > 1


def measure_tile(job: LabelJob, number: int) -> None:
    """Add up the values of each label of a tile."""
    core = job.tiles.tile(number).core
    classes, values = label_index.number_labels(*read_labels(job.source, core))
    job.run.put("sights", number, label_index.features(classes, values, *_read_values(job, core)).to_arrays())


def find_pieces(job: LabelJob, number: int) -> None:
    """Find the connected pieces of each label of a tile."""
    tile = job.tiles.tile(number)
    classes, values = label_index.number_labels(*read_labels(job.source, tile.core))
    features = job.run.get("looks", number)["features"] if job.uses_features else np.zeros((len(values) + 1, 0))
    found, table = regions.pieces(
        classes,
        window=tile.core,
        scene_shape=job.scene.geobox.shape,
        min_pixels=job.config.polygons.min_pixels,
        features=features,
    )
    table = replace(table, classes=values[table.classes - 1])
    job.run.put("pieces", number, {"map": found, **table.to_arrays()})


def outline_piece_tile(job: LabelJob, number: int) -> None:
    """Draw the outlines of a tile's pieces of regions, and add up their pixels and values."""
    framed = framed_pieces(job, number)
    core, found, n_pieces = job.tiles.tile(number).core, framed.found, framed.n_pieces
    size = pixel_size(job.scene.geobox.cropped(core), job.scene.geobox)
    nothing = np.zeros((0, *found.shape), np.float32)
    sums = zonal_stats.zonal_sums(found, nothing, regions=framed.regions, size=size, n_pieces=n_pieces)
    job.run.put("sums", number, sums.to_arrays())
    if job.values is not None:
        pixels, known = _read_values(job, core)
        seen = np.where(known, found, np.int32(0))  # a label may lie where there is no value
        of_values = zonal_stats.zonal_sums(seen, pixels, regions=framed.regions, size=size, n_pieces=n_pieces)
        job.run.put("values", number, of_values.to_arrays())
    draw_outlines(job, number, framed)


def forget_later_steps(job: LabelJob, tiles: Sequence[int]) -> None:
    """Remove what was made from the looks of other tiles than these: one that failed may have come out now."""
    if job.run.has_json("looked") and job.run.get_json("looked") != list(tiles):
        job.run.remove_steps("looks", "pieces", "regions", "sums", "values", "vertices", "outlines")
    job.run.put_json("looked", list(tiles))


def share_features(job: LabelJob, tiles: Sequence[int]) -> LabelFeatures:
    """Add up what the labels look like in the whole scene, and tell each tile about those that it has."""
    parts = [LabelFeatures(**job.run.get("sights", tile)) for tile in tiles]
    total = label_index.combine(parts)
    finished = job.run.finished("looks")
    for tile, part in zip(tiles, parts, strict=True):
        if tile not in finished:
            job.run.put("looks", tile, {"features": total.of(part.values)})
    return total


def join_labels(
    job: LabelJob, tiles: Sequence[int], total: LabelFeatures | None
) -> tuple[regions.Regions, NDArray[np.int64]]:
    """Join the pieces of all tiles to regions.

    Parameters
    ----------
    total : what the labels look like; None = likeness has no say

    Returns
    -------
    regions : their classes are numbers of labels
    values : (class,) int64, ascending; the label of class i + 1
    """
    tables, values = label_index.renumber_tables(tables_of(job, tiles))
    features = np.zeros((len(values) + 1, 0)) if total is None else total.of(values)
    return join_pieces(job, tiles, tables, features), values


def _read_values(job: LabelJob, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    if job.values is None:
        return np.zeros((0, *window.shape), np.float32), np.zeros(window.shape, bool)
    return read(job.values, window)
