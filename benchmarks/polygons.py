"""Measure how labels become polygons, against GDAL: two tables, each from one run on this machine.

    python benchmarks/polygons.py [--side 8192] [--folder FOLDER] [--skip trace|outline]

Trace: regions of 4 Mpx to shapely polygons, in one process; `rasterio.features.shapes` with `shapely.geometry.shape`
against `geoseg.vectorize.outline`.

Outline: a raster of labels, smooth noise in five steps, to a layer on disk: `gdal_polygonize.py` (plain polygons and
their label) against `geoseg outline --simplify 1 --values` (simplified, with statistics and style). CPU seconds, user
and system, are those of the process and its children, so that other work on the machine counts as little as can be;
memory is that of the largest process. The output of geoseg is then checked: every polygon valid, all a coverage,
their area that of the pixels. Without gdal_polygonize.py, only geoseg is measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from scipy.ndimage import gaussian_filter

from geoseg.grid import Window
from geoseg.vectorize.outline import outline
from geoseg.vectorize.regions import pieces

PROFILE = {
    "driver": "GTiff",
    "crs": "EPSG:32631",
    "transform": Affine(1, 0, 500_000, 0, -1, 5_000_000),
    "tiled": True,
    "blockxsize": 512,
    "blockysize": 512,
    "compress": "deflate",
    "dtype": "uint8",
}
# Runs one command and prints its time and memory; in its own process, so that no other children count.
METER = """
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=8192, help="pixels of the raster for the second table")
    parser.add_argument("--folder", type=Path, help="folder of the files; default: a temporary one")
    parser.add_argument("--skip", choices=["trace", "outline"])
    args = parser.parse_args()
    if args.skip != "trace":
        trace()
    if args.skip != "outline":
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            compare(Path(folder), args.side)


def trace() -> None:
    labels = smooth_noise(2048, 2.5, steps=5)
    _, table = pieces(
        labels, window=Window(0, 0, 2048, 2048), scene_shape=labels.shape, min_pixels=0, features=np.zeros((6, 0))
    )
    padded = np.pad(labels.astype(np.int64), 1)
    outline(padded[:66, :66]).polygons.shapes()  # compiles
    print(f"trace: {len(table)} regions in {labels.size / 1e6:.1f} Mpx, CPU seconds of three runs each")
    ours, gdals = [], []
    for _ in range(3):
        ours.append(cpu_of(lambda: outline(padded).polygons.shapes()))
        gdals.append(cpu_of(lambda: [shapely.geometry.shape(shape) for shape, _ in rasterio.features.shapes(labels)]))
    print("  rasterio.features.shapes + shape()  " + " ".join(f"{seconds:6.2f}" for seconds in gdals))
    print("  geoseg.vectorize.outline             " + " ".join(f"{seconds:6.2f}" for seconds in ours))
    ratios = [gdal / own for gdal, own in zip(gdals, ours, strict=True)]
    print("  times as fast                       " + " ".join(f"{ratio:6.1f}" for ratio in ratios))


def compare(folder: Path, side: int) -> None:
    labels, values = folder / "labels.tif", folder / "values.tif"
    write_rasters(labels, values, side)
    ours = measure(
        sys.executable, "-m", "geoseg", "outline", "-q", labels, "--values", values, "--simplify", 1, "--out",
        folder / "ours.gpkg",
    )  # fmt: skip
    gdal = shutil.which("gdal_polygonize.py")
    print(f"outline: {side * side / 1e6:.0f} Mpx      CPU s  largest process GiB")
    print(f"  geoseg outline       {ours[0]:7.1f}  {ours[1]:8.2f}")
    if gdal:
        theirs = measure(gdal, "-q", labels, "-f", "GPKG", folder / "gdal.gpkg")
        print(f"  gdal_polygonize.py   {theirs[0]:7.1f}  {theirs[1]:8.2f}")
        print(f"  ratio                {ours[0] / theirs[0]:7.2f}  {ours[1] / theirs[1]:8.2f}")
    print("  " + json.dumps(checks(folder / "ours.gpkg", side)))


def smooth_noise(side: int, sigma: float, *, steps: int) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal((side, side), np.float32)
    smooth = gaussian_filter(noise, sigma, mode="wrap")
    edges = np.quantile(smooth.ravel()[::97], np.linspace(0, 1, steps + 1)[1:-1])
    return (np.digitize(smooth, edges) + 1).astype(np.uint8)


def write_rasters(labels: Path, values: Path, side: int) -> None:
    size = {"height": side, "width": side}
    noise = smooth_noise(side, 3.35, steps=5)
    with rasterio.open(labels, "w", **PROFILE, **size, count=1) as raster:
        raster.write(noise, 1)
    draw = np.random.default_rng(2)
    with rasterio.open(values, "w", **PROFILE, **size, count=3) as raster:
        for band in (1, 2, 3):
            raster.write(noise * np.uint8(40) + draw.integers(0, 9, noise.shape, np.uint8), band)


def measure(*command: object) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", METER, *map(str, command)], check=True, stdout=subprocess.PIPE, text=True
    )
    code, seconds, largest = json.loads(done.stdout)
    if code:
        raise SystemExit(f"{command[0]} ended with {code}")
    return seconds, largest


def checks(path: Path, side: int) -> dict[str, object]:
    _, _, wkb, columns = pyogrio.raw.read(path, layer="labels", columns=["pixels"])
    polygons = shapely.from_wkb(wkb)
    return {
        "polygons": len(polygons),
        "vertices": int(shapely.get_num_coordinates(polygons).sum()),
        "invalid": int((~shapely.is_valid(polygons)).sum()),
        "coverage_valid": bool(shapely.coverage_is_valid(polygons)),
        "gap_px": round(side * side - float(shapely.area(polygons).sum()), 2),
        "pixels": int(columns[0].sum()),
        "MB": round(path.stat().st_size / 1e6),
    }


def cpu_of(work: Callable[[], object]) -> float:
    begin = time.process_time()
    made = work()
    seconds = time.process_time() - begin
    del made  # the time to free it is not counted
    return seconds


if __name__ == "__main__":
    main()
