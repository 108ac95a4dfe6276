"""Commands that write at the same time, and names that are taken: nothing of another program, input or run is lost."""

import contextlib
import shutil

import pytest

from geoseg.errors import OutputError, RunError
from geoseg.layers.dissolve import dissolve_polygons
from geoseg.output.files import staged
from geoseg.output.input_files import check_no_input, files_beside
from geoseg.output.publication import Publication
from geoseg.run.lock import locked_outputs

from .conftest import run_command

NAMES = "class,name\n1,water\n2,road\n"


@pytest.fixture
def folder(tmp_path, reported):
    """A folder with the polygons of a run as .gpkg and .fgb, their class documents, and names."""
    for name in ("labels.gpkg", "labels.classes.json"):
        shutil.copy(reported / name, tmp_path)
    dissolve_polygons(tmp_path / "labels.gpkg", tmp_path / "areas.fgb", by="class")
    (tmp_path / "names.csv").write_text(NAMES)
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


COMMANDS = {  # of one output: arguments before it
    "dissolve": ("dissolve", "labels.gpkg", "--by", "class", "--out", "out.gpkg"),
    "name": ("name", "labels.gpkg", "names.csv", "--out", "out.gpkg"),
    "synthetic": ("synthetic", "out.tif", "--size", "64x64", "--truth", "truth.tif"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_second_process_that_writes_the_same_file_is_refused_in_one_line(folder, monkeypatch, command):
    monkeypatch.chdir(folder)
    out = next(name for name in COMMANDS[command] if name.startswith("out."))
    before = contents(folder)

    with locked_outputs([folder / out]):  # as the first process does
        ended = run_command(*COMMANDS[command])

    assert ended.code == 1
    assert "another run uses" in ended.lines[-1]
    assert out in ended.lines[-1]
    assert contents(folder) == before
    assert run_command(*COMMANDS[command]).code == 0


def test_output_is_locked_by_every_command_while_its_files_are_staged(folder, monkeypatch):
    """The folder of `staged` would be removed by another process, so each command holds a lock around it."""
    monkeypatch.chdir(folder)
    unlocked = []

    @contextlib.contextmanager
    def checked(path, publication, **options):
        with contextlib.suppress(RunError), locked_outputs([path]):
            unlocked.append(path.name)
        with staged(path, publication, **options) as made:
            yield made

    for module in ("output.polygons", "output.class_document", "output.rasters", "synthetic.scene"):
        monkeypatch.setattr(f"geoseg.{module}.staged", checked)
    for arguments in COMMANDS.values():
        assert run_command(*arguments).code == 0
        (folder / "out.gpkg").unlink(missing_ok=True)

    assert unlocked == []


def test_folder_of_a_stranger_beside_an_output_is_not_removed(folder):
    for end in (".part", ".tmp"):
        (folder / f".out.gpkg{end}").mkdir()
        (folder / f".out.gpkg{end}" / "notes.txt").write_text("mine")

    dissolve_polygons(folder / "labels.gpkg", folder / "out.gpkg", by="class")

    for end in (".part", ".tmp"):
        assert (folder / f".out.gpkg{end}" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        ("dissolve", "areas.fgb", "--by", "class", "--out", "areas.parquet"),
        ("name", "areas.fgb", "names.csv", "--out", "areas.parquet"),
        ("classify", "areas.fgb", "--samples", "labels.gpkg", "--field", "class", "--out", "areas.parquet"),
        ("classify", "labels.gpkg", "--samples", "areas.fgb", "--field", "class", "--out", "areas.parquet"),
        ("evaluate", "c.tif", "--reference", "labels.gpkg", "--field", "class", "--json", "labels.classes.json"),
        ("classify", "labels.gpkg", "--samples", "areas.fgb", "--field", "class", "--out", "o.gpkg",
         "--json", "labels.classes.json"),
    ],
)  # fmt: skip
def test_files_that_belong_to_an_input_are_not_replaced_by_any_command(folder, reported, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    shutil.copy(reported / "classes.tif", folder / "c.tif")
    before = contents(folder)

    ended = run_command(*arguments, "--overwrite")

    assert ended.code == 1
    assert "belongs to an input" in ended.lines[-1]
    assert contents(folder) == before


def test_file_beside_an_input_is_found_under_another_spelling(tmp_path):
    (tmp_path / "area.fgb").touch()
    (tmp_path / "area.qml").touch()
    (tmp_path / "link").symlink_to(tmp_path)

    with pytest.raises(OutputError, match="belongs to an input"):
        check_no_input([tmp_path / "link" / "area.qml"], [tmp_path / "area.fgb"])
    with pytest.raises(OutputError, match="is read"):
        check_no_input([tmp_path / "link" / ".." / tmp_path.name / "area.fgb"], [tmp_path / "area.fgb"])
    check_no_input([tmp_path / "area.classes.json", tmp_path / "other.qml"], [tmp_path / "area.fgb"])
    assert files_beside(tmp_path / "link" / "area.fgb")[1] == tmp_path / "area.qml"


def test_json_of_classify_cannot_have_the_name_of_its_own_output(folder, monkeypatch):
    monkeypatch.chdir(folder)
    before = contents(folder)

    ended = run_command(
        "classify", "labels.gpkg", "--samples", "areas.fgb", "--field", "class", "--out", "o.gpkg",
        "--json", "./o.names.json",
    )  # fmt: skip

    assert ended.code == 2
    assert "o.names.json" in ended.text
    assert contents(folder) == before


def test_json_of_status_cannot_be_a_file_of_the_run(reported, tmp_path):
    run = tmp_path / "labels.run"
    shutil.copytree(reported / "labels.run", run)
    before = contents(run)

    ended = run_command("status", "--run-dir", run, "--json", run / "run.json", "--overwrite")

    assert ended.code == 1
    assert "is in the run folder" in ended.lines[-1]
    assert contents(run) == before


def test_names_are_not_written_before_the_class_document_is_read(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "labels.classes.json").write_text('{"classes": 1}')
    before = contents(folder)

    ended = run_command("name", "labels.gpkg", "names.csv", "--out", "o.gpkg")

    assert ended.code == 1
    assert "labels.classes.json cannot be read" in ended.lines[-1]
    assert contents(folder) == before


def test_publication_without_a_lock_still_replaces_nothing(tmp_path):
    (tmp_path / "a.json").write_text("first")

    with pytest.raises(OutputError, match="has appeared"), staged(tmp_path / "a.json", Publication()) as made:
        (made / "a.json").write_text("second")

    assert (tmp_path / "a.json").read_text() == "first"
