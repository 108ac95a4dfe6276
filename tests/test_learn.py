"""The network is trained beside the superpixels, with the same weights, and neither hides an error of the other."""

import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from geoseg.errors import GeosegError, RunError, TileError
from geoseg.progress import StageAdvanced
from geoseg.run.memory import MemoryFolder
from geoseg.run.products import NETWORK, SUPERPIXELS, ProductStore
from geoseg.segment import superpixels
from geoseg.steps import learn, segment

from .run_in_folder import run_in, write_inputs

PATIENCE = 60.0  # s after which a test fails instead of waiting


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(superpixels, "BLOCK", 64)
    monkeypatch.setattr(superpixels, "BLOCK_MARGIN", 16)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("geoseg-learn")]


def test_network_is_trained_while_superpixels_are_computed(inputs, monkeypatch):
    learning, computing = threading.Event(), threading.Event()
    train, compute = learn.train_network, segment.segment_block

    def train_late(job, advance):
        learning.set()
        assert computing.wait(PATIENCE)
        return train(job, advance)

    def compute_late(job, number):
        assert learning.wait(PATIENCE)
        computing.set()
        return compute(job, number)

    monkeypatch.setattr(learn, "train_network", train_late)
    monkeypatch.setattr(segment, "segment_block", compute_late)

    made = run_in(MemoryFolder(), inputs, "scene")

    assert not made.failed
    assert not threads()


def test_network_is_that_of_training_alone(inputs, monkeypatch):
    folder = MemoryFolder()
    train, jobs = learn.train_network, []

    def train_kept(job, advance):
        jobs.append(job)
        return train(job, advance)

    monkeypatch.setattr(learn, "train_network", train_kept)
    run_in(folder, inputs, "scene")

    alone = train(jobs[0])

    beside = ProductStore(folder).get(NETWORK)
    assert beside.arrays.keys() == alone.arrays.keys()
    for name, values in alone.arrays.items():
        np.testing.assert_array_equal(beside.arrays[name], values)


def test_blas_has_one_thread_in_training_and_its_own_afterwards(inputs, monkeypatch):
    train, within = learn.train_network, []

    def n_threads():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    def train_watched(job, advance):
        return train(job, lambda: (within.append(n_threads()), advance()))

    monkeypatch.setattr(learn, "train_network", train_watched)
    before = n_threads()

    run_in(MemoryFolder(), inputs, "scene")

    assert within == [[1] * len(before)] * len(within) != []
    assert n_threads() == before


@pytest.mark.parametrize("error", [RunError("the scene has changed"), ValueError("a bug")])
def test_error_in_training_ends_the_superpixels_after_those_in_hand(inputs, monkeypatch, error):
    failed, computed = threading.Event(), []
    compute = segment.segment_block

    def train(*_):
        failed.set()
        raise error

    def compute_slowly(job, number):
        assert failed.wait(PATIENCE)
        time.sleep(0.5)  # the error is on its way
        computed.append(number)
        return compute(job, number)

    monkeypatch.setattr(learn, "train_network", train)
    monkeypatch.setattr(segment, "segment_block", compute_slowly)

    with pytest.raises(type(error), match=str(error)):
        run_in(MemoryFolder(), inputs, "scene")

    assert len(computed) == 1
    assert not threads()


def test_error_in_training_is_raised_if_no_superpixels_are_left_to_compute(inputs, monkeypatch):
    folder = MemoryFolder()
    run_in(folder, inputs, "scene")
    folder.remove_steps(NETWORK.folder)

    def train(*_):
        raise GeosegError("the scene cannot be read")

    monkeypatch.setattr(learn, "train_network", train)

    with pytest.raises(GeosegError, match="the scene cannot be read"):
        run_in(folder, inputs, "scene")


def test_error_in_superpixels_ends_the_training_after_the_step_in_hand(inputs, monkeypatch):
    steps = []

    def train(_, advance):
        while True:
            steps.append(1)
            advance()
            time.sleep(0.01)

    def compute(*_):
        raise ValueError("a bug")

    monkeypatch.setattr(learn, "train_network", train)
    monkeypatch.setattr(segment, "segment_block", compute)
    folder = MemoryFolder()

    with pytest.raises(TileError, match="a bug"):
        run_in(folder, inputs, "scene")

    n_steps = len(steps)
    time.sleep(0.1)
    assert len(steps) == n_steps > 0
    assert not threads()
    assert not ProductStore(folder).has(NETWORK)


def test_training_is_not_repeated_when_only_superpixels_are_missing(inputs, monkeypatch):
    folder = MemoryFolder()
    run_in(folder, inputs, "scene")
    folder.remove_steps(SUPERPIXELS.folder)
    monkeypatch.setattr(learn, "train_network", None)

    assert not run_in(folder, inputs, "scene").failed


def test_progress_counts_every_crop_and_step_of_training(inputs, monkeypatch):
    events, seen = [], []
    train = learn.train_network

    def train_counting(job, advance):
        return train(job, lambda: (seen.append(1), advance()))

    monkeypatch.setattr(learn, "train_network", train_counting)

    made = run_in(MemoryFolder(), inputs, "scene", progress=events.append)

    done = [event for event in events if isinstance(event, StageAdvanced) and event.stage == "learn"]
    assert done[-1].done == done[-1].total == len(seen)
    assert made.stages.seconds["learn"] > 0
