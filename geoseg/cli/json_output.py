"""The option ``--json FILE`` of all commands that have figures: to a file, or to standard output."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from cloup import option

from geoseg.cli.options import Decorator, check_name

if TYPE_CHECKING:
    from geoseg.output.publication import Publication

_STDOUT = "-"


def json_option(what: str, name: str = "json") -> Decorator:
    """Return the option.

    Parameters
    ----------
    what : str
        What is written, for the help text.
    name : str
        Of the parameter.
    """
    return option(
        "--json",
        name,
        is_flag=False,
        flag_value=_STDOUT,
        metavar="[FILE]",
        callback=check_name,
        help=f"Also write {what} as JSON to this file; - or no name prints only the JSON, on stdout.",
    )


@dataclass(frozen=True)
class JsonOutput:
    """Where the JSON of a command goes.

    Parameters
    ----------
    path : Path or None
        The file; None = no file.
    is_printed : bool
        Whether it is printed in place of text.
    publication : Publication or None
        Of the file.
    """

    path: Path | None
    is_printed: bool
    publication: Publication | None = None

    @classmethod
    def of(cls, given: str | None, inputs: Iterable[str], *, overwrite: bool) -> JsonOutput:
        """Return where the JSON goes, after checking that a file can be written.

        Parameters
        ----------
        given : str or None
            Value of the option.
        inputs : iterable of str
            Files that the command reads, which are never replaced.
        overwrite : bool
            Whether an existing file may be replaced.

        Raises
        ------
        GeosegError
            If the file cannot be written, see `evaluate.report.check_report`.
        """
        if given in (None, _STDOUT):
            return cls(None, given == _STDOUT)
        from geoseg.evaluate.report import check_report

        path = Path(str(given))
        return cls(path, False, check_report(path, inputs, overwrite=overwrite))

    def write(self, text: Callable[[], str]) -> None:
        """Write the JSON to the file, if there is one."""
        if self.path is None or self.publication is None:
            return
        from geoseg.output.files import write_file

        self.publication.check([self.path])
        write_file(self.path, f"{text()}\n".encode())

    def show(self, text: Callable[[], str], otherwise: Callable[[], Any]) -> None:
        """Print the JSON if that was asked for, and call `otherwise` if not."""
        if self.is_printed:
            click.echo(text())
        else:
            otherwise()
