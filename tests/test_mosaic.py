from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.grid import TileGrid
from geoseg.vectorize.mosaic import Mosaic
from geoseg.vectorize.outline import outline
from geoseg.vectorize.simplify import Shaping
from geoseg.vectorize.split_large import RegionCuts, cut_large_regions
from tests.tilings import SCENES, SHAPINGS, SIZES, assert_coverage, assert_equal, drawn, regions_of, winding


def cores_of(regions: NDArray[np.int64], size: int, numbers: set[int]) -> NDArray[np.bool_]:
    """Tell which pixels lie in the cores of some tiles."""
    inside = np.zeros(regions.shape, bool)
    for tile in TileGrid(regions.shape, size, 0):
        if tile.number in numbers:
            inside[tile.core.row_off : tile.core.row_end, tile.core.col_off : tile.core.col_end] = True
    return inside


@settings(max_examples=100)
@given(SCENES, SIZES, SHAPINGS)
def test_tiles_give_the_polygons_of_a_single_tile_to_the_last_bit(
    regions: NDArray[np.int64], size: int, shaping: Shaping
) -> None:
    whole, whole_numbers = drawn(regions, shaping=shaping)

    polygons, numbers = drawn(regions, size, shaping)

    np.testing.assert_array_equal(numbers, whole_numbers)
    assert_equal(polygons, whole)


@settings(max_examples=60)
@given(SCENES, SIZES)
def test_polygons_of_tiles_rasterised_give_the_regions_back(regions: NDArray[np.int64], size: int) -> None:
    polygons, numbers = drawn(regions, size)

    shapes = zip(polygons, numbers, strict=True)
    back = rasterio.features.rasterize(shapes, regions.shape, dtype=np.int32) if len(numbers) else 0 * regions
    np.testing.assert_array_equal(back, regions)
    np.testing.assert_array_equal(shapely.area(polygons), np.bincount(regions.ravel())[1:])


@settings(max_examples=80)
@given(SCENES, SIZES, SHAPINGS, st.integers(4, 60))
def test_regions_that_are_cut_stay_a_coverage_and_none_is_lost(
    regions: NDArray[np.int64], size: int, shaping: Shaping, most: int
) -> None:
    polygons, numbers = drawn(regions, size, shaping, most=most)

    assert_coverage(polygons, (regions > 0).sum())
    np.testing.assert_array_equal(np.unique(numbers), np.arange(1, regions.max() + 1))


@pytest.mark.slow
@settings(max_examples=80)
@given(SCENES, SIZES, SHAPINGS, st.data())
def test_tiles_that_failed_are_holes_and_what_is_around_them_stays_a_coverage(
    regions: NDArray[np.int64], size: int, shaping: Shaping, data: st.DataObject
) -> None:
    n_tiles = len(TileGrid(regions.shape, size, 0))
    failed = data.draw(st.sets(st.integers(0, n_tiles - 1), max_size=n_tiles - 1))

    polygons, _ = drawn(regions, size, shaping, failed=failed)

    assert_coverage(polygons, ((regions > 0) & ~cores_of(regions, size, failed)).sum())


def test_region_that_a_failed_tile_tore_apart_keeps_its_number_on_every_part() -> None:
    polygons, numbers = drawn(np.ones((2, 6), np.int64), 2, failed={1})

    assert numbers.tolist() == [1, 1]
    assert shapely.area(polygons).tolist() == [4, 4]


def test_region_in_two_pieces_of_one_tile_becomes_one_polygon_through_its_neighbour() -> None:
    polygons, numbers = drawn(np.array([[1, 1, 1, 1], [2, 2, 2, 1], [1, 1, 1, 1]]), 2)

    assert numbers.tolist() == [1, 2]
    assert shapely.area(polygons).tolist() == [9, 3]


def test_hole_through_many_tiles_is_one_hole() -> None:
    regions = np.ones((12, 12), np.int64)
    regions[3:9, 3:9] = 2
    regions[5:7, 5:7] = 1

    polygons, _ = drawn(regions_of(regions), 4)

    assert shapely.get_num_interior_rings(polygons).tolist() == [1, 1, 0]
    assert shapely.area(polygons).tolist() == [108, 32, 4]


def test_straight_border_over_many_tiles_has_no_vertex_between_its_ends() -> None:
    polygons, _ = drawn(np.repeat([[1, 2]], 12, axis=0).repeat(6, axis=1), 4)

    assert shapely.get_num_coordinates(polygons).tolist() == [5, 5]


def test_island_that_lies_across_a_tile_corner_is_shaped_as_in_one_tile() -> None:
    y, x = np.mgrid[:20, :20]
    regions = np.where(np.hypot(y - 10.3, x - 9.6) < 6, 2, 1)

    polygons, _ = drawn(regions, 10, Shaping(1.0, smooth=True))

    assert_equal(polygons, drawn(regions, shaping=Shaping(1.0, smooth=True))[0])
    assert 8 < shapely.get_num_coordinates(polygons[1]) < 32


def test_what_is_finished_leaves_before_the_next_row_of_tiles_is_read() -> None:
    regions = np.kron(np.arange(1, 10).reshape(3, 3), np.ones((4, 4), np.int64))
    grid, read = TileGrid(regions.shape, 4, 0), []

    def tiles():
        for tile in grid:
            read.append(tile.number)
            core = tile.core
            framed = np.pad(regions, 1)[core.row_off : core.row_end + 2, core.col_off : core.col_end + 2]
            yield tile.number, outline(framed, offset=(core.col_off, core.row_off))

    found = Mosaic(grid, np.full(10, 16), Shaping()).polygons(tiles())

    assert next(found).owners.size == 0
    assert next(found).owners.tolist() == [1, 2, 3]
    assert max(read) < 7


@pytest.mark.parametrize("most", [60, 200, 1000])
def test_no_part_has_more_vertices_than_asked_for_unless_a_single_tile_has(most: int) -> None:
    regions = regions_of(winding((96, 96), 2, 2.5, 4) + 1)

    polygons, numbers = drawn(regions, 16, most=most)

    whole, _ = drawn(regions)
    tile_of = np.floor((shapely.bounds(polygons) - [0, 0, 1e-9, 1e-9]) / 16)
    in_one_tile = (tile_of[:, :2] == tile_of[:, 2:]).all(axis=1)
    on_lines = 2 * 96  # what a cut adds
    assert len(polygons) > len(whole) or most == 1000
    assert (shapely.get_num_coordinates(polygons[~in_one_tile]) <= most + on_lines).all()
    np.testing.assert_array_equal(np.bincount(numbers, shapely.area(polygons))[1:], shapely.area(whole))


def test_only_regions_with_too_many_vertices_are_cut() -> None:
    regions = np.ones((12, 12), np.int64)
    regions[::2, :10] = 2  # a comb
    regions[:, 0] = 2
    regions = regions_of(regions)

    _, numbers = drawn(regions, 4, most=30)

    assert (numbers == 1).sum() > 1
    assert len(np.unique(numbers)) == regions.max()


def test_halves_of_a_region_are_cut_across_its_longer_side() -> None:
    tables = [(number, np.array([7]), np.array([10])) for number in range(8)]

    parts, largest = cut_large_regions(tables, TileGrid((20, 40), 10, 0), 45)

    assert largest == 80
    assert parts.blocks.tolist() == [1, 1, 2, 2, 1, 1, 2, 2]


def test_nothing_is_cut_without_a_number_of_vertices() -> None:
    parts, largest = cut_large_regions([(0, np.array([1, 1, 2]), np.array([5, 6, 9]))], TileGrid((4, 4), 2, 0), None)

    assert parts.blocks.size == 0
    assert largest == 11


def test_scene_without_data_has_no_polygons() -> None:
    polygons, numbers = drawn(np.zeros((7, 9), np.int64), 3, Shaping(1.0))

    assert len(polygons) == len(numbers) == 0
    assert RegionCuts().of(np.array([3]), TileGrid((7, 9), 3, 0).tile(0), TileGrid((7, 9), 3, 0)).tolist() == [0]
