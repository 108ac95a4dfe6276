"""Preview a segmentation on one window of a scene, in seconds instead of the hours of a whole scene.

The stages are those of `geoseg tile`, in a temporary run folder. The survey and the network are those of the whole
scene, the superpixels and votes are those of the tiles that the window touches. Only the classes are fitted to the
window alone, so the class boundaries of the whole scene may differ.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from geoseg.config import Config, load_config
from geoseg.config_parser import shown
from geoseg.errors import ConfigError, OutputError
from geoseg.grid import Window
from geoseg.output.display import display_bands, display_exponent
from geoseg.output.files import check_output
from geoseg.output.names import check_output_name
from geoseg.output.publication import Publication
from geoseg.output.system import file_key
from geoseg.preview import animation, panels
from geoseg.preview.choose_window import most_varied
from geoseg.preview.options import MAX_SIZE, MIN_SIZE, PreviewOptions, parse_options
from geoseg.preview.panels import Panel
from geoseg.preview.window_classes import View, find_classes, read_view, start_job, with_superpixels
from geoseg.progress import ProgressCallback, StageReporter, ignore
from geoseg.raster.scene import Scene
from geoseg.run.features_option import open_features_of
from geoseg.run.job import Job
from geoseg.run.least_size import with_least_size
from geoseg.run.lock import locked_outputs
from geoseg.run.plan import open_configured
from geoseg.run.resources import check_memory, pick_device
from geoseg.segment.class_model import class_moments
from geoseg.steps.tables import class_colors
from geoseg.vectorize import regions

__all__ = ["Preview", "PreviewOptions", "preview_scene"]

_LEVELS = (4, 8)  # numbers of classes that are shown besides that of the configuration


@dataclass(frozen=True, repr=False)
class Preview:
    """Files of a preview; a notebook shows the picture.

    Parameters
    ----------
    paths : tuple of Path
        The picture, and the animation if there is one.
    window : Window
        Pixels of the scene that they show.
    seconds : float
        Duration.

    Examples
    --------
    >>> Preview((Path("scene_preview.png"),), Window(0, 0, 512, 512), seconds=9.5)
    <Preview of window 0,0,512,512 in 9.5 s: scene_preview.png>
    """

    paths: tuple[Path, ...]
    window: Window
    seconds: float

    def __repr__(self) -> str:
        files = ", ".join(map(str, self.paths))
        return f"<Preview of window {','.join(map(str, self.window))} in {self.seconds:.1f} s: {files}>"

    def _repr_png_(self) -> bytes:
        return self.paths[0].read_bytes()


def preview_scene(
    scene: str | Path,
    out: str | Path | None = None,
    config: Config | dict[str, Any] | str | Path | None = None,
    *,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Preview:
    """Draw a window of a scene: its pixels, its superpixels, and its classes at several levels of the class tree.

    Parameters
    ----------
    scene : str or Path
        GeoTIFF, or another raster that GDAL reads.
    out : str, Path or None
        The picture, .png; None = SCENE_preview.png in the current folder.
    config : Config, dict, str, Path or None
        A configuration, its values, its name or its YAML file; None = the defaults.
    progress : callable or None
        Receives the events of `geoseg.progress`; None = they are discarded.
    **options
        Fields of `PreviewOptions`: window, size, classes, stage, animation, steps, aoi, features, overwrite, device.

    Returns
    -------
    Preview
        The files, and the window that they show.

    Raises
    ------
    ConfigError
        If an option or the configuration is wrong.
    RasterError
        If the scene cannot be read, or has no valid pixel in the window.
    OutputError
        If a file exists and may not be replaced, or cannot be written.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(96, 128)))
    >>> result = preview_scene(folder / "scene.tif", folder / "scene.png", size=64, stage="superpixels", device="cpu")
    >>> result.window.shape, result.paths[0].name
    ((64, 64), 'scene.png')
    """
    begin = time.monotonic()
    chosen, reporter = parse_options(options), StageReporter(progress or ignore)
    settings = _settings(config, chosen)
    picture_path = _picture_path(scene, out)
    source = open_configured(str(scene), settings, aoi=chosen.aoi)
    settings = with_least_size(settings, source.geobox)
    features = open_features_of(chosen.features, source, settings)
    check_memory(source, settings)
    inputs = (*source.files, *(() if features is None else features.files))
    publications = _check(source, inputs, picture_path, settings, chosen)
    device = pick_device(chosen.device, settings)
    job = start_job(source, settings, device, progress or ignore, features=features)
    window = chosen.window or most_varied(job.scene, job.survey, job.tiles, size=chosen.size, seed=settings.seed)
    picture, frames = _draw(job, window, chosen, reporter)
    reporter.finish()
    with locked_outputs(publications):
        panels.write_png(picture_path, picture, publications[picture_path])
        if chosen.animation is not None:
            panels.write_gif(chosen.animation, frames, publications[chosen.animation])
    return Preview(tuple(publications), window, time.monotonic() - begin)


def _settings(config: Config | dict[str, Any] | str | Path | None, options: PreviewOptions) -> Config:
    """Return the configuration, with the number of classes that is wanted."""
    if config is not None and not isinstance(config, Config | dict | str | os.PathLike):
        raise ConfigError(f"config is {config!r}; give a Config, a dict, the name of a configuration or a YAML file.")
    classes: int | Literal["auto"] | None = (
        options.classes if options.classes == "auto" else max(options.classes, default=None)
    )
    if not isinstance(config, Config):
        return load_config(config, classify__classes=classes)
    if classes is None:
        return config
    clusters = config.classify.clusters
    if classes != "auto" and classes > clusters:
        clusters = 2 * classes  # as `load_config` does
    return replace(config, classify=replace(config.classify, classes=classes, clusters=clusters))


def _picture_path(scene: object, out: object) -> Path:
    for name, value in (("scene", scene), ("out", out or "")):
        if not isinstance(value, str | os.PathLike):
            raise ConfigError(f"{name} is {shown(value)}; give the path of a file as a str or a Path.")
    return Path(f"{Path(str(scene)).stem}_preview.png") if out is None else Path(str(out))


def _check(
    scene: Scene, files: Iterable[str], picture: Path, config: Config, options: PreviewOptions
) -> dict[Path, Publication]:
    """Check everything that can be checked before the work starts; return how each picture is to be published."""
    publications = {}
    inputs = {file_key(Path(path)) for path in (*files, options.aoi) if path is not None}
    for path, suffix in ((picture, ".png"), (options.animation, ".gif")):
        if path is None:
            continue
        check_output_name(path)
        if file_key(path) in inputs:
            raise OutputError(f"{path} is an input of the preview; give the picture another name.")
        publications[path] = check_output(path, overwrite=options.overwrite, suffixes=(suffix,))
    if options.animation is not None and config.method != "backprop":
        raise ConfigError(
            f"method {config.method} has no training steps to animate; omit the animation, or use method backprop."
        )
    if options.window is not None:
        _check_window(scene, options.window)
    return publications


def _check_window(scene: Scene, window: Window) -> None:
    rows, cols = scene.geobox.shape
    given = ",".join(map(str, window))
    least = (min(MIN_SIZE, rows), min(MIN_SIZE, cols))
    if window.height < least[0] or window.width < least[1]:
        raise ConfigError(f"window {given} is too small to segment; give at least {least[1]} by {least[0]} px.")
    if max(window.shape) > MAX_SIZE:
        raise ConfigError(f"window {given} is too large for a preview; give at most {MAX_SIZE} by {MAX_SIZE} px.")
    if min(window.col_off, window.row_off) < 0 or window.col_end > cols or window.row_end > rows:
        raise ConfigError(
            f"window {given} extends beyond the scene, which has {cols} columns and {rows} rows. "
            f"Give one inside it, such as 0,0,{min(cols, window.width)},{min(rows, window.height)}."
        )


def _draw(
    job: Job, window: Window, options: PreviewOptions, progress: StageReporter
) -> tuple[Image.Image, list[Image.Image]]:
    """Return the picture and the frames of the animation."""
    view = read_view(job, window)
    if options.stage != "scene" or options.animation is not None:
        view = with_superpixels(job, view, progress)
    picture = panels.sheet(_panels(job, view, options, progress))
    if options.animation is None:
        return picture, []
    frames = animation.frames(job, window, view.superpixels, steps=options.steps, progress=progress)
    return picture, [panels.sheet([frame]) for frame in frames]


def _panels(job: Job, view: View, options: PreviewOptions, progress: StageReporter) -> list[Panel]:
    made = []
    picture = panels.enlarged(panels.natural(view.bands, view.valid, display_bands(job.scene, job.survey.stretch)))
    if options.shows("scene"):
        made.append(Panel(picture, "scene"))
    if options.shows("superpixels"):
        n = len(np.unique(view.superpixels[view.superpixels >= 0]))
        made.append(Panel(panels.outlined(picture, panels.enlarged(view.superpixels)), f"superpixels ({n})"))
    if options.shows("classes"):
        made += _class_panels(job, view, () if options.classes == "auto" else options.classes, progress)
    return made


def _class_panels(job: Job, view: View, levels: Iterable[int], progress: StageReporter) -> list[Panel]:
    """Draw the regions of a view as `geoseg tile --classes N` does, for each level N."""
    class_model, clusters = find_classes(job, view, progress)
    wanted = job.config.classify.classes
    most = class_model.auto_n_classes if wanted == "auto" else wanted
    made = []
    bands = list(display_bands(job.scene, job.survey.stretch))
    exponent = display_exponent(view.bands[bands][:, view.valid].T)  # as of the panel of the scene
    for n in sorted(set(levels) or {*(level for level in _LEVELS if level < most), most}):
        class_of_cluster = class_model.tree.level(n)
        moments = class_moments(class_model, class_of_cluster)
        classes = np.where(clusters >= 0, class_of_cluster[clusters], 0)  # from 1; 0 = nodata
        found, pieces = regions.pieces(
            classes,
            window=Window(0, 0, *reversed(classes.shape)),
            scene_shape=classes.shape,  # pixels beyond the window are unknown
            min_pixels=job.config.polygons.min_pixels,
            features=moments,
        )
        shown = np.concatenate([[0], pieces.classes])[found]
        n_shown = len(np.unique(pieces.classes))
        drawn = panels.enlarged(panels.painted(shown - 1, class_colors(job, moments[1:], exponent)))
        made.append(Panel(drawn, f"{n} classes" if n_shown == n else f"{n_shown} of {n} classes"))
    return made
