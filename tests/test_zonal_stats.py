"""Attributes: a region has the same numbers however it was tiled, in metres on the ground."""

import tracemalloc

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS
from scipy import ndimage

from geoseg.errors import RunError, TileError
from geoseg.grid import GeoBox, TileGrid, Window
from geoseg.raster.pixel_size import pixel_size
from geoseg.run.disk_tables import DiskTables
from geoseg.vectorize.zonal_stats import ZonalSums, columns, combine, zonal_sums

from .reference.zonal_stats import direct_attributes

DEGREES = GeoBox((40, 50), Affine(0.01, 0, 10, 0, -0.01, 48), CRS(4326).to_wkt())
POLAR = GeoBox((40, 50), Affine(900, 0, 3e6, 0, -900, 2e6), CRS(3413).to_wkt())  # 10 % off
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


def _indices(seed, shape=(40, 50)):
    """Two indices from −1 to 1; the second one has no value on a third of the pixels, among them all of region 1."""
    values = np.random.default_rng(seed).uniform(-1, 1, (2, *shape)).astype(np.float32)
    values[1, values[0] < -1 / 3] = np.nan
    return values


def _of_tile(regions, pixels, geobox, window, indices=None):
    """ZonalSums of one tile, and the region of each piece."""
    inside = np.pad(regions, 1)[window.row_off : window.row_end + 2, window.col_off : window.col_end + 2]
    core = inside[1:-1, 1:-1]
    pieces, numbers = np.zeros(core.shape, np.int32), []
    for region in np.unique(core[core > 0]):
        parts, n_parts = ndimage.label(core == region)
        pieces[parts > 0] = parts[parts > 0] + len(numbers)
        numbers += [region] * n_parts
    rows, cols = window.within(geobox.window)
    size = pixel_size(geobox.cropped(window), geobox)
    table = zonal_sums(
        pieces,
        pixels[:, rows, cols],
        regions=inside,
        size=size,
        n_pieces=len(numbers),
        indices=None if indices is None else indices[:, rows, cols],
    )
    return table, np.array(numbers, np.int64)


def _in_tiles(regions, pixels, geobox, size, indices=None):
    tiles = TileGrid(geobox.shape, size, 0)
    return combine((_of_tile(regions, pixels, geobox, tile.core, indices) for tile in tiles), int(regions.max()))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(3, 30), geobox=st.sampled_from([DEGREES, POLAR, UTM]))
def test_tiles_of_any_size_give_the_sums_of_the_whole_scene(seed, size, geobox):
    regions, pixels = _scene(seed)

    tiled = _in_tiles(regions, pixels, geobox, size)

    whole = _in_tiles(regions, pixels, geobox, 64)
    np.testing.assert_array_equal(tiled.pixels, whole.pixels)
    for name, values in whole.to_arrays().items():
        np.testing.assert_allclose(tiled.to_arrays()[name], values, rtol=1e-9, atol=1e-9, err_msg=name)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(3, 30), geobox=st.sampled_from([DEGREES, POLAR, UTM]))
def test_tiled_attributes_are_those_computed_from_the_whole_arrays(seed, size, geobox):
    regions, pixels = _scene(seed)
    indices = _indices(seed)
    indices[1, regions == 1] = np.nan

    found = columns(_in_tiles(regions, pixels, geobox, size, indices), bands=[4, 2, 9], indices=["first", "second"])

    expected = direct_attributes(regions, pixels, indices, pixel_size(geobox))
    assert np.isnan(found["second"][0])
    for names, values in (
        (["pixels"], expected.pixels),
        (["area"], expected.area),
        (["perimeter"], expected.perimeter),
        (["compactness"], expected.compactness),
        (["first", "second"], expected.indices),
        (["mean_4", "mean_2", "mean_9"], expected.mean),
        (["std_4", "std_2", "std_9"], expected.std),
        (["min_4", "min_2", "min_9"], expected.low),
        (["max_4", "max_2", "max_9"], expected.high),
    ):
        got = np.stack([found[name] for name in names], axis=1)
        np.testing.assert_allclose(got, values.reshape(got.shape), rtol=1e-9, atol=2e-6, err_msg=str(names))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(3, 30))
def test_extremes_and_indices_do_not_depend_on_the_tiles_by_a_single_bit(seed, size):
    regions, pixels = _scene(seed)

    tiled, whole = (_in_tiles(regions, pixels, UTM, s, _indices(seed)).to_arrays() for s in (size, 64))

    for name in ("pixels", "low", "high", "counted", "total"):
        assert tiled[name].tobytes() == whole[name].tobytes(), name


def test_compactness_is_1_for_a_square_and_less_for_a_strip_of_the_same_area():
    regions = np.zeros((40, 50), np.int64)
    regions[5:11, 5:11], regions[20:22, 5:23] = 1, 2

    found = columns(_in_tiles(regions, np.zeros((1, 40, 50), np.float32), UTM, 7))

    assert found["compactness"].tolist() == [1.0, pytest.approx(16 * 36 / 40**2)]


def test_square_in_degrees_is_no_more_compact_than_1():
    found = columns(_in_tiles(np.ones((40, 50), np.int64), np.zeros((1, 40, 50), np.float32), DEGREES, 64))

    assert 0.9 < found["compactness"][0] <= 1


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


def test_perimeter_counts_each_pixel_edge_to_another_region_to_nodata_and_to_the_outside_of_the_scene():
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


def test_saved_arrays_give_the_sums_back(tmp_path):
    regions, pixels = _scene(3)
    table = _in_tiles(regions, pixels, UTM, 64, _indices(3))
    np.savez(tmp_path / "sums.npz", **table.to_arrays())

    with np.load(tmp_path / "sums.npz") as arrays:
        back = ZonalSums.from_arrays(arrays)

    for name, values in table.to_arrays().items():
        np.testing.assert_array_equal(back.to_arrays()[name], values)


def test_sums_on_the_disk_are_the_same_with_a_few_bytes_per_region_in_memory(tmp_path):
    n, n_tiles = 5000, 40  # regions of a tile
    draw = np.random.default_rng(0)
    part = ZonalSums(
        *(draw.integers(1, 9, n), draw.random(n), draw.random(n)),
        *(draw.random((n, 3)), draw.random((n, 3))),
        *(draw.random((n, 3), np.float32), draw.random((n, 3), np.float32)),
        *(draw.integers(1, 9, (n, 1)), draw.integers(1, 9, (n, 1))),
    )
    tables = [(part, draw.permutation(2 * n)[:n] + 1 + n * tile) for tile in range(n_tiles)]
    expected = combine(tables, n * (n_tiles + 1))

    tracemalloc.start()
    found = combine(tables, n * (n_tiles + 1), DiskTables(tmp_path, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    for name, values in expected.to_arrays().items():
        np.testing.assert_array_equal(found.to_arrays()[name], values, strict=True)
    assert peak / len(found.pixels) < 5  # bytes; in memory 112
    rows = draw.integers(0, len(found.pixels), 7)
    for name, column in columns(found.rows(rows), indices=["confidence"]).items():
        np.testing.assert_array_equal(column, columns(expected, indices=["confidence"])[name][rows])


def test_columns_are_named_for_the_bands_of_the_raster():
    table = ZonalSums.zeros(1, 2, 1)

    assert list(columns(table, bands=[4, 2], indices=["ndvi_mean"])) == [
        "pixels", "area", "perimeter", "compactness", "ndvi_mean",
        "mean_4", "mean_2", "std_4", "std_2", "min_4", "min_2", "max_4", "max_2",
    ]  # fmt: skip


def test_piece_with_an_impossible_region_is_refused():
    with pytest.raises(RunError, match="2 pieces and 2 region numbers, which must be in 0 to 5"):
        combine([(ZonalSums.zeros(2, 1), np.array([1, 6]))], 5)


@pytest.mark.parametrize(("n_pieces", "margin"), [(1, 1), (2, 0)])
def test_arrays_that_do_not_fit_are_refused_before_anything_is_counted(n_pieces, margin):
    pieces, geobox = np.array([[1, 2]], np.int32), UTM.cropped(Window(0, 0, 2, 1))

    with pytest.raises(TileError, match=f"do not fit {n_pieces} pieces"):
        zonal_sums(
            pieces,
            np.zeros((1, 1, 2), np.float32),
            regions=np.pad(pieces, margin),
            size=pixel_size(geobox),
            n_pieces=n_pieces,
        )


def test_no_tiles_give_regions_without_pixels():
    assert combine([], 3).pixels.tolist() == [0, 0, 0]
