"""The command ``geoseg classify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from cloup import argument, command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.ineffective import CLASSIFY_RULES, refuse_ineffective
from geoseg.cli.json_output import JsonOutput, json_option
from geoseg.cli.parsing import EXIT_DONE

if TYPE_CHECKING:
    from geoseg.classify.result import Classification

_SHOWN = 8  # columns in the table of importance


@command()
@argument("labels", callback=shared.check_name, help="Polygons that geoseg tile or outline has written.")
@option_group(
    "Output",
    shared.OUT,
    option("--dissolve", is_flag=True, help="Unite adjacent regions of one name."),
    option(
        "--min-probability",
        type=float,
        default=0,
        metavar="P",
        show_default=True,
        help="Name regions unknown whose name is less probable.",
    ),
    option(
        "--suggest",
        type=int,
        default=0,
        metavar="N",
        help="Also write N regions whose name would teach most, to OUT with .suggestions before its suffix.",
    ),
    option(
        "--no-validation",
        "validate",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Leave out the cross-validation, which takes some seconds.",
    ),
    option("--save-model", **shared.FILE, help="Also write the forest to this .forest file."),
    json_option("all figures", "report"),
    shared.OVERWRITE,
)
@option_group(
    "Names",
    option(
        "--samples",
        metavar="FILE",
        multiple=True,
        type=click.Path(),
        help="Learn from these points or polygons, in any CRS, or from a .csv with columns lon and lat, or x and y; "
        "can be given several times.",
    ),
    option("--field", metavar="NAME", default="name", show_default=True, help="Read the names from this field."),
    option("--layer", metavar="NAME", help="Read this layer of the samples.  [default: the only one]"),
    option(
        "--crs",
        metavar="CRS",
        help="Take the coordinates in a .csv as of this CRS, such as EPSG:25832.  [default: EPSG:4326 for lon and lat, "
        "that of LABELS for x and y]",
    ),
    option("--model", **shared.FILE, help="Use the forest in this .forest file instead of samples."),
)
@option_group("Display", shared.VERBOSE)
def classify(labels: str, *, verbose: bool, **options: Any) -> int:  # noqa: ARG001 # it has a callback
    """Give the regions in LABELS names, by samples: each gets a name, its probability and the second name.

    A forest is trained with the columns of the regions that have samples, of their neighbours and of their classes.
    The scene is not read. The accuracy is that of a cross-validation of the samples by spatial blocks.
    """
    refuse_ineffective(CLASSIFY_RULES, options)
    from geoseg.classify.classify import classify_regions
    from geoseg.output.names_document import names_document_path
    from geoseg.output.system import file_key

    report = options.pop("report")
    for name in options["samples"]:
        shared.check_name(click.get_current_context(), click.Argument(["samples"]), name)
    own = names_document_path(options["out"])
    if report is not None and file_key(Path(report)) == file_key(own):
        raise click.UsageError(f"{own} is written beside --out; give --json another name.")
    inputs = [each for each in (labels, options["model"], *options["samples"]) if each is not None]
    output = JsonOutput.of(report, inputs, overwrite=options["overwrite"])
    result = classify_regions(labels, options.pop("out"), **options)
    output.write(lambda: _json(result))
    output.show(lambda: _json(result), lambda: _print(result))
    return EXIT_DONE


def _json(result: Classification) -> str:
    import json

    return json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def _print(result: Classification) -> None:
    """Print the tables and sentences of a result."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    console.print(_score_table(result))
    if result.confusion:
        console.print(_confusion_table(result))
    if result.importance:
        parts = ", ".join(f"{name} {share:.2f}" for name, share in result.importance[:_SHOWN])
        console.print(f"Columns that decide most: {parts}")
    if result.accuracy is not None and result.miou is not None:
        curve = ", ".join(f"{n:.0f}: {value:.2f}" for n, value in result.curve)
        console.print(f"Cross-validation by spatial blocks: accuracy {result.accuracy:.2f}, mean IoU {result.miou:.2f}")
        console.print(f"Mean IoU by samples per name: {curve}")
    for text in (result.advice, *(f"Note: {note}" for note in result.notes)):
        if text:
            console.print(text)
    if result.suggestions is not None:
        console.print(f"Regions to name next: {result.suggestions}")
    console.print(str(result), soft_wrap=True)


def _score_table(result: Classification) -> Any:
    from rich.table import Table

    table = Table(box=None)
    for title in ("name", "samples", "regions", "share", "recall", "precision", "IoU"):
        table.add_column(title, justify="left" if title == "name" else "right")
    for score in result.scores:
        figures = ("" if value is None else f"{value:.2f}" for value in (score.recall, score.precision, score.iou))
        table.add_row(score.name, str(score.samples), str(score.regions), f"{100 * score.share:.1f} %", *figures)
    return table


def _confusion_table(result: Classification) -> Any:
    from rich.table import Table

    names = [score.name for score in result.scores][: len(result.confusion)]
    table = Table("samples of ↓ found as →", *names, box=None, title="Confusion of the samples", title_justify="left")
    for name, row in zip(names, result.confusion, strict=True):
        table.add_row(name, *map(str, row))
    return table
