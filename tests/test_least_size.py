"""The smallest size of a region in m², converted to pixels of the scene."""

import pytest
from affine import Affine

import geoseg
from geoseg.config import Config, load_config
from geoseg.errors import ConfigError
from geoseg.grid import GeoBox
from geoseg.run.least_size import least_size_note, with_least_size

from .conftest import fields, run_command


def grid(crs, size, *, top=5_000_000.0, left=500_000.0):
    return GeoBox((100, 200), Affine(size, 0, left, 0, -size, top), crs)


@pytest.mark.parametrize(
    ("geobox", "area", "n_pixels"),
    [
        (grid("EPSG:32631", 0.5), 16, 64),
        (grid("EPSG:32631", 0.5), 16.1, 65),  # rounded up
        (grid("EPSG:32631", 0.3), 0.09 * 7, 7),  # although 0.3 is no binary fraction
        (grid("EPSG:32631", 10), 100, 1),
        (grid("EPSG:2263", 1, top=200_000, left=1_000_000), 100, 1077),  # feet: 0.0929 m²
        (grid("EPSG:4326", 0.0001, top=0.005, left=10), 12_308, 100),  # 123.08 m² at the equator
        (grid("EPSG:4326", 0.0001, top=60.005, left=10), 6_216, 100),  # 62.16 m² at 60°
    ],
)
def test_area_becomes_the_number_of_pixels_that_reach_it(geobox, area, n_pixels):
    config = with_least_size(load_config(polygons__min_area=area), geobox)

    assert abs(config.polygons.min_pixels - n_pixels) <= (n_pixels >= 100)
    assert with_least_size(config, geobox) == config
    assert f"{config.polygons.min_pixels} pixels" in least_size_note(config)


def test_config_without_an_area_is_unchanged():
    assert with_least_size(Config(), grid("EPSG:32631", 1)) == Config()
    assert least_size_note(Config()) is None


def test_area_below_a_pixel_is_refused():
    with pytest.raises(ConfigError, match=r"min_area is 99 m², less than a pixel of the scene \(100 m²\)"):
        with_least_size(load_config(polygons__min_area=99.0), grid("EPSG:32631", 10))


def test_both_sizes_are_refused_together_and_the_last_one_given_counts():
    with pytest.raises(ConfigError, match="min_pixels and min_area both give the smallest size"):
        load_config(polygons__min_pixels=3, polygons__min_area=3.0)

    by_area = load_config("aerial", polygons__min_area=50.0)
    by_pixels = load_config(by_area, polygons__min_pixels=9)

    assert with_least_size(by_area, grid("EPSG:32631", 1)).polygons.min_pixels == 50
    assert with_least_size(by_pixels, grid("EPSG:32631", 1)).polygons.min_pixels == 9


@pytest.mark.parametrize("area", [0, -1, float("nan"), "much"])
def test_area_that_is_none_is_refused(area):
    with pytest.raises(ConfigError, match=r"polygons\.min_area"):
        load_config(polygons__min_area=area)


@pytest.mark.parametrize("command", ["tile", "outline"])
def test_commands_refuse_both(make_raster, tmp_path, command):
    scene = make_raster(fields((64, 64)))

    ended = run_command(command, scene, "--out", tmp_path / "a.gpkg", "--min-pixels", 3, "--min-area", 3)

    assert ended.code == 1
    assert "give one of them" in ended.text


def test_outlines_are_sieved_by_area(make_raster, tmp_path):
    labels = (fields((64, 96), 1, patch=8, noise=0) // 60).astype("uint8")
    path = make_raster(labels)  # pixels of 100 m²

    by_area = geoseg.outline_labels(path, tmp_path / "area.gpkg", min_area=12_800, workers=0)
    by_pixels = geoseg.outline_labels(path, tmp_path / "pixels.gpkg", min_pixels=128, workers=0)

    assert by_area.n_regions == by_pixels.n_regions
    assert by_area.polygons().equals(by_pixels.polygons())
    assert by_area.polygons()["area"].min() >= 12_800
