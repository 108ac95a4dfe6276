"""Plan of a run: everything that is settled and checked before the first tile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
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
from geoseg.output.names import check_output_name
from geoseg.output.paths import Outputs
from geoseg.output.publication import FileState, Publication
from geoseg.output.system import file_key
from geoseg.raster.band_roles import BandRoles
from geoseg.raster.label_raster import LabelInput, check_same_grid, open_label_raster
from geoseg.raster.scene import Scene, open_scene, touches
from geoseg.run.budget import check_budget
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.features_option import features_identity, open_features_of
from geoseg.run.folder import RunFolder
from geoseg.run.inputs import InputFiles
from geoseg.run.job import LabelJob, Task, block_grid, tile_grid
from geoseg.run.least_size import with_least_size
from geoseg.run.levels_option import config_with_objects
from geoseg.run.lock import locked_outputs
from geoseg.run.manifest import open_run
from geoseg.run.memory import MemoryFolder
from geoseg.run.products import ProductStore
from geoseg.run.provenance import fingerprint, result_versions
from geoseg.run.published import OutputRecord
from geoseg.run.resources import check_memory, check_room, pick_device
from geoseg.run.run_options import RunOptions
from geoseg.run.values_option import open_values_of, values_identity


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
    inputs : InputFiles
        The files that are read.
    publication : Publication
        How the outputs are published.
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
    inputs: InputFiles
    publication: Publication
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
        return ProductStore(self.folder, self.inputs)


@contextmanager
def open_plan(
    path: str,
    outputs: Outputs,
    config: Config | None,
    options: RunOptions,
    *,
    check: Callable[[Task], object] = lambda _: None,
) -> Iterator[tuple[Plan, Task]]:
    """Check everything that can be known before the first tile, and open the run folder.

    Parameters
    ----------
    path : str
        The scene.
    outputs : Outputs
    config : Config or None
        None = that of the model, or else the defaults.
    options : RunOptions
    check : callable
        A further check of the task.

    Raises
    ------
    GeosegError
        If a check fails; nothing has been changed then.
    """
    task = check_scene(path, outputs, config, options)
    check(task)
    scene, config = task.scene, task.config
    inputs = InputFiles.of(task.files)  # before their content is read
    identity = _task_identity(task, inputs)
    tiles = tiles_of(scene, config)
    with _run_folder(scene, outputs, options, identity, inputs) as (folder, publication, is_finished):
        plan = Plan(folder, identity, scene, config, outputs, options, tiles, inputs, publication, is_finished)
        yield plan, replace(task, store=plan.store)


@contextmanager
def open_parts(
    path: str, run_dir: Path, config: Config | None, options: RunOptions
) -> Iterator[tuple[RunFolder, Task, InputFiles]]:
    """Check everything that concerns no output, and open the run folder for a run that is computed in parts.

    Raises
    ------
    GeosegError
        If a check fails; nothing has been changed then.
    """
    check_output_name(run_dir)
    task = _open_task(path, config, options)
    check_budget(task, ClusterOptions(workers=0), options.memory)  # each part is computed by one process
    check_room(task.scene, {run_dir.absolute()})
    inputs = InputFiles.of(task.files)
    identity = _task_identity(task, inputs)
    with open_run(run_dir, identity=identity, resume=options.resume, overwrite=options.overwrite) as folder:
        yield folder, replace(task, store=ProductStore(folder, inputs)), inputs


def check_scene(path: str, outputs: Outputs, config: Config | None, options: RunOptions) -> Task:
    """Check everything that can be known before the run folder is opened, and return the task; nothing is written.

    The parameters are those of `open_plan`; the store of the task is in memory.

    Raises
    ------
    GeosegError
        If a check fails.
    """
    outputs.check_names(options.run_dir)
    task = _open_task(path, config, options)
    task = replace(task, config=config_with_objects(task.config, outputs.levels))
    _check_model_output(outputs, task.config)
    _check_outputs(task.scene, outputs, options, InputFiles.of(task.files))
    return task


def _open_task(path: str, config: Config | None, options: RunOptions) -> Task:
    model = _load_model(options)
    config = config or (Config() if model is None else model.config)
    if model is not None:
        check_config(model, config)
    scene = open_configured(path, config, aoi=options.aoi)
    config = with_least_size(config, scene.geobox)
    features = open_features_of(options.features, scene, config)
    check_memory(scene, config)
    has_ndvi, has_votes = scene.vegetation is not None, config.method == "backprop"
    check_attributes(config.polygons.attributes, bands=scene.bands, ndvi=has_ndvi, votes=has_votes)
    if model is not None:
        check_fits(model, scene, features)
    device = pick_device(options.device, config)
    rasters = open_values_of(options.values, scene, config.nodata_mode)
    return Task(ProductStore(MemoryFolder()), scene, config, device, model, options.restretch, features, rasters)


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
    outputs.check_names(options.run_dir)
    _refuse_scene_options(outputs, config, options, has_values=source.values is not None)
    labels = open_label_raster(source, aoi=options.aoi, allow_no_crs=config.allow_no_crs)
    config = with_least_size(config, labels.geobox)
    values = None if source.values is None else open_configured(source.values, config, aoi=None)
    check_memory(labels.grid, config)
    if values is not None:
        check_same_grid(values, labels)
        check_memory(values, config)
    bands = () if values is None else values.bands
    check_attributes(config.polygons.attributes, bands=bands, ndvi=False, segmented=False)
    scene = labels.grid
    rasters = open_values_of(options.values, scene, config.nodata_mode)
    others = [*(() if values is None else [values]), *(raster.source for raster in rasters)]
    inputs = InputFiles.of((*scene.files, *(file for source in others for file in source.files)))
    _check_outputs(scene, outputs, options, inputs)
    identity = _identity(scene, config, inputs)
    identity["labels"] = {"band": labels.band, "nodata": labels.nodata}
    if rasters:
        identity["rasters"] = values_identity(rasters)
    with _run_folder(scene, outputs, options, identity, inputs) as (folder, publication, is_finished):
        tiles = tiles_of(scene, config)
        plan = Plan(folder, identity, scene, config, outputs, options, tiles, inputs, publication, is_finished)
        yield plan, LabelJob(plan.store, config, labels, values, rasters)


def open_configured(path: str, config: Config, *, aoi: Path | None) -> Scene:
    """Return the description of a scene with the bands and the nodata rule of a configuration.

    Raises
    ------
    RasterError
        If it cannot be segmented, see `open_scene`.
    """
    return open_scene(
        path,
        bands=config.bands,
        aoi=aoi,
        roles=BandRoles.of(config),
        nodata_mode=config.nodata_mode,
        allow_no_crs=config.allow_no_crs,
    )


def tiles_of(scene: Scene, config: Config) -> tuple[int, ...]:
    """Return the numbers of the tiles that touch the area of interest, ascending."""
    grid = tile_grid(scene.geobox.shape, config)
    return tuple(tile.number for tile in grid if touches(scene, tile.core))


def blocks_of(scene: Scene, config: Config, tiles: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers of the blocks of superpixels that tiles read, ascending."""
    grid = tile_grid(scene.geobox.shape, config)
    blocks = block_grid(scene.geobox.shape)
    return tuple(sorted({block for number in tiles for block in blocks.reading(grid.tile(number).read)}))


def settings_identity(scene: Scene, config: Config) -> dict[str, Any]:
    """Return that part of the identity of a run for which no pixel is read, as JSON values."""
    geobox = scene.geobox
    return {
        "version": __version__,
        "packages": result_versions(),
        "config": config.to_dict(),
        "grid": {"shape": list(geobox.shape), "transform": list(geobox.transform)[:6], "crs": geobox.crs},
        "aoi": None if scene.aoi is None else hashlib.blake2b(scene.aoi, digest_size=16).hexdigest(),
    }


def _load_model(options: RunOptions) -> Model | None:
    if options.model is None and options.restretch:
        raise ConfigError("restretch applies to a scene that is segmented with a model. Give --model too, or omit it.")
    return None if options.model is None else load_model(options.model)


def _check_model_output(outputs: Outputs, config: Config) -> None:
    if outputs.model is not None and config.method != "backprop":
        raise ConfigError(f"method {config.method} has no network to save. Omit --save-model, or use method backprop.")
    if outputs.model is not None and config.training == "tile":
        raise ConfigError(
            "training tile has no network of the scene to save. Omit --save-model, or use --training scene."
        )


def _check_outputs(scene: Scene, outputs: Outputs, options: RunOptions, inputs: InputFiles) -> dict[Path, FileState]:
    """Check that all outputs can be written and that there is room; return the existing files that may be replaced."""
    given = {"area of interest": options.aoi, "model that is used": options.model}
    read = {what: path for what, path in given.items() if path is not None}
    for what, source in read.items():
        if file_key(source) in {file_key(path) for path in outputs.files}:
            raise OutputError(f"{source} is the {what}. Choose another name for the output.")
    record = OutputRecord(RunFolder(_run_dir(outputs, options)))
    sources = [*map(Path, inputs.paths), *read.values()]
    outputs.check(inputs.paths, overwrite=True)
    replaceable = record.replaceable(outputs, sources, resume=options.resume, overwrite=options.overwrite)
    check_room(scene, {outputs.polygons.absolute().parent, _run_dir(outputs, options).absolute()})
    return replaceable


def _refuse_scene_options(outputs: Outputs, config: Config, options: RunOptions, *, has_values: bool) -> None:
    """Refuse options that only segmentation uses, so that none is ignored silently."""
    given = {
        "a class raster": outputs.class_raster is not None,
        "a model output": outputs.model is not None,
        "levels": bool(outputs.levels),
        "a model": options.model is not None or options.restretch,
        "a raster of features": options.features is not None,
        "a budget of memory": options.memory is not None,
    }
    if wrong := [what for what, is_given in given.items() if is_given]:
        raise ConfigError(f"outlining labels finds no classes, so {wrong[0]} has no effect here. Omit it.")
    if not has_values and (name := "bands" if config.bands else "rgb" if config.rgb else ""):
        raise ConfigError(
            f"{name} selects bands of the values, and there are no values. Give --values too, or omit --{name}."
        )


def _task_identity(task: Task, inputs: InputFiles) -> dict[str, Any]:
    identity, model = _identity(task.scene, task.config, inputs, task.files), task.model
    if task.features is not None:
        identity["features"] = features_identity(task.features)
    if task.rasters:
        identity["rasters"] = values_identity(task.rasters)
    if model is not None:
        identity["model"] = {"scene": model.origin.scene, "digest": model.digest, "restretch": task.restretch}
    return identity


def _identity(scene: Scene, config: Config, inputs: InputFiles, files: Sequence[str] = ()) -> dict[str, Any]:
    """Return what the results depend on, as JSON values; `files` has all files of the input, addresses included."""
    identity = settings_identity(scene, config) | {"input": fingerprint((*scene.files, *files, *inputs.paths))}
    inputs.check()  # the content that was read is that of the files that are described
    return identity


@contextmanager
def _run_folder(
    scene: Scene, outputs: Outputs, options: RunOptions, identity: dict[str, Any], inputs: InputFiles
) -> Iterator[tuple[RunFolder, Publication, bool]]:
    """Lock the outputs and open the run folder; return also whether an earlier run has written these outputs."""
    run_dir = _run_dir(outputs, options)
    with locked_outputs(outputs.paths):
        # Again, now that no other run can write them; before the results of an earlier run are removed.
        replaceable = _check_outputs(scene, outputs, options, inputs)
        with open_run(run_dir, identity=identity, resume=options.resume, overwrite=options.overwrite) as run:
            record = OutputRecord(run)
            if record.is_complete(outputs):
                run.clean()  # what an interruption has left
                yield run, Publication(), True
            else:
                yield run, record.begin(replaceable, inputs), False


def _run_dir(outputs: Outputs, options: RunOptions) -> Path:
    return options.run_dir or outputs.polygons.with_suffix(".run")
