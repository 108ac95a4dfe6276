"""The command ``geoseg name``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from cloup import argument, command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.parsing import EXIT_DONE


@command()
@argument("labels", callback=shared.check_name, help="Polygons that geoseg tile or outline has written.")
@argument("names", callback=shared.check_name, help="CSV with the columns class, name and maybe color (#rrggbb).")
@option_group(
    "Output",
    shared.OUT,
    option("--class-raster", **shared.FILE, help="Also write the classes of --raster, with names, to this .tif file."),
    shared.OVERWRITE,
)
@option_group("Files of the run", option("--raster", **shared.FILE, help="Read this class raster of the run."))
@option_group("Display", shared.VERBOSE)
def name(labels: str, names: str, *, out: Path, verbose: bool, **options: Any) -> int:  # noqa: ARG001 # it has a callback
    """Give the classes of LABELS the names and colours in NAMES.

    They are in the columns name and color, in the style, in the class document, and so in a report.
    """
    from geoseg.classify.name import name_classes

    result = name_classes(labels, names, out, **options)
    for note in result.notes:
        click.echo(f"Note: {note}")
    click.echo(str(result))
    return EXIT_DONE
