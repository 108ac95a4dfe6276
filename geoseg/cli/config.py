"""The command ``geoseg config``."""

from __future__ import annotations

import click
from cloup import argument, command, option_group

from geoseg.cli import options as shared
from geoseg.cli.parsing import EXIT_DONE


@command()
@argument("name", required=False, help="Name of a configuration.")
@option_group("Display", shared.VERBOSE)
def config(name: str | None, *, verbose: bool) -> int:  # noqa: ARG001 # it has a callback
    """List the named configurations, or print the one called NAME with its comments."""
    from geoseg.config import named_configs

    files = named_configs()
    if name is None:
        for each, file in files.items():
            summary = file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
            click.echo(f"{each:<14} {summary}")
        return EXIT_DONE
    if name not in files:
        message = f"{name!r} is not a named configuration; choose one of {', '.join(files)}."
        raise click.BadParameter(message, param_hint="NAME")
    click.echo(files[name].read_text(encoding="utf-8"), nl=False)
    return EXIT_DONE
