"""Attributes: a region has the same numbers however it was tiled, in metres on the ground."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Geod, Transformer
from scipy import ndimage

from geoseg.errors import RunError, TileError
from geoseg.grid import GeoBox, TileGrid, Window
from geoseg.polygons.attributes import Sums, columns, combine, pixel_size, sums

DEGREES = GeoBox((40, 50), Affine(0.01, 0, 10, 0, -0.01, 48), CRS(4326).to_wkt())
UTM = GeoBox((40, 50), Affine(2, 0, 5e5, 0, -2, 5e6), CRS(32631).to_wkt())


def _scene(seed, shape=(40, 50), n_bands=3):
    """Regions (0 = no data) of a random map and pixels that are large and little spread."""
    rng = np.random.default_rng(seed)
    classes = (
        rng.integers(0, 3, (shape[0] // 5 + 1, shape[1] // 5 + 1)).repeat(5, 0).repeat(5, 1)[: shape[0], : shape[1]]
    )
    regions = np.zeros(shape, np.int64)
    for value in (1, 2):
        numbers, _ = ndimage.label(classes == value)
        regions[numbers > 0] = numbers[numbers > 0] + regions.max()
    return regions, (60_000 + rng.normal(0, 5, (n_bands, *shape))).astype(np.float32)


def _of_tile(regions, pixels, geobox, window):
    """Sums of one tile, and the region of each piece."""
    inside = np.pad(regions, 1)[window.row_off : window.row_end + 2, window.col_off : window.col_end + 2]
    core = inside[1:-1, 1:-1]
    pieces, numbers = np.zeros(core.shape, np.int32), []
    for region in np.unique(core[core > 0]):
        parts, n_parts = ndimage.label(core == region)
        pieces[parts > 0] = parts[parts > 0] + len(numbers)
        numbers += [region] * n_parts
    rows, cols = window.within(geobox.window)
    size = pixel_size(geobox.cropped(window))
    table = sums(pieces, pixels[:, rows, cols], regions=inside, size=size, n_pieces=len(numbers))
    return table, np.array(numbers, np.int64)


def _in_tiles(regions, pixels, geobox, size):
    tiles = TileGrid(geobox.shape, size, 0)
    return combine((_of_tile(regions, pixels, geobox, tile.core) for tile in tiles), int(regions.max()))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(3, 30), geobox=st.sampled_from([DEGREES, UTM]))
def test_tiles_of_any_size_give_the_sums_of_the_whole_scene(seed, size, geobox):
    regions, pixels = _scene(seed)

    tiled = _in_tiles(regions, pixels, geobox, size)

    whole = _in_tiles(regions, pixels, geobox, 64)
    np.testing.assert_array_equal(tiled.pixels, whole.pixels)
    for name, values in whole.to_arrays().items():
        np.testing.assert_allclose(tiled.to_arrays()[name], values, rtol=1e-9, atol=1e-9, err_msg=name)


def test_mean_and_std_are_those_of_numpy_in_float64():
    regions, pixels = _scene(1)

    found = columns(_in_tiles(regions, pixels, UTM, 7))

    for number in range(1, regions.max() + 1):
        values = pixels[:, regions == number].astype(np.float64)
        assert found["pixels"][number - 1] == values.shape[1]
        for band in range(3):
            assert found[f"mean_{band + 1}"][number - 1] == pytest.approx(values[band].mean(), rel=1e-12)
            assert found[f"std_{band + 1}"][number - 1] == pytest.approx(values[band].std(), rel=1e-9, abs=1e-9)


def test_even_region_of_the_brightest_value_has_no_spread():
    pixels = np.full((1, 40, 50), 65_535, np.float32)

    found = columns(_in_tiles(np.ones((40, 50), np.int64), pixels, UTM, 9))

    assert found["std_1"].tolist() == [0.0]


def test_combining_the_same_tiles_twice_gives_the_same_bytes():
    regions, pixels = _scene(2)

    once, again = (_in_tiles(regions, pixels, DEGREES, 8).to_arrays() for _ in range(2))

    assert all(once[name].tobytes() == again[name].tobytes() for name in once)


def test_perimeter_counts_each_pixel_edge_to_another_region_to_no_data_and_to_the_rim():
    regions = np.array([[1, 1, 2], [1, 0, 2]])
    geobox = GeoBox((2, 3), Affine(3, 0, 0, 0, -5, 0), CRS(32631).to_wkt())

    found = _in_tiles(regions, np.zeros((1, 2, 3), np.float32), geobox, 64)

    # region 1: 3 edges above and below in width, and left and right; region 2: 2 and 4
    assert found.perimeter.tolist() == [4 * 3 + 4 * 5, 2 * 3 + 4 * 5]
    assert found.area.tolist() == [45, 30]


def test_perimeter_of_a_region_across_tiles_has_no_edge_on_the_tile_line():
    found = _in_tiles(np.ones((40, 50), np.int64), np.zeros((1, 40, 50), np.float32), UTM, 7)

    assert found.perimeter[0] == pytest.approx(2 * (40 + 50) * 2)


def test_perimeter_in_degrees_takes_the_length_of_each_parallel():
    regions = np.repeat([[1], [2], [3]], 50, axis=1)
    geobox = GeoBox((3, 50), Affine(0.01, 0, 10, 0, -1, 60), DEGREES.crs)

    found = _in_tiles(regions, np.zeros((1, 3, 50), np.float32), geobox, 64)

    size = pixel_size(geobox)
    expected = 50 * (size.width[:-1] + size.width[1:]) + 2 * size.height
    np.testing.assert_allclose(found.perimeter, expected, rtol=1e-12)


def test_area_of_a_geographic_scene_is_the_geodesic_area_of_its_outline():
    rim = _outline(DEGREES)  # along the parallels: a geodesic between two corners would cut them short

    area, perimeter = Geod(ellps="WGS84").polygon_area_perimeter(*rim)

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


def test_world_projection_across_the_date_line_has_pixels_of_the_usual_size():
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
def test_turning_or_mirroring_the_grid_keeps_the_area(crs):
    scale = 1e-5 if crs == "EPSG:4326" else 10.0
    place = Affine.translation(3, 0) if crs == "EPSG:4326" else Affine.translation(5e5, 1e5)  # a degree is round there
    plain = pixel_size(GeoBox((4, 5), place @ Affine.scale(scale, -scale), crs))

    for turn in (Affine.rotation(30), Affine.rotation(90), Affine.scale(-1, 1), Affine.scale(1, -1)):
        turned = pixel_size(GeoBox((4, 5), place @ turn @ Affine.scale(scale, -scale), crs))

        np.testing.assert_allclose(turned.area, plain.area, rtol=1e-6)


def test_rows_beyond_the_pole_have_no_size_and_no_nan():
    overhang = GeoBox((3, 4), Affine(1, 0, 0, 0, -1, 92), "EPSG:4326")
    outside = GeoBox((3, 4), Affine(1e6, 0, 0, 0, -1e6, 1.2e7), "EPSG:4087")

    assert pixel_size(overhang).area[0] == 0
    assert np.isfinite(pixel_size(outside).area).all()


def test_saved_arrays_give_the_sums_back(tmp_path):
    regions, pixels = _scene(3)
    table = _in_tiles(regions, pixels, UTM, 64)
    np.savez(tmp_path / "sums.npz", **table.to_arrays())

    with np.load(tmp_path / "sums.npz") as arrays:
        back = Sums.from_arrays(arrays)

    for name, values in table.to_arrays().items():
        np.testing.assert_array_equal(back.to_arrays()[name], values)


def test_columns_are_named_for_the_bands_of_the_raster():
    table = Sums.zeros(1, 2)

    assert list(columns(table, bands=[4, 2])) == ["pixels", "area", "perimeter", "mean_4", "mean_2", "std_4", "std_2"]


def test_piece_with_an_impossible_region_is_refused():
    with pytest.raises(RunError, match="2 pieces and 2 region numbers, which must lie in 0 to 5"):
        combine([(Sums.zeros(2, 1), np.array([1, 6]))], 5)


@pytest.mark.parametrize(("n_pieces", "rim"), [(1, 1), (2, 0)])
def test_arrays_that_do_not_fit_are_refused_before_anything_is_counted(n_pieces, rim):
    pieces, geobox = np.array([[1, 2]], np.int32), UTM.cropped(Window(0, 0, 2, 1))

    with pytest.raises(TileError, match=f"do not fit {n_pieces} pieces"):
        sums(
            pieces,
            np.zeros((1, 1, 2), np.float32),
            regions=np.pad(pieces, rim),
            size=pixel_size(geobox),
            n_pieces=n_pieces,
        )


def test_no_tiles_give_regions_without_pixels():
    assert combine([], 3).pixels.tolist() == [0, 0, 0]


def _outline(geobox):
    rows, cols = geobox.shape
    along, down = np.linspace(0, cols, 400, endpoint=False), np.linspace(0, rows, 400, endpoint=False)
    cols_of = np.concatenate([along, np.full(400, cols), cols - along, np.zeros(400)])
    rows_of = np.concatenate([np.zeros(400), down, np.full(400, rows), rows - down])
    return geobox.transform @ (cols_of, rows_of)
