"""Write stage: polygons, rasters, class document and model of a segmented scene."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg import __version__
from geoseg.output.class_document import Classes, class_document, write_classes
from geoseg.output.columns import Layer, class_fields
from geoseg.output.model import Model, Origin, save_model
from geoseg.output.paths import REGION_STYLE
from geoseg.output.polygons import Dissolved, Extras, FailedTile, ObjectLayer, write_polygons
from geoseg.output.rasters import write_class_raster, write_region_raster
from geoseg.output.style import MAX_CATEGORIES, border_scale, min_color_distance, polygon_qml, region_qml
from geoseg.output.system import peak_memory
from geoseg.raster.names import shown_name
from geoseg.raster.pixel_size import resolution
from geoseg.run.allocator import return_freed_memory
from geoseg.run.budget import shown_bytes
from geoseg.run.documents import plain_values
from geoseg.run.job import Job, MapJob
from geoseg.run.plan import Plan
from geoseg.run.products import CLASS_MODEL, FEATURE_REDUCTION, NETWORK
from geoseg.run.provenance import source_of
from geoseg.run.report import Result, report_result, run_facts
from geoseg.run.stages import Stages
from geoseg.run.values_option import values_facts
from geoseg.segment.class_tree import ClassTree
from geoseg.steps.levels import object_layers
from geoseg.steps.tables import RegionTable, batches, cores, region_table
from geoseg.steps.vectorize import parts_of_run
from geoseg.vectorize.regions import Regions
from geoseg.vectorize.rings import transform_corners

log = logging.getLogger(__name__)


def write_results(job: Job, plan: Plan, stages: Stages, regions: Regions) -> Result:
    """Write all outputs, then the report; only then remove the products of the run."""
    outputs, class_model = plan.outputs, job.store.get(CLASS_MODEL)
    with stages.stage("write", len(outputs.paths) - bool(outputs.report)):
        table, classes = region_table(job, stages.tiles, regions)
        dissolved = _dissolved(table, classes) if outputs.class_layer else None
        write_maps(table, plan, stages, Extras(dissolved=dissolved, objects=_objects(table, plan, stages)))
        if outputs.model:
            save_model(outputs.model, _model(job), overwrite=plan.publication)
            stages.advance()
        if outputs.classes:
            write_classes(outputs.classes, class_document(classes, _about(job, plan)), overwrite=plan.publication)
            stages.advance()
    about = {"tree": {"auto": class_model.auto_n_classes}} | values_facts(job.rasters)
    return finish(table, plan, stages, class_model.tree, about)


def write_maps(table: RegionTable, plan: Plan, stages: Stages, extras: Extras | None = None) -> None:
    """Write the polygons, with the further layers of `extras`, and the rasters."""
    geobox, outputs = plan.scene.geobox, plan.outputs
    _write_polygons(table, plan, stages, extras or Extras())
    return_freed_memory()  # the rasters need some as well
    stages.advance()
    if outputs.class_raster:
        tiles = cores(table.job, table.tiles, table.regions, table.regions.classes)
        write_class_raster(outputs.class_raster, geobox, tiles, table.legend, overwrite=plan.publication)
        stages.advance()
    if outputs.region_raster:
        tiles = cores(table.job, table.tiles, table.regions)
        write_region_raster(outputs.region_raster, geobox, tiles, overwrite=plan.publication)
        stages.advance()


def finish(table: RegionTable, plan: Plan, stages: Stages, tree: ClassTree | None, about: dict[str, Any]) -> Result:
    """Write the report of a run and return its result.

    Parameters
    ----------
    table : RegionTable
    plan : Plan
    stages : Stages
    tree : ClassTree or None
    about : dict
        Further entries of the report.
    """
    n_regions, drawn = table.drawn()
    distance = min_color_distance(table.legend.colors) if len(table.legend.colors) <= MAX_CATEGORIES else None
    if distance is not None:
        log.info("the CIELAB distance of the two most similar class colours is %.1f", distance)
    result = Result(plan.outputs, n_regions, len(drawn), dict(stages.failed), dict(stages.seconds), distance, tree)
    memory = {"tables": table.n_bytes, "peak": peak_memory()}
    log.debug("memory: tables of %d regions take %s in this process", len(table.regions), shown_bytes(table.n_bytes))
    about["memory"] = memory
    if tree is not None:
        merges, costs = tree.merges.tolist(), tree.costs.tolist()
        about["tree"] = {"n_clusters": tree.n_clusters, "merges": merges, "costs": costs} | about["tree"]
    if plan.outputs.report is not None:
        from geoseg.report.report import report_of, write_report  # here, because few runs need matplotlib and Jinja2

        with stages.stage("report", 1):
            facts = plain_values(run_facts(plan, stages, result, about))
            write_report(plan.outputs.report, report_of(facts, plan.outputs), plan.publication)
        result = replace(result, seconds=dict(stages.seconds))
    return report_result(plan, stages, result, about)


def _about(job: Job, plan: Plan) -> dict[str, Any]:
    source = source_of(job.scene.path, plan.options.command)
    return {
        "geoseg": __version__,
        "source": source,
        "scene": shown_name(job.scene.path),
        "asked": job.config.classify.classes,
    }


def _write_polygons(table: RegionTable, plan: Plan, stages: Stages, extras: Extras) -> None:
    geobox = plan.scene.geobox
    borders = border_scale(resolution(geobox))
    failed = [
        FailedTile(number, text, shapely.polygons(transform_corners(_corners(table.job, number), geobox.transform)))
        for number, text in sorted(stages.failed.items())
    ]
    parts, note = parts_of_run(table.job, table.tiles)
    if note is not None:
        stages.reporter.note(note)
    write_polygons(
        plan.outputs.polygons,
        batches(table, parts),
        replace(table.layer, source=source_of(plan.scene.path, plan.options.command)),
        style=polygon_qml(table.legend, table.layer.aliases, borders=borders),
        extras=replace(extras, styles={REGION_STYLE: region_qml(table.layer.aliases, borders=borders)}, failed=failed),
        overwrite=plan.publication,
    )


def _objects(table: RegionTable, plan: Plan, stages: Stages) -> list[ObjectLayer]:
    return object_layers(table, plan.outputs.levels, stages.reporter.note)


def _dissolved(table: RegionTable, classes: Classes) -> Dissolved:
    scene = table.job.scene
    fields = class_fields(bands=scene.bands, n_classes=len(classes.pixels))
    name, title = shown_name(scene.path), f"Classes of {shown_name(scene.path)}"
    unit = "square metres" if scene.geobox.crs else "pixels"
    description = f"The regions of {name}, dissolved by class. Areas in {unit}."
    layer = Layer("classes", title, description, scene.geobox.crs, fields, geometry="MultiPolygon")
    style = polygon_qml(table.legend, layer.aliases, borders=border_scale(resolution(scene.geobox)))
    return Dissolved(layer, classes.columns(), style)


def _corners(job: MapJob, tile: int) -> NDArray[np.float64]:
    core = job.tiles.tile(tile).core
    return shapely.get_coordinates(shapely.box(core.col_off, core.row_off, core.col_end, core.row_end))


def _model(job: Job) -> Model:
    survey = replace(job.survey, windows=())
    network, class_model = job.store.get(NETWORK).arrays, job.store.get(CLASS_MODEL)
    features = None if job.features is None else job.store.get(FEATURE_REDUCTION)
    return Model(job.config, survey, network, class_model, Origin.of(job.scene), features)
