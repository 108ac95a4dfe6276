"""The memory of the functions that workers run depends on the tile, not on how many tiles there are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from geoseg.synthetic.scene import SceneOptions, write_scene

pytestmark = pytest.mark.slow

SIDE, TILE = 2048, 256  # px
FIRST = 9  # tiles or blocks after which the memory of a stage is that of a worker at work
TOLERANCE = 10  # MiB
WORKER = {  # as local workers have it
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "OMP_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}

PROGRAM = f"""
import json, os, sys
from pathlib import Path

from geoseg.config import load_config
from geoseg.pipeline import run_stages
from geoseg.raster.scene import open_scene
from geoseg.run import folder as folders
from geoseg.run.content_cache import ContentCache
from geoseg.run.folder import RunFolder
from geoseg.run.job import Task
from geoseg.run.outcome import attempt
from geoseg.run.plan import blocks_of, tiles_of
from geoseg.run.products import ProductStore
from geoseg.run.stages import Stages


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Measured:
    memory = {{}}

    def run(self, function, job, keys, **_options):
        for i, key in enumerate(keys, start=1):
            yield attempt(function, job, key)
            if i in ({FIRST}, len(keys)):
                self.memory.setdefault(function.__name__, []).append(resident())


folders.CONTENTS = ContentCache(2**20)  # full after the first tiles; that it has a limit is tested in test_folder
scene, folder = open_scene(sys.argv[1]), Path(sys.argv[2])
config = load_config(method="kmeans", tiles__size={TILE}, tiles__halo=16)
tiles = tiles_of(scene, config)
store = ProductStore(RunFolder(folder))
stages = Stages(store, tiles, blocks_of(scene, config, tiles), n_pixels=1, executor=Measured())
run_stages(Task(store, scene, config), stages)
print(json.dumps(Measured.memory))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process from /proc")
def test_memory_of_a_stage_does_not_grow_with_the_number_of_tiles(tmp_path):
    write_scene(tmp_path / "scene.tif", SceneOptions(shape=(SIDE, SIDE), seed=6))
    (tmp_path / "run").mkdir()

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "scene.tif"), str(tmp_path / "run")],
        env=os.environ | WORKER,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )

    memory = json.loads(done.stdout)
    assert set(memory) >= {"segment_block", "segment_tile", "gather_block", "label_tile", "outline_tile"}
    assert {name: after for name, (first, after) in memory.items() if after > first + TOLERANCE} == {}
