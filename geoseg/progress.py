"""Progress of a run as typed events, and the callback that receives them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

_PRESUMED = 0.02  # share of the expected time of a stage or run for which the expectation counts like a measurement


@dataclass(frozen=True)
class StageStarted:
    """A stage starts.

    Parameters
    ----------
    stage : str
        One of survey, superpixels, learn, segment, classify, label, merge, outline, write, animate.
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


class TimeLeft:
    """Estimate of the time left for a run whose stages are reported one after the other.

    The expected times need only be right in their ratios: the time that the finished parts have taken, over what was
    expected for them, corrects those of the later stages. Parts that an earlier run has finished count as done, and
    neither for nor against the speed.

    Parameters
    ----------
    expected : mapping of str to float
        Stage → seconds, in the order of the stages.

    Examples
    --------
    >>> left = TimeLeft({"segment": 10.0, "outline": 10.0})
    >>> left.begin("segment", total=4, now=0.0)
    >>> left.advance(0, now=0.0)
    >>> left.advance(2, now=10.0)  # half of it in twice the time
    >>> 25 < left.seconds(now=10.0) < 30
    True
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        self._expected = dict(expected)
        self._stage: str | None = None
        self._total, self._done, self._first, self._start, self._latest = 1, 0, 0, 0.0, 0.0
        self._has_advanced = False
        self._spent, self._planned = 0.0, 0.0  # seconds of what was computed in finished stages, measured and expected

    def begin(self, stage: str, total: int, *, now: float) -> None:
        """Begin a stage of `total` parts."""
        self._stage, self._total, self._done, self._first = stage, max(total, 1), 0, 0
        self._start = self._latest = now
        self._has_advanced = False

    def advance(self, done: int, *, now: float) -> None:
        """Take over how many parts of the stage are finished; the first call counts those of an earlier run."""
        if not self._has_advanced:
            self._first, self._has_advanced = done, True
        self._done, self._latest = min(done, self._total), now

    def finish(self, *, now: float) -> None:
        """Finish the stage."""
        if self._stage is not None:
            self._planned += self._expected.pop(self._stage, 0.0) * (1 - self._first / self._total)
            self._spent += now - self._start
            self._stage = None

    def seconds(self, *, now: float) -> float | None:
        """Return the seconds left; None where the stage is not one of those that were expected."""
        if self._stage not in self._expected:
            return None
        own = self._expected[self._stage]
        computed = own * max(self._done - self._first, 0) / self._total
        elapsed = self._latest - self._start  # up to the last part that was finished
        factor = _ratio(self._spent + elapsed, self._planned + computed, sum(self._expected.values()))
        left = own * (1 - self._done / self._total) * _ratio(elapsed, computed, own, factor) - (now - self._latest)
        names = list(self._expected)
        later = names[names.index(self._stage) + 1 :]
        return max(left, 0.0) + factor * sum(self._expected[name] for name in later)


def _ratio(measured: float, expected: float, whole: float, before: float = 1.0) -> float:
    """Return measured over expected time, and near the begin the ratio that is known before."""
    presumed = _PRESUMED * whole
    return (measured + presumed * before) / (expected + presumed) if expected + presumed > 0 else before


def left_text(seconds: float | None) -> str:
    """Return the time left for a person to read; empty for None.

    Examples
    --------
    >>> left_text(None), left_text(100)
    ('', '2 min left')
    """
    return "" if seconds is None else f"{duration_text(seconds)} left"


def duration_text(seconds: float) -> str:
    """Return an estimated time for a person to read.

    Examples
    --------
    >>> [duration_text(seconds) for seconds in (0.2, 3.2, 100, 4000, 90000)]
    ['1 s', '4 s', '2 min', '1 h 7 min', '25 h']
    """
    if seconds <= 90:
        return f"{max(math.ceil(seconds), 1)} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    if hours >= 10:
        return f"{round(minutes / 60)} h"
    return f"{hours} h {rest} min" if hours else f"{minutes} min"


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
