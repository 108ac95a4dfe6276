"""Time left for a whole run, from what its stages are expected to cost and from how long they have taken so far."""

from __future__ import annotations

from collections.abc import Mapping

_PRIOR = 0.02  # share of the expected time of a stage or run for which the expectation counts like a measurement


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
    prior = _PRIOR * whole
    return (measured + prior * before) / (expected + prior) if expected + prior > 0 else before


def left_text(seconds: float | None) -> str:
    """Return the time left for a person to read; empty for None.

    Examples
    --------
    >>> [left_text(seconds) for seconds in (None, 3.2, 100, 4000, 90000)]
    ['', '4 s left', '2 min left', '1 h 7 min left', '25 h left']
    """
    if seconds is None:
        return ""
    if seconds <= 90:
        return f"{int(seconds) + 1} s left"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    if hours >= 10:
        return f"{round(minutes / 60)} h left"
    return f"{hours} h {rest} min left" if hours else f"{minutes} min left"
