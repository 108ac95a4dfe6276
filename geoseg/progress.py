"""Progress of a run as typed events, and the callback that receives them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from geoseg.time_left import TimeLeft


@dataclass(frozen=True)
class StageStarted:
    """A stage starts.

    Parameters
    ----------
    stage : str
        One of survey, learn, superpixels, segment, classify, label, merge, outline, write, animate.
    total : int
        Number of parts, such as tiles, blocks or training steps.
    pixels : int
        Number of pixels of the scene that the parts cover together.

    Examples
    --------
    >>> StageStarted("segment", total=4, pixels=250_000).stage
    'segment'
    """

    stage: str
    total: int
    pixels: int


@dataclass(frozen=True)
class StageAdvanced:
    """`done` of the `total` parts of a stage are finished.

    The first event of a stage may count parts that an earlier run has finished (``resume``).

    Parameters
    ----------
    stage : str
        Name of the stage.
    done : int
        Number of finished parts.
    total : int
        Number of all parts.
    seconds_left : float or None
        Estimated seconds that are left for the whole run; None = unknown.

    Examples
    --------
    >>> event = StageAdvanced("segment", done=3, total=4)
    >>> event.done / event.total
    0.75
    """

    stage: str
    done: int
    total: int
    seconds_left: float | None = None


@dataclass(frozen=True)
class StageFinished:
    """A stage is finished.

    Parameters
    ----------
    stage : str
        Name of the stage.
    seconds : float
        Wall time.

    Examples
    --------
    >>> StageFinished("segment", seconds=1.5)
    StageFinished(stage='segment', seconds=1.5)
    """

    stage: str
    seconds: float


@dataclass(frozen=True)
class Note:
    """A message for the user, such as a failed tile and its error.

    Parameters
    ----------
    text : str
        One line.

    Examples
    --------
    >>> Note("tile 7 failed: OSError: read error").text
    'tile 7 failed: OSError: read error'
    """

    text: str


Event = StageStarted | StageAdvanced | StageFinished | Note


class ProgressCallback(Protocol):
    """Callback that receives every progress event of a run, in the process that started the run."""

    def __call__(self, event: Event, /) -> None:
        """Receive one event."""


def ignore(event: Event, /) -> None:
    """Discard a progress event."""


class StageReporter:
    """Sender of the events of one run, which keeps the current stage and its start time.

    Parameters
    ----------
    callback : ProgressCallback
        Receives the events. An OSError of it is ignored: a display that cannot be written to does not end the run.
    """

    def __init__(self, callback: ProgressCallback, clock: Callable[[], float] = time.monotonic) -> None:
        self._callback = callback
        self._clock = clock
        self._stage: str | None = None
        self._total, self._start = 0, 0.0
        self._left: TimeLeft | None = None

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Report the time left for a run whose stages are expected to take these seconds, see `TimeLeft`."""
        self._left = TimeLeft(seconds)

    def begin(self, stage: str, total: int, *, pixels: int) -> None:
        """Finish the current stage, if there is one, and start the next."""
        self.finish()
        self._stage, self._total, self._start = stage, total, self._clock()
        if self._left is not None:
            self._left.begin(stage, total, now=self._start)
        self._send(StageStarted(stage, total, pixels))

    def advance(self, done: int) -> None:
        """Report the number of finished parts of the current stage."""
        if self._stage is not None:
            self._send(StageAdvanced(self._stage, done, self._total, self._seconds_left(done)))

    def finish(self) -> None:
        """Finish the current stage, if there is one."""
        if self._stage is not None:
            now = self._clock()
            self._send(StageFinished(self._stage, round(now - self._start, 3)))
            self._stage = None
            if self._left is not None:
                self._left.finish(now=now)

    def note(self, text: str) -> None:
        """Report a message."""
        self._send(Note(text))

    def _seconds_left(self, done: int) -> float | None:
        if self._left is None:
            return None
        now = self._clock()
        self._left.advance(done, now=now)
        left = self._left.seconds(now=now)
        return None if left is None else round(left, 1)

    def _send(self, event: Event) -> None:
        with suppress(OSError):
            self._callback(event)
