"""Plan a run that is computed in parts: what is computed once, before any tile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from geoseg.config import Config
from geoseg.errors import ConfigError
from geoseg.parts.plan_document import PlanDocument
from geoseg.progress import ProgressCallback, ignore
from geoseg.run.options import config_of, settings, source_path
from geoseg.run.plan import blocks_of, open_parts, tiles_of
from geoseg.run.products import SUPERPIXELS, TILE_SUPERPIXELS, VOTES
from geoseg.run.run_options import RunOptions
from geoseg.run.size import record_size
from geoseg.run.stages import Stages
from geoseg.run.values_option import ValuesOption
from geoseg.steps import learn, survey

_OPTIONS = ("aoi", "features", "values", "model", "restretch", "device", "resume", "overwrite", "memory")


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
    >>> PlannedRun(Path("run"), n_tiles=12, n_blocks=6).n_tiles
    12
    """

    run_dir: Path
    n_tiles: int
    n_blocks: int


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
        As in `geoseg.segment_scene`. All parts must see it under the same absolute path.
    run_dir : str or Path
        The run folder, on a file system that all parts share.
    classes, config, progress
        As in `geoseg.segment_scene`.
    **options
        ``aoi``, ``features``, ``values``, ``model``, ``restretch``, ``device``, ``resume``, ``overwrite``, ``memory``;
        and config values by name. All parts use the device that is chosen here.

    Returns
    -------
    PlannedRun

    Raises
    ------
    ConfigError
        If an option has no effect on the plan.
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
    changes = given.config_changes | ({} if classes is None else {"classify__classes": classes})
    in_config = {name.rpartition("__")[2] for name in given.config_changes}
    for name, value in options.items():
        is_of_config = "__" in name or name in ("tile_size", "superpixels") or name in in_config
        if value is not None and name not in _OPTIONS and not is_of_config:
            raise ConfigError(f"option {name} has no effect on a plan; give it to work_part or finish_run.")
    run_options = replace(given.run, run_dir=Path(source_path("run_dir", run_dir)))
    chosen = config_of(config, changes, given.run.model)
    return run_plan(source_path("scene", scene), chosen, options=run_options, progress=progress or ignore)


def run_plan(
    scene: str, config: Config | None, *, options: RunOptions, progress: ProgressCallback = ignore
) -> PlannedRun:
    """Plan a run, with all options sorted; see `plan_scene`."""
    run_dir = options.run_dir
    if run_dir is None:
        raise ConfigError("a run in parts needs a run folder that all parts share. Give --run-dir.")
    # Absolute from the start, so that parts in other working folders find the same files under the same names.
    path = _absolute_source(scene)
    features = None if options.features is None else _absolute_source(options.features)
    values = tuple(map(_absolute_values, options.values))
    options = replace(options, aoi=_absolute(options.aoi), features=features, values=values)
    options = replace(options, model=_absolute(options.model))
    with open_parts(path, run_dir, config, options) as (folder, task, inputs):
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
        kept = replace(options, device=task.device)  # parts on other devices would give other classes
        PlanDocument(path, task.config, kept, inputs, tiles).write(folder)
        return PlannedRun(folder.path, len(tiles), len(blocks))


def _absolute_values(text: str) -> str:
    path = ValuesOption.parse(text).path
    return _absolute_source(path) + text.removeprefix(path)


def _absolute_source(source: str) -> str:
    return str(Path(source).absolute()) if Path(source).exists() else source


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()
