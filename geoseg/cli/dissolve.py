"""The command ``geoseg dissolve``."""

from __future__ import annotations

from pathlib import Path

import click
from cloup import argument, command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.parsing import EXIT_DONE


@command()
@argument("labels", callback=shared.check_name, help="Polygons that geoseg has written.")
@option_group(
    "Output",
    shared.OUT,
    option("--by", required=True, metavar="COLUMN", help="Unite adjacent polygons with the same value of this column."),
    shared.OVERWRITE,
)
@option_group("Display", shared.VERBOSE)
def dissolve(labels: str, *, out: Path, by: str, overwrite: bool, **_options: bool) -> int:
    """Unite adjacent polygons of LABELS that have the same value of a column, such as class_4, object_8 or name.

    The result is a coverage with the same borders. Pixels and areas are summed, means are weighted by pixels.
    """
    from geoseg.layers.dissolve import dissolve_polygons

    result = dissolve_polygons(labels, out, by=by, overwrite=overwrite)
    click.echo(f"{result.path}: {result.n_after} polygons from {result.n_before}")
    return EXIT_DONE
