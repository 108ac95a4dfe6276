import contextlib
import json
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import ConfigError, GeosegError
from geoseg.run.dask_batches import batch_size, run_batch
from geoseg.run.dask_executor import DaskExecutor
from geoseg.run.executors import ClusterOptions, Outcome, Serial, open_executor
from geoseg.run.outcome import Batched

pytestmark = pytest.mark.xdist_group("dask")  # clusters compete for the cores: one after the other

# Of other processes, which import this module and the same geoseg.
PYTHONPATH = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

# The functions that the workers run: at the top level, since workers import this module.


def square(context, key):
    return context["offset"] + key * key


def fail_at(bad_keys, key):
    if key in bad_keys:
        raise ValueError(f"tile {key}\n  has no   pixels")
    return key


def exit_at(bad_keys, key):
    if key in bad_keys:
        sys.exit(3)
    return key


def die_at(bad_keys, key):
    time.sleep(0.01)
    if key in bad_keys:
        os._exit(1)
    return key


def die_once(folder, key):
    (Path(folder) / f"{key}-{time.monotonic_ns()}").touch()
    if key == 5 and sum(1 for _ in Path(folder).glob("5-*")) == 1:
        os._exit(1)
    return key


def unpicklable_at(bad_keys, key):
    return iter(key for key in ()) if key in bad_keys else key


def environment(names, _key):
    return {name: os.environ.get(name) for name in names} | {"process": os.getpid()}


def nap(seconds, _key):
    time.sleep(seconds)
    return os.getpid()


def slow_behind_margin(first_slow, key):
    time.sleep(0.1 if key >= first_slow else 0)
    return key


def process_of_all(context, keys):
    for key in reversed(keys):
        yield Outcome(key, (context, len(keys), os.getpid()))


class NotHere:
    """Unpickled as a call of a function that raises in other processes."""

    def __reduce__(self):
        return load, (os.getpid(),)


def load(home):
    if os.getpid() != home:
        raise ModuleNotFoundError("No module named 'secret'")
    return NotHere()


N_WORKERS = {"serial": 0, "one worker": 1, "two workers": 2}


class Executors(dict):
    """Executors by name, opened when they are first needed."""

    def __init__(self, stack):
        super().__init__()
        self._stack = stack

    def __missing__(self, name):
        self[name] = self._stack.enter_context(open_executor(ClusterOptions(workers=N_WORKERS[name])))
        return self[name]


@pytest.fixture(scope="module")
def executors():
    """All executors that the tests run on; shared, since local clusters take seconds to start."""
    with contextlib.ExitStack() as stack:
        yield Executors(stack)


@pytest.fixture(params=["serial", pytest.param("one worker", marks=pytest.mark.slow), "two workers"])
def executor(request, executors):
    return executors[request.param]


@pytest.fixture(params=[pytest.param("one worker", marks=pytest.mark.slow), "two workers"])
def cluster(request, executors):
    return executors[request.param]


def by_key(outcomes):
    return sorted(outcomes, key=lambda outcome: outcome.key)


# --- any executor, the same outcomes ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_keys", [0, 1, 8, 500])
def test_every_tile_has_one_outcome_whichever_the_executor(executor, n_keys):
    keys = list(range(7, 7 + n_keys))

    outcomes = list(executor.run(square, {"offset": 3}, keys))

    assert by_key(outcomes) == [Outcome(key, 3 + key * key) for key in keys]


def test_a_tile_that_raises_is_reported_in_one_line_and_the_others_finish(executor):
    outcomes = by_key(executor.run(fail_at, {2, 30}, range(40)))

    errors = {outcome.key: outcome.error for outcome in outcomes if outcome.error}
    assert errors == {key: f"ValueError: tile {key} has no pixels" for key in (2, 30)}
    assert [outcome.result for outcome in outcomes] == [None if key in (2, 30) else key for key in range(40)]
    assert "in fail_at" in outcomes[2].traceback
    assert outcomes[3].traceback is None


def test_a_tile_that_calls_sys_exit_ends_no_worker(executor):
    outcomes = by_key(executor.run(exit_at, {1}, range(4)))

    assert [outcome.error for outcome in outcomes] == [None, "SystemExit: 3", None, None]


def test_an_executor_can_be_used_again_after_a_run_that_was_closed_early(executor):
    run = executor.run(square, {"offset": 0}, range(200))
    next(run)
    run.close()

    assert len(list(executor.run(square, {"offset": 0}, range(20)))) == 20


# --- workers die --------------------------------------------------------------------------------------------------


def test_only_the_tile_that_kills_its_worker_fails(executors):
    outcomes = by_key(executors["two workers"].run(die_at, {13}, range(40)))

    assert [outcome.key for outcome in outcomes] == list(range(40))
    assert [outcome.key for outcome in outcomes if outcome.error] == [13]
    assert outcomes[13].error.startswith("WorkerDied: ")


def test_a_tile_whose_worker_died_once_is_retried(cluster, tmp_path):
    outcomes = by_key(cluster.run(die_once, str(tmp_path), range(12)))

    assert outcomes == [Outcome(key, key) for key in range(12)]
    assert len(list(tmp_path.glob("5-*"))) == 2


def test_only_the_tile_whose_result_cannot_be_pickled_fails(cluster):
    outcomes = by_key(cluster.run(unpicklable_at, {3}, range(6)))

    assert [outcome.key for outcome in outcomes if outcome.error] == [3]
    assert outcomes[3].error.startswith("TypeError: Could not serialize")
    assert len(outcomes[3].error) <= 400
    assert "\n" not in outcomes[3].error


def test_a_task_that_a_worker_cannot_load_is_reported_in_one_line(cluster):
    with pytest.raises(
        ConfigError, match=r"^a worker cannot load its task .*No module named 'secret'\); install the same .*\.$"
    ):
        list(cluster.run(square, NotHere(), range(3)))

    assert len(list(cluster.run(square, {"offset": 0}, range(3)))) == 3


# --- batches ------------------------------------------------------------------------------------------------------


@given(
    n_waiting=st.integers(1, 200_000),
    n_slots=st.integers(1, 500),
    seconds=st.none() | st.floats(0, 1e4),
)
def test_a_batch_is_never_empty_nor_leaves_other_workers_without_tiles(n_waiting, n_slots, seconds):
    n_keys = batch_size(n_waiting, n_slots, seconds)

    assert 1 <= n_keys <= 400
    assert n_keys == 1 or n_keys * n_slots <= n_waiting
    assert n_keys == 1 or n_keys * seconds <= 1


def test_few_slow_tiles_are_shared_evenly(executors):
    # long enough that delays of a busy scheduler do not decide which worker gets the next
    outcomes = list(executors["two workers"].run(nap, 1.0, range(8)))

    assert sorted(Counter(outcome.result for outcome in outcomes).values()) in ([4, 4], [3, 5])


def test_a_batch_of_slow_tiles_returns_after_a_second_with_those_that_are_done():
    outcomes, seconds = run_batch(pickle.dumps((nap, 0.4)), list(range(50)))

    assert [outcome.key for outcome in outcomes] == [0, 1, 2]
    assert 1.0 < seconds < 5.0


def test_tiles_that_a_batch_did_not_reach_are_computed_later(executors):
    outcomes = by_key(executors["two workers"].run(slow_behind_margin, 300, range(360)))

    assert outcomes == [Outcome(key, key) for key in range(360)]


def test_outcomes_are_yielded_while_others_are_computed(executors):
    begin = time.monotonic()
    run = executors["two workers"].run(nap, 0.4, range(8))

    next(run)
    first = time.monotonic() - begin
    assert sum(1 for _ in run) == 7

    assert first < (time.monotonic() - begin) / 2


# --- the processes ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_workers_have_one_thread_each_and_this_process_keeps_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)

    with open_executor(ClusterOptions(workers=1)) as executor:
        before = by_key(executor.run(environment, ONE_THREAD, [0]))[0].result
        list(executor.run(die_at, {0}, [0]))
        after = by_key(executor.run(environment, ONE_THREAD, [0]))[0].result
        here = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}

    assert before["process"] != after["process"] != os.getpid()
    assert all(answer[name] == "1" for answer in (before, after) for name in ONE_THREAD)
    assert here == {"OMP_NUM_THREADS": "7", "NUMBA_NUM_THREADS": None}


@pytest.mark.slow
def test_workers_keep_freed_memory_and_this_process_keeps_its_environment(monkeypatch):
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX")
    for name in names:
        monkeypatch.delenv(name, raising=False)

    with open_executor(ClusterOptions(workers=1)) as executor:
        (outcome,) = executor.run(environment, names, [0])
        here = [os.environ.get(name) for name in names]

    assert [outcome.result[name] for name in names] == ["2000000000", "2000000000", "1"]
    assert here == [None, None, None]


@pytest.mark.slow
def test_a_cluster_listens_on_this_machine_only_and_cleans_up(capfd, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    level = logging.getLogger("distributed").level

    with open_executor(ClusterOptions(workers=1)) as executor:
        (process,) = (outcome.result["process"] for outcome in executor.run(environment, ONE_THREAD, [0]))
        addresses = listening(os.getpid()) | listening(process)
        assert list(tmp_path.iterdir())
    begin = time.monotonic()

    assert addresses
    assert addresses <= {"127.0.0.1", "::1"}
    assert not list(tmp_path.iterdir())
    assert time.monotonic() - begin < 5
    assert logging.getLogger("distributed").level == level
    assert capfd.readouterr() == ("", "")


def listening(process):
    import psutil  # comes with distributed

    connections = psutil.Process(process).net_connections("tcp")
    return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}


def test_importing_the_module_imports_no_dask():
    program = "import sys, geoseg.run.executors as c; c.open_executor(c.ClusterOptions(workers=0)).__enter__()\n"
    program += "print({'dask', 'distributed', 'tornado'} & set(sys.modules))"

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "set()"


INTERRUPTED = """
import sys
from geoseg.run.executors import ClusterOptions, open_executor
from test_executors import nap

if __name__ == "__main__":
    try:
        with open_executor(ClusterOptions(workers=2)) as executor:
            for outcome in executor.run(nap, 0.2, range(1000)):
                print(outcome.result, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.slow
def test_ctrl_c_ends_all_workers_within_seconds_and_without_output(tmp_path):
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)

    with subprocess.Popen(
        [sys.executable, "-W", "error::ResourceWarning", script],
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal sends Ctrl-C to the whole group, workers included
    ) as process:
        workers = {int(process.stdout.readline()) for _ in range(6)}
        begin = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, text = process.communicate(timeout=30)

    assert process.returncode == 130
    assert time.monotonic() - begin < 10
    assert text == ""
    assert not [worker for worker in workers if is_running(worker)]


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


# --- the main module ----------------------------------------------------------------------------------------------

SCRIPT = """
import numpy
from geoseg.run.executors import ClusterOptions, open_executor
from test_executors import nap

def segment():
    with open_executor(ClusterOptions(workers=2)) as executor:
        print(len(list(executor.run(nap, 0, range(4)))))

{call}
"""
UNGUARDED = SCRIPT.format(call="segment()")
GUARDED = SCRIPT.format(call='if __name__ == "__main__":\n    segment()')
GUARDED_ELSEWHERE = SCRIPT.format(call='if __name__ == "__main__":\n    print("started")\nsegment()')


def run_python(*arguments, folder, script=None):
    return subprocess.run(
        [sys.executable, *arguments],
        input=script,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (UNGUARDED, r"geoseg: script\.py, line 10, starts worker processes .* `if __name__ == \"__main__\":`"),
        pytest.param(
            GUARDED_ELSEWHERE,
            r"geoseg: the worker processes did not start .* `if __name__ == \"__main__\":`",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["no guard", "guard elsewhere"],
)
def test_a_script_without_main_guard_ends_with_one_line(tmp_path, script, message):
    (tmp_path / "script.py").write_text(script)

    ended = run_python("script.py", folder=tmp_path)

    assert ended.returncode == 1
    assert re.match(message, ended.stderr)
    assert len(ended.stderr.splitlines()) == 1


def test_a_script_from_standard_input_ends_with_one_line(tmp_path):
    ended = run_python("-", folder=tmp_path, script=UNGUARDED)

    assert ended.returncode == 1
    assert re.match("geoseg: worker processes cannot import the main script <stdin>.* Save the script", ended.stderr)
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("script", [GUARDED, None], ids=["guarded script", "python -c"])
def test_a_main_module_that_workers_need_not_or_may_import_is_accepted(tmp_path, script):
    (tmp_path / "script.py").write_text(script or "")

    ended = run_python(*(["script.py"] if script else ["-c", UNGUARDED]), folder=tmp_path)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "4\n", "")


# --- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": -1}, r"workers \(-1\)"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:8786"}, "give one of them"),
        ({"scheduler": "tcp://127.0.0.1:8786", "scheduler_file": "s.json"}, "give one of them"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ClusterOptions(**options)


# --- a cluster that is already running -------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:9", "smoke://signals"])
def test_a_scheduler_that_does_not_answer_is_reported_in_one_line(scheduler, capfd):
    begin = time.monotonic()

    with pytest.raises(ConfigError) as caught, open_executor(ClusterOptions(scheduler=scheduler, timeout=1)):
        pass

    assert scheduler in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begin < 10
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_a_scheduler_file_without_an_address_is_reported_in_one_line(tmp_path, content):
    path = tmp_path / "scheduler.json"
    if content is not None:
        path.write_text(content)

    with (
        pytest.raises(ConfigError, match=r"scheduler\.json has no address of a Dask scheduler"),
        open_executor(ClusterOptions(scheduler_file=str(path), timeout=0.2)),
    ):
        pass


@contextmanager
def started(*arguments: object, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, arguments), "--dashboard-address", "127.0.0.1:0"],
        env=os.environ | {"PYTHONPATH": PYTHONPATH} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def scheduler_file(tmp_path):
    path = tmp_path / "scheduler.json"
    with started("scheduler", "--scheduler-file", path, "--host", "127.0.0.1", "--port", "0"):
        deadline = time.monotonic() + 30
        while not (path.exists() and path.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield path


def worker_arguments(scheduler_file):
    folder = scheduler_file.parent / "scratch"
    return "worker", "--scheduler-file", scheduler_file, "--nthreads", 1, "--local-directory", folder


@pytest.mark.slow
def test_a_running_cluster_gives_the_same_outcomes_by_its_address_and_by_its_file(scheduler_file):
    by_address = ClusterOptions(scheduler=json.loads(scheduler_file.read_text())["address"])
    by_file = ClusterOptions(scheduler_file=str(scheduler_file))
    outcomes = []

    with started(*worker_arguments(scheduler_file)):
        with open_executor(by_address) as executor:
            deadly = by_key(executor.run(die_at, {3}, range(6)))
            outcomes.append(by_key(executor.run(fail_at, {2}, range(300))))
        for options in (by_file, by_file, by_address):  # those before did not close the cluster
            with open_executor(options) as executor:
                outcomes.append(by_key(executor.run(fail_at, {2}, range(300))))

    with open_executor(ClusterOptions(workers=0)) as serial:
        expected = by_key(serial.run(fail_at, {2}, range(300)))
    assert outcomes == 4 * [expected]
    assert [outcome.key for outcome in deadly if outcome.error] == [3]


@pytest.mark.slow
def test_a_worker_that_leaves_is_not_missed_and_a_late_one_is_used(scheduler_file):
    options = ClusterOptions(scheduler_file=str(scheduler_file))

    with started(*worker_arguments(scheduler_file), "--lifetime", "6s"), open_executor(options) as executor:
        run = executor.run(nap, 0.5, range(30))
        outcomes = [next(run)]
        with started(*worker_arguments(scheduler_file)):
            outcomes += run

    assert sorted(outcome.key for outcome in outcomes) == list(range(30))
    assert not [outcome for outcome in outcomes if outcome.error]
    assert len({outcome.result for outcome in outcomes}) == 2


@pytest.mark.slow
def test_a_scheduler_without_workers_is_reported_in_one_line(scheduler_file):
    options = ClusterOptions(scheduler_file=str(scheduler_file), timeout=1)

    with pytest.raises(ConfigError, match=r"^no Dask scheduler with workers at .*0/1 workers"), open_executor(options):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("disguise", "message"),
    [
        ("version = lambda name: '0.0.1' if name == 'numpy' else real(name)", r"has numpy 0\.0\.1 \(here "),
        ("version = lambda name: absent(name) if name == 'numba' else real(name)", r"has numba absent \(here "),
        (
            "import sys; sys.modules['geoseg.run.dask_batches'] = None",
            r"the workers cannot load geoseg \(.*NotFoundError",
        ),
    ],
)
def test_workers_with_other_versions_are_refused_in_one_line(scheduler_file, tmp_path, disguise, message):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata as m\nreal = m.version\n"
        "def absent(name): raise m.PackageNotFoundError(name)\n"
        f"m.{disguise}\n".replace("m.import", "import")
    )
    options = ClusterOptions(scheduler_file=str(scheduler_file))

    with (
        started(
            *worker_arguments(scheduler_file), "--no-nanny", PYTHONPATH=os.pathsep.join([str(tmp_path), PYTHONPATH])
        ),
        pytest.raises(ConfigError, match=rf"{message}.*install the same versions") as caught,
        open_executor(options),
    ):
        pass

    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_scheduler_that_goes_away_ends_the_run_with_one_line(tmp_path):
    path = tmp_path / "scheduler.json"
    arguments = ("scheduler", "--scheduler-file", path, "--host", "127.0.0.1", "--port", "0")

    with (
        started(*arguments) as scheduler,
        started(*worker_arguments(path)),
        open_executor(ClusterOptions(scheduler_file=str(path))) as executor,
    ):
        run = executor.run(nap, 0.1, range(1000))
        next(run)
        scheduler.kill()
        with pytest.raises(GeosegError, match=r"^Dask failed .*--resume\.$"):
            list(run)


# --- functions of several tiles -----------------------------------------------------------------------------------


def test_batched_function_gets_all_keys_at_once():
    found = list(Serial().run(Batched(process_of_all), "context", [1, 2, 3]))

    assert found == [Outcome(key, ("context", 3, os.getpid())) for key in (3, 2, 1)]


def test_worker_computes_all_keys_of_a_batched_function():
    outcomes, seconds = run_batch(pickle.dumps((Batched(process_of_all), "context")), [4, 5])

    assert {outcome.key for outcome in outcomes} == {4, 5}
    assert seconds >= 0


@pytest.mark.slow
def test_process_of_local_workers_computes_a_batched_function_itself():
    executor = DaskExecutor(client=None, workers=None, is_local=True)  # needs neither

    assert [outcome.result[2] for outcome in executor.run(Batched(process_of_all), None, [1])] == [os.getpid()]
