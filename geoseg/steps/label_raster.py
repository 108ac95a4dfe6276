"""Label, merge and outline stages of a raster of labels.

In the table of a tile's pieces the label itself takes the place of the class. `merge_labels` numbers the labels of the
whole scene without gaps, so that no worker needs a list of them: there may be millions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.raster.coverage import coverage_notes, measure_coverage
from geoseg.raster.label_raster import read_labels
from geoseg.raster.pixel_size import pixel_size
from geoseg.raster.scene import read
from geoseg.run.contents import LabelMeans, TilePieces
from geoseg.run.job import LabelJob
from geoseg.run.products import (
    LABEL_FEATURES,
    LABEL_MEANS,
    OUTLINES,
    PIECES,
    VALUE_SUMS,
    VERTEX_COUNTS,
    ZONAL_SUMS,
    Product,
)
from geoseg.run.stages import Stages
from geoseg.steps.attributes import attributes_to_make, store_attributes
from geoseg.steps.values import store_values, values_to_make
from geoseg.steps.vectorize import framed_pieces, merge_pieces, store_outlines, tables_of
from geoseg.vectorize import label_index, regions, zonal_stats
from geoseg.vectorize.label_index import LabelFeatures


def label_tiles(job: LabelJob, stages: Stages) -> LabelFeatures | None:
    """Find the connected pieces of each label in all tiles.

    Returns
    -------
    LabelFeatures or None
        Mean values of the labels in the whole scene; None where they do not decide anything.
    """
    total = None
    with stages.stage("label", len(stages.tiles) * (3 if job.uses_features else 1)):
        for note in () if job.values is None else coverage_notes(job.values, measure_coverage(job.values)):
            stages.reporter.note(note)
        if job.uses_features:
            stages.each_tile(measure_tile, job, makes=[LABEL_FEATURES])
            total = share_means(job, stages)
        stages.each_tile(label_tile, job, makes=[PIECES])
    return total


def merge_labels(
    job: LabelJob, stages: Stages, total: LabelFeatures | None
) -> tuple[regions.Regions, NDArray[np.int64]]:
    """Merge the pieces of all tiles into regions.

    Parameters
    ----------
    job : LabelJob
    stages : Stages
    total : LabelFeatures or None
        As `label_tiles` returns them.

    Returns
    -------
    regions : Regions
        Their classes are positions in `values`, from 1.
    values : (class,) int64
        Labels, ascending; the label of class i + 1.
    """
    with stages.stage("merge", len(stages.tiles)):
        values = label_index.labels_of_tables(tables_of(job, stages.tiles))
        tables = label_index.renumber_tables(tables_of(job, stages.tiles), values)
        features = np.zeros((len(values) + 1, 0)) if total is None else total.of(values)
        return merge_pieces(job, stages, tables, features), values


def outline_tiles(job: LabelJob, stages: Stages) -> None:
    """Outline the regions of all tiles, and sum the values of each region."""
    makes: list[Product[Any]] = [ZONAL_SUMS, *attributes_to_make(job), *values_to_make(job), VERTEX_COUNTS, OUTLINES]
    with stages.stage("outline", len(stages.tiles)):
        stages.each_tile(outline_tile, job, makes=makes if job.values is None else [*makes, VALUE_SUMS])


def measure_tile(job: LabelJob, number: int) -> None:
    """Store the sums of the values of each label of a tile."""
    core = job.tiles.tile(number).core
    classes, values = label_index.number_labels(*read_labels(job.source, core))
    job.store.put(LABEL_FEATURES, label_index.features(classes, values, *_read_values(job, core)), number)


def share_means(job: LabelJob, stages: Stages) -> LabelFeatures:
    """Combine the values of the labels of all tiles; store for each tile the means of the labels that it has."""
    parts = [job.store.get(LABEL_FEATURES, tile) for tile in stages.tiles]
    total = label_index.combine(parts)
    finished = job.store.finished([LABEL_MEANS])
    for tile, part in zip(stages.tiles, parts, strict=True):
        if tile not in finished:
            job.store.put(LABEL_MEANS, LabelMeans(total.of(part.values)), tile)
        stages.advance()
    return total


def label_tile(job: LabelJob, number: int) -> None:
    """Store the connected pieces of each label of a tile."""
    tile = job.tiles.tile(number)
    classes, values = label_index.number_labels(*read_labels(job.source, tile.core))
    features = job.store.get(LABEL_MEANS, number).features if job.uses_features else np.zeros((len(values) + 1, 0))
    found, table = regions.pieces(
        classes,
        window=tile.core,
        scene_shape=job.scene.geobox.shape,
        min_pixels=job.config.polygons.min_pixels,
        features=features,
    )
    job.store.put(PIECES, TilePieces(found, replace(table, classes=values[table.classes - 1])), number)


def outline_tile(job: LabelJob, number: int) -> None:
    """Store the outlines of a tile's pieces, the sums of their pixels and values, and the attributes of regions."""
    framed = framed_pieces(job, number)
    core, index, n_pieces = job.tiles.tile(number).core, framed.index, framed.n_pieces
    size = pixel_size(job.scene.geobox.cropped(core), job.scene.geobox)
    no_bands = np.zeros((0, *index.shape), np.float32)
    sums = zonal_stats.zonal_sums(index, no_bands, regions=framed.regions, size=size, n_pieces=n_pieces)
    job.store.put(ZONAL_SUMS, sums, number)
    if job.values is not None:
        pixels, valid = _read_values(job, core)
        seen = np.where(valid, index, np.int32(0))  # a label may lie where there is no value
        of_values = zonal_stats.zonal_sums(seen, pixels, regions=framed.regions, size=size, n_pieces=n_pieces)
        job.store.put(VALUE_SUMS, of_values, number)
    store_attributes(job, number, framed.pieces, framed.around)
    store_values(job, number, framed.pieces, framed.around)
    store_outlines(job, number, framed)


def _read_values(job: LabelJob, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    if job.values is None:
        return np.zeros((0, *window.shape), np.float32), np.zeros(window.shape, bool)
    return read(job.values, window)
