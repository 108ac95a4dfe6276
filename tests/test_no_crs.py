"""Scenes without a CRS or transform, such as pictures, in pixel coordinates."""

import json
import sqlite3
from contextlib import closing

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

import geoseg
from geoseg.errors import ConfigError, RasterError
from geoseg.raster.pixel_size import pixel_size, resolution
from geoseg.raster.scene import open_scene

from .conftest import fields, run_command

QUICK = {"method": "kmeans", "workers": 0, "classes": 4, "tile_size": 64, "min_pixels": 12}
SHAPE = (90, 120)  # rows, columns


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    Image.fromarray(np.moveaxis(fields(SHAPE, patch=30), 0, -1)).save(path)
    return path


@pytest.fixture(scope="module")
def segmented(picture, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmented")
    files = {f"{name}_raster": folder / f"{name}.tif" for name in ("class", "region")}
    geoseg.segment_scene(
        picture,
        folder / "labels.gpkg",
        allow_no_crs=True,
        class_layer=True,
        report=folder / "report.html",
        **files,
        **QUICK,
    )
    return folder


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_picture_is_refused_with_the_option_that_takes_it(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(np.moveaxis(fields(SHAPE), 0, -1)).save(path)

    with pytest.raises(RasterError, match=r"has no CRS, .*--allow-no-crs"):
        open_scene(path)
    geobox = open_scene(path, allow_no_crs=True).geobox

    assert (geobox.shape, geobox.crs) == (SHAPE, "")
    assert geobox.transform == Affine.scale(1, -1)


def test_raster_with_a_crs_but_no_transform_is_one_of_pixels(make_raster):
    with pytest.warns(NotGeoreferencedWarning):
        path = make_raster(fields(SHAPE), transform=None)

    with pytest.raises(RasterError, match=r"has a CRS but no transform\. .*--allow-no-crs"):
        open_scene(path)

    assert open_scene(path, allow_no_crs=True).geobox.crs == ""


def test_option_changes_nothing_for_a_raster_with_a_crs(make_raster):
    path = make_raster(fields(SHAPE))

    assert open_scene(path, allow_no_crs=True) == open_scene(path)


def test_transform_without_a_crs_is_kept_and_areas_are_in_pixels(make_raster):
    geobox = open_scene(make_raster(fields(SHAPE), crs=None), allow_no_crs=True).geobox

    assert geobox.transform.a == 10
    assert resolution(geobox) == 0  # unknown
    assert {tuple(np.unique(size)) for size in vars(pixel_size(geobox)).values()} == {(1.0,)}


def test_polygons_have_pixel_coordinates_and_areas_and_no_crs(segmented):
    polygons = geopandas.read_file(segmented / "labels.gpkg", layer="labels")

    assert polygons.crs is None
    assert polygons.total_bounds.tolist() == [0, -SHAPE[0], SHAPE[1], 0]
    assert (polygons["area"] == polygons["pixels"]).all()
    assert polygons["area"].sum() == SHAPE[0] * SHAPE[1]
    with rasterio.open(segmented / "class.tif") as raster:
        assert raster.crs is None
        assert raster.transform == Affine.scale(1, -1)
        classes = raster.read(1)
    inside = polygons.representative_point()
    assert (classes[(-inside.y).astype(int), inside.x.astype(int)] == polygons["class"]).all()


def test_columns_and_texts_say_pixels(segmented):
    with closing(sqlite3.connect(segmented / "labels.gpkg")) as database:
        titles = dict(database.execute("SELECT column_name, name FROM gpkg_data_columns WHERE table_name = 'labels'"))
        texts = [text for (text,) in database.execute("SELECT description FROM gpkg_contents")]
    report = (segmented / "report.html").read_text(encoding="utf-8")

    assert titles["area"] == "Area (px)"
    assert titles["perimeter"] == "Perimeter along pixel edges (px)"
    assert any("in pixels" in text for text in texts)
    assert not any("metres" in text for text in texts)
    assert "m²" not in report.partition("<script")[0]


@pytest.mark.parametrize("suffix", [".parquet", ".fgb"])
def test_outlines_of_its_classes_have_no_crs_either(segmented, tmp_path, suffix):
    out = tmp_path / f"outlines{suffix}"

    ended = run_command(
        "outline", segmented / "class.tif", "--allow-no-crs", "--values", segmented / "region.tif", "--out", out,
        "--workers", 0, "-q",
    )  # fmt: skip

    assert ended.code == 0, ended.text
    read = geopandas.read_parquet if suffix == ".parquet" else geopandas.read_file
    outlines = read(out)
    assert outlines.crs is None
    assert outlines["pixels"].sum() == SHAPE[0] * SHAPE[1]
    assert (outlines["std_1"] == 0).all()


def test_other_commands_take_it_too(picture, tmp_path, capsys):
    shown = run_command("info", picture, "--allow-no-crs", "--method", "kmeans", "--workers", 0, "--json", "-q")
    facts = json.loads(capsys.readouterr().out)
    drawn = run_command(
        "preview", picture, "--allow-no-crs", "--stage", "superpixels", "--window-size", 64,
        "--out", tmp_path / "preview.png", "-q",
    )  # fmt: skip

    assert (shown.code, drawn.code) == (0, 0), shown.text + drawn.text
    assert facts["crs"] == ""
    assert (tmp_path / "preview.png").is_file()


def test_area_of_interest_is_in_pixels_too(picture, tmp_path):
    square = [shapely.box(10, -50, 40, -20)]
    with pytest.warns(UserWarning, match="crs"):
        geopandas.GeoSeries(square).to_file(tmp_path / "area.gpkg")
    geopandas.GeoSeries(square, crs="EPSG:32631").to_file(tmp_path / "placed.gpkg")

    result = geoseg.segment_scene(
        picture, tmp_path / "labels.gpkg", allow_no_crs=True, aoi=tmp_path / "area.gpkg", **QUICK
    )

    assert result.polygons().total_bounds.tolist() == [10, -50, 40, -20]
    with pytest.raises(RasterError, match="has a CRS and the scene has none"):
        open_scene(picture, allow_no_crs=True, aoi=tmp_path / "placed.gpkg")


def test_smallest_area_in_square_metres_is_refused(picture, tmp_path):
    with pytest.raises(ConfigError, match="the area of a pixel of the scene is unknown"):
        geoseg.segment_scene(
            picture, tmp_path / "labels.gpkg", allow_no_crs=True, **QUICK | {"min_pixels": None, "min_area": 20}
        )
