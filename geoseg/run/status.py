"""Status of a run, also of one under way: which stages are done, what failed, and how long it will take.

Nothing in the folder is changed, and no product is read: files are counted, and their times are compared.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg.config import load_config
from geoseg.errors import GeosegError, RunError
from geoseg.output.system import is_running
from geoseg.progress import duration_text
from geoseg.run.documents import parse_document
from geoseg.run.folder import RUN_ID, RunFolder, read_content, read_run_id
from geoseg.run.lock import holder_of
from geoseg.run.manifest import has_report, read_identity, read_plan, read_report
from geoseg.run.products import (
    CLASS_MODEL,
    MERGED_TABLE,
    NETWORK,
    OUTLINES,
    PIECES,
    REGIONS,
    SUPERPIXEL_TABLE,
    SUPERPIXELS,
    SURVEY,
    TILE_SUPERPIXELS,
    VOTES,
    Product,
)
from geoseg.run.size import SIZE
from geoseg.run.stage_costs import expected_seconds, seconds_left_of
from geoseg.run.stages import FAILURES

PART = "part"  # begin of the names of the documents about parts
_PER_SCENE, _PER_BLOCK, _PER_TILE = "scene", "block", "tile"
# The products that are counted, and how many there are of each: of several products of a tile, the one stored last.
_COUNTED: tuple[tuple[Product[Any], str], ...] = (
    (SURVEY, _PER_SCENE),
    (NETWORK, _PER_SCENE),
    (SUPERPIXELS, _PER_BLOCK),
    (VOTES, _PER_TILE),
    (SUPERPIXEL_TABLE, _PER_BLOCK),
    (MERGED_TABLE, _PER_BLOCK),
    (CLASS_MODEL, _PER_SCENE),
    (PIECES, _PER_TILE),
    (REGIONS, _PER_TILE),
    (OUTLINES, _PER_TILE),
)
_RECENT = 1000  # files from whose times the speed is taken
_SHOWN = 20  # failed tiles and parts in the text


@dataclass(frozen=True)
class StageStatus:
    """Status of a stage.

    Parameters
    ----------
    stage : str
    done, total : int
        Tiles, blocks or scenes that are stored, and all.
    per_second : float or None
        How many are stored per second, from the times of the latest files; None where that is not known.
    seconds_left : float or None
        Estimated from the speed; None where that is not known, or nothing is left.

    Examples
    --------
    >>> StageStatus("segment", done=4, total=8, per_second=2.0, seconds_left=2.0).done
    4
    """

    stage: str
    done: int
    total: int
    per_second: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class PartStatus:
    """Status of a part of a planned run.

    Parameters
    ----------
    part : str
        Its number and the number of all, such as 3/7.
    state : {"done", "running", "interrupted"}
    process : str
        That has computed it last.
    n_tiles : int

    Examples
    --------
    >>> PartStatus("3/7", "done", "process 17 on node4", n_tiles=12).state
    'done'
    """

    part: str
    state: str
    process: str
    n_tiles: int


@dataclass(frozen=True)
class RunStatus:
    """Status of a run; as text, what `geoseg status` prints.

    Parameters
    ----------
    run_dir : Path
    state : {"finished", "running", "stopped"}
    used_by : str or None
        The process that uses the run folder, or the latest of several, where it is on this machine or the file system
        shares locks.
    stages : tuple of StageStatus
        In their order; empty for a finished run.
    failed : dict of int to str
        Tile number → error.
    outputs : tuple of str
        Of a finished run.
    parts : tuple of PartStatus
        Of a planned run, those that have begun.
    advice : str
        What to do next; empty for a run under way.
    seconds_left : float or None
        Estimated for all stages of a run under way; None where no speed is known.

    Examples
    --------
    >>> print(RunStatus(Path("labels.run"), "stopped", None, (StageStatus("segment", 4, 8),), {}))
    labels.run: stopped
      segment            4 of 8
    """

    run_dir: Path
    state: str
    used_by: str | None
    stages: tuple[StageStatus, ...]
    failed: dict[int, str]
    outputs: tuple[str, ...] = ()
    parts: tuple[PartStatus, ...] = ()
    advice: str = ""
    seconds_left: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return asdict(self) | {"run_dir": str(self.run_dir), "failed": {str(k): v for k, v in self.failed.items()}}

    def __str__(self) -> str:
        lines = [f"{self.run_dir}: {self.state}" + (f", used by {self.used_by}" if self.used_by else "")]
        if self.seconds_left is not None:
            lines[0] += f", about {duration_text(self.seconds_left)} left"
        for stage in self.stages:
            speed = "" if stage.per_second is None else f", {stage.per_second:.3g} per second"
            seconds = stage.seconds_left
            left = "" if seconds is None else f", about {duration_text(seconds)} for the rest of it"
            lines.append(f"  {stage.stage:<12} {stage.done:>7} of {stage.total}{speed}{left}")
        open_parts = [part for part in self.parts if part.state != "done"]
        if self.parts:
            lines.append(f"  {len(self.parts) - len(open_parts)} parts are done")
        lines += _some([f"  part {part.part} {part.state}: {part.process}" for part in open_parts], "parts")
        lines += _some([f"  tile {number} failed: {text}" for number, text in sorted(self.failed.items())], "tiles")
        lines += [f"  wrote {name}" for name in self.outputs]
        return "\n".join([*lines, f"  {self.advice}"] if self.advice else lines)


def run_status(run_dir: str | Path) -> RunStatus:
    """Return the status of a run; nothing in its folder is changed.

    Parameters
    ----------
    run_dir : str or Path
        The folder of a run of any command, finished, interrupted or under way.

    Returns
    -------
    RunStatus

    Raises
    ------
    RunError
        If it is not a run folder, cannot be read, or one of its documents is damaged.

    Examples
    --------
    >>> import tempfile
    >>> from geoseg.pipeline import segment_scene
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(96, 128), seed=1))
    >>> result = segment_scene(folder / "scene.tif", folder / "labels.gpkg", method="kmeans", workers=0)
    >>> run_status(folder / "labels.run").state
    'finished'
    """
    path = Path(run_dir)
    try:
        if not (path / RUN_ID).is_file() or not read_run_id(path):
            raise RunError(f"{path} is not a run folder; give the --run-dir of a run, or OUT with the suffix .run.")
        return _status(RunFolder(path, read_run_id(path)))
    except GeosegError:
        raise
    except OSError as err:
        raise RunError(f"{err.filename or path} cannot be read: {err.strerror or err}. Make it readable.") from err
    except (AttributeError, KeyError, TypeError, ValueError) as err:  # intact, but with other content
        raise RunError(
            f"{path} has documents of another version of geoseg ({type(err).__name__}: {str(err)[:80]}). Use that one."
        ) from err


def missing_tiles(folder: RunFolder, tiles: Sequence[int]) -> list[int]:
    """Return the tiles that are not segmented; what is stored is not read."""
    votes, superpixels = (_times(folder, product) for product in (VOTES, TILE_SUPERPIXELS))
    return [tile for tile in tiles if str(tile) not in votes or str(tile) not in superpixels]


def _status(folder: RunFolder) -> RunStatus:
    identity = read_identity(folder.path)
    used_by = holder_of(folder.path / "lock")
    size, report = _document(folder, SIZE), read_report(folder) if has_report(folder) else None
    if report is not None and (size is None or size["begin"] == report["begin"]):
        failed = {int(number): text for number, text in report["failed"].items()}
        advice = "--resume, or geoseg finish, tries the failed tiles again" if failed else "nothing is left to do"
        return RunStatus(folder.path, "finished", used_by, (), failed, tuple(report["outputs"]), advice=advice)
    size = size or {"tiles": 0, "blocks": 0, "begin": 0.0}
    failed, plan = _failed(folder), read_plan(folder)
    begins, parts = _parts(folder, is_used=used_by is not None)
    begin = min(begins, default=float(size["begin"])) if used_by else None  # of the parts that run
    counted = _counted(identity, size, n_failed=len(failed))
    stages = tuple(_stage_status(folder, stage, of_stage, begin) for stage, of_stage in counted.items())
    state = "running" if used_by else "stopped"
    advice = "" if used_by else _advice(folder, None if plan is None else plan["tiles"], stages, identity)
    left = _seconds_left(identity, stages)
    return RunStatus(folder.path, state, used_by, stages, failed, (), parts, advice, left)


def _seconds_left(identity: Mapping[str, Any], stages: Sequence[StageStatus]) -> float | None:
    rows, cols = identity["grid"]["shape"]
    config, of_labels = load_config(identity["config"]), "labels" in identity
    expected = expected_seconds(config, rows * cols, has_model="model" in identity, of_labels=of_labels)
    done = [(one.stage, one.done / max(one.total, 1), one.seconds_left) for one in stages]
    left = seconds_left_of(done, expected)
    return None if left is None else round(left, 1)


def _document(folder: RunFolder, name: str) -> dict[str, Any] | None:
    """Return a document, None where it does not exist; unlike in a run, damage is an error."""
    path = folder.path / "documents" / f"{name}.json"
    content = read_content(path) if path.is_file() else None
    if content is None:
        return None
    try:
        return parse_document(path.name, content)
    except ValueError as err:
        raise RunError(f"{path} is damaged: {err}; the run makes it again when it is continued.") from err


def _documents(folder: RunFolder, begin: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in sorted(_entries(folder.path / "documents"), key=lambda entry: entry.name):
        name = entry.name.removesuffix(".json")
        if name != entry.name and (name == begin or name.startswith(f"{begin}-")):
            document = _document(folder, name)
            if document is not None:
                yield name, document


def _failed(folder: RunFolder) -> dict[int, str]:
    """Return the tiles that failed and have not succeeded since."""
    found = [document["failed"] for _, document in _documents(folder, FAILURES)]
    return {
        int(number): failure["error"]
        for failures in found
        for number, failure in failures.items()
        if not folder.has(failure["product"], int(number))
    }


def _parts(folder: RunFolder, *, is_used: bool) -> tuple[list[float], tuple[PartStatus, ...]]:
    """Return the times at which the parts that run have begun, and the status of all that have begun."""
    begins, parts = [], []
    for name, document in _documents(folder, PART):
        _, number, _, count = name.split("-")
        state = "done" if document["is_done"] else "interrupted"
        if state != "done" and is_used and _may_run(document["host"], document["pid"]):
            state = "running"
            begins.append(float(document["begin"]))
        process = f"process {document['pid']} on {document['host']}"
        parts.append(PartStatus(f"{number}/{count}", state, process, int(document["tiles"])))
    return begins, tuple(sorted(parts, key=lambda part: [int(number) for number in part.part.split("/")][::-1]))


def _may_run(host: str, pid: int) -> bool:
    if host != socket.gethostname():
        return True
    return is_running(pid)


def _counted(
    identity: Mapping[str, Any], size: Mapping[str, Any], *, n_failed: int
) -> dict[str, list[tuple[Product[Any], int]]]:
    """Return for each stage of the run the products that are counted, and how many there will be of each."""
    totals = {_PER_SCENE: 1, _PER_BLOCK: int(size["blocks"]), _PER_TILE: int(size["tiles"])}
    method, training = identity["config"]["method"], identity["config"]["training"]
    is_used = {NETWORK: method == "backprop" and training == "scene", MERGED_TABLE: method == "rag"}
    found: dict[str, list[tuple[Product[Any], int]]] = {}
    for product, per in _COUNTED:
        of_labels = product in (PIECES, REGIONS, OUTLINES)
        if is_used.get(product, True) and ("labels" not in identity or of_labels):
            n_left_out = n_failed if of_labels else 0  # failed tiles are left out of later stages
            found.setdefault(product.stage, []).append((product, max(totals[per] - n_left_out, 0)))
    return found


def _stage_status(
    folder: RunFolder, stage: str, counted: Sequence[tuple[Product[Any], int]], begin: float | None
) -> StageStatus:
    times = [time for product, _ in counted for time in _times(folder, product).values()]
    done, total = len(times), sum(number for _, number in counted)
    recent = sorted(time for time in times if begin is not None and time >= begin)[-_RECENT:]
    if done >= total or len(recent) < 2 or recent[-1] <= recent[0]:
        return StageStatus(stage, done, total)
    per_second = (len(recent) - 1) / (recent[-1] - recent[0])
    return StageStatus(stage, done, total, round(per_second, 4), round((total - done) / per_second, 1))


def _times(folder: RunFolder, product: Product[Any]) -> dict[str, float]:
    """Return the time at which each stored file of a product was written, by its key."""
    times = {}
    for shard in _entries(folder.path / "stages" / product.folder):
        if shard.is_dir(follow_symlinks=False):
            for entry in _entries(Path(shard.path)):
                if entry.name.endswith(".arrays") and not entry.name.startswith("."):
                    try:
                        times[entry.name.removesuffix(".arrays")] = entry.stat().st_mtime
                    except FileNotFoundError:  # removed meanwhile
                        continue
    return times


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _advice(
    folder: RunFolder, planned: Sequence[int] | None, stages: Sequence[StageStatus], identity: Mapping[str, Any]
) -> str:
    if planned is None:
        command = "outline" if "labels" in identity else "tile"
        return f"continue it with the same command (geoseg {command} or plan) and --resume"
    if any(stage.done < stage.total for stage in stages if stage.stage in ("survey", "learn")):
        return "continue it with geoseg plan --resume"
    n_missing = len(missing_tiles(folder, planned))
    if n_missing:
        tiles = "1 tile is" if n_missing == 1 else f"{n_missing} tiles are"
        return f"{tiles} not segmented; geoseg work --part I/N computes a part of them, geoseg finish computes all"
    return "all tiles are segmented; geoseg finish writes the results"


def _some(lines: list[str], what: str) -> list[str]:
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"  and {len(lines) - _SHOWN} more {what}"]
