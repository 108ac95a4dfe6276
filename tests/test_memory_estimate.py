"""The estimate of memory holds: it is at least the measured peak of each process, and at most twice as much."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from geoseg.config import load_config
from geoseg.raster.scene import open_scene
from geoseg.run.budget import estimate_memory
from geoseg.run.job import Task
from geoseg.run.memory import MemoryFolder
from geoseg.run.products import ProductStore

_log = logging.getLogger(__name__)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of processes from /proc"),
]

# Prints the largest memory of this process and of a worker, in bytes.
PROGRAM = """
import json, os, sys, threading, time
from pathlib import Path
import geoseg, psutil
from geoseg.run.allocator import keep_freed_memory

def peak(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0

workers = [0]
def watch():
    while True:
        for child in psutil.Process().children(recursive=True):
            workers[0] = max(workers[0], peak(child.pid))
        time.sleep(0.05)

if __name__ == "__main__":
    keep_freed_memory()  # as the command does
    n_workers, options = int(sys.argv[3]), json.loads(sys.argv[4])
    if n_workers:
        threading.Thread(target=watch, daemon=True).start()
    geoseg.segment_scene(sys.argv[1], sys.argv[2], workers=n_workers, **options)
    print(json.dumps([peak("self"), workers[0]]), flush=True)
    os._exit(0)  # what an interpreter removes at its end takes a second
"""


def write_textured(path, side, n_bands, dtype):
    """Write fields of several sizes with noise, a mixture of four patterns in each band."""
    draw = np.random.default_rng(0)
    patterns = []
    for _ in range(4):
        cells = [np.kron(draw.random((side // k + 1,) * 2), np.ones((k, k)))[:side, :side] for k in (8, 32, 128)]
        patterns.append(sum(cells) / 3)
    top = 250 if dtype == "uint8" else 9000
    profile = {"driver": "GTiff", "width": side, "height": side, "count": n_bands, "dtype": dtype}
    tiling = {"tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": "pixel"}
    tiling |= {"compress": "deflate", "zlevel": 1}
    place = {"crs": "EPSG:32633", "transform": Affine(1, 0, 500_000, 0, -1, 5_000_000)}
    with rasterio.open(path, "w", **profile, **tiling, **place) as file:
        for band in range(1, n_bands + 1):
            mixed = np.tensordot(draw.dirichlet(np.ones(4)), patterns, 1) + draw.normal(0, 0.02, (side, side))
            file.write((1 + top * mixed.clip(0, 1)).astype(dtype), band)


CASES = {  # side of the scene, larger than a tile and a block with their margins; bands, type, options
    "defaults": (768, 3, "uint8", {"learn__steps": 2}),
    "12 bands": (768, 12, "uint16", {"learn__steps": 2}),
    "64 bands": (768, 64, "uint16", {"learn__steps": 2}),
    "large tiles": (1280, 3, "uint8", {"learn__steps": 2, "tile_size": 1024}),
    "training on tiles": (768, 3, "uint8", {"training": "tile", "tile_steps": 2}),
    "attributes": (768, 3, "uint8", {"learn__steps": 2, "attributes": ["all"]}),
    "no network": (768, 3, "uint8", {"method": "kmeans"}),
    "threads": (1280, 3, "uint8", {"learn__steps": 2, "threads": 3}),
}
ALONE = ("defaults", "64 bands", "training on tiles", "threads")
RUNS = [*((case, 1) for case in CASES if case != "threads"), *((case, 0) for case in ALONE)]


@pytest.mark.parametrize(("case", "n_workers"), RUNS)
def test_estimate_is_an_upper_bound_within_a_factor_of_two(case, n_workers, tmp_path, make_once):
    side, n_bands, dtype, options = CASES[case]
    name = f"textured_{side}_{n_bands}"
    scene = make_once(name, lambda folder: write_textured(folder / "scene.tif", side, n_bands, dtype)) / "scene.tif"
    (tmp_path / "program.py").write_text(PROGRAM)

    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", *(scene, "labels.gpkg"), str(n_workers), json.dumps(options)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )

    here, worker = json.loads(done.stdout.splitlines()[-1])
    names = {"tile_size": "tiles__size", "attributes": "polygons__attributes"}
    n_threads = options.get("threads", 1)
    config = load_config(**{names.get(name, name): value for name, value in options.items() if name != "threads"})
    estimate = estimate_memory(Task(ProductStore(MemoryFolder()), open_scene(str(scene)), config))
    pairs = {"main": (here, estimate.main), "worker": (worker, estimate.worker)} if n_workers else {
        "alone": (here, estimate.of_threads(n_threads))
    }  # fmt: skip
    # For docs/explanation/memory.md: --log-cli-level=INFO shows it.
    _log.info("%s, MiB: %s", case, {name: [n // 2**20 for n in numbers] for name, numbers in pairs.items()})
    for measured, expected in pairs.values():
        assert measured <= expected <= 2 * measured
