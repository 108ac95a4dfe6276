"""Names of classes: `geoseg name` on a made-up layer."""

import json

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

import geoseg
from geoseg.errors import ConfigError, OutputError, RasterError, RunError
from geoseg.report.finished_run import Places, find_run

from .conftest import run_command, write_raster

CSV = "class,name,color\n1,water,#0000ff\n2,forest,\n3,forest,\n"


@pytest.fixture
def labels(tmp_path):
    columns = {"region": [1, 2, 3, 4], "class": [1, 2, 3, 4], "color": ["#111111", "#222222", "#333333", "#444444"]}
    boxes = [shapely.box(x, 0, x + 1, 1) for x in range(4)]
    geopandas.GeoDataFrame(columns, geometry=boxes, crs="EPSG:32632").to_file(tmp_path / "labels.gpkg", layer="labels")
    leaves = [{"name": f"class {i} (25.0 %)", "class": i} for i in range(1, 5)]
    document = {
        "classes": [{"class": i, "name": f"class {i} (25.0 %)", "color": "#000000"} for i in range(1, 5)],
        "merges": [],
        "tree": {"name": "scene", "children": [{"children": leaves[:2]}, *leaves[2:]]},
    }
    (tmp_path / "labels.classes.json").write_text(json.dumps(document))
    (tmp_path / "names.csv").write_text(CSV)
    return tmp_path / "labels.gpkg"


def read(path):
    return pyogrio.read_dataframe(path, layer="labels").sort_values("region")


def test_classes_get_names_and_colours_and_others_their_numbers(labels, tmp_path):
    result = geoseg.name_classes(labels, tmp_path / "names.csv", tmp_path / "named.gpkg")

    named = read(result.path)
    assert list(named["name"]) == ["water", "forest", "forest", "class 4"]
    assert list(named["color"]) == ["#0000ff", "#222222", "#333333", "#444444"]
    assert result.notes == ("1 classes are without a name, and are called by their numbers: 4.",)
    style = pyogrio.read_dataframe(result.path, layer="layer_styles", read_geometry=False)["styleQML"][0]
    assert style.count("<category ") == 3
    assert 'value="forest"' in style


def test_names_are_in_the_class_document_and_its_tree(labels, tmp_path):
    geoseg.name_classes(labels, {1: "water"}, tmp_path / "named.gpkg")

    text = (tmp_path / "named.classes.json").read_text()
    document = json.loads(text)
    assert [each["name"] for each in document["classes"]] == ["water", "class 2", "class 3", "class 4"]
    assert document["tree"]["children"][0]["children"][0]["name"] == "water"
    assert document["named_from"]["polygons"] == "labels.gpkg"


def test_class_raster_has_the_names_as_categories(labels, tmp_path):
    pixels = np.array([[[1, 2], [3, 0]]], np.uint8)
    write_raster(tmp_path / "classes.tif", pixels, nodata=0)

    geoseg.name_classes(
        labels,
        tmp_path / "names.csv",
        tmp_path / "named.gpkg",
        raster=tmp_path / "classes.tif",
        class_raster=tmp_path / "named.tif",
    )

    with rasterio.open(tmp_path / "named.tif") as raster:
        assert (raster.read() == pixels).all()
        assert raster.colormap(1)[1] == (0, 0, 255, 255)
    assert "<Category>forest</Category>" in (tmp_path / "named.tif.aux.xml").read_text()


def test_class_that_the_polygons_lack_is_refused_in_a_raster(labels, tmp_path):
    write_raster(tmp_path / "classes.tif", np.full((1, 2, 2), 9, np.uint8))

    with pytest.raises(RasterError, match="has class 9"):
        geoseg.name_classes(
            labels, {1: "a"}, tmp_path / "n.gpkg", raster=tmp_path / "classes.tif", class_raster=tmp_path / "n.tif"
        )

    assert not (tmp_path / "n.tif").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line of"),
        ("id,name\n1,a\n", "expected the names of the columns: class,name,color"),
        ("class,name\n", "has no lines with names"),
        ("class,name\none,a\n", "line 2 of .* has the class 'one'"),
        ("class,name\n1,\n", "line 2 of .* has no name for class 1"),
        ("class,name\n1,a\n1,b\n", "two lines for class 1"),
        ("class,name,color\n1,a,red\n", "line 2 of .* has the colour 'red'"),
        ("class,name\n77,a\n", "none of the named classes 77"),
        ("class,name\n1,a\xff".encode("latin-1"), "Expected a CSV file in UTF-8"),
    ],
)
def test_wrong_tables_are_refused_and_nothing_is_written(labels, tmp_path, text, message):
    (tmp_path / "names.csv").write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(RasterError, match=message):
        geoseg.name_classes(labels, tmp_path / "names.csv", tmp_path / "named.gpkg")

    assert not (tmp_path / "named.gpkg").exists()


def test_tables_of_other_programs_are_read(labels, tmp_path):
    (tmp_path / "names.csv").write_bytes("\ufeffName;Class;area\r\nWässer;1;5\r\n;;\r\n".encode())

    named = read(geoseg.name_classes(labels, tmp_path / "names.csv", tmp_path / "named.gpkg").path)

    assert named["name"].iloc[0] == "Wässer"


def test_inputs_are_never_replaced_and_rasters_come_in_pairs(labels, tmp_path):
    with pytest.raises(OutputError, match="is a file that is read"):
        geoseg.name_classes(labels, {1: "a"}, labels, overwrite=True)
    with pytest.raises(ConfigError, match="expected both or neither"):
        geoseg.name_classes(labels, {1: "a"}, tmp_path / "n.gpkg", class_raster=tmp_path / "n.tif")


def test_command_prints_what_was_named(labels, tmp_path, capsys):
    done = run_command("name", labels, tmp_path / "names.csv", "--out", tmp_path / "named.gpkg")

    assert done.code == 0
    assert "4 classes with names" in capsys.readouterr().out


def test_report_of_named_polygons_shows_the_names(reported, tmp_path):
    geoseg.name_classes(reported / "labels.gpkg", {1: "water"}, tmp_path / "named.gpkg")

    run = find_run(tmp_path / "named.gpkg", Places(run_dir=reported / "labels.run"))

    assert run.classes.classes[1][0] == "water"
    assert not any("has changed" in note for note in run.notes)


def test_report_of_polygons_that_are_named_from_another_run_is_refused(labels, reported, tmp_path):
    geoseg.name_classes(labels, {1: "water"}, tmp_path / "named.gpkg")

    with pytest.raises(RunError, match="was not written by the run"):
        find_run(tmp_path / "named.gpkg", Places(run_dir=reported / "labels.run"))
