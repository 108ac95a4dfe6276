"""A run that is computed in parts gives what a run in one process gives, whatever happens to its parts."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

import geoseg
from geoseg.errors import ConfigError, GeosegError, OutputError, RunError
from geoseg.parts import plan_document
from geoseg.parts.advice import advice_for_parts
from geoseg.parts.finish import finish_run
from geoseg.parts.plan import plan_scene
from geoseg.parts.work import work_part
from geoseg.pipeline import outline_labels, segment_scene
from geoseg.run import plan as run_plan
from geoseg.run.lock import holder_of
from geoseg.run.status import run_status
from geoseg.segment import superpixels
from geoseg.steps import segment

from .conftest import QUICK, fields, rest_slow, run_command, write_raster
from .programs import served_program

MODES = {
    "kmeans": {"method": "kmeans"},
    "scene": {},
    "tile": {"training": "tile", "tile_steps": 2},
}
ROOT = Path(geoseg.__file__).parents[1]


@pytest.fixture
def scene(tmp_path):
    return write_raster(tmp_path / "scene.tif", fields((200, 230)))


@pytest.fixture
def config(tmp_path):
    (tmp_path / "quick.yaml").write_text(QUICK)
    return tmp_path / "quick.yaml"


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(superpixels, "BLOCK", 96)


@pytest.fixture
def plan(scene, config, tmp_path):
    return lambda **options: plan_scene(scene, tmp_path / "run", config=config, **options)


@pytest.fixture(scope="module")
def planned_once(tmp_path_factory):
    """The folder of a run that is planned, with 1 of 3 parts, and its scene and area of interest beside it."""
    folder = tmp_path_factory.mktemp("planned")
    write_raster(folder / "scene.tif", fields((200, 230)))
    write_area(folder / "area.geojson", 2300)
    (folder / "quick.yaml").write_text(QUICK)
    aoi = folder / "area.geojson"
    plan_scene(folder / "scene.tif", folder / "run", config=folder / "quick.yaml", method="kmeans", aoi=aoi)
    work_part(folder / "run", 1, 3)
    return folder


@pytest.fixture
def run_dir(planned_once, tmp_path):
    """A copy of the run folder of `planned_once`."""
    return shutil.copytree(planned_once / "run", tmp_path / "run")


@pytest.fixture
def finish(tmp_path):
    def run(name="parts", **options):
        rasters = {"class_raster": tmp_path / f"{name}.tif"}
        return finish_run(tmp_path / "run", tmp_path / f"{name}.gpkg", workers=0, **rasters, **options)

    return run


@pytest.fixture(scope="module")
def wholes():
    return {}


@pytest.fixture
def whole(scene, config, tmp_path, wholes):
    """whole(**options) → class raster and polygons of a run in one process."""

    def run(**options):
        known = f"{superpixels.BLOCK} {options}"
        if known not in wholes:
            wholes[known] = compute(**options)
        return wholes[known]

    def compute(**options):
        raster = tmp_path / "whole.tif"
        segment_scene(scene, tmp_path / "whole.gpkg", config=config, workers=0, class_raster=raster, **options)
        return contents(tmp_path, "whole")

    return run


def write_area(path, width):
    """Write an area of interest that covers the left `width` metres of the scene."""
    frame = geopandas.GeoSeries([shapely.box(500_000, 4_998_000, 500_000 + width, 5_000_000)], crs="EPSG:32631")
    frame.to_crs(4326).to_file(path, driver="GeoJSON")


def bytes_of(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def change_digit(path):
    """Change one digit of a document, which stays JSON."""
    content = bytearray(path.read_bytes())
    at = next(i for i in range(len(content) // 2, len(content)) if chr(content[i]).isdigit())
    content[at] = ord("7") if content[at] != ord("7") else ord("3")
    path.write_bytes(content)


def contents(folder, name):
    frame = geopandas.read_file(folder / f"{name}.gpkg", layer="labels")
    return (folder / f"{name}.tif").read_bytes(), frame.to_wkt().to_csv()


# --- the same result ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("mode", rest_slow(MODES))
def test_parts_in_any_order_some_twice_and_one_never_give_the_result_of_one_process(
    plan, finish, whole, tmp_path, mode
):
    planned = plan(**MODES[mode])
    for part in (7, 6, 4, 4, 3, 2, 1, 7):  # not 5
        assert work_part(tmp_path / "run", part, 7).failed == {}
    work_part(tmp_path / "run", 2, 3)  # another division into parts

    finish()

    assert planned.n_tiles > 4
    assert contents(tmp_path, "parts") == whole(**MODES[mode])


@pytest.mark.usefixtures("small_blocks")
def test_each_part_computes_its_tiles_and_the_blocks_that_they_read_and_nothing_again(
    plan, finish, tmp_path, monkeypatch
):
    calls = []
    for name in ("segment_block", "segment_tile"):
        function = getattr(segment, name)
        monkeypatch.setattr(
            segment, name, lambda job, number, name=name, function=function: (
                calls.append((name, number)), function(job, number))[1],
        )  # fmt: skip
    plan(method="kmeans")
    assert not calls

    first = work_part(tmp_path / "run", 1, 3)
    n_calls = len(calls)
    work_part(tmp_path / "run", 1, 3)

    assert first.tiles == (0, 1, 2)
    assert [number for name, number in calls if name == "segment_tile"] == [0, 1, 2]
    assert len(calls) == n_calls
    for part in (2, 3):
        work_part(tmp_path / "run", part, 3)
    n_calls = len(calls)
    finish()
    assert len(calls) == n_calls


@pytest.mark.slow
def test_more_parts_than_tiles_and_a_single_part_are_parts_too(plan, finish, whole, tmp_path):
    plan(method="kmeans")

    tiles = [work_part(tmp_path / "run", part, 20).tiles for part in range(1, 21)]
    assert sorted(number for some in tiles for number in some) == list(range(9))
    assert work_part(tmp_path / "run", 1, 1).tiles == tuple(range(9))
    finish()

    assert contents(tmp_path, "parts") == whole(method="kmeans")


WORK = """
import sys
from geoseg.segment import superpixels
superpixels.BLOCK = 96
from geoseg.steps import segment
function, done = segment.segment_tile, []

def slow(job, number):
    if len(done) == 2 and sys.argv[3] == "waits":
        print("two tiles are done", flush=True)
        sys.stdin.read()
    function(job, number)
    done.append(number)

segment.segment_tile = slow
from geoseg.parts.work import work_part
work_part(sys.argv[1], int(sys.argv[2]), 2)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("mode", MODES)
def test_parts_at_the_same_time_one_of_them_killed_give_the_result_of_one_process(plan, finish, whole, tmp_path, mode):
    plan(**MODES[mode])
    command = [sys.executable, "-c", WORK, tmp_path / "run"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen([*command, "1", "waits"], **pipes) as one,
        subprocess.Popen([*command, "2", "goes on"], **pipes) as two,
    ):
        assert one.stdout.readline() == b"two tiles are done\n"
        running = run_status(tmp_path / "run")
        one.kill()
    status = run_status(tmp_path / "run")

    assert (one.returncode, two.returncode) == (-signal.SIGKILL, 0)
    assert running.state == "running"
    assert "running" in [part.state for part in running.parts]
    assert [(part.part, part.state) for part in status.parts] == [("1/2", "interrupted"), ("2/2", "done")]
    assert "not segmented; geoseg work --part I/N" in status.advice
    finish()
    assert contents(tmp_path, "parts") == whole(**MODES[mode])


def test_interrupted_plan_is_resumed_and_keeps_what_parts_have_computed(plan, tmp_path, monkeypatch):
    plan(method="kmeans")
    work_part(tmp_path / "run", 1, 3)
    calls = []
    monkeypatch.setattr(segment, "segment_tile", lambda _, number: calls.append(number))

    with pytest.raises(RunError, match=r"--resume, or remove them with --overwrite"):
        plan(method="kmeans")
    plan(method="kmeans", resume=True)
    work_part(tmp_path / "run", 1, 3)

    assert not calls
    plan(method="kmeans", overwrite=True)
    assert run_status(tmp_path / "run").stages[2].done == 0


@pytest.mark.slow
def test_tile_resumes_a_planned_run(scene, config, plan, whole, tmp_path):
    plan(method="kmeans")
    work_part(tmp_path / "run", 1, 2)

    segment_scene(
        scene, tmp_path / "parts.gpkg", config=config, method="kmeans", run_dir=tmp_path / "run", resume=True,
        workers=0, class_raster=tmp_path / "parts.tif",
    )  # fmt: skip

    assert contents(tmp_path, "parts") == whole(method="kmeans")


# --- failures -----------------------------------------------------------------------------------------------------


def test_tile_that_fails_in_a_part_is_reported_and_tried_again_at_the_end(plan, finish, whole, tmp_path, monkeypatch):
    plan(method="kmeans")
    function = segment.segment_tile

    def failing(job, number):
        if number == 4:
            raise RuntimeError("not readable")
        function(job, number)

    with monkeypatch.context() as patch:
        patch.setattr(segment, "segment_tile", failing)
        result = work_part(tmp_path / "run", 2, 3)

    assert list(result.failed) == [4]
    assert run_status(tmp_path / "run").failed == result.failed
    assert finish().failed == {}
    assert contents(tmp_path, "parts") == whole(method="kmeans")


def test_part_whose_tiles_all_fail_is_not_the_end_of_the_run(plan, finish, tmp_path, monkeypatch):
    plan(method="kmeans")

    def failing(_job, number):
        raise RuntimeError(f"tile {number} is bad")

    with monkeypatch.context() as patch:
        patch.setattr(segment, "segment_tile", failing)
        assert sorted(work_part(tmp_path / "run", 1, 3).failed) == [0, 1, 2]

    assert finish().failed == {}


def test_full_disk_stops_a_part_in_one_line_and_the_same_command_continues(run_dir, tmp_path, monkeypatch):
    def on_a_full_disk(_job, _number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(segment, "segment_tile", on_a_full_disk)
        ended = run_command("work", "--run-dir", run_dir, "--part", "2/3", "-q")
    assert (ended.code, len(ended.lines)) == (1, 1)
    assert "No space left on device. Free space on the disk and start the same command again" in ended.text
    assert run_status(run_dir).parts[1].state == "interrupted"

    assert run_command("work", "--run-dir", run_dir, "--part", "2/3", "-q").code == 0
    assert finish_run(run_dir, tmp_path / "a.gpkg", workers=0).failed == {}


SLOW = """
import sys, time
from geoseg.steps import segment
function = segment.segment_tile

def slow(job, number):
    print("computes", flush=True)
    time.sleep(1)
    function(job, number)

segment.segment_tile = slow
from geoseg.cli.main import main
main()
"""


@pytest.mark.slow
def test_part_that_is_asked_to_end_finishes_its_tile_and_names_the_command_that_continues(run_dir):
    command = [sys.executable, "-c", SLOW, "work", "--run-dir", run_dir, "--part", "2/3", "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "computes\n"
        process.terminate()
        _, text = process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGTERM
    assert text.strip() == (
        "geoseg: interrupted (SIGTERM); if there is a run folder, the same command continues the run"
    )
    assert [stage.done for stage in run_status(run_dir).stages if stage.stage == "segment"] == [4]


@pytest.mark.parametrize("step", ["work", "finish"])
def test_scene_that_changes_after_the_plan_is_refused(scene, plan, finish, tmp_path, step):
    plan(method="kmeans")
    work_part(tmp_path / "run", 1, 2)
    content = bytearray(scene.read_bytes())
    content[-100] ^= 1
    scene.write_bytes(content)

    with pytest.raises(RunError, match=r"scene\.tif was changed|belong to another input"):
        work_part(tmp_path / "run", 2, 2) if step == "work" else finish()

    assert not (tmp_path / "parts.gpkg").exists()


def test_run_is_not_finished_while_a_part_is_computed_and_parts_wait_for_nobody(plan, finish, tmp_path):
    plan(method="kmeans")
    with (tmp_path / "run" / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # as another part
        assert work_part(tmp_path / "run", 1, 2).failed == {}
        with pytest.raises(RunError, match="another run uses"):
            finish()
        assert run_status(tmp_path / "run").state == "running"
    with (tmp_path / "run" / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # as `finish`
        with pytest.raises(RunError, match="another run uses"):
            work_part(tmp_path / "run", 2, 2)

    assert finish().n_regions


@pytest.mark.parametrize("part", [(0, 7), (8, 7), (-1, 7), (1, 0), (1, 10**20), (1.0, 2), (True, 1), ("1", 2)])
def test_part_that_does_not_exist_is_refused(tmp_path, part):
    with pytest.raises(ConfigError, match="does not exist; parts are numbered from 1"):
        work_part(tmp_path / "run", *part)


def test_folder_without_a_plan_is_refused(scene, tmp_path):
    (tmp_path / "empty").mkdir()
    segment_scene(scene, tmp_path / "a.gpkg", method="kmeans", workers=0, keep=True)

    for folder, reason in (
        ("absent", "not the folder of a planned run"),
        ("empty", "not the folder"),
        ("a.run", "plan"),
    ):
        with pytest.raises(RunError, match=reason):
            work_part(tmp_path / folder, 1, 2)
        with pytest.raises(RunError, match=reason):
            finish_run(tmp_path / folder, tmp_path / "b.gpkg", workers=0)


def test_option_that_the_plan_has_settled_is_refused_at_the_end(plan, finish):
    plan(method="kmeans")

    with pytest.raises(ConfigError, match=r"polygons\.min_pixels is settled by the plan"):
        finish(min_pixels=5)


@pytest.mark.parametrize(
    "options",
    [
        {"aoi": "area.gpkg"},
        {"model": "a.geoseg"},
        {"device": "cpu"},
        {"resume": True},
        {"restretch": True},
        {"seed": 3},
    ],
    ids=lambda options: next(iter(options)),
)
def test_option_of_the_plan_is_refused_at_the_end(run_dir, tmp_path, options):
    with pytest.raises(ConfigError, match="is settled by the plan of the run and has no effect here; omit it"):
        finish_run(run_dir, tmp_path / "parts.gpkg", workers=0, **options)


@pytest.mark.parametrize(
    "name", ["workers", "keep", "class_raster", "max_failed", "scheduler", "dashboard", "class_layer"]
)
def test_option_that_has_no_effect_on_the_plan_is_refused(scene, tmp_path, name):
    values = {"workers": 2, "class_raster": "a.tif", "max_failed": 3, "scheduler": "tcp://a:1"}

    with pytest.raises(ConfigError, match=f"option {name} has no effect on a plan"):
        plan_scene(scene, tmp_path / "run", **{name: values.get(name, True)})

    assert not (tmp_path / "run").exists()


# --- a part computes what was planned, or nothing ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("what", rest_slow(["area of interest", "mask beside the scene", "time of the scene"]))
def test_file_that_changes_between_plan_and_part_is_refused_even_if_it_is_as_before_at_the_end(
    scene, config, finish, whole, tmp_path, what
):
    area = tmp_path / "area.geojson"
    write_area(area, 1500)
    before = area.read_bytes()
    plan_scene(scene, tmp_path / "run", config=config, method="kmeans", aoi=area)
    if what == "area of interest":
        write_area(area, 1900)
    elif what == "mask beside the scene":
        write_raster(tmp_path / "scene.tif.msk", np.zeros((1, 200, 230), np.uint8))
    else:
        os.utime(scene)

    with pytest.raises(RunError, match=r"(belong to another|was changed|appeared).*geoseg plan --(resume|overwrite)"):
        work_part(tmp_path / "run", 1, 2)

    area.write_bytes(before)
    (tmp_path / "scene.tif.msk").unlink(missing_ok=True)
    if what == "time of the scene":  # its content is as before
        plan_scene(scene, tmp_path / "run", config=config, method="kmeans", aoi=area, resume=True)
    work_part(tmp_path / "run", 1, 2)
    finish()
    assert contents(tmp_path, "parts") == whole(method="kmeans", aoi=area)


def test_part_with_other_versions_of_packages_is_refused(run_dir, monkeypatch):
    versions = run_plan.result_versions()
    monkeypatch.setattr(run_plan, "result_versions", lambda: versions | {"numpy": "0.9"})

    with pytest.raises(RunError, match=r"packages\.numpy: .* → \"0\.9\".*geoseg plan --overwrite"):
        work_part(run_dir, 2, 3)


def test_plan_that_is_damaged_or_of_another_run_is_refused(run_dir, scene, config, tmp_path):
    plan_scene(scene, tmp_path / "other", config=config, method="kmeans", min_pixels=5)
    original = (run_dir / "plan.json").read_bytes()
    change_digit(run_dir / "plan.json")

    for reason in ("plan.json is damaged.*geoseg plan --resume", "has no plan of the run in it"):
        for attempt in (lambda: work_part(run_dir, 2, 3), lambda: finish_run(run_dir, tmp_path / "b.gpkg", workers=0)):
            with pytest.raises(RunError, match=reason):
                attempt()
        shutil.copy(tmp_path / "other" / "plan.json", run_dir)
    (run_dir / "plan.json").write_bytes(original)
    assert work_part(run_dir, 2, 3).failed == {}


@pytest.mark.slow
def test_network_that_is_lost_is_refused_once_and_made_again_by_plan(scene, config, tmp_path):
    plan_scene(scene, tmp_path / "run", config=config)
    (network,) = (tmp_path / "run" / "stages" / "learn.network").rglob("*.arrays")
    content = network.read_bytes()
    network.write_bytes(content[:-1])

    with pytest.raises(RunError, match=r"its network is absent or damaged\. Make it with geoseg plan --resume"):
        work_part(tmp_path / "run", 1, 3)

    plan_scene(scene, tmp_path / "run", config=config, resume=True)
    assert network.read_bytes() == content


def test_folder_of_others_is_refused_and_nothing_in_it_is_changed(tmp_path):
    for name in ("manifest.json", "lock", "plan.json"):
        (tmp_path / name).write_text("not of geoseg")
    before = bytes_of(tmp_path)

    for attempt in (
        lambda: work_part(tmp_path, 1, 2),
        lambda: finish_run(tmp_path, tmp_path / "b.gpkg", workers=0),
        lambda: run_status(tmp_path),
    ):
        with pytest.raises(RunError, match="is not a run folder"):
            attempt()

    assert bytes_of(tmp_path) == before


@pytest.mark.usefixtures("scene", "config")
def test_paths_of_the_plan_hold_in_every_working_folder(finish, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_area(tmp_path / "area.geojson", 1500)
    plan_scene("./scene.tif", "run", config="quick.yaml", method="kmeans", aoi="area.geojson")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert work_part(tmp_path / "run", 1, 1).failed == {}
    assert finish().n_regions


@pytest.mark.slow
def test_plan_with_a_model_takes_its_configuration_and_needs_the_model_at_the_end_only(scene, config, finish, tmp_path):
    model, options = tmp_path / "scene.geoseg", {"workers": 0, "class_raster": tmp_path / "whole.tif"}
    segment_scene(scene, tmp_path / "first.gpkg", config=config, save_model=model, workers=0)
    segment_scene(scene, tmp_path / "whole.gpkg", model=model, **options)
    plan_scene(scene, tmp_path / "run", model=model)
    model.rename(tmp_path / "moved.geoseg")
    work_part(tmp_path / "run", 1, 1)
    (tmp_path / "moved.geoseg").rename(model)

    finish()

    assert contents(tmp_path, "parts") == contents(tmp_path, "whole")


@pytest.mark.slow
def test_options_of_the_display_and_of_the_device_do_not_matter(scene, config, tmp_path, whole):
    run = ("--run-dir", tmp_path / "run")
    assert run_command(
        "plan", scene, *run, "--config", config, "--method", "kmeans", "--device", "cpu", "--progress", "json", "-v"
    ).code == 0  # fmt: skip
    assert run_command("work", *run, "--part", "1/2", "--progress", "plain", "--max-failed", "0").code == 0
    ended = run_command("work", *run, "--part", "2/2", "--progress", "json")
    outputs = ("--out", tmp_path / "parts.gpkg", "--class-raster", tmp_path / "parts.tif")
    assert run_command("finish", *run, *outputs, "-j", 0, "--progress", "none", "--keep").code == 0

    assert json.loads(ended.lines[-1])["text"].startswith("part 2 of 2: ")
    assert all(json.loads(line)["event"] for line in ended.lines)
    assert contents(tmp_path, "parts") == whole(method="kmeans")


def test_tiles_that_were_planned_for_a_gpu_are_computed_on_a_gpu_only(run_dir, tmp_path, monkeypatch):
    def no_gpu(_wanted, _config):
        raise ConfigError("torch finds no GPU")

    with monkeypatch.context() as patch:
        patch.setattr(plan_document, "pick_device", no_gpu)
        for attempt in (lambda: work_part(run_dir, 2, 3), lambda: finish_run(run_dir, tmp_path / "a.gpkg", workers=0)):
            with pytest.raises(ConfigError, match="planned on a machine with a GPU"):
                attempt()
    work_part(run_dir, 1, 1)
    monkeypatch.setattr(plan_document, "pick_device", no_gpu)

    assert finish_run(run_dir, tmp_path / "a.gpkg", workers=0).failed == {}  # nothing is left for a GPU


# --- the end ------------------------------------------------------------------------------------------------------


def test_missing_tiles_are_announced_at_the_end(run_dir, tmp_path):
    notes = []

    finish_run(run_dir, tmp_path / "a.gpkg", workers=0, progress=notes.append)

    texts = [event.text for event in notes if isinstance(event, geoseg.Note)]
    assert "6 of 9 tiles are not segmented yet, and are computed now" in texts


def test_finished_run_has_nothing_left_for_a_part_or_for_a_second_end(run_dir, tmp_path):
    first = finish_run(run_dir, tmp_path / "a.gpkg", workers=0)
    before, notes = bytes_of(tmp_path), []

    part = work_part(run_dir, 2, 3, progress=notes.append)
    second = finish_run(run_dir, tmp_path / "a.gpkg", workers=0, progress=notes.append)

    assert part.tiles == ()
    assert second.n_regions == first.n_regions
    assert [event.text.partition(": ")[2] for event in notes] == 2 * ["nothing is left to do"]
    lock = run_dir / "lock"  # who used the folder last
    assert {path: content for path, content in bytes_of(tmp_path).items() if path != lock} == {
        path: content for path, content in before.items() if path != lock
    }


def test_existing_output_is_replaced_only_if_that_is_asked_for_and_parts_are_kept(run_dir, tmp_path, monkeypatch):
    work_part(run_dir, 1, 1)
    calls = []
    monkeypatch.setattr(segment, "segment_tile", lambda _, number: calls.append(number))
    out = tmp_path / "a.gpkg"
    out.write_bytes(b"of the user")

    with pytest.raises(OutputError, match=r"a\.gpkg exists.*--overwrite"):
        finish_run(run_dir, out, workers=0)
    assert out.read_bytes() == b"of the user"
    result = finish_run(run_dir, out, workers=0, overwrite=True)
    written = out.read_bytes()

    assert len(geopandas.read_file(out, layer="labels")) == result.n_regions
    assert not calls
    assert finish_run(run_dir, out, workers=0, overwrite=True).n_regions == result.n_regions  # is finished
    assert out.read_bytes() == written


def test_output_that_is_the_scene_is_never_replaced(planned_once, run_dir, tmp_path):
    scene = planned_once / "scene.tif"
    before = scene.read_bytes()

    with pytest.raises(GeosegError, match=r"scene\.tif"):
        finish_run(run_dir, tmp_path / "a.gpkg", class_raster=scene, overwrite=True, workers=0)

    assert scene.read_bytes() == before


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("No space left. Free space on the disk and continue with --resume.", "start the same command again"),
        (
            "give the same as before, start again with --overwrite, or choose another --run-dir.",
            "geoseg plan --overwrite.",
        ),
        (
            "If its content is as before, continue with --resume; otherwise start again with --overwrite.",
            "repeat geoseg plan",
        ),
    ],
    ids=["disk", "identity", "input"],
)
def test_advice_names_options_that_the_command_has(message, expected):
    with pytest.raises(RunError, match=expected) as caught, advice_for_parts():
        raise RunError(message)

    assert "or choose another" not in str(caught.value)
    assert "with --resume" not in str(caught.value)


# --- status -------------------------------------------------------------------------------------------------------


def test_status_counts_what_is_stored_and_changes_nothing(plan, finish, tmp_path):
    plan(method="kmeans")
    work_part(tmp_path / "run", 1, 3)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    status = run_status(tmp_path / "run")

    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    assert (status.state, status.used_by) == ("stopped", None)
    done = {stage.stage: (stage.done, stage.total) for stage in status.stages}
    assert done["survey"] == (1, 1)
    assert done["segment"] == (3, 9)
    assert done["outline"] == (0, 9)
    assert "learn" not in done
    assert json.loads(json.dumps(status.to_dict()))["stages"][2]["done"] == 3
    result = finish()
    status = run_status(tmp_path / "run")
    assert status.state == "finished"
    assert status.outputs == tuple(str(path) for path in result.outputs.paths)


def test_status_is_finished_where_products_are_kept_and_not_while_a_later_run_is_under_way(
    planned_once, run_dir, tmp_path, monkeypatch
):
    finish_run(run_dir, tmp_path / "a.gpkg", workers=0, keep=True)
    assert run_status(run_dir).state == "finished"

    def interrupted(_job, _stages):
        raise KeyboardInterrupt

    monkeypatch.setattr("geoseg.steps.survey.survey_scene", interrupted)
    options = {"config": planned_once / "quick.yaml", "method": "kmeans", "aoi": planned_once / "area.geojson"}
    with pytest.raises(KeyboardInterrupt):
        plan_scene(planned_once / "scene.tif", run_dir, resume=True, **options)

    status = run_status(run_dir)
    assert (status.state, status.stages[0].done) == ("stopped", 1)


def test_failures_are_in_the_status_as_they_occur(scene, config, tmp_path, monkeypatch):
    function, seen = segment.segment_tile, []

    def failing(job, number):
        seen.append(run_status(tmp_path / "labels.run"))
        if number == 4:
            raise RuntimeError("not readable")
        function(job, number)

    monkeypatch.setattr(segment, "segment_tile", failing)
    segment_scene(scene, tmp_path / "labels.gpkg", config=config, method="kmeans", workers=0)

    assert {status.state for status in seen} == {"running"}
    assert seen[4].failed == {}
    assert seen[5].failed == {4: "RuntimeError: not readable"}
    assert "tile 4 failed: RuntimeError: not readable" in str(seen[-1])
    assert [stage.total for stage in seen[-1].stages if stage.stage in ("segment", "label")] == [9, 8]
    assert str(os.getpid()) in seen[-1].used_by
    status = run_status(tmp_path / "labels.run")
    assert (status.state, status.failed) == ("finished", {4: "RuntimeError: not readable"})
    assert "tries the failed tiles again" in status.advice


def test_tile_that_succeeds_after_all_is_not_among_the_failed_ones(run_dir, monkeypatch):
    def failing(_job, _number):
        raise RuntimeError("not readable")

    with monkeypatch.context() as patch:
        patch.setattr(segment, "segment_tile", failing)
        assert run_command("work", "--run-dir", run_dir, "--part", "2/3", "-q").code == 3
    assert list(run_status(run_dir).failed) == [3, 4, 5]
    work_part(run_dir, 2, 2)

    assert list(run_status(run_dir).failed) == [3]


def test_speed_and_time_left_follow_from_the_times_of_the_files_of_this_run(run_dir):
    begin = json.loads((run_dir / "documents" / "size.json").read_text())["begin"]
    tiles = sorted((run_dir / "stages" / "segment.votes").rglob("*.arrays"))
    for path, seconds in zip(tiles, (-1000, 10, 30), strict=True):  # the first is of an earlier run
        os.utime(path, (begin + seconds, begin + seconds))

    assert run_status(run_dir).stages[2].per_second is None  # nobody uses it
    with (run_dir / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        status = run_status(run_dir)
    (stage,) = (stage for stage in status.stages if stage.stage == "segment")

    assert status.seconds_left > stage.seconds_left  # for all stages
    assert "running" in str(status).splitlines()[0]
    assert "left" in str(status).splitlines()[0]
    assert (stage.done, stage.total, stage.per_second, stage.seconds_left) == (3, 9, 0.05, 120.0)


@pytest.mark.parametrize(
    "name", ["manifest.json", "plan.json", "run.json", "documents/size.json", "documents/part-1-of-3.json"]
)
def test_status_of_a_damaged_folder_is_one_line_and_changes_nothing(run_dir, tmp_path, name):
    if name == "run.json":
        finish_run(run_dir, tmp_path / "a.gpkg", workers=0, keep=True)
    change_digit(run_dir / name)
    before = bytes_of(run_dir)

    ended = run_command("status", "--run-dir", run_dir)

    assert (ended.code, len(ended.lines)) == (1, 1)
    assert "damaged" in ended.text
    assert bytes_of(run_dir) == before


def test_status_works_on_a_folder_that_is_read_only(run_dir):
    folders = [run_dir, *(path for path in run_dir.rglob("*") if path.is_dir())]
    files = [path for path in run_dir.rglob("*") if path.is_file()]
    for path in (*files, *folders):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        status = run_status(run_dir)
    finally:
        for path in folders:
            path.chmod(0o755)

    assert [stage.done for stage in status.stages if stage.stage == "segment"] == [3]
    assert "6 tiles are not segmented; geoseg work --part I/N" in status.advice
    assert [(part.part, part.state, part.n_tiles) for part in status.parts] == [("1/3", "done", 3)]


def test_lock_that_another_status_tries_for_a_moment_is_not_taken_for_a_run(run_dir):
    other = (run_dir / "lock").open()
    fcntl.flock(other, fcntl.LOCK_EX)
    ending = threading.Timer(0.03, other.close)
    ending.start()

    assert holder_of(run_dir / "lock") is None
    ending.join()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_status_of_a_folder_that_cannot_be_read_is_one_line(run_dir):
    (run_dir / "stages" / "segment.votes").chmod(0)
    try:
        with pytest.raises(RunError, match="cannot be read: Permission denied"):
            run_status(run_dir)
    finally:
        (run_dir / "stages" / "segment.votes").chmod(0o755)


def test_status_of_outlined_labels_has_their_stages(tmp_path, monkeypatch):
    write_raster(tmp_path / "labels.tif", (fields((100, 100))[:1] // 60).astype(np.uint8))
    seen = []
    monkeypatch.setattr(
        "geoseg.steps.write_labels.write_results", lambda *_: seen.append(run_status(tmp_path / "out.run"))
    )

    outline_labels(tmp_path / "labels.tif", tmp_path / "out.gpkg", workers=0)

    assert [(stage.stage, stage.done, stage.total) for stage in seen[0].stages] == [
        ("label", 1, 1), ("merge", 1, 1), ("outline", 1, 1)
    ]  # fmt: skip
    assert "geoseg outline" in run_status(tmp_path / "out.run").advice


def test_status_of_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")

    for folder in (tmp_path, tmp_path / "absent", tmp_path / "manifest.json"):
        with pytest.raises(RunError, match="is not a run folder"):
            run_status(folder)


# --- the commands -------------------------------------------------------------------------------------------------


def test_commands_plan_work_finish_and_status(scene, config, tmp_path, whole, capsys):
    run = ("--run-dir", tmp_path / "run")
    assert run_command("plan", scene, *run, "--config", config, "--method", "kmeans", "-q").code == 0
    for part in ("1/2", "2/2"):
        assert run_command("work", *run, "--part", part, "-q").code == 0
    assert run_command("status", *run, "--json").code == 0
    outputs = ("--out", tmp_path / "parts.gpkg", "--class-raster", tmp_path / "parts.tif")
    assert run_command("finish", *run, *outputs, "-j", 0, "-q").code == 0
    assert run_command("status", *run).code == 0

    printed = capsys.readouterr().out
    assert "tiles: 9" in printed
    assert '"state": "stopped"' in printed
    assert "finished" in printed
    assert contents(tmp_path, "parts") == whole(method="kmeans")


@pytest.mark.parametrize("part", ["0/7", "8/7", "a/b", "1", "1/", "/7", "-1/7", "1/10**20", "1/" + "9" * 200, "1.5/2"])
def test_command_refuses_a_part_that_does_not_exist(tmp_path, part):
    ended = run_command("work", "--run-dir", tmp_path / "run", "--part", part)

    assert ended.code in (1, 2)
    assert "Traceback" not in ended.text


# --- the examples -------------------------------------------------------------------------------------------------

# Runs the command of --wrap at once, for each task of an array, and prints the number of the job.
SBATCH = """#!/usr/bin/env bash
tasks=none
while [[ $# -gt 0 ]]; do
  case $1 in
    --array=*) range=${1#--array=}; tasks=$(seq "${range%-*}" "${range#*-}") ;;
    --dependency=*) echo "${1#--dependency=}" >> "$SPOOL/dependencies" ;;
    --wrap) shift; command=$1 ;;
  esac
  shift
done
for task in $tasks; do
  SLURM_ARRAY_TASK_ID=$task bash -c "$command" >&2 || echo "failed: $command" >> "$SPOOL/failed"
done
echo job >> "$SPOOL/jobs"
wc -l < "$SPOOL/jobs"
"""


@pytest.mark.slow
@pytest.mark.parametrize("example", ["slurm_array.sh", "parts.sh"])
def test_example_gives_the_result_of_one_process(scene, config, tmp_path, whole, example, command_server):
    commands = tmp_path / "commands"
    served_program(commands, command_server)
    (commands / "sbatch").write_text(SBATCH)
    (commands / "sbatch").chmod(0o755)
    path = os.pathsep.join([str(commands), os.environ["PATH"]])

    environment, labels = os.environ | {"PATH": path, "SPOOL": str(tmp_path)}, tmp_path / "the labels.gpkg"

    options = ("--config", config, "--method", "kmeans")
    interrupted = run_command("plan", scene, "--run-dir", labels.with_suffix(".run"), *options)

    done = subprocess.run(
        [ROOT / "examples" / example, scene, labels, "3", *options],
        capture_output=True, text=True, check=False, timeout=300, env=environment,
    )  # fmt: skip

    assert (interrupted.code, done.returncode) == (0, 0), done.stderr
    assert not (tmp_path / "failed").exists()
    assert "not segmented yet" not in done.stderr  # by `finish`: the parts have computed all
    if example == "slurm_array.sh":
        assert (tmp_path / "dependencies").read_text().split() == ["afterok:1", "afterany:2"]
    expected = whole(method="kmeans")[1]
    assert geopandas.read_file(labels, layer="labels").to_wkt().to_csv() == expected
    assert np.all(geopandas.read_file(labels, layer="labels")["pixels"] > 0)
