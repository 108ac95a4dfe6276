"""Survey stage: parameters of the whole scene, from a sample of windows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config
from geoseg.errors import RasterError
from geoseg.grid import TileGrid, Window
from geoseg.raster.block_mask import BlockMask
from geoseg.raster.collar import Collar, collar_notes
from geoseg.raster.collar_search import find_collar
from geoseg.raster.coverage import coverage_notes, extent_of, measure_coverage, no_valid_pixels
from geoseg.raster.nodata import finite_and_valid
from geoseg.raster.pixel_size import resolution
from geoseg.raster.precision import precision_notes
from geoseg.raster.scene import Scene, read, read_bands, read_tolerant
from geoseg.run.contents import SurveyDocument
from geoseg.run.job import Job, LabelJob, Task
from geoseg.run.outcome import patiently
from geoseg.run.products import COLLAR, FEATURE_REDUCTION, SURVEY, ProductStore
from geoseg.run.stages import Stages
from geoseg.segment.features import REACH, Standardizer, Stretch, network_input
from geoseg.segment.projection import Projection, fit_projection
from geoseg.segment.superpixels import contrast, fit_parameters
from geoseg.segment.survey import Survey
from geoseg.steps.features_raster import survey_features

_PERCENTILES = (1.0, 99.0)  # of the stretch; minimum and maximum would depend on outliers
_ROUNDS = 4  # draws of windows, where many of them are not valid
_MIN_VALID = 0.5  # valid share of a window that is worth training on
_SEARCH_TILE = 512  # px; not the tile size of the run, which must not change the result
_PIXELS_PER_WINDOW = 4096  # for the stretch
_MIN_PIXELS_PER_WINDOW = 512
_MANY_BANDS = 40  # from which on fewer pixels keep the memory of the sample
_WINDOW_SEED = 0  # not the seed of the run: a stretch that depends on the seed would change every class
_PASSES = 2  # over the windows: stretch; channels of the network and contrast


@dataclass(frozen=True)
class _Sample:
    """Valid pixels of a window.

    Parameters
    ----------
    valid_share : float
        Of the pixels of the window.
    pixels : (band, pixel) float32
    known : (band, pixel) bool
        Where each band has data.
    """

    valid_share: float
    pixels: NDArray[np.float32]
    known: NDArray[np.bool_]


def survey_scene(task: Task, stages: Stages) -> Job:
    """Survey a scene, or take over the survey of its model or of an earlier run, and return the job of later stages."""
    with stages.stage("survey", _PASSES * task.config.learn.windows):
        task = replace(task, scene=_search_collar(task.scene, task.config, task.store))
        if not task.store.has(SURVEY, verify=True):
            found = measure_coverage(task.scene)
            for note in coverage_notes(task.scene, found):
                stages.reporter.note(note)
            survey = patiently(_survey_of, task, stages.advance)
            for note in precision_notes(task.scene, survey.stretch.low, survey.stretch.high):
                stages.reporter.note(note)
            if found is not None:
                survey = replace(survey, superpixels=replace(survey.superpixels, by_value=found.is_flat))
            task.store.put(SURVEY, SurveyDocument(survey))
        survey = task.store.get(SURVEY).survey
        if task.features is not None and not task.store.has(FEATURE_REDUCTION, verify=True):
            windows = survey.windows or _draw_windows(task.scene, task.config)[0]  # those of a model are not saved
            patiently(survey_features, task, task.features, windows, stages.reporter.note)
    return Job(task.store, task.scene, task.config, survey, task.device, task.features, task.rasters)


def find_collar_of_values(job: LabelJob, stages: Stages) -> LabelJob:
    """Search for the collar of the raster of values of a label raster, and return the job with it."""
    if job.values is None:
        return job
    is_known = job.store.has(COLLAR, verify=True)
    values = _search_collar(job.values, job.config, job.store)
    if values.collar is not None and not is_known:
        for note in collar_notes(values.collar, values.path):
            stages.reporter.note(note)
    return replace(job, values=values)


def with_collar(scene: Scene, store: ProductStore) -> Scene:
    """Return a scene with its collar that is stored, if it has one."""
    collar = store.get(COLLAR)
    return replace(scene, collar=collar if collar.fills else None)


def survey_windows(scene: Scene, config: Config, advance: Callable[[], None] = lambda: None) -> Survey:
    """Return the survey of a scene, from windows that are spread over it.

    Parameters
    ----------
    scene : Scene
    config : Config
    advance : callable
        Called after each window, `_PASSES` times for all windows.

    Raises
    ------
    RasterError
        If no pixel of the scene is valid, or none can be read.
    """
    windows, samples = _draw_windows(scene, config)
    stretch = _fit_stretch(scene, windows, samples, advance)
    standard, projection, contrast_of_windows = _fit_channels(scene, windows, stretch, config, advance)
    superpixels = fit_parameters(config.superpixels, resolution=resolution(scene.geobox), contrast=contrast_of_windows)
    return Survey(stretch, standard, tuple(windows), superpixels, projection)


def fit_stretch(scene: Scene, config: Config) -> Stretch:
    """Return the stretch of a scene, as in its survey."""
    return _fit_stretch(scene, *_draw_windows(scene, config))


def read_crop(
    scene: Scene, window: Window, stretch: Stretch, inputs: Literal["bands", "bands+texture"]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Read a window with the margin that the network's input needs.

    Returns
    -------
    bands : (band, y, x) float32
        Stretched.
    layers : (channel, y, x) float32
        As `features.network_input` returns them.
    valid : (y, x) bool
    """
    wide = window.expanded(REACH, scene.geobox.shape)
    pixels, valid = read_tolerant(scene, wide)
    bands = stretch.apply(pixels, valid)
    inner = window.within(wide)
    layers = network_input(bands, valid, inputs)[:, *inner]
    return bands[:, *inner], layers, np.ascontiguousarray(valid[inner])  # kernels are compiled per memory layout


def in_file_order(windows: Sequence[Window]) -> list[int]:
    """Return the positions of windows, those in the same blocks of a file one after the other.

    GDAL keeps the last blocks that it has decoded. In random order, each window of a scene with many bands would decode
    its blocks anew.
    """
    return sorted(range(len(windows)), key=lambda i: (windows[i].row_off // windows[i].height, windows[i].col_off))


def _search_collar(scene: Scene, config: Config, store: ProductStore) -> Scene:
    """Return a scene with its collar, which is stored."""
    if not store.has(COLLAR, verify=True):
        none = Collar((), BlockMask(scene.geobox.shape))
        store.put(COLLAR, none if config.collar == "keep" else patiently(find_collar, scene))
    return with_collar(scene, store)


def _survey_of(task: Task, advance: Callable[[], None]) -> Survey:
    if task.model is None:
        return survey_windows(task.scene, task.config, advance)
    if not task.restretch:
        return task.model.survey
    return replace(task.model.survey, stretch=fit_stretch(task.scene, task.config))


def _draw_windows(scene: Scene, config: Config) -> tuple[list[Window], dict[Window, _Sample]]:
    """Return windows with valid pixels, and samples of those that were read."""
    whole = extent_of(scene)
    rows, cols = scene.geobox.shape
    size = (min(config.learn.crop, rows), min(config.learn.crop, cols))
    draw = np.random.default_rng(_WINDOW_SEED)
    good: list[Window] = []
    poor: list[Window] = []
    damaged: list[Window] = []  # in part at least
    samples: dict[Window, _Sample] = {}
    for _ in range(_ROUNDS):
        drawn = list(_spread(whole, size, scene.geobox.shape, config.learn.windows, draw))
        for i in in_file_order(drawn):
            with contextlib.suppress(RasterError):
                samples[drawn[i]] = _sample(*_read_bands(scene, drawn[i]))
        for window in drawn:
            if window not in samples:
                damaged.append(window)
            elif samples[window].valid_share > 0:
                (good if samples[window].valid_share >= _MIN_VALID else poor).append(window)
        if len(good) >= config.learn.windows // 2:
            break
    if len(good) < config.learn.windows // 2:
        good += poor  # scattered valid pixels: a few full windows alone are not representative
    errors: list[RasterError] = []
    windows = good or [window for window in damaged if _has_valid(scene, window)]
    windows = windows or list(_search(scene, size, errors))
    if not windows:
        raise RasterError(no_valid_pixels(scene, errors))
    return windows[: config.learn.windows], samples


def _spread(
    extent: Window, size: tuple[int, int], shape: tuple[int, int], n_windows: int, draw: np.random.Generator
) -> Iterator[Window]:
    """Yield windows, one at random in each cell of a lattice of about `n_windows` cells."""
    n_cols = max(1, round(np.sqrt(n_windows * extent.width / extent.height)))
    n_rows = max(1, round(n_windows / n_cols))
    cells = [(row, col) for row in range(n_rows) for col in range(n_cols)]
    for i in draw.permutation(len(cells)):  # in random order, so that the first ones are spread too
        row, col = cells[i] + draw.random(2)
        top = int(extent.row_off + row / n_rows * extent.height - size[0] / 2)
        left = int(extent.col_off + col / n_cols * extent.width - size[1] / 2)
        top, left = min(max(top, 0), shape[0] - size[0]), min(max(left, 0), shape[1] - size[1])
        yield Window(left, top, size[1], size[0])


def _search(scene: Scene, size: tuple[int, int], errors: list[RasterError]) -> Iterator[Window]:
    """Yield windows with valid pixels in a scene where the random windows had none; `errors` gets those of reading."""
    rows, cols = scene.geobox.shape
    grid = TileGrid((rows, cols), _SEARCH_TILE, 0)
    for number in grid.touching(extent_of(scene)):
        core = grid.tile(number).core
        try:
            _, valid = read(scene, core)
        except RasterError as err:
            errors.append(err)
            continue
        if valid.any():
            row, col = np.argwhere(valid).mean(axis=0).astype(int)
            top = min(max(core.row_off + row - size[0] // 2, 0), rows - size[0])
            left = min(max(core.col_off + col - size[1] // 2, 0), cols - size[1])
            window = Window(int(left), int(top), size[1], size[0])
            if _has_valid(scene, window):
                yield window


def _has_valid(scene: Scene, window: Window) -> bool:
    return bool(read_tolerant(scene, window)[1].any())


def _fit_stretch(
    scene: Scene, windows: list[Window], samples: dict[Window, _Sample], advance: Callable[[], None] = lambda: None
) -> Stretch:
    chosen = []
    for window in windows:
        chosen.append(samples.get(window) or _sample(*_read_tolerant_bands(scene, window)))
        advance()
    values = np.concatenate([sample.pixels for sample in chosen], axis=1).astype(np.float64)
    known = np.concatenate([sample.known for sample in chosen], axis=1)
    low, high = np.percentile(values, _PERCENTILES, axis=1)
    even = low == high  # nearly all pixels have one value; keep the others distinguishable
    low, high = np.where(even, values.min(axis=1), low), np.where(even, values.max(axis=1), high)
    for band in np.flatnonzero(~known.all(axis=1)):
        measured = values[band][known[band]]
        if measured.size and _is_far(values[band][~known[band]], measured):
            ends = np.percentile(measured, _PERCENTILES)
            low[band], high[band] = ends if ends[0] < ends[1] else (measured.min(), measured.max())
    return Stretch(tuple(low.tolist()), tuple(high.tolist()))


def _read_tolerant_bands(
    scene: Scene, window: Window
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the pixels of a window, where each band has data, and which pixels are valid; not where it is damaged."""
    try:
        return _read_bands(scene, window)
    except RasterError:
        pixels, valid = read_tolerant(scene, window)
        return pixels, np.broadcast_to(valid, pixels.shape), valid


def _read_bands(scene: Scene, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    pixels, known = read_bands(scene, window)
    return pixels, known, finite_and_valid(pixels, known, scene.nodata_mode)


def _sample(pixels: NDArray[np.float32], known: NDArray[np.bool_], valid: NDArray[np.bool_]) -> _Sample:
    chosen = _thinned(valid, len(pixels))
    flat = (len(pixels), -1)
    return _Sample(float(valid.mean()), pixels.reshape(flat)[:, chosen], known.reshape(flat)[:, chosen])


def _thinned(valid: NDArray[np.bool_], n_bands: int) -> NDArray[np.intp]:
    """Return positions of valid pixels in the flattened window, evenly thinned out; fewer for many bands."""
    chosen = np.flatnonzero(valid)
    most = max(_MIN_PIXELS_PER_WINDOW, _PIXELS_PER_WINDOW * min(n_bands, _MANY_BANDS) // n_bands)
    return chosen[:: max(1, len(chosen) // most)]


def _is_far(nodata: NDArray[np.float64], measured: NDArray[np.float64]) -> bool:
    """Return whether nodata values lie so far outside the measurements, as -9999 does, that they are none."""
    low, high = measured.min(), measured.max()
    return bool(((nodata < low - (high - low)) | (nodata > high + (high - low))).all())


def _fit_channels(
    scene: Scene, windows: list[Window], stretch: Stretch, config: Config, advance: Callable[[], None]
) -> tuple[Standardizer, Projection | None, float]:
    """Return how the channels of the network are standardised and projected, and the mean contrast of the windows."""
    sample: dict[int, NDArray[np.float32]] = {}
    contrasts: dict[int, float] = {}
    for i in in_file_order(windows):
        if config.method == "backprop":
            bands, layers, valid = read_crop(scene, windows[i], stretch, config.network.inputs)
            sample[i] = layers.reshape(len(layers), -1)[:, _thinned(valid, len(bands))]
        else:  # no network: no channels
            pixels, valid = read_tolerant(scene, windows[i])
            bands = stretch.apply(pixels, valid)
        contrasts[i] = contrast(bands, valid)
        advance()
    mean_contrast = float(np.mean([contrasts[i] for i in range(len(windows))]))
    if not sample:
        return Standardizer((), ()), None, mean_contrast
    values = np.concatenate([sample.pop(i) for i in range(len(windows))], axis=1)
    exact = (channel.astype(np.float64) for channel in values)  # one after the other: there may be hundreds
    mean, deviation = zip(*((channel.mean(), max(channel.std(), 1e-6)) for channel in exact), strict=True)
    standard = Standardizer(tuple(map(float, mean)), tuple(map(float, deviation)))
    known = np.ones((1, values.shape[1]), bool)
    return standard, fit_projection(standard.apply(values[:, None], known)[:, 0]), mean_contrast
