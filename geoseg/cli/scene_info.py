"""Facts about a scene and the run that would segment it."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config, Learn
from geoseg.errors import GeosegError
from geoseg.grid import Window
from geoseg.output.model import Model
from geoseg.pipeline import run_stages
from geoseg.progress import ProgressCallback, ignore
from geoseg.raster.collar import fill_names
from geoseg.raster.coverage import coverage_notes, measure_coverage
from geoseg.raster.dataset import opened
from geoseg.raster.pixel_size import resolution
from geoseg.raster.scene import Scene, read_bands, read_tolerant
from geoseg.run.budget import MemoryEstimate, estimate_memory, n_at_once, n_processes
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.job import Task
from geoseg.run.memory import MemoryFolder
from geoseg.run.plan import blocks_of, tiles_of
from geoseg.run.products import ProductStore
from geoseg.run.resources import disk_needed
from geoseg.run.stages import Stages
from geoseg.segment.survey import Survey
from geoseg.steps.survey import survey_scene, survey_windows

_SAMPLE_LEARN = 6  # training steps and windows of the sample; training time is proportional to them
_FIRST_SIDE = 128  # px of the window whose time is that of imports and of loading compiled functions
_ONCE = ("survey", "learn")  # stages whose time does not grow with the scene
_SERIAL = ("classify", "merge", "write")  # stages that one process computes
_EXTRA_WRITE = 0.1  # share of the time of all stages; writing is not part of the sample


@dataclass(frozen=True)
class Band:
    """A band in use.

    Parameters
    ----------
    number : int
        From 1.
    name : str
        "" = the raster gives none.
    dtype : str
    nodata : float or None
        The nodata value of the file; None = none.
    treatment : str
        How nodata is recognised.
    low, high : float
        Stretch of the scene: these values become 0 and 1.
    """

    number: int
    name: str
    dtype: str
    nodata: float | None
    treatment: str
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """Cost of a run, scaled from one sample tile that was segmented on this machine.

    Parameters
    ----------
    seconds : float
        Wall time of the whole run.
    sample_seconds : dict of str to float
        Stage → time for the sample tile; of survey and learn, for the scene.
    sample_pixels : int
    """

    seconds: float
    sample_seconds: dict[str, float]
    sample_pixels: int


@dataclass(frozen=True)
class SceneInfo:
    """Facts about a scene and the run that would segment it.

    Parameters
    ----------
    path : str
    n_cols, n_rows : int
    resolution : float
        Side of a pixel in m; 0 = unknown.
    crs : str
        WKT; "" = none.
    bands : tuple of Band
    rgb : tuple of int
        Numbers of the bands that are shown as red, green and blue.
    rgb_rule : str
        How they were found, such as "by description".
    red_and_nir : tuple of int or None
        Numbers of the bands of NDVI; None = unknown.
    valid_share : float
        Share of valid pixels in the windows of the survey.
    n_windows : int
        Windows of the survey.
    superpixels : dict
        Parameters of the superpixel method that follow from resolution and contrast.
    n_tiles, n_blocks : int
        Tiles, and blocks of superpixels, that are processed.
    tile_size : int
        Pixels of a tile's side.
    workers, threads : int
        Worker processes, 0 = none; tiles that this process computes at once if there are none.
    disk_needed : int
        Bytes of the run folder and the outputs together, approximately.
    memory : MemoryEstimate
        Of the processes of the run.
    estimate : Estimate or None
        None = the sample tile could not be segmented.
    notes : tuple of str
        What the user should know of the bands.
    """

    path: str
    n_cols: int
    n_rows: int
    resolution: float
    crs: str
    bands: tuple[Band, ...]
    rgb: tuple[int, ...]
    rgb_rule: str
    red_and_nir: tuple[int, int] | None
    valid_share: float
    n_windows: int
    superpixels: dict[str, Any]
    n_tiles: int
    n_blocks: int
    tile_size: int
    workers: int
    threads: int
    disk_needed: int
    memory: MemoryEstimate
    estimate: Estimate | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can store."""
        return asdict(self)


@dataclass(frozen=True)
class WindowPixels:
    """A window of a scene as the source of pixels of a smaller scene."""

    scene: Scene
    window: Window

    def read(self, bands: tuple[int, ...], window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the pixels of a window of the smaller scene and where each band has data."""
        shifted = window._replace(
            col_off=window.col_off + self.window.col_off, row_off=window.row_off + self.window.row_off
        )
        return read_bands(replace(self.scene, bands=bands), shifted)


def scene_info(task: Task, *, cluster: ClusterOptions, progress: ProgressCallback = ignore) -> SceneInfo:
    """Survey a scene, segment one tile of it as a sample, and return what a run would do.

    Parameters
    ----------
    task : Task
        Scene, configuration, device and model; its store is not used.
    cluster : ClusterOptions
        Where to compute; of workers elsewhere, how many there are is unknown, and 1 is assumed.
    progress : ProgressCallback

    Raises
    ------
    GeosegError
        If the scene cannot be read or has no valid pixels.
    """
    scene, config = task.scene, task.config
    tiles = tiles_of(scene, config)
    task = replace(task, store=ProductStore(MemoryFolder()))
    rows, cols = scene.geobox.shape
    stages = Stages(task.store, (), n_pixels=rows * cols, progress=progress)
    stages.note_missing_cache()
    job = survey_scene(task, stages)
    task, scene, survey = replace(task, scene=job.scene), job.scene, job.survey
    if task.model is not None:  # the windows of its survey are those of another scene
        survey = replace(survey, windows=survey_windows(scene, config).windows)
    found = scene.vegetation
    return SceneInfo(
        scene.path,
        cols,
        rows,
        resolution(scene.geobox),
        scene.geobox.crs,
        _bands(scene, survey),
        tuple(scene.bands[i] for i in scene.red_green_blue),
        scene.colour_rule,
        None if found is None else (scene.bands[found.red], scene.bands[found.nir]),
        float(np.mean([read_tolerant(scene, window)[1].mean() for window in survey.windows])),
        len(survey.windows),
        _used_parameters(survey),
        len(tiles),
        len(blocks_of(scene, config, tiles)),
        config.tiles.size,
        n_processes(cluster),
        cluster.n_threads,
        disk_needed(scene),
        estimate_memory(task),
        _estimate(task, survey, progress, stages.seconds, (len(tiles), n_at_once(cluster))),
        tuple(coverage_notes(scene, measure_coverage(scene))),
    )


def _bands(scene: Scene, survey: Survey) -> tuple[Band, ...]:
    with opened(scene.path) as src:
        values = [src.nodatavals[band - 1] for band in scene.bands]
        flags = src.mask_flag_enums
        masks = [[flag.name for flag in flags[band - 1]] for band in scene.bands]
    treatments = [
        _treatment(scene, value, mask, dtype) for value, mask, dtype in zip(values, masks, scene.dtypes, strict=True)
    ]
    columns = (scene.bands, scene.names, scene.dtypes, values, treatments, survey.stretch.low, survey.stretch.high)
    return tuple(Band(*row) for row in zip(*columns, strict=True))


def _treatment(scene: Scene, nodata: float | None, mask: list[str], dtype: str) -> str:
    """Return how nodata is recognised, by the rule of `raster.nodata`."""
    reasons = []
    if nodata is not None:
        reasons.append(f"nodata where {nodata:g} in {scene.nodata_mode} band{'s' * (scene.nodata_mode == 'all')}")
    elif "per_dataset" in mask and "alpha" not in mask:
        reasons.append("nodata by the mask of the file")
    if scene.collar is not None:
        reasons.append(f"nodata in the undeclared collar of {fill_names(scene.collar)}")
    if scene.alpha:
        reasons.append("nodata where transparent")
    if dtype.startswith("float"):
        reasons.append("nodata where not finite")
    return ", ".join(reasons) or "all pixels are valid"


def _used_parameters(survey: Survey) -> dict[str, Any]:
    """Return the parameters that the superpixel method uses."""
    names = {"felzenszwalb": ("scale", "sigma", "min_size"), "slic": ("n_segments", "compactness")}
    values = asdict(survey.superpixels)
    return {"method": values["method"]} | {name: values[name] for name in names[values["method"]]}


def _estimate(
    task: Task, survey: Survey, progress: ProgressCallback, measured: dict[str, float], counts: tuple[int, int]
) -> Estimate | None:
    """Segment one tile in this process and scale its times to `counts` (tiles, tiles at once); None if the tile fails.

    A part of the tile is segmented before: what is imported and compiled then, each process does once and not per tile.
    """
    window = _sample_window(task.scene, survey, task.config)
    learn = task.config.learn
    few = replace(learn, steps=min(learn.steps, _SAMPLE_LEARN), windows=min(learn.windows, _SAMPLE_LEARN))
    first = {}
    with suppress(GeosegError):  # nodata there
        first = _timed(task, _middle(window), replace(few, steps=1, windows=1), ignore)
    try:
        seconds = _timed(task, window, few, progress) | measured
    except GeosegError:
        return None
    if "learn" in seconds:
        seconds["learn"] *= learn.steps / few.steps
    once = sum(time for name, time in first.items() if name != "survey")  # that of the scene has loaded its functions
    return Estimate(round(once + _scaled(seconds, *counts), 3), seconds, window.width * window.height)


def _timed(task: Task, window: Window, learn: Learn, progress: ProgressCallback) -> dict[str, float]:
    """Segment a window in this process and return the wall time of each stage."""
    sample = replace(
        task.scene,
        geobox=task.scene.geobox.cropped(window),
        aoi=None,
        source=WindowPixels(task.scene, window),
        collar=None,
    )
    config = replace(task.config, learn=learn, collar="keep")  # that of the scene is left out by its pixels
    task = replace(task, scene=sample, config=config, store=ProductStore(MemoryFolder()))
    tiles = tiles_of(sample, config)
    n_pixels = window.width * window.height
    stages = Stages(task.store, tiles, blocks_of(sample, config, tiles), n_pixels=n_pixels, progress=progress)
    run_stages(task, stages)
    return stages.seconds


def _middle(window: Window) -> Window:
    """Return the middle of a window, `_FIRST_SIDE` pixels wide and high or less."""
    width, height = min(window.width, _FIRST_SIDE), min(window.height, _FIRST_SIDE)
    left, top = (window.width - width) // 2, (window.height - height) // 2
    return Window(window.col_off + left, window.row_off + top, width, height)


def _sample_window(scene: Scene, survey: Survey, config: Config) -> Window:
    """Return a window of the size of a tile around the window of the survey with the most valid pixels."""
    rows, cols = scene.geobox.shape
    best = max(survey.windows, key=lambda window: read_tolerant(scene, window)[1].mean())
    height, width = min(config.tiles.size, rows), min(config.tiles.size, cols)
    top = min(max(best.row_off + best.height // 2 - height // 2, 0), rows - height)
    left = min(max(best.col_off + best.width // 2 - width // 2, 0), cols - width)
    return Window(left, top, width, height)


def _scaled(seconds: dict[str, float], n_tiles: int, n_at_once: int) -> float:
    """Return the wall time of a run from the times of one tile."""
    rounds = math.ceil(n_tiles / n_at_once)
    factors = {name: 1 if name in _ONCE else n_tiles if name in _SERIAL else rounds for name in seconds}
    return (1 + _EXTRA_WRITE) * sum(time * factors[name] for name, time in seconds.items())


def task_of(scene: Scene, config: Config, *, device: str = "cpu", model: Model | None = None) -> Task:
    """Return the task that `scene_info` takes."""
    return Task(ProductStore(MemoryFolder()), scene, config, device, model)
