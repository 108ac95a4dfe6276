"""A run that is computed in parts gives what a run in one process gives, whatever happens to its parts."""

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import geopandas
import numpy as np
import pytest
from geoseg.parts.finish import finish_run
from geoseg.parts.plan import plan_scene
from geoseg.parts.work import work_part

import geoseg
from geoseg.errors import ConfigError, RunError
from geoseg.pipeline import segment_scene
from geoseg.run.status import run_status
from geoseg.segment import superpixels
from geoseg.steps import segment

from .conftest import QUICK, fields, rest_slow, run_command, write_raster

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


@pytest.fixture
def finish(tmp_path):
    def run(name="parts", **options):
        rasters = {"class_raster": tmp_path / f"{name}.tif"}
        return finish_run(tmp_path / "run", tmp_path / f"{name}.gpkg", workers=0, **rasters, **options)

    return run


@pytest.fixture
def whole(scene, config, tmp_path):
    """whole(**options) → class raster and polygons of a run in one process."""

    def run(**options):
        raster = tmp_path / "whole.tif"
        segment_scene(scene, tmp_path / "whole.gpkg", config=config, workers=0, class_raster=raster, **options)
        return contents(tmp_path, "whole")

    return run


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
from geoseg.parts.work import work_part
print("ready", flush=True)
work_part(sys.argv[1], int(sys.argv[2]), 2)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
def test_parts_at_the_same_time_one_of_them_killed_give_the_result_of_one_process(plan, finish, whole, tmp_path):
    plan(method="kmeans")
    command = [sys.executable, "-c", WORK, tmp_path / "run"]
    with (
        subprocess.Popen([*command, "1"], stdout=subprocess.PIPE) as one,
        subprocess.Popen([*command, "2"], stdout=subprocess.PIPE) as two,
    ):
        assert one.stdout.readline()
        assert two.stdout.readline()
        time.sleep(0.7)
        one.kill()
    assert one.returncode != 0
    assert two.returncode == 0

    finish()

    assert contents(tmp_path, "parts") == whole(method="kmeans")


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
            raise RuntimeError("no luck")
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
    assert "9 tiles" in printed
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
def test_example_gives_the_result_of_one_process(scene, config, tmp_path, whole, example):
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "sbatch").write_text(SBATCH)
    (commands / "sbatch").chmod(0o755)
    path = os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]])

    environment, labels = os.environ | {"PATH": path, "SPOOL": str(tmp_path)}, tmp_path / "the labels.gpkg"

    done = subprocess.run(
        [ROOT / "examples" / example, scene, labels, "3", "--config", config, "--method", "kmeans"],
        capture_output=True, text=True, check=False, timeout=300, env=environment,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "failed").exists()
    if example == "slurm_array.sh":
        assert (tmp_path / "dependencies").read_text().split() == ["afterok:1", "afterany:2"]
    expected = whole(method="kmeans")[1]
    assert geopandas.read_file(labels, layer="labels").to_wkt().to_csv() == expected
    assert np.all(geopandas.read_file(labels, layer="labels")["pixels"] > 0)
