"""The command ``geoseg tune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloup import command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.ineffective import TUNE_RULES, refuse_ineffective
from geoseg.cli.json_output import JsonOutput, json_option
from geoseg.cli.parsing import EXIT_DONE, config_from, display_mode, integers, start_log

if TYPE_CHECKING:
    from geoseg.config import Config
    from geoseg.preview.tuning import Tuning
    from geoseg.progress import ProgressCallback

_SHOWN = 10  # rows of the table


@command()
@shared.SCENE
@option_group(
    "Output",
    option("--out", **shared.FILE, help="Also write a chart to this .png or .html file."),
    json_option("all figures", "report"),
    shared.OVERWRITE,
)
@option_group(
    "Combinations",
    option(
        "--scales",
        metavar="N,N,…",
        help="Try these superpixel scales, or numbers of segments with slic.  [default: 0.5, 1, 2 and 4 times that of "
        "the scene]",
    ),
    option("--sizes", metavar="N,N,…", help="Try these values of --min-pixels.  [default: 1/4, 1 and 4 times it]"),
    option("--levels", metavar="N,N,…", help="Try these numbers of classes.  [default: 1/2, 1 and 2 times --classes]"),
    shared.F_WEIGHT,
)
@option_group(
    "Windows",
    option("--windows", type=int, default=4, metavar="N", show_default=True, help="Use N windows that differ."),
    option(
        "--window-size",
        type=int,
        default=512,
        metavar="N",
        show_default=True,
        help="Use windows of N by N pixels.",
    ),
)
@option_group("Segmentation", *shared.WINDOW_SEGMENTATION, shared.FEATURES, shared.FEATURE_WEIGHT)
@option_group("Polygons", shared.MIN_PIXELS, shared.MIN_AREA)
@option_group("Tiling and run", shared.TILE_SIZE, shared.HALO)
@option_group("Where to compute", shared.DEVICE)
@shared.DISPLAY
def tune(scene: str, **options: Any) -> int:
    """Compare parameters on a few windows of SCENE without labels, and print the lines of configuration of the best.

    Each combination of superpixel scale, smallest size and number of classes is scored by the variance within regions
    and by Moran's I between neighbours; F combines both, relative to all combinations.
    """
    from geoseg.cli.progress_bars import progress_display

    with progress_display(display_mode(options)) as progress:
        start_log(options)
        config = config_from(options)
        refuse_ineffective(TUNE_RULES, options, config)
        output = JsonOutput.of(options["report"], (scene,), overwrite=options["overwrite"])
        tuning = _run(scene, config, options, progress)
        output.write(lambda: _json(tuning))
        where = "" if tuning.path is None else f": {tuning.path}"
        progress.finish(f"{len(tuning.trials)} combinations in {tuning.seconds:.0f} s{where}")
    output.show(lambda: _json(tuning), lambda: _print(tuning))
    return EXIT_DONE


def _run(scene: str, config: Config, options: dict[str, Any], progress: ProgressCallback) -> Tuning:
    """Call the Python function behind the command."""
    from geoseg.preview.tune import tune_scene

    lists = {
        "scales": integers(options["scales"], "--scales", "16,32,64"),
        "sizes": integers(options["sizes"], "--sizes", "16,64,256"),
        "levels": integers(options["levels"], "--levels", "8,16,32"),
    }
    return tune_scene(
        scene,
        options["out"],
        config,
        progress=progress,
        size=options["window_size"],
        weight=options["f_weight"],
        **lists,
        **{name: options[name] for name in ("windows", "aoi", "features", "overwrite", "device")},
    )


def _json(tuning: Tuning) -> str:
    import json

    return json.dumps(tuning.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def _print(tuning: Tuning) -> None:
    """Print the best combinations, that of the configuration, and the lines to copy."""
    from rich.console import Console
    from rich.table import Table

    head, *rows = tuning.table()
    table = Table(box=None)
    for title in ("", *head):
        table.add_column(title, justify="right")
    for position, (trial, row) in enumerate(zip(tuning.ranked(), rows, strict=True)):
        if position < _SHOWN or trial is tuning.present:
            table.add_row("present" if trial is tuning.present else str(position + 1), *row)
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(f"\n{tuning.yaml}", soft_wrap=True)
