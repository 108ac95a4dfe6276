"""The command ``geoseg status``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from cloup import command, option

from geoseg.cli import options as shared
from geoseg.cli.ineffective import JSON_RULES, refuse_ineffective
from geoseg.cli.json_output import JsonOutput, json_option
from geoseg.cli.parsing import EXIT_DONE

if TYPE_CHECKING:
    from geoseg.run.status import RunStatus


@command()
@option("--run-dir", required=True, **shared.FILE, help="Report on the run in this folder.")
@json_option("the status")
@shared.OVERWRITE
def status(run_dir: Path, *, overwrite: bool, **options: str | None) -> int:
    """Report what a run has done, what failed, and how long it will take; also while it is under way."""
    from geoseg.output.names import check_outside
    from geoseg.run.status import run_status

    refuse_ineffective(JSON_RULES, options | {"overwrite": overwrite})
    output = JsonOutput.of(options["json"], (), overwrite=overwrite)
    if output.path is not None:
        check_outside([output.path], run_dir)
    found = run_status(run_dir)
    output.write(lambda: _json(found))
    output.show(lambda: _json(found), lambda: click.echo(str(found)))
    return EXIT_DONE


def _json(found: RunStatus) -> str:
    return json.dumps(found.to_dict(), indent=1)
