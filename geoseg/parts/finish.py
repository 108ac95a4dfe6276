"""Finish a planned run: compute what no part has computed and what concerns all tiles, and write the results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg.errors import ConfigError, RunError
from geoseg.output.paths import Outputs
from geoseg.parts.advice import advice_for_parts
from geoseg.parts.plan_document import PlanDocument
from geoseg.pipeline import run_scene
from geoseg.progress import Note, ProgressCallback, ignore
from geoseg.run.executors import ClusterOptions
from geoseg.run.inputs import InputFiles
from geoseg.run.lock import holder_of
from geoseg.run.manifest import open_part, planned_folder
from geoseg.run.options import settings, source_path
from geoseg.run.published import OutputRecord
from geoseg.run.report import Result
from geoseg.run.run_options import RunOptions
from geoseg.run.size import begin_of
from geoseg.run.status import missing_tiles

_OF_THE_PLAN = ("aoi", "features", "values", "model", "restretch", "device", "resume", "memory")


def finish_run(
    run_dir: str | Path,
    out: str | Path | Outputs,
    *,
    workers: int | None = None,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Result:
    """Finish a planned run: compute what no part has computed, and write the results.

    Parameters
    ----------
    run_dir : str or Path
        From `geoseg.plan_scene`.
    out, workers, progress
        As in `geoseg.segment_scene`.
    **options
        ``class_raster``, ``region_raster``, ``class_layer``, ``levels``, ``save_model``, ``report``, ``keep``,
        ``max_failed``;
        ``overwrite``, which replaces existing outputs and keeps what the parts have computed; ``scheduler`` and the
        other options of where to compute.

    Returns
    -------
    Result

    Raises
    ------
    ConfigError
        If an option is settled by the plan.
    GeosegError
        If a part is still computed, the scene has changed, or an output exists or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from geoseg.parts.plan import plan_scene
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(96, 128), seed=1))
    >>> run = plan_scene(folder / "scene.tif", folder / "run", classes=4, method="kmeans")
    >>> finish_run(run.run_dir, folder / "labels.gpkg", workers=0).n_classes
    4
    """
    given = settings(out, options | {"workers": workers})
    settled = [*given.config_changes, *(name for name in _OF_THE_PLAN if options.get(name) is not None)]
    if settled:
        name = settled[0].replace("__", ".")
        raise ConfigError(f"option {name} is settled by the plan of the run and has no effect here; omit it.")
    run_options = replace(given.run, run_dir=Path(source_path("run_dir", run_dir)))
    return run_finish(given.outputs, options=run_options, cluster=given.cluster, progress=progress or ignore)


def run_finish(
    outputs: Outputs,
    *,
    options: RunOptions,
    cluster: ClusterOptions | None = None,
    progress: ProgressCallback = ignore,
) -> Result:
    """Finish a planned run, with all options sorted; see `finish_run`."""
    if options.run_dir is None:
        raise ConfigError("the run that is to be finished is not given. Give --run-dir.")
    with advice_for_parts():
        folder = planned_folder(options.run_dir)
        holder = holder_of(folder.path / "lock")
        if holder is not None:  # known before the whole scene is read
            raise RunError(
                f"another run uses {folder.path} ({holder}), such as geoseg work of a part; wait for it, or stop it, "
                f"and start the same command again."
            )
        plan = PlanDocument.read(folder)
        missing = missing_tiles(folder, plan.tiles) if begin_of(folder) is not None else []
        if missing:
            progress(Note(f"{len(missing)} of {len(plan.tiles)} tiles are not segmented yet, and are computed now"))
        chosen = replace(
            plan.options,
            device=_device(plan, is_needed=bool(missing)),
            run_dir=options.run_dir,
            resume=True,
            keep=options.keep,
            max_failed=options.max_failed,
            command=options.command,
        )
        if options.overwrite:
            _allow_replacing(outputs, plan, options.run_dir)
        return run_scene(plan.scene, outputs, plan.config, options=chosen, cluster=cluster, progress=progress)


def _device(plan: PlanDocument, *, is_needed: bool) -> str:
    """Return the device of the plan, or "cpu" where there is none here and no tile needs it."""
    try:
        return plan.device_here()
    except ConfigError:
        if is_needed:
            raise
        return "cpu"


def _allow_replacing(outputs: Outputs, plan: PlanDocument, run_dir: Path) -> None:
    """Record in the run folder that existing outputs may be replaced, as they are now."""
    outputs.check_names(run_dir)
    sources = [*map(Path, plan.inputs.paths), *(path for path in (plan.options.aoi, plan.options.model) if path)]
    with open_part(run_dir, shared=False) as folder:
        record = OutputRecord(folder)
        if not record.is_complete(outputs):
            replaceable = record.replaceable(outputs, sources, resume=True, overwrite=True)
            record.begin(replaceable, InputFiles())  # the inputs are checked by the run
