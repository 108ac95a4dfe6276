"""Attributes of the polygons, against the rasters of the same run."""

import json

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio

from geoseg.errors import ConfigError, OutputError
from geoseg.grid import TileGrid
from geoseg.output.paths import Outputs
from geoseg.raster.pixel_size import pixel_size
from geoseg.raster.scene import open_scene
from geoseg.run.folder import RunFolder, read_run_id
from geoseg.run.products import PIECES, TILE_SUPERPIXELS, ProductStore

from .conftest import fields
from .reference.zonal_stats import direct_attributes

SHAPE, TILE = (260, 300), 96  # of the finished run


def band(path):
    with rasterio.open(path) as raster:
        return raster.read(1)


def layer_of(path, layer="labels"):
    return pyogrio.read_dataframe(path, layer=layer)


def test_every_attribute_is_what_a_direct_computation_on_the_whole_scene_gives(landscape, finished_run):
    found = layer_of(finished_run / "labels.gpkg").sort_values("region")
    with rasterio.open(landscape) as raster:
        pixels = raster.read().astype(np.float32)
    red, nir = pixels[0].astype(float), pixels[3].astype(float)
    with np.errstate(invalid="ignore"):
        index = np.where(red + nir > 0, (nir - red) / (nir + red), np.nan)

    expected = direct_attributes(
        band(finished_run / "regions.tif"), pixels, index[None], pixel_size(open_scene(landscape).geobox)
    )

    assert found["pixels"].tolist() == expected.pixels.tolist()
    for name, values in (("area", expected.area), ("perimeter", expected.perimeter)):
        np.testing.assert_allclose(found[name], values, rtol=1e-12)
    np.testing.assert_allclose(found["compactness"], expected.compactness, rtol=1e-12)
    np.testing.assert_allclose(found["ndvi_mean"], expected.indices[:, 0], atol=1e-6)
    for family, table in (
        ("mean", expected.mean),
        ("std", expected.std),
        ("min", expected.low),
        ("max", expected.high),
    ):
        for i in range(4):
            np.testing.assert_allclose(found[f"{family}_{i + 1}"], table[:, i], rtol=1e-9, atol=1e-9, err_msg=family)


def test_confidence_is_the_mean_share_of_the_superpixels_and_0_for_pixels_of_another_class(landscape, finished_run):
    run_dir = finished_run / "labels.run"
    store = ProductStore(RunFolder(run_dir, read_run_id(run_dir)))
    regions, classes = band(finished_run / "regions.tif"), band(finished_run / "classes.tif")
    share = np.zeros(SHAPE)
    moved = np.zeros(SHAPE, bool)
    for tile in TileGrid(SHAPE, TILE, 1):  # without steps on tiles the halo is one pixel
        at = tile.core.within(open_scene(landscape).geobox.window)
        index, pieces = store.get(TILE_SUPERPIXELS, tile.number).index, store.get(PIECES, tile.number)
        moved[at] = pieces.classes[index] != classes[at]
        share[at] = np.where(moved[at], 0, pieces.confidence[index])

    found = layer_of(finished_run / "labels.gpkg").set_index("region")["confidence"]

    assert moved.any()  # some regions were too small
    means = np.bincount(regions.ravel(), share.ravel()) / np.bincount(regions.ravel())
    np.testing.assert_allclose(found, means[found.index], atol=1e-6)
    assert 0 < found.min() < found.max() <= 1


def test_layer_of_the_classes_is_the_class_raster_dissolved(finished_run):
    classes = layer_of(finished_run / "labels.gpkg", "classes")
    labels = layer_of(finished_run / "labels.gpkg")
    counts = np.bincount(band(finished_run / "classes.tif").ravel())

    document = json.loads((finished_run / "labels.classes.json").read_text())["classes"]
    for _, row in classes.iterrows():
        own = labels[labels["class"] == row["class"]]
        assert row["pixels"] == counts[row["class"]] == own["pixels"].sum()
        assert row["geometry"].equals(own.union_all())
        assert row["geometry"].is_valid
        assert row["regions"] == len(own)
        assert (row["name"], row["color"]) == tuple(document[row["class"] - 1][key] for key in ("name", "color"))
        assert row["mean_4"] == pytest.approx(np.average(own["mean_4"], weights=own["pixels"]))
    assert classes["share"].sum() == pytest.approx(1)
    assert classes["area"].sum() == pytest.approx(labels["area"].sum())


def test_color_distance_is_in_the_report_and_in_the_class_document(finished_run):
    report, document = (
        json.loads((finished_run / name).read_text()) for name in ("labels.run/run.json", "labels.classes.json")
    )

    assert report["color_distance"] == document["color_distance"] >= 10


def test_only_the_requested_attributes_are_in_the_layer(geoseg_tile, make_raster, tmp_path):
    ended = geoseg_tile(make_raster(fields()), "--attributes", "basic, mean_*,max_2", "--out", tmp_path / "a.parquet")

    assert ended.code == 0, ended.text
    assert list(geopandas.read_parquet(tmp_path / "a.parquet").columns) == [
        "region", "class", "color", "pixels", "area", "perimeter", "mean_1", "mean_2", "mean_3", "max_2", "geometry",
    ]  # fmt: skip
    beside = {path.name for path in tmp_path.iterdir()}
    assert beside == {"a.parquet", "a.qml", "a.regions.qml", "a.classes.json", "a.run", "scene.tif"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--attributes", "area,perimetr"), "no attribute 'perimetr'; the nearest one is perimeter"),
        (("--attributes", "ndvi_mean"), "give --red and --nir"),
        (("--red", 1), "give --nir too"),
        (("--class-layer", "--out", "labels.fgb"), "leave out --class-layer"),
    ],
)
def test_attributes_that_the_layer_cannot_have_are_refused_before_the_run(
    geoseg_tile, make_raster, tmp_path, options, message
):
    scene = make_raster(fields())

    ended = geoseg_tile(scene, *(tmp_path / one if one == "labels.fgb" else one for one in options))

    assert ended.code == 1
    assert message in ended.text
    assert len(ended.lines) == 1
    assert list(tmp_path.iterdir()) == [scene]


def test_red_and_nir_from_the_command_line_give_ndvi(geoseg_tile, make_raster, tmp_path):
    ended = geoseg_tile(make_raster(fields()), "--red", 3, "--nir", 1, "--attributes", "ndvi_mean,mean")

    layer = layer_of(tmp_path / "labels.gpkg")
    assert ended.code == 0, ended.text
    of_means = (layer["mean_1"] - layer["mean_3"]) / (layer["mean_1"] + layer["mean_3"])
    np.testing.assert_allclose(layer["ndvi_mean"], of_means, atol=0.02)  # the fields are even


def test_run_finished_without_the_class_layer_does_not_count_as_one_with_it(geoseg_tile, make_raster, tmp_path):
    scene = make_raster(fields())
    assert geoseg_tile(scene).code == 0

    asked = geoseg_tile(scene, "--resume", "--class-layer")
    anew = geoseg_tile(scene, "--overwrite", "--class-layer")
    again = geoseg_tile(scene, "--resume", "--class-layer")

    assert (asked.code, anew.code, again.code) == (0, 0, 0)
    assert "nothing is left to do" not in asked.text  # the output is its own and is written again
    assert "nothing is left to do" in again.text
    assert len(layer_of(tmp_path / "labels.gpkg", "classes")) > 1


def test_result_named_like_a_style_of_the_polygons_is_refused(tmp_path):
    for raster in ("labels.tif", "labels.regions.tif"):
        with pytest.raises(OutputError, match="same name"):
            Outputs(tmp_path / "labels.fgb", class_raster=tmp_path / raster).check([], overwrite=False)
    Outputs(tmp_path / "labels.gpkg", class_raster=tmp_path / "labels.regions.tif").check([], overwrite=False)


def test_class_layer_beside_anything_but_a_geopackage_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot store a second layer"):
        Outputs(tmp_path / "labels.parquet", class_layer=True).check([], overwrite=False)
