"""Output paths are checked before the work starts; every writer leaves a complete file or nothing."""

import ast
import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import shapely
from affine import Affine
from PIL import Image
from pyproj import CRS

import geoseg
from geoseg.errors import ConfigError, OutputError
from geoseg.evaluate.report import write_report as write_evaluation
from geoseg.grid import GeoBox, Window
from geoseg.output.class_document import write_classes
from geoseg.output.columns import Layer
from geoseg.output.extra_columns import Field
from geoseg.output.files import check_output, staged, write_file, writing
from geoseg.output.model import save_model
from geoseg.output.polygons import write_polygons
from geoseg.output.publication import Publication
from geoseg.output.rasters import write_class_raster, write_region_raster
from geoseg.output.style import Legend
from geoseg.preview.panels import write_gif, write_png
from geoseg.run.folder import RunFolder
from geoseg.run.manifest import write_report
from geoseg.synthetic.scene import SceneOptions, write_scene

from .test_model import a_model

UTM = CRS(32631).to_wkt()
GEOBOX = GeoBox((2, 2), Affine(1, 0, 5e5, 0, -1, 5e6), UTM)
TILES = [(Window(0, 0, 2, 2), np.ones((2, 2), np.uint8))]
LEGEND = Legend(np.array([[200, 0, 0]], np.uint8), ("class 1",))
EVALUATION = SimpleNamespace(files=("classes.tif", "reference.tif"), to_dict=lambda: {"oa": 1.0})


def polygons(path):
    layer = Layer("labels", "", "", UTM, (Field("region", pa.int32(), "Region"),))
    batch = layer.batch({"region": np.array([1])}, np.array([shapely.box(0, 0, 1, 1)]))
    write_polygons(path, [batch], layer, style="<qgis/>", overwrite=True)


def picture():
    return Image.new("RGB", (4, 4))


WRITERS = {  # file name → writer of that file
    "labels.gpkg": polygons,
    "labels.fgb": polygons,
    "labels.parquet": polygons,
    "classes.tif": lambda path: write_class_raster(path, GEOBOX, TILES, LEGEND, overwrite=True),
    "regions.tif": lambda path: write_region_raster(path, GEOBOX, TILES, overwrite=True),
    "labels.classes.json": lambda path: write_classes(path, {"format": 1}, overwrite=True),
    "city.geoseg": lambda path: save_model(path, a_model(), overwrite=True),
    "evaluation.json": lambda path: write_evaluation(path, EVALUATION, overwrite=True),
    "preview.png": lambda path: write_png(path, picture(), Publication.over([path])),
    "preview.gif": lambda path: write_gif(path, [picture(), picture()], Publication.over([path])),
    "run.json": lambda path: write_report(RunFolder(path.parent), {"failed": {}}),
    "documents/survey.json": lambda path: RunFolder(path.parents[1]).put_json("survey", {"bands": [1]}),
    "stages/label.pieces/000000/7.arrays": lambda path: RunFolder(path.parents[3]).put(
        "label.pieces", 7, {"labels": np.arange(3)}
    ),
    "scene.tif": lambda path: write_scene(path, SceneOptions(shape=(8, 8)), truth=path.with_name("truth.tif")),
}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def failing_fsync(error):
    """Return an `os.fsync` that raises: by then the content is written, and the file is not yet under its name."""

    def fsync(_handle):
        raise error

    return fsync


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_writer_that_is_interrupted_leaves_neither_the_file_nor_a_temporary_one(tmp_path, monkeypatch, name, error):
    expected = OutputError if isinstance(error, OSError) else type(error)
    reason = "No space left on device" if isinstance(error, OSError) else None
    monkeypatch.setattr(os, "fsync", failing_fsync(error))

    with pytest.raises(expected, match=reason):
        WRITERS[name](tmp_path / name)

    assert contents(tmp_path) == {}
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "scene.tif"])  # which replaces no file
def test_writer_that_is_interrupted_leaves_the_existing_file_unchanged(tmp_path, monkeypatch, name):
    WRITERS[name](tmp_path / name)
    before = contents(tmp_path)
    monkeypatch.setattr(os, "fsync", failing_fsync(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        WRITERS[name](tmp_path / name)

    assert tmp_path / name in before
    assert contents(tmp_path) == before


def test_only_the_module_for_it_moves_files_and_flushes_them():
    movers = {
        path.relative_to(Path(geoseg.__file__).parent).as_posix()
        for path in Path(geoseg.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _moves_a_file(node)
    }

    assert movers == {"output/system.py"}


def _moves_a_file(call):
    # `Path.replace` takes one argument, `str.replace` two, `dataclasses.replace` keywords.
    is_path_replace = call.func.attr == "replace" and len(call.args) == 1 and not call.keywords
    return is_path_replace or call.func.attr in ("fsync", "rename", "renames")


def test_file_is_replaced_as_a_whole_while_it_is_being_read(tmp_path):
    path = tmp_path / "report.json"
    write_file(path, b"old")

    with path.open("rb") as reader:
        write_file(path, b"new")

        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_staged_sidecar_that_is_not_written_anew_is_removed(tmp_path):
    style = tmp_path / "labels.qml"
    style.write_text("old style")

    with staged(tmp_path / "labels.fgb", Publication.over([style]), sidecars=[style]) as folder:
        (folder / "labels.fgb").write_bytes(b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["labels.fgb"]


@pytest.mark.parametrize("name", ["labels.fgb", "labels.qml", "labels.failed.geojson"])
@pytest.mark.parametrize("was_there", [False, True], ids=["appeared", "changed"])
def test_file_that_appears_or_changes_before_the_publication_is_kept_and_nothing_is_published(
    tmp_path, name, was_there
):
    output, sidecars = tmp_path / "labels.fgb", [tmp_path / "labels.qml", tmp_path / "labels.failed.geojson"]
    if was_there:
        (tmp_path / name).write_text("old")
    publication = check_output(output, overwrite=True, suffixes=(".fgb",), sidecars=sidecars)

    def publish():
        with staged(output, publication, sidecars=sidecars) as folder:
            (folder / "labels.fgb").write_text("new")
            (folder / "labels.qml").write_text("new")
            (tmp_path / name).write_text("of the user")

    with pytest.raises(OutputError, match=rf"{name} {'was changed' if was_there else 'has appeared'} since"):
        publish()

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "of the user"}


@pytest.mark.parametrize("errno_", [errno.EPERM, errno.ENOTSUP])
def test_file_is_published_where_the_file_system_has_no_hard_links(tmp_path, monkeypatch, errno_):
    def no_links(*_):
        raise OSError(errno_, "no hard links")

    monkeypatch.setattr(os, "link", no_links)

    polygons(tmp_path / "labels.fgb")

    assert (tmp_path / "labels.fgb").exists()


@pytest.mark.parametrize("name", ["labels.qml", "labels.classes.qml", "labels.failed.geojson"])
def test_sidecar_of_the_user_is_replaced_with_overwrite_only(tmp_path, name):
    sidecars = [tmp_path / name]
    sidecars[0].write_text("of the user")

    with pytest.raises(OutputError, match=rf"{name} exists and would be replaced together with labels\.fgb"):
        check_output(tmp_path / "labels.fgb", overwrite=False, suffixes=(".fgb",), sidecars=sidecars)
    check_output(tmp_path / "labels.fgb", overwrite=True, suffixes=(".fgb",), sidecars=sidecars)

    assert sidecars[0].read_text() == "of the user"


def test_output_is_the_last_of_the_staged_files_to_appear(tmp_path, monkeypatch):
    moved = []
    link = os.link
    monkeypatch.setattr(os, "link", lambda file, target: (moved.append(target.name), link(file, target))[1])

    with staged(tmp_path / "labels.fgb", Publication()) as folder:
        for name in ("labels.fgb", "labels.qml", "a.geojson"):
            (folder / name).write_bytes(b"new")

    assert moved[-1] == "labels.fgb"


def test_unsupported_suffix_is_refused_with_the_supported_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"labels\.shp ends in '\.shp'; it can end in \.gpkg, \.fgb"):
        check_output(tmp_path / "labels.shp", overwrite=False, suffixes=(".gpkg", ".fgb"))


def test_output_that_is_open_in_another_program_is_refused(tmp_path):
    path = tmp_path / "labels.gpkg"
    polygons(path)

    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("UPDATE gpkg_contents SET description = 'mine'")

        with pytest.raises(OutputError, match="open in another program"):
            check_output(path, overwrite=True, suffixes=(".gpkg",))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/labels.gpkg", "Create it first"),
        ("folder.gpkg", "is a folder"),
        ("file/labels.gpkg", "is not a folder"),
    ],
)
def test_path_that_cannot_hold_a_file_is_refused_before_the_work(tmp_path, name, message):
    (tmp_path / "folder.gpkg").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(OutputError, match=message):
        check_output(tmp_path / name, overwrite=True, suffixes=(".gpkg",))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, a folder that even root cannot write to")
def test_folder_that_is_not_writable_is_refused_before_the_work():
    with pytest.raises(OutputError, match=r"/proc/labels\.gpkg could not be written"):
        check_output(Path("/proc/labels.gpkg"), overwrite=False, suffixes=(".gpkg",))


def test_check_of_an_output_leaves_no_file(tmp_path):
    check_output(tmp_path / "labels.gpkg", overwrite=False, suffixes=(".gpkg",))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("database or disk is full"),
        RuntimeError("Failed to execute INSERT INTO t VALUES ('" + "long " * 500 + "'): database or disk is full"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_full_disk_is_named_whatever_the_library_says(tmp_path, error):
    with (
        pytest.raises(OutputError, match=r"a\.gpkg could not be written: No space left on device\."),
        writing(tmp_path / "a.gpkg"),
    ):
        raise error
