"""The QGIS plugin in QGIS: algorithms by qgis_process, failures, cancelled runs, and the application on a screen.

Skipped where QGIS is missing (Debian: qgis python3-qgis qgis-providers; xvfb for the application).
"""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from geoseg_qgis.runner.installation import find_tools
from PIL import Image

from geoseg.synthetic.scene import SceneOptions, write_scene

from .conftest import fields, run_command, write_raster
from .programs import children_of, geoseg_program, is_running_after, served_program
from .test_qgis_runner import write_wheel
from .test_scene import damage

PLUGINS = Path(__file__).parents[1] / "qgis_plugin"
PROGRAM = shutil.which("qgis_process.bin") or shutil.which(
    "qgis_process"
)  # .bin: Debian's script passes a wrong option
LOCAL = "-j 0"
QUICK = ("METHOD=kmeans", f"FURTHER={LOCAL}")

pytestmark = [pytest.mark.qgis, pytest.mark.slow, pytest.mark.xdist_group("qgis")]


@functools.cache
def missing():
    """Return why qgis_process is not available; "" if it is."""
    if PROGRAM is None:
        return "there is no qgis_process"
    completed = subprocess.run(
        ["/usr/bin/python3", "-c", "import qgis.core"], capture_output=True, text=True, check=False
    )
    return completed.stderr.strip().rpartition("\n")[2]


@pytest.fixture(scope="module")
def variables(tmp_path_factory):
    """Environment variables of a QGIS with a new profile, in which the plugin is enabled, and of geoseg on the PATH.

    Compiled functions are stored beside the package, as in any process of the tests.
    """
    if missing():
        pytest.skip(f"QGIS is not available: {missing()}")
    folder = tmp_path_factory.mktemp("qgis")
    geoseg_program(folder / "bin")
    made = {
        "PATH": f"/usr/bin:{folder / 'bin'}:/bin",  # QGIS takes the Python that comes first
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "QGIS_PLUGINPATH": str(PLUGINS),
        "QT_QPA_PLATFORM": "offscreen",
        "OMP_NUM_THREADS": "1",
    }
    made |= {name: value for name, value in os.environ.items() if name == "NUMBA_CACHE_DIR"}
    subprocess.run(
        [PROGRAM, "plugins", "enable", "geoseg_qgis"], env=made, check=True, capture_output=True, timeout=120
    )
    return made


@pytest.fixture(scope="module")
def served(variables, tmp_path_factory, command_server):
    """The same variables with a geoseg on the PATH that starts at once, for what does not concern its process."""
    folder = tmp_path_factory.mktemp("served")
    served_program(folder / "bin", command_server)
    return {**variables, "PATH": f"/usr/bin:{folder / 'bin'}:/bin"}


@pytest.fixture
def qgis_process(served):
    """Return a function that runs qgis_process and returns its exit code and its output."""

    def run(*arguments, **changed):
        completed = subprocess.run(
            [PROGRAM, *map(str, arguments)],
            env={**served, **changed},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        return completed.returncode, completed.stdout

    return run


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A synthetic scene of 256 × 200 pixels, with its classes beside it."""
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    write_scene(path, SceneOptions(shape=(200, 256), seed=3), truth=path.with_name("truth.tif"))
    return path


def results_of(text):
    """Return the results that qgis_process lists."""
    return dict(re.findall(r"^(\w+):\t(.*)$", text.partition("Results")[2], re.MULTILINE))


def n_colors(path):
    """Return the number of different colours of a picture."""
    with Image.open(path) as picture:
        return len(picture.convert("RGB").getcolors(1 << 24))


def test_provider_lists_an_algorithm_for_each_command(qgis_process):
    code, text = qgis_process("list")

    assert code == 0
    assert re.findall(r"geoseg:(\w+)\t", text) == [
        "classify",
        "evaluate",
        "name",
        "outline",
        "preview",
        "segment",
        "tune",
    ]


def test_missing_geoseg_is_reported_with_what_to_do(qgis_process, scene, tmp_path, variables):
    code, text = qgis_process(
        "run", "geoseg:segment", "--", f"SCENE={scene}", f"OUT={tmp_path / 'a.gpkg'}", PATH="/usr/bin:/bin"
    )

    assert code == 1
    assert "geoseg is not installed" in text
    assert "Install geoseg…" in text
    assert variables["HOME"] in text  # where it was expected


def test_help_of_a_parameter_is_that_of_the_command_line(qgis_process):
    code, text = qgis_process("help", "geoseg:segment")

    assert code == 0
    assert "Merge regions with fewer than N pixels into a neighbour. [default: 64]" in text
    assert "[required]" not in text


def test_segment_writes_what_the_command_line_writes(qgis_process, scene, tmp_path, variables):
    out, classes = tmp_path / "a.gpkg", tmp_path / "a.tif"
    run_command("tile", scene, "--out", tmp_path / "b.gpkg", "--class-raster", tmp_path / "b.tif", "--method", "kmeans",
                "--classes", 5, "--bands", "1,2", "-j", 0)  # fmt: skip

    code, text = qgis_process("run", "geoseg:segment", "--", f"SCENE={scene}", f"OUT={out}", f"CLASS_RASTER={classes}",
                              "CLASSES=5", "BANDS=1,2", "CLASS_LAYER=1", *QUICK, PATH=variables["PATH"])  # fmt: skip

    assert code == 0, text
    assert results_of(text) == {"OUT": str(out), "CLASS_RASTER": str(classes)}
    assert "100 - done" in text
    assert "Find classes" in text
    assert [name for name, _ in pyogrio.list_layers(out)][:2] == ["labels", "classes"]
    with rasterio.open(classes) as ours, rasterio.open(tmp_path / "b.tif") as theirs:
        assert np.array_equal(ours.read(), theirs.read())


@pytest.mark.parametrize("kind", ["extent", "polygons"])
def test_area_of_interest_limits_the_segmentation(qgis_process, scene, tmp_path, kind):
    with rasterio.open(scene) as raster:
        left, top = raster.transform @ (40, 30)
        right, bottom = raster.transform @ (140, 90)
        crs = raster.crs.to_string()
    area = f"EXTENT={left},{right},{bottom},{top} [{crs}]"
    if kind == "polygons":
        ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        document = {
            "type": "FeatureCollection",
            "crs": {"type": "name", "properties": {"name": crs}},
            "features": [{"type": "Feature", "properties": {}, "geometry": geometry}],
        }
        (tmp_path / "area.geojson").write_text(json.dumps(document))
        area = f"AOI={tmp_path / 'area.geojson'}"
    out = tmp_path / "a.gpkg"

    code, text = qgis_process("run", "geoseg:segment", "--", f"SCENE={scene}", f"OUT={out}", area, *QUICK)

    assert code == 0, text
    assert pyogrio.read_dataframe(out, layer="labels")["pixels"].sum() == 100 * 60


def test_outline_makes_polygons_of_labels_with_statistics(qgis_process, scene, tmp_path):
    labels, out = scene.with_name("truth.tif"), tmp_path / "a.fgb"

    code, text = qgis_process(
        "run", "geoseg:outline", "--", f"LABELS={labels}", f"VALUES={scene}", f"OUT={out}", f"FURTHER={LOCAL}"
    )

    frame = pyogrio.read_dataframe(out)
    assert code == 0, text
    assert frame["pixels"].sum() == 200 * 256
    assert "mean_1" in frame


def test_preview_writes_a_picture_of_the_window_and_a_page_that_shows_it(qgis_process, scene, tmp_path):
    with rasterio.open(scene) as raster:
        left, top = raster.transform @ (20, 10)
        right, bottom = raster.transform @ (84, 74)

    code, text = qgis_process(
        "run", "geoseg:preview", "--", f"SCENE={scene}", f"OUT={tmp_path / 'p.png'}", "METHOD=kmeans",
        f"WINDOW={left},{right},{bottom},{top}",
    )  # fmt: skip

    assert code == 0, text
    assert "--window=20,10,64,64" in text
    assert n_colors(tmp_path / "p.png") > 10
    assert results_of(text)["HTML"].endswith(".html")


def test_tune_writes_a_chart_and_a_page_with_the_lines_of_configuration(qgis_process, scene, tmp_path):
    code, text = qgis_process(
        "run", "geoseg:tune", "--", f"SCENE={scene}", f"OUT={tmp_path / 't.html'}", f"REPORT={tmp_path / 't.json'}",
        "METHOD=kmeans", "CLASSES=4", "WINDOWS=1", "WINDOW_SIZE=64", "SCALES=16", "SIZES=8", "LEVELS=2",
    )  # fmt: skip

    assert code == 0, text
    assert "Compare parameters" in text
    assert len(json.loads((tmp_path / "t.json").read_text())["trials"]) == 8
    assert "# geoseg tune: " in text
    assert results_of(text)["HTML"].endswith(".html")
    assert "<svg" in (tmp_path / "t.html").read_text()


def test_evaluate_returns_scores_as_numbers(qgis_process, scene, tmp_path):
    truth = scene.with_name("truth.tif")

    code, text = qgis_process(
        "run", "geoseg:evaluate", "--", f"CLASSES={truth}", f"REFERENCE={truth}", f"REPORT={tmp_path / 's.json'}"
    )

    assert code == 0, text
    assert (results_of(text)["OA"], results_of(text)["MIOU"]) == ("1", "1")
    assert json.loads((tmp_path / "s.json").read_text())["oa"] == 1


def test_failing_scene_is_reported_in_the_words_of_geoseg(qgis_process, tmp_path):
    path = write_raster(tmp_path / "scene.tif", fields((100, 100)), crs=None)
    expected = run_command("tile", path, "--out", tmp_path / "b.gpkg").lines[-1].removeprefix("geoseg: ")

    code, text = qgis_process("run", "geoseg:segment", "--", f"SCENE={path}", f"OUT={tmp_path / 'a.gpkg'}", *QUICK)

    assert code == 1
    assert f"ERROR:\t{expected}" in text
    assert "Traceback" not in text


def test_existing_file_is_kept_and_the_error_names_the_parameter(qgis_process, scene, tmp_path):
    out = tmp_path / "a.gpkg"
    out.write_text("mine")

    code, text = qgis_process("run", "geoseg:segment", "--", f"SCENE={scene}", f"OUT={out}", *QUICK)

    assert code == 1
    assert "--overwrite is “Replace existing files”" in text
    assert out.read_text() == "mine"


def test_tile_that_fails_is_reported_and_the_others_are_written(qgis_process, tmp_path):
    path = write_raster(tmp_path / "scene.tif", fields(), tiled=True, blockxsize=32, blockysize=32, compress="deflate")
    damage(path, 4, 4)

    code, text = qgis_process(
        "run", "geoseg:segment", "--", f"SCENE={path}", f"OUT={tmp_path / 'a.gpkg'}", "TILE_SIZE=96", *QUICK
    )

    assert code == 0, text
    assert "1 tile failed and is a hole in the result" in text
    assert "failed_tiles" in [name for name, _ in pyogrio.list_layers(tmp_path / "a.gpkg")]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_running_when_qgis_process_is_ended(variables, scene, tmp_path, name):
    out = tmp_path / "a.gpkg"
    command = [PROGRAM, "run", "geoseg:segment", "--", f"SCENE={scene}", f"OUT={out}", "TILE_STEPS=900", "WORKERS=1"]
    process = subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL
    )
    before = ""
    while "Train the network" not in before:
        character = process.stdout.read(1)
        assert character, f"it has ended early: {before}"
        before += character
    children = children_of(process.pid)

    process.send_signal(getattr(signal, name))
    after = process.stdout.read()
    process.wait(timeout=60)
    process.stdout.close()

    assert children
    assert not [pid for pid in children if is_running_after(pid, seconds=40)]
    assert not out.exists()
    assert out.with_suffix(".run").is_dir()
    if name == "SIGINT":  # qgis_process cancels; it has no time for that at the others
        assert process.returncode == 1
        assert "The run was cancelled." in after
        assert "“Continue the interrupted run”" in after


def test_interrupted_run_is_continued(qgis_process, scene, tmp_path):
    out = tmp_path / "a.gpkg"
    run_command("tile", scene, "--out", out, "--method", "kmeans", "-j", 0, "--keep")
    out.unlink()

    code, text = qgis_process("run", "geoseg:segment", "--", f"SCENE={scene}", f"OUT={out}", "RESUME=1", *QUICK)

    assert code == 0, text
    assert out.exists()


INSTALL = """
import sys
sys.path[:0] = [{plugins!r}, "/usr/share/qgis/python/plugins"]
from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QTimer
application = QgsApplication([], True)
application.initQgis()
from geoseg_qgis.install_dialog import InstallDialog
dialog = InstallDialog()
dialog._source.setText(sys.argv[1])
dialog._cpu.setChecked(False)
dialog._install.click()
while dialog._worker is not None:
    application.processEvents()
print(dialog._state.text())
"""


def test_dialog_installs_geoseg_where_the_plugin_finds_it(variables, tmp_path, qgis_process, scene):
    code = INSTALL.format(plugins=str(PLUGINS))
    changed = {**variables, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1"}
    if not find_tools(changed).python:
        pytest.skip("the Python of the system is older than 3.11, or has no venv")

    completed = subprocess.run(
        ["/usr/bin/python3", "-c", code, str(write_wheel(tmp_path))], env=changed, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip

    assert "geoseg 9.9 is installed" in completed.stdout, completed.stderr
    arguments = ("run", "geoseg:segment", "--", f"SCENE={scene}", f"OUT={tmp_path / 'a.gpkg'}")
    qgis_process("plugins", "enable", "geoseg_qgis", **changed)
    _, text = qgis_process(*arguments, **changed)
    assert "geoseg 9.9 from the environment of the plugin" in text
    assert "options may differ in 9.9" in text


def test_application_shows_the_dialog_and_loads_the_result_with_its_style(served, scene, tmp_path):
    if shutil.which("xvfb-run") is None or shutil.which("qgis") is None:
        pytest.skip("the application needs qgis and xvfb-run")
    command = [sys.executable, PLUGINS / "pictures.py", scene, tmp_path, "kmeans"]

    completed = subprocess.run(command, env=served, capture_output=True, text=True, check=False, timeout=300)

    assert completed.returncode == 0, completed.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert "geoseg" in report["menu"]
    assert report["layers"] == {"scene": "multibandcolor", "scene: polygons": "categorizedSymbol"}
    for name in ("dialog", "result", "install"):
        assert n_colors(tmp_path / f"{name}.png") > 50
