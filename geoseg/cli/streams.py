"""Standard streams that may be closed, full or in another encoding: they never end a run with a traceback."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

import click

from geoseg.cli.failures import printable
from geoseg.cli.parsing import EXIT_FIXABLE

_CLOSED_PIPE = 141  # as shells report SIGPIPE


class OutputFailedError(Exception):
    """Standard output cannot be written.

    Parameters
    ----------
    reason : OSError or ValueError
    """

    def __init__(self, reason: OSError | ValueError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Output:
    """Text stream whose errors are those of standard output, not of a file of the user.

    Parameters
    ----------
    stream : TextIO
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text and return its length; OutputFailedError if that fails."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as err:
            raise OutputFailedError(err) from err

    def flush(self) -> None:
        """Write what is left in the buffer; OutputFailedError if that fails."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as err:
            raise OutputFailedError(err) from err


class Tolerant:
    """Text stream that drops what cannot be written; all else is that of the stream.

    Parameters
    ----------
    stream : TextIO

    Examples
    --------
    >>> import io
    >>> stream = io.StringIO()
    >>> stream.close()
    >>> Tolerant(stream).write("lost")
    4
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, if that is possible, and return its length."""
        with suppress(OSError, ValueError):  # ValueError: closed, or not encodable
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each line as `write` does."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream, if that is possible."""
        with suppress(OSError, ValueError):
            self._stream.flush()


def tolerant(stream: TextIO) -> TextIO:
    """Return a stream that writes to another one and drops what cannot be written."""
    return cast(TextIO, Tolerant(stream))


def prepare_streams() -> None:
    """Make the standard streams safe to write to.

    A closed stream becomes the null device: otherwise the next file that is opened would take its place, and messages
    of libraries would be written into it. What the encoding of the terminal lacks is escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, this one
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 # open until the process ends
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if not isinstance(sys.stdout, Output):
        sys.stdout = Output(sys.stdout)
    if not isinstance(sys.stderr, Tolerant):
        sys.stderr = tolerant(sys.stderr)


def print_error(text: str) -> None:
    """Print one line to standard error, with the name of the program."""
    click.echo(f"geoseg: {printable(' '.join(text.split()))}", err=True)


def end_output(code: int) -> int:
    """Write what is left in the buffer of standard output; return `code`, or another exit code if that fails."""
    try:
        sys.stdout.flush()
    except OutputFailedError as err:
        return output_failed(err.reason)
    return code


def output_failed(err: OSError | ValueError) -> int:
    """Report that standard output cannot be written, and return the exit code.

    A closed pipe is no error: its reader, such as ``head``, has all that it wanted.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # the interpreter flushes its buffer once more at the end
    os.close(null)
    if isinstance(err, BrokenPipeError):
        return _CLOSED_PIPE
    reason = getattr(err, "strerror", None) or str(err)
    print_error(f"standard output cannot be written: {reason}. Write it to another file, or free space on the disk.")
    return EXIT_FIXABLE
