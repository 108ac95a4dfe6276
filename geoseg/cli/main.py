"""The command line: every expected error becomes one line.

Nothing heavy is imported before a command needs it, so ``geoseg --help`` is fast.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys

import click
import cloup

from geoseg import __version__
from geoseg.cli.classify import classify
from geoseg.cli.config import config
from geoseg.cli.dissolve import dissolve
from geoseg.cli.evaluate import evaluate
from geoseg.cli.failures import check_current_folder, check_memory_limit, explain
from geoseg.cli.finish import finish
from geoseg.cli.info import info
from geoseg.cli.name import name
from geoseg.cli.outline import outline
from geoseg.cli.parsing import EXIT_DONE, EXIT_FIXABLE
from geoseg.cli.plan import plan
from geoseg.cli.preview import preview
from geoseg.cli.report import report
from geoseg.cli.status import status
from geoseg.cli.stdin_end import STOP_AT_EOF
from geoseg.cli.streams import OutputFailedError, end_output, output_failed, prepare_streams, print_error
from geoseg.cli.synthetic import scene, synthetic
from geoseg.cli.tile import tile
from geoseg.cli.tune import tune
from geoseg.cli.work import work
from geoseg.errors import GeosegError
from geoseg.run.allocator import keep_freed_memory
from geoseg.run.signals import Stopped, ignore_signals, stoppable

_log = logging.getLogger("geoseg")

_TRACEBACK = "traceback of the error:"  # with -v
_SIGNALLED = 128  # plus the number of the signal, as shells report it


def main() -> None:
    """Run the command line and exit with its exit code; the cause of the SystemExit is an error that was unforeseen."""
    prepare_streams()
    failure: Exception | None = None
    try:
        with stoppable():
            code = _run()
    except Stopped as err:
        ignore_signals()  # until the process has ended, which takes a moment
        code = _stopped(err.number)
    except KeyboardInterrupt:  # in another thread than the main one
        code = _stopped(signal.SIGINT)
    except click.ClickException as err:
        err.show()
        code = err.exit_code
    except GeosegError as err:
        _log.debug(_TRACEBACK, exc_info=err)
        print_error(str(err))
        code = EXIT_FIXABLE
    except OutputFailedError as err:
        code = output_failed(err.reason)
    except Exception as err:  # a traceback is of no use to who runs the command
        _log.debug(_TRACEBACK, exc_info=err)
        print_error(explain(err))
        code, failure = EXIT_FIXABLE, err
    raise SystemExit(end_output(code)) from failure


def _run() -> int:
    """Run the command that the arguments name and return its exit code; exceptions are not converted."""
    if "_GEOSEG_COMPLETE" in os.environ:
        return int(commands(standalone_mode=False))
    try:
        with commands.make_context("geoseg", with_file_names(sys.argv[1:])) as context:
            return int(commands.invoke(context) or EXIT_DONE)
    except click.exceptions.Exit as err:  # after --help and --version
        return err.exit_code


def _stopped(number: int) -> int:
    name = signal.Signals(number).name
    again = "the same command" if sys.argv[1:2] in (["work"], ["finish"]) else "the same command with --resume"
    print_error(f"interrupted ({name}); if there is a run folder, {again} continues the run")
    return _SIGNALLED + number


def with_file_names(arguments: list[str]) -> list[str]:
    """Return arguments in which the name of an existing file, such as ``-dash.tif``, is not taken for an option."""
    is_file = [bool(re.match(r"-[^-].*\.\w+$", text, re.DOTALL)) and os.path.isfile(text) for text in arguments]  # noqa: PTH113
    return [f"./{text}" if found else text for text, found in zip(arguments, is_file, strict=True)]


@cloup.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="geoseg")
@STOP_AT_EOF
def commands() -> None:
    """Segment rasters larger than memory into seamless polygons, without training data."""
    check_memory_limit()
    check_current_folder()
    keep_freed_memory()


_COMMANDS = (
    *(
        tile,
        outline,
        classify,
        name,
        preview,
        tune,
        report,
        info,
        plan,
        work,
        finish,
        status,
        dissolve,
        evaluate,
        config,
        synthetic,
    ),
    scene,
)
for _command in _COMMANDS:
    commands.add_command(_command)
