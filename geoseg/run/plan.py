"""Plan of a run: everything that is settled and checked before the first tile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.config import Config
from geoseg.errors import ConfigError, OutputError
from geoseg.output.columns import check_attributes
from geoseg.output.model import Model, load_model
from geoseg.output.model_checks import check_config, check_fits
from geoseg.output.paths import Outputs
from geoseg.raster.label_raster import LabelInput, check_same_grid, open_label_raster
from geoseg.raster.scene import Scene, open_scene, touches
from geoseg.run.executors import ClusterOptions
from geoseg.run.folder import RunFolder, open_run, read_report
from geoseg.run.job import LabelJob, Task, block_grid, tile_grid
from geoseg.run.memory import MemoryFolder
from geoseg.run.products import ProductStore
from geoseg.run.provenance import fingerprint

_WORKERS_PER_GPU = 4  # each takes half a GiB there; superpixels and outlines are still computed by the CPU
_BYTES_PER_VALUE = 4  # of a band of a pixel, float32
_MAX_BYTES = 8 * 2**30  # of the values that are read or computed at once
_BYTES_PER_PIXEL = 5  # of the run folder and the outputs together; see docs/benchmarks.md


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that are not part of its configuration.

    Parameters
    ----------
    aoi : Path or None
        Vector file with the area of interest; pixels outside are not valid.
    model : Path or None
        A saved model whose classes are used; None = a network is trained.
    restretch : bool
        Whether the stretch is fitted to the scene instead of taken from the model.
    run_dir : Path or None
        The run folder; None = beside the polygons, with the suffix .run.
    resume : bool
        Whether to continue with the products in the run folder.
    overwrite : bool
        Whether to replace the outputs and the run folder of an earlier run.
    keep : bool
        Whether to keep the products of all stages in the run folder at the end.
    device : {"auto", "cpu", "cuda"}
        "auto" = cuda where it is available.
    """

    aoi: Path | None = None
    model: Path | None = None
    restretch: bool = False
    run_dir: Path | None = None
    resume: bool = False
    overwrite: bool = False
    keep: bool = False
    device: str = "auto"


@dataclass(frozen=True)
class Plan:
    """What is settled before the first tile.

    Parameters
    ----------
    folder : RunFolder
    identity : dict
        What the results depend on: version, config, input, grid, model.
    scene : Scene
        The scene, or the grid of the labels.
    config : Config
    outputs : Outputs
    options : RunOptions
    tiles : tuple of int
        Numbers of the tiles to process, ascending.
    is_finished : bool
        Whether an earlier run has written these outputs already.
    """

    folder: RunFolder
    identity: dict[str, Any]
    scene: Scene
    config: Config
    outputs: Outputs
    options: RunOptions
    tiles: tuple[int, ...]
    is_finished: bool

    @property
    def blocks(self) -> tuple[int, ...]:
        """Numbers of the blocks of superpixels that the tiles read, ascending."""
        return blocks_of(self.scene, self.config, self.tiles)

    @property
    def n_pixels(self) -> int:
        """Pixels of the scene."""
        rows, cols = self.scene.geobox.shape
        return rows * cols

    @property
    def store(self) -> ProductStore:
        """The products in the run folder."""
        return ProductStore(self.folder)


@contextmanager
def open_plan(path: str, outputs: Outputs, config: Config | None, options: RunOptions) -> Iterator[tuple[Plan, Task]]:
    """Check everything that can be known before the first tile, and open the run folder.

    Parameters
    ----------
    path : str
        The scene.
    outputs : Outputs
    config : Config or None
        None = that of the model, or else the defaults.
    options : RunOptions

    Raises
    ------
    GeosegError
        If a check fails; nothing has been changed then.
    """
    task = check_scene(path, outputs, config, options)
    scene, config, model = task.scene, task.config, task.model
    identity = _identity(scene, config, options)
    if model is not None:
        identity["model"] = {
            "scene": model.origin.scene,
            "digest": model.digest,
            "restretch": options.restretch,
        }
    tiles = tiles_of(scene, config)
    with _run_folder(outputs, options, identity) as (folder, is_finished):
        plan = Plan(folder, identity, scene, config, outputs, options, tiles, is_finished)
        yield plan, replace(task, store=plan.store)


def check_scene(path: str, outputs: Outputs, config: Config | None, options: RunOptions) -> Task:
    """Check everything that can be known before the run folder is opened, and return the task; nothing is written.

    The parameters are those of `open_plan`; the store of the task is in memory.

    Raises
    ------
    GeosegError
        If a check fails.
    """
    model = _load_model(options)
    config = config or (Config() if model is None else model.config)
    if model is not None:
        check_config(model, config)
    scene = open_scene(path, bands=config.bands, aoi=options.aoi, red=config.red, nir=config.nir)
    check_memory(scene, config)
    check_attributes(config.polygons.attributes, bands=scene.bands, ndvi=scene.vegetation is not None)
    if model is not None:
        check_fits(model, scene)
    _check_model_output(outputs, config, options)
    _check_outputs(scene, outputs, options)
    device = pick_device(options.device, config)
    return Task(ProductStore(MemoryFolder()), scene, config, device, model, options.restretch)


@contextmanager
def open_label_plan(
    source: LabelInput, outputs: Outputs, config: Config, options: RunOptions
) -> Iterator[tuple[Plan, LabelJob]]:
    """Check everything that can be known before the first tile, and open the run folder.

    Raises
    ------
    GeosegError
        If a check fails; nothing has been changed then.
    """
    _refuse_scene_options(outputs, config, options, has_values=source.values is not None)
    labels = open_label_raster(source, aoi=options.aoi)
    values = None if source.values is None else open_scene(source.values, bands=config.bands)
    check_memory(labels.grid, config)
    if values is not None:
        check_same_grid(values, labels)
        check_memory(values, config)
    bands = () if values is None else values.bands
    check_attributes(config.polygons.attributes, bands=bands, ndvi=False, segmented=False)
    scene, also_read = labels.grid, () if values is None else values.files
    _check_outputs(scene, outputs, options, also_read=also_read)
    identity = _identity(scene, config, options, also_read=also_read)
    identity["labels"] = {"band": labels.band, "nodata": labels.nodata}
    with _run_folder(outputs, options, identity) as (folder, is_finished):
        tiles = tiles_of(scene, config)
        plan = Plan(folder, identity, scene, config, outputs, options, tiles, is_finished)
        yield plan, LabelJob(plan.store, config, labels, values)


def tiles_of(scene: Scene, config: Config) -> tuple[int, ...]:
    """Return the numbers of the tiles that touch the area of interest, ascending."""
    grid = tile_grid(scene.geobox.shape, config)
    return tuple(tile.number for tile in grid if touches(scene, tile.core))


def blocks_of(scene: Scene, config: Config, tiles: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers of the blocks of superpixels that tiles read, ascending."""
    grid = tile_grid(scene.geobox.shape, config)
    blocks = block_grid(scene.geobox.shape)
    return tuple(sorted({block for number in tiles for block in blocks.reading(grid.tile(number).read)}))


def pick_device(wanted: str, config: Config) -> str:
    """Return "cpu" or "cuda"; "auto" becomes one of them.

    Raises
    ------
    ConfigError
        If cuda is wanted but not available, or the method does not use it.
    """
    if wanted == "cuda" and config.method != "backprop":
        raise ConfigError(f"device is cuda, but method {config.method} does not use a GPU. Use --device cpu or auto.")
    if wanted == "cpu" or config.method != "backprop":
        return "cpu"
    from geoseg.segment.network import cuda_is_available  # here, because torch takes seconds to import

    if cuda_is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError("device is cuda, but torch finds no GPU that it can use. Use --device cpu or auto.")
    return "cpu"


def choose_workers(cluster: ClusterOptions, device: str) -> ClusterOptions:
    """Return where to compute if nothing is specified: on a GPU fewer processes than there are cores."""
    specified = (cluster.workers, cluster.scheduler, cluster.scheduler_file) != (None, None, None)
    if device == "cpu" or specified:
        return cluster
    return replace(cluster, workers=min(os.cpu_count() or 1, _WORKERS_PER_GPU))


def check_memory(scene: Scene, config: Config) -> None:
    """Check the memory of one tile and of the training sample against `_MAX_BYTES`, before any pixel is read.

    Raises
    ------
    ConfigError
        If the pixels of a tile or of the sample do not fit.
    """
    n_bands, side = max(len(scene.bands), 1), config.tiles.size + 2 * config.halo
    rows, cols = (min(side, length) for length in scene.geobox.shape)
    learn, channels = config.learn, max(config.network.channels)
    needs = {
        f"a tile of {rows} x {cols} px with {n_bands} bands": (rows * cols * n_bands, "tiles.size or fewer bands"),
        f"{learn.windows} windows of {learn.crop} px with {n_bands} bands": (
            learn.windows * learn.crop**2 * n_bands,
            "learn.windows or learn.crop",
        ),
        f"{learn.batch} crops of {learn.crop} px with {channels} channels": (
            learn.batch * learn.crop**2 * channels,
            "learn.batch or learn.crop",
        ),
    }
    for what, (n_values, advice) in needs.items():
        if _BYTES_PER_VALUE * n_values > _MAX_BYTES:
            raise ConfigError(
                f"{what} needs {_BYTES_PER_VALUE * n_values / 2**30:.0f} GiB in memory; expected at most "
                f"{_MAX_BYTES / 2**30:.0f} GiB. Give a smaller {advice}."
            )


def disk_needed(scene: Scene) -> int:
    """Return the bytes that the run folder and the outputs of a scene need, approximately."""
    rows, cols = scene.geobox.shape
    return rows * cols * _BYTES_PER_PIXEL


def _load_model(options: RunOptions) -> Model | None:
    if options.model is None and options.restretch:
        raise ConfigError("restretch applies to a scene that is segmented with a model. Give --model too, or omit it.")
    return None if options.model is None else load_model(options.model)


def _check_model_output(outputs: Outputs, config: Config, options: RunOptions) -> None:
    if outputs.model is not None and config.method != "backprop":
        raise ConfigError(f"method {config.method} has no network to save. Omit --save-model, or use method backprop.")
    if outputs.model is not None and config.training == "tile":
        raise ConfigError(
            "training tile has no network of the scene to save. Omit --save-model, or use --training scene."
        )
    if options.model is not None and options.model.resolve() in {path.resolve() for path in outputs.paths}:
        raise OutputError(f"{options.model} is the model that is used. Choose another name for the output.")


def _check_outputs(scene: Scene, outputs: Outputs, options: RunOptions, *, also_read: Sequence[str] = ()) -> None:
    """Check that all outputs can be written and that there is room; `also_read` must not be overwritten either."""
    if options.aoi is not None and options.aoi.resolve() in {path.resolve() for path in outputs.paths}:
        raise OutputError(f"{options.aoi} is the area of interest. Choose another name for the output.")
    outputs.check((*scene.files, *also_read), overwrite=options.overwrite or _belongs_to_run(outputs, options))
    _check_room(scene, {outputs.polygons.absolute().parent, _run_dir(outputs, options).absolute()})


def _refuse_scene_options(outputs: Outputs, config: Config, options: RunOptions, *, has_values: bool) -> None:
    """Refuse options that only segmentation uses, so that none is ignored silently."""
    given = {
        "a class raster": outputs.class_raster is not None,
        "a model output": outputs.model is not None,
        "a model": options.model is not None or options.restretch,
    }
    if wrong := [what for what, is_given in given.items() if is_given]:
        raise ConfigError(f"outlining labels finds no classes, so {wrong[0]} has no effect here. Omit it.")
    if config.bands and not has_values:
        raise ConfigError("bands are those of the values, and there are no values. Give --values too, or omit --bands.")


def _identity(scene: Scene, config: Config, options: RunOptions, *, also_read: Sequence[str] = ()) -> dict[str, Any]:
    """Return what the results depend on, as JSON values."""
    files = [*scene.files, *also_read, *([str(options.aoi)] if options.aoi else [])]
    geobox = scene.geobox
    grid = {"shape": list(geobox.shape), "transform": list(geobox.transform)[:6], "crs": geobox.crs}
    return {"version": __version__, "config": config.to_dict(), "input": fingerprint(files), "grid": grid}


@contextmanager
def _run_folder(outputs: Outputs, options: RunOptions, identity: dict[str, Any]) -> Iterator[tuple[RunFolder, bool]]:
    """Open the run folder; return also whether an earlier run has written these outputs already."""
    folder = _run_dir(outputs, options)
    with open_run(folder, identity=identity, resume=options.resume, overwrite=options.overwrite) as run:
        is_finished = _is_finished(run, outputs)
        if not is_finished:
            run.put_json("outputs", [str(path.absolute()) for path in outputs.paths])
        yield run, is_finished


def _run_dir(outputs: Outputs, options: RunOptions) -> Path:
    return options.run_dir or outputs.polygons.with_suffix(".run")


def _is_finished(run: RunFolder, outputs: Outputs) -> bool:
    """Return whether nothing is left to do: there is a report, the products are removed, and the outputs exist."""
    cleared = (run.path / "run.json").is_file() and not run.has_json("outputs")
    if not cleared or not all(path.exists() for path in outputs.paths):
        return False
    return not outputs.class_layer or bool(read_report(run).get("class_layer"))


def _belongs_to_run(outputs: Outputs, options: RunOptions) -> bool:
    """Return whether existing outputs were written by the run that is resumed."""
    run = RunFolder(_run_dir(outputs, options))
    if not options.resume:
        return False
    if _is_finished(run, outputs):
        return True
    if not run.has_json("outputs"):
        return False
    return {str(path.absolute()) for path in outputs.paths if path.exists()} <= set(run.get_json("outputs"))


def _check_room(scene: Scene, folders: set[Path]) -> None:
    rows, cols = scene.geobox.shape
    needed = disk_needed(scene)
    for folder in sorted(folders):
        existing = next(path for path in (folder, *folder.parents) if path.is_dir())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise OutputError(
                f"{existing} has {free / 1e9:.1f} GB of free space, and a scene of {rows * cols / 1e6:.0f} Mpx needs "
                f"about {needed / 1e9:.1f} GB. Free some space, or choose another place for --out or --run-dir."
            )
