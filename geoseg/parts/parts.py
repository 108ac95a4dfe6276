"""Plan a run, compute a part of its tiles, and finish it: for job arrays on a shared file system.

The stages and their results are those of `geoseg.pipeline`. Parts wait for nothing: each computes the superpixels that
its tiles read, and segments its tiles. What concerns all tiles together is left to `finish_run`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from geoseg.config import Config
from geoseg.errors import ConfigError, GeosegError, TileError
from geoseg.output.paths import Outputs
from geoseg.parts.plan_document import PlanDocument
from geoseg.pipeline import run_scene
from geoseg.progress import ProgressCallback, ignore
from geoseg.raster.scene import open_scene
from geoseg.run.executors import ClusterOptions, check_workers, open_executor
from geoseg.run.folder import RunFolder
from geoseg.run.inputs import InputFiles
from geoseg.run.job import Job, Task
from geoseg.run.manifest import open_part
from geoseg.run.options import config_of, settings, source_path
from geoseg.run.plan import RunOptions, blocks_of, open_parts, tiles_of
from geoseg.run.products import SUPERPIXELS, SURVEY, TILE_SUPERPIXELS, VOTES, ProductStore
from geoseg.run.report import Result
from geoseg.run.resources import pick_device
from geoseg.run.stages import Stages
from geoseg.run.status import record_size
from geoseg.steps import learn, segment, survey

_MAX_PARTS = 1_000_000


@dataclass(frozen=True)
class PlannedRun:
    """A run that is planned.

    Parameters
    ----------
    run_dir : Path
    n_tiles, n_blocks : int
        Number of tiles, and of blocks of superpixels.

    Examples
    --------
    >>> PlannedRun(Path("run"), n_tiles=40, n_blocks=6).n_tiles
    40
    """

    run_dir: Path
    n_tiles: int
    n_blocks: int


@dataclass(frozen=True)
class PartResult:
    """Result of a part.

    Parameters
    ----------
    tiles : tuple of int
        Numbers of its tiles.
    failed : dict of int to str
        Tile number → error; `finish_run` tries them again.
    seconds : dict of str to float
        Wall time of each stage.

    Examples
    --------
    >>> PartResult((0, 1), failed={1: "RasterError: damaged"}, seconds={"segment": 2.5})
    PartResult(tiles=(0, 1), failed={1: 'RasterError: damaged'})
    """

    tiles: tuple[int, ...]
    failed: dict[int, str]
    seconds: dict[str, float] = field(repr=False)


def plan_scene(
    scene: str | Path,
    run_dir: str | Path,
    *,
    classes: int | Literal["auto"] | None = None,
    config: str | Path | dict[str, Any] | Config | None = None,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> PlannedRun:
    """Plan a run that is computed in parts: survey the scene and train the network.

    Parameters
    ----------
    scene : str or Path
        As in `geoseg.segment_scene`.
    run_dir : str or Path
        The run folder, on a file system that all parts share.
    classes, config, progress
        As in `geoseg.segment_scene`.
    **options
        ``aoi``, ``model``, ``restretch``, ``device``, ``resume``, ``overwrite``; and config values by name.

    Returns
    -------
    PlannedRun

    Raises
    ------
    GeosegError
        If an input is wrong or the folder cannot be written; existing files are not changed.

    Examples
    --------
    >>> import tempfile
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(96, 128), seed=1))
    >>> plan_scene(folder / "scene.tif", folder / "run", classes=4, method="kmeans").n_tiles
    1
    """
    given = settings(Path("planned.gpkg"), options)
    chosen = config_of(config, given.config_changes | ({} if classes is None else {"classify__classes": classes}))
    run_options = replace(given.run, run_dir=Path(source_path("run_dir", run_dir)))
    return run_plan(source_path("scene", scene), chosen, options=run_options, progress=progress or ignore)


def run_plan(
    scene: str, config: Config | None, *, options: RunOptions, progress: ProgressCallback = ignore
) -> PlannedRun:
    """Plan a run, with all options sorted; see `plan_scene`."""
    if options.run_dir is None:
        raise ConfigError("a run in parts needs a run folder that all parts share. Give --run-dir.")
    with open_parts(scene, options.run_dir, config, options) as (folder, task, inputs):
        tiles = tiles_of(task.scene, task.config)
        blocks = blocks_of(task.scene, task.config, tiles)
        record_size(folder, tiles, blocks)
        rows, cols = task.scene.geobox.shape
        stages = Stages(task.store, tiles, blocks, n_pixels=rows * cols, progress=progress)
        job = survey.survey_scene(task, stages)
        learn.learn_network(job, stages, task.model)
        # From now on the parts compute them, and each knows a part of the keys only.
        for product, keys in ((SUPERPIXELS, blocks), (TILE_SUPERPIXELS, tiles), (VOTES, tiles)):
            task.store.settle(product, keys)
        _document(scene, task, options, inputs).write(folder)
        return PlannedRun(folder.path, len(tiles), len(blocks))


def work_part(
    run_dir: str | Path, part: int, n_parts: int, *, workers: int = 0, progress: ProgressCallback | None = None
) -> PartResult:
    """Compute a part of the tiles of a planned run; what is finished already is not repeated.

    Parameters
    ----------
    run_dir : str or Path
        From `plan_scene`.
    part, n_parts : int
        Which part, from 1 to `n_parts`. Parts may be computed at the same time, in any order, and more than once.
    workers : int
        Number of worker processes; 0 = compute in this process.
    progress : callable or None

    Returns
    -------
    PartResult

    Raises
    ------
    GeosegError
        If the part does not exist, the run is not planned or a process finishes it, or the scene has changed.

    Examples
    --------
    >>> import tempfile
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(96, 128), seed=1))
    >>> planned = plan_scene(folder / "scene.tif", folder / "run", tile_size=64, method="kmeans")
    >>> work_part(planned.run_dir, 1, 2).tiles, work_part(planned.run_dir, 2, 2).tiles
    ((0, 1), (2, 3))
    """
    check_part(part, n_parts)
    cluster = ClusterOptions(workers=workers)
    check_workers(cluster)
    with open_part(source_path("run_dir", run_dir)) as folder:
        plan = PlanDocument.read(folder)
        tiles = _share(plan.tiles, part, n_parts)
        job = _job(folder, plan)
        blocks = blocks_of(job.scene, job.config, tiles)
        if not tiles:
            return PartResult((), {}, {})
        with open_executor(cluster) as executor:
            rows, cols = job.scene.geobox.shape
            n_pixels = rows * cols * len(tiles) // len(plan.tiles)
            stages = Stages(job.store, tiles, blocks, n_pixels=n_pixels, executor=executor, progress=progress or ignore)
            stages.compute_part()
            stages.note_missing_cache()
            try:
                segment.make_superpixels(job, stages)
                segment.segment_tiles(job, stages)
            except TileError:  # all tiles of this part; those of others may be better
                pass
        _record_failures(folder, part, n_parts, stages.failed)
        return PartResult(tiles, dict(stages.failed), dict(stages.seconds))


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
        From `plan_scene`.
    out, workers, progress
        As in `geoseg.segment_scene`.
    **options
        ``class_raster``, ``region_raster``, ``class_layer``, ``save_model``, ``keep``, ``max_failed``; ``scheduler``
        and the other options of where to compute.

    Returns
    -------
    Result

    Raises
    ------
    ConfigError
        If an option belongs to the plan.
    GeosegError
        If a part is still computed, the scene has changed, or an output exists or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(96, 128), seed=1))
    >>> planned = plan_scene(folder / "scene.tif", folder / "run", classes=4, method="kmeans")
    >>> finish_run(planned.run_dir, folder / "labels.gpkg", workers=0).n_classes
    4
    """
    given = settings(out, options | {"workers": workers})
    if given.config_changes:
        name = next(iter(given.config_changes)).replace("__", ".")
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
    with open_part(options.run_dir or Path()) as folder:
        plan = PlanDocument.read(folder)
    chosen = replace(plan.options, run_dir=options.run_dir, resume=True, keep=options.keep)
    chosen = replace(chosen, max_failed=options.max_failed)
    return run_scene(plan.scene, outputs, plan.config, options=chosen, cluster=cluster, progress=progress)


def check_part(part: int, n_parts: int) -> None:
    """Check the number of a part.

    Raises
    ------
    ConfigError
        If it is not between 1 and the number of parts.
    """
    numbers = (part, n_parts)
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers) or not (
        1 <= part <= n_parts <= _MAX_PARTS
    ):
        raise ConfigError(
            f"part {str(part)[:40]} of {str(n_parts)[:40]} does not exist; parts are numbered from 1 to their number, "
            f"which is at most {_MAX_PARTS}."
        )


def _document(scene: str, task: Task, options: RunOptions, inputs: InputFiles) -> PlanDocument:
    def absolute(path: Path | None) -> Path | None:
        return None if path is None else path.absolute()

    tiles = tiles_of(task.scene, task.config)
    kept = replace(options, aoi=absolute(options.aoi), model=absolute(options.model))
    path = str(Path(scene).absolute()) if Path(scene).exists() else scene
    absolute_files = InputFiles.of(str(Path(name).absolute()) for name in inputs.paths)
    inputs.check()  # so that these are the same states
    return PlanDocument(path, task.config, kept, absolute_files, tiles, blocks_of(task.scene, task.config, tiles))


def _share(tiles: tuple[int, ...], part: int, n_parts: int) -> tuple[int, ...]:
    """Return a contiguous share of the tiles, so that few blocks of superpixels are computed twice."""
    return tiles[len(tiles) * (part - 1) // n_parts : len(tiles) * part // n_parts]


def _job(folder: RunFolder, plan: PlanDocument) -> Job:
    plan.inputs.check()  # before anything is read
    config, store = plan.config, ProductStore(folder, plan.inputs)
    scene = open_scene(
        plan.scene,
        bands=config.bands,
        aoi=plan.options.aoi,
        red=config.red,
        nir=config.nir,
        nodata_mode=config.nodata_mode,
    )
    try:
        found = store.get(SURVEY).survey
    except GeosegError as err:
        raise type(err)(f"the plan in {folder.path} is not complete: {err}") from err
    return Job(store, scene, config, found, pick_device(plan.options.device, config))


def _record_failures(folder: RunFolder, part: int, n_parts: int, failed: dict[int, str]) -> None:
    name = f"failed-{part}-of-{n_parts}"
    if failed:
        folder.put_json(name, {"failed": {str(number): text for number, text in failed.items()}})
    else:
        folder.remove_json(name)
