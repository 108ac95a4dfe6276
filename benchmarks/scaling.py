"""Time and memory of geoseg by the size of the scene and the number of threads or workers.

    python benchmarks/scaling.py [--megapixels 4,16,64,256,1024] [--places "-j 0;--threads 2;-j 2"] [--scenes FOLDER]
                                 [--plot FILE.png] [--out TABLE.md] [-- OPTIONS OF geoseg tile]

Square synthetic scenes are written to --scenes, unless they are there already; those of more than 64 Mpx are mirrored
from that of 64 Mpx, since drawing takes seconds per Mpx. Each copy has another brightness, as images of a mosaic have,
and so superpixels of its own. One row per scene and place where tiles are computed, from whole processes with all of
their descendants: CPU and wall seconds per Mpx, wall seconds per Mpx of each stage (from run.json; the network is
trained beside the superpixels), the memory of the largest process and of all processes at once, and the size of the run
folder before the stages are removed. --plot draws the time per Mpx and the memory against the size. Numba's kernels are
compiled before the measurement.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window
from rival_parts.meter import Usage, measure

_GIB, _WARM_UP_SIDE = 2**30, 600
_DRAWN_SIDE, _STRIP = 8000, 512  # px; rows that are written at a time
_SHIFT, _MOST = 7, 23  # grey values between two copies, and range of all: up to 23 copies differ


@dataclass(frozen=True)
class Measured:
    """One run: megapixels, options of the place, what it used, wall seconds by stage, bytes of the run folder."""

    mpx: float
    place: str
    usage: Usage
    stages: dict[str, float]
    n_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", default="4,16,64,256,1024")
    parser.add_argument("--places", default="-j 0;--threads 2;-j 2")
    parser.add_argument("--scenes", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    found: list[Measured] = []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        scenes = args.scenes or scratch
        scenes.mkdir(exist_ok=True, parents=True)
        segmented(synthetic(scenes, _WARM_UP_SIDE), "-j 0", scratch, args.options)
        for mpx in [float(number) for number in args.megapixels.split(",")]:
            scene = synthetic(scenes, round((mpx * 1e6) ** 0.5))
            for place in map(str.strip, args.places.split(";")):
                found.append(segmented(scene, place, scratch, args.options))
                print(f"{mpx:g} Mpx, {place}: {found[-1].usage.wall:.1f} s", file=sys.stderr, flush=True)
    print(table := table_of(found))
    if args.out is not None:
        args.out.write_text(table, encoding="utf-8")
    if args.plot is not None:
        draw(found, args.plot)


def synthetic(folder: Path, side: int) -> Path:
    """Return a square scene, written unless it exists."""
    path = folder / f"synthetic{side}.tif"
    if path.exists():
        return path
    if side > _DRAWN_SIDE:
        mirror(synthetic(folder, _DRAWN_SIDE), path, side)
    else:
        subprocess.run([sys.executable, "-m", "geoseg", "synthetic", path, "--size", f"{side}x{side}"], check=True)
    return path


def mirror(scene: Path, path: Path, side: int) -> None:
    """Write a square scene of mirrored copies of a smaller one, each with another brightness."""
    part = path.with_suffix(".part")
    with rasterio.open(scene) as source:
        pixels = source.read()
        rows, cols = (np.pad(np.arange(n), (0, side - n), mode="symmetric") for n in source.shape)
        profile = source.profile | {"width": side, "height": side, "compress": "none", "bigtiff": "yes"}
        with rasterio.open(part, "w", **profile) as target:
            for top in range(0, side, _STRIP):
                below, beside = (
                    np.arange(top, min(top + _STRIP, side)) // source.height,
                    np.arange(side) // source.width,
                )
                shift = (_SHIFT * (below[:, None] * (beside[-1] + 1) + beside)) % _MOST - _MOST // 2
                strip = pixels[:, rows[top : top + _STRIP]][:, :, cols].astype(np.int16) + shift
                written = np.clip(strip, 0, 255).astype(np.uint8)
                target.write(written, window=Window(0, top, side, strip.shape[1]))
    part.rename(path)


def segmented(scene: Path, place: str, scratch: Path, options: list[str]) -> Measured:
    """Segment a scene, and remove the results."""
    folder = scratch / "result"
    folder.mkdir()
    run, out = folder / "labels.run", folder / "labels.gpkg"
    command = [sys.executable, "-m", "geoseg", "tile", scene, "--out", out, "--run-dir", run, "--keep"]
    usage = measure([[*command, *place.split(), "--progress", "none", *options]], scratch)
    report = json.loads((run / "run.json").read_text(encoding="utf-8"))
    n_bytes = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    rows, cols = report["grid"]["shape"]
    return Measured(rows * cols / 1e6, place, usage, report["seconds"], n_bytes)


def table_of(found: list[Measured]) -> str:
    """Return a row per run; stages that no run has are left out."""
    stages = list(dict.fromkeys(name for run in found for name in run.stages))
    memory = ["largest, GiB", "all, GiB", "run folder, bytes per px"]
    columns = ["Mpx", "computed by", "CPU s per Mpx", "system", "wall s per Mpx", *stages, *memory]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for run in found:
        usage, mpx = run.usage, run.mpx
        cells = [f"{mpx:.3g}", f"`{run.place}`", f"{usage.cpu / mpx:.2f}", f"{usage.system / usage.cpu:.0%}"]
        cells += [f"{usage.wall / mpx:.2f}", *(f"{run.stages.get(name, 0) / mpx:.3f}" for name in stages)]
        cells += [f"{usage.largest / _GIB:.2f}", f"{usage.total / _GIB:.2f}", f"{run.n_bytes / mpx / 1e6:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(found: list[Measured], path: Path) -> None:
    """Draw the CPU and wall seconds per Mpx and the memory against the size, a line per place."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for place in dict.fromkeys(run.place for run in found):
        runs = sorted((run for run in found if run.place == place), key=lambda run: run.mpx)
        lines = (
            [run.usage.cpu / run.mpx for run in runs],
            [run.usage.wall / run.mpx for run in runs],
            [run.usage.largest / _GIB for run in runs],
        )
        for axis, values in zip(axes, lines, strict=True):
            axis.plot([run.mpx for run in runs], values, "o-", label=place)
    for axis, title in zip(axes, ("CPU s per Mpx", "wall s per Mpx", "largest process, GiB"), strict=True):
        axis.set(title=title, xlabel="Mpx", xscale="log")
        axis.set_ylim(bottom=0)
    axes[0].legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
