"""Pipes in the place of files: no command waits for them."""

import os
import shutil
import signal

import numpy as np
import pytest

from geoseg.raster.regular_file import file_state, opened_state
from geoseg.run.folder import RunFolder

from .conftest import run_command


@pytest.fixture(autouse=True)
def _deadline():
    """End a command that waits for a pipe."""

    def stop(*_):
        raise AssertionError("the command waits for a pipe")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


PIPES = {  # the pipe → the command that reads it
    "samples.csv": ("classify", "labels.gpkg", "--samples", "samples.csv", "--out", "o.gpkg"),
    "samples.parquet": ("classify", "labels.gpkg", "--samples", "samples.parquet", "--out", "o.gpkg"),
    "names.csv": ("name", "labels.gpkg", "names.csv", "--out", "o.gpkg"),
    "regions.parquet": ("dissolve", "regions.parquet", "--by", "class", "--out", "o.gpkg"),
    "named.parquet": ("name", "named.parquet", "n.csv", "--out", "o.gpkg"),
    "cluster.yaml": ("tile", "scene.tif", "--out", "o.gpkg", "--method", "kmeans", "--cluster", "cluster.yaml"),
    "new.run/manifest.json": ("work", "--run-dir", "new.run", "--part", "1/2"),
    "new.run/run-id": ("finish", "--run-dir", "new.run", "--out", "o.gpkg"),
    "new.run/plan.json": ("status", "--run-dir", "new.run"),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("pipe", PIPES)
def test_pipe_in_the_place_of_a_file_is_refused(tmp_path, reported, monkeypatch, pipe):
    monkeypatch.chdir(tmp_path)
    for name in ("labels.gpkg", "scene.tif"):
        shutil.copy(reported / name, tmp_path)
    (tmp_path / "n.csv").write_text("class,name\n1,water\n")
    (tmp_path / pipe).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / pipe)

    ended = run_command(*PIPES[pipe])

    assert ended.code == 1
    assert not (tmp_path / "o.gpkg").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_report_does_not_wait_for_documents_that_are_pipes(tmp_path, reported):
    for name in ("labels.gpkg", "scene.tif"):
        shutil.copy(reported / name, tmp_path)
    shutil.copytree(reported / "labels.run", tmp_path / "labels.run")
    for name in ("labels.classes.json", "labels.names.json"):
        os.mkfifo(tmp_path / name)

    ended = run_command("report", tmp_path / "labels.gpkg", "--out", tmp_path / "o.html")

    assert ended.code in (0, 1), ended.text


def test_foreign_files_in_a_run_folder_are_kept(tmp_path):
    folder = RunFolder(tmp_path / "a.run")
    folder.put("segment.votes", 3, {"a": np.zeros(3)})
    for name in ("outputs", "size", "failed", "failed-1of2", "part-1of2", "segment.votes.keys"):
        folder.put_json(name, {"a": 1})
    foreign = ("documents/mine.json", "stages/out.classes.json", "stages/b.run/run.json", "stages/b.run/manifest.json",
               "stages/b.run/stages/segment.votes/000000/1.arrays", "stages/segment.votes/notes.json")  # fmt: skip
    for name in foreign:
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_text("{}")

    folder.clean()

    left = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}
    assert left == set(foreign)


def test_no_file_of_a_run_is_left_by_cleaning(tmp_path, finished_run):
    """What a run with all its products has written is removed, so the names are complete."""
    shutil.copytree(finished_run / "labels.run", tmp_path / "a.run")
    folder = RunFolder(tmp_path / "a.run")
    assert (folder.path / "stages").is_dir()

    folder.clean()

    assert {path.name for path in folder.path.iterdir()} <= {"lock", "manifest.json", "run-id", "run.json", "plan.json"}


def test_state_of_a_file_changes_when_it_is_written_again_and_a_pipe_has_none(tmp_path):
    path, pipe = tmp_path / "a.arrays", tmp_path / "b.arrays"
    path.write_bytes(b"1234")
    os.mkfifo(pipe)
    before = opened_state(path)

    assert before == file_state(path) != ()
    (tmp_path / "new").write_bytes(b"5678")
    (tmp_path / "new").replace(path)

    assert opened_state(path) == file_state(path) != before
    assert opened_state(pipe) == opened_state(tmp_path / "absent") == file_state(tmp_path / "absent") == ()
    assert file_state("https://example.org/scene.tif") == ()
