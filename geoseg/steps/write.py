"""What comes out of a run: polygons, rasters, and the report of the run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from geoseg import __version__
from geoseg.grid import GeoBox, Window
from geoseg.output.class_document import Classes, class_document, class_levels, write_classes
from geoseg.output.columns import Layer, class_fields, label_fields, select_fields
from geoseg.output.model import Model, Origin, save_model
from geoseg.output.paths import REGION_STYLE, Outputs
from geoseg.output.polygons import Dissolved, Extras, FailedTile, write_polygons
from geoseg.output.rasters import write_class_raster, write_region_raster
from geoseg.output.style import (
    MAX_CATEGORIES,
    Legend,
    border_scale,
    min_color_distance,
    polygon_qml,
    region_qml,
    separate_colors,
)
from geoseg.raster.pixel_size import resolution
from geoseg.run.folder import read_report, write_report
from geoseg.run.provenance import versions
from geoseg.segment.class_model import ClassModel
from geoseg.steps import coverage
from geoseg.steps.segment import Job, class_moments, index_names
from geoseg.steps.vectorize import MapJob
from geoseg.vectorize import zonal_stats
from geoseg.vectorize.regions import Regions
from geoseg.vectorize.rings import Polygons
from geoseg.vectorize.split_large import RegionCuts
from geoseg.vectorize.zonal_stats import ZonalSums

if TYPE_CHECKING:
    from geoseg.run.run import Work  # it imports this module

log = logging.getLogger(__name__)

_ROWS, _BYTES = 20_000, 2**26  # of polygons on their way to the file, which are held at a time


@dataclass(frozen=True)
class Result:
    """What a run has made.

    Parameters
    ----------
    outputs : the files
    n_regions, n_classes : how many of each are in them
    failed : tile number → why; these tiles are holes in the result
    seconds : how long each step took
    color_distance : CIELAB distance of the two classes whose colours are most alike; None where there are no two
    """

    outputs: Outputs
    n_regions: int
    n_classes: int
    failed: dict[int, str]
    seconds: dict[str, float]
    color_distance: float | None = None


@dataclass(frozen=True)
class Content:
    """What the writers need to know of the regions.

    Parameters
    ----------
    tiles : numbers of those that did not fail, ascending
    legend : what each class looks like and is called
    columns : of the layer, one row for each region
    """

    job: MapJob
    tiles: list[int]
    regions: Regions
    legend: Legend
    layer: Layer
    columns: dict[str, NDArray[Any]]


def write(job: Job, outputs: Outputs, class_model: ClassModel, regions: Regions, work: Work) -> Result:
    """Write all results, then the report; only then remove the work of the steps."""
    content, classes = _content(job, class_model, regions, work)
    with work.timed("write", len(outputs.paths)):
        write_maps(content, outputs, work, _dissolved(content, classes) if outputs.class_layer else None)
        if outputs.model:
            save_model(outputs.model, _model(job, class_model), overwrite=True)
        if outputs.classes:
            write_classes(outputs.classes, class_document(classes, _about(job)), overwrite=True)
        work.progress.advance(len(outputs.paths))
    return finish(content, outputs, work, _tree(class_model))


def write_maps(content: Content, outputs: Outputs, work: Work, dissolved: Dissolved | None = None) -> None:
    """Write the polygons, `dissolved` as their second layer, and the rasters that are wanted."""
    geobox = content.job.scene.geobox
    _write_polygons(content, outputs, work, dissolved)
    if outputs.class_raster:
        cores = _cores(content, np.concatenate([[0], content.regions.classes]))
        write_class_raster(outputs.class_raster, geobox, cores, content.legend, overwrite=True)
    if outputs.region_raster:
        cores = _cores(content, np.arange(len(content.regions) + 1))
        write_region_raster(outputs.region_raster, geobox, cores, overwrite=True)


def finish(content: Content, outputs: Outputs, work: Work, about: dict[str, Any]) -> Result:
    """Write the report, with `about` in it, and remove the work of the steps."""
    drawn = content.columns["pixels"] > 0
    n_classes = len(np.unique(content.regions.classes[drawn]))
    distance = min_color_distance(content.legend.colors) if len(content.legend.colors) <= MAX_CATEGORIES else None
    if distance is not None:
        log.info("the two classes whose colours are most alike are %.1f CIELAB units apart", distance)
    result = Result(outputs, int(drawn.sum()), n_classes, dict(work.failed), dict(work.seconds), distance)
    write_report(work.run, _report(result, work) | about)
    if not work.options.keep and not work.failed:  # after a failure --resume shall not make everything anew
        work.run.clean()
    return result


def of_finished_run(outputs: Outputs, work: Work) -> Result:
    """Return what an earlier run has made of the same scene with the same config."""
    work.progress.note(f"the run in {work.run.path} is finished: nothing is left to do")
    report = read_report(work.run)
    failed = {int(number): text for number, text in report["failed"].items()}
    return Result(
        outputs, report["n_regions"], report["n_classes"], failed, report["seconds"], report["color_distance"]
    )


def class_colours(job: Job, moments: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the colours of classes that are shown, (class, 3) uint8: means in the scene's stretch, told apart.

    Parameters
    ----------
    looks : (class, look) float64
    """
    shown = moments[:, list(job.scene.red_green_blue)]
    return separate_colors(np.clip(np.rint(shown * 255), 0, 255).astype(np.uint8))


def _content(job: Job, class_model: ClassModel, regions: Regions, work: Work) -> tuple[Content, Classes]:
    class_of_cluster = class_model.classes(job.config.classify.classes)
    n_classes = int(class_of_cluster.max())
    tree = class_model.tree.above(n_classes)
    levels = class_levels(tree)
    pixels = np.bincount(regions.classes, regions.pixels, minlength=n_classes + 1)[1:].astype(np.int64)
    legend = Legend.of_classes(class_colours(job, class_moments(class_model, class_of_cluster)[1:]), pixels)
    total = combined(job, "sums", work.tiles, regions)
    names, indices = np.array([*legend.hexes]), index_names(job.scene)
    columns: dict[str, NDArray[Any]] = {
        "region": np.arange(1, len(regions) + 1),
        "class": regions.classes,
        "color": names[regions.classes - 1],
        **zonal_stats.columns(total, bands=job.scene.bands, indices=indices),
        **{f"class_{n}": coarser[regions.classes - 1] for n, coarser in levels.items()},
    }
    fields = label_fields(
        bands=job.scene.bands, levels=list(levels), n_regions=len(regions), n_classes=n_classes, indices=indices
    )
    fields = select_fields(fields, job.config.polygons.attributes)
    layer = Layer("labels", *_titles(job, len(regions), n_classes), job.scene.geobox.crs, fields)
    classes = Classes.of_regions(legend, tree, regions.classes, total, job.scene.bands)
    return Content(job, work.tiles, regions, legend, layer, columns), classes


def _about(job: Job) -> dict[str, Any]:
    return {"geoseg": __version__, "scene": Path(job.scene.path).name, "asked": job.config.classify.classes}


def _titles(job: Job, n_regions: int, n_classes: int) -> tuple[str, str]:
    name = Path(job.scene.path).name
    return f"Segmentation of {name}", (
        f"{n_regions} regions of {n_classes} classes of similar appearance in {name}, segmented by geoseg without "
        f"training data. Areas and lengths in metres; mean_n, std_n, min_n and max_n in the units of band n."
    )


def _write_polygons(content: Content, outputs: Outputs, work: Work, dissolved: Dissolved | None) -> None:
    geobox = content.job.scene.geobox
    borders = border_scale(resolution(geobox))
    failed = [
        FailedTile(number, text, shapely.polygons(_place(_corners(content.job, number), geobox)))
        for number, text in sorted(work.failed.items())
    ]
    parts, advice = coverage.parts_of_run(content.job, content.tiles)
    if advice is not None:
        work.progress.note(advice)
    write_polygons(
        outputs.polygons,
        _batches(content, parts),
        content.layer,
        style=polygon_qml(content.legend, content.layer.aliases, borders=borders),
        extras=Extras(
            styles={REGION_STYLE: region_qml(content.layer.aliases, borders=borders)},
            failed=failed,
            dissolved=dissolved,
        ),
        overwrite=True,  # whether it may be replaced was decided before the work began
    )


def _dissolved(content: Content, classes: Classes) -> Dissolved:
    scene = content.job.scene
    fields = class_fields(bands=scene.bands, n_classes=len(classes.pixels))
    name, title = Path(scene.path).name, f"Classes of {Path(scene.path).name}"
    description = f"The regions of {name}, dissolved by class. Areas in square metres."
    layer = Layer("classes", title, description, scene.geobox.crs, fields, geometry="MultiPolygon")
    style = polygon_qml(content.legend, layer.aliases, borders=border_scale(resolution(scene.geobox)))
    return Dissolved(layer, classes.columns(), style)


def _batches(content: Content, parts: RegionCuts) -> Iterator[pa.RecordBatch]:
    waiting: list[tuple[pa.Array, NDArray[np.int64]]] = []
    for polygons in coverage.polygons_of_run(content.job, content.tiles, content.regions, parts):
        for some in polygons.split(_ROWS, _BYTES):
            waiting.append((_on_map(some, content).to_wkb(), some.owners))
            if sum(len(rows) for _, rows in waiting) >= _ROWS or sum(wkb.nbytes for wkb, _ in waiting) >= _BYTES:
                yield _batch(content, waiting)
                waiting = []
    yield _batch(content, waiting)


def _batch(content: Content, waiting: list[tuple[pa.Array, NDArray[np.int64]]]) -> pa.RecordBatch:
    wkb = pa.concat_arrays([pa.array([], pa.binary()), *(wkb for wkb, _ in waiting)])
    rows = np.concatenate([np.zeros(0, np.int64), *(numbers for _, numbers in waiting)]) - 1
    return content.layer.batch({name: column[rows] for name, column in content.columns.items()}, wkb)


def _on_map(polygons: Polygons, content: Content) -> Polygons:
    """Move polygons from pixel corners (col, row) to the CRS; equal corners stay equal to the last bit."""
    return polygons._replace(coords=_place(polygons.coords, content.job.scene.geobox))


def _place(coords: NDArray[np.float64], geobox: GeoBox) -> NDArray[np.float64]:
    a, b, c, d, e, f = list(geobox.transform)[:6]
    x, y = coords.T
    return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)


def _corners(job: MapJob, tile: int) -> NDArray[np.float64]:
    core = job.tiles.tile(tile).core
    return shapely.get_coordinates(shapely.box(core.col_off, core.row_off, core.col_end, core.row_end))


def combined(job: MapJob, product: str, tiles: Sequence[int], regions: Regions) -> ZonalSums:
    """Add up what the tiles found of their pieces to what is known of the regions."""
    tables = ((ZonalSums.from_arrays(job.run.get(product, tile)), regions.of_tile(tile)[1:]) for tile in tiles)
    return zonal_stats.combine(tables, len(regions))


def _cores(content: Content, lookup: NDArray[Any]) -> Iterator[tuple[Window, NDArray[Any]]]:
    """Yield the cores with what `lookup` says of each region number."""
    for tile in content.tiles:
        pieces = content.job.run.get("pieces", tile)["map"]
        yield content.job.tiles.tile(tile).core, lookup[content.regions.of_tile(tile)[pieces]]


def _model(job: Job, class_model: ClassModel) -> Model:
    survey = replace(job.survey, windows=())
    return Model(job.config, survey, job.run.get("scene", "network"), class_model, Origin.of(job.scene))


def _report(result: Result, work: Work) -> dict[str, Any]:
    worked = set(work.tiles)
    states = [
        "done" if i in worked else "failed" if i in work.failed else "outside" for i in range(len(work.job.tiles))
    ]
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "scene": work.scene.path,
        **work.identity,
        "tiles": {"n_rows": work.job.tiles.n_rows, "n_cols": work.job.tiles.n_cols, "states": states},
        "failed": {str(number): text for number, text in result.failed.items()},
        "outputs": [str(path) for path in result.outputs.paths],
        "n_regions": result.n_regions,
        "n_classes": result.n_classes,
        "class_layer": result.outputs.class_layer,
        "color_distance": result.color_distance,
        "seconds": result.seconds,
    }


def _tree(class_model: ClassModel) -> dict[str, Any]:
    tree = class_model.tree
    merges, costs = tree.merges.tolist(), tree.costs.tolist()
    return {"tree": {"n_clusters": tree.n_clusters, "merges": merges, "costs": costs, "auto": class_model.n_classes}}
