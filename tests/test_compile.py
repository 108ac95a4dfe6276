"""Functions are compiled once, whichever processes need them, and ahead of the stages that use them."""

import contextlib
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from geoseg.run.kernel_lock import wait_for_lock
from geoseg.segment.compiled import compiled, needs_compilation
from geoseg.steps import compile as ahead

# Compiles a function for seconds, if it is not stored, and prints how many functions it compiled.
SLOW = """
    import sys, time
    from numba.extending import overload
    from geoseg.run.kernel_lock import share_compilation
    from geoseg.segment.compiled import compiled

    def pause(number): ...

    @overload(pause)
    def _pause(number):
        time.sleep({seconds})
        return lambda number: number

    @compiled()
    def paused(number):
        return pause(number)

    share_compilation()
    paused(1)
    print(sum(paused.stats.cache_misses.values()))
"""
# Prints with which types of arguments the functions of the later stages are called from Python.
CALLED = """
import sys

def print_called():
    for name, module in sorted(sys.modules.items()):
        if name.startswith("geoseg.vectorize."):
            for function in vars(module).values():
                if getattr(getattr(function, "py_func", None), "__module__", None) == name:
                    for types in function.signatures:
                        print(name, function.__name__, types)
"""
AHEAD = f"""{CALLED}
from geoseg.steps.compile import compile_functions
compile_functions()
print_called()
"""
COMMAND = f"""{CALLED}
from geoseg.cli.main import main
sys.argv = ["geoseg", *sys.argv[1:]]
try:
    main()
finally:
    print_called()
"""


def start(folder, code, *arguments, **variables):
    """Start a script with an empty folder for compiled functions."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(code))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache")} | variables
    return subprocess.Popen([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True, env=environment)


def lines_of(command):
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


def files_in(folder):
    return [path.name for path in folder.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_of_processes_that_need_a_function_at_the_same_time_one_compiles_it(tmp_path):
    code = SLOW.format(seconds=3)
    processes = [start(tmp_path, code) for _ in range(3)]
    assert sorted(int(process.communicate()[0]) for process in processes) == [0, 0, 1]
    assert not [name for name in files_in(tmp_path) if name.endswith(".lock")]


@pytest.mark.slow
def test_function_is_compiled_after_the_process_that_compiled_it_was_killed(tmp_path):
    killed = start(tmp_path, SLOW.format(seconds=600))
    while not any(name.endswith(".lock") for name in files_in(tmp_path)):
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    found = list(tmp_path.rglob("*.lock"))
    assert found, "a killed process leaves its file"
    assert start(tmp_path, SLOW.format(seconds=0)).communicate()[0] == "1\n"


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    path, order = str(tmp_path / "lock"), []
    release = wait_for_lock(path)

    def wait():
        then = wait_for_lock(path)
        order.append("second")
        then()

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)
    order.append("first")
    release()
    waiting.join(10)
    assert order == ["first", "second"]
    assert not files_in(tmp_path)


def test_waiting_for_a_stopped_process_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("geoseg.run.kernel_lock._MOST_SECONDS", 0.2)
    path = str(tmp_path / "lock")
    release = wait_for_lock(path)
    wait_for_lock(path)()
    release()


@pytest.mark.parametrize("problem", ["no folder", "no locks"])
def test_no_lock_is_no_error(problem, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no locks available")

    if problem == "no locks":
        monkeypatch.setattr("geoseg.run.kernel_lock.lock", refuse)
    wait_for_lock(str(tmp_path / ("no folder/lock" if problem == "no folder" else "lock")))()


def test_error_of_compilation_releases_the_lock(tmp_path):
    code = """
        from geoseg.run.kernel_lock import share_compilation
        from geoseg.segment.compiled import compiled

        @compiled()
        def wrong(number):
            return number.nothing

        share_compilation()
        for number in (1, 2.0):
            try:
                wrong(number)
            except Exception as error:
                print(type(error).__name__)
    """
    assert start(tmp_path, code).communicate()[0] == "TypingError\nTypingError\n"
    assert not [name for name in files_in(tmp_path) if name.endswith(".lock")]


@pytest.mark.slow
def test_function_needs_compilation_until_it_is_stored(tmp_path):
    code = """
        from geoseg.segment.compiled import compiled, needs_compilation

        @compiled()
        def double(number):
            return 2 * number

        print(needs_compilation(double), double(2), needs_compilation(double))
    """
    assert start(tmp_path, code).communicate()[0] == "True 4 False\n"
    assert start(tmp_path, code).communicate()[0] == "False 4 False\n"


def test_function_that_cannot_be_stored_needs_no_compilation_ahead():
    @compiled()
    def double(number):
        return 2 * number

    double._cache = object()
    assert not needs_compilation(double)
    assert not needs_compilation(len)


@pytest.mark.parametrize("executable", ["", "/usr/bin/qgis", None])
def test_no_process_is_started_by_a_program_that_is_not_python(executable, monkeypatch):
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr("geoseg.vectorize.wkb.is_to_compile", lambda: True)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started"))
    with ahead.compiled_ahead():
        pass


def test_process_that_compiles_ends_with_the_run(monkeypatch):
    started = []
    popen = subprocess.Popen

    def start_and_keep(command, **options):
        assert command[1] == "-P", "no module may come from the current folder"
        started.append(popen([sys.executable, "-c", "import time; time.sleep(600)"], **options))
        return started[0]

    monkeypatch.setattr("geoseg.vectorize.wkb.is_to_compile", lambda: True)
    monkeypatch.setattr(subprocess, "Popen", start_and_keep)
    with contextlib.suppress(KeyboardInterrupt), ahead.compiled_ahead():
        assert started[0].poll() is None
        raise KeyboardInterrupt
    assert started[0].poll() is not None


@pytest.mark.slow
def test_later_stages_compile_nothing_that_was_compiled_ahead(tmp_path, make_raster):
    scene = make_raster(np.random.default_rng(0).integers(0, 255, (3, 300, 300), np.uint8))
    out = tmp_path / "labels.gpkg"
    arguments = ["tile", scene, "--tile-size", "160", "--out", out, "--workers", "0", "-q"]

    # With the stored functions: a function that is loaded for some types would otherwise be compiled for them.
    ahead, called = (lines_of([sys.executable, "-c", *program]) for program in ([AHEAD], [COMMAND, *arguments]))

    assert len(called) > 10
    assert called <= ahead


@pytest.mark.parametrize(
    ("variable", "message"),
    [("NUMBA_DISABLE_JIT=1", "NUMBA_DISABLE_JIT is set"), ("NUMBA_NUM_THREADS=0", "the environment variables NUMBA_*")],
)
def test_variable_that_keeps_numba_from_compiling_is_named(variable, message, make_raster, tmp_path):
    labels = make_raster(np.ones((1, 20, 30), np.uint8), "labels.tif")
    name, _, value = variable.partition("=")
    command = [sys.executable, "-m", "geoseg", "outline", labels, "--out", tmp_path / "out.gpkg", "--progress", "none"]

    done = subprocess.run(command, env=os.environ | {name: value}, capture_output=True, text=True, timeout=120)

    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out.gpkg").exists()
