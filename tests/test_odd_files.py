"""Unusual files of other programs give a correct result or one clear line."""

import warnings
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from pyproj import CRS

from .conftest import run_command

ODD = Path(__file__).resolve().parents[2] / "shared" / "data" / "odd"

pytestmark = pytest.mark.skipif(not ODD.is_dir(), reason="the folder with odd files is not next to this repository")

SMALL = """
network: {kernels: [1], channels: [16], inputs: bands}
learn: {windows: 8, crop: 64, batch: 4, steps: 8}
classify: {classes: 6}
polygons: {min_pixels: 64}
"""
slow = pytest.mark.slow

SEGMENTED = {  # file → what is odd about it
    "RGB.byte.tif": "nodata 0 in every band, pixels that are not quite square",
    "RGB2.byte.tif": "external mask beside it",
    "RGBA.byte.tif": "alpha",
    "RGBA.uint16.tif": "alpha of 16 bits, constant colour, bands in the order blue green red",
    "cog_dateline.tif": "crosses the antimeridian",
    "cog_scale.tif": "scale and offset, nodata 0 in signed bands, a CRS without a code",
    "cogeo.tif": "JPEG with an internal mask",
    "goes.tif": "a geostationary full disc; half of the pixels are not on the Earth",
    "image_float.tif": "float64 in degrees",
    "sar_rotated.tif": "rotated grid",
    "world.rgb.tif": "the whole world in degrees",
}
QUICK = {"RGB.byte.tif", "RGB2.byte.tif", "RGBA.uint16.tif", "cog_scale.tif"}  # one of each kind of nodata
REFUSED = {  # file → part of the error message
    "389225main_sw_1965_1024.jpg": "has no CRS",
    "RGB.byte.gcp.vrt": "ground control points only",
    "all-nodata.tif": "nothing to segment",
    "cog_cmap.tif": "palette indices",
    "cog_gcps.tif": "ground control points only",
    "float_nan.tif": "has no CRS",
    "inverted_lat.tif": "nothing to segment",
    "rotated.tif": "has no CRS",
    "slc.tif": "complex numbers",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def segment(tmp_path, config):
    """Segment a file: segment(name, *options) → (Ended, polygons, class raster)."""

    def run(name, *options):
        out, classes = tmp_path / "labels.gpkg", tmp_path / "classes.tif"
        ended = run_command(
            "tile", ODD / name, "--out", out, "--class-raster", classes, "--config", config, "--workers", 0,
            "--device", "cpu", *options,
        )  # fmt: skip
        assert "Traceback" not in ended.text
        return ended, out, classes

    return run


def expected_valid(name):
    """Return which pixels are valid according to rasterio and numpy."""
    with rasterio.open(ODD / name) as raster:
        pixels = raster.read(masked=False)
        valid = raster.dataset_mask() > 0
    return valid & np.isfinite(pixels).all(axis=0)


def check_result(name, out, classes, valid):
    """Compare polygons and class raster with the raster and its valid pixels."""
    layer = pyogrio.read_dataframe(out, layer="labels")
    with rasterio.open(ODD / name) as source, rasterio.open(classes) as made:
        assert (made.shape, made.transform, made.crs) == (source.shape, source.transform, source.crs)
        assert CRS(layer.crs).equals(CRS(source.crs.to_wkt()), ignore_axis_order=True)
        np.testing.assert_array_equal(made.read(1) > 0, valid)
        corners = [
            source.transform @ corner for corner in ((0, 0), (source.width, 0), (0, source.height), source.shape[::-1])
        ]
        pixel = abs(source.transform.determinant)
    xs, ys = zip(*corners, strict=True)
    slack = 1e-9 * max(map(abs, (*xs, *ys)))
    left, bottom, right, top = layer.total_bounds
    assert min(xs) - slack <= left <= right <= max(xs) + slack
    assert min(ys) - slack <= bottom <= top <= max(ys) + slack
    assert shapely.is_valid(layer.geometry).all()
    assert shapely.area(layer.geometry).sum() == pytest.approx(valid.sum() * pixel, rel=1e-9)
    assert layer["pixels"].sum() == valid.sum()
    assert np.isfinite(layer[["area", "perimeter"]]).all(axis=None)


def test_every_file_of_the_folder_is_tested():
    files = {path.name for path in ODD.iterdir() if path.suffix != ".msk"}

    assert files == {*SEGMENTED, *REFUSED, "corrupt.tif"}


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=slow) for name in SEGMENTED])
def test_odd_file_becomes_polygons_of_exactly_its_valid_pixels(segment, name):
    ended, out, classes = segment(name)

    assert ended.code == 0, ended.text
    assert all(line.startswith("geoseg: ") for line in ended.lines)
    check_result(name, out, classes, expected_valid(name))


@pytest.mark.parametrize(("name", "reason"), REFUSED.items(), ids=REFUSED)
def test_file_that_cannot_be_segmented_is_refused_in_one_line(segment, name, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would be a second line
        ended, out, classes = segment(name)

    assert ended.code == 1
    (line,) = ended.lines
    assert line.startswith("geoseg: ")
    assert str(ODD / name) in line
    assert reason in line
    assert not out.exists()
    assert not classes.exists()


def test_damaged_file_becomes_polygons_of_all_tiles_except_the_damaged_one(segment):
    ended, out, classes = segment("corrupt.tif", "--tile-size", 512)

    assert ended.code == 3
    assert "1 tile failed" in ended.lines[-1]
    with rasterio.open(ODD / "corrupt.tif") as raster:
        valid = raster.dataset_mask() > 0
    valid[512:, 512:] = False
    check_result("corrupt.tif", out, classes, valid)
    failed = pyogrio.read_dataframe(out, layer="failed_tiles")
    assert failed["tile"].tolist() == [3]


def test_polygons_of_a_rotated_raster_have_the_class_of_the_pixels_below_them(segment, tmp_path):
    name = "sar_rotated.tif"
    with rasterio.open(ODD / name) as raster:
        area = shapely.Point(raster.transform @ (1000, 1000)).buffer(60, quad_segs=1)
        geopandas.GeoSeries([area], crs=raster.crs).to_file(tmp_path / "area.gpkg")

    ended, out, classes = segment(name, "--aoi", tmp_path / "area.gpkg", "--simplify", 0)

    assert ended.code == 0, ended.text
    layer = pyogrio.read_dataframe(out, layer="labels")
    assert layer.union_all().symmetric_difference(area).area < 0.03 * area.area
    with rasterio.open(classes) as raster:
        points = layer.representative_point()
        found = [int(value[0]) for value in raster.sample(zip(points.x, points.y, strict=True))]
    assert found == layer["class"].tolist()
