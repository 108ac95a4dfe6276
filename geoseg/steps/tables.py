"""Tables of regions: what the writers and the GeoDataFrames need to know of them, and their polygons in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.output.class_document import Classes, class_levels
from geoseg.output.columns import Layer, label_fields, select_fields
from geoseg.output.display import display_bands, display_colors, display_exponent
from geoseg.output.extra_columns import extra_fields
from geoseg.output.style import Legend, separate_colors
from geoseg.output.value_columns import value_fields
from geoseg.raster.names import shown_name
from geoseg.run.job import Job, MapJob
from geoseg.run.products import CLASS_MODEL, PIECES, ZONAL_SUMS, Product
from geoseg.segment.class_model import class_moments
from geoseg.segment.table_storage import batches as row_batches
from geoseg.steps.attributes import extra_columns
from geoseg.steps.region_columns import RegionColumns, stored
from geoseg.steps.values import value_columns
from geoseg.steps.vectorize import index_names, polygons_of_run
from geoseg.vectorize import zonal_stats
from geoseg.vectorize.regions import Regions
from geoseg.vectorize.split_large import RegionCuts
from geoseg.vectorize.zonal_stats import ZonalSums

_ROWS, _BYTES = 20_000, 2**26  # polygons of a batch, at most


@dataclass(frozen=True)
class RegionTable:
    """The regions of a run with their columns.

    Parameters
    ----------
    job : MapJob
    tiles : list of int
        Numbers of the tiles that have not failed, ascending.
    regions : Regions
    legend : Legend
        Names and colours of the classes.
    layer : Layer
        Fields, titles and CRS.
    columns : RegionColumns
    sums : ZonalSums
        From which the columns are computed, in the storage of the regions.
    measured : mapping of str to (region,) array
        Columns that are in memory.
    """

    job: MapJob
    tiles: list[int]
    regions: Regions
    legend: Legend
    layer: Layer
    columns: RegionColumns
    sums: ZonalSums
    measured: Mapping[str, NDArray[Any]]

    @property
    def n_bytes(self) -> int:
        """Bytes of what there is per region, in memory or on the disk: they grow with the scene."""
        arrays = (*vars(self.sums).values(), *self.measured.values())
        return self.regions.n_bytes + sum(array.nbytes for array in arrays)

    def drawn(self) -> tuple[int, NDArray[np.int32]]:
        """Return the number of regions that have pixels, and their classes, ascending."""
        found = [np.zeros(0, np.int32)]
        n = 0
        for some in batches_of(self.regions):
            classes = self.regions.classes[some][self.sums.pixels[some] > 0]
            found.append(np.unique(classes))
            n += len(classes)
        return n, np.unique(np.concatenate(found))


def region_table(job: Job, tiles: Sequence[int], regions: Regions) -> tuple[RegionTable, Classes]:
    """Return the table of the regions of a segmented scene, and the statistics of its classes."""
    class_model = job.store.get(CLASS_MODEL)
    class_of_cluster = class_model.class_of_cluster(job.config.classify.classes)
    n_classes = int(class_of_cluster.max())
    tree = class_model.tree.above(n_classes)
    levels = class_levels(tree)
    pixels = _pixels_of_classes(regions, n_classes)
    moments = class_moments(class_model, class_of_cluster)[1:]
    exponent = display_exponent(moments[:, list(display_bands(job.scene, job.survey.stretch))], pixels)
    legend = Legend.of_classes(class_colors(job, moments, exponent), pixels)
    total = summed_regions(job, ZONAL_SUMS, tiles, regions)
    hexes, indices = np.array([*legend.hexes]), index_names(job.scene)

    def own(rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        of_class = regions.classes[rows] - 1
        return {
            "region": rows + 1,
            "class": of_class + 1,
            "color": hexes[of_class],
            **zonal_stats.columns(total.rows(rows), bands=job.scene.bands, indices=indices),
            **{f"class_{n}": coarser[of_class] for n, coarser in levels.items()},
        }

    extra = extra_fields(n_classes=n_classes, levels=list(levels), n_regions=len(regions))
    measured = extra_columns(job, tiles, regions, levels, n_classes) | value_columns(job, tiles, regions)
    columns = RegionColumns((own, stored(measured)))
    fields = label_fields(
        bands=job.scene.bands,
        levels=list(levels),
        n_regions=len(regions),
        n_classes=n_classes,
        indices=indices,
        extra=[field for field in extra if field.name in measured],
    )
    fields = (*select_fields(fields, job.config.polygons.attributes), *value_fields(job.rasters))
    layer = Layer("labels", *_titles(job, len(regions), n_classes), job.scene.geobox.crs, fields)
    classes = Classes.of_regions(legend, tree, regions.classes, total, job.scene.bands)
    regions.storage.release()
    return RegionTable(job, list(tiles), regions, legend, layer, columns, total, measured), classes


def class_colors(job: Job, moments: NDArray[np.float64], exponent: float) -> NDArray[np.uint8]:
    """Return display colours of classes, (class, 3) uint8: mean colours in the scene's stretch, made distinguishable.

    Parameters
    ----------
    job : Job
    moments : (class, moment) float64
    exponent : float
        Of the scene, from `output.display.display_exponent`.
    """
    return separate_colors(display_colors(moments[:, list(display_bands(job.scene, job.survey.stretch))], exponent))


def summed_regions(job: MapJob, product: Product[ZonalSums], tiles: Sequence[int], regions: Regions) -> ZonalSums:
    """Return the sums of regions, in their storage, from those of the pieces of all tiles."""
    tables = ((job.store.get(product, tile), regions.of_tile(tile)[1:]) for tile in tiles)
    return zonal_stats.combine(tables, len(regions), regions.storage)


def cores(
    job: MapJob, tiles: Iterable[int], regions: Regions, column: NDArray[Any] | None = None
) -> Iterator[tuple[Window, NDArray[Any]]]:
    """Yield the core of each tile with the value of a column for the region of each pixel, 0 = nodata.

    Parameters
    ----------
    job : MapJob
    tiles : iterable of int
    regions : Regions
    column : (region,) array or None
        None = the numbers of the regions.
    """
    for tile in tiles:
        index, numbers = job.store.get(PIECES, tile).index, regions.of_tile(tile)
        values = numbers if column is None else regions.values(column, numbers)
        yield job.tiles.tile(tile).core, values[index]
        if tile % job.tiles.n_cols == 0:
            regions.storage.release()


def batches_of(regions: Regions) -> Iterator[slice]:
    """Yield the rows of a table of regions in slices, and release each before the next."""
    return row_batches(len(regions), regions.storage)


def batches(table: RegionTable, parts: RegionCuts) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the polygon layer, with geometries in the CRS of the scene."""
    waiting: list[tuple[pa.Array, NDArray[np.int64]]] = []
    transform = table.job.scene.geobox.transform
    for polygons in polygons_of_run(table.job, table.tiles, table.regions, parts):
        for some in polygons.split(_ROWS, _BYTES):
            waiting.append((some.transformed(transform).to_wkb(), some.owners))
            if sum(len(rows) for _, rows in waiting) >= _ROWS or sum(wkb.nbytes for wkb, _ in waiting) >= _BYTES:
                yield _batch(table, waiting)
                waiting = []
    yield _batch(table, waiting)


def _batch(table: RegionTable, waiting: list[tuple[pa.Array, NDArray[np.int64]]]) -> pa.RecordBatch:
    wkb = pa.concat_arrays([pa.array([], pa.binary()), *(wkb for wkb, _ in waiting)])
    rows = np.concatenate([np.zeros(0, np.int64), *(numbers for _, numbers in waiting)]) - 1
    batch = table.layer.batch(table.columns.of(rows), wkb)
    table.regions.storage.release()
    return batch


def _pixels_of_classes(regions: Regions, n_classes: int) -> NDArray[np.int64]:
    """Return the number of pixels of each class, (class,)."""
    sums = np.zeros(n_classes + 1, np.int64)
    for some in batches_of(regions):
        np.add.at(sums, regions.classes[some], regions.pixels[some])
    return sums[1:]


def _titles(job: Job, n_regions: int, n_classes: int) -> tuple[str, str]:
    name = shown_name(job.scene.path)
    unit = "metres" if job.scene.geobox.crs else "pixels"
    return f"Segmentation of {name}", (
        f"{n_regions} regions of {n_classes} classes of similar appearance in {name}, segmented by geoseg without "
        f"training data. Areas and lengths in {unit}; mean_n, std_n, min_n and max_n in the units of band n."
    )
