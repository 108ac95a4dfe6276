"""The command ``geoseg evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from cloup import argument, command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.ineffective import EVALUATE_RULES, refuse_ineffective
from geoseg.cli.json_output import json_option
from geoseg.cli.parsing import EXIT_DONE, integers

if TYPE_CHECKING:
    from geoseg.evaluate.evaluation import Evaluation
    from geoseg.evaluate.unsupervised import RegionEvaluation


@command()
@argument(
    "classes",
    nargs=-1,
    required=True,
    callback=shared.check_names,
    help="Raster of integers; 0 and negative numbers are nodata. With --unsupervised, several can be compared.",
)
@option_group(
    "Output",
    json_option("all scores", "report"),
    shared.OVERWRITE,
)
@option_group(
    "Reference",
    option(
        "--reference",
        callback=shared.check_name,
        help="Compare with this raster of labels (0 = no label), or these polygons.",
    ),
    option(
        "--field", metavar="NAME", help="Read the label of a polygon from this field.  [default: inside or outside]"
    ),
    option("--layer", metavar="NAME", help="Read this layer of the polygons.  [default: the only one]"),
)
@option_group(
    "Scores",
    option(
        "--tolerance", type=float, metavar="METRES", help="Match boundaries within this distance.  [default: 3 pixels]"
    ),
    option(
        "--tile-size",
        type=int,
        default=512,
        show_default=True,
        help="Set the side of a tile in pixels; seams are counted on its borders.",
    ),
)
@option_group(
    "Without a reference",
    option(
        "--unsupervised",
        metavar="SCENE",
        callback=shared.check_name,
        help="Score regions by this raster on the same grid: variance within regions, Moran's I between them.",
    ),
    option("--numbered", is_flag=True, help="Take all pixels of a number as one region, connected or not."),
    shared.BANDS,
    shared.F_WEIGHT,
)
@option_group("Display", shared.VERBOSE)
def evaluate(classes: tuple[str, ...], *, verbose: bool, **options: Any) -> int:  # noqa: ARG001 # it has a callback
    """Score CLASSES, a class raster, against a reference: accuracy, agreement, boundaries and seams.

    With --unsupervised, score the regions of one or more label rasters by the scene alone.
    """
    _check_mode(classes, options)
    refuse_ineffective(EVALUATE_RULES, options)
    report, overwrite = options.pop("report"), options.pop("overwrite")
    target = None if report in (None, "-") else Path(report)
    run = _run if options["unsupervised"] is None else _run_unsupervised
    evaluation = run(classes, target, overwrite=overwrite, **options)
    from geoseg.evaluate.report import to_json

    click.echo(to_json(evaluation) if report == "-" else str(evaluation))
    return EXIT_DONE


def _check_mode(classes: tuple[str, ...], options: dict[str, Any]) -> None:
    reference, scene = options["reference"], options["unsupervised"]
    if reference is None and scene is None:
        raise click.UsageError("give --reference FILE, or --unsupervised SCENE to score regions without a reference.")
    if reference is not None and scene is not None:
        raise click.UsageError("--reference and --unsupervised are two kinds of evaluation; leave out one.")
    if scene is None and len(classes) > 1:
        raise click.UsageError(f"--reference compares one class raster, and {len(classes)} are given; give one.")


def _run(
    classes: tuple[str, ...],
    target: Path | None,
    *,
    reference: str,
    overwrite: bool,
    **options: Any,
) -> Evaluation:
    """Call the Python function behind the command, and write the report to `target` if it is not None."""
    from geoseg.evaluate.evaluate import evaluate_classes
    from geoseg.evaluate.report import check_report, write_report

    if target is not None:
        publication = check_report(target, (classes[0], reference), overwrite=overwrite)
    chosen = {name: options[name] for name in ("field", "layer", "tolerance", "tile_size")}
    evaluation = evaluate_classes(classes[0], reference, **chosen)
    if target is not None:
        write_report(target, evaluation, overwrite=publication)
    return evaluation


def _run_unsupervised(
    classes: tuple[str, ...], target: Path | None, *, unsupervised: str, overwrite: bool, **options: Any
) -> RegionEvaluation:
    """Call the Python function behind --unsupervised, and write the report to `target` if it is not None."""
    from geoseg.evaluate.report import check_report, write_report
    from geoseg.evaluate.unsupervised import evaluate_regions

    bands = integers(options["bands"], "--bands", "1,2,3") or ()
    if target is not None:
        publication = check_report(target, (*classes, unsupervised), overwrite=overwrite)
    evaluation = evaluate_regions(
        classes, unsupervised, connected=not options["numbered"], bands=bands, weight=options["f_weight"]
    )
    if target is not None:
        write_report(target, evaluation, overwrite=publication)
    return evaluation
