"""Compute a part of the tiles of a planned run.

Parts wait for nothing: each computes the superpixels that its tiles read, and segments its tiles. What concerns all
tiles together is left to `geoseg.parts.finish`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoseg.errors import ConfigError, RunError, TileError
from geoseg.parts.advice import advice_for_parts
from geoseg.parts.plan_document import PlanDocument
from geoseg.progress import Note, ProgressCallback, ignore
from geoseg.run.executors import ClusterOptions, check_workers, open_executor
from geoseg.run.failures import check_max_failed
from geoseg.run.features_option import open_features_of
from geoseg.run.folder import RunFolder
from geoseg.run.inputs import InputFiles
from geoseg.run.job import Job, Task
from geoseg.run.kernel_lock import share_compilation
from geoseg.run.manifest import check_identity, has_report, open_part
from geoseg.run.options import source_path
from geoseg.run.plan import blocks_of, open_configured, settings_identity
from geoseg.run.products import COLLAR, FEATURE_REDUCTION, NETWORK, SURVEY, Product, ProductStore
from geoseg.run.size import begin_of
from geoseg.run.stages import FAILURES, Stages
from geoseg.run.status import PART
from geoseg.run.values_option import open_values_of
from geoseg.steps import segment
from geoseg.steps.survey import with_collar

_MAX_PARTS = 1_000_000


@dataclass(frozen=True)
class PartResult:
    """Result of a part.

    Parameters
    ----------
    tiles : tuple of int
        Numbers of its tiles.
    failed : dict of int to str
        Tile number → error; `geoseg.finish_run` tries them again.
    seconds : dict of str to float
        Wall time of each stage.

    Examples
    --------
    >>> PartResult(tiles=(4, 5), failed={5: "RasterError: …"}, seconds={"segment": 1.5}).failed[5]
    'RasterError: …'
    """

    tiles: tuple[int, ...]
    failed: dict[int, str]
    seconds: dict[str, float] = field(repr=False)


def work_part(
    run_dir: str | Path,
    part: int,
    n_parts: int,
    *,
    workers: int = 0,
    max_failed: int | float | None = None,
    progress: ProgressCallback | None = None,
) -> PartResult:
    """Compute a part of the tiles of a planned run; what is finished already is not repeated.

    Parameters
    ----------
    run_dir : str or Path
        From `geoseg.plan_scene`.
    part, n_parts : int
        Which part, from 1 to `n_parts`. Parts may be computed at the same time, in any order, and more than once;
        `n_parts` may differ between calls.
    workers : int
        Number of worker processes; 0 = compute in this process.
    max_failed : int, float or None
        As in `geoseg.segment_scene`, of the tiles of this part.
    progress : callable or None
        Receives the events of `geoseg.progress`.

    Returns
    -------
    PartResult

    Raises
    ------
    ConfigError
        If there is no such part.
    GeosegError
        If the run is not planned, a process finishes it, the scene or the area of interest has changed, or the
        versions are not those of the plan.

    Examples
    --------
    >>> import tempfile
    >>> from geoseg.parts.plan import plan_scene
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(96, 128), seed=1))
    >>> run = plan_scene(folder / "scene.tif", folder / "run", method="kmeans", tile_size=64)
    >>> work_part(run.run_dir, 1, 2), work_part(run.run_dir, 2, 2)
    (PartResult(tiles=(0, 1), failed={}), PartResult(tiles=(2, 3), failed={}))
    """
    check_part(part, n_parts)
    check_max_failed(max_failed)
    cluster, report = ClusterOptions(workers=workers), progress or ignore
    check_workers(cluster)
    with advice_for_parts(), open_part(source_path("run_dir", run_dir)) as folder:
        if has_report(folder) and begin_of(folder) is None:
            report(Note(f"the run in {folder.path} is finished: nothing is left to do"))
            return PartResult((), {}, {})
        plan = PlanDocument.read(folder)
        tiles = _share(plan.tiles, part, n_parts)
        job = _job(folder, plan)
        if not tiles:
            return PartResult((), {}, {})
        record = _PartRecord(folder, f"{part}-of-{n_parts}", len(tiles))
        record.begin()
        share_compilation()
        with open_executor(cluster, modules=("geoseg.run.kernel_lock", "geoseg.steps.segment")) as executor:
            rows, cols = job.scene.geobox.shape
            n_pixels = rows * cols * len(tiles) // len(plan.tiles)
            blocks = blocks_of(job.scene, job.config, tiles)
            stages = Stages(job.store, tiles, blocks, n_pixels=n_pixels, executor=executor, progress=report)
            stages.compute_part(record.name)
            stages.limit_failures(max_failed)
            stages.note_missing_cache()
            with suppress(TileError):  # all of this part; the tiles fail then, and are listed
                segment.make_superpixels(job, stages)
            with suppress(TileError):
                segment.segment_tiles(job, stages)
        record.end()
        return PartResult(tiles, dict(stages.failed), dict(stages.seconds))


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


@dataclass(frozen=True)
class _PartRecord:
    """Documents about a part, for those who ask for the status of the run.

    Parameters
    ----------
    folder : RunFolder
    name : str
        Number of the part and of all, such as 3-of-7.
    n_tiles : int
    """

    folder: RunFolder
    name: str
    n_tiles: int

    def begin(self) -> None:
        """Record that the part is being computed; its earlier failures are removed."""
        self.folder.remove_json(f"{FAILURES}-{self.name}")
        self._put(is_done=False)

    def end(self) -> None:
        """Record that the part is done."""
        self._put(is_done=True)

    def _put(self, *, is_done: bool) -> None:
        process = {"pid": os.getpid(), "host": socket.gethostname()}
        document = {"tiles": self.n_tiles, "is_done": is_done, "begin": time.time()} | process
        self.folder.put_json(f"{PART}-{self.name}", document)


def _share(tiles: tuple[int, ...], part: int, n_parts: int) -> tuple[int, ...]:
    """Return a contiguous share of the tiles, so that few blocks of superpixels are computed twice."""
    return tiles[len(tiles) * (part - 1) // n_parts : len(tiles) * part // n_parts]


def _job(folder: RunFolder, plan: PlanDocument) -> Job:
    """Return the job of the plan, after checking that it is still that of the plan; no pixel is read for this."""
    _check_unchanged(plan, plan.inputs.paths)  # before anything is read
    config, store = plan.config, ProductStore(folder, plan.inputs)
    scene = open_configured(plan.scene, config, aoi=plan.options.aoi)
    features = open_features_of(plan.options.features, scene, config)
    rasters = open_values_of(plan.options.values, scene, config.nodata_mode)
    found = Task(store, scene, config, features=features, rasters=rasters)
    _check_unchanged(plan, found.files)  # also those that did not exist, such as a mask beside the scene
    check_identity(folder.path, settings_identity(scene, config))
    needed: list[Product[Any]] = [COLLAR, SURVEY]
    if config.method == "backprop" and config.training == "scene":
        needed.append(NETWORK)
    if features is not None:
        needed.append(FEATURE_REDUCTION)
    for product in needed:
        if not store.has(product, verify=True):
            raise RunError(
                f"the plan in {folder.path} is not complete: its {product.name} is absent or damaged. Make it with "
                f"geoseg plan --resume."
            )
    survey = store.get(SURVEY).survey
    return Job(store, with_collar(scene, store), config, survey, plan.device_here(), features, rasters)


def _check_unchanged(plan: PlanDocument, paths: Iterable[str]) -> None:
    planned, found = ({path: state for path, *state in files.states} for files in (plan.inputs, InputFiles.of(paths)))
    changed = sorted(path for path in planned.keys() | found.keys() if planned.get(path) != found.get(path))
    if changed:
        path = changed[0]
        happened = "was changed" if path in planned and path in found else "is gone" if path in planned else "appeared"
        raise RunError(
            f"{path} {happened} after the run was planned. If all files of the scene are as before, repeat geoseg plan "
            f"--resume; otherwise restore them, or plan the run anew with geoseg plan --overwrite."
        )
