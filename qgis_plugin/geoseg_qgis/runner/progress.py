"""The progress of a run, from the lines that ``geoseg --progress json`` writes to standard error."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Callable

STAGES = {  # in the order of a run: title, and share of its time on a typical scene, in percent
    "survey": ("survey the scene", 3),
    "superpixels": ("compute superpixels", 25),
    "learn": ("train the network", 10),  # what is left of it: it begins with the superpixels
    "segment": ("segment tiles", 25),
    "classify": ("find classes", 5),
    "label": ("label tiles", 8),
    "merge": ("merge regions", 2),
    "outline": ("outline regions", 14),
    "write": ("write results", 7),
    "report": ("make the report", 1),
    "tune": ("compare parameters", 82),
}
OF_SCENE = tuple(name for name in STAGES if name != "tune")
STAGES_OF = {"outline": ("survey", "label", "merge", "outline", "write"), "tune": ("survey", "learn", "tune")}
_FIXED = ("survey", "learn")  # their time does not grow with the scene, so nothing follows for the later stages
_INTERVAL = 5.0  # seconds between two texts of one stage
_MEASURED = 2.0  # seconds of a stage, after which its speed is known


@dataclass(frozen=True)
class Update:
    """What a line changes.

    Parameters
    ----------
    percent : float or None
        Of the whole run, never less than before; None = unchanged.
    text : str
        Stage, parts and time left; "" = unchanged.
    note : str
        A message of geoseg, such as a failed tile.
    failed : tuple of int
        Numbers of the tiles that failed, at the end of the run.
    """

    percent: float | None = None
    text: str = ""
    note: str = ""
    failed: tuple[int, ...] = ()


class Progress:
    """The progress of one run.

    Parameters
    ----------
    command : str
        Name of the command.
    clock : callable
        Returns seconds.
    """

    def __init__(self, command: str, clock: Callable[[], float] = time.monotonic) -> None:
        names = STAGES_OF.get(command, OF_SCENE)
        self._shares = {name: STAGES[name][1] for name in names}
        self._clock = clock
        self._percent = 0.0
        self._stage = ""
        self._total = 1
        self._first: tuple[int, float] | None = None  # parts at the first event, which an earlier run may have done
        self._shown = 0.0

    def receive(self, line: str) -> Update:
        """Return what a line changes; a line that is no event becomes a note."""
        event = _event(line)
        name = None if event is None else event.get("event")
        if event is None or name not in ("stage_started", "stage_advanced", "stage_finished", "note", "summary"):
            return Update(note=line.strip())
        if name == "note":
            return Update(note=str(event.get("text", "")))
        if name == "summary":
            failed = event.get("failed")
            numbers = tuple(failed) if isinstance(failed, list) else ()
            return Update(100.0, str(event.get("text", "")), failed=numbers)
        stage, total = str(event.get("stage", "")), _whole(event.get("total"))
        if name == "stage_finished":
            return Update(self._advanced(stage, 1.0))
        if name == "stage_started":
            self._stage, self._total, self._first, self._shown = stage, max(total, 1), None, self._clock()
            return Update(self._advanced(stage, 0.0), _title(stage))
        return self._counted(stage, _whole(event.get("done")), max(total, 1))

    def _counted(self, stage: str, done: int, total: int) -> Update:
        now = self._clock()
        self._first = self._first or (done, now)
        percent = self._advanced(stage, done / total)
        if done < total and now - self._shown < _INTERVAL:
            return Update(percent)
        if done >= total:
            return Update(percent)
        self._shown = now
        left = self._seconds_left(stage, done, total, now)
        text = f"{_title(stage)}: {done} of {total}"
        if left is not None:
            text += f", about {duration(left)} left{' in this stage' if stage in _FIXED else ''}"
        return Update(percent, text)

    def _advanced(self, stage: str, share: float) -> float:
        if stage in self._shares:
            names = list(self._shares)
            before = sum(self._shares[name] for name in names[: names.index(stage)])
            percent = 100 * (before + self._shares[stage] * min(max(share, 0.0), 1.0)) / sum(self._shares.values())
            self._percent = max(self._percent, percent)
        return self._percent

    def _seconds_left(self, stage: str, done: int, total: int, now: float) -> float | None:
        """Return the time left for the run, or for a stage of `_FIXED`, from its speed; None = not known yet."""
        first, since = self._first or (done, now)
        if done <= first or now - since < _MEASURED or stage not in self._shares:
            return None
        seconds = (now - since) / (done - first)  # per part
        names = list(self._shares)
        later = 0 if stage in _FIXED else sum(self._shares[name] for name in names[names.index(stage) + 1 :])
        return seconds * (total - done) + seconds * total * later / self._shares[stage]


def duration(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> [duration(seconds) for seconds in (4, 50, 130, 9000)]
    ['5 s', '50 s', '2 min', '2.5 h']
    """
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _event(line: str) -> dict[str, Any] | None:
    if not line.lstrip().startswith("{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _title(stage: str) -> str:
    title = STAGES[stage][0] if stage in STAGES else stage
    return title[:1].upper() + title[1:]


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) else 0
