"""The command ``geoseg preview``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from cloup import command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.ineffective import PREVIEW_RULES, refuse_ineffective
from geoseg.cli.parsing import EXIT_DONE, config_from, display_mode, integers, start_log

if TYPE_CHECKING:
    from geoseg.config import Config
    from geoseg.preview.preview import Preview
    from geoseg.progress import ProgressCallback


@command()
@shared.SCENE
@option_group(
    "Output",
    option(
        "--out",
        **shared.FILE,
        help="Write the picture to this .png.  [default: ./SCENE_preview.png]",
    ),
    option(
        "--stage",
        type=click.Choice(["all", "scene", "superpixels", "classes"]),
        default="all",
        show_default=True,
        help="Show only this stage.",
    ),
    option("--levels", metavar="N,N,…", help="Show these numbers of classes.  [default: 4, 8 and --classes]"),
    option(
        "--animation",
        **shared.FILE,
        help="Also write a .gif of the labels after 1, 2, 4, … training steps from a random network.",
    ),
    option("--steps", type=int, metavar="N", help="Animate N steps.  " + shared.default_of("backprop.max_steps")),
    shared.OVERWRITE,
)
@option_group(
    "Window",
    option("--window", metavar="COL,ROW,WIDTH,HEIGHT", help="Show these pixels.  [default: the most varied window]"),
    option(
        "--window-size",
        "window_size",
        type=int,
        default=512,
        metavar="N",
        show_default=True,
        help="Choose the most varied window of N by N pixels.",
    ),
)
@option_group("Segmentation", *shared.WINDOW_SEGMENTATION, shared.FEATURES, shared.FEATURE_WEIGHT)
@option_group("Polygons", shared.MIN_PIXELS, shared.MIN_AREA)
@option_group("Tiling and run", shared.TILE_SIZE, shared.HALO)
@option_group("Where to compute", shared.DEVICE)
@shared.DISPLAY
@shared.FORMER_PRIOR
def preview(scene: str, **options: Any) -> int:
    """Show a window of SCENE with its superpixels and classes, in seconds.

    The classes are fitted to the window alone, so those of the whole scene can differ.
    """
    from geoseg.cli.progress_bars import progress_display

    with progress_display(display_mode(options)) as progress:
        start_log(options)
        config = config_from(options)
        refuse_ineffective(PREVIEW_RULES, options, config)
        made = _run(scene, config, options, progress)
        files, window = ", ".join(map(str, made.paths)), ",".join(map(str, made.window))
        progress.finish(f"window {window} in {made.seconds:.0f} s: {files}")
    return EXIT_DONE


def _run(scene: str, config: Config, options: dict[str, Any], progress: ProgressCallback) -> Preview:
    """Call the Python function behind the command."""
    from geoseg.preview.preview import preview_scene

    names = ("stage", "animation", "steps", "aoi", "features", "overwrite", "device")
    levels = integers(options["levels"], "--levels", "4,8,16") or ()
    return preview_scene(
        scene,
        options["out"],
        config,
        window=integers(options["window"], "--window", "0,0,512,512", n=4),
        size=options["window_size"],
        classes="auto" if config.classify.classes == "auto" and not levels else levels,
        progress=progress,
        **{name: options[name] for name in names},
    )
