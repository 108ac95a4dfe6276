"""The data flow, from a raster to polygons.

    scene.tif ─ survey ─ learn, superpixels ─ segment ─ classify ─ label ─ merge ─ outline ─ write ─ labels.gpkg
                once     once   per block     per tile  once       tile    once    tile      once

Learning and making superpixels do not need each other, and run at the same time.

A raster of labels enters half-way:

    labels.tif ─ label ─ merge ─ outline ─ write ─ outlines.gpkg

A run is a folder. What a stage has finished for a tile is in it, complete or absent, so that an interrupted run can be
resumed on this machine or another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from threadpoolctl import threadpool_limits

from geoseg.config import Config, load_config
from geoseg.errors import ConfigError
from geoseg.output.geopackage import other_tables
from geoseg.output.paths import Outputs
from geoseg.progress import ProgressCallback, ignore
from geoseg.raster.label_raster import LabelInput
from geoseg.run.budget import check_budget, chosen_workers, n_at_once
from geoseg.run.executors import ClusterOptions, check_workers, open_executor
from geoseg.run.job import Job, Task
from geoseg.run.kernel_lock import share_compilation
from geoseg.run.least_size import least_size_note
from geoseg.run.options import config_of, settings, source_path, values_texts
from geoseg.run.plan import Plan, open_label_plan, open_plan
from geoseg.run.report import Result, finished_result
from geoseg.run.resources import choose_workers, why_no_workers
from geoseg.run.run_options import RunOptions
from geoseg.run.size import record_size
from geoseg.run.stage_costs import expected_seconds
from geoseg.run.stages import Stages
from geoseg.run.values_option import split_values
from geoseg.steps import classify, label_raster, learn, segment, survey, vectorize, write, write_labels
from geoseg.steps.compile import compiled_ahead
from geoseg.vectorize.regions import Regions

# With all that they import; workers import them before their first tile.
_WORKER_MODULES = ("geoseg.run.kernel_lock", "geoseg.steps.vectorize")
# Of the config, that outlining labels uses:
_OUTLINE_SECTIONS = ("tiles", "polygons", "bands", "rgb", "nodata_mode", "collar", "allow_no_crs")


def segment_scene(
    scene: str | Path,
    out: str | Path | Outputs,
    *,
    classes: int | Literal["auto"] | None = None,
    config: str | Path | dict[str, Any] | Config | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    aoi: str | Path | None = None,
    features: str | Path | None = None,
    values: str | Path | Sequence[str | Path] | None = None,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Result:
    """Segment a raster of any size and write its polygons.

    Parameters
    ----------
    scene : str or Path
        GeoTIFF, or another raster that GDAL reads; a .vrt for a mosaic.
    out : str, Path or Outputs
        Polygon file, .gpkg, .fgb or .parquet; or all outputs.
    classes : int, "auto" or None
        At most this many classes; None = as in the config, which is 16 by default.
    config : str, Path, dict, Config or None
        Name of a configuration, a YAML file, its values, or None for the defaults or those of ``model``.
    workers : int or None
        Number of worker processes; 0 = this process computes one tile at a time; None = it computes as many at once as
        there are cores, at most 4, or starts one process per core for a large scene on more cores. With workers, a
        script needs ``if __name__ == "__main__":`` around the call, since each worker imports it.
    resume : bool
        Continue an interrupted run.
    overwrite : bool
        Replace existing outputs.
    aoi : str, Path or None
        Vector file; pixels outside its polygons are not valid.
    features : str, Path or None
        Raster with the CRS of the scene, at any resolution. Its bands take part in the classes, with
        ``feature_weight``, but not in the statistics and colours.
    values : str, Path, sequence of them, or None
        Rasters on any grid and in any CRS whose statistics become columns: ``FILE``, ``FILE:NAME``, or
        ``FILE:NAME:majority`` for categories.
    progress : callable or None
        Receives the events of `geoseg.progress`; None = no progress is reported.
    **options
        ``class_raster``, ``region_raster``, ``class_layer``, ``levels``, ``save_model``, ``report``; ``model``,
        ``restretch``, ``run_dir``, ``keep``, ``device``, ``memory``; ``threads``, ``scheduler``, ``scheduler_file``,
        ``tls_ca_file``, ``tls_cert``, ``tls_key``, ``dashboard``, ``memory_limit``; and config values by name, such as
        ``seed``, ``min_pixels``, ``simplify``, ``tiles__size``.

    Returns
    -------
    Result

    Raises
    ------
    GeosegError
        If an input is wrong or an output cannot be written; the message states what to do. Existing files are not
        changed.

    Examples
    --------
    >>> import tempfile
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(96, 128), seed=1))
    >>> result = segment_scene(folder / "scene.tif", folder / "labels.gpkg", classes=4, method="kmeans", workers=0)
    >>> result.n_classes, list(result.polygons().columns[:4])
    (4, ['region', 'class', 'color', 'pixels'])
    """
    inputs = {"aoi": aoi, "features": features, "values": values}
    given = settings(out, options | inputs | {"workers": workers, "resume": resume, "overwrite": overwrite})
    changes = given.config_changes | ({} if classes is None else {"classify__classes": classes})
    chosen = config_of(config, changes, given.run.model)
    return run_scene(
        source_path("scene", scene),
        given.outputs,
        chosen,
        options=given.run,
        cluster=given.cluster,
        progress=progress or ignore,
    )


def outline_labels(
    labels: str | Path | LabelInput,
    out: str | Path | Outputs,
    *,
    values: str | Path | Sequence[str | Path] | None = None,
    workers: int | None = None,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Result:
    """Outline a raster of integer labels of any size and write its polygons.

    Parameters
    ----------
    labels : str, Path or LabelInput
        The raster; or a `LabelInput` with its band, its nodata value and the raster of values.
    out : str, Path or Outputs
        Polygon file, .gpkg, .fgb or .parquet; or all outputs.
    values : str, Path, sequence of them, or None
        Raster on the same grid for zonal statistics and colours; and, as ``FILE:NAME`` or ``FILE:NAME:majority``,
        rasters as in `segment_scene`.
    workers, progress, **options
        As in `segment_scene`, of the outputs ``region_raster`` and ``report``; and ``band`` and ``nodata`` of the
        labels. ``min_pixels`` and ``simplify`` are 0 by default: every region is kept, and its outline follows the
        pixel edges.

    Returns
    -------
    Result

    Raises
    ------
    ConfigError
        If an option has no effect on labels.
    GeosegError
        If an input is wrong or an output cannot be written; existing files are not changed.

    Examples
    --------
    >>> import tempfile
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(96, 128), seed=1), truth=folder / "cover.tif")
    >>> outline_labels(folder / "cover.tif", folder / "cover.gpkg", values=folder / "scene.tif", workers=0).failed
    {}
    """
    source = labels if isinstance(labels, LabelInput) else LabelInput(source_path("labels", labels))
    named: dict[str, Any] = {name: options.pop(name) for name in ("band", "nodata") if name in options}
    plain, others = split_values(() if values is None else values_texts(values))
    if plain is not None:
        named["values"] = plain
    given = settings(out, options | {"workers": workers, "values": others})
    for path in given.config_changes:
        if path.partition("__")[0] not in _OUTLINE_SECTIONS:
            raise ConfigError(f"option {path.replace('__', '.')} is for segmentation and has no effect here; omit it.")
    source = replace(source, **named)
    for name in ("nodata_mode", "collar"):
        if source.values is None and given.config_changes.get(name) is not None:
            raise ConfigError(f"{name} is that of the values, and there are no values. Give values too, or omit it.")
    config = load_config({"polygons": {"min_pixels": 0, "simplify": 0.0}}, **given.config_changes)
    return run_labels(
        source,
        given.outputs,
        config,
        options=given.run,
        cluster=given.cluster,
        progress=progress or ignore,
    )


def run_scene(
    scene: str,
    outputs: Outputs,
    config: Config | None = None,
    *,
    options: RunOptions | None = None,
    cluster: ClusterOptions | None = None,
    progress: ProgressCallback = ignore,
) -> Result:
    """Segment a scene, with all options sorted; see `segment_scene`."""
    cluster = cluster or ClusterOptions()
    check_workers(cluster)
    options = options or RunOptions()

    def check(task: Task) -> None:
        check_budget(task, chosen_workers(cluster, task, options.memory), options.memory)

    with open_plan(scene, outputs, config, options, check=check) as (plan, task):
        if plan.is_finished:
            return finished_result(plan, progress)
        chosen = chosen_workers(cluster, task, options.memory)
        with compiled_ahead(), open_executor(chosen, modules=_modules_of(task)) as executor:
            stages = _stages(plan, plan.blocks, executor, progress)
            stages.reporter.expect(_expected(plan, task.config, chosen, has_model=task.model is not None))
            if note := why_no_workers(cluster, chosen, task.config, task.device):
                stages.reporter.note(note)
            job, regions = run_stages(task, stages)
            return write.write_results(job, plan, stages, regions)


def run_stages(task: Task, stages: Stages) -> tuple[Job, Regions]:
    """Run all stages but the last, on files or in memory, and return the job and the regions of the scene."""
    with threadpool_limits(1, user_api="blas"):  # what needs it in one thread must not remove it for another
        job = survey.survey_scene(task, stages)
        with learn.learning_beside(job, stages, task.model):
            segment.make_superpixels(job, stages)
        segment.segment_tiles(job, stages)
        classify.classify_superpixels(job, stages, task.model)
        vectorize.label_tiles(job, stages)
        regions = vectorize.merge_regions(job, stages)
        vectorize.outline_tiles(job, stages)
        return job, regions


def run_labels(
    labels: LabelInput,
    outputs: Outputs,
    config: Config,
    *,
    options: RunOptions | None = None,
    cluster: ClusterOptions | None = None,
    progress: ProgressCallback = ignore,
) -> Result:
    """Outline a raster of labels, with all options sorted; see `outline_labels`."""
    cluster = cluster or ClusterOptions()
    check_workers(cluster)
    outputs = replace(outputs, class_file=False)  # labels have no class tree to document
    with open_label_plan(labels, outputs, config, options or RunOptions()) as (plan, job):
        if plan.is_finished:
            return finished_result(plan, progress)
        chosen = choose_workers(cluster, "cpu", n_pixels=plan.n_pixels, config=config)
        share_compilation()
        with open_executor(chosen, modules=_WORKER_MODULES) as executor:
            stages = _stages(plan, (), executor, progress)
            stages.reporter.expect(_expected(plan, config, chosen, of_labels=True))
            if note := why_no_workers(cluster, chosen, config):
                stages.reporter.note(note)
            job = survey.find_collar_of_values(job, stages)
            means = label_raster.label_tiles(job, stages)
            regions, values = label_raster.merge_labels(job, stages, means)
            write_labels.check_report(plan, values)
            label_raster.outline_tiles(job, stages)
            return write_labels.write_results(job, plan, stages, regions, values)


def _modules_of(task: Task) -> tuple[str, ...]:
    """Return the modules that workers on this machine need for a scene; a GPU is used by this process alone."""
    needs_torch = task.config.method == "backprop" and task.device == "cpu"
    return (*_WORKER_MODULES, "geoseg.steps.segment", *(("geoseg.segment.backprop",) if needs_torch else ()))


def _expected(plan: Plan, config: Config, cluster: ClusterOptions, **kind: bool) -> dict[str, float]:
    """Return the seconds that the stages are expected to take."""
    return expected_seconds(config, plan.n_pixels, n_at_once=n_at_once(cluster), **kind)


def _stages(plan: Plan, blocks: Sequence[int], executor: Any, progress: ProgressCallback) -> Stages:
    stages = Stages(plan.store, plan.tiles, blocks, n_pixels=plan.n_pixels, executor=executor, progress=progress)
    if kept := other_tables(plan.outputs.polygons):
        stages.reporter.note(f"{plan.outputs.polygons} keeps its other tables: {', '.join(kept)}")
    if note := least_size_note(plan.config):
        stages.reporter.note(note)
    record_size(plan.folder, plan.tiles, blocks)
    stages.limit_failures(plan.options.max_failed)
    stages.note_missing_cache()
    return stages
