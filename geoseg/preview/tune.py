"""Compare superpixel scales, smallest sizes and numbers of classes on some windows of a scene, without labels.

The survey and the network are those of the configuration and are made once. For each scale the superpixels of the
windows are made and their classes fitted, to all windows together; the smallest sizes and numbers of classes then need
only new regions.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config, load_config
from geoseg.config_parser import shown
from geoseg.errors import ConfigError, OutputError, RasterError
from geoseg.evaluate.candidates import compare
from geoseg.evaluate.region_scores import RegionScores, region_scores
from geoseg.evaluate.region_sums import RegionSums
from geoseg.grid import Window
from geoseg.output.files import check_output, staged, writing
from geoseg.output.names import check_output_name
from geoseg.output.publication import Publication
from geoseg.output.system import file_key
from geoseg.preview.choose_window import varied_windows
from geoseg.preview.options import MIN_SIZE
from geoseg.preview.tune_options import Axes, TuneOptions, axes_of, parse_tune_options
from geoseg.preview.tuning import Trial, Tuning
from geoseg.preview.window_classes import View, fit_classes, read_view, start_job, train, with_superpixels
from geoseg.progress import ProgressCallback, StageReporter, ignore
from geoseg.raster.scene import Scene
from geoseg.run.features_option import open_features_of
from geoseg.run.job import Job
from geoseg.run.least_size import with_least_size
from geoseg.run.lock import locked_outputs
from geoseg.run.memory import MemoryFolder
from geoseg.run.plan import open_configured
from geoseg.run.products import FEATURE_REDUCTION, NETWORK, Product, ProductStore
from geoseg.run.resources import check_memory, pick_device
from geoseg.segment.class_model import class_moments
from geoseg.vectorize import regions

if TYPE_CHECKING:
    from geoseg.report import tuning_chart

_SILENT = StageReporter(ignore)


def tune_scene(
    scene: str | Path,
    out: str | Path | None = None,
    config: Config | dict[str, Any] | str | Path | None = None,
    *,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Tuning:
    """Score combinations of superpixel scale, smallest size and number of classes on windows of a scene.

    Parameters
    ----------
    scene : str or Path
        GeoTIFF, or another raster that GDAL reads.
    out : str, Path or None
        Chart, .png or .html; None = none.
    config : Config, dict, str, Path or None
        A configuration, its values, its name or its YAML file; None = the defaults.
    progress : callable or None
        Receives the events of `geoseg.progress`; None = they are discarded.
    **options
        Fields of `TuneOptions`: scales, sizes, levels, windows, size, weight, aoi, features, overwrite,
        device.

    Returns
    -------
    Tuning
        The scores of every combination, and the lines of configuration of the best one.

    Raises
    ------
    ConfigError
        If an option or the configuration is wrong.
    RasterError
        If the scene cannot be read, is too small, has no valid pixel, or is constant.
    OutputError
        If the chart exists and may not be replaced, or cannot be written.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(96, 128)))
    >>> tuning = tune_scene(folder / "scene.tif", config={"method": "kmeans"}, size=64, levels=(4, 16))
    >>> len(tuning.trials), tuning.best.f >= tuning.present.f
    (24, True)
    """
    begin = time.monotonic()
    chosen, reporter = parse_tune_options(options), StageReporter(progress or ignore)
    path = _path(scene, out)
    source, settings = _open(str(scene), config, chosen)
    features = open_features_of(chosen.features, source, settings)
    inputs = (*source.files, *(() if features is None else features.files))
    publication = None if path is None else _check_chart(path, inputs, chosen)
    device = pick_device(chosen.device, settings)
    job = start_job(source, settings, device, progress or ignore, features=features)
    axes = axes_of(chosen, settings, _scale(job))
    found = varied_windows(job.scene, job.survey, job.tiles, size=chosen.size, n=chosen.windows, seed=settings.seed)
    views = [read_view(job, window) for window in found]
    _check_varies(views, job.scene)
    trials = _trials(job, views, axes, reporter, weight=float(chosen.weight))
    reporter.finish()
    present = next(i for i, trial in enumerate(trials) if _values(trial) == axes.default)
    name = _scale_name(job)
    seconds = time.monotonic() - begin
    tuning = Tuning(str(scene), tuple(found), tuple(trials), present, name, float(chosen.weight), seconds, path)
    if path is not None and publication is not None:
        with locked_outputs([path]):
            _write_chart(path, tuning, publication)
    return tuning


def _path(scene: object, out: object) -> Path | None:
    for name, value in (("scene", scene), ("out", out or "")):
        if not isinstance(value, str | os.PathLike):
            raise ConfigError(f"{name} is {shown(value)}; give the path of a file as a str or a Path.")
    return None if out is None else Path(str(out))


def _open(
    scene: str, config: Config | dict[str, Any] | str | Path | None, options: TuneOptions
) -> tuple[Scene, Config]:
    if config is not None and not isinstance(config, Config | dict | str | os.PathLike):
        raise ConfigError(f"config is {config!r}; give a Config, a dict, the name of a configuration or a YAML file.")
    settings = config if isinstance(config, Config) else load_config(config)
    source = open_configured(scene, settings, aoi=options.aoi)
    _check_size(source)
    settings = with_least_size(settings, source.geobox)
    check_memory(source, settings)
    return source, settings


def _check_size(scene: Scene) -> None:
    rows, cols = scene.geobox.shape
    if min(rows, cols) < MIN_SIZE:
        raise RasterError(
            f"{scene.path} has {rows} rows and {cols} columns, which is too small to compare parameters; give a scene "
            f"of at least {MIN_SIZE} by {MIN_SIZE} px."
        )


def _check_chart(path: Path, inputs: Sequence[str], options: TuneOptions) -> Publication:
    check_output_name(path)
    if file_key(path) in {file_key(Path(file)) for file in (*inputs, options.aoi) if file is not None}:
        raise OutputError(f"{path} is an input of the tuning; give the chart another name.")
    return check_output(path, overwrite=options.overwrite, suffixes=(".png", ".html"))


def _check_varies(views: Sequence[View], scene: Scene) -> None:
    if all(np.ptp(view.bands[:, view.valid], axis=1).max() == 0 for view in views):
        raise RasterError(
            f"{scene.path} is constant in the windows, so the variance within regions is 0 whatever the parameters. "
            "Give a scene with different values, or larger windows."
        )


def _scale_name(job: Job) -> Literal["scale", "n_segments"]:
    return "n_segments" if job.survey.superpixels.method == "slic" else "scale"


def _scale(job: Job) -> float:
    return float(getattr(job.survey.superpixels, _scale_name(job)))


def _values(trial: Trial) -> tuple[float, int, int | Literal["auto"]]:
    return trial.scale, trial.min_pixels, trial.classes


def _trials(job: Job, views: Sequence[View], axes: Axes, progress: StageReporter, *, weight: float) -> list[Trial]:
    """Return the scores of all combinations."""
    pixels = sum(view.valid.size for view in views)
    train(job, progress, pixels=pixels)
    progress.begin("tune", len(axes.scales) * len(axes.levels), pixels=pixels)
    done, scored = itertools.count(1), []
    for scale in axes.scales:
        scaled = _with_scale(job, scale)
        shown_views = [with_superpixels(scaled, view, _SILENT) for view in views]
        fitted = None
        for classes in axes.levels:
            if fitted is None or job.config.method != "backprop":  # the others find so many clusters
                config = replace(job.config, classify=replace(job.config.classify, classes=classes))
                fitted = fit_classes(replace(scaled, config=config), shown_views, _SILENT)
            class_model, clusters = fitted
            class_of_cluster = class_model.class_of_cluster(classes)
            moments = class_moments(class_model, class_of_cluster)
            maps = [np.where(each >= 0, class_of_cluster[each], 0) for each in clusters]
            scored += [
                ((scale, size, classes), [_score(*pair, moments, size) for pair in zip(views, maps, strict=True)])
                for size in axes.sizes
            ]
            progress.advance(next(done))
    return _compared(scored, weight)


def _with_scale(job: Job, scale: float) -> Job:
    """Return a job with another superpixel scale, and the network and the reduction of the features of this one."""
    store = ProductStore(MemoryFolder(), job.store.inputs)
    kept: tuple[Product[Any], ...] = (NETWORK, FEATURE_REDUCTION)
    for product in kept:
        if job.store.has(product):
            store.put(product, job.store.get(product))
    fitted = job.survey.superpixels
    slic = _scale_name(job) == "n_segments"
    superpixels = replace(fitted, n_segments=round(scale)) if slic else replace(fitted, scale=scale)
    return replace(job, store=store, survey=replace(job.survey, superpixels=superpixels))


def _score(view: View, classes: NDArray[np.int64], moments: NDArray[np.float64], min_pixels: int) -> RegionScores:
    """Return the scores of the regions of a view for its (y, x) classes."""
    window = Window(0, 0, classes.shape[1], classes.shape[0])
    found, _ = regions.pieces(
        classes, window=window, scene_shape=classes.shape, min_pixels=min_pixels, features=moments
    )
    sums = RegionSums(classes.shape, connected=False)  # each piece has a number of its own
    sums.add(window, found, view.bands)
    return region_scores(sums.table())


def _compared(
    scored: Sequence[tuple[tuple[float, int, int | Literal["auto"]], list[RegionScores]]], weight: float
) -> list[Trial]:
    variances, morans = [], []
    for _, windows in scored:
        pixels = [each.pixels for each in windows]
        variances.append(float(np.average([each.variance for each in windows], weights=pixels)))
        known = [each.moran for each in windows if each.moran is not None]
        morans.append(float(np.mean(known)) if known else None)
    found = compare(variances, morans, weight=weight)
    trials = []
    for (values, windows), variance, moran, score in zip(scored, variances, morans, found, strict=True):
        n = sum(each.regions for each in windows)
        mean_pixels = sum(each.pixels for each in windows) / n
        trials.append(Trial(*values, n, mean_pixels, variance, moran, score))
    return trials


def _write_chart(path: Path, tuning: Tuning, publication: Publication) -> None:
    from geoseg.report import tuning_chart  # here, because matplotlib takes a while to import

    points = [_point(trial) for trial in tuning.trials if trial.moran is not None]
    marked = {"best": tuning.best, "present values": tuning.present}
    marks = {name: _point(trial) for name, trial in marked.items() if trial.moran is not None}
    with staged(path, publication) as folder, writing(path):
        if path.suffix.lower() == ".png":
            tuning_chart.write_png(folder / path.name, points, marks, tuning.scale_name)
        else:
            chart = tuning_chart.svg(points, marks, tuning.scale_name)
            text = tuning_chart.page(Path(tuning.scene).name, chart, tuning.table(), tuning.yaml)
            (folder / path.name).write_text(text, encoding="utf-8")


def _point(trial: Trial) -> tuning_chart.Point:
    from geoseg.report.tuning_chart import Point

    moran = 0.0 if trial.moran is None else trial.moran
    return Point(trial.scale, trial.mean_pixels, trial.variance, moran, trial.f)
