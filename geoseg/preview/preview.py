"""A preview: one window of a scene as picture, superpixels and classes, in seconds instead of the whole scene's hours.

The steps are those of `geoseg tile`, in a run folder that is thrown away: the survey and the scene network are those of
the whole scene, superpixels and votes those of the tiles that the window touches. Only the classes come from the window
alone, so the lines between the classes of the whole scene may lie elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config
from geoseg.errors import ConfigError, OutputError, RasterError
from geoseg.grid import Window
from geoseg.output.polygons import check_output
from geoseg.preview import animation, panels
from geoseg.preview.choose_window import most_varied
from geoseg.preview.panels import Panel
from geoseg.progress import Progress, Silent
from geoseg.raster.scene import Scene, open_scene, read_leniently
from geoseg.run.folder import RunFolder
from geoseg.run.run import pick_device
from geoseg.segment.class_model import ClassModel, class_moments
from geoseg.segment.superpixels import NONE, block_of
from geoseg.segment.votes import SuperpixelTable
from geoseg.steps import align_codes, segment
from geoseg.steps.segment import Job
from geoseg.steps.write import class_colours
from geoseg.vectorize import regions

_LEVELS = (4, 8)  # numbers of classes that are shown besides the configured one
_LEAST, _MOST = 32, 2048  # px, of a window's side


@dataclass(frozen=True)
class PreviewOptions:
    """What of a scene is shown.

    Parameters
    ----------
    window : None = the most varied one
    size : px, sides of the most varied window; a smaller scene is shown whole
    classes : at how many classes; empty = 4, 8 and as many as configured
    stage : which panels
    animation : .gif, the states of backprop from nothing after 1, 2, 4, … steps; None = none
    steps : of the animation at most; None = ``backprop.max_steps``
    aoi : vector file; what lies outside of its polygons is no data
    overwrite : replace pictures that are there
    device : "cpu", "cuda", or "auto" = cuda where there is one

    Raises
    ------
    ConfigError : a value out of range
    """

    window: Window | None = None
    size: int = 512
    classes: tuple[int, ...] = ()
    stage: Literal["all", "scene", "superpixels", "classes"] = "all"
    animation: Path | None = None
    steps: int | None = None
    aoi: Path | None = None
    overwrite: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        if not _LEAST <= self.size <= _MOST:
            raise ConfigError(f"a preview of {self.size} px cannot be shown; take a size from {_LEAST} to {_MOST}.")
        if any(not 2 <= n <= 255 for n in self.classes):
            raise ConfigError(f"classes are {list(self.classes)}; take numbers from 2 to 255, such as 4,8,16.")
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"an animation of {self.steps} steps shows nothing; take at least 1.")

    def shows(self, stage: str) -> bool:
        """Say whether a panel is wanted."""
        return self.stage in ("all", stage)


@dataclass(frozen=True)
class Preview:
    """What was drawn.

    Parameters
    ----------
    paths : the files
    window : pixels of the scene that they show
    seconds : it took
    """

    paths: tuple[Path, ...]
    window: Window
    seconds: float


@dataclass(frozen=True)
class _View:
    """What is seen in the window: stretched (band, y, x) bands, (y, x) valid, and the numbers of the superpixels.

    `numbers` is (y, x) int64; `NONE` = no data, and everywhere as long as no superpixels are made.
    """

    window: Window
    bands: NDArray[np.float32]
    valid: NDArray[np.bool_]
    numbers: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))


def preview(
    scene: str | Path,
    out: Path,
    config: Config | None = None,
    *,
    options: PreviewOptions | None = None,
    progress: Progress | None = None,
) -> Preview:
    """Draw a window of a scene: as it is, its superpixels, and its classes at several levels of their tree.

    Parameters
    ----------
    scene : GeoTIFF, or another raster that GDAL reads
    out : .png
    config : as for `segment_scene`

    Returns
    -------
    Preview : the files, and which window they show

    Raises
    ------
    GeosegError : one line says what is wrong and what to do; nothing that was there before is lost
    """
    begin = time.monotonic()
    config, options, progress = config or Config(), options or PreviewOptions(), progress or Silent()
    opened = open_scene(scene, bands=config.bands, aoi=options.aoi)
    _check_outputs(opened, out, options)
    if options.animation is not None and config.method != "backprop":
        raise ConfigError(
            f"method {config.method} has no steps that could be shown; leave out --animation, or take backprop."
        )
    if options.window is not None:
        _check_window(opened, options.window)
    device = pick_device(options.device, config)
    with TemporaryDirectory(prefix="geoseg-preview-") as folder:
        run = RunFolder(Path(folder))
        progress.begin("survey", 1, pixels=_size(opened.geobox.window))
        job = Job(run, opened, config, align_codes.survey_scene(run, opened, config), device)
        window = options.window or most_varied(opened, job.survey, job.tiles, size=options.size, seed=config.seed)
        view = _look(job, window)
        if options.stage != "scene" or options.animation is not None:
            view = _with_superpixels(job, view, progress)
        picture = panels.sheet(_panels(job, view, options, progress))
        frames = (
            []
            if options.animation is None
            else animation.frames(job, window, view.numbers, steps=options.steps, progress=progress)
        )
    panels.write_png(out, picture)
    if options.animation is not None:
        panels.write_gif(options.animation, [panels.sheet([frame]) for frame in frames])
    paths = (out,) if options.animation is None else (out, options.animation)
    return Preview(paths, window, time.monotonic() - begin)


def _check_outputs(scene: Scene, out: Path, options: PreviewOptions) -> None:
    inputs = {Path(path).resolve() for path in (*scene.files, options.aoi) if path is not None}
    for path, suffix in ((out, ".png"), (options.animation, ".gif")):
        if path is None:
            continue
        if path.resolve() in inputs:
            raise OutputError(f"{path} is what the preview is made from; give the picture another name.")
        check_output(path, overwrite=options.overwrite, suffixes=(suffix,))


def _check_window(scene: Scene, window: Window) -> None:
    rows, cols = scene.geobox.shape
    given = ",".join(map(str, window))
    least = (min(_LEAST, rows), min(_LEAST, cols))
    if window.height < least[0] or window.width < least[1]:
        raise ConfigError(
            f"window {given} is too small to tell ground apart; take at least {least[1]} by {least[0]} px."
        )
    if max(window.shape) > _MOST:
        raise ConfigError(f"window {given} is too large for a preview; take at most {_MOST} by {_MOST} px.")
    if min(window.col_off, window.row_off) < 0 or window.col_end > cols or window.row_end > rows:
        raise ConfigError(
            f"window {given} reaches out of the scene, which has {cols} columns and {rows} rows. "
            f"Take one inside of it, such as 0,0,{min(cols, window.width)},{min(rows, window.height)}."
        )


def _look(job: Job, window: Window) -> _View:
    pixels, valid = read_leniently(job.scene, window, core=window)
    if not valid.any():
        raise RasterError(
            f"{job.scene.path} has no data in the window {','.join(map(str, window))}; take another one, or leave the "
            "window out to have one chosen."
        )
    return _View(window, job.survey.stretch.apply(pixels, valid), valid)


def _with_superpixels(job: Job, view: _View, progress: Progress) -> _View:
    _make_superpixels(job, job.blocks.reading(view.window), progress)
    numbers = np.where(view.valid, segment.superpixels_of(job, view.window), NONE)
    return replace(view, numbers=numbers)


def _make_superpixels(job: Job, blocks: Iterable[int], progress: Progress) -> None:
    todo = [block for block in blocks if not job.run.has("superpixels", block)]
    if not todo:
        return
    progress.begin("superpixels", len(todo), pixels=sum(_size(job.blocks.tile(block).core) for block in todo))
    for done, block in enumerate(todo, start=1):
        segment.make_superpixels(job, block)
        progress.advance(done)


def _panels(job: Job, view: _View, options: PreviewOptions, progress: Progress) -> list[Panel]:
    made = []
    picture = panels.enlarged(panels.natural(view.bands, view.valid, job.scene.red_green_blue))
    if options.shows("scene"):
        made.append(Panel(picture, "scene"))
    if options.shows("superpixels"):
        n = len(np.unique(view.numbers[view.numbers >= 0]))
        made.append(Panel(panels.outlined(picture, panels.enlarged(view.numbers)), f"superpixels ({n})"))
    if options.shows("classes"):
        made += _class_panels(job, view, options.classes, progress)
    return made


def _class_panels(job: Job, view: _View, levels: Iterable[int], progress: Progress) -> list[Panel]:
    """Draw what `geoseg tile --classes N` would draw in the window, for each of the levels."""
    class_model, clusters = _find_classes(job, view, progress)
    wanted = job.config.classify.classes
    most = class_model.auto_n_classes if wanted == "auto" else wanted
    made = []
    for n in sorted(set(levels) or {*(level for level in _LEVELS if level < most), most}):
        class_of_cluster = class_model.tree.level(n)
        moments = class_moments(class_model, class_of_cluster)
        classes = np.where(clusters >= 0, class_of_cluster[clusters], 0)  # from 1; 0 = no data
        found, pieces = regions.pieces(
            classes,
            window=Window(0, 0, *reversed(classes.shape)),
            scene_shape=classes.shape,  # beyond the window nothing is known
            min_pixels=job.config.polygons.min_pixels,
            features=moments,
        )
        shown = np.concatenate([[0], pieces.classes])[found]
        n_shown = len(np.unique(pieces.classes))
        drawn = panels.enlarged(panels.painted(shown - 1, class_colours(job, moments[1:])))
        made.append(Panel(drawn, f"{n} classes" if n_shown == n else f"{n_shown} of {n} classes"))
    return made


def _find_classes(job: Job, view: _View, progress: Progress) -> tuple[ClassModel, NDArray[np.int64]]:
    """Return the classes of the window, and the (y, x) fine class of its pixels, from 0; -1 = no data."""
    if job.config.method == "backprop" and job.config.training == "scene":
        progress.begin("learn", job.config.learn.steps, pixels=_size(view.window))
        align_codes.learn_network(job, progress.advance)
    superpixel_table = _ground(job, view, progress)
    class_model = align_codes.classes_of(job, superpixel_table)
    known = np.concatenate([part.numbers for part in superpixel_table])
    clusters = np.concatenate([class_model.clusters(part) for part in superpixel_table])
    return class_model, np.where(view.valid, clusters[np.searchsorted(known, view.numbers)], -1)


def _ground(job: Job, view: _View, progress: Progress) -> list[SuperpixelTable]:
    """Return what the tiles say of the superpixels that are seen in the window, block by block, ascending."""
    tiles = job.tiles.touching(view.window)
    blocks = {block for tile in tiles for block in job.blocks.reading(job.tiles.tile(tile).read)}
    _make_superpixels(job, sorted(blocks), progress)
    progress.begin("segment", len(tiles), pixels=sum(_size(job.tiles.tile(tile).core) for tile in tiles))
    for done, tile in enumerate(tiles, start=1):
        segment.segment_tile(job, tile)
        progress.advance(done)
    align_codes.translate_codes(job, tiles)
    seen = np.unique(view.numbers[view.numbers >= 0])
    shown = np.unique(block_of(seen)).tolist()
    for block in sorted(blocks) if job.config.method == "rag" else shown:
        segment.gather_block(job, block)
    if job.config.method == "rag":
        for block in shown:
            segment.merge_block(job, block)
    return [_cut(segment.table_of(job, block), seen) for block in shown]


def _cut(superpixel_table: SuperpixelTable, seen: NDArray[np.int64]) -> SuperpixelTable:
    """Leave the superpixels that are in the window."""
    kept = np.isin(superpixel_table.numbers, seen)
    rows = {name: getattr(superpixel_table, name)[kept] for name in ("numbers", "votes", "pixels", "moments")}
    return replace(superpixel_table, **rows)


def _size(window: Window) -> int:
    return window.width * window.height
