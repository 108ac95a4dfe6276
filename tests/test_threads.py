"""Tiles that threads compute at once have the results of tiles computed one by one, whatever the order."""

import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import shapely
import torch
from affine import Affine
from threadpoolctl import threadpool_info

import geoseg
from geoseg.errors import ConfigError
from geoseg.grid import GeoBox
from geoseg.raster.aoi import inside
from geoseg.raster.ignored_warnings import ignored_warnings
from geoseg.run import threads as threads_module
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.executors import Serial, open_executor
from geoseg.run.outcome import Batched, Outcome
from geoseg.run.threads import Threads
from geoseg.segment.network import new_network, to_arrays
from geoseg.segment.torch_threads import fixed_threads

from .conftest import fields, rest_slow

PATIENCE = 60.0  # s after which a test fails instead of waiting
QUICK = {
    "tile_size": 64,
    "halo": 16,
    "learn__windows": 4,
    "learn__crop": 48,
    "learn__steps": 4,
    "classes": 6,
    "min_pixels": 12,
    "attributes": ["all"],
    "overwrite": True,
}
MODES = {
    "default": {},
    "network per tile": {"training": "tile", "tile_steps": 3},
    "no network": {"method": "kmeans"},
    "region merging": {"method": "rag", "simplify": 2, "smooth": True},
}


@pytest.fixture
def pool():
    made = Threads(3)
    yield made
    made.close()


@pytest.fixture
def often_switched():
    """Let Python change to another thread a thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def outcomes(executor, function, keys, context=None):
    return sorted(executor.run(function, context, keys), key=lambda outcome: outcome.key)


def square(_context, key):
    time.sleep(0.001 * (key % 3))
    if key == 5:
        raise ValueError("five")
    return key * key


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("often_switched")
@pytest.mark.parametrize("mode", rest_slow(list(MODES)))
def test_results_are_those_of_one_thread(make_raster, mode):
    pixels = fields((192, 224), patch=24, noise=12).astype(np.float32)
    pixels[:, 40:70, 90:130] = -9999
    scene = make_raster(pixels, "scene.tif", nodata=-9999)
    made = {}

    for n in (1, 4):
        out = scene.parent / f"{n}.gpkg"
        classes, regions = out.with_suffix(".classes.tif"), out.with_suffix(".regions.tif")
        options = QUICK | MODES[mode] | {"class_raster": classes, "region_raster": regions, "threads": n}
        result = geoseg.segment_scene(scene, out, **options)
        made[n] = classes.read_bytes(), regions.read_bytes(), result.polygons()

    assert made[1][:2] == made[4][:2]
    assert made[1][2].equals(made[4][2])


@pytest.mark.usefixtures("often_switched")
def test_outlines_of_labels_are_those_of_one_thread(make_raster):
    labels = make_raster((fields((150, 160), patch=24, noise=0)[:1] // 60).astype(np.uint8), "labels.tif", nodata=0)

    one, four = (
        geoseg.outline_labels(labels, labels.parent / f"{n}.gpkg", threads=n, tile_size=64, simplify=1).polygons()
        for n in (1, 4)
    )

    assert one.equals(four)


@pytest.mark.usefixtures("often_switched")
def test_initial_networks_of_threads_are_those_of_one():
    options = geoseg.load_config().network

    def weights(seed):
        return to_arrays(new_network(3, options, seed=seed))

    alone = [weights(seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(weights, range(12)))

    for one, other in zip(alone, beside, strict=True):
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name])


# --- the executor -----------------------------------------------------------------------------------------------------


def test_every_key_has_the_outcome_of_one_process(pool):
    found, expected = outcomes(pool, square, range(20)), outcomes(Serial(), square, range(20))

    assert [(one.key, one.result, one.error) for one in found] == [(one.key, one.result, one.error) for one in expected]
    assert outcomes(pool, square, []) == []


def test_tiles_are_computed_at_the_same_time(pool):
    together = threading.Barrier(3, timeout=PATIENCE)

    def meet(_context, _key):
        together.wait()

    assert [outcome.error for outcome in pool.run(meet, None, range(6))] == [None] * 6


def test_tile_that_lacks_memory_is_tried_again_when_no_other_is_in_hand(pool):
    lock, in_hand, seen = threading.Lock(), set(), []

    def work(_context, key):
        with lock:
            in_hand.add(key)
            seen.append((key, frozenset(in_hand)))
        time.sleep(0.01)
        is_alone = len(in_hand) == 1
        in_hand.discard(key)
        if key == 2 and len([each for each, _ in seen if each == 2]) == 1:
            raise MemoryError
        return is_alone

    found = outcomes(pool, work, range(8))

    assert [outcome.error for outcome in found] == [None] * 8
    assert seen[-1] == (2, frozenset([2]))


def test_tiles_in_hand_are_finished_before_an_error_in_the_consumer_is_raised(pool):
    begun, ended = [], []

    def work(_context, key):
        begun.append(key)
        time.sleep(0.02)
        ended.append(key)

    def consume():
        for _ in pool.run(work, None, range(100)):
            raise RuntimeError("too many")

    with pytest.raises(RuntimeError, match="too many"):
        consume()

    assert sorted(begun) == sorted(ended)
    assert len(begun) < 10


def test_after_a_signal_no_further_tile_begins(pool, monkeypatch):
    finished = []

    def work(_context, key):
        if key == 1:
            monkeypatch.setattr(threads_module, "is_stopping", lambda: True)
        time.sleep(0.01)
        finished.append(key)

    found = list(pool.run(work, None, range(100)))

    assert sorted(outcome.key for outcome in found) == sorted(finished)
    assert len(finished) < 10


def test_interruption_does_not_wait_for_the_tiles_in_hand(pool, monkeypatch):
    goes_on = threading.Event()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    def work(_context, _key):
        assert goes_on.wait(PATIENCE)

    monkeypatch.setattr(threads_module, "wait", interrupted)
    begin = time.monotonic()

    with pytest.raises(KeyboardInterrupt):
        list(pool.run(work, None, range(9)))

    assert time.monotonic() - begin < PATIENCE / 2
    goes_on.set()


def test_function_of_batches_is_called_once(pool):
    def together(context, keys):
        return (Outcome(key, context) for key in keys)

    assert [(one.key, one.result) for one in pool.run(Batched(together), "here", [3, 4])] == [(3, "here"), (4, "here")]


@pytest.mark.parametrize("options", [{"threads": 3}, {"threads": 2, "workers": 0}])
def test_threads_are_those_that_are_asked_for(options):
    with open_executor(ClusterOptions(**options)) as executor:
        names = {outcome.result for outcome in executor.run(lambda *_: _name(), None, range(30))}

    assert isinstance(executor, Threads)
    assert len(names) == options["threads"]


def _name():
    time.sleep(0.01)
    return threading.current_thread().name


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"threads": -1},
        {"threads": 10**9},
        {"threads": 2, "workers": 2},
        {"threads": 2, "scheduler": "tcp://127.0.0.1:8786"},
        {"threads": 2, "scheduler_file": "scheduler.json"},
        {"threads": 2, "cluster": "cluster.yaml"},
    ],
)
def test_threads_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigError, match="threads"):
        ClusterOptions(**options)


# --- what is the same for the whole process -------------------------------------------------------------------------


def test_number_of_threads_of_torch_is_fixed_until_the_last_one_leaves():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = []

        def work(_):
            with fixed_threads():
                time.sleep(0.002)
                seen.append(torch.get_num_threads())

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(40)))
        with fixed_threads(), fixed_threads():
            seen.append(torch.get_num_threads())

        assert set(seen) == {1}
        torch.set_num_threads(2)
        with fixed_threads():
            pass
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_blas_has_one_thread_while_tiles_are_computed_and_its_own_afterwards(pool):
    def n_threads():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = n_threads()
    within = [outcome.result for outcome in pool.run(lambda *_: n_threads(), None, range(5))]

    assert within == [[1] * len(before)] * 5
    assert n_threads() == before


@pytest.mark.usefixtures("often_switched")
def test_pixels_of_an_area_are_found_in_threads_without_a_warning():
    area = shapely.to_wkb(shapely.Polygon([(3, -2), (90, -20), (80, -70), (20, -88)]))
    geobox = GeoBox((100, 100), Affine(1, 0, 0, 0, -1, 0), "")
    expected = inside(area, geobox)

    def work(_):
        return all(np.array_equal(inside(area, geobox), expected) for _ in range(60))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


@pytest.mark.usefixtures("often_switched")
def test_filters_of_warnings_are_restored_whatever_the_order_of_threads():
    before = list(warnings.filters)

    def work(_):
        for _ in range(50):
            with ignored_warnings(UserWarning):
                time.sleep(0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))

    assert list(warnings.filters) == before
