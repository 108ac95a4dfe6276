"""A whole job where calls of POSIX fail or are absent as on Windows, and the rules of names and locks there."""

import ast
import filecmp
import os
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import geopandas
import pytest

import geoseg
from geoseg.errors import OutputError, RunError
from geoseg.output import system
from geoseg.output.names import check_output_name
from geoseg.output.paths import Outputs
from geoseg.run.lock import holder_of, lock_file, locked_outputs

from .windows.stand_in import ABSENT, locking

FOLDER = Path(__file__).parent / "windows"
PACKAGE = Path(geoseg.__file__).parent
# The commands of a job, each in the same process, in the current folder; {…} are the fixtures.
COMMANDS = """
import sys
from geoseg.cli import main

def run(line):
    sys.argv = ["geoseg", *line.split()]
    try:
        main.main()
    except SystemExit as ended:
        if ended.code:
            raise AssertionError(f"{line} ended with {ended.code}") from None

if __name__ == "__main__":
    for line in sys.argv[1].splitlines():
        run(line)
"""


def run_as_on_windows(folder, lines):
    """Run commands of geoseg in one process that is as on Windows, in a folder; return what it printed."""
    script = folder / "commands.py"
    script.write_text(COMMANDS)
    path = os.pathsep.join([str(FOLDER), str(PACKAGE.parent)])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONWARNDEFAULTENCODING": "1"}
    done = subprocess.run(
        [sys.executable, script.name, "\n".join(lines)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def same_polygons(one, other):
    one, other = (geopandas.read_file(path, layer="labels") for path in (one, other))
    return one.equals(other) and one.geometry.to_wkb().equals(other.geometry.to_wkb())


def test_stand_in_is_in_force_in_the_processes_of_the_tests(tmp_path):
    (tmp_path / "file").touch()
    code = """
import os, sys
exec(compile(sys.argv[1], "geoseg/probe.py", "exec"), {"__name__": "geoseg.probe"})
assert hasattr(os, "pread"), "libraries keep what they need"
"""
    probe = """
import os, signal, sys
from pathlib import Path
assert sys.platform == "win32"
assert not hasattr(os, "pread") and not hasattr(signal, "SIGHUP")
def is_refused(call, *arguments):
    try:
        call(*arguments)
    except (OSError, ImportError, EncodingWarning):
        return True
    return False
file = open("file", "rb")
assert is_refused(os.open, ".", os.O_RDONLY)
assert is_refused(os.fsync, file.fileno())
assert is_refused(Path("file").unlink) and is_refused(Path("file").rename, "other")
assert is_refused(Path("file").read_text)
file.close()
Path("file").rename("other")
def imported():
    import fcntl
assert is_refused(imported)
"""
    environment = os.environ | {"PYTHONPATH": str(FOLDER), "PYTHONWARNDEFAULTENCODING": "1"}
    subprocess.run([sys.executable, "-c", code, probe], cwd=tmp_path, env=environment, check=True, timeout=60)


def test_one_module_alone_names_what_some_systems_lack():
    found = {
        (path.relative_to(PACKAGE).as_posix(), f"{node.value.id}.{node.attr}")
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.attr in ABSENT.get(node.value.id, ())
    }

    # names.py falls back where there is no pathconf.
    assert {path for path, _ in found} == {"output/system.py", "output/names.py"}
    assert {name for path, name in found if path == "output/names.py"} == {"os.pathconf"}


@pytest.mark.slow
def test_whole_job_gives_the_same_results_where_calls_fail_as_on_windows(
    finished_run, landscape, quick_config, tmp_path
):
    inputs = tmp_path / "in"
    inputs.mkdir()
    shutil.copy(landscape, inputs / "scene.tif")
    shutil.copy(quick_config, inputs / "quick.yaml")
    settings = "--config in/quick.yaml --device cpu --classes 12"
    outputs = "--class-raster {0}/classes.tif --region-raster {0}/regions.tif"
    interrupted = tmp_path / "resumed"
    shutil.copytree(finished_run / "labels.run", interrupted / "labels.run")
    (interrupted / "labels.run" / "run.json").unlink()
    for stage in ("outline.*", "label.*", "classify.*"):
        for folder in (interrupted / "labels.run" / "stages").glob(stage):
            shutil.rmtree(folder)
    for name in ("tiled", "parts", "outlines"):
        (tmp_path / name).mkdir()

    printed = run_as_on_windows(
        tmp_path,
        [
            f"tile in/scene.tif --out tiled/labels.gpkg --workers 2 --report tiled/report.html {settings} "
            f"--class-layer {outputs.format('tiled')}",
            f"tile in/scene.tif --out resumed/labels.gpkg --workers 0 --resume --class-layer {settings} "
            + outputs.format("resumed"),
            f"plan in/scene.tif --run-dir parts/run {settings}",
            *(f"work --run-dir parts/run --part {part}/2 --workers 0" for part in (1, 2)),
            "status --run-dir parts/run",
            f"finish --run-dir parts/run --out parts/labels.gpkg --class-layer {outputs.format('parts')}",
            "outline tiled/classes.tif --out outlines/classes.gpkg --workers 2",
            "tile in/scene.tif --out tiled/labels.gpkg --workers 0 --overwrite --class-layer " + settings,
        ],
    )  # fmt: skip

    assert "cannot be locked" not in printed
    for name in ("tiled", "resumed", "parts"):
        for raster in ("classes.tif", "regions.tif"):
            assert filecmp.cmp(tmp_path / name / raster, finished_run / raster, shallow=False), f"{name}/{raster}"
        assert same_polygons(tmp_path / name / "labels.gpkg", finished_run / "labels.gpkg")
    assert "</html>" in (tmp_path / "tiled" / "report.html").read_text(encoding="utf-8")
    assert len(geopandas.read_file(tmp_path / "outlines" / "classes.gpkg", layer="labels"))
    left = [path for path in tmp_path.rglob("*") if path.name.endswith((".geoseg-part", ".geoseg-lock", ".part"))]
    assert not left


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aux.gpkg", "is the name of a device of Windows"),
        ("NUL", "is the name of a device of Windows"),
        ("com1.tif", "is the name of a device of Windows"),
        ("lpt9.class.tif", "is the name of a device of Windows"),
        ("a:b.gpkg", "contains ':'"),
        ("what?.gpkg", r"contains '\?'"),
        ("labels.gpkg.", "ends in a dot or a space"),
        ("labels.gpkg ", "ends in a dot or a space"),
    ],
)
def test_name_that_windows_refuses_is_refused_there_before_the_work(tmp_path, monkeypatch, name, message):
    assert system.name_refused(name) is None

    monkeypatch.setattr(system, "is_windows", lambda: True)

    with pytest.raises(OutputError, match=message):
        check_output_name(tmp_path / name)


@pytest.mark.parametrize("name", ["auxiliary.gpkg", "com10.tif", "conus.tif", "nul_a.tif", "com.tif", "a.b.gpkg"])
def test_name_that_resembles_a_device_is_allowed(name):
    assert system.windows_problem(name) is None


def test_outputs_that_differ_in_case_alone_are_one_file_where_the_disk_folds_case(tmp_path):
    one, other = tmp_path / "Data", tmp_path / "dATA"
    one.mkdir()
    outputs = Outputs(one / "a.gpkg", class_raster=one / "Classes.tif", region_raster=one / "classes.tif")
    outputs.check([], overwrite=False)

    system.folds_case.cache_clear()
    other.symlink_to(one)  # the folder is now found under both names, as on a disk that folds case
    try:
        with pytest.raises(OutputError, match="two output files"):
            outputs.check([], overwrite=False)
        with pytest.raises(OutputError, match="is the scene itself"):
            Outputs(one / "SCENE.gpkg").check([str(one / "scene.gpkg")], overwrite=True)
    finally:
        system.folds_case.cache_clear()


# --- locks and processes ------------------------------------------------------------------------------------------


@pytest.fixture
def _locks_of_windows(monkeypatch):
    """Locks on bytes instead of `fcntl`, as on Windows."""
    module = types.ModuleType("msvcrt")
    module.LK_NBLCK, module.locking = 2, locking
    monkeypatch.setitem(sys.modules, "msvcrt", module)
    monkeypatch.setitem(sys.modules, "fcntl", None)  # importing it fails


@pytest.mark.usefixtures("_locks_of_windows")
def test_locks_on_bytes_exclude_and_share_as_those_of_posix_do(tmp_path):
    path = tmp_path / "lock"

    with (
        lock_file(path, what="it", advice="wait.", shared=True),
        lock_file(path, what="it", advice="wait.", shared=True),
    ):
        assert holder_of(path).startswith(f"process {os.getpid()} on ")
        with pytest.raises(RunError, match=f"another run uses it .process {os.getpid()} on "):
            lock_file(path, what="it", advice="wait.")
    assert holder_of(path) is None
    with lock_file(path, what="it", advice="wait."), pytest.raises(RunError, match="another run uses it"):
        lock_file(path, what="it", advice="wait.", shared=True)
    lock_file(path, what="it", advice="wait.").close()


def test_lock_on_an_output_is_removed_where_open_files_cannot_be(tmp_path, monkeypatch):
    unlink, attempts = Path.unlink, []

    def unlink_closed(path, missing_ok=False):
        attempts.append(path)
        if len(attempts) == 1:
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_closed)

    with locked_outputs([tmp_path / "a.gpkg"]):
        pass

    assert len(attempts) == 2
    assert not list(tmp_path.iterdir())


def test_process_exists_until_it_has_ended():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert system.is_running(process.pid)
        system.end_process(process.pid)
        assert process.wait(30) == -signal.SIGKILL
    assert not system.is_running(process.pid)
    system.end_process(process.pid)  # it is gone, which is no error


@pytest.mark.parametrize("windows", [False, True])
def test_rename_waits_for_another_program_on_windows_only(tmp_path, monkeypatch, windows):
    replace, attempts = Path.replace, []

    def replace_when_closed(path, target):
        attempts.append(path)
        if len(attempts) < 3:
            raise PermissionError(13, "Permission denied", str(path))
        return replace(path, target)

    (tmp_path / "new").write_text("new")
    monkeypatch.setattr(Path, "replace", replace_when_closed)
    monkeypatch.setattr(system, "is_windows", lambda: windows)

    if windows:
        system.replace_file(tmp_path / "new", tmp_path / "old")
        assert (tmp_path / "old").read_text() == "new"
    else:
        with pytest.raises(PermissionError):
            system.replace_file(tmp_path / "new", tmp_path / "old")
        assert len(attempts) == 1
