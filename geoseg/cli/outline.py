"""The command ``geoseg outline``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloup import argument, command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.ineffective import OUTLINE_RULES, refuse_ineffective
from geoseg.cli.parsing import (
    EXIT_DONE,
    EXIT_TILES_FAILED,
    cluster_options,
    config_from,
    display_mode,
    nodata_value,
    run_options,
    start_log,
)

if TYPE_CHECKING:
    from geoseg.config import Config
    from geoseg.progress import ProgressCallback
    from geoseg.run.report import Result


@command()
@argument("labels", callback=shared.check_name, help="Raster of integers.")
@option_group("Output", shared.OUT, shared.REGION_RASTER, shared.REPORT)
@option_group(
    "Labels and values",
    option("--band", type=int, metavar="N", help="Read the labels from this band.  [default: the only one]"),
    option(
        "--nodata",
        metavar="N|none",
        default="file",
        help="Treat this number as nodata; none treats every number as a label.  [default: from the file]",
    ),
    option(
        "--values",
        metavar="RASTER[:NAME]",
        multiple=True,
        callback=shared.check_names,
        help="Compute zonal statistics of this raster on the same grid, which also gives the colours. With :NAME, add "
        "columns NAME_mean, std, min, max, median, p10 and p90 of a raster on any grid and in any CRS, or with "
        ":NAME:majority the most frequent value. May be repeated.",
    ),
    option("--bands", metavar="N,N,…", help="Use these bands of --values, from 1.  [default: all except alpha]"),
    option(
        "--rgb",
        metavar="R,G,B",
        help="Show these bands of --values as red, green and blue, in the colours of labels without a palette.  "
        "[default: from the metadata]",
    ),
    shared.NODATA_MODE,
    shared.COLLAR,
    shared.ALLOW_NO_CRS,
    shared.AOI,
)
@option_group(
    "Polygons",
    option("--min-pixels", type=int, metavar="N", help=shared.MIN_PIXELS_HELP + "[default: 0]"),
    shared.MIN_AREA,
    option("--simplify", type=float, default=0, show_default=True, help=shared.SIMPLIFY_HELP.strip()),
    shared.SMOOTH,
    shared.MAX_VERTICES,
    shared.ATTRIBUTES,
)
@option_group("Tiling and run", shared.TILE_SIZE, *shared.RUN_OPTIONS)
@option_group("Where to compute", *shared.CLUSTER_OPTIONS)
@shared.DISPLAY
def outline(labels: str, **options: Any) -> int:
    """Outline LABELS, a raster of integers from any program, as a styled layer of polygons.

    Each connected region of one label becomes one polygon; pixels that share only a corner are not connected. Nodata
    follows from the nodata value or the mask of the file; 0 is a label unless the file or --nodata 0 declares it as
    nodata.

    Exit codes: 0 done; 1 an error that you can fix, described in one line; 2 wrong usage; 3 done, but some tiles
    failed.
    """
    from geoseg.cli.progress_bars import progress_display

    with progress_display(display_mode(options)) as progress:
        start_log(options)
        if options["min_pixels"] is None and options["min_area"] is None:
            options["min_pixels"] = 0
        config = config_from(options)
        refuse_ineffective(OUTLINE_RULES, options, config)
        result = _run(labels, config, options, progress)
        progress.summary(result)
    return EXIT_TILES_FAILED if result.failed else EXIT_DONE


def _run(labels: str, config: Config, options: dict[str, Any], progress: ProgressCallback) -> Result:
    """Call the Python function behind the command."""
    from geoseg.output.paths import Outputs
    from geoseg.pipeline import run_labels
    from geoseg.raster.label_raster import LabelInput
    from geoseg.run.values_option import split_values

    plain, named = split_values(options["values"])
    return run_labels(
        LabelInput(labels, plain, options["band"], nodata_value(options["nodata"])),
        Outputs(options["out"], region_raster=options["region_raster"], report=options["report"]),
        config,
        options=run_options(options | {"values": named}),
        cluster=cluster_options(options),
        progress=progress,
    )
