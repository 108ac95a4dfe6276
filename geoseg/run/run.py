"""A run under way: its folder, who works on it, what is done, what failed, and how long each step took."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.config import Config
from geoseg.errors import ConfigError, OutputError, TileError
from geoseg.output.columns import check_attributes
from geoseg.output.model import Model, load_model
from geoseg.output.model_checks import check_config, check_fits
from geoseg.output.paths import Outputs
from geoseg.progress import StageReporter
from geoseg.raster.scene import Scene, open_scene, touches
from geoseg.run.executors import ClusterOptions, Executor, Serial
from geoseg.run.folder import RunFolder, open_run, read_report
from geoseg.run.provenance import fingerprint
from geoseg.segment.class_model import ClassModel
from geoseg.steps import align_codes
from geoseg.steps.segment import Job, block_grid
from geoseg.steps.vectorize import tile_grid

log = logging.getLogger(__name__)

_WORKERS_ON_A_GPU = 4  # each has its own half GiB there; superpixels and outlines are still made by the processor
_BYTES_PER_PIXEL = 5  # of the run folder and the results together; see docs/benchmarks.md


@dataclass(frozen=True)
class RunOptions:
    """What a run needs to know besides its configuration.

    Parameters
    ----------
    aoi : vector file with the area of interest; what lies outside is no data
    model : a kept network that segments the scene into its own classes; None = learn one
    restretch : fit the stretch to the scene, instead of taking the model's
    run_dir : the run folder; None = beside the polygons, named as they are with the ending .run
    resume : go on with what the run folder holds
    overwrite : replace results and run folder of an earlier run
    keep : leave the work of all steps in the run folder at the end
    device : "cpu", "cuda", or "auto" = cuda where there is one
    """

    aoi: Path | None = None
    model: Path | None = None
    restretch: bool = False
    run_dir: Path | None = None
    resume: bool = False
    overwrite: bool = False
    keep: bool = False
    device: str = "auto"


@dataclass
class Work:
    """A run under way.

    Parameters
    ----------
    identity : what the work depends on: version, config, input, grid, model
    model : the kept network that is used; None = one is learned
    tiles : numbers of the tiles that are worked, ascending; those that failed are taken out
    blocks : numbers of the blocks of superpixels that these tiles look at, ascending
    finished : an earlier run has made these results already
    job : what the steps must know, as soon as it is known
    failed : tile number → one line that says why
    seconds : step → how long it took
    """

    run: RunFolder
    identity: dict[str, Any]
    scene: Scene
    config: Config
    model: Model | None
    options: RunOptions
    progress: StageReporter
    device: str
    tiles: list[int]
    blocks: list[int]
    finished: bool
    job: Any = None
    executor: Executor = field(default_factory=Serial)
    failed: dict[int, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def places(self, cluster: ClusterOptions) -> ClusterOptions:
        """Say who works where nobody has said it: on a GPU fewer processes than there are cores."""
        undecided = (cluster.workers, cluster.scheduler, cluster.scheduler_file) == (None, None, None)
        if self.device == "cpu" or not undecided:
            return cluster
        return replace(cluster, workers=min(os.cpu_count() or 1, _WORKERS_ON_A_GPU))

    def survey(self) -> Job:
        """Look at the whole scene; return what every later step must know."""
        with self.timed("survey", 1):
            if self.model is not None:
                restretch = self.options.restretch
                align_codes.take_survey(self.run, self.scene, self.config, self.model, restretch=restretch)
            survey = align_codes.survey_scene(self.run, self.scene, self.config)
        job = self.job = Job(self.run, self.scene, self.config, survey, self.device)
        return job

    def learn(self) -> None:
        """Learn the scene network, or take the one that was kept."""
        if self.model is not None:
            self.run.put("scene", "network", self.model.network)
        elif self.config.method == "backprop" and self.config.training == "scene":
            with self.timed("learn", self.config.learn.steps):
                align_codes.learn_network(self.job, self.progress.advance)
                self.progress.advance(self.config.learn.steps)  # also where an earlier run had learned it

    def find_classes(self) -> ClassModel:
        """Find the classes of the scene, or take those that were kept."""
        if self.model is not None:
            self.run.put("classes", "class_model", self.model.class_model.to_arrays())
        return align_codes.find_classes(self.job, self.blocks)

    def each_block(self, product: str, function: Callable[[Any, int], object]) -> None:
        """Do a step for every block of superpixels that has no `product` yet."""
        for number, error in self._each(product, function, product, self.blocks):
            self.progress.note(f"block {number} of superpixels: {error}")  # its tiles will fail, and are then listed

    def each_tile(self, step: str, function: Callable[[Any, int], object], product: str) -> None:
        """Do a step for every tile that has no `product` yet; a tile that fails is left out of the later steps.

        Raises
        ------
        TileError : no tile is left
        """
        for number, error in self._each(step, function, product, self.tiles):
            self.failed[number] = error
            self.progress.note(f"tile {number} failed: {error}")
        self.tiles = [number for number in self.tiles if number not in self.failed]
        if not self.tiles:
            raise TileError(f"every tile failed; the first one: {next(iter(self.failed.values()))}")

    @contextmanager
    def timed(self, step: str, total: int) -> Iterator[None]:
        """Tell that a step begins, and note how long it takes."""
        rows, cols = self.scene.geobox.shape
        self.progress.begin(step, total, pixels=rows * cols)
        begin = time.monotonic()
        yield
        self.progress.finish()
        self.seconds[step] = round(time.monotonic() - begin, 3)

    def _each(
        self, step: str, function: Callable[[Any, int], object], product: str, numbers: Sequence[int]
    ) -> Iterator[tuple[int, str]]:
        with self.timed(step, len(numbers)):
            finished = self.run.finished(product)
            todo = [number for number in numbers if number not in finished]
            done = len(numbers) - len(todo)
            self.progress.advance(done)
            for outcome in self.executor.run(function, self.job, todo):
                done += 1
                self.progress.advance(done)
                if outcome.error is not None:
                    log.debug("%s of %d: %s", step, outcome.key, outcome.traceback)
                    yield outcome.key, outcome.error


@contextmanager
def open_work(
    path: str, outputs: Outputs, config: Config | None, options: RunOptions, progress: StageReporter
) -> Iterator[Work]:
    """Look at everything that can be known before the first tile, and open the run folder.

    Parameters
    ----------
    config : None = the model's, or the defaults

    Raises
    ------
    GeosegError : something will not work; nothing has been touched then
    """
    model = _model(options)
    config = config or (Config() if model is None else model.config)
    if model is not None:
        check_config(model, config)
    scene = open_scene(path, bands=config.bands, aoi=options.aoi, red=config.red, nir=config.nir)
    check_attributes(config.polygons.attributes, bands=scene.bands, ndvi=scene.vegetation is not None)
    if model is not None:
        check_fits(model, scene)
    _check_keeping(outputs, config, options)
    check_places(scene, outputs, options)
    tiles = tiles_of(scene, config)
    blocks = _blocks(scene, config, tiles)
    device = pick_device(options.device, config)
    identity = identity_of(scene, config, options)
    if model is not None:
        kept = {"scene": model.origin.scene, "digest": model.digest, "restretch": options.restretch}
        identity["model"] = kept
    with run_of(outputs, options, identity) as (run, finished):
        yield Work(run, identity, scene, config, model, options, progress, device, tiles, blocks, finished)


def check_places(scene: Scene, outputs: Outputs, options: RunOptions, *, also_read: Sequence[str] = ()) -> None:
    """Look whether all results can be written where they shall be, and whether there is room.

    Parameters
    ----------
    also_read : files that must not be written over, besides those of the scene and the area of interest
    """
    if options.aoi is not None and options.aoi.resolve() in {path.resolve() for path in outputs.paths}:
        raise OutputError(f"{options.aoi} is the area of interest itself; give the result another name.")
    outputs.check((*scene.files, *also_read), overwrite=options.overwrite or _made_here(outputs, options))
    _check_room(scene, {outputs.polygons.absolute().parent, _run_dir(outputs, options).absolute()})


def tiles_of(scene: Scene, config: Config) -> list[int]:
    """Return the numbers of the tiles that have ground in the area of interest, ascending."""
    grid = tile_grid(scene.geobox.shape, config)
    return [tile.number for tile in grid if touches(scene, tile.core)]


def identity_of(scene: Scene, config: Config, options: RunOptions, *, also_read: Sequence[str] = ()) -> dict[str, Any]:
    """Return what the work depends on, fit for JSON."""
    files = [*scene.files, *also_read, *([str(options.aoi)] if options.aoi else [])]
    geobox = scene.geobox
    grid = {"shape": list(geobox.shape), "transform": list(geobox.transform)[:6], "crs": geobox.crs}
    return {"version": __version__, "config": config.to_dict(), "input": fingerprint(files), "grid": grid}


@contextmanager
def run_of(outputs: Outputs, options: RunOptions, identity: dict[str, Any]) -> Iterator[tuple[RunFolder, bool]]:
    """Open the run folder; say also whether an earlier run has made these results already."""
    with open_run(
        _run_dir(outputs, options),
        identity=identity,
        resume=options.resume,
        overwrite=options.overwrite,
    ) as run:
        finished = _is_finished(run, outputs)
        if not finished:
            run.put_json("outputs", [str(path.absolute()) for path in outputs.paths])
        yield run, finished


def _model(options: RunOptions) -> Model | None:
    if options.model is None and options.restretch:
        raise ConfigError("restretch is for a scene that is segmented with a model; give --model too, or leave it out.")
    return None if options.model is None else load_model(options.model)


def _check_keeping(outputs: Outputs, config: Config, options: RunOptions) -> None:
    if outputs.model is not None and config.method != "backprop":
        raise ConfigError(
            f"method {config.method} has no network that could be kept; leave out --save-model, or take backprop."
        )
    if outputs.model is not None and config.training == "tile":
        raise ConfigError(
            "training tile has no network of the scene that could be kept; leave out --save-model, or take --training scene."
        )
    if options.model is not None and options.model.resolve() in {path.resolve() for path in outputs.paths}:
        raise OutputError(f"{options.model} is the model that is used; give the result another name.")


def pick_device(wanted: str, config: Config) -> str:
    """Return "cpu" or "cuda", whichever "auto" means here.

    Raises
    ------
    ConfigError : there is no GPU to take, or the method does nothing on one
    """
    if wanted == "cuda" and config.method != "backprop":
        raise ConfigError(
            f"device is cuda, but method {config.method} does nothing on a GPU. Take --device cpu or auto."
        )
    if wanted == "cpu" or config.method != "backprop":
        return "cpu"
    import torch  # only here, because it takes seconds that an error before should not cost

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError("device is cuda, but torch finds no GPU that it can use. Take --device cpu or auto.")
    return "cpu"


def _run_dir(outputs: Outputs, options: RunOptions) -> Path:
    return options.run_dir or outputs.polygons.with_suffix(".run")


def _is_finished(run: RunFolder, outputs: Outputs) -> bool:
    """Say whether nothing is left to do: the report is there, the work is cleared away, and the results are there."""
    cleared = (run.path / "run.json").is_file() and not run.has_json("outputs")
    if not cleared or not all(path.exists() for path in outputs.paths):
        return False
    return not outputs.class_layer or bool(read_report(run).get("class_layer"))


def _made_here(outputs: Outputs, options: RunOptions) -> bool:
    """Say whether the results that are there come from the run that goes on."""
    run = RunFolder(_run_dir(outputs, options))
    if not options.resume:
        return False
    if _is_finished(run, outputs):
        return True
    if not run.has_json("outputs"):
        return False
    return {str(path.absolute()) for path in outputs.paths if path.exists()} <= set(run.get_json("outputs"))


def _blocks(scene: Scene, config: Config, tiles: Sequence[int]) -> list[int]:
    """Return the numbers of the blocks of superpixels that tiles look at, ascending."""
    grid = tile_grid(scene.geobox.shape, config)
    blocks = block_grid(scene.geobox.shape)
    return sorted({block for number in tiles for block in blocks.reading(grid.tile(number).read)})


def _check_room(scene: Scene, folders: set[Path]) -> None:
    rows, cols = scene.geobox.shape
    needed = rows * cols * _BYTES_PER_PIXEL
    for folder in sorted(folders):
        there = next(path for path in (folder, *folder.parents) if path.is_dir())  # a run folder may be made yet
        free = shutil.disk_usage(there).free
        if free < needed:
            raise OutputError(
                f"{there} has {free / 1e9:.1f} GB of room, and a scene of {rows * cols / 1e6:.0f} Mpx needs about "
                f"{needed / 1e9:.1f} GB. Make room, or choose another place."
            )
