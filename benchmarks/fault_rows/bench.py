"""What the rows share: the scene, its unbroken result, starting geoseg and judging how it ended."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STAGES = ("survey", "learn", "superpixels", "segment", "classify", "label", "merge", "outline", "write")
TIME_LIMIT = 600  # seconds after which a run counts as hanging
_CONFIG = """
tiles: {size: 128, halo: 16}
network: {kernels: [3, 1], channels: [16, 16]}
learn: {windows: 8, crop: 64, batch: 4, steps: 12}
classify: {classes: 6}
polygons: {min_pixels: 16, simplify: 0}
"""


class SkippedError(Exception):
    """A row that cannot be tried here; the message is the reason."""


@dataclass
class Row:
    """One row of the table.

    Parameters
    ----------
    fault : str
        What was done.
    """

    fault: str
    tried: int = 0
    survived: int = 0
    identical: int = 0
    compared: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, *, survived: bool, identical: bool | None = None) -> None:
        """Count one attempt; `identical` is None where there is no result to compare."""
        self.tried += 1
        self.survived += survived
        self.compared += identical is not None
        self.identical += bool(identical)
        if not survived or identical is False:
            self.notes.append(what)

    @property
    def is_complete(self) -> bool:
        """Whether nothing fell short."""
        return self.survived == self.tried and self.identical == self.compared

    @property
    def line(self) -> str:
        """The row in Markdown."""
        same = f"{self.identical} of {self.compared}" if self.compared else ""
        notes = " ".join("; ".join(self.notes).split())
        return f"| {self.fault} | {self.tried} | {self.survived} | {same} | {notes[:400]} |"


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Parameters
    ----------
    code : int or None
        Exit code; negative for a signal, None if it was still running after `TIME_LIMIT`.
    text : str
        What it printed to standard error.
    """

    code: int | None
    text: str

    @property
    def is_clean(self) -> bool:
        """Whether it succeeded or ended with one line of error, after lines that are notes; without a traceback."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        if self.code is None or self.code < 0 or "Traceback" in self.text:
            return False
        return self.code == 0 or bool(lines and lines[-1].startswith("geoseg:"))


class Bench:
    """A folder with a scene, its configuration, and the result of an unbroken run.

    Parameters
    ----------
    folder : Path
    seed : int
        Of the moments and bytes that are drawn.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder.absolute(), random.Random(seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.scene, self.config = self.folder / "scene.tif", self.folder / "quick.yaml"
        self.config.write_text(_CONFIG)
        if not self.scene.exists():
            self.geoseg("synthetic", self.scene, "--size", "480x320", "--seed", 3)
        self._reference: tuple[bytes, str] | None = None
        self.seconds = dict.fromkeys(STAGES, 1.0)

    def geoseg(self, *arguments: object, env: dict[str, str] | None = None) -> Ended:
        """Run geoseg to its end."""
        with self.started(*arguments, env=env) as process:
            return self.end(process)

    @contextmanager
    def started(self, *arguments: object, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
        """Start geoseg in a process group of its own, which is killed at the end of the context."""
        command = [sys.executable, "-m", "geoseg", *map(str, arguments)]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | (env or {}),
        )  # fmt: skip
        try:
            yield process
        finally:
            self.kill(process)

    def end(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for the end of a process."""
        try:
            text = process.communicate(timeout=TIME_LIMIT)[1]
        except subprocess.TimeoutExpired:
            self.kill(process)
            return Ended(None, "")
        return Ended(process.returncode, text or "")

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill a process and all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def wait_for(self, process: subprocess.Popen[str], stage: str) -> None:
        """Read the events of a run with ``--progress json`` until a stage starts, or the run ends."""
        assert process.stderr is not None
        for line in process.stderr:
            with suppress(ValueError):
                event = json.loads(line)
                if event.get("event") == "stage_started" and event.get("stage") == stage:
                    return

    def tile(self, name: str, *options: object, scene: Path | str | None = None) -> list[object]:
        """Return the arguments of a run whose outputs are NAME.gpkg and NAME.tif."""
        out, raster = self.folder / f"{name}.gpkg", self.folder / f"{name}.tif"
        given = ("tile", scene or self.scene, "--config", self.config, "--out", out, "--class-raster", raster)
        return [*given, *(("--workers", 0) if not {"--workers", "--threads"} & set(options) else ()), *options]

    def remove(self, name: str) -> None:
        """Remove the outputs and the run folder of a run."""
        for path in self.folder.glob(f"{name}.*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def result(self, name: str) -> tuple[bytes, str]:
        """Return the bytes of the class raster and the polygons as text."""
        import geopandas

        frame = geopandas.read_file(self.folder / f"{name}.gpkg", layer="labels")
        return (self.folder / f"{name}.tif").read_bytes(), frame.to_wkt().to_csv()

    def reference(self) -> tuple[bytes, str]:
        """Return the result of an unbroken run in one process."""
        if self._reference is None:
            self.remove("reference")
            with self.started(*self.tile("reference", "--progress", "json")) as process:
                ended = self.end(process)
            events: list[dict[str, Any]] = [json.loads(line) for line in ended.text.splitlines() if line[:1] == "{"]
            self.seconds |= {e["stage"]: e["seconds"] for e in events if e["event"] == "stage_finished"}
            self._reference = self.result("reference")
        return self._reference

    def is_identical(self, name: str) -> bool:
        """Return whether a result is that of the unbroken run."""
        try:
            return self.result(name) == self.reference()
        except Exception:  # no result, or one that cannot be read
            return False
