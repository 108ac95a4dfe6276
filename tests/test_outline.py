from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.grid import TileGrid
from geoseg.vectorize.arcs import Arcs, trace
from geoseg.vectorize.outline import find_pieces, outline
from tests.reference.outline import outline_by_gdal
from tests.tilings import SCENES, SMALL, regions_of, winding


def outlined(regions: NDArray[np.int64]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the polygons of all pieces of a scene in one tile, and their region numbers."""
    found = outline(np.pad(regions, 1)).polygons
    return found.shapes(), found.owners


def traced(regions: NDArray[np.int64], window: tuple[slice, slice]) -> Arcs:
    """Return the arcs in a window of a scene."""
    rows, cols = window
    framed = np.pad(regions, 1)[rows.start : rows.stop + 2, cols.start : cols.stop + 2]
    return trace(framed, find_pieces(np.ascontiguousarray(framed))[0], offset=(cols.start, rows.start))


def pixel_edges(arcs: Arcs) -> list[tuple[float, float]]:
    """Return the middles of the pixel edges that arcs run along."""
    found = []
    for arc in range(arcs.n):
        xy = arcs.xy[arcs.offsets[arc] : arcs.offsets[arc + 1]]
        for (x, y), (to_x, to_y) in pairwise(xy):
            n = int(abs(to_x - x) + abs(to_y - y))
            shares = (np.arange(n) + 0.5) / n
            found += [(x + share * (to_x - x), y + share * (to_y - y)) for share in shares]
    return [(round(x, 3), round(y, 3)) for x, y in found]


def borders(regions: NDArray[np.int64], size: int) -> set[tuple[float, float]]:
    """Return the middles of the pixel edges between regions, without those between data of two tiles."""
    framed, tiles = np.pad(regions, 1), np.full(np.add(regions.shape, 2), -1)
    for tile in TileGrid(regions.shape, size, 0):
        core = tile.core
        tiles[core.row_off + 1 : core.row_end + 1, core.col_off + 1 : core.col_end + 1] = tile.number
    found = set()
    for down, right in ((0, 1), (1, 0)):
        for row, col in np.ndindex(framed.shape[0] - down, framed.shape[1] - right):
            one, other = (row, col), (row + down, col + right)
            between = framed[one] > 0 and framed[other] > 0 and tiles[one] != tiles[other]
            if framed[one] != framed[other] and not between:
                found.add((col - 0.5 + right / 2, row - 0.5 + down / 2))
    return found


def vertices(polygon: shapely.Polygon) -> set[tuple[float, float]]:
    return set(map(tuple, shapely.get_coordinates(polygon)))


@settings(max_examples=150)
@given(SMALL)
def test_every_piece_is_one_valid_polygon_whose_shell_runs_counter_clockwise(classes: NDArray[np.int64]) -> None:
    polygons, _ = outlined(classes)

    assert (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON).all()
    assert shapely.is_valid(polygons).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons)).all()
    holes = [hole for polygon in polygons for hole in polygon.interiors]
    assert not shapely.is_ccw(np.array(holes, object)).any()


@settings(max_examples=100)
@given(SMALL)
def test_pieces_are_those_that_gdal_finds(classes: NDArray[np.int64]) -> None:
    polygons, numbers = outlined(classes)

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


@settings(max_examples=60)
@given(SCENES)
def test_polygons_rasterised_give_the_regions_back(regions: NDArray[np.int64]) -> None:
    polygons, numbers = outlined(regions)

    shapes = zip(polygons, numbers, strict=True)
    back = rasterio.features.rasterize(shapes, regions.shape, dtype=np.int32) if len(polygons) else 0 * regions
    np.testing.assert_array_equal(back, regions)


@settings(max_examples=60)
@given(SMALL)
def test_every_vertex_is_a_corner_or_a_point_where_three_regions_meet(classes: NDArray[np.int64]) -> None:
    padded = np.pad(classes, 1)

    polygons, _ = outlined(classes)

    for x, y in set().union(*map(vertices, polygons)):
        block = padded[int(y) : int(y) + 2, int(x) : int(x) + 2]
        straight = (block[0] == block[1]).all() or (block[:, 0] == block[:, 1]).all()
        assert not straight


@settings(max_examples=60)
@given(SCENES, st.integers(2, 9))
def test_tiles_trace_every_border_within_them_once_and_none_between_them(regions: NDArray[np.int64], size: int) -> None:
    tiles = [tile.core for tile in TileGrid(regions.shape, size, 0)]

    edges = [
        edge
        for core in tiles
        for edge in pixel_edges(traced(regions, (slice(core.row_off, core.row_end), slice(core.col_off, core.col_end))))
    ]

    assert len(edges) == len(set(edges))
    assert set(edges) == borders(regions, size)


@settings(max_examples=60)
@given(SCENES)
def test_region_with_the_lower_number_is_on_the_left_hand_of_every_arc(regions: NDArray[np.int64]) -> None:
    arcs = traced(regions, (slice(0, regions.shape[0]), slice(0, regions.shape[1])))

    framed = np.pad(regions, 1)
    for arc in range(arcs.n):
        x, y = arcs.xy[arcs.offsets[arc]]
        right, down = np.sign(arcs.xy[arcs.offsets[arc] + 1] - (x, y))
        left_side = framed[int(y + (down - right) / 2 + 0.5), int(x + (right + down) / 2 + 0.5)]
        right_side = framed[int(y + (down + right) / 2 + 0.5), int(x + (right - down) / 2 + 0.5)]
        assert left_side < right_side


def test_straight_border_has_a_vertex_where_the_region_on_its_other_side_changes() -> None:
    polygons, _ = outlined(np.array([[1, 1], [2, 3]]))

    assert (1.0, 1.0) in vertices(polygons[0])


def test_arc_that_crosses_a_tile_line_is_not_whole_and_one_between_nodes_is() -> None:
    left, whole = ([[1, 1, 1], [2, 2, 2]], slice(0, 2)), ([[1, 1], [2, 2]], slice(0, 2))

    for (regions, cols), expected in ((left, [False]), (whole, [True])):
        arcs = traced(np.array(regions), (slice(0, 2), cols))
        assert arcs.whole[arcs.left > 0].tolist() == expected


def test_hole_that_touches_the_shell_in_a_corner_stays_a_hole() -> None:
    polygons, numbers = outlined(np.array([[1, 1, 1], [1, 2, 1], [1, 1, 2]]))

    assert numbers.tolist() == [1, 2, 2]
    assert len(polygons[0].interiors) == 1
    assert polygons[0].is_valid


def test_ring_of_pixels_closed_only_by_a_corner_is_a_shell_with_a_hole() -> None:
    polygons, _ = outlined(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]]))

    assert len(polygons) == 1
    assert len(polygons[0].interiors) == 1
    assert polygons[0].is_valid
    assert polygons[0].area == 7


def test_pixels_that_touch_only_in_a_corner_are_two_pieces() -> None:
    polygons, numbers = outlined(np.array([[4, 0], [0, 4]]))

    assert numbers.tolist() == [4, 4]
    assert shapely.area(polygons).tolist() == [1, 1]


def test_region_number_beyond_32_bits_is_kept() -> None:
    _, numbers = outlined(np.array([[2**40, 2**40 + 1]]))

    assert numbers.tolist() == [2**40, 2**40 + 1]


def test_offset_moves_the_polygons_by_cols_and_rows() -> None:
    polygons = outline(np.pad(np.array([[1, 1, 1]]), 1), offset=(100, 20)).polygons.shapes()

    assert polygons[0].bounds == (100, 20, 103, 21)


def test_only_regions_with_data_beyond_the_tile_line_are_left_to_the_others() -> None:
    regions = np.array([[1, 1, 5, 5, 0], [1, 2, 3, 3, 0], [1, 2, 4, 0, 0]])

    found = outline(np.pad(regions, 1)[:, :5])  # the core is the first three cols

    assert found.polygons.owners.tolist() == [1, 2, 4]
    assert found.regions.tolist() == [0, 5, 3]


@pytest.mark.parametrize("shape", [(1, 1), (3, 5)])
def test_core_without_data_gives_no_polygons(shape: tuple[int, int]) -> None:
    polygons, numbers = outlined(np.zeros(shape, np.int64))

    assert polygons.shape == numbers.shape == (0,)


def test_regions_are_not_changed_and_may_be_read_only_and_sliced() -> None:
    whole = np.pad(np.arange(1, 26).reshape(5, 5), 3)
    whole.flags.writeable = False

    found = outline(whole[2:9, 2:9]).polygons

    assert found.owners.tolist() == list(range(1, 26))


def test_outlines_of_noise_are_a_valid_coverage() -> None:
    regions = regions_of(winding((64, 64), 3, 0.01, 2) + 1)

    polygons, _ = outlined(regions)

    assert shapely.coverage_is_valid(polygons)
    np.testing.assert_array_equal(shapely.area(polygons), np.bincount(regions.ravel())[1:])
