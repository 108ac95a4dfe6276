"""Disks that are full for a while or for good."""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fault_rows.bench import STAGES, Bench, Row, SkippedError

_SIZE = 400  # MB; more than the run asks for at its start
_PLACES = ("run folder", "output", "scratch")


def full(bench: Bench, _options: argparse.Namespace) -> Row:
    """Fill the disk of the run folder, the output or the scratch files, for two seconds or for good."""
    if os.geteuid() != 0:
        raise SkippedError("mounting a small disk needs root")
    row = Row("disk full at 10 moments (run folder, output, scratch), for 2 s and for good; earlier output; `--resume`")
    bench.reference()
    with _small_disk(bench.folder / "disk") as disk:
        for i in range(10):
            place, seconds = _PLACES[i % 3], 2.0 if i % 2 else None
            _try(bench, row, disk, place=place, stage=STAGES[(2 + 2 * i) % len(STAGES)], seconds=seconds)
    return row


def _try(bench: Bench, row: Row, disk: Path, *, place: str, stage: str, seconds: float | None) -> None:
    bench.remove("full")
    for path in disk.iterdir():
        subprocess.run(["rm", "-rf", str(path)], check=True)
    run_dir = disk / "full.run" if place == "run folder" else bench.folder / "full.run"
    out = disk / "full.gpkg" if place == "output" else bench.folder / "full.gpkg"
    earlier = b"an earlier result"
    out.write_bytes(earlier)
    command = [part for part in bench.tile("full") if part != bench.folder / "full.gpkg"]
    command.insert(command.index("--out") + 1, out)
    env = {"TMPDIR": str(disk), "CPL_TMPDIR": str(disk)} if place == "scratch" else {}
    given = [*command, "--run-dir", run_dir]
    with bench.started(*given, "--overwrite", "--progress", "json", env=env) as process:
        bench.wait_for(process, stage)
        filler = disk / "filler"
        _fill(filler)
        if seconds is not None:
            time.sleep(seconds)
            filler.unlink()
        ended = bench.end(process)
        filler.unlink(missing_ok=True)
    what = f"{place}, {stage}, {seconds or 'for good'}: exit {ended.code} {ended.text[-160:]}"
    kept = ended.code == 0 or out.read_bytes() == earlier
    named = ended.code == 0 or "No space left on device" in ended.text
    again = bench.geoseg(*given, "--resume", "--progress", "none") if ended.code != 0 else ended
    if out.parent != bench.folder and out.exists():
        (bench.folder / "full.gpkg").write_bytes(out.read_bytes())
    row.add(what, survived=ended.is_clean and kept and named, identical=again.code == 0 and bench.is_identical("full"))


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        block = bytes(1 << 16)
        while True:
            try:
                file.write(block)
            except OSError:
                if len(block) == 1:
                    return
                block = block[: len(block) // 16] or b"\0"


@contextmanager
def _small_disk(path: Path) -> Iterator[Path]:
    path.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}m", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise SkippedError("this machine does not mount a small disk")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False)
