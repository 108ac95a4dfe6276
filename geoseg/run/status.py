"""Status of a run, also of one under way: which stages are done, what failed, and how long it will take."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg.errors import RunError
from geoseg.run.folder import RunFolder, read_run_id
from geoseg.run.lock import holder_of
from geoseg.run.manifest import has_report, read_identity, read_report
from geoseg.run.products import (
    CLASS_MODEL,
    NETWORK,
    OUTLINES,
    PIECES,
    REGIONS,
    SUPERPIXELS,
    SURVEY,
    VOTES,
    Product,
)

_SIZE = "size"
_PER_SCENE, _PER_BLOCK, _PER_TILE = "scene", "block", "tile"
# The product of each stage that is stored last, and how many there are of it.
_LAST_PRODUCTS: tuple[tuple[Product[Any], str], ...] = (
    (SURVEY, _PER_SCENE),
    (NETWORK, _PER_SCENE),
    (SUPERPIXELS, _PER_BLOCK),
    (VOTES, _PER_TILE),
    (CLASS_MODEL, _PER_SCENE),
    (PIECES, _PER_TILE),
    (REGIONS, _PER_TILE),
    (OUTLINES, _PER_TILE),
)
_RECENT = 1000  # files from whose times the speed is taken
_SHOWN = 20  # failed tiles in the text


@dataclass(frozen=True)
class StageStatus:
    """Status of a stage.

    Parameters
    ----------
    stage : str
    done, total : int
        Tiles, blocks or scenes that are stored, and all.
    seconds_left : float or None
        Estimated from the times of the latest files; None where nothing is known, or nothing is left.

    Examples
    --------
    >>> StageStatus("segment", done=40, total=100, seconds_left=90.0).stage
    'segment'
    """

    stage: str
    done: int
    total: int
    seconds_left: float | None = None


@dataclass(frozen=True)
class RunStatus:
    """Status of a run.

    Parameters
    ----------
    run_dir : Path
    state : {"finished", "running", "stopped"}
    used_by : str or None
        The process that uses the run folder, where it is on this machine or the file system shares locks.
    stages : tuple of StageStatus
        In their order; empty for a finished run, whose products are removed.
    failed : dict of int to str
        Tile number → error.
    outputs : tuple of str
        Of a finished run.

    Examples
    --------
    >>> print(RunStatus(Path("run"), "running", "process 7 on node3", (StageStatus("segment", 40, 100, 90.0),), {}))
    run: running, used by process 7 on node3
      segment           40 of 100, about 1 min 30 s left
    """

    run_dir: Path
    state: str
    used_by: str | None
    stages: tuple[StageStatus, ...]
    failed: dict[int, str]
    outputs: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return asdict(self) | {"run_dir": str(self.run_dir), "failed": {str(k): v for k, v in self.failed.items()}}

    def __str__(self) -> str:
        lines = [f"{self.run_dir}: {self.state}" + (f", used by {self.used_by}" if self.used_by else "")]
        for stage in self.stages:
            left = "" if stage.seconds_left is None else f", about {_duration(stage.seconds_left)} left"
            lines.append(f"  {stage.stage:<12} {stage.done:>7} of {stage.total}{left}")
        lines += [f"  tile {number} failed: {text}" for number, text in sorted(self.failed.items())[:_SHOWN]]
        if len(self.failed) > _SHOWN:
            lines.append(f"  and {len(self.failed) - _SHOWN} more tiles failed")
        lines += [f"  wrote {name}" for name in self.outputs]
        if self.state == "stopped":
            lines.append("  continue it with the same command and --resume, or with geoseg work and geoseg finish")
        return "\n".join(lines)


def run_status(run_dir: str | Path) -> RunStatus:
    """Return the status of a run; nothing in its folder is changed.

    Parameters
    ----------
    run_dir : str or Path

    Returns
    -------
    RunStatus

    Raises
    ------
    RunError
        If it is not a run folder, or its manifest is damaged.

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
    if not read_run_id(path):
        raise RunError(f"{path} is not a run folder; give the --run-dir of a run, or OUT with the suffix .run.")
    identity = read_identity(path)
    folder = RunFolder(path, read_run_id(path))
    used_by = holder_of(path / "lock")
    document = folder.get_json("outputs")
    if has_report(folder) and document is None:
        report = read_report(folder)
        failed = {int(number): text for number, text in report["failed"].items()}
        return RunStatus(path, "finished", used_by, (), failed, tuple(report["outputs"]))
    stages = _stages(folder, folder.get_json(_SIZE) or {}, identity.get("config", {}), is_labels="labels" in identity)
    return RunStatus(path, "running" if used_by else "stopped", used_by, stages, _failed(folder))


def record_size(folder: RunFolder, tiles: Sequence[int], blocks: Sequence[int]) -> None:
    """Record how many tiles and blocks a run has."""
    folder.put_json(_SIZE, {"tiles": len(tiles), "blocks": len(blocks), "begin": time.time()})


def _stages(
    folder: RunFolder, size: Mapping[str, Any], config: Mapping[str, Any], *, is_labels: bool
) -> tuple[StageStatus, ...]:
    totals = {_PER_SCENE: 1, _PER_BLOCK: size.get("blocks", 0), _PER_TILE: size.get("tiles", 0)}
    has_network = config.get("method") == "backprop" and config.get("training") == "scene"
    found = []
    for product, per in _LAST_PRODUCTS:
        if is_labels and product not in (PIECES, REGIONS, OUTLINES):
            continue
        if product is NETWORK and not has_network:
            continue
        done, times = _stored(folder.path / "stages" / product.folder)
        found.append(StageStatus(product.stage, done, totals[per], _seconds_left(totals[per] - done, times)))
    return tuple(found)


def _stored(folder: Path) -> tuple[int, list[float]]:
    """Return the number of stored files, and the times at which the latest of them were written, ascending."""
    files = folder.glob("*/[!.]*.arrays")
    times = []
    for file in files:
        try:
            times.append(file.stat().st_mtime)
        except FileNotFoundError:  # replaced or removed meanwhile
            continue
    return len(times), sorted(times)[-_RECENT:]


def _seconds_left(n_left: int, times: Sequence[float]) -> float | None:
    if n_left <= 0 or len(times) < 2 or times[-1] <= times[0]:
        return None
    return round(n_left * (times[-1] - times[0]) / (len(times) - 1), 1)


def _failed(folder: RunFolder) -> dict[int, str]:
    documents = sorted((folder.path / "documents").glob("failed*.json"))
    found = (folder.get_json(path.stem) or {} for path in documents)
    parts = itertools.chain.from_iterable(document.get("failed", {}).items() for document in found)
    failed = {int(number): text for number, text in parts}
    if has_report(folder):
        failed |= {int(number): text for number, text in read_report(folder)["failed"].items()}
    return failed


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
