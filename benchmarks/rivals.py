"""Time geoseg and other programs that segment a raster to polygons, on the same scene in one run.

    python benchmarks/rivals.py [SCENE | --megapixels 16] [--pyshepseg-python PATH] [--only NAME] [--out TABLE.md]

The scene is a file with at least three bands, or an aerial-like synthetic one of about --megapixels. Whole processes
with all of their descendants are measured, one program after the other: CPU seconds (user and system), the share of
system time in them, wall seconds, the memory of the largest process and of all processes at once, and the polygons in
the layer. Programs that are not installed are skipped by name, with the reason in the notes. The literal methods of
2018 and 2019 need memory and time in proportion to the pixels, so they get the upper left corner of --literal-side
pixels and --literal-steps steps. Numba's kernels are compiled before the measurement, by a run on a corner.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import pyogrio
import rasterio
from rasterio.windows import Window
from rival_parts.meter import CommandFailedError, Usage, measure
from rival_parts.rivals import LITERAL, RIVALS, Job, MissingError, Work

COLUMNS = ("Mpx", "CPU s", "system", "wall s", "Mpx per s", "largest, GiB", "all, GiB", "polygons", "notes")
_GIB, _WARM_UP_SIDE = 2**30, 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path, nargs="?")
    parser.add_argument("--megapixels", type=float, default=16.0)
    parser.add_argument("--pyshepseg-python", type=Path)
    parser.add_argument("--literal-side", type=int, default=512)
    parser.add_argument("--literal-steps", type=int, default=128)
    parser.add_argument("--only", action="append", choices=list(RIVALS), help="measure this program; can be repeated")
    parser.add_argument("--no-warm-up", action="store_true", help="the kernels of numba are compiled already")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        table = report(args, Path(temporary))
    if args.out is not None:
        args.out.write_text(table, encoding="utf-8")


def report(args: argparse.Namespace, scratch: Path) -> str:
    """Print the rows as they are measured, and return the table."""
    scene = args.scene or synthetic(scratch / "scene.tif", args.megapixels)
    corner = corner_of(scene, scratch / "corner.tif", args.literal_side)
    names = args.only or list(RIVALS)
    if not args.no_warm_up:
        warm_up(names, corner_of(scene, scratch / "warm.tif", _WARM_UP_SIDE), scratch, args)
    lines = [f"| program | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    print("\n".join(lines), flush=True)
    for number, name in enumerate(names):
        folder = scratch / str(number)
        folder.mkdir()
        job = Job(corner if name in LITERAL else scene, folder, args.pyshepseg_python, args.literal_steps)
        lines.append(f"| {name} | {' | '.join(row(name, job))} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def row(name: str, job: Job) -> list[str]:
    """Run a program, and return the cells of its row."""
    try:
        work = RIVALS[name](job)
        usage = measure(work.commands, job.folder)
    except MissingError as reason:
        return [*["-"] * (len(COLUMNS) - 1), f"skipped: {reason}"]
    except CommandFailedError as reason:
        return [*["-"] * (len(COLUMNS) - 1), f"failed: {str(reason).replace('|', '/')}"]
    return cells(usage, work, megapixels(job.scene))


def cells(usage: Usage, work: Work, mpx: float) -> list[str]:
    layer = pyogrio.list_layers(work.polygons)[0, 0]  # others are tables of styles
    n_polygons = pyogrio.read_info(work.polygons, layer=layer, force_feature_count=True)["features"]
    times = [f"{usage.cpu:.1f}", f"{usage.system / usage.cpu:.0%}", f"{usage.wall:.1f}", f"{mpx / usage.wall:.3g}"]
    memory = [f"{usage.largest / _GIB:.2f}", f"{usage.total / _GIB:.2f}"]
    return [f"{mpx:.3g}", *times, *memory, str(n_polygons), work.note]


def warm_up(names: list[str], scene: Path, scratch: Path, args: argparse.Namespace) -> None:
    """Let programs that compile kernels on their first run do so."""
    for name in names:
        if name in ("geoseg --workers 0", "pyshepseg + gdal_polygonize"):
            folder = scratch / f"warm-up {name}"
            folder.mkdir()
            row(name, Job(scene, folder, args.pyshepseg_python, args.literal_steps))


def synthetic(path: Path, mpx: float) -> Path:
    """Write an aerial-like square scene of about this many megapixels."""
    side = round((mpx * 1e6) ** 0.5)
    subprocess.run([sys.executable, "-m", "geoseg", "synthetic", path, "--size", f"{side}x{side}"], check=True)
    return path


def corner_of(scene: Path, path: Path, side: int) -> Path:
    """Write the upper left corner of a scene."""
    with rasterio.open(scene) as source:
        window = Window(0, 0, min(side, source.width), min(side, source.height))
        profile = source.profile | {"driver": "GTiff", "width": window.width, "height": window.height}
        with rasterio.open(path, "w", **profile | {"tiled": True, "blockxsize": 256, "blockysize": 256}) as corner:
            corner.write(source.read(window=window))
    return path


def megapixels(scene: Path) -> float:
    with rasterio.open(scene) as source:
        return source.width * source.height / 1e6


if __name__ == "__main__":
    main()
