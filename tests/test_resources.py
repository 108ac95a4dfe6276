import os

import pytest

from geoseg.config import load_config
from geoseg.run import resources
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.resources import choose_workers, least_pixels, n_preparing_threads, pixels_per_worker, why_no_workers

DEFAULTS = load_config()


@pytest.fixture
def cores(monkeypatch):
    """Set the number of cores: cores(n)."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return lambda n: monkeypatch.setattr(resources, "n_usable_cores", lambda: n)


def chosen(n_pixels, *, config=DEFAULTS, device="cpu", **options):
    return choose_workers(ClusterOptions(**options), device, n_pixels=n_pixels, config=config)


def workers_of(n_pixels, **options):
    return chosen(n_pixels, **options).workers


@pytest.mark.parametrize(("n_cores", "n_threads"), [(1, 1), (2, 2), (4, 4), (6, 4), (64, 4)])
def test_one_process_uses_up_to_four_cores(cores, n_cores, n_threads):
    cores(n_cores)

    assert (chosen(10**6).workers, chosen(10**6).threads) == (0, n_threads)
    if n_cores <= 4:
        assert chosen(10**12) == chosen(10**6)
        assert why_no_workers(ClusterOptions(), chosen(10**12), DEFAULTS) is None


@pytest.mark.parametrize(
    ("value", "n_threads"), [("1", 1), ("3", 3), ("4,2", 4), ("64", 4), ("0", 4), ("", 4), ("auto", 4), ("-1", 4)]
)
def test_threads_are_at_most_those_that_openmp_is_given(cores, monkeypatch, value, n_threads):
    cores(8)
    monkeypatch.setenv("OMP_NUM_THREADS", value)

    assert chosen(10**6).threads == n_threads


@pytest.mark.parametrize("n_cores", [6, 16])
def test_number_of_workers_follows_from_the_size_of_the_scene(cores, n_cores):
    cores(n_cores)
    each, least = pixels_per_worker(DEFAULTS), int(least_pixels(DEFAULTS)) + 1

    assert [workers_of(n_pixels) for n_pixels in (0, each, least - 2)] == [0, 0, 0]
    assert [workers_of(n_pixels) for n_pixels in (least, 13.5 * each, 10**12)] == [
        min(n_cores, int(least / each)),
        min(n_cores, 13),
        n_cores,
    ]


@pytest.mark.parametrize("n_cores", [6, 8, 12, 100])
def test_workers_save_the_time_that_they_take_to_start(cores, n_cores):
    cores(n_cores)
    seconds = 8.0 * least_pixels(DEFAULTS) / pixels_per_worker(DEFAULTS)  # of one thread
    n_workers = workers_of(least_pixels(DEFAULTS) + 1)

    assert seconds / 4 - seconds / n_workers == pytest.approx(8.0)


def test_training_on_tiles_needs_workers_for_smaller_scenes(cores):
    cores(8)

    assert workers_of(10**6) == 0
    assert workers_of(10**6, config=load_config(training="tile", tile_steps=64)) == 8


@pytest.mark.parametrize(
    "options", [{"workers": 3}, {"workers": 0}, {"threads": 3}, {"scheduler": "tcp://127.0.0.1:8786"}]
)
def test_place_that_is_given_is_kept(cores, options):
    cores(8)
    given = ClusterOptions(**options)

    assert choose_workers(given, "cpu", n_pixels=100, config=DEFAULTS) == given
    assert why_no_workers(given, given, DEFAULTS) is None


@pytest.mark.parametrize("options", [{"memory_limit": "1GiB"}, {"tile_timeout": 60.0}, {"dashboard": True}])
def test_option_of_workers_starts_workers_for_a_scene_of_any_size(cores, options):
    cores(8)

    assert workers_of(100, **options) is None  # one per core


@pytest.mark.parametrize(("n_cores", "least"), [(6, "64 Mpx"), (8, "43 Mpx"), (100, "43 Mpx")])
def test_note_states_the_size_from_which_workers_pay(cores, n_cores, least):
    cores(n_cores)

    note = why_no_workers(ClusterOptions(), chosen(10**6), DEFAULTS)

    assert note == f"4 threads compute this scene, because workers pay from {least} on; -j sets the number of workers"


@pytest.mark.parametrize("n_cores", [2, 16])
def test_note_states_that_the_memory_allows_no_more_threads(cores, n_cores):
    cores(n_cores)

    note = why_no_workers(ClusterOptions(), ClusterOptions(threads=1), DEFAULTS)

    assert note == "1 thread computes this scene, because there is no memory for more"


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
