"""The size of pixels is in metres, whatever the units of the CRS are."""

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Geod, Transformer

from geoseg.grid import GeoBox, Window
from geoseg.raster.pixel_size import pixel_size

DEGREES = GeoBox((40, 50), Affine(0.01, 0, 10, 0, -0.01, 48), CRS(4326).to_wkt())


def test_area_of_a_geographic_scene_is_the_geodesic_area_of_its_outline():
    outline = _outline(DEGREES)  # along the parallels, which are not geodesics

    area, perimeter = Geod(ellps="WGS84").polygon_area_perimeter(*outline)

    size = pixel_size(DEGREES)
    assert size.area.sum() * 50 == pytest.approx(abs(area), rel=1e-7)
    assert size.width[[0, -1]].sum() * 50 + 2 * size.height.sum() == pytest.approx(perimeter, rel=1e-7)


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:3395", "EPSG:4087", "+proj=mill +units=us-ft"])
def test_world_projection_is_measured_on_the_ellipsoid(crs):
    geobox = GeoBox((30, 40), Affine(500, 0, 1e6, 0, -500, 6e6), CRS(crs).to_wkt())
    to_degrees = Transformer.from_crs(crs, CRS(crs).geodetic_crs, always_xy=True).transform

    area, perimeter = CRS(crs).get_geod().polygon_area_perimeter(*to_degrees(*_outline(geobox)))

    size = pixel_size(geobox)
    assert size.area.sum() * 40 == pytest.approx(abs(area), rel=1e-6)
    assert size.width[[0, -1]].sum() * 40 + 2 * size.height.sum() == pytest.approx(perimeter, rel=1e-6)


def test_world_projection_across_the_antimeridian_has_pixels_of_the_usual_size():
    here = GeoBox((3, 2), Affine(100, 0, 0, 0, -100, 6e6), CRS(3857).to_wkt())
    there = GeoBox((3, 2), Affine(100, 0, 20037508.342789244 - 150, 0, -100, 6e6), CRS(3857).to_wkt())

    np.testing.assert_allclose(pixel_size(there).area, pixel_size(here).area, rtol=1e-6)


def test_us_survey_feet_become_metres():
    geobox = GeoBox((2, 2), Affine(3, 0, 1e6, 0, -4, 2e5), CRS(2263).to_wkt())

    size = pixel_size(geobox)

    foot = 1200 / 3937
    assert size.area == pytest.approx(12 * foot**2)
    assert size.width == pytest.approx(3 * foot)
    assert size.height == pytest.approx(4 * foot)


def test_grads_are_angles_like_degrees():
    degrees = GeoBox((2, 2), Affine(0.9, 0, 9, 0, -0.9, 45), "+proj=longlat +a=6378249.2 +b=6356515 +no_defs")
    grads = GeoBox((2, 2), Affine(1, 0, 10, 0, -1, 50), CRS(4807).to_wkt())

    np.testing.assert_allclose(pixel_size(grads).area, pixel_size(degrees).area, rtol=1e-9)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32631"])
def test_rotating_or_mirroring_the_grid_keeps_the_area(crs):
    scale = 1e-5 if crs == "EPSG:4326" else 10.0
    place = (
        Affine.translation(3, 0) if crs == "EPSG:4326" else Affine.translation(5e5, 1e5)
    )  # where a degree is equally long in both directions
    plain = pixel_size(GeoBox((4, 5), place @ Affine.scale(scale, -scale), crs))

    for change in (Affine.rotation(30), Affine.rotation(90), Affine.scale(-1, 1), Affine.scale(1, -1)):
        changed = pixel_size(GeoBox((4, 5), place @ change @ Affine.scale(scale, -scale), crs))

        np.testing.assert_allclose(changed.area, plain.area, rtol=1e-6)


def test_rows_beyond_the_pole_have_size_0_and_no_nan():
    overhang = GeoBox((3, 4), Affine(1, 0, 0, 0, -1, 92), "EPSG:4326")
    outside = GeoBox((3, 4), Affine(1e6, 0, 0, 0, -1e6, 1.2e7), "EPSG:4087")

    assert pixel_size(overhang).area[0] == 0
    assert np.isfinite(pixel_size(outside).area).all()


def _outline(geobox):
    rows, cols = geobox.shape
    along, down = np.linspace(0, cols, 400, endpoint=False), np.linspace(0, rows, 400, endpoint=False)
    cols_of = np.concatenate([along, np.full(400, cols), cols - along, np.zeros(400)])
    rows_of = np.concatenate([np.zeros(400), down, np.full(400, rows), rows - down])
    return geobox.transform @ (cols_of, rows_of)


def _satellite():
    return "+proj=geos +h=35785831 +lon_0=-75 +sweep=x +units=m"


@pytest.mark.parametrize(
    ("crs", "corner", "size"),
    [
        ("EPSG:3413", (-3e6, -2e6), 300),  # polar stereographic, far from its standard parallel
        ("EPSG:3031", (3e6, 1e6), 300),
        (_satellite(), (2e6, 3e6), 500),
        ("+proj=moll +lon_0=0", (9e6, 5e6), 1000),  # equal-area, but lengths are distorted
    ],
)
def test_distorting_projection_is_measured_on_the_ellipsoid_per_pixel(crs, corner, size):
    geobox = GeoBox((30, 40), Affine(size, 0, corner[0], 0, -size, corner[1]), CRS(crs).to_wkt())
    to_degrees = Transformer.from_crs(crs, CRS(crs).geodetic_crs, always_xy=True).transform

    area, perimeter = CRS(crs).get_geod().polygon_area_perimeter(*to_degrees(*_outline(geobox)))

    found = pixel_size(geobox)
    assert found.area.shape == (30, 40)
    assert found.area.sum() == pytest.approx(abs(area), rel=1e-5)
    perimeter_of_pixels = found.width[[0, -1]].sum() + found.height[:, [0, -1]].sum()
    assert perimeter_of_pixels == pytest.approx(perimeter, rel=1e-5)


@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:2154", "EPSG:27700", "EPSG:25832"])
def test_national_grid_is_measured_in_its_own_plane(crs):
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(*((-2, 53) if crs == "EPSG:27700" else (4, 48)))

    size = pixel_size(GeoBox((30, 40), Affine(10, 0, x, 0, -10, y), CRS(crs).to_wkt()))

    assert (set(size.area), set(size.width), set(size.height)) == ({100.0}, {10.0}, {10.0})


def test_windows_of_a_distorted_scene_have_the_same_pixel_sizes_as_the_scene():
    scene = GeoBox((64, 96), Affine(3000, 0, -1e5, 0, -3000, -8e5), CRS(3413).to_wkt())
    window = Window(40, 10, 30, 20)

    whole, part = pixel_size(scene), pixel_size(scene.cropped(window), scene)

    rows, cols = window.within(scene.window)
    np.testing.assert_allclose(part.area, whole.area[rows, cols], rtol=1e-9)
    np.testing.assert_allclose(part.width, whole.width[10:31, cols], rtol=1e-9)
    np.testing.assert_allclose(part.height, whole.height[rows, 40:71], rtol=1e-9)


def test_geostationary_pixels_beside_the_earth_have_size_0():
    geobox = GeoBox((10, 20), Affine(3e5, 0, -6e6, 0, -3e5, 1e6), CRS(_satellite()).to_wkt())

    size = pixel_size(geobox)

    assert size.area[0, 0] == 0 < size.area[0, 19]
    assert np.isfinite(size.area).all()
    assert np.isfinite(size.width).all()


@pytest.mark.parametrize("pole", [3413, 3031])
def test_pixel_at_a_pole_is_about_as_large_as_its_neighbours(pole):
    size = pixel_size(GeoBox((4, 4), Affine(1e4, 0, -2.1e4, 0, -1e4, 1.9e4), CRS(pole).to_wkt()))

    assert size.area.min() > 0.9e8
