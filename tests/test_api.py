"""The public functions: their names, their results, and their errors for wrong input."""

import importlib
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest

import geoseg
from geoseg.errors import GeosegError

from .conftest import fields, write_raster


def _id(value):
    """Return an id that is the same in every process: without the address of an object."""
    return type(value).__name__ if type(value) is object or isinstance(value, np.ndarray) else str(value)


QUICK = {"method": "kmeans", "classes": 4, "workers": 0, "min_pixels": 12}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with a scene, a raster of labels, and files that are neither."""
    folder = tmp_path_factory.mktemp("inputs")
    pixels = fields((64, 80), patch=20)
    write_raster(folder / "scene.tif", pixels)
    write_raster(folder / "cover.tif", (pixels[:1] // 60).astype(np.uint8))
    (folder / "text.tif").write_text("not a raster")
    (folder / "empty.tif").write_bytes(b"")
    return folder


# --- names --------------------------------------------------------------------------------------------------------


def test_list_of_public_names_is_the_table_of_their_modules():
    listed = [name for names in geoseg._MODULES.values() for name in names]

    assert sorted(listed) == sorted(geoseg.__all__)
    assert len(listed) == len(set(listed))
    assert set(geoseg.__all__) <= set(dir(geoseg))


@pytest.mark.parametrize("name", geoseg.__all__)
def test_public_name_is_that_of_its_module(name):
    assert getattr(geoseg, name) is getattr(importlib.import_module(geoseg._HOMES[name]), name)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'segment_raster'"):
        geoseg.segment_raster  # noqa: B018 # looking it up is the test


# --- results ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
def test_result_has_polygons_classes_and_tree_in_every_format(inputs, tmp_path, suffix):
    result = geoseg.segment_scene(inputs / "scene.tif", tmp_path / f"labels{suffix}", **QUICK)

    polygons, classes = result.polygons(), result.classes()
    assert isinstance(polygons, geopandas.GeoDataFrame)
    assert isinstance(classes, pd.DataFrame)
    assert polygons["region"].nunique() == result.n_regions
    assert polygons["class"].nunique() == result.n_classes
    assert polygons.crs == "EPSG:32631"
    assert polygons["pixels"].sum() == 64 * 80
    assert classes["pixels"].sum() == 64 * 80
    assert result.tree.n_clusters >= result.n_classes
    assert f"{result.n_regions} regions of {result.n_classes} classes in {tmp_path}" in repr(result)
    assert not result.failed


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
def test_result_of_outlined_labels_has_classes_from_its_polygons_and_no_tree(inputs, tmp_path, suffix):
    result = geoseg.outline_labels(inputs / "cover.tif", tmp_path / f"cover{suffix}", workers=0)

    polygons, classes = result.polygons(), result.classes()
    assert result.tree is None
    assert set(classes.index) == set(polygons["class"])
    assert classes["pixels"].sum() == polygons["pixels"].sum() == 64 * 80
    assert classes["regions"].sum() == result.n_regions


def test_str_and_path_give_the_same(inputs, tmp_path):
    made = []
    for kind in (str, Path):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        outputs = {name: kind(folder / f"{name}.tif") for name in ("class_raster", "region_raster")}
        geoseg.segment_scene(kind(inputs / "scene.tif"), kind(folder / "labels.fgb"), **outputs, **QUICK)
        geoseg.outline_labels(
            kind(inputs / "cover.tif"), kind(folder / "cover.fgb"), values=kind(inputs / "scene.tif"), workers=0
        )
        made.append({path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".tif", ".fgb")})

    assert made[0] == made[1]
    assert len(made[0]) == 4


def test_finished_run_that_is_resumed_gives_an_equal_result(inputs, tmp_path):
    first = geoseg.segment_scene(inputs / "scene.tif", tmp_path / "labels.gpkg", **QUICK)
    again = geoseg.segment_scene(inputs / "scene.tif", tmp_path / "labels.gpkg", resume=True, **QUICK)

    assert repr(again) == repr(first)
    assert again.seconds == first.seconds
    np.testing.assert_array_equal(again.tree.merges, first.tree.merges)


# --- wrong input --------------------------------------------------------------------------------------------------

WRONG_FILES = {
    "None": lambda _: None,
    "list": lambda _: [],
    "list of paths": lambda folder: [folder / "scene.tif"],
    "number": lambda _: 5,
    "fraction": lambda _: 0.5,
    "object": lambda _: object(),
    "bytes": lambda _: b"scene.tif",
    "array": lambda _: np.zeros((3, 8, 8)),
    "empty word": lambda _: "",
    "absent": lambda folder: folder / "absent.tif",
    "folder": lambda folder: folder,
    "empty file": lambda folder: folder / "empty.tif",
    "text": lambda folder: folder / "text.tif",
}
wrong_file = pytest.mark.parametrize("wrong", WRONG_FILES.values(), ids=WRONG_FILES.keys())


def refused(function, *arguments, **options):
    """Call a function that must refuse its input with one line."""
    with pytest.raises(GeosegError) as caught:
        function(*arguments, **options)
    text = str(caught.value)
    assert text
    assert "\n" not in text


@wrong_file
def test_wrong_scene_is_refused(inputs, tmp_path, wrong):
    refused(geoseg.segment_scene, wrong(inputs), tmp_path / "out.gpkg", **QUICK)

    assert not list(tmp_path.iterdir())


@wrong_file
def test_wrong_labels_are_refused(inputs, tmp_path, wrong):
    refused(geoseg.outline_labels, wrong(inputs), tmp_path / "out.gpkg", workers=0)

    assert not list(tmp_path.iterdir())


@wrong_file
def test_wrong_raster_of_values_is_refused(inputs, tmp_path, wrong):
    if wrong(inputs) is None or isinstance(wrong(inputs), list):
        return  # no values, or several rasters of them
    refused(geoseg.outline_labels, inputs / "cover.tif", tmp_path / "out.gpkg", values=wrong(inputs), workers=0)

    assert not list(tmp_path.iterdir())


@wrong_file
def test_wrong_output_is_refused(inputs, wrong):
    refused(geoseg.segment_scene, inputs / "scene.tif", wrong(inputs), **QUICK)
    refused(geoseg.outline_labels, inputs / "cover.tif", wrong(inputs), workers=0)


@wrong_file
def test_wrong_scene_of_a_preview_is_refused(inputs, tmp_path, wrong):
    refused(geoseg.preview_scene, wrong(inputs), tmp_path / "out.png", device="cpu")


@wrong_file
def test_wrong_files_of_an_evaluation_are_refused(inputs, wrong):
    refused(geoseg.evaluate_classes, wrong(inputs), inputs / "cover.tif")
    refused(geoseg.evaluate_classes, inputs / "cover.tif", wrong(inputs))


@pytest.mark.parametrize("source", [5, 0.5, [], "absent", "absent.yaml", b"x", object(), {"sede": 1}, {"tiles": 3}])
def test_wrong_config_is_refused(inputs, tmp_path, source):
    refused(geoseg.load_config, source)
    refused(geoseg.segment_scene, inputs / "scene.tif", tmp_path / "out.gpkg", config=source, workers=0)
    refused(geoseg.preview_scene, inputs / "scene.tif", tmp_path / "out.png", source, device="cpu")


@pytest.mark.parametrize(
    "option",
    [
        *({"classes": value} for value in (0, -1, "many", [4], 2.5, 10**9)),
        *({"workers": value} for value in (-1, "two", 1.5, [])),
        *({name: value} for name in ("aoi", "model") for value in (5, [], "absent", "")),
        *({name: value} for name in ("resume", "overwrite", "keep", "class_layer") for value in ("yes", 1, [])),
        *({"class_raster": value} for value in (5, [], "classes.png", "/absent/classes.tif")),
        *({"device": value} for value in ("gpu", 0)),
        *({"seed": value} for value in ("x", [], 1.5)),
        {"bands": 3},
        {"bands": [9]},
        {"attributes": ["nothing"]},
        {"resume": True, "overwrite": True},
        {"tiles__": 1},
        {"__": 1},
    ],
    ids=_id,
)
def test_wrong_option_is_refused(inputs, tmp_path, option):
    refused(geoseg.segment_scene, inputs / "scene.tif", tmp_path / "out.gpkg", **QUICK | option)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option",
    [
        *({"band": value} for value in (0, 9, "x", [], 1.5)),
        *({"nodata": value} for value in ("x", [], 1.5, 2**70, np.zeros(2))),
        *({name: value} for name in ("min_pixels", "simplify") for value in (-1, "x", [])),
        {"save_model": "a.geoseg"},
        {"class_raster": "a.tif"},
        {"bands": [1]},
        {"classes": 4},
        {"seed": 1},
        {"method": "kmeans"},
        {"superpixels__scale": 3},
        {"halo": 16, "tile_steps": 2},
    ],
    ids=_id,
)
def test_wrong_option_of_outlining_is_refused(inputs, tmp_path, option):
    refused(geoseg.outline_labels, inputs / "cover.tif", tmp_path / "out.gpkg", workers=0, **option)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("labels", [None, "x", [], 5, np.zeros((2, 3, 4)), [[0.5]], [["a"]], object()], ids=_id)
def test_wrong_array_of_labels_is_refused(labels):
    refused(geoseg.polygonize, labels, transform=(10, 0, 0, 0, -10, 0), crs="EPSG:32631")


@pytest.mark.parametrize("function", [geoseg.felzenszwalb, geoseg.slic, geoseg.segment_array])
@pytest.mark.parametrize("image", [None, "x", [], 5, [["a"]], object(), np.zeros((2, 2, 2, 2))], ids=_id)
def test_wrong_image_is_refused(function, image):
    refused(function, image)
