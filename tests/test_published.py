"""What a run may replace, and what it depends on: no file of the user is lost, and no result is a mixture."""

import fcntl
import json
import os
import shutil
import sqlite3
from contextlib import closing, contextmanager

import geopandas
import numpy as np
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal

from geoseg.errors import OutputError, RunError
from geoseg.pipeline import outline_labels, segment_scene
from geoseg.steps import vectorize, write

from .conftest import fields, rest_slow, write_raster

OPTIONS = {"method": "kmeans", "classes": 4, "workers": 0, "min_pixels": 12, "simplify": 0, "tiles__size": 96}


@pytest.fixture
def scene(tmp_path):
    return write_raster(tmp_path / "scene.tif", fields((96, 160)))


@pytest.fixture
def segment(scene, tmp_path):
    """segment(name of the polygons, **options) → Result."""

    def run(out="labels.gpkg", **options):
        return segment_scene(scene, tmp_path / out, **OPTIONS | options)

    return run


def contents(folder):
    """Return the content of each file by its name; of a GeoPackage, which has a time in it, that of its layer."""
    return {path.name: content(path) for path in sorted(folder.iterdir()) if path.is_file()}


def content(path):
    if path.suffix != ".gpkg":
        return path.read_bytes()
    return geopandas.read_file(path, layer="labels").to_wkt().to_csv()


@contextmanager
def interrupted(module, name):
    """Let a function raise Ctrl-C instead of being called, and expect it."""

    def stop(*_arguments, **_options):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, stop)
        with pytest.raises(KeyboardInterrupt):
            yield


# --- files of the user --------------------------------------------------------------------------------------------

SIDECARS = {
    "labels.fgb": ("labels.qml", "labels.regions.qml", "labels.failed.geojson", "labels.classes.json"),
    "labels.parquet": ("labels.qml", "labels.regions.qml", "labels.failed.geojson"),
}
RASTER_SIDECARS = ("classes.qml", "classes.tif.aux.xml", "classes.tif.ovr", "classes.tif.msk", "regions.tif.aux.xml")


@pytest.mark.parametrize(
    ("out", "name"),
    rest_slow(
        [
            *(("a.gpkg", name) for name in RASTER_SIDECARS),
            *((out, name) for out, names in SIDECARS.items() for name in names),
        ],
        quick=2,
    ),
)
def test_every_file_of_a_result_is_replaced_with_overwrite_only(segment, tmp_path, out, name):
    rasters = {"class_raster": tmp_path / "classes.tif", "region_raster": tmp_path / "regions.tif"}
    (tmp_path / name).write_text("of the user")
    before = contents(tmp_path)

    with pytest.raises(OutputError, match=rf"{name} exists.*--overwrite"):
        segment(out, **rasters)

    assert contents(tmp_path) == before
    segment(out, **rasters, overwrite=True)
    assert not (tmp_path / name).exists() or (tmp_path / name).read_bytes() != b"of the user"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["cover.qml", "cover.tif.aux.xml", "cover.tif.ovr", "cover.tif.msk", "cover.tif"])
def test_file_that_belongs_to_an_input_is_never_replaced(tmp_path, name, overwrite):
    write_raster(tmp_path / "cover.tif", (fields((96, 160))[:1] // 60).astype(np.uint8))
    if name.endswith((".qml", ".xml")):
        (tmp_path / name).write_text("<PAMDataset/>")
    elif name != "cover.tif":
        shutil.copy(tmp_path / "cover.tif", tmp_path / name)
    before = contents(tmp_path)
    rasters = {} if name.endswith(".qml") else {"region_raster": tmp_path / "cover.tif"}

    with pytest.raises(OutputError, match=r"belongs to an input|is the scene itself|exists"):
        outline_labels(
            tmp_path / "cover.tif", tmp_path / ("cover.fgb" if not rasters else "out.gpkg"), **rasters,
            workers=0, overwrite=overwrite,
        )  # fmt: skip

    assert contents(tmp_path) == before


def test_style_that_an_earlier_run_wrote_beside_its_input_may_be_overwritten(segment):
    segment("scene.fgb")

    assert segment("scene.fgb", overwrite=True).n_regions


@pytest.fixture
def project(tmp_path):
    """A GeoPackage of the user with a layer, a table without geometry, a view, and a style."""
    path = tmp_path / "project.gpkg"
    frame = geopandas.GeoDataFrame({"owner": ["a", "b"]}, geometry=[shapely.box(0, 0, 1, 1)] * 2, crs=32633)
    frame.to_file(path, layer="parcels")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE notes (text)")
        database.execute("INSERT INTO notes VALUES ('mine')")
        database.execute("CREATE VIEW owners AS SELECT owner FROM parcels")
    return path


def test_other_tables_of_a_geopackage_that_is_overwritten_are_kept_and_named(segment, project, tmp_path):
    expected = geopandas.read_file(project, layer="parcels")
    notes = []

    with pytest.raises(OutputError, match=r"project\.gpkg exists"):
        segment("project.gpkg")
    segment("project.gpkg", overwrite=True, class_layer=True, progress=lambda event: notes.append(str(event)))
    segment("project.gpkg", overwrite=True)

    assert any("keeps its other tables: notes, owners, parcels" in note for note in notes)
    assert_geodataframe_equal(geopandas.read_file(project, layer="parcels"), expected)
    with closing(sqlite3.connect(project)) as database:
        assert database.execute("SELECT * FROM notes").fetchall() == [("mine",)]
        assert database.execute("SELECT * FROM owners").fetchall() == [("a",), ("b",)]
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        layers = {name for (name,) in database.execute("SELECT table_name FROM gpkg_contents")}
        styles = {name for (name,) in database.execute("SELECT f_table_name FROM layer_styles")}
    assert layers == {"parcels", "labels", "layer_styles"}  # the second run wrote no layer of classes
    assert styles == {"labels"}
    segment("alone.gpkg")
    there, alone = (geopandas.read_file(tmp_path / name, layer="labels") for name in ("project.gpkg", "alone.gpkg"))
    assert_geodataframe_equal(there, alone)


@pytest.mark.parametrize("layer", ["labels", "classes", "failed_tiles"])
def test_layer_of_the_user_with_the_name_of_ours_is_never_replaced(segment, tmp_path, layer):
    path = tmp_path / "project.gpkg"
    geopandas.GeoDataFrame({"owner": ["a"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=32633).to_file(path, layer=layer)
    before = path.read_bytes()

    with pytest.raises(OutputError, match=rf"has a layer {layer} that geoseg did not write"):
        segment("project.gpkg", overwrite=True)

    assert path.read_bytes() == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", rest_slow(["labels.gpkg", "labels.classes.json", "classes.tif", "classes.qml"]))
def test_file_that_appears_during_the_run_is_kept_and_the_run_goes_on_after_it_is_moved(
    segment, tmp_path, monkeypatch, name, overwrite
):
    write_results = write.write_results

    def write_late(*arguments):
        (tmp_path / name).write_text("of the user")
        return write_results(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(write, "write_results", write_late)
        with pytest.raises(OutputError, match=rf"{name} has appeared since the outputs were checked"):
            segment(class_raster=tmp_path / "classes.tif", overwrite=overwrite)

    assert (tmp_path / name).read_text() == "of the user"
    with pytest.raises(OutputError, match=rf"{name} (exists|has changed)"):
        segment(class_raster=tmp_path / "classes.tif", resume=True)
    (tmp_path / name).rename(tmp_path / "moved")
    assert segment(class_raster=tmp_path / "classes.tif", resume=True).n_regions
    assert (tmp_path / "moved").read_text() == "of the user"


# --- two runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", rest_slow(["labels.gpkg", "classes.tif", "labels.classes.json"]))
def test_output_that_another_run_writes_is_refused_before_the_work(segment, tmp_path, name):
    lock = tmp_path / f".{name}.geoseg-lock"
    with lock.open("w") as other:
        other.write("process 7 on node")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)

        with pytest.raises(RunError, match=rf"another run uses .*{name} \(process 7 on node\); wait for it"):
            segment(class_raster=tmp_path / "classes.tif", run_dir=tmp_path / "other.run")

    assert segment(class_raster=tmp_path / "classes.tif").n_regions
    assert not list(tmp_path.glob(".*"))


# --- interruption while the outputs are published -----------------------------------------------------------------


@pytest.mark.parametrize("overwrite", rest_slow([False, True]))
@pytest.mark.parametrize("writer", rest_slow(["write_class_raster", "write_region_raster", "write_classes", "finish"]))
def test_run_that_is_interrupted_between_two_outputs_is_resumed(segment, tmp_path, writer, overwrite):
    rasters = {"class_raster": tmp_path / "classes.tif", "region_raster": tmp_path / "regions.tif"}
    segment(**rasters)
    whole = contents(tmp_path)
    if overwrite:
        (tmp_path / "classes.tif").write_text("an older file")
    else:
        for name in set(whole) - {"scene.tif"}:
            (tmp_path / name).unlink()
        shutil.rmtree(tmp_path / "labels.run")

    with interrupted(write, writer):
        segment(**rasters, overwrite=overwrite)
    segment(**rasters, resume=True)

    assert contents(tmp_path) == whole


# --- a finished run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", rest_slow(["labels.gpkg", "classes.tif", "labels.classes.json"]))
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda old: old[:-1] + bytes([old[-1] ^ 1]), id="flipped"),
        pytest.param(lambda old: old[:50], id="cut", marks=pytest.mark.slow),
        pytest.param(lambda _: b"", id="emptied", marks=pytest.mark.slow),
    ],
)
def test_output_that_has_changed_since_the_run_is_not_taken_for_its_result(segment, tmp_path, name, damage):
    outputs = {"class_raster": tmp_path / "classes.tif"}
    segment(**outputs)
    whole = contents(tmp_path)
    changed = damage((tmp_path / name).read_bytes())
    (tmp_path / name).write_bytes(changed)

    with pytest.raises(OutputError, match=rf"{name} has changed since the run .* wrote it"):
        segment(**outputs, resume=True)

    assert (tmp_path / name).read_bytes() == changed
    (tmp_path / name).unlink()
    segment(**outputs, resume=True)
    assert contents(tmp_path) == whole


def test_geopackage_that_was_only_looked_at_is_still_the_result(segment, tmp_path):
    segment()
    with closing(sqlite3.connect(tmp_path / "labels.gpkg")) as database:  # as QGIS does
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("SELECT count(*) FROM labels").fetchall()
        database.execute("PRAGMA journal_mode = DELETE")
    notes = []

    segment(resume=True, progress=lambda event: notes.append(str(event)))

    assert any("nothing is left to do" in note for note in notes)


def test_results_and_run_folder_that_were_moved_together_are_still_finished(segment, tmp_path):
    segment()
    (tmp_path / "moved").mkdir()
    for name in ("labels.gpkg", "labels.classes.json", "labels.run"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    notes = []

    segment("moved/labels.gpkg", resume=True, progress=lambda event: notes.append(str(event)))

    assert any("nothing is left to do" in note for note in notes)


# --- what a result depends on -------------------------------------------------------------------------------------


def test_scene_whose_content_changed_with_the_same_size_and_time_is_not_resumed(segment, scene):
    with interrupted(vectorize, "merge_regions"):
        segment()
    content, status = bytearray(scene.read_bytes()), scene.stat()
    content[len(content) // 2] ^= 1
    scene.write_bytes(content)
    os.utime(scene, ns=(status.st_atime_ns, status.st_mtime_ns))

    with pytest.raises(RunError, match=r"belong to another input.*input\.scene\.tif\.blake2b"):
        segment(resume=True)


def test_scene_that_was_touched_or_copied_is_resumed(segment, scene):
    with interrupted(vectorize, "merge_regions"):
        segment()
    scene.write_bytes(scene.read_bytes())

    assert segment(resume=True).n_regions


@pytest.mark.parametrize("step", rest_slow(["label_tile", "outline_tile"]))
@pytest.mark.parametrize("is_put_back", [False, True])
def test_scene_that_changes_during_the_run_stops_it_and_nothing_is_published(
    segment, scene, tmp_path, monkeypatch, step, is_put_back
):
    function, content = getattr(vectorize, step), scene.read_bytes()

    def changing(*arguments):
        scene.write_bytes(bytes(len(content)))
        if is_put_back:
            scene.write_bytes(content)
        return function(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(vectorize, step, changing)
        with pytest.raises(RunError, match=r"scene\.tif was changed during the run"):
            segment()

    assert not (tmp_path / "labels.gpkg").exists()
    if is_put_back:
        resumed = segment(resume=True)
        unbroken = segment("whole.gpkg")
        assert resumed.polygons().drop(columns="geometry").equals(unbroken.polygons().drop(columns="geometry"))
    else:
        with pytest.raises((RunError, ValueError)):
            segment(resume=True)


def test_area_whose_crs_file_changed_is_another_area(segment, tmp_path):
    shape = shapely.box(500_100, 4_999_300, 501_200, 4_999_900)
    area = geopandas.GeoDataFrame(geometry=[shape], crs=32631)
    area.to_file(tmp_path / "area.shp")
    with interrupted(vectorize, "merge_regions"):
        segment(aoi=tmp_path / "area.shp")
    prj = tmp_path / "area.prj"
    prj.write_text(prj.read_text().replace('"Central_Meridian",3.0', '"Central_Meridian",3.002'))

    with pytest.raises(RunError, match=r"belong to another input.*aoi"):
        segment(aoi=tmp_path / "area.shp", resume=True)


def test_run_of_other_package_versions_is_not_resumed(segment, monkeypatch):
    with interrupted(vectorize, "merge_regions"):
        segment()
    monkeypatch.setattr("geoseg.run.plan.result_versions", lambda: {"numpy": "1.0"})

    with pytest.raises(RunError, match=r"packages\.numpy"):
        segment(resume=True)


def test_report_lists_what_was_published(segment, tmp_path):
    result = segment("labels.fgb", class_raster=tmp_path / "classes.tif")

    report = json.loads((tmp_path / "labels.run" / "run.json").read_text())
    names = {os.path.normpath(f"labels.run/{name}") for name in report["published"]}
    assert names == {path.name for path in result.outputs.files if path.exists()}


@pytest.mark.parametrize("option", ["overwrite", "resume"])
def test_folder_of_another_program_with_a_report_is_refused_as_a_run_folder(segment, tmp_path, option):
    web = tmp_path / "web"
    web.mkdir()
    (web / "run.json").write_text('{"name": "web"}')
    (tmp_path / "labels.gpkg").write_text("of the user")

    with pytest.raises((RunError, OutputError), match=r"web is not a run folder|labels\.gpkg exists"):
        segment(run_dir=web, **{option: True})

    assert (web / "run.json").read_text() == '{"name": "web"}'
    assert (tmp_path / "labels.gpkg").read_text() == "of the user"


def test_damaged_report_does_not_keep_a_run_from_starting_again(segment, tmp_path):
    segment()
    (tmp_path / "labels.run" / "run.json").write_text("{")

    with pytest.raises(RunError, match=r"run\.json is damaged"):
        segment(resume=True)

    assert segment(overwrite=True).n_regions
