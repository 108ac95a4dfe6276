"""Write stage of a raster of labels: its layer, columns and colours."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.errors import RasterError
from geoseg.output.columns import Layer, label_fields, select_fields
from geoseg.output.extra_columns import Field, extra_fields
from geoseg.output.label_style import hashed_colors, label_legend, mean_colors
from geoseg.output.style import MAX_CATEGORIES, Legend
from geoseg.output.value_columns import value_fields
from geoseg.raster.names import shown_name
from geoseg.raster.scene import Scene
from geoseg.run.job import LabelJob
from geoseg.run.plan import Plan
from geoseg.run.products import VALUE_SUMS, ZONAL_SUMS
from geoseg.run.report import Result
from geoseg.run.stages import Stages
from geoseg.run.values_option import values_facts
from geoseg.segment.grouped import grouped_sum
from geoseg.steps.attributes import extra_columns
from geoseg.steps.region_columns import RegionColumns, stored
from geoseg.steps.tables import RegionTable, summed_regions
from geoseg.steps.values import value_columns
from geoseg.steps.write import finish, write_maps
from geoseg.vectorize import zonal_stats
from geoseg.vectorize.regions import Regions
from geoseg.vectorize.zonal_stats import ZonalSums


def write_results(job: LabelJob, plan: Plan, stages: Stages, regions: Regions, values: NDArray[np.int64]) -> Result:
    """Write all outputs, then the report; only then remove the products of the run.

    Parameters
    ----------
    job : LabelJob
    plan : Plan
    stages : Stages
    regions : Regions
    values : (class,) int64
        The label of class i + 1.
    """
    with stages.stage("write", len(plan.outputs.paths) - bool(plan.outputs.report)):
        table = _region_table(job, regions, values, stages.tiles)
        write_maps(table, plan, stages)
    about: dict[str, Any] = {} if job.values is None else {"values": job.values.path}
    if len(values) <= MAX_CATEGORIES and job.source.names:
        labels = values[np.unique(regions.classes) - 1].tolist()
        about["categories"] = {str(each): job.source.names[each] for each in labels if each in job.source.names}
    return finish(table, plan, stages, None, about | values_facts(job.rasters))


def check_report(plan: Plan, values: NDArray[np.int64]) -> None:
    """Check that there are not more labels than a report shows, before the outlines are made.

    Raises
    ------
    RasterError
        If there are.
    """
    from geoseg.report.class_table import MAX_CLASSES  # here, because few runs have a report

    if plan.outputs.report is not None and len(values) > MAX_CLASSES:
        raise RasterError(
            f"{plan.scene.path} has {len(values)} labels; a report shows at most {MAX_CLASSES}. Continue with --resume "
            f"and without --report, or give labels of classes."
        )


def _region_table(job: LabelJob, regions: Regions, values: NDArray[np.int64], tiles: Sequence[int]) -> RegionTable:
    total = summed_regions(job, ZONAL_SUMS, tiles, regions)
    bands: tuple[int, ...] = ()
    of_values, colors = total, hashed_colors(values)
    if job.values is not None:
        of_values, bands = summed_regions(job, VALUE_SUMS, tiles, regions), job.values.bands
        colors = _mean_colors(of_values.empty_as_nan(), regions.classes - 1, len(values), job.values)
    pixels = grouped_sum(total.pixels, regions.classes - 1, len(values)).astype(np.int64)
    source = job.source
    legend = label_legend(values, colors, pixels, palette=source.palette, names=source.names)
    hexes = _hexes(legend)

    def own(rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        of_class = regions.classes[rows] - 1
        return {
            **zonal_stats.columns(of_values.rows(rows).empty_as_nan(), bands=bands),
            **zonal_stats.columns(total.rows(rows), bands=()),  # pixels and areas are those of the labels
            "region": rows + 1,
            "class": values[of_class],
            "color": hexes[of_class],
        }

    measured = extra_columns(job, tiles, regions) | value_columns(job, tiles, regions)
    columns = RegionColumns((own, stored(measured)))
    fields = _fields(bands, regions, values, measured)
    fields = (*select_fields(fields, job.config.polygons.attributes), *value_fields(job.rasters))
    layer = Layer("labels", *_titles(job, len(regions), len(values)), source.geobox.crs, fields)
    regions.storage.release()
    return RegionTable(job, list(tiles), regions, legend, layer, columns, total, measured)


def _mean_colors(sums: ZonalSums, of_class: NDArray[np.integer], n: int, values: Scene) -> NDArray[np.uint8]:
    mean, scatter = (np.nan_to_num(table[:, list(values.red_green_blue)]) for table in (sums.mean, sums.scatter))
    weights = sums.pixels[:, None]
    pixels = grouped_sum(sums.pixels, of_class, n).astype(np.int64)
    means = grouped_sum(mean, of_class, n, weights=sums.pixels) / np.where(pixels > 0, pixels, np.nan)[:, None]
    n_pixels = max(int(pixels.sum()), 1)
    apart = mean - (weights * mean).sum(axis=0) / n_pixels
    spread = np.sqrt((scatter + weights * apart**2).sum(axis=0) / n_pixels)
    return mean_colors(means, pixels, spread)


def _hexes(legend: Legend) -> NDArray[Any]:
    return np.array(legend.hexes, "U7")


def _fields(
    bands: tuple[int, ...], regions: Regions, values: NDArray[np.int64], extras: Collection[str]
) -> tuple[Field, ...]:
    small = not len(values) or (values[0] >= -(2**31) and values[-1] < 2**31)
    extra = [field for field in extra_fields(n_classes=0, levels=(), lit=False) if field.name in extras]
    fields = label_fields(bands=bands, levels=(), n_regions=len(regions), n_classes=len(values), extra=extra)
    label = Field(
        "class", pa.int32() if small else pa.int64(), "Label in the raster", "Value of its pixels in the raster"
    )
    return tuple(label if field.name == "class" else field for field in fields)


def _titles(job: LabelJob, n_regions: int, n_labels: int) -> tuple[str, str]:
    name = shown_name(job.source.path)
    of_values = (
        "" if job.values is None else f" mean_n, std_n, min_n and max_n are of band n of {shown_name(job.values.path)}."
    )
    unit = "metres" if job.source.geobox.crs else "pixels"
    return f"Outlines of {name}", (
        f"{n_regions} regions of {n_labels} labels in {name}, outlined by geoseg. Areas and lengths in {unit}."
        f"{of_values}"
    )
