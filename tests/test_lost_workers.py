"""Workers that die, hang or run out of memory, and tiles that are tried again on them."""

import errno
import math
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from geoseg.errors import GeosegError
from geoseg.run import dask_schedule
from geoseg.run.executors import ClusterOptions, Outcome, open_executor

pytestmark = pytest.mark.xdist_group("dask")  # clusters compete for the cores: one after the other

TIMEOUT = 3.0

# The functions that the workers run: at the top level, since workers import this module.


def attempts_of(folder, key):
    """Count the attempts of a key, this one included."""
    (Path(folder) / f"{key}-{time.monotonic_ns()}").touch()
    return sum(1 for _ in Path(folder).glob(f"{key}-*"))


def die_thrice(folder, key):
    if attempts_of(folder, key) <= 3 and key == 5:
        os._exit(1)
    return key


def stop_once(folder, key):
    if attempts_of(folder, key) == 1 and key == 5:
        os.kill(os.getpid(), signal.SIGSTOP)
    return key


def stop_always(bad_key, key):
    if key == bad_key:
        os.kill(os.getpid(), signal.SIGSTOP)
    return key


def exceed_memory_once(folder, key):
    if attempts_of(folder, key) == 1 and key == 5:
        raise MemoryError
    return key


def fail_on_full_disk(bad_key, key):
    if key == bad_key:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return key


def answer_late(folder, key):
    if attempts_of(folder, key) < 3:
        raise ConnectionResetError("the server did not answer")
    return key


def nap(seconds, key):
    time.sleep(seconds)
    return key


@pytest.fixture(scope="module")
def cluster():
    with open_executor(ClusterOptions(workers=2, tile_timeout=TIMEOUT)) as executor:
        yield executor


def by_key(outcomes):
    return sorted(outcomes, key=lambda outcome: outcome.key)


def workers_of_this_process():
    children = psutil.Process().children(recursive=True)
    found = []
    for child in children:
        with suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


# --- one tile -----------------------------------------------------------------------------------------------------


def test_full_disk_of_a_worker_is_a_failure_of_the_environment(cluster):
    outcomes = by_key(cluster.run(fail_on_full_disk, 3, range(6)))

    assert [outcome.kind for outcome in outcomes] == [None, None, None, "environment", None, None]
    assert outcomes[3].error.startswith("OSError: [Errno 28] No space left on device. Free space on the disk")


def test_tile_that_was_short_of_memory_is_tried_again_alone(cluster, tmp_path):
    outcomes = by_key(cluster.run(exceed_memory_once, str(tmp_path), range(12)))

    assert outcomes == [Outcome(key, key) for key in range(12)]
    assert len(list(tmp_path.glob("5-*"))) == 2


@pytest.mark.slow
def test_stopped_worker_is_restarted_after_the_time_limit_and_its_tile_tried_again(cluster, tmp_path):
    notes = []

    outcomes = by_key(cluster.run(stop_once, str(tmp_path), range(12), note=notes.append))

    assert outcomes == [Outcome(key, key) for key in range(12)]
    assert [note for note in notes if "tls://" in note and note.endswith("the worker is restarted")]


def test_standstill_is_noted_with_the_tiles_in_hand_and_their_workers(cluster, monkeypatch):
    monkeypatch.setattr(dask_schedule, "_QUIET_SECONDS", 0.2)
    monkeypatch.setattr(dask_schedule, "_WAIT_SECONDS", 0.1)
    notes, begin = [], time.monotonic()

    list(cluster.run(nap, 1.5, [7, 8], note=notes.append))

    intervals = math.log2((time.monotonic() - begin) / 0.2 + 1)  # each is twice as long as the one before
    assert 1 <= len(notes) <= 2 * (intervals + 1)  # they start anew when the first tile has finished
    assert notes[-1].startswith("no tile has finished for ")
    assert "tile 7 on tls://127.0.0.1:" in notes[-1]
    assert "tile 8 on tls://127.0.0.1:" in notes[-1]


def test_time_limit_follows_from_the_median_with_a_floor():
    schedule = dask_schedule.Schedule(None, None, b"", [], print)
    assert schedule.time_limit == dask_schedule.FIRST_TILE_SECONDS

    schedule.durations.extend([1.0, 2.0, 500.0])
    assert schedule.time_limit == 600

    schedule.durations.extend([100.0, 100.0, 100.0])
    assert schedule.time_limit == 2000


@pytest.mark.slow
def test_tile_that_always_hangs_fails_as_timed_out_and_the_others_finish(cluster):
    outcomes = by_key(cluster.run(stop_always, 2, range(6)))

    assert [outcome.kind for outcome in outcomes] == [None, None, "timed out", None, None, None]
    assert outcomes[2].error.startswith("TimedOut: the tile did not finish within 3 s")


@pytest.mark.slow
def test_tile_whose_worker_died_three_times_is_tried_once_more(cluster, tmp_path):
    outcomes = by_key(cluster.run(die_thrice, str(tmp_path), range(12)))

    assert outcomes == [Outcome(key, key) for key in range(12)]


@pytest.mark.slow
def test_transient_failure_is_tried_again_by_the_worker(tmp_path):
    with open_executor(
        ClusterOptions(workers=1, tile_timeout=120)
    ) as cluster:  # longer than the pauses, which it counts
        outcomes = by_key(cluster.run(answer_late, str(tmp_path), [1]))

    assert outcomes == [Outcome(1, 1)]
    assert len(list(tmp_path.glob("1-*"))) == 3


# --- the processes ------------------------------------------------------------------------------------------------


class Killer(threading.Thread):
    """Kills worker processes as soon as they exist, until a number of them."""

    def __init__(self, n_kills, pause):
        super().__init__(daemon=True)
        self.n_kills, self.pause, self.killed = n_kills, pause, 0
        self.before = {worker.pid for worker in workers_of_this_process()}
        self.is_over = False

    def run(self):
        while self.killed < self.n_kills and not self.is_over:
            time.sleep(self.pause)
            for worker in workers_of_this_process():
                if worker.pid not in self.before:
                    worker.kill()
                    self.killed += 1
                    break


@pytest.mark.slow
def test_workers_that_are_killed_while_they_start_are_replaced():
    killer = Killer(2, 0.3)
    killer.start()

    with open_executor(ClusterOptions(workers=2)) as executor:
        outcomes = by_key(executor.run(nap, 0.01, range(20)))

    assert killer.killed == 2
    assert outcomes == [Outcome(key, key) for key in range(20)]


@pytest.mark.slow
def test_run_whose_workers_are_killed_again_and_again_ends_with_all_results():
    with open_executor(ClusterOptions(workers=2)) as executor:
        list(executor.run(nap, 0.01, range(4)))
        killer = Killer(12, 1.0)
        killer.before = set()
        killer.start()
        outcomes = by_key(executor.run(nap, 0.1, range(150)))
        killer.is_over = True
        killer.join()

    assert killer.killed >= 3
    assert outcomes == [Outcome(key, key) for key in range(150)]


def settled_workers():
    """Return the pids of the workers of this process once they have not changed for two seconds."""
    found, since = None, time.monotonic()
    while found is None or time.monotonic() - since < 2:
        now = {worker.pid for worker in workers_of_this_process()}
        if now != found:
            found, since = now, time.monotonic()
        time.sleep(0.1)
    return found


@pytest.mark.slow
def test_no_process_is_left_of_a_cluster_with_a_stopped_worker():
    before = settled_workers()  # those of other clusters; one may just be started anew

    with open_executor(ClusterOptions(workers=2)):
        started = {worker.pid for worker in workers_of_this_process()} - before
        os.kill(min(started), signal.SIGSTOP)

    assert len(started) == 2
    assert not {worker.pid for worker in workers_of_this_process()} & started


@pytest.mark.slow
def test_workers_that_never_start_are_an_error_of_one_line():
    killer = Killer(1000, 0.05)
    killer.start()

    with (
        pytest.raises(GeosegError, match="the worker processes did not start") as caught,
        open_executor(ClusterOptions(workers=1)) as executor,
    ):
        list(executor.run(nap, 0.01, range(2)))

    killer.is_over = True
    assert "\n" not in str(caught.value)
