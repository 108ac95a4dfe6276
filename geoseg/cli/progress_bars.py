"""Show on a terminal how far a run is; plain lines where the output is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from geoseg.steps.write import Result

_STEPS = {
    "survey": "look at the scene",
    "learn": "learn the network",
    "animate": "learn from nothing",
    "superpixels": "make superpixels",
    "segment": "segment tiles",
    "ground": "gather votes",
    "merged": "join superpixels",
    "look": "look at labels",
    "label": "label tiles",
    "join": "join regions",
    "outline": "draw outlines",
    "write": "write results",
}


_PATIENCE = 60.0  # seconds between two lines of one step, where there are no bars
_MOST_NAMED = 20  # failed tiles; run.json has all of them


class Shown:
    """A progress that is printed to standard error.

    Parameters
    ----------
    console : where to
    bars : rich's progress where `console` is a terminal, None for plain lines
    """

    def __init__(self, console: Console, bars: Progress | None) -> None:
        self._console = console
        self._bars = bars
        self._task: TaskID | None = None
        self._step, self._total, self._done, self._pixels = "", 0, 0, 0
        self._before: int | None = None  # parts that an earlier run had done; they say nothing about the speed
        self._start = self._begin = self._told = time.monotonic()

    def begin(self, step: str, total: int, *, pixels: int) -> None:
        """Show that a step begins."""
        self._finish_line()
        self._step, self._total, self._done, self._pixels = step, total, 0, pixels
        self._before = None
        self._begin = self._told = time.monotonic()
        if self._bars is not None:
            self._task = self._bars.add_task(_STEPS[step], total=total, speed="")

    def advance(self, done: int) -> None:
        """Show how many parts of the step are done."""
        self._done = done
        self._before = done if self._before is None else self._before
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, speed=self._speed())
        elif done < self._total and time.monotonic() - self._told > _PATIENCE:
            self._line()

    def note(self, text: str) -> None:
        """Show a line that stays."""
        self._console.print(f"geoseg: {text}", markup=False, emoji=False, highlight=False, soft_wrap=True)

    def finish(self, text: str) -> None:
        """Show that the last step is done, and a line that stays."""
        self._finish_line()
        self._step = ""
        if self._bars is not None:
            self._bars.stop()
        self.note(text)

    def summary(self, result: Result) -> None:
        """Show what was made."""
        files = ", ".join(str(path) for path in result.outputs.paths)
        regions, classes = _count(result.n_regions, "region"), _count(result.n_classes, "class")
        self.finish(f"{regions} of {classes} in {time.monotonic() - self._start:.0f} s: {files}")
        if result.failed:
            self._console.quiet = False  # an error, and --quiet is silent about all else
            numbers = ", ".join(str(number) for number in sorted(result.failed)[:_MOST_NAMED])
            more = f" and {len(result.failed) - _MOST_NAMED} more" if len(result.failed) > _MOST_NAMED else ""
            self.note(f"{_count(len(result.failed), 'tile')} failed, a hole in the result each: {numbers}{more}")

    def _finish_line(self) -> None:
        if self._step and self._bars is None:
            self._line()
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=self._total)

    def _line(self) -> None:
        self._told = time.monotonic()
        parts = f"{self._done}/{self._total}" if self._total > 1 else ""
        seconds = self._told - self._begin
        self.note(f"{_STEPS[self._step]:<18} {parts:>11} {self._speed():>11} {seconds:7.1f} s")

    def _speed(self) -> str:
        seconds = time.monotonic() - self._begin
        n_new = self._done - (self._before or 0)
        if self._total <= 1 or self._step in ("learn", "animate", "write") or n_new <= 0 or seconds <= 0:
            return ""
        return f"{self._pixels * n_new / self._total / seconds / 1e6:.1f} Mpx/s"


def _count(n: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{n} {what if n == 1 else plural}"


@contextmanager
def show(*, quiet: bool) -> Iterator[Shown]:
    """Give a progress that shows itself while the context lasts."""
    console = Console(file=sys.stderr, quiet=quiet)
    if not console.is_terminal or quiet:
        yield Shown(console, None)
        return
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as bars:
        yield Shown(console, bars)
