"""The command ``geoseg evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from cloup import argument, command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.ineffective import EVALUATE_RULES, refuse_ineffective
from geoseg.cli.parsing import EXIT_DONE

if TYPE_CHECKING:
    from geoseg.evaluate.evaluation import Evaluation


@command()
@argument("classes", callback=shared.check_name, help="Raster of integers; 0 and negative numbers are nodata.")
@option_group(
    "Output",
    option(
        "--json",
        "report",
        metavar="FILE|-",
        callback=shared.check_name,
        help="Also write all scores as JSON to this file; - prints only the JSON, on stdout.",
    ),
    shared.OVERWRITE,
)
@option_group(
    "Reference",
    option(
        "--reference",
        required=True,
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
@option_group("Display", shared.VERBOSE)
def evaluate(classes: str, *, verbose: bool, **options: Any) -> int:  # noqa: ARG001 # it has a callback
    """Score CLASSES, a class raster, against a reference: accuracy, agreement, boundaries and seams."""
    refuse_ineffective(EVALUATE_RULES, options)
    report, overwrite = options.pop("report"), options.pop("overwrite")
    target = None if report in (None, "-") else Path(report)
    evaluation = _run(classes, target, overwrite=overwrite, **options)
    from geoseg.evaluate.report import to_json

    click.echo(to_json(evaluation) if report == "-" else str(evaluation))
    return EXIT_DONE


def _run(classes: str, target: Path | None, *, reference: str, overwrite: bool, **options: Any) -> Evaluation:
    """Call the Python function behind the command, and write the report to `target` if it is not None."""
    from geoseg.evaluate.evaluate import evaluate_classes
    from geoseg.evaluate.report import check_report, write_report

    if target is not None:
        publication = check_report(target, (classes, reference), overwrite=overwrite)
    evaluation = evaluate_classes(classes, reference, **options)
    if target is not None:
        write_report(target, evaluation, overwrite=publication)
    return evaluation
