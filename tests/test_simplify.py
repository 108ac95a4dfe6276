from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.measure import label

from geoseg.grid import TileGrid
from geoseg.polygons.outline import outline
from geoseg.polygons.simplify import join, resimplify, simplify
from tests.reference.outline import outline_by_gdal


def smooth_scene(shape: tuple[int, int], n_classes: int, sigma: float, seed: int) -> NDArray[np.int64]:
    """Return a map of classes from 0 with long, winding borders."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    ranks = field.ravel().argsort().argsort().reshape(shape)
    return np.asarray(ranks * n_classes // field.size, np.int64)


SMALL = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, 3))
)
WINDING = st.builds(
    smooth_scene,
    st.tuples(st.integers(8, 48), st.integers(8, 48)),
    st.integers(2, 6),
    st.sampled_from([0.7, 1.2, 2.0, 3.0]),
    st.integers(0, 2**32 - 1),
)
SCENES = st.one_of(SMALL, WINDING).map(lambda classes: label(classes, connectivity=1, background=0).astype(np.int64))
SIZES = st.integers(2, 24)
TOLERANCES = st.sampled_from([0.5, 1.0, 3.0])


def pieces_of(regions: NDArray[np.int64], size: int, tolerance: float) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the simplified pieces of all tiles, and their region numbers."""
    padded = np.pad(regions, 1)
    polygons, numbers = [], []
    for tile in TileGrid(regions.shape, size, 0):
        core = tile.core
        rimmed = padded[core.row_off : core.row_end + 2, core.col_off : core.col_end + 2]
        found = outline(rimmed, offset=(core.col_off, core.row_off))
        polygons.append(simplify(found[0], tolerance=tolerance))
        numbers.append(found[1])
    return np.concatenate(polygons), np.concatenate(numbers)


def tile_lines(shape: tuple[int, int], size: int) -> tuple[list[int], list[int]]:
    """Return the cols and the rows at which tiles meet."""
    cores = [tile.core for tile in TileGrid(shape, size, 0)]
    return sorted({core.col_off for core in cores} - {0}), sorted({core.row_off for core in cores} - {0})


def assert_coverage(polygons: NDArray[np.object_], n_pixels: int) -> None:
    assert (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON).all()
    assert shapely.is_valid(polygons).all()
    assert (shapely.area(polygons) > 0).all()
    assert shapely.coverage_is_valid(polygons)
    assert shapely.area(polygons).sum() == n_pixels  # exact: vertices are whole numbers


def n_vertices_on(polygons: NDArray[np.object_], col: int) -> int:
    points = np.unique(shapely.get_coordinates(polygons), axis=0)
    return int((points[:, 0] == col).sum())


def straight_length_on(polygons: NDArray[np.object_], col: int) -> float:
    """Return the length of the polygons' borders that lies on a lattice line."""
    line = shapely.LineString([(col, -1), (col, 10_000)])
    return float(shapely.length(shapely.intersection(shapely.boundary(polygons), line)).sum())


@settings(max_examples=150, deadline=None)
@given(SCENES, SIZES)
def test_tiles_joined_without_tolerance_are_the_polygons_of_the_whole_scene(
    regions: NDArray[np.int64], size: int
) -> None:
    polygons, numbers = join(*pieces_of(regions, size, 0))

    whole, whole_numbers = join(*outline(np.pad(regions, 1)))
    assert np.array_equal(numbers, whole_numbers)
    assert np.array_equal(numbers, np.arange(1, regions.max() + 1))
    straightened = shapely.normalize(shapely.simplify(polygons, 0))
    assert shapely.equals(straightened, shapely.normalize(shapely.simplify(whole, 0))).all()
    assert_coverage(polygons, (regions > 0).sum())


@settings(max_examples=100, deadline=None)
@given(SCENES, SIZES)
def test_joined_regions_have_the_area_that_gdal_finds_and_rasterise_to_the_scene(
    regions: NDArray[np.int64], size: int
) -> None:
    polygons, numbers = join(*pieces_of(regions, size, 0))

    others, other_numbers = outline_by_gdal(regions)
    expected = np.bincount(other_numbers, shapely.area(others), minlength=len(numbers) + 1)[1:]
    shapes = zip(polygons, numbers, strict=True)
    back = rasterio.features.rasterize(shapes, regions.shape, dtype=np.int32) if len(numbers) else 0 * regions
    assert np.array_equal(shapely.area(polygons), expected)
    assert np.array_equal(back, regions)


@settings(max_examples=300, deadline=None)
@given(SCENES, SIZES, TOLERANCES)
def test_every_pass_leaves_a_coverage_of_the_exact_area_that_has_lost_nothing(
    regions: NDArray[np.int64], size: int, tolerance: float
) -> None:
    cols, rows = tile_lines(regions.shape, size)

    pieces, owners = pieces_of(regions, size, tolerance)
    polygons, numbers = join(pieces, owners)
    at_once = resimplify(polygons, tolerance=tolerance, cols=cols, rows=rows)

    assert np.array_equal(numbers, np.arange(1, regions.max() + 1))
    for coverage in (pieces, polygons, at_once):
        assert_coverage(coverage, (regions > 0).sum())


@settings(max_examples=100, deadline=None)
@given(SCENES, SIZES, TOLERANCES)
def test_one_tile_line_after_the_other_leaves_a_coverage_of_the_exact_area(
    regions: NDArray[np.int64], size: int, tolerance: float
) -> None:
    polygons, _ = join(*pieces_of(regions, size, tolerance))

    cols, rows = tile_lines(regions.shape, size)
    for col in cols:
        polygons = resimplify(polygons, tolerance=tolerance, cols=[col])
    for row in rows:
        polygons = resimplify(polygons, tolerance=tolerance, rows=[row])

    assert_coverage(polygons, (regions > 0).sum())


@settings(max_examples=100, deadline=None)
@given(SCENES, SIZES, TOLERANCES)
def test_border_to_no_data_does_not_move(regions: NDArray[np.int64], size: int, tolerance: float) -> None:
    polygons, _ = join(*pieces_of(regions, size, tolerance))
    cols, rows = tile_lines(regions.shape, size)

    polygons = resimplify(polygons, tolerance=tolerance, cols=cols, rows=rows)

    data = shapely.coverage_union_all(polygons)
    expected = shapely.coverage_union_all(outline(np.pad(regions, 1))[0])
    assert shapely.equals(data, expected)


def test_simplifying_removes_vertices_and_keeps_those_on_the_rim() -> None:
    regions = label(smooth_scene((64, 64), 6, 3, 0), connectivity=1, background=-1).astype(np.int64)
    polygons, _ = outline(np.pad(regions, 1))

    simplified = simplify(polygons, tolerance=1)

    n_before, n_after = (shapely.get_num_coordinates(some).sum() for some in (polygons, simplified))
    assert n_after < 0.7 * n_before
    assert n_vertices_on(simplified, 0) == n_vertices_on(polygons, 0)
    assert n_vertices_on(simplified, 64) == n_vertices_on(polygons, 64)


def test_tolerance_zero_changes_nothing() -> None:
    polygons, _ = outline(np.pad(np.array([[1, 1, 2], [1, 2, 2]]), 1))

    assert shapely.equals_exact(simplify(polygons, tolerance=0), polygons).all()


@pytest.mark.parametrize("regions", [np.arange(1, 26).reshape(5, 5), np.eye(5, dtype=np.int64) + 1])
def test_regions_of_one_pixel_do_not_vanish_under_a_large_tolerance(regions: NDArray[np.int64]) -> None:
    polygons, _ = outline(np.pad(regions, 1))

    simplified = simplify(polygons, tolerance=100)

    assert len(simplified) == len(polygons)
    assert_coverage(simplified, 25)


def test_island_of_one_pixel_becomes_at_least_a_triangle() -> None:
    regions = np.pad(np.array([[2]]), 3, constant_values=1)

    simplified = simplify(outline(np.pad(regions, 1))[0], tolerance=100)

    assert_coverage(simplified, 49)


def test_region_in_two_pieces_of_one_tile_becomes_one_polygon_through_its_neighbour() -> None:
    regions = np.array([[1, 1, 1, 1], [2, 2, 2, 1], [1, 1, 1, 1]])

    pieces, owners = pieces_of(regions, 2, 0)
    polygons, numbers = join(pieces, owners)

    assert (owners == 1).sum() > len(TileGrid((3, 4), 2, 0)) - 1
    assert numbers.tolist() == [1, 2]
    assert shapely.area(polygons).tolist() == [9, 3]


def test_region_that_a_failed_tile_tore_apart_keeps_its_number_on_every_part() -> None:
    pieces, owners = pieces_of(np.ones((2, 6), np.int64), 2, 0)

    polygons, numbers = join(pieces[[0, 2]], owners[[0, 2]])

    assert numbers.tolist() == [1, 1]
    assert shapely.area(polygons).tolist() == [4, 4]


def test_vertex_that_a_tile_line_put_on_a_straight_border_is_gone_after_resimplify() -> None:
    polygons, _ = join(*pieces_of(np.array([[1, 1, 1, 1], [2, 2, 2, 2]]), 2, 1))

    again = resimplify(polygons, tolerance=1, cols=[2])

    crossing = shapely.Point(2, 1)
    assert all(crossing in shapely.points(shapely.get_coordinates(polygon)) for polygon in polygons)
    assert not any(crossing in shapely.points(shapely.get_coordinates(polygon)) for polygon in again)


def test_wiggle_along_a_tile_line_is_smoothed_after_resimplify() -> None:
    regions = np.repeat([[1, 1, 1, 1, 2, 2, 2, 2]], 9, axis=0)
    regions[4, 4] = 1  # a bump of one pixel over the line
    polygons, _ = join(*pieces_of(regions, 4, 2))

    again = resimplify(polygons, tolerance=2, cols=[4], rows=[4, 8])

    assert n_vertices_on(polygons, 4) > 2
    assert n_vertices_on(again, 4) == 2
    assert shapely.area(again).tolist() == [36, 36]


def test_border_that_runs_exactly_along_a_tile_line_loses_the_vertex_of_the_tile_corner() -> None:
    regions = np.repeat([[1, 1, 2, 2]], 4, axis=0)
    polygons, _ = join(*pieces_of(regions, 2, 1))

    again = resimplify(polygons, tolerance=1, cols=[2])

    assert n_vertices_on(polygons, 2) == 3
    assert n_vertices_on(again, 2) == 2


def test_tile_line_shows_in_the_joined_polygons_and_hardly_after_resimplify() -> None:
    regions = label(smooth_scene((256, 256), 8, 3, 1), connectivity=1, background=-1).astype(np.int64)
    polygons, _ = join(*pieces_of(regions, 128, 1))

    again = resimplify(polygons, tolerance=1, cols=[128], rows=[128])

    raw = outline(np.pad(regions, 1))[0]
    whole = simplify(raw, tolerance=1)
    assert n_vertices_on(polygons, 128) > 2 * n_vertices_on(whole, 128)
    assert n_vertices_on(again, 128) < 1.7 * n_vertices_on(whole, 128)
    assert straight_length_on(again, 128) < 1.3 * straight_length_on(whole, 128)


def test_polygons_that_touch_no_tile_line_are_left_as_they_are() -> None:
    regions = label(smooth_scene((64, 64), 6, 2, 0), connectivity=1, background=-1).astype(np.int64)
    polygons, _ = join(*outline(np.pad(regions, 1)))

    again = resimplify(polygons, tolerance=3, cols=[32])

    moved = ~shapely.equals_exact(again, polygons)
    bounds = shapely.bounds(polygons)
    assert moved.any()
    assert ((bounds[moved, 0] <= 32) & (bounds[moved, 2] >= 32)).all()


def test_no_polygons_are_no_trouble() -> None:
    nothing = np.empty(0, object)

    joined, numbers = join(nothing, np.empty(0, np.int64))

    assert len(simplify(nothing, tolerance=1)) == len(joined) == len(numbers) == 0
    assert len(resimplify(nothing, tolerance=1, cols=[5])) == 0


@pytest.mark.parametrize(("size", "tolerance"), [(16, 1.0), (16, 3.0), (48, 3.0)])
def test_noise_of_single_pixels_stays_a_coverage(size: int, tolerance: float) -> None:
    regions = label(smooth_scene((96, 96), 3, 0.01, 2), connectivity=1, background=-1).astype(np.int64)

    polygons, _ = join(*pieces_of(regions, size, tolerance))
    cols, rows = tile_lines(regions.shape, size)

    assert_coverage(resimplify(polygons, tolerance=tolerance, cols=cols, rows=rows), 96 * 96)


@pytest.mark.parametrize("tolerance", [1.0, 3.0])
def test_no_polygon_shrinks_below_the_least_area_and_the_coverage_stays_valid(tolerance: float) -> None:
    noise = np.random.default_rng(3).random((60, 60))
    labels = label((gaussian_filter(noise, 1.2) > 0.5) + 1, connectivity=1)
    polygons, _ = outline(np.pad(labels.astype(np.int64), 1))
    before = shapely.area(polygons)
    unguarded = shapely.area(simplify(polygons, tolerance=tolerance))

    simplified = simplify(polygons, tolerance=tolerance, min_area=16.0)

    assert (unguarded < np.minimum(before, 16.0)).any(), "the map must give the guard something to do"
    assert (shapely.area(simplified) >= np.minimum(before, 16.0)).all()
    assert shapely.coverage_is_valid(simplified)
    assert shapely.area(simplified).sum() == before.sum()
