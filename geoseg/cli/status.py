"""The command ``geoseg status``."""

from __future__ import annotations

import json
from pathlib import Path

import click
from cloup import command, option

from geoseg.cli import options as shared
from geoseg.cli.parsing import EXIT_DONE


@command()
@option("--run-dir", required=True, **shared.FILE, help="Report on the run in this folder.")
@option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def status(run_dir: Path, as_json: bool) -> int:
    """Report what a run has done, what failed, and how long it will take; also while it is under way."""
    from geoseg.run.status import run_status

    found = run_status(run_dir)
    click.echo(json.dumps(found.to_dict(), indent=1) if as_json else str(found))
    return EXIT_DONE
