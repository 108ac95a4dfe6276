"""Errors a person can use: one line, no traceback, whatever the names, numbers, streams and memory are."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from geoseg.cli import main as cli
from geoseg.cli.failures import explain
from geoseg.errors import ConfigError, OutputError, RasterError
from geoseg.output.names import check_driver, check_output_name
from geoseg.pipeline import segment_scene
from geoseg.progress import StageReporter
from geoseg.raster.scene import open_scene
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.executors import Serial
from geoseg.run.signals import Stopped, deferred, is_stopping, stoppable
from geoseg.segment.compiled import compiled, is_cached

from .conftest import fields, run_command, write_raster

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and devices")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", fields((200, 200)))


def only_line(ended):
    """Return the one line of a command that was refused."""
    assert ended.code == 1
    assert len(ended.lines) == 1
    assert "Traceback" not in ended.text
    assert "unexpected" not in ended.text
    return ended.lines[0]


# --- the last handler -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (RuntimeError("can't start new thread"), "not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device", "a.tif"), "a.tif. Free space on the disk."),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (ImportError("libfoo.so: no such file"), "cannot be imported"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "cannot be converted"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (KeyError("x"), "please report it"),
    ],
    ids=["memory", "torch", "thread", "disk", "files", "import", "unicode", "recursion", "bug"],
)
def test_unforeseen_error_is_one_line_and_a_traceback_with_v_only(monkeypatch, caplog, error, expected):
    def fail(*_):
        raise error

    monkeypatch.setattr("geoseg.config.named_configs", fail)
    quiet = run_command("config")
    assert not caplog.text
    detailed = run_command("config", "-v")

    assert (quiet.code, len(quiet.lines)) == (1, 1)
    assert expected in quiet.text
    assert "Traceback" in caplog.text
    assert expected in detailed.lines[-1]


def test_message_of_a_library_is_shortened_and_cannot_control_the_terminal():
    line = explain(OSError("a\x1b[2Jb\n" + "x" * 10_000))

    assert line.isprintable()
    assert len(line) < 600


# --- names ----------------------------------------------------------------------------------------------------------

IMPOSSIBLE = {"empty": "", "blank": " ", "long": "x" * 300, "deep": "x/" * 3000, "latin-1": "M\udcfc", "NUL": "a\0b"}
ARGUMENTS = {
    "tile": [(), ("--out",), ("--class-raster",), ("--region-raster",), ("--save-model",), ("--config",), ("--aoi",),
             ("--model",), ("--run-dir",), ("--scheduler-file",)],
    "outline": [(), ("--out",), ("--region-raster",), ("--values",), ("--aoi",), ("--run-dir",)],
    "preview": [(), ("--out",), ("--animation",), ("--config",), ("--aoi",)],
    "info": [(), ("--config",), ("--aoi",), ("--model",)],
    "evaluate": [(), ("--reference",), ("--json",)],
    "synthetic": [(), ("--truth",)],
}  # fmt: skip
NEEDED = {"tile": ("--out", "q.gpkg"), "outline": ("--out", "q.gpkg"), "evaluate": ("--reference", "b.tif")}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
@pytest.mark.parametrize(
    ("command", "option"), [(name, option) for name, options in ARGUMENTS.items() for option in options]
)
def test_name_that_no_file_can_have_is_refused_in_one_line(tmp_path, monkeypatch, scene, command, option, kind):
    monkeypatch.chdir(tmp_path)
    needed = () if option == NEEDED.get(command, ("",))[:1] else NEEDED.get(command, ())
    first = (scene,) if option else ()

    line = only_line(run_command(command, *first, *needed, *option, IMPOSSIBLE[kind]))

    assert len(line) < 500
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_python_functions_refuse_a_name_that_no_file_can_have(tmp_path, scene, kind):
    with pytest.raises((ConfigError, OutputError)):
        segment_scene(scene, f"{IMPOSSIBLE[kind]}.gpkg" if kind != "empty" else "", workers=0)
    with pytest.raises((ConfigError, RasterError)):
        segment_scene(IMPOSSIBLE[kind], tmp_path / "out.gpkg", workers=0)
    with pytest.raises(RasterError):
        open_scene(IMPOSSIBLE[kind])


@pytest.mark.parametrize(
    "name",
    ["s;c.gpkg", "s!c.gpkg", "s\nc.gpkg", "s\tc.fgb", "\x1b[2J.gpkg", ".gpkg", "..gpkg", ".", "x" * 220 + ".gpkg",
     "a;b/x.fgb;x.fgb", "nothing.gpkg", "pipe.gpkg", "null.gpkg", "loop.gpkg", "loop.gpkg/x.gpkg", "back\\.fgb"],
)  # fmt: skip
@POSIX
def test_output_that_cannot_be_written_is_found_before_any_work(tmp_path, monkeypatch, scene, name):
    monkeypatch.chdir(tmp_path)
    Path("nothing.gpkg").symlink_to("missing")
    Path("loop.gpkg").symlink_to("loop.gpkg")
    Path("null.gpkg").symlink_to(os.devnull)
    os.mkfifo("pipe.gpkg")
    before = sorted(tmp_path.iterdir())

    only_line(run_command("tile", scene, "--workers", 0, "--overwrite", "--run-dir", tmp_path / "run", "--out", name))

    assert sorted(tmp_path.iterdir()) == before


def test_output_in_the_run_folder_is_refused(tmp_path, scene):
    run = tmp_path / "run"
    run.mkdir()

    line = only_line(run_command("tile", scene, "--out", run / "labels.gpkg", "--run-dir", run, "--workers", 0))

    assert "is in the run folder" in line
    assert not list(run.iterdir())


def test_path_that_sqlite_cannot_open_is_refused(tmp_path):
    folder = tmp_path / ("x" * 200) / ("y" * 200) / ("z" * 200)
    folder.mkdir(parents=True)

    check_output_name(folder / "labels.gpkg")
    with pytest.raises(OutputError, match="shorter path"):
        check_driver(folder / "labels.gpkg")


def test_name_with_ordinary_punctuation_is_accepted(tmp_path):
    for name in ("a b.gpkg", "ä,c.fgb", "50%#1?.gpkg", "(x)[y]{z}'&=+@~^.tif"):
        check_output_name(tmp_path / name)
        check_driver(tmp_path / name)

        assert (tmp_path / name).is_file()


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"workers": 10**20}, {"workers": -1}, {"timeout": float("nan")}, {"timeout": float("inf")}, {"timeout": 0},
     {"timeout": -1}, {"memory_limit": "-1GiB"}, {"memory_limit": "much"}, {"memory_limit": "0"}],
)  # fmt: skip
def test_absurd_number_of_the_workers_is_refused(options):
    with pytest.raises(ConfigError):
        ClusterOptions(**options)


@pytest.mark.parametrize(
    "network",
    [{"channels": [2, 10**9, 2]}, {"kernels": [3, 10**9 + 1, 1]}, {"kernels": [1] * 10**4, "channels": [2] * 10**4}],
    ids=["channels", "kernel", "layers"],
)
def test_absurd_network_is_refused_in_one_line(scene, tmp_path, network):
    config = {"kernels": [3, 1, 1], "channels": [8, 8, 8]} | network
    with pytest.raises(ConfigError, match="at most"):
        segment_scene(scene, tmp_path / "out.gpkg", config={"network": config}, workers=0)


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "a.tif", "--reference", "b.tif", "--tile-size", 10**20),
        ("preview", "a.tif", "--animation", "a.gif", "--steps", 10**20),
        ("tile", "a.tif", "--out", "a.gpkg", "--workers", 10**20),
        ("info", "a.tif", "--workers", 10**20),
    ],
    ids=lambda arguments: arguments[0],
)
def test_absurd_number_on_the_command_line_is_refused(arguments):
    assert "100000000000000000000" in only_line(run_command(*arguments)) or arguments[0] == "info"


@pytest.mark.parametrize("options", [("--bands", "9" * 5000), ("--classes", "9" * 5000)], ids=["bands", "classes"])
def test_number_with_thousands_of_digits_is_a_usage_error(options):
    ended = run_command("tile", "a.tif", "--out", "a.gpkg", *options)

    assert ended.code == 2
    assert len(ended.text) < 1000


# --- causes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "is empty"), (b"SIMPLE  =                    T", "gdal_translate"), (None, "is a folder")],
    ids=["empty", "unknown", "folder"],
)
def test_file_that_is_no_raster_is_refused_with_its_cause(tmp_path, content, expected):
    path = tmp_path / "scene.fits"
    path.mkdir() if content is None else path.write_bytes(content)

    with pytest.raises(RasterError, match=expected):
        open_scene(path)


def test_read_only_folder_is_not_called_a_full_disk(tmp_path, scene, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK and Path(path) == tmp_path / "run"))
    (tmp_path / "run").mkdir()

    line = only_line(run_command("tile", scene, "--out", tmp_path / "x.gpkg", "--run-dir", tmp_path / "run", "-j", 0))

    assert "is not writable" in line


# --- streams --------------------------------------------------------------------------------------------------------


def command(*arguments):
    return [sys.executable, "-c", "from geoseg.__main__ import start; start()", *map(str, arguments)]


@POSIX
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("config",), ("--help",), ("config", "drone")], ids=" ".join)
def test_full_standard_output_is_reported_in_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "standard output cannot be written: No space left" in done.stderr


@POSIX
def test_closed_pipe_ends_the_command_without_a_message():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command("config"), stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, "")


def test_display_that_cannot_be_written_does_not_end_a_run():
    def broken(_event):
        raise BrokenPipeError

    reporter = StageReporter(broken)
    reporter.begin("write", 1, pixels=1)
    reporter.note("text")
    reporter.finish()


# --- numba's cache --------------------------------------------------------------------------------------------------


def test_function_is_compiled_where_no_folder_for_the_cache_is_writable(monkeypatch):
    monkeypatch.setattr("numba.core.caching._CacheLocator.ensure_cache_path", _refuse)

    double = compiled()(_double)

    assert double(np.arange(3)).tolist() == [0, 2, 4]
    assert not is_cached(double)


def test_cache_that_fills_the_disk_does_not_end_a_run(monkeypatch):
    double = compiled()(_double)
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", _refuse)
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.load", _refuse)

    assert double(np.arange(3.0)).tolist() == [0, 2, 4]


def _refuse(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def _double(numbers):
    return 2 * numbers


# --- signals --------------------------------------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_first_signal_waits_for_the_tile_in_hand_and_handlers_are_restored(number):
    before, finished = signal.getsignal(number), []

    def work(_context, key):
        if key == 1:
            os.kill(os.getpid(), number)
        finished.append(key)

    with pytest.raises(Stopped) as stopped, stoppable(), deferred():
        list(Serial().run(work, None, range(5)))

    assert finished == [0, 1]
    assert stopped.value.number == number
    assert signal.getsignal(number) is before
    assert not is_stopping()


@POSIX
def test_second_signal_stops_at_once():
    reached = []

    def work():
        with stoppable(), deferred():
            for step in range(5):
                reached.append(step)
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        work()
    assert reached == [0, 1]


@POSIX
def test_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_run_that_a_signal_stopped_leaves_nothing_and_is_resumed(tmp_path, scene, number, n_workers):
    arguments = ("tile", scene, "--method", "kmeans", "--tile-size", 64, "--classes", 4)
    whole = ("--out", tmp_path / "whole.gpkg", "--class-raster", tmp_path / "whole.tif", "-j", 0)
    assert run_command(*arguments, *whole).code == 0
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    parts = (*arguments, "--out", tmp_path / "x.gpkg", "--class-raster", tmp_path / "x.tif")
    process = subprocess.Popen(
        command(*parts, "-j", n_workers), env=os.environ | {"TMPDIR": str(scratch)}, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(tmp_path.glob("x.run/stages/*")) and time.monotonic() < until:
        time.sleep(0.01)

    os.killpg(process.pid, number)
    _, text = process.communicate(timeout=60)

    assert process.returncode == 128 + number
    assert "--resume" in text.splitlines()[-1]
    assert "Traceback" not in text
    assert not list(scratch.iterdir())
    assert not [path for path in tmp_path.rglob(".*") if "part" in path.name]
    assert run_command(*parts, "-j", 0, "--resume").code == 0
    assert (tmp_path / "x.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_keyboard_interrupt_of_a_command_is_reported_with_its_exit_code(monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupt)

    ended = run_command("config")

    assert (ended.code, len(ended.lines)) == (130, 1)


@POSIX
def test_limit_of_the_address_space_that_is_too_low_is_refused_in_one_line():
    resource = pytest.importorskip("resource")
    limit = (400 << 20, resource.RLIM_INFINITY)
    done = subprocess.run(
        command("config"), capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "ulimit -v" in done.stderr
