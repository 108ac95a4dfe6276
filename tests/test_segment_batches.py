"""Batches of tiles, as on a GPU, give the votes of the stage tile by tile. All of it runs on the CPU."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch

import geoseg
from geoseg.config import load_config
from geoseg.errors import RasterError
from geoseg.raster.scene import open_scene
from geoseg.run.job import Task
from geoseg.run.memory import MemoryFolder
from geoseg.run.outcome import Batched
from geoseg.run.products import TILE_SUPERPIXELS, VOTES, ProductStore
from geoseg.run.stages import Stages
from geoseg.segment import backprop, tile_batches
from geoseg.segment.network import computing_dtype
from geoseg.segment.patch import MAX_BATCH
from geoseg.segment.tile_batches import TileBatches
from geoseg.segment.whole_descent import WholeDescent
from geoseg.steps import learn, prepared_tile, segment, segment_batches, survey
from geoseg.steps.segment_batches import segment_together

from .conftest import fields, rest_slow, write_raster

QUICK = {
    "tiles": {"size": 64, "halo": 8},
    "superpixels": {"min_size": 8},
    "learn": {"windows": 4, "crop": 48, "batch": 2, "steps": 3},
    "classify": {"classes": 4},
    "polygons": {"min_pixels": 12, "simplify": 0},
}
MODES = {
    "scene": {},
    "tile steps": {"tile_steps": 2},
    "tile": {"training": "tile", "tile_steps": 3},
    "votes alone": {"classify__evidence": "votes"},
}
IS_EXACT = computing_dtype("cpu") == torch.bfloat16  # see tests/test_grouped_descent.py


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Return a scene of 4 × 4 tiles; one has no data, nor around it, and several have some."""
    pixels = fields((256, 256), patch=24, noise=12)
    pixels[:, 40:152, :90] = 0
    pixels[:, 220:, 200:] = 0
    return write_raster(tmp_path_factory.mktemp("batches") / "scene.tif", pixels, nodata=0)


@pytest.fixture(scope="module")
def surveyed(scene):
    """Return a job whose superpixels are stored, by mode; each is made once."""
    made = {}

    def of_mode(mode):
        if mode not in made:
            config = load_config(QUICK, **MODES[mode])
            task = Task(ProductStore(MemoryFolder()), open_scene(str(scene)), config)
            stages = Stages(task.store, range(16), range(1), n_pixels=1)
            job = survey.survey_scene(task, stages)
            learn.learn_network(job, stages)
            segment.make_superpixels(job, stages)
            made[mode] = job
        return made[mode]

    return of_mode


@pytest.fixture(scope="module")
def votes_by_tile(surveyed):
    """Return what is stored for each tile, by mode, computed tile by tile; each is made once."""
    made = {}
    return lambda mode: made[mode] if mode in made else made.setdefault(mode, by_tile(surveyed(mode)))


@pytest.fixture
def job(surveyed):
    return copied(surveyed("scene"))


def copied(job):
    """Return a job with the same products, and a store of its own for the next ones."""
    arrays = {step: dict(of_key) for step, of_key in job.store.folder.arrays.items()}
    return replace(job, store=ProductStore(MemoryFolder(arrays, dict(job.store.folder.documents))))


def stored(job, number):
    """Return what the stage has stored for a tile, as arrays by name."""
    arrays = job.store.get(VOTES, number).to_arrays()
    return {**arrays, "index": job.store.get(TILE_SUPERPIXELS, number).index}


def by_tile(job):
    """Return what is stored for each tile, computed tile by tile."""
    job = copied(job)
    for number in range(len(job.tiles)):
        segment.segment_tile(job, number)
    return [stored(job, number) for number in range(len(job.tiles))]


def in_batches(job, size):
    """Return what is stored for each tile, computed in batches."""
    job = copied(job)
    outcomes = list(segment_together(job, range(len(job.tiles)), size=size))
    assert sorted(outcome.key for outcome in outcomes) == list(range(len(job.tiles)))
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    return [stored(job, number) for number in range(len(job.tiles))]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, array in one.items():
            assert array.dtype == other[name].dtype, name
            np.testing.assert_array_equal(array, other[name], err_msg=name)


# --- the same results ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["scene", "votes alone"])
def test_batches_give_the_votes_of_the_stage_tile_by_tile(surveyed, votes_by_tile, mode):
    found = in_batches(surveyed(mode), 3)

    assert_same(found, votes_by_tile(mode))
    assert ("cells" in found[0]) == (mode == "scene")
    assert [len(one["numbers"]) for one in found].count(0) == 1  # that without data has no superpixels


@pytest.mark.parametrize("mode", rest_slow(["scene", "tile steps", "tile"], quick=2))
def test_size_of_the_batch_does_not_change_the_votes(surveyed, mode):
    job = surveyed(mode)

    alone, together = in_batches(job, 1), in_batches(job, 4)

    if mode == "scene" or IS_EXACT:
        assert_same(together, alone)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one["votes"].sum(axis=1) > 0, other["votes"].sum(axis=1) > 0)


@pytest.mark.parametrize("mode", rest_slow(["tile", "tile steps"]))
def test_trained_tiles_have_the_votes_of_tiles_that_are_trained_one_by_one(surveyed, monkeypatch, mode):
    job = surveyed(mode)
    found = in_batches(job, 4)

    # As on a GPU: on a CPU, one tile is trained in strips, whose sums are rounded in another way.
    monkeypatch.setattr(backprop, "_descent", WholeDescent)
    expected = by_tile(job)

    if IS_EXACT:
        assert_same(found, expected)
    for one, other in zip(found, expected, strict=True):
        for name in one.keys() - {"votes", "cells"}:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["scene", "tile"])
def test_class_raster_is_that_of_the_stage_tile_by_tile(scene, tmp_path, monkeypatch, mode):
    def classes(name):
        path = tmp_path / f"{name}.tif"
        config = load_config(QUICK, **MODES[mode])
        geoseg.segment_scene(scene, tmp_path / f"{name}.gpkg", config=config, workers=0, class_raster=path)
        with rasterio.open(path) as raster:
            return raster.read(1)

    expected = classes("tiles")
    monkeypatch.setattr(segment, "segment_tile", Batched(segment_together))
    found = classes("batches")

    assert len(np.unique(expected)) > 2
    if mode == "scene":
        np.testing.assert_array_equal(found, expected)
    else:  # networks per tile are trained in strips on a CPU, whose sums are rounded in another way
        assert np.mean(found == expected) > 0.9


# --- failures -----------------------------------------------------------------------------------------------------


def outcomes_of(job, **options):
    return {outcome.key: outcome for outcome in segment_together(job, range(len(job.tiles)), **{"size": 4, **options})}


def failing(function, number, error, *, times=1000):
    """Return the function, failing for a tile the first times."""
    left = [times]

    def fail(job, key):
        if key == number and left[0]:
            left[0] -= 1
            raise error
        return function(job, key)

    return fail


def test_tile_that_cannot_be_read_fails_alone(job, monkeypatch):
    prepare = failing(prepared_tile.prepare_tile, 5, RasterError("damaged pixels"))
    monkeypatch.setattr(segment_batches, "prepare_tile", prepare)

    outcomes = outcomes_of(job)

    assert {key for key, outcome in outcomes.items() if outcome.error} == {5}
    assert outcomes[5].kind == "data"
    assert len(outcomes) == 16
    assert not job.store.has(VOTES, 5)
    assert all(job.store.has(VOTES, key) for key in outcomes.keys() - {5})


def test_tile_that_cannot_be_stored_fails_alone_with_the_kind_of_its_failure(job, monkeypatch):
    real = segment_batches._store

    def fail(found, number):
        if number == 6:
            raise OSError(28, "No space left on device")
        real(found, number)

    monkeypatch.setattr(segment_batches, "_store", fail)

    outcomes = outcomes_of(job)

    assert {key: outcome.kind for key, outcome in outcomes.items() if outcome.error} == {6: "environment"}


@pytest.mark.parametrize("when", ["start", "result"])
def test_tile_on_which_the_device_fails_fails_alone(job, votes_by_tile, monkeypatch, when):
    expected, real = votes_by_tile("scene"), TileBatches._sums

    def fail(batches, tiles):
        if any(tile.image.number == 9 for tile in tiles):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return real(batches, tiles)

    def fail_later(batches, tiles):
        return start(batches, tiles) if all(tile.image.number != 9 for tile in tiles) else fail_at_once

    def fail_at_once():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    start = TileBatches.start
    monkeypatch.setattr(TileBatches, *(("_sums", fail) if when == "start" else ("start", fail_later)))

    outcomes = outcomes_of(job)

    assert {key: outcome.kind for key, outcome in outcomes.items() if outcome.error} == {9: "unexpected"}
    others = [number for number in range(16) if number != 9]
    assert_same([stored(job, number) for number in others], [expected[number] for number in others])


def test_tile_that_lacks_memory_is_tried_again_when_no_other_is_in_hand(job, monkeypatch):
    prepare = failing(prepared_tile.prepare_tile, 2, MemoryError(), times=1)
    monkeypatch.setattr(segment_batches, "prepare_tile", prepare)

    found = [outcome.key for outcome in segment_together(job, range(16), size=4) if outcome.error is None]

    assert found[-1] == 2
    assert sorted(found) == list(range(16))


def test_tile_that_lacks_memory_twice_fails(job, monkeypatch):
    monkeypatch.setattr(segment_batches, "prepare_tile", failing(prepared_tile.prepare_tile, 2, MemoryError()))

    assert {key: outcome.kind for key, outcome in outcomes_of(job).items() if outcome.error} == {2: "memory"}


def out_of_memory_above(most, monkeypatch):
    """Let the device be out of memory for batches of more than `most` tiles; return the sizes of those tried."""
    real, tried = TileBatches._sums, []

    def limited(batches, tiles):
        tried.append(len(tiles))
        if len(tiles) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return real(batches, tiles)

    monkeypatch.setattr(TileBatches, "_sums", limited)
    return tried


@pytest.mark.parametrize("most", [3, 1])
def test_batches_are_halved_when_the_device_is_out_of_memory(job, votes_by_tile, monkeypatch, most):
    expected, tried = votes_by_tile("scene"), out_of_memory_above(most, monkeypatch)

    outcomes = outcomes_of(job)

    assert not any(outcome.error for outcome in outcomes.values())
    assert_same([stored(job, number) for number in range(16)], expected)
    assert sum(size > most for size in tried) <= 2  # the device is not asked again for what it cannot do


@pytest.mark.parametrize("mode", rest_slow(["tile steps", "scene", "tile"]))
def test_cpu_computes_what_exceeds_the_device_alone(surveyed, votes_by_tile, monkeypatch, caplog, mode):
    expected = votes_by_tile(mode)
    out_of_memory_above(0, monkeypatch)

    found = in_batches(surveyed(mode), 4)

    assert_same(found, expected)
    assert "the CPU computes it" in caplog.text


def test_size_of_a_batch_follows_from_the_free_memory(monkeypatch):
    config, trained = load_config(), load_config(training="tile")

    def size(free, chosen=config, n_pixels=500_000):
        monkeypatch.setattr(tile_batches, "free_memory", lambda _: free)
        return tile_batches.batch_size(n_pixels, chosen, "cuda")

    sizes = [size(free) for free in (0, 2 * 2**30, 3 * 2**30, 4 * 2**30, 80 * 2**30)]

    assert sizes[0] == 1
    assert sizes[-1] == MAX_BATCH
    assert sizes == sorted(sizes)
    assert size(8 * 2**30, trained) < size(8 * 2**30)
    assert size(4 * 2**30, n_pixels=10**7) == 1


# --- the order of work --------------------------------------------------------------------------------------------


def test_tiles_are_read_ahead_of_the_device_but_only_so_many(job, monkeypatch):
    monkeypatch.setattr(segment_batches, "n_preparing_threads", lambda: 2)
    prepare, start, put = prepared_tile.prepare_tile, TileBatches.start, segment_batches._store
    lock, counts, most = threading.Lock(), {"begun": 0, "stored": 0}, {"ahead": 0, "begun at first batch": 0}

    def counting_prepare(job, number):
        with lock:
            counts["begun"] += 1
            most["ahead"] = max(most["ahead"], counts["begun"] - counts["stored"])
        return prepare(job, number)

    def slow_start(batches, tiles):
        time.sleep(0.05)
        most["begun at first batch"] = most["begun at first batch"] or counts["begun"]
        return start(batches, tiles)

    def counting_store(found, number):
        put(found, number)
        with lock:
            counts["stored"] += 1

    monkeypatch.setattr(segment_batches, "prepare_tile", counting_prepare)
    monkeypatch.setattr(segment_batches, "_store", counting_store)
    monkeypatch.setattr(TileBatches, "start", slow_start)

    list(segment_together(job, range(16), size=2))

    assert most["begun at first batch"] > 2  # the next batch is read while the first is computed
    assert most["ahead"] <= 2 * (2 + 2) + 2 * 2  # ahead and behind, and two batches at the device


def test_after_a_signal_the_tiles_in_hand_are_finished_and_no_others(job, monkeypatch):
    monkeypatch.setattr(segment_batches, "n_preparing_threads", lambda: 1)
    stopping, prepared, real = [], [], prepared_tile.prepare_tile
    monkeypatch.setattr(segment_batches, "is_stopping", lambda: bool(stopping))
    monkeypatch.setattr(
        segment_batches, "prepare_tile", lambda job, number: prepared.append(number) or real(job, number)
    )

    done = []
    for outcome in segment_together(job, range(16), size=2):
        done.append(outcome.key)
        stopping.append(True)

    assert 0 < len(done) < 16
    assert sorted(done) == sorted(prepared)
    assert all(job.store.has(VOTES, number) == (number in done) for number in range(16))


def test_nothing_is_stored_after_the_run_has_stopped(job):
    outcomes = segment_together(job, range(16), size=2)
    next(outcomes)

    outcomes.close()
    before = [job.store.has(VOTES, number) for number in range(16)]
    time.sleep(0.2)

    assert [job.store.has(VOTES, number) for number in range(16)] == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tile_")]


def test_no_tiles_need_no_device(job):
    assert list(segment_together(job, [])) == []


def test_stage_computes_tiles_together_on_a_gpu_alone(job):
    calls = {}

    class Recorder(Stages):
        def each_tile(self, function, job, **_):
            calls[job.device] = function

    for device in ("cpu", "cuda"):
        segment.segment_tiles(replace(job, device=device), Recorder(job.store, range(16), n_pixels=1))

    assert calls == {"cpu": segment.segment_tile, "cuda": Batched(segment_together)}
