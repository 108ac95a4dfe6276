"""The memory of a worker depends on the tile, not on the scene."""

import resource
from contextlib import contextmanager

import pytest

from geoseg import pipeline
from geoseg.config import load_config
from geoseg.output.paths import Outputs
from geoseg.run.executors import ClusterOptions, open_executor
from geoseg.synthetic.scene import SceneOptions, write_scene

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dask")]

TILE = 256  # px
TOLERANCE = 40  # MiB


def peak_memory(_context, _key):
    """Return the largest resident set of this worker so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.fixture
def peak_of_a_run(tmp_path, monkeypatch):
    """Return the peak memory of the worker that segments a scene: peak_of_a_run(side in pixels)."""
    peaks = []

    @contextmanager
    def open_and_measure(options):
        with open_executor(options) as executor:
            yield executor
            peaks.extend(outcome.result for outcome in executor.run(peak_memory, None, [0]))

    monkeypatch.setattr(pipeline, "open_executor", open_and_measure)

    def run(side):
        folder = tmp_path / str(side)
        folder.mkdir()
        write_scene(folder / "scene.tif", SceneOptions(shape=(side, side), seed=6))
        config = load_config(method="kmeans", tiles__size=TILE, tiles__halo=16)
        outputs = Outputs(folder / "labels.gpkg", folder / "classes.tif")
        pipeline.run_scene(str(folder / "scene.tif"), outputs, config, cluster=ClusterOptions(workers=1))
        return peaks.pop()

    return run


def test_a_scene_four_times_as_large_needs_no_more_memory_of_a_worker(peak_of_a_run):
    # Both have a block with margins on all sides: the largest piece of work of a worker.
    small, large = peak_of_a_run(1536), peak_of_a_run(3072)

    assert large <= small + TOLERANCE
