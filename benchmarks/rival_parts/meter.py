"""Time and memory of whole processes with all of their descendants.

As a script, it runs one command as the child of an own process, so that no other children count, and writes what the
command used to a JSON file: python meter.py RESULT.json LOG COMMAND [ARGUMENT ...]
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_INTERVAL = 0.1  # s between two samples of the memory
_BECOME_SUBREAPER = 36  # of prctl: descendants whose parent ends become children of this process
_KIB = 1 if sys.platform == "darwin" else 1024  # unit of ru_maxrss in bytes
_LOG_LINES = 5


class CommandFailedError(Exception):
    """A command ended with another exit code than 0; the text is the end of its output."""


@dataclass(frozen=True)
class Usage:
    """What commands used: CPU seconds in user and system mode, wall seconds, and bytes of resident memory.

    `largest` is the largest memory of a process, and `total` that of all processes at the same time, in which pages
    that processes share count several times.
    """

    user: float
    system: float
    wall: float
    largest: float
    total: float

    @property
    def cpu(self) -> float:
        """CPU seconds in both modes."""
        return self.user + self.system

    def then(self, other: Usage) -> Usage:
        """Return what this and then the other used."""
        largest, total = max(self.largest, other.largest), max(self.total, other.total)
        return Usage(self.user + other.user, self.system + other.system, self.wall + other.wall, largest, total)


def measure(commands: Sequence[Sequence[str | Path]], folder: Path, environment: dict[str, str] | None = None) -> Usage:
    """Run commands one after the other in the folder, each with its output in a log, and return what they used.

    Some write files into the current folder. Paths in a command, of type Path, can be relative to that of this process.

    Raises
    ------
    CommandFailedError
        If one fails.
    """
    usage = Usage(0, 0, 0, 0, 0)
    for number, command in enumerate(commands):
        result, log = folder / f"usage{number}.json", folder / f"log{number}.txt"
        meter = [sys.executable, Path(__file__), result, log, *command]
        parts = [str(part.absolute() if isinstance(part, Path) else part) for part in meter]
        subprocess.run(parts, check=True, cwd=folder, env=os.environ | (environment or {}))
        document = json.loads(result.read_text(encoding="utf-8"))
        if document.pop("code"):
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise CommandFailedError(" / ".join(lines[-_LOG_LINES:]) or f"{command[0]} failed without a message")
        usage = usage.then(Usage(**document))
    return usage


class _Sampler(threading.Thread):
    """Samples the memory of the descendants of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.largest, self.total, self.ended = 0, 0, threading.Event()

    def run(self) -> None:
        """Sample until the event `ended`."""
        here = psutil.Process()
        while not self.ended.wait(_INTERVAL):
            sizes = [0]
            for process in here.children(recursive=True):
                with suppress(psutil.Error):
                    sizes.append(process.memory_info().rss)
            self.largest, self.total = max(self.largest, *sizes), max(self.total, sum(sizes))


def _run(command: list[str], log: Path) -> dict[str, float]:
    if sys.platform == "linux":  # so that descendants which outlive their parent count, too
        ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)
    sampler = _Sampler()
    with log.open("wb") as output:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        sampler.start()
        code = process.wait()
        wall = time.perf_counter() - begin
        with suppress(ChildProcessError):
            while True:
                os.wait()
        sampler.ended.set()
        sampler.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    largest = max(sampler.largest, used.ru_maxrss * _KIB)
    return {
        "code": code,
        "user": used.ru_utime,
        "system": used.ru_stime,
        "wall": wall,
        "largest": largest,
        "total": max(sampler.total, largest),
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(_run(sys.argv[3:], Path(sys.argv[2]))), encoding="utf-8")
