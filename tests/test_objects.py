"""Objects in levels: connected pieces of the coarser classes with numbers of the whole scene, as columns and layers."""

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

import geoseg
from geoseg.errors import ConfigError, OutputError

from .conftest import fields, run_command, write_raster
from .tilings import regions_of

QUICK = {"method": "kmeans", "classes": 6, "workers": 0, "min_pixels": 12, "simplify": 0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run on a scene with nodata, in one tile and in several."""
    folder = tmp_path_factory.mktemp("objects")
    pixels = fields((110, 150), 3, seed=6, patch=24, noise=9)
    pixels[:, :20, :30] = 0
    scene = write_raster(folder / "scene.tif", pixels, nodata=0)
    for name, size in (("whole", 512), ("tiled", 64)):
        geoseg.segment_scene(
            scene, folder / f"{name}.gpkg", levels=[4, 2], tile_size=size, region_raster=folder / f"{name}.tif", **QUICK
        )
    return folder


def layer_of(path, name):
    frame = geopandas.read_file(path, layer=name)
    return frame.sort_values("region" if name == "labels" else "object", ignore_index=True)


@pytest.mark.parametrize("level", [4, 2])
def test_objects_are_the_connected_pieces_of_the_coarser_classes_in_their_order(runs, level):
    labels = layer_of(runs / "tiled.gpkg", "labels")
    with rasterio.open(runs / "tiled.tif") as file:
        regions = file.read(1)

    objects, classes = (np.append(0, labels[f"{kind}_{level}"])[regions] for kind in ("object", "class"))

    np.testing.assert_array_equal(objects, regions_of(classes))


@pytest.mark.parametrize("name", ["labels", "objects_4", "objects_2"])
def test_columns_and_layers_do_not_depend_on_the_tiles(runs, name):
    whole, tiled = (layer_of(runs / f"{run}.gpkg", name) for run in ("whole", "tiled"))

    assert list(whole.columns) == list(tiled.columns)
    assert (whole["color"] == tiled["color"]).all()
    for column in whole.columns.drop(["color", "geometry"]):
        np.testing.assert_allclose(tiled[column], whole[column], rtol=1e-9, atol=1e-9, err_msg=column)
    assert shapely.area(shapely.symmetric_difference(whole.geometry, tiled.geometry)).max() == 0


def test_layer_of_objects_has_the_pixels_of_their_regions(runs):
    labels, objects = layer_of(runs / "tiled.gpkg", "labels"), layer_of(runs / "tiled.gpkg", "objects_4")

    grouped = labels.groupby("object_4")
    assert shapely.coverage_is_valid(np.asarray(objects.geometry))
    assert objects["object"].tolist() == list(range(1, len(grouped) + 1))
    assert objects["pixels"].tolist() == grouped["pixels"].sum().tolist()
    assert objects["regions"].tolist() == grouped.size().tolist()
    np.testing.assert_allclose(objects.geometry.area, objects["area"])
    np.testing.assert_allclose(objects.geometry.length, objects["perimeter"])  # simplify 0: along the pixels
    weights = labels["pixels"] / grouped["pixels"].transform("sum")
    np.testing.assert_allclose(objects["mean_2"], (labels["mean_2"] * weights).groupby(labels["object_4"]).sum())
    np.testing.assert_allclose(objects["max_2"], grouped["max_2"].max())
    assert (labels.groupby("object_4")["object_2"].nunique() == 1).all()
    assert (objects["class"] == grouped["class_4"].first().to_numpy()).all()


def test_dissolving_by_the_column_gives_the_polygons_of_the_layer(runs, tmp_path):
    geoseg.dissolve_polygons(runs / "tiled.gpkg", tmp_path / "a.gpkg", by="object_4")

    found = geopandas.read_file(tmp_path / "a.gpkg", layer="labels").sort_values("object_4")
    expected = layer_of(runs / "tiled.gpkg", "objects_4")
    assert shapely.equals(shapely.normalize(found.geometry), shapely.normalize(expected.geometry)).all()
    assert found["pixels"].tolist() == expected["pixels"].tolist()


def test_layers_of_objects_have_a_style_and_are_written_anew(runs, tmp_path):
    styles = pyogrio.read_dataframe(runs / "tiled.gpkg", layer="layer_styles")
    out = tmp_path / "a.gpkg"
    out.write_bytes((runs / "tiled.gpkg").read_bytes())

    geoseg.segment_scene(runs / "scene.tif", out, levels=[2], overwrite=True, **QUICK)

    assert {"labels", "objects_4", "objects_2"} == set(styles["f_table_name"])
    assert set(pyogrio.list_layers(out)[:, 0]) == {"labels", "objects_2", "layer_styles"}


def test_levels_that_cannot_be_are_refused_before_the_run(runs, tmp_path):
    for options, error, text in (
        ({"levels": [8]}, ConfigError, "levels has 8, and the scene has at most 6 classes"),
        ({"levels": "8,4"}, ConfigError, r"expected numbers of classes such as \[8, 4\]"),
        ({"levels": [3]}, ConfigError, "no objects of 3 classes"),
        ({"levels": [2], "out": "a.fgb"}, (ConfigError, OutputError), "further layers"),
    ):
        out = tmp_path / options.pop("out", "a.gpkg")
        with pytest.raises(error, match=text):
            geoseg.segment_scene(runs / "scene.tif", out, **options, **QUICK)
        assert not out.with_suffix(".run").exists()
    ended = run_command("tile", runs / "scene.tif", "--out", tmp_path / "b.gpkg", "--levels", "4,x")
    assert ended.code == 2
