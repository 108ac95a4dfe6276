import os

import pytest

from geoseg.config import load_config
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.resources import choose_workers, least_pixels, n_preparing_threads, pixels_per_worker, why_no_workers

DEFAULTS = load_config()


@pytest.fixture
def cores(monkeypatch):
    """Set the number of cores: cores(n)."""
    return lambda n: monkeypatch.setattr(os, "cpu_count", lambda: n)


def workers_of(n_pixels, *, config=DEFAULTS, device="cpu", **options):
    return choose_workers(ClusterOptions(**options), device, n_pixels=n_pixels, config=config).workers


def test_number_of_workers_follows_from_the_size_of_the_scene(cores):
    cores(8)
    each, least = int(pixels_per_worker(DEFAULTS)) + 1, int(least_pixels(DEFAULTS)) + 1

    assert [workers_of(n_pixels) for n_pixels in (0, each, 3 * each, least - 2)] == [0, 0, 0, 0]
    assert [workers_of(n_pixels) for n_pixels in (least, 4 * each, 6 * each, 100 * each)] == [3, 4, 6, 8]


def test_one_core_needs_no_workers(cores):
    cores(1)

    assert workers_of(10**10) == 0
    assert why_no_workers(ClusterOptions(), ClusterOptions(workers=0), DEFAULTS) is None


def test_training_on_tiles_needs_workers_for_smaller_scenes(cores):
    cores(2)

    assert workers_of(10**6) == 0
    assert workers_of(10**6, config=load_config(training="tile", tile_steps=64)) == 2


@pytest.mark.parametrize("options", [{"workers": 3}, {"workers": 0}, {"scheduler": "tcp://127.0.0.1:8786"}])
def test_place_that_is_given_is_kept(cores, options):
    cores(8)
    given = ClusterOptions(**options)

    assert choose_workers(given, "cpu", n_pixels=100, config=DEFAULTS) == given
    assert why_no_workers(given, given, DEFAULTS) is None


@pytest.mark.parametrize("options", [{"memory_limit": "1GiB"}, {"tile_timeout": 60.0}, {"dashboard": True}])
def test_option_of_workers_starts_workers_for_a_scene_of_any_size(cores, options):
    cores(8)

    assert workers_of(100, **options) is None  # one per core


def test_note_states_the_size_from_which_workers_pay(cores):
    cores(2)

    note = why_no_workers(ClusterOptions(), ClusterOptions(workers=0), DEFAULTS)

    assert "from 20 Mpx on" in note
    assert "-j" in note


def test_workers_beside_a_gpu_are_those_that_a_run_without_training_needs(cores):
    cores(16)
    trained = load_config(training="tile", tile_steps=64)

    assert workers_of(100, device="cuda") == 0
    assert workers_of(10**10, device="cuda") == 16
    for n_pixels in (10**6, 30 * 10**6, 10**9):  # the GPU trains
        assert workers_of(n_pixels, device="cuda", config=trained) == workers_of(n_pixels)


def test_tiles_are_prepared_for_a_gpu_by_the_cores_that_the_process_may_use(monkeypatch):
    for n_cores, n_threads in ((1, 1), (3, 3), (100, 16)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=n_cores: set(range(n)))

        assert n_preparing_threads() == n_threads
