from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from skimage.measure import label

from geoseg.grid import TileGrid
from geoseg.polygons.outline import outline
from tests.reference.outline import outline_by_gdal

SIDES = st.tuples(st.integers(1, 14), st.integers(1, 14))
SCENES = SIDES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 3)))


def regions_of(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(label(classes, connectivity=1, background=0), np.int64)


def outline_tiles(regions: NDArray[np.int64], size: int) -> tuple[list[NDArray[np.object_]], list[NDArray[np.int64]]]:
    padded = np.pad(regions, 1)
    polygons, numbers = [], []
    for tile in TileGrid(regions.shape, size, 0):
        core = tile.core
        rimmed = padded[core.row_off : core.row_end + 2, core.col_off : core.col_end + 2]
        found = outline(rimmed, offset=(core.col_off, core.row_off))
        polygons.append(found[0])
        numbers.append(found[1])
    return polygons, numbers


def vertices(polygon: shapely.Polygon) -> set[tuple[float, float]]:
    return set(map(tuple, shapely.get_coordinates(polygon)))


@settings(max_examples=150, deadline=None)
@given(SCENES)
def test_every_piece_is_one_valid_polygon_whose_shell_runs_counter_clockwise(classes: NDArray[np.int64]) -> None:
    polygons, _ = outline(np.pad(classes, 1))

    assert (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON).all()
    assert shapely.is_valid(polygons).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons)).all()
    holes = [hole for polygon in polygons for hole in polygon.interiors]
    assert not shapely.is_ccw(np.array(holes, object)).any()


@settings(max_examples=100, deadline=None)
@given(SCENES)
def test_pieces_are_those_that_gdal_finds(classes: NDArray[np.int64]) -> None:
    polygons, numbers = outline(np.pad(classes, 1))

    others, other_numbers = outline_by_gdal(classes)
    found = {
        (number, polygon.normalize().wkt)
        for number, polygon in zip(numbers, shapely.simplify(polygons, 0), strict=True)
    }
    expected = {
        (number, polygon.normalize().wkt)
        for number, polygon in zip(other_numbers, shapely.simplify(others, 0), strict=True)
    }
    assert len(polygons) == len(others)
    assert found == expected


@settings(max_examples=100, deadline=None)
@given(SCENES, st.integers(1, 8))
def test_tiles_put_together_are_a_valid_coverage_with_the_area_of_every_region(
    classes: NDArray[np.int64], size: int
) -> None:
    regions = regions_of(classes)

    tiles, tiles_numbers = outline_tiles(regions, size)
    polygons, numbers = np.concatenate(tiles), np.concatenate(tiles_numbers)

    areas = np.bincount(numbers, shapely.area(polygons), minlength=regions.max() + 1)
    assert shapely.coverage_is_valid(polygons)
    assert np.array_equal(areas[1:], np.bincount(regions.ravel())[1:])


@settings(max_examples=60, deadline=None)
@given(SCENES, st.integers(1, 8))
def test_pieces_rasterised_give_the_regions_back(classes: NDArray[np.int64], size: int) -> None:
    regions = regions_of(classes)

    tiles, tiles_numbers = outline_tiles(regions, size)
    polygons, numbers = np.concatenate(tiles), np.concatenate(tiles_numbers)

    shapes = zip(polygons, numbers, strict=True)
    back = rasterio.features.rasterize(shapes, regions.shape, dtype=np.int32) if len(polygons) else 0 * regions
    assert np.array_equal(back, regions)


@settings(max_examples=60, deadline=None)
@given(SCENES)
def test_every_vertex_is_a_corner_or_a_point_where_three_regions_meet(classes: NDArray[np.int64]) -> None:
    padded = np.pad(classes, 1)

    polygons, _ = outline(padded)

    for x, y in set().union(*map(vertices, polygons)):
        block = padded[int(y) : int(y) + 2, int(x) : int(x) + 2]
        straight = (block[0] == block[1]).all() or (block[:, 0] == block[:, 1]).all()
        assert not straight


def test_straight_border_has_a_vertex_where_the_region_on_its_other_side_changes() -> None:
    polygons, _ = outline(np.pad(np.array([[1, 1], [2, 3]]), 1))

    assert (1.0, 1.0) in vertices(polygons[0])


def test_change_beyond_the_tile_line_puts_the_same_vertex_into_both_tiles() -> None:
    tiles, _ = outline_tiles(np.array([[1, 1, 2, 2], [1, 1, 3, 3]]), 2)

    assert (2.0, 1.0) in vertices(tiles[0][0])
    assert all((2.0, 1.0) in vertices(polygon) for polygon in tiles[1])


def test_tile_line_has_no_vertex_where_the_regions_change_on_neither_side() -> None:
    tiles, _ = outline_tiles(np.array([[1, 2], [1, 2], [1, 2]]), 3)
    one_column_each, _ = outline_tiles(np.pad(np.array([[1, 1, 1, 2, 2, 2]] * 3), 0), 3)

    assert vertices(tiles[0][0]) == {(0, 0), (1, 0), (1, 3), (0, 3)}
    assert vertices(one_column_each[0][0]) == {(0, 0), (3, 0), (3, 3), (0, 3)}


def test_region_cut_by_a_tile_line_has_a_vertex_where_its_border_crosses_the_line() -> None:
    tiles, _ = outline_tiles(np.array([[1, 1, 1, 1], [2, 2, 2, 2]]), 2)

    assert all((2.0, 1.0) in vertices(polygon) for polygons in tiles for polygon in polygons)


def test_hole_that_touches_the_shell_in_a_corner_stays_a_hole() -> None:
    regions = np.array([[1, 1, 1], [1, 2, 1], [1, 1, 2]])

    polygons, numbers = outline(np.pad(regions, 1))

    assert numbers.tolist() == [1, 2, 2]
    assert len(polygons[0].interiors) == 1
    assert polygons[0].is_valid


def test_ring_of_pixels_closed_only_by_a_corner_is_a_shell_with_a_hole() -> None:
    regions = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]])

    polygons, _ = outline(np.pad(regions, 1))

    assert len(polygons) == 1
    assert len(polygons[0].interiors) == 1
    assert polygons[0].is_valid
    assert polygons[0].area == 7


def test_pixels_that_touch_only_in_a_corner_are_two_pieces() -> None:
    polygons, numbers = outline(np.pad(np.array([[4, 0], [0, 4]]), 1))

    assert numbers.tolist() == [4, 4]
    assert shapely.area(polygons).tolist() == [1, 1]


def test_region_number_beyond_32_bits_is_kept() -> None:
    _, numbers = outline(np.pad(np.array([[2**40, 2**40 + 1]]), 1))

    assert numbers.tolist() == [2**40, 2**40 + 1]


def test_offset_moves_the_polygons_by_cols_and_rows() -> None:
    polygons, _ = outline(np.pad(np.array([[1, 1, 1]]), 1), offset=(100, 20))

    assert polygons[0].bounds == (100, 20, 103, 21)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5)])
def test_core_without_data_gives_no_polygons(shape: tuple[int, int]) -> None:
    polygons, numbers = outline(np.zeros(np.add(shape, 2), np.int64))

    assert polygons.shape == numbers.shape == (0,)


def test_regions_are_not_changed_and_may_be_read_only_and_sliced() -> None:
    whole = np.arange(100).reshape(10, 10)
    whole.flags.writeable = False

    polygons, numbers = outline(whole[2:7, 3:8])

    assert len(polygons) == 9
    assert numbers.tolist() == whole[3:6, 4:7].ravel().tolist()
