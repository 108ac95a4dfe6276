"""Rasters of values of a run: their statistics per tile in the outline stage, and their columns in the write stage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.output.value_columns import STATISTICS
from geoseg.raster.values_raster import Bins, ValuesRaster, parts_of, read_values
from geoseg.run.contents import TilePieces, TileRegions
from geoseg.run.job import MapJob
from geoseg.run.products import VALUES, Product
from geoseg.segment.sampling import sample, sample_nearest
from geoseg.vectorize import value_stats
from geoseg.vectorize.region_runs import last_tiles, local_regions, region_runs
from geoseg.vectorize.regions import Regions
from geoseg.vectorize.value_stats import Binning, ValueSums


def values_to_make(job: MapJob) -> list[Product[Any]]:
    """Return the product of the outline stage with statistics of values, if there are any."""
    return [VALUES] if job.rasters else []


def store_values(job: MapJob, number: int, pieces: TilePieces, around: TileRegions) -> None:
    """Store the statistics of the rasters of values in the regions of a tile, if there are any.

    Raises
    ------
    RasterError
        If a raster is damaged there.
    """
    if not job.rasters:
        return
    core = job.tiles.tile(number).core
    frame = around.above, around.below, around.left, around.right
    regions = local_regions(pieces.index, around.lookup, frame)
    sums = value_stats.tile_values(regions, region_runs(regions), _layers(job, core), binnings(job.rasters))
    job.store.put(VALUES, sums, number)


def value_columns(job: MapJob, tiles: Sequence[int], regions: Regions) -> dict[str, NDArray[Any]]:
    """Return the columns of the rasters of values; NaN where a region has no value."""
    if not job.rasters:
        return {}
    parts = ((tile, job.store.get(VALUES, tile)) for tile in tiles)
    last = last_tiles(regions, len(job.tiles))
    total = value_stats.combine(parts, last, binnings(job.rasters))
    columns: dict[str, NDArray[Any]] = {}
    first = 0
    for raster in job.rasters:
        for layer, name in enumerate(raster.layers, start=first):
            if raster.is_categories:
                columns[f"{name}_majority"] = total.ranks[:, layer, 0]
            else:
                columns |= {f"{name}_{end}": column for end, column in _statistics(total, layer).items()}
        first += len(raster.layers)
    return columns


def binnings(rasters: Sequence[ValuesRaster]) -> list[Binning]:
    """Return how the values of each layer are counted."""
    return [
        binning
        for raster in rasters
        for binning in ([Binning(0.0, 0.0, 0, 0)] if raster.is_categories else map(_binning, raster.bins))
    ]


def _binning(bins: Bins) -> Binning:
    reach = max(bins.high - bins.low, bins.width)
    low, high = (math.floor((bins.low - reach) / bins.width), math.ceil((bins.high + reach) / bins.width))
    return Binning(bins.width, 0.0 if bins.is_whole else 0.5, low, high)


def _statistics(total: ValueSums, layer: int) -> dict[str, NDArray[np.float64]]:
    n = np.where(total.pixels[:, layer] > 0, total.pixels[:, layer], np.nan)
    known = np.where(np.isnan(n), np.nan, 0.0)
    low, median, high = total.ranks[:, layer].T
    columns = (
        total.mean[:, layer] + known,
        np.sqrt(total.scatter[:, layer] / n),
        np.where(np.isnan(n), np.nan, total.low[:, layer]),
        np.where(np.isnan(n), np.nan, total.high[:, layer]),
        *(median, low, high),
    )
    return dict(zip(STATISTICS, columns, strict=True))


def _layers(job: MapJob, core: Window) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Yield the values of each band of each raster at the pixels of a core, and which pixels have one."""
    for raster in job.rasters:
        pick = sample_nearest if raster.is_categories else sample
        kind = np.int64 if raster.is_categories else np.float64
        values = np.zeros((len(raster.layers), *core.shape), kind)
        has_value = np.zeros(values.shape, np.bool_)
        for part, cells, at in parts_of(raster, job.scene.geobox, core):
            found, known = read_values(raster, cells)
            place = part.within(core)
            for band in range(len(values)):
                values[band][place], has_value[band][place] = pick(found[band], known[band], cells, at)
        yield from zip(values, has_value, strict=True)
