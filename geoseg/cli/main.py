"""The command line: every expected error becomes one line.

Nothing heavy is imported before a command needs it, so ``geoseg --help`` is fast.
"""

from __future__ import annotations

import os
import re
import sys

import click
import cloup

from geoseg import __version__
from geoseg.cli.config import config
from geoseg.cli.evaluate import evaluate
from geoseg.cli.info import info
from geoseg.cli.outline import outline
from geoseg.cli.parsing import EXIT_FIXABLE
from geoseg.cli.preview import preview
from geoseg.cli.synthetic import scene, synthetic
from geoseg.cli.tile import tile
from geoseg.errors import GeosegError

_INTERRUPTED = 130  # as shells report Ctrl-C


def main() -> None:
    """Run the command line and exit with its exit code."""
    try:
        code = commands(with_file_names(sys.argv[1:]), standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("geoseg: interrupted; if a run folder exists, --resume continues the run", err=True)
        code = _INTERRUPTED
    except click.ClickException as err:
        err.show()
        code = err.exit_code
    except GeosegError as err:
        click.echo(f"geoseg: {' '.join(str(err).split())}", err=True)
        code = EXIT_FIXABLE
    sys.exit(code)


def with_file_names(arguments: list[str]) -> list[str]:
    """Return arguments in which the name of an existing file, such as ``-dash.tif``, is not taken for an option."""
    is_file = [bool(re.match(r"-[^-].*\.\w+$", text, re.DOTALL)) and os.path.isfile(text) for text in arguments]  # noqa: PTH113
    return [f"./{text}" if found else text for text, found in zip(arguments, is_file, strict=True)]


@cloup.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="geoseg")
def commands() -> None:
    """Segment rasters larger than memory into seamless polygons, without training data."""


for _command in (tile, outline, preview, info, evaluate, config, synthetic, scene):
    commands.add_command(_command)
