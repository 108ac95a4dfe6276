import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
from rich.console import Console
from rich.progress import Progress
from shapely import box

from geoseg.cli import progress_bars
from geoseg.config import named_configs
from geoseg.output.paths import Outputs
from geoseg.progress import Note, StageAdvanced, StageFinished, StageReporter, StageStarted
from geoseg.steps import classify, learn, segment, vectorize
from geoseg.steps.write import Result

from .conftest import fields, rest_slow, run_command, write_raster
from .test_scene import damage

N_TILES = 4  # of the scene in tiles of 96


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """A scene of 150 × 170 pixels with square fields and a hole."""
    pixels = fields()
    pixels[:, 60:80, 100:130] = 0
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", pixels, nodata=0)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, scene, quick_config):
    """The folder of a run that has ended well, with all its results, and how the command ended."""
    folder = tmp_path_factory.mktemp("finished")
    ended = run_command(
        "tile", scene, "--out", folder / "labels.gpkg", "--class-raster", folder / "classes.tif", "--region-raster",
        folder / "regions.tif", "--config", quick_config, "--workers", 0, "--device", "cpu",
    )  # fmt: skip
    return folder, ended


@pytest.fixture
def damaged_scene(make_raster):
    path = make_raster(fields(), "damaged.tif", tiled=True, blockxsize=32, blockysize=32, compress="deflate")
    damage(path, 4, 4)  # in the last tile
    return path


def only_line(ended, code=1):
    """Return the one line that a command which ended with `code` has said."""
    assert ended.code == code, ended.text
    (line,) = ended.lines
    assert line.startswith("geoseg: ")
    return line


def classes(path):
    with rasterio.open(path) as raster:
        return raster.read(1)


def valid(path):
    with rasterio.open(path) as raster:
        return raster.dataset_mask() > 0


def labels(path):
    return pyogrio.read_dataframe(path, layer="labels")


# --- it works -----------------------------------------------------------------------------------------------------


def test_run_ends_with_0_and_tells_how_far_it_was_in_plain_lines(finished):
    folder, ended = finished

    assert ended.code == 0
    assert all(line.startswith("geoseg: ") for line in ended.lines)
    assert "\x1b" not in ended.text
    assert f"segment tiles               {N_TILES}/{N_TILES}" in ended.text
    assert re.search(r"\d+ regions of \d class(es)? in \d+ s: ", ended.lines[-1])
    assert str(folder / "labels.gpkg") in ended.lines[-1]


def test_run_leaves_the_results_and_a_report_and_nothing_else(finished):
    folder, _ = finished

    assert sorted(path.name for path in folder.iterdir()) == [
        "classes.qml", "classes.tif", "classes.tif.aux.xml", "labels.classes.json", "labels.gpkg", "labels.run",
        "regions.tif",
    ]  # fmt: skip
    assert sorted(path.name for path in (folder / "labels.run").iterdir()) == [
        "lock", "manifest.json", "run-id", "run.json",
    ]  # fmt: skip


def test_report_says_what_was_made_of_what_and_how(finished, scene):
    folder, _ = finished

    report = json.loads((folder / "labels.run" / "run.json").read_text())

    assert report["scene"] == str(scene)
    assert report["config"]["tiles"]["size"] == 96
    assert {"geoseg", "python", "torch", "GDAL"} <= set(report["versions"])
    assert report["tiles"] == {"n_rows": 2, "n_cols": 2, "states": ["done"] * N_TILES}
    assert report["failed"] == {}
    assert report["grid"]["shape"] == list(rasterio.open(scene).shape)
    assert set(report["seconds"]) >= {
        "survey",
        "learn",
        "superpixels",
        "segment",
        "classify",
        "label",
        "merge",
        "outline",
    }
    assert report["n_regions"] == len(labels(folder / "labels.gpkg"))
    assert report["input"]["scene.tif"]["size"] == scene.stat().st_size
    assert len(report["input"]["scene.tif"]["blake2b"]) == 32


@pytest.mark.slow
def test_quiet_run_says_nothing(geoseg_tile, scene):
    assert (geoseg_tile(scene, "-q").code, geoseg_tile(scene, "-q", "--overwrite").text) == (0, "")


def test_scene_that_the_command_makes_can_be_segmented(tmp_path, geoseg_tile):
    made = tmp_path / "made.tif"

    assert run_command("synthetic", made, "--size", "120x100", "--truth", tmp_path / "truth.tif").code == 0

    with rasterio.open(made) as raster:
        assert (raster.width, raster.height, raster.count) == (120, 100, 3)
    assert geoseg_tile(made).code == 0


@pytest.mark.parametrize("suffix", rest_slow([".fgb", ".parquet"]))
def test_suffix_of_the_output_decides_about_the_format(tmp_path, geoseg_tile, scene, finished, suffix):
    out = tmp_path / f"labels{suffix}"

    assert geoseg_tile(scene, "--out", out).code == 0

    frame = geopandas.read_parquet(out) if suffix == ".parquet" else geopandas.read_file(out)
    assert len(frame) == len(labels(finished[0] / "labels.gpkg"))
    assert frame.crs == "EPSG:32631"


def test_options_decide_over_the_configuration(tmp_path, geoseg_tile, scene):
    out = tmp_path / "few.gpkg"

    assert (
        geoseg_tile(scene, "--out", out, "--classes", 2, "--min-pixels", 200, "--bands", "3,1", "--seed", 3).code == 0
    )

    report = json.loads((tmp_path / "few.run" / "run.json").read_text())
    assert report["config"]["bands"] == [3, 1]
    assert (report["config"]["seed"], report["n_classes"]) == (3, 2)
    layer = labels(out)
    assert {"mean_3", "mean_1"} <= set(layer.columns)
    assert layer["pixels"].min() >= 200


# --- one line for everything that the user can repair ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--tile-size", 10), "tiles.size is 10"),
        (("--halo", 0), "halo (0 px) is too small"),
        (("--halo", 60), "halo (60 px) must be at most half"),
        (("--classes", 1), "classify.classes is 1"),
        (("--classes", -3), "classify.classes is -3"),
        (("--simplify", "nan"), "polygons.simplify is nan"),
        (("--max-vertices", 2), "polygons.max_vertices is 2"),
        (("--min-pixels", -1), "polygons.min_pixels is -1"),
        (("--training", "tile", "--tile-steps", 0), "tile_steps 0"),
        (("--bands", "1,4"), "bands 1 to 3; there is no band 4"),
        (("--bands", "0"), "bands [0]"),
        (("--config", "dron"), "no config 'dron'"),
        (("--aoi", "absent.gpkg"), "area of interest absent.gpkg cannot be read"),
        (("--workers", -1), "workers (-1)"),
        (("--workers", 1, "--scheduler", "tcp://localhost:1"), "give one of them"),
        (("--resume", "--overwrite"), "give one of them"),
    ],
)
def test_wrong_option_is_reported_in_one_line(tmp_path, geoseg_tile, scene, options, reason):
    assert reason in only_line(geoseg_tile(scene, *options))
    assert not list(tmp_path.rglob("*.arrays"))  # no work was begun
    assert not (tmp_path / "labels.gpkg").exists()


def test_name_of_two_lines_is_reported_in_one(geoseg_tile):
    assert "there is no file two lines.tif" in only_line(geoseg_tile("two\nlines.tif"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("labels.shp", "it can end in .gpkg, .fgb, .parquet"),
        ("labels", "it can end in .gpkg"),
        ("absent/labels.gpkg", "is not a folder"),
        ("file/labels.gpkg", "is not a folder"),
        ("folder.gpkg", "is a folder"),
    ],
)
def test_output_that_cannot_be_written_is_reported_before_the_work_starts(tmp_path, geoseg_tile, scene, name, reason):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.gpkg").mkdir()

    assert reason in only_line(geoseg_tile(scene, "--out", tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.gpkg"]


@pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="needs a folder that not even the administrator can write to"
)
def test_output_in_a_folder_that_cannot_be_written_to_is_reported_before_the_work_starts(geoseg_tile, scene):
    assert "could not be written" in only_line(geoseg_tile(scene, "--out", "/proc/self/labels.gpkg"))


@pytest.mark.parametrize("option", ["--out", "--class-raster", "--region-raster"])
def test_result_that_exists_is_left_alone(tmp_path, geoseg_tile, scene, option):
    precious = tmp_path / ("old.gpkg" if option == "--out" else "old.tif")
    precious.write_text("years of work")

    line = only_line(geoseg_tile(scene, option, precious))

    assert f"{precious} exists" in line
    assert "--overwrite" in line
    assert precious.read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == [precious.name]


def test_classes_that_are_told_beside_other_polygons_are_left_alone(tmp_path, geoseg_tile, scene):
    precious = tmp_path / "labels.classes.json"
    precious.write_text("years of work")

    line = only_line(geoseg_tile(scene, "--out", tmp_path / "labels.fgb"))

    assert f"{precious} exists" in line
    assert precious.read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == [precious.name]


@pytest.mark.parametrize("text", ["many", "AUTO", "1.5", "", "--2", "2-", "²"])
def test_number_of_classes_that_is_none_is_misspelt(geoseg_tile, scene, text):
    ended = geoseg_tile(scene, "--classes", text)

    assert ended.code == 2
    assert "is not a number of classes; write one such as 12, or auto" in ended.text


def test_result_that_exists_is_replaced_when_the_user_says_so(tmp_path, geoseg_tile, scene, finished):
    (tmp_path / "labels.gpkg").write_text("to be replaced")

    assert geoseg_tile(scene, "--overwrite").code == 0

    assert labels(tmp_path / "labels.gpkg").equals(labels(finished[0] / "labels.gpkg"))


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_scene_is_never_overwritten_by_its_result(make_raster, geoseg_tile, options):
    scene = make_raster(fields((64, 64)))
    before = scene.read_bytes()

    assert "is the scene itself" in only_line(geoseg_tile(scene, "--class-raster", scene, *options))
    assert scene.read_bytes() == before


def test_area_of_interest_is_never_overwritten_by_a_result(tmp_path, geoseg_tile, scene):
    area = tmp_path / "area.gpkg"
    geopandas.GeoSeries([box(500_000, 4_999_000, 501_000, 5_000_000)], crs="EPSG:32631").to_file(area)
    before = area.read_bytes()

    assert "is the area of interest" in only_line(geoseg_tile(scene, "--aoi", area, "--out", area, "--overwrite"))
    assert area.read_bytes() == before


def test_two_results_of_one_name_are_refused(tmp_path, geoseg_tile, scene):
    same = ("--class-raster", tmp_path / "a.tif", "--region-raster", tmp_path / "a.tif")

    assert "same name" in only_line(geoseg_tile(scene, *same))


def test_folder_that_is_no_run_folder_is_left_alone(tmp_path, geoseg_tile, scene):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_text("")

    assert "is not a run folder" in only_line(geoseg_tile(scene, "--run-dir", folder, "--overwrite"))
    assert [path.name for path in folder.iterdir()] == ["cat.jpg"]


def test_disk_without_room_is_reported_before_the_work_starts(geoseg_tile, scene, monkeypatch, tmp_path):
    monkeypatch.setattr("geoseg.run.resources._BYTES_PER_PIXEL", 10**15)

    assert "Free some space" in only_line(geoseg_tile(scene, "--run-dir", tmp_path / "far" / "away"))


def test_gpu_that_is_not_there_is_reported(geoseg_tile, scene, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    assert "torch finds no GPU" in only_line(geoseg_tile(scene, "--device", "cuda"))


# --- usage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("tile",),
        ("tile", "scene.tif"),
        ("tile", "scene.tif", "--out", "a.gpkg", "--classses", "3"),
        ("tile", "scene.tif", "--out", "a.gpkg", "--classes", "many"),
        ("tile", "scene.tif", "--out", "a.gpkg", "--bands", "1,x"),
        ("tile", "scene.tif", "--out", "a.gpkg", "--bands", ""),
        ("tile", "scene.tif", "--out", "a.gpkg", "--training", "some"),
        ("synthetic", "made.tif", "--size", "large"),
        ("slice", "scene.tif"),
    ],
)
def test_wrong_usage_ends_with_2(arguments):
    ended = run_command(*arguments)

    assert ended.code == 2
    assert "Traceback" not in ended.text
    assert "Error" in ended.text


@pytest.mark.parametrize("arguments", [("--help",), ("tile", "-h"), ("synthetic", "--help"), ("--version",)])
def test_help_ends_with_0(arguments, capsys):
    assert run_command(*arguments).code == 0
    assert "geoseg" in capsys.readouterr().out


# --- tiles that fail ----------------------------------------------------------------------------------------------


def test_tile_that_fails_is_a_hole_that_is_listed_and_the_others_are_there(tmp_path, geoseg_tile, damaged_scene):
    ended = geoseg_tile(damaged_scene, "--class-raster", tmp_path / "classes.tif")

    assert ended.code == 3
    assert "Traceback" not in ended.text
    assert any("tile 3 failed" in line and "cannot be read" in line for line in ended.lines)
    assert "1 tile failed" in ended.lines[-1]
    expected = np.ones((150, 170), bool)
    expected[96:, 96:] = False
    np.testing.assert_array_equal(classes(tmp_path / "classes.tif") > 0, expected)
    assert labels(tmp_path / "labels.gpkg")["pixels"].sum() == expected.sum()
    failed = pyogrio.read_dataframe(tmp_path / "labels.gpkg", layer="failed_tiles")
    assert failed["tile"].tolist() == [3]
    assert failed.geometry[0].area == (150 - 96) * (170 - 96) * 100
    assert "cannot be read" in failed["message"][0]
    report = json.loads((tmp_path / "labels.run" / "run.json").read_text())
    assert list(report["failed"]) == ["3"]
    assert report["tiles"]["states"] == ["done", "done", "done", "failed"]


def test_tile_that_fails_is_reported_even_by_a_quiet_run(geoseg_tile, damaged_scene):
    ended = geoseg_tile(damaged_scene, "-q")

    assert "1 tile failed" in only_line(ended, code=3)


def failing_at(number, whole):
    """Return a step that fails for one tile or block and is as it was for all others."""

    def step(job, at):
        return _fail() if at == number else whole(job, at)

    return step


STEPS = {  # function of a stage → its module
    "train_network": learn,
    "segment_block": segment,
    "segment_tile": segment,
    "gather_block": classify,
    "find_classes": classify,
    "label_tile": vectorize,
    "merge_pieces": vectorize,
    "outline_tile": vectorize,
}


@pytest.mark.parametrize("step", rest_slow(["segment_tile", "label_tile", "outline_tile"]))
def test_tile_that_fails_at_any_step_is_a_hole_of_exactly_its_core(tmp_path, geoseg_tile, scene, monkeypatch, step):
    monkeypatch.setattr(STEPS[step], step, failing_at(1, getattr(STEPS[step], step)))

    ended = geoseg_tile(scene, "--class-raster", tmp_path / "classes.tif")

    assert ended.code == 3
    expected = valid(scene)
    expected[:96, 96:] = False
    np.testing.assert_array_equal(classes(tmp_path / "classes.tif") > 0, expected)
    assert labels(tmp_path / "labels.gpkg")["pixels"].sum() == expected.sum()
    assert int(re.search(r"(\d+) regions", ended.text)[1]) == labels(tmp_path / "labels.gpkg")["region"].nunique()


@pytest.mark.parametrize("training", ["scene", "tile"])
@pytest.mark.parametrize("step", rest_slow(["segment_tile", "label_tile", "outline_tile"]))
def test_tile_that_failed_and_works_now_makes_the_result_whole(
    tmp_path, geoseg_tile, scene, monkeypatch, step, training
):
    options = ("--training", training, "--tile-steps", 2, "--class-raster", tmp_path / "classes.tif")
    assert geoseg_tile(scene, *options).code == 0
    unbroken = (tmp_path / "classes.tif").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(STEPS[step], step, failing_at(2, getattr(STEPS[step], step)))
        assert geoseg_tile(scene, *options, "--overwrite", "--keep").code == 3

    assert geoseg_tile(scene, *options, "--resume").code == 0

    assert (tmp_path / "classes.tif").read_bytes() == unbroken


@pytest.mark.parametrize("step", ["segment_block", "gather_block"])
def test_block_that_fails_ends_in_one_line_and_not_in_a_traceback(geoseg_tile, scene, monkeypatch, step):
    monkeypatch.setattr(STEPS[step], step, _fail)

    ended = geoseg_tile(scene)

    assert ended.code == 1
    assert any("out of luck" in line for line in ended.lines)
    assert all(line.startswith("geoseg: ") for line in ended.lines)


def test_run_of_which_every_tile_fails_ends_with_1(tmp_path, geoseg_tile, scene, monkeypatch):
    monkeypatch.setattr(vectorize, "label_tile", _fail)

    ended = geoseg_tile(scene)

    assert ended.code == 1
    assert "every tile failed" in ended.lines[-1]
    assert "out of luck" in ended.lines[-1]
    assert not (tmp_path / "labels.gpkg").exists()


def _fail(*_):
    raise RuntimeError("out\nof luck")


# --- broken off and gone on with ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", rest_slow(STEPS, quick=2))
def test_run_that_was_broken_off_goes_on_to_the_same_result(tmp_path, geoseg_tile, scene, finished, monkeypatch, step):
    out = ("--class-raster", tmp_path / "classes.tif", "--region-raster", tmp_path / "regions.tif")
    whole, calls = getattr(STEPS[step], step), []

    def broken(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2 or not step.endswith("_tile"):
            raise KeyboardInterrupt
        return whole(*arguments, **options)

    monkeypatch.setattr(STEPS[step], step, broken)
    ended = geoseg_tile(scene, *out)
    assert (ended.code, "--resume" in ended.lines[-1], "Traceback" in ended.text) == (130, True, False)
    assert not (tmp_path / "labels.gpkg").exists()
    monkeypatch.setattr(STEPS[step], step, whole)

    assert "continue it with --resume" in only_line(geoseg_tile(scene, *out))  # not without being asked
    assert geoseg_tile(scene, *out, "--resume").code == 0

    folder, _ = finished
    for name in ("classes.tif", "regions.tif"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert labels(tmp_path / "labels.gpkg").equals(labels(folder / "labels.gpkg"))


def test_run_does_not_go_on_with_another_configuration_and_says_what_differs(geoseg_tile, scene, monkeypatch):
    monkeypatch.setattr(vectorize, "label_tile", _interrupt)
    assert geoseg_tile(scene).code == 130

    line = only_line(geoseg_tile(scene, "--resume", "--classes", 4))

    assert "config.classify.classes: 5 → 4" in line
    assert "--overwrite" in line


def test_run_does_not_go_on_with_a_scene_that_has_changed(make_raster, geoseg_tile, monkeypatch):
    scene = make_raster(fields((100, 100)))
    monkeypatch.setattr(vectorize, "label_tile", _interrupt)
    assert geoseg_tile(scene).code == 130

    make_raster(fields((100, 100), seed=1))

    assert "input.scene.tif" in only_line(geoseg_tile(scene, "--resume"))


def _interrupt(*_):
    raise KeyboardInterrupt


def test_run_that_is_finished_says_so_and_keeps_its_results(tmp_path, geoseg_tile, scene):
    assert geoseg_tile(scene).code == 0
    before = (tmp_path / "labels.gpkg").read_bytes()

    again = geoseg_tile(scene, "--resume")

    assert again.code == 0
    assert "is finished: nothing is left to do" in again.text
    assert (tmp_path / "labels.gpkg").read_bytes() == before


def test_run_whose_work_is_kept_can_write_its_results_again(tmp_path, geoseg_tile, scene, finished, monkeypatch):
    assert geoseg_tile(scene, "--keep").code == 0
    monkeypatch.setattr(segment, "segment_tile", _fail)  # is not needed again

    assert geoseg_tile(scene, "--resume", "--class-raster", tmp_path / "classes.tif").code == 0

    assert (tmp_path / "classes.tif").read_bytes() == (finished[0] / "classes.tif").read_bytes()


def test_result_of_somebody_else_is_left_alone_by_a_run_that_goes_on(tmp_path, geoseg_tile, scene, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(vectorize, "label_tile", _interrupt)
        assert geoseg_tile(scene).code == 130
    other = tmp_path / "other.tif"
    other.write_text("years of work")

    assert f"{other} exists" in only_line(geoseg_tile(scene, "--resume", "--class-raster", other))
    assert other.read_text() == "years of work"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("where", [("--workers", "0"), ("--threads", "2")], ids=" ".join)
@pytest.mark.parametrize(("way", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_process_that_was_stopped_from_outside_goes_on_to_the_same_result(
    tmp_path, geoseg_tile, scene, finished, quick_config, way, code, where
):
    out = ("--class-raster", tmp_path / "classes.tif")
    program = (
        "import time; from geoseg.__main__ import start; from geoseg.steps import vectorize; "
        "vectorize.label_tile = lambda *_: time.sleep(60); "
    )
    process = subprocess.Popen(
        [
            sys.executable, "-c", f"{program}start()", "tile", str(scene), "--out", str(tmp_path / "labels.gpkg"),
            *map(str, out), "--config", str(quick_config), *where, "--device", "cpu",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not list(tmp_path.glob("labels.run/stages/classify.class_model/*/*.arrays")) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)

    process.send_signal(way)
    if way == signal.SIGINT:
        time.sleep(0.5)
        process.send_signal(way)  # the first one waits for the tile in hand
    _, said = process.communicate(timeout=30)

    assert process.returncode == code
    assert "Traceback" not in said
    assert ("interrupted" in said.splitlines()[-1]) == (way == signal.SIGINT)
    assert geoseg_tile(scene, *out, "--resume").code == 0
    assert (tmp_path / "classes.tif").read_bytes() == (finished[0] / "classes.tif").read_bytes()


# --- what is shown ------------------------------------------------------------------------------------------------


def shown_lines(work):
    """Return the plain lines that `work` had shown."""
    stream = io.StringIO()
    work(progress_bars.TextDisplay(Console(file=stream, width=40), None))
    return stream.getvalue().splitlines()


def test_long_step_tells_now_and_then_how_far_it_is(monkeypatch):
    clock = iter(np.arange(0.0, 10_000.0, 25.0))
    monkeypatch.setattr(progress_bars.time, "monotonic", lambda: next(clock))

    def work(progress):
        progress(StageStarted("segment", 100, 10**9))
        for done in range(1, 11):
            progress(StageAdvanced("segment", done, 100))

    lines = shown_lines(work)

    assert 2 <= len(lines) < 10
    assert all("segment tiles" in line and "/100" in line for line in lines)


def test_speed_is_that_of_this_run_and_not_of_the_one_that_it_goes_on_with(monkeypatch):
    clock = iter([0.0, 0.0, *100 * [10.0]])
    monkeypatch.setattr(progress_bars.time, "monotonic", lambda: next(clock))

    def work(progress):
        progress(StageStarted("segment", 100, 100_000_000))
        progress(StageAdvanced("segment", 80, 100))
        progress(StageAdvanced("segment", 100, 100))
        progress(StageFinished("segment", 10.0))
        progress(StageStarted("label", 100, 100_000_000))
        progress(StageAdvanced("label", 100, 100))
        progress(StageFinished("label", 0.0))

    lines = shown_lines(work)

    assert "2.0 Mpx/s" in lines[0]
    assert "100/100" in lines[1]
    assert "Mpx/s" not in lines[1]


def test_path_is_shown_as_it_is():
    path = "/data/[red]/:car:/a very long name that goes on and on.gpkg"

    assert shown_lines(lambda progress: progress(Note(path))) == [f"geoseg: {path}"]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (Result(Outputs(Path("a.gpkg")), 1, 1, {}, {}), "1 region of 1 class in"),
        (Result(Outputs(Path("a.gpkg")), 2, 3, {}, {}), "2 regions of 3 classes in"),
        (Result(Outputs(Path("a.gpkg")), 2, 3, {7: "x"}, {}), "1 tile failed, a hole in the result each: 7"),
        (Result(Outputs(Path("a.gpkg")), 2, 3, dict.fromkeys(range(25), "x"), {}), "18, 19 and 5 more"),
    ],
)
def test_summary_counts_as_people_do(result, text):
    assert any(text in line for line in shown_lines(lambda progress: progress.summary(result)))


def test_terminal_shows_bars():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    with Progress(console=console) as bars:
        progress = progress_bars.TextDisplay(console, bars)
        progress(StageStarted("segment", 4, 10**6))
        progress(StageAdvanced("segment", 2, 4))
        progress(StageStarted("label", 4, 10**6))
        progress.summary(Result(Outputs(Path("a.gpkg")), 2, 3, {}, {}))

    assert "segment tiles" in stream.getvalue()
    assert "2 regions of 3 classes" in stream.getvalue()


def test_every_step_of_the_pipeline_has_a_name_for_people(finished):
    folder, _ = finished

    report = json.loads((folder / "labels.run" / "run.json").read_text())

    assert set(report["seconds"]) <= set(progress_bars.STAGE_TITLES)


def test_json_progress_is_one_object_per_event_and_line():
    stream = io.StringIO()
    display = progress_bars.JsonDisplay(stream)
    for event in (StageStarted("label", 2, 8), StageAdvanced("label", 1, 2), StageFinished("label", 0.5), Note("a\nb")):
        display(event)
    display.summary(Result(Outputs(Path("a.gpkg")), 2, 3, {7: "x"}, {}))

    objects = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert objects[:4] == [
        {"event": "stage_started", "stage": "label", "total": 2, "pixels": 8},
        {"event": "stage_advanced", "stage": "label", "done": 1, "total": 2},
        {"event": "stage_finished", "stage": "label", "seconds": 0.5},
        {"event": "note", "text": "a\nb"},
    ]
    assert objects[4]["event"] == "summary"
    assert objects[4]["failed"] == [7]


def test_reporter_finishes_a_stage_once_and_before_the_next():
    events = []
    reporter = StageReporter(events.append, clock=iter([0.0, 2.0, 2.0, 5.0]).__next__)
    reporter.begin("survey", 1, pixels=4)
    reporter.begin("label", 3, pixels=4)
    reporter.advance(3)
    reporter.finish()
    reporter.finish()

    assert events == [
        StageStarted("survey", 1, 4),
        StageFinished("survey", 2.0),
        StageStarted("label", 3, 4),
        StageAdvanced("label", 3, 3),
        StageFinished("label", 3.0),
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("tile", "a.tif", "--out", "a.gpkg", "--halo", 32), "--halo has no effect without training on each tile"),
        (("preview", "a.tif", "--halo", 32), "--halo has no effect without training on each tile"),
        (("tile", "a.tif", "--out", "a.gpkg", "--dashboard", "--workers", 0), "no effect without worker processes"),
        (("outline", "a.tif", "--out", "a.gpkg", "--dashboard", "-j", 0), "no effect without worker processes"),
        (("tile", "a.tif", "--out", "a.gpkg", "--dashboard", "--scheduler", "tcp://a:1"), "no effect with --scheduler"),
        (("preview", "a.tif", "--steps", 8), "--steps has no effect without --animation"),
        (("tile", "a.tif", "--out", "a.gpkg", "-q", "--progress", "json"), "--progress is json; leave out one"),
        (("tile", "a.tif", "--out", "a.gpkg", "--prior", "none"), "write --training tile for --prior none"),
        (("scene", "a.tif", "--size", "9x9"), "run: geoseg synthetic a.tif --size 9x9"),
        (("config", "moon"), "'moon' is not a named configuration; choose one of aerial, default"),
    ],
)
def test_option_without_effect_and_former_name_are_usage_errors(arguments, reason):
    ended = run_command(*arguments)

    assert ended.code == 2
    assert reason in " ".join(ended.text.split())


def test_config_command_lists_the_named_configurations_and_prints_one_with_its_comments(capsys):
    named = named_configs()

    assert run_command("config").code == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(named)

    assert run_command("config", "drone").code == 0
    assert capsys.readouterr().out == named["drone"].read_text(encoding="utf-8")


def test_json_progress_of_a_run_starts_and_finishes_every_stage(tmp_path, scene):
    ended = run_command(
        "tile", scene, "--out", tmp_path / "a.gpkg", *("--workers", 0, "--method", "kmeans", "--progress", "json")
    )
    objects = [json.loads(line) for line in ended.lines]
    started = [each["stage"] for each in objects if each["event"] == "stage_started"]

    assert started == [each["stage"] for each in objects if each["event"] == "stage_finished"]
    assert started[0] == "survey"
    assert objects[-1]["event"] == "summary"
