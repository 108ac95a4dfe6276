"""What comes out of a raster of labels: the layer, its columns and its colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.output.columns import Field, Layer, label_fields, select_fields
from geoseg.output.label_style import hashed_colors, label_legend, mean_colors
from geoseg.output.paths import Outputs
from geoseg.output.style import Legend
from geoseg.raster.scene import Scene
from geoseg.steps import write as results
from geoseg.steps.label_raster import LabelJob
from geoseg.steps.write import Content, Result
from geoseg.vectorize import zonal_stats
from geoseg.vectorize.regions import Regions
from geoseg.vectorize.zonal_stats import ZonalSums

if TYPE_CHECKING:
    from geoseg.run.run import Work  # it imports results


def write(job: LabelJob, outputs: Outputs, regions: Regions, values: NDArray[np.int64], work: Work) -> Result:
    """Write all results, then the report; only then remove the work of the steps.

    Parameters
    ----------
    values : (class,) int64, the label of class i + 1
    """
    content = _content(job, regions, values, work)
    with work.timed("write", len(outputs.paths)):
        results.write_maps(content, outputs, work)
        work.progress.advance(len(outputs.paths))
    about = {} if job.values is None else {"values": job.values.path}
    return results.finish(content, outputs, work, about)


def _content(job: LabelJob, regions: Regions, values: NDArray[np.int64], work: Work) -> Content:
    of_class = regions.classes - 1
    total = results.combined(job, "sums", work.tiles, regions)
    columns: dict[str, NDArray[Any]] = zonal_stats.columns(total, bands=())
    bands: tuple[int, ...] = ()
    colours = hashed_colors(values)
    if job.values is not None:
        of_values = results.combined(job, "values", work.tiles, regions).empty_as_nan()
        bands = job.values.bands
        columns = (
            zonal_stats.columns(of_values, bands=bands) | columns
        )  # pixels, area and so on are those of the labels
        colours = _mean_colours(of_values, of_class, len(values), job.values)
    pixels = np.bincount(of_class, total.pixels, minlength=len(values)).astype(np.int64)
    source = job.source
    legend = label_legend(values, colours, pixels, palette=source.palette, names=source.names)
    columns |= {"region": np.arange(1, len(regions) + 1), "class": values[of_class], "color": _hexes(legend)[of_class]}
    fields = _fields(bands, regions, values, job.config.polygons.attributes)
    layer = Layer("labels", *_titles(job, len(regions), len(values)), source.geobox.crs, fields)
    return Content(job, work.tiles, regions, legend, layer, columns)


def _mean_colours(sums: ZonalSums, of_class: NDArray[np.integer], n: int, values: Scene) -> NDArray[np.uint8]:
    mean, scatter = (np.nan_to_num(table[:, list(values.red_green_blue)]) for table in (sums.mean, sums.scatter))
    weights = sums.pixels[:, None]
    pixels = np.bincount(of_class, sums.pixels, minlength=n).astype(np.int64)
    totals = [np.bincount(of_class, sums.pixels * band, minlength=n) for band in mean.T]
    means = np.stack(totals, axis=1) / np.where(pixels > 0, pixels, np.nan)[:, None]
    n_pixels = max(int(pixels.sum()), 1)
    apart = mean - (weights * mean).sum(axis=0) / n_pixels
    spread = np.sqrt((scatter + weights * apart**2).sum(axis=0) / n_pixels)
    return mean_colors(means, pixels, spread)


def _hexes(legend: Legend) -> NDArray[Any]:
    return np.array(legend.hexes, "U7")


def _fields(
    bands: tuple[int, ...], regions: Regions, values: NDArray[np.int64], wanted: Sequence[str]
) -> tuple[Field, ...]:
    small = not len(values) or (values[0] >= -(2**31) and values[-1] < 2**31)
    fields = label_fields(bands=bands, levels=(), n_regions=len(regions), n_classes=len(values))
    label = Field(
        "class", pa.int32() if small else pa.int64(), "Label in the raster", "Value of its pixels in the raster"
    )
    return select_fields([label if field.name == "class" else field for field in fields], wanted)


def _titles(job: LabelJob, n_regions: int, n_labels: int) -> tuple[str, str]:
    name = Path(job.source.path).name
    of_values = (
        "" if job.values is None else f" mean_n, std_n, min_n and max_n are of band n of {Path(job.values.path).name}."
    )
    return f"Outlines of {name}", (
        f"{n_regions} regions of {n_labels} labels in {name}, outlined by geoseg. Areas and lengths in metres."
        f"{of_values}"
    )
