"""Displays of progress events on standard error: bars, plain lines, JSON lines or nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from geoseg.cli.failures import printable
from geoseg.cli.streams import tolerant
from geoseg.progress import Event, Note, StageAdvanced, StageFinished, StageStarted, left_text

if TYPE_CHECKING:
    from geoseg.run.report import Result

MODES = ("auto", "bar", "plain", "json", "none")
STAGE_TITLES = {
    "survey": "survey the scene",
    "superpixels": "compute superpixels",
    "learn": "train the network",
    "segment": "segment tiles",
    "classify": "find classes",
    "label": "label tiles",
    "merge": "merge regions",
    "outline": "outline regions",
    "write": "write results",
    "report": "make the report",
    "animate": "train for animation",
    "tune": "compare parameters",
}

_LINE_INTERVAL = 60.0  # seconds between two plain lines of one stage
_MAX_LISTED = 20  # failed tiles; run.json lists all of them
_NO_SPEED = ("learn", "tune", "animate", "write", "report", "survey")  # their parts are not pixels


class TextDisplay:
    """Progress callback that prints bars or plain lines.

    Parameters
    ----------
    console : Console
        Where to print.
    bars : Progress, optional
        rich's bars on `console`; None prints plain lines.
    """

    def __init__(self, console: Console, bars: Progress | None) -> None:
        self._console = console
        self._bars = bars
        self._task: TaskID | None = None
        self._stage, self._total, self._done, self._pixels = "", 0, 0, 0
        self._left = ""  # for the whole run
        self._before: int | None = None  # parts finished by an earlier run; they do not count for the speed
        self._start = self._begin = self._printed = time.monotonic()

    def __call__(self, event: Event, /) -> None:
        """Show one event."""
        match event:
            case StageStarted():
                self._show_start(event)
            case StageAdvanced(done=done, seconds_left=seconds):
                self._left = left_text(seconds)
                self._show_advance(done)
            case StageFinished():
                self._show_end()
            case Note(text):
                self._print(text)

    def finish(self, text: str) -> None:
        """Show the end of the last stage and a final line."""
        self._show_end()
        if self._bars is not None:
            self._bars.stop()
        self._print(text)

    def summary(self, result: Result) -> None:
        """Show what was written, and the tiles that failed even when the console is quiet."""
        self.finish(_summary_text(result, time.monotonic() - self._start))
        if result.failed:
            self._console.quiet = False
            self._print(_failed_text(result))

    def _print(self, text: str) -> None:
        line = f"geoseg: {printable(text)}"
        with suppress(OSError, ValueError):  # ValueError: a closed file
            self._console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def _show_start(self, event: StageStarted) -> None:
        self._show_end()
        self._stage, self._total, self._done, self._pixels = event.stage, event.total, 0, event.pixels
        self._before = None
        self._begin = self._printed = time.monotonic()
        if self._bars is not None:
            self._task = self._bars.add_task(self._title(), total=event.total, speed="", left=self._left)

    def _show_advance(self, done: int) -> None:
        self._done = done
        self._before = done if self._before is None else self._before
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, speed=self._speed(), left=self._left)
        elif done < self._total and time.monotonic() - self._printed > _LINE_INTERVAL:
            self._print_line()

    def _show_end(self) -> None:
        if self._stage and self._bars is None:
            self._print_line()
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=self._total, left="")
        self._stage = ""

    def _title(self) -> str:
        return STAGE_TITLES.get(self._stage, self._stage)

    def _print_line(self) -> None:
        self._printed = time.monotonic()
        parts = f"{self._done}/{self._total}" if self._total > 1 else ""
        seconds = self._printed - self._begin
        self._print(f"{self._title():<19} {parts:>11} {self._speed():>11} {seconds:7.1f} s  {self._left}".rstrip())

    def _speed(self) -> str:
        seconds = time.monotonic() - self._begin
        n_new = self._done - (self._before or 0)
        if self._total <= 1 or self._stage in _NO_SPEED or n_new <= 0 or seconds <= 0:
            return ""
        return f"{self._pixels * n_new / self._total / seconds / 1e6:.1f} Mpx/s"


class JsonDisplay:
    """Progress callback that writes one JSON object per event and line.

    The key ``event`` is stage_started, stage_advanced, stage_finished, note or summary; the other keys are the fields
    of the event. The summary has ``text`` and, after a run with polygons, ``failed``, the numbers of failed tiles.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start = time.monotonic()

    def __call__(self, event: Event, /) -> None:
        """Write one event."""
        names = {
            StageStarted: "stage_started",
            StageAdvanced: "stage_advanced",
            StageFinished: "stage_finished",
            Note: "note",
        }
        fields = {name: value for name, value in asdict(event).items() if value is not None}
        self._write(names[type(event)], fields)

    def finish(self, text: str) -> None:
        """Write the final object."""
        self._write("summary", {"text": text})

    def summary(self, result: Result) -> None:
        """Write the final object, with the tiles that failed."""
        text = _summary_text(result, time.monotonic() - self._start)
        self._write("summary", {"text": text, "failed": sorted(result.failed)})

    def _write(self, name: str, fields: dict[str, Any]) -> None:
        with suppress(OSError, ValueError):
            print(json.dumps({"event": name, **fields}), file=self._stream, flush=True)


def _summary_text(result: Result, seconds: float) -> str:
    files = ", ".join(str(path) for path in result.outputs.paths)
    regions, classes = _count(result.n_regions, "region"), _count(result.n_classes, "class")
    return f"{regions} of {classes} in {seconds:.0f} s: {files}"


def _failed_text(result: Result) -> str:
    numbers = ", ".join(str(number) for number in sorted(result.failed)[:_MAX_LISTED])
    more = f" and {len(result.failed) - _MAX_LISTED} more" if len(result.failed) > _MAX_LISTED else ""
    return f"{_count(len(result.failed), 'tile')} failed, a hole in the result each: {numbers}{more}"


def _count(n: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{n} {what if n == 1 else plural}"


@contextmanager
def progress_display(mode: str = "auto", *, console: Console | None = None) -> Iterator[TextDisplay | JsonDisplay]:
    """Return a context manager with a progress callback that displays a run, in a terminal, script or notebook.

    Parameters
    ----------
    mode : str
        One of `MODES`; auto = bar on a terminal or in a notebook, plain elsewhere; none = failed tiles only.
    console : Console or None
        Where to print; None = standard error, or the output of the notebook cell. Not used by json.

    Examples
    --------
    >>> from geoseg.progress import StageFinished, StageStarted
    >>> with progress_display("none") as progress:  # pass it as the argument `progress` of geoseg.segment_scene
    ...     progress(StageStarted("survey", 1, 100))
    ...     progress(StageFinished("survey", 0.1))
    """
    if mode == "json":
        yield JsonDisplay(tolerant(sys.stderr))
        return
    forced = True if mode == "bar" else None
    if console is None:
        in_notebook = Console().is_jupyter  # a console with a file never is
        file = None if in_notebook else tolerant(sys.stderr)
        console = Console(file=file, quiet=mode == "none", force_terminal=forced)
    if mode in ("plain", "none") or not (console.is_terminal or console.is_jupyter):
        yield TextDisplay(console, None)
        return
    columns = (
        TextColumn("{task.description:<19}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield TextDisplay(console, bars)
