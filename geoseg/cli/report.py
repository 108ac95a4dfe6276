"""The command ``geoseg report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from cloup import argument, command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.parsing import EXIT_DONE


@command()
@argument("labels", callback=shared.check_name, help="Polygons that geoseg tile or outline has written.")
@option_group(
    "Output",
    option("--out", required=True, **shared.FILE, help="Write the report to this .html file."),
    option("--overwrite", is_flag=True, help="Replace an existing report."),
)
@option_group(
    "Files of the run",
    option("--run-dir", **shared.FILE, help="Read run.json in this folder.  [default: LABELS with the suffix .run]"),
    option(
        "--scene",
        metavar="RASTER",
        callback=shared.check_name,
        help="Show this scene.  [default: where the run read it, or beside LABELS]",
    ),
    option(
        "--class-raster",
        **shared.FILE,
        help="Draw the map from this class raster.  [default: that of the run; without one, the polygons]",
    ),
)
@option_group("Display", shared.VERBOSE)
def report(labels: str, *, out: Path, overwrite: bool, **options: Any) -> int:
    """Make a report of LABELS, the result of a finished run: one HTML file that loads nothing from a network."""
    from geoseg.report.finished_run import Places
    from geoseg.report.report import report_run

    places = Places(options["run_dir"], options["scene"], options["class_raster"])
    path = report_run(labels, out, places=places, overwrite=overwrite)
    click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return EXIT_DONE
