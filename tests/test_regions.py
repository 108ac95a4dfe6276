from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from geoseg.errors import ConfigError, RunError
from geoseg.grid import Tile, TileGrid, Window
from geoseg.run.disk_tables import DiskTables
from geoseg.segment.table_storage import IN_MEMORY
from geoseg.vectorize.merge import merge
from geoseg.vectorize.regions import CoreSides, Pieces, Regions, no_pieces, pieces
from tests.reference.regions import number_labels, whole_regions

FEATURES = np.array([[np.nan], [0.0], [5.0], [2.0], [2.0], [9.0], [np.nan]])  # 3 and 4 look alike, 6 like nothing

shapes = st.tuples(st.integers(1, 16), st.integers(1, 16))
class_maps = st.builds(
    lambda seed, *options: speckled(np.random.default_rng(seed), *options),
    st.integers(0, 2**32 - 1),
    shapes,
    st.integers(2, 5),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.1, 0.4]),
)
small_maps = hnp.arrays(np.uint8, shapes, elements=st.integers(0, 3))  # these shrink to something one can read
sizes = st.integers(2, 9)
minima = st.integers(0, 12)


def speckled(
    rng: np.random.Generator, shape: tuple[int, int], n_classes: int, grain: int, no_data: float
) -> NDArray[np.int64]:
    """Draw a class map in blocks of `grain` pixels, some of them without data."""
    coarse = rng.integers(1, n_classes + 1, (shape[0] // grain + 1, shape[1] // grain + 1))
    coarse[rng.random(coarse.shape) < no_data] = 0
    return np.kron(coarse, np.ones((grain, grain), dtype=np.int64))[: shape[0], : shape[1]]


def tables_of(
    classes: NDArray[np.integer], size: int, min_pixels: int
) -> tuple[list[NDArray[np.int32]], list[Pieces], TileGrid]:
    """Run the tile step on every tile."""
    grid = TileGrid(classes.shape, size, 0)
    made = [
        pieces(
            classes[place(tile, classes)],
            window=tile.core,
            scene_shape=classes.shape,
            min_pixels=min_pixels,
            features=FEATURES,
        )
        for tile in grid
    ]
    return [piece_map for piece_map, _ in made], [table for _, table in made], grid


def tiled(classes: NDArray[np.integer], size: int, min_pixels: int) -> tuple[NDArray[np.int64], Regions]:
    """Return the region map of the scene put together from tiles, and the regions."""
    maps, tables, grid = tables_of(classes, size, min_pixels)
    regions = merge(iter(tables), grid, min_pixels=min_pixels, features=FEATURES)
    region_map = np.full(classes.shape, -1, dtype=np.int64)
    for tile, piece_map in zip(grid, maps, strict=True):
        region_map[place(tile, classes)] = regions.of_tile(tile.number)[piece_map]
    return region_map, regions


def place(tile: Tile, scene: NDArray[np.integer]) -> tuple[slice, slice]:
    return tile.core.within(Window(0, 0, scene.shape[1], scene.shape[0]))


def class_map_of(region_map: NDArray[np.int64], regions: Regions) -> NDArray[np.int64]:
    return np.concatenate([[0], regions.classes])[region_map]


def drawn(*rows: str) -> NDArray[np.uint8]:
    return np.array([[int(character) for character in row] for row in rows], dtype=np.uint8)


@settings(max_examples=120, deadline=None)
@given(st.one_of(class_maps, small_maps), sizes, minima)
def test_tiles_give_the_regions_of_the_whole_scene(classes, size, min_pixels):
    expected, expected_classes = whole_regions(classes, min_pixels=min_pixels, features=FEATURES)

    region_map, regions = tiled(classes, size, min_pixels)

    np.testing.assert_array_equal(region_map, expected)
    np.testing.assert_array_equal(class_map_of(region_map, regions), expected_classes)
    np.testing.assert_array_equal(regions.pixels, np.bincount(expected.ravel())[1:])
    np.testing.assert_array_equal(
        regions.first, [np.flatnonzero(expected == region)[0] for region in range(1, expected.max() + 1)]
    )


@settings(max_examples=40, deadline=None)
@given(class_maps, minima)
def test_one_tile_gives_the_regions_of_the_whole_scene(classes, min_pixels):
    expected, _ = whole_regions(classes, min_pixels=min_pixels, features=FEATURES)

    region_map, _ = tiled(classes, 16, min_pixels)

    np.testing.assert_array_equal(region_map, expected)


@settings(max_examples=40, deadline=None)
@given(class_maps, st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_any_order_in_which_local_minima_move_ends_in_the_same_map(classes, min_pixels, seed):
    in_order = whole_regions(classes, min_pixels=min_pixels, features=FEATURES)

    shuffled = whole_regions(classes, min_pixels=min_pixels, features=FEATURES, shuffle=np.random.default_rng(seed))

    np.testing.assert_array_equal(shuffled[1], in_order[1])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(30, 90), st.integers(2, 200))
def test_tile_size_does_not_matter_on_a_larger_scene(seed, size, min_pixels):
    classes = speckled(np.random.default_rng(seed), (150, 170), 5, 2, 0.05)

    region_map, regions = tiled(classes, size, min_pixels)
    untiled_map, untiled = tiled(classes, 200, min_pixels)

    np.testing.assert_array_equal(region_map, untiled_map)
    np.testing.assert_array_equal(regions.classes, untiled.classes)


@settings(max_examples=60, deadline=None)
@given(class_maps, sizes, minima)
def test_what_is_left_is_large_or_alone_and_no_pixel_is_lost(classes, size, min_pixels):
    region_map, regions = tiled(classes, size, min_pixels)

    ends = [region_map[:, :-1].ravel(), region_map[:-1].ravel()], [region_map[:, 1:].ravel(), region_map[1:].ravel()]
    ones, others = (np.concatenate(end) for end in ends)
    touching = (ones != others) & (ones > 0) & (others > 0)
    with_neighbour = np.unique(np.concatenate([ones[touching], others[touching]])) - 1
    assert (regions.pixels[with_neighbour] >= min_pixels).all()
    assert (regions.classes[ones[touching] - 1] != regions.classes[others[touching] - 1]).all()
    np.testing.assert_array_equal(region_map == 0, classes == 0)
    np.testing.assert_array_equal(np.bincount(region_map.ravel(), minlength=1)[1:], regions.pixels)


@settings(max_examples=20, deadline=None)
@given(class_maps, sizes, st.integers(0, 1))
def test_minimum_of_one_pixel_or_none_changes_no_class(classes, size, min_pixels):
    region_map, regions = tiled(classes, size, min_pixels)

    np.testing.assert_array_equal(class_map_of(region_map, regions), classes)
    np.testing.assert_array_equal(region_map, number_labels(classes))


@pytest.mark.parametrize("turned", [np.fliplr, np.flipud, np.transpose])
def test_turned_scene_gives_the_turned_map_where_nothing_is_tied(turned: Callable[..., NDArray[np.uint8]]):
    classes = drawn("1111111", "1222113", "1224113", "1111133", "3355333", "3555533")

    region_map, regions = tiled(classes, 3, 8)
    turned_map, turned_regions = tiled(turned(classes), 3, 8)

    np.testing.assert_array_equal(class_map_of(turned_map, turned_regions), turned(class_map_of(region_map, regions)))
    assert len(regions) == 3


def test_region_that_touches_four_tiles_at_a_corner_gets_one_number():
    classes = drawn("1111", "1221", "1221", "1111")

    region_map, regions = tiled(classes, 2, 0)

    np.testing.assert_array_equal(region_map, classes)
    np.testing.assert_array_equal(regions.pixels, [12, 4])


def test_pieces_that_meet_only_at_the_corner_of_four_tiles_stay_two_regions():
    classes = drawn("1111", "1211", "1121", "1111")

    region_map, regions = tiled(classes, 2, 0)

    assert region_map[1, 1] != region_map[2, 2]
    np.testing.assert_array_equal(regions.classes, [1, 2, 2])


def test_ring_through_many_tiles_takes_the_small_region_inside_it():
    classes = drawn("111111", "122221", "123321", "123321", "122221", "111111")

    region_map, regions = tiled(classes, 2, 5)

    np.testing.assert_array_equal(region_map, drawn("111111", "122221", "122221", "122221", "122221", "111111"))
    np.testing.assert_array_equal(regions.pixels, [20, 16])


def test_small_island_in_no_data_stays():
    classes = drawn("1100", "1100", "0002", "0000")

    region_map, regions = tiled(classes, 2, 100)

    np.testing.assert_array_equal(region_map, drawn("1100", "1100", "0002", "0000"))
    np.testing.assert_array_equal(regions.pixels, [4, 1])


@pytest.mark.parametrize(
    ("left", "own", "right", "taken"),
    [(2, 1, 3, 3), (3, 1, 2, 3), (4, 2, 3, 3), (3, 2, 4, 3), (5, 1, 6, 5), (6, 1, 5, 5), (4, 6, 3, 3)],
)
def test_of_equal_borders_the_class_with_nearer_features_is_taken_then_the_lower_number(left, own, right, taken):
    classes = np.repeat([[left, own, right]] * 2, [6, 2, 6], axis=1)

    region_map, regions = tiled(classes, 5, 12)

    np.testing.assert_array_equal(class_map_of(region_map, regions), np.where(classes == own, taken, classes))


def test_longest_border_is_summed_over_all_neighbours_of_a_class():
    classes = drawn("222222", "333333", "211112", "222222", "222222")

    region_map, regions = tiled(classes, 4, 5)

    assert class_map_of(region_map, regions)[2, 2] == 2  # 4 edges below and 1 on each side, against 4 above


@settings(max_examples=40, deadline=None)
@given(class_maps, sizes, st.integers(2, 12))
def test_closed_small_piece_waits_only_beside_a_smaller_one(classes, size, min_pixels):
    _, tables, _ = tables_of(classes, size, min_pixels)

    for table in tables:
        order = list(zip(table.pixels, table.first, strict=True))
        touching = table.pairs.tolist() + table.pairs[:, ::-1].tolist()
        for piece in np.flatnonzero(~table.open & (table.pixels < min_pixels)):
            beside = [order[other - 1] for one, other in touching if one == piece + 1]
            assert not beside or min(beside) < order[piece]


@settings(max_examples=40, deadline=None)
@given(class_maps, sizes, minima)
def test_table_describes_the_piece_map(classes, size, min_pixels):
    maps, tables, grid = tables_of(classes, size, min_pixels)

    for tile, piece_map, table in zip(grid, maps, tables, strict=True):
        assert piece_map.dtype == np.int32
        np.testing.assert_array_equal(np.bincount(piece_map.ravel(), minlength=1)[1:], table.pixels)
        np.testing.assert_array_equal(number_labels(np.append(0, table.classes)[piece_map]), piece_map)
        rows, cols = np.divmod(table.first, classes.shape[1])
        np.testing.assert_array_equal(
            piece_map[rows - tile.core.row_off, cols - tile.core.col_off], np.arange(len(table)) + 1
        )
        np.testing.assert_array_equal(table.sides.left, piece_map[:, 0])
        assert (table.pixels[table.pairs - 1].min(axis=1) < min_pixels).all()
        assert (table.pairs[:, 0] < table.pairs[:, 1]).all()


def test_moves_inside_the_tiles_leave_little_for_the_scene():
    classes = speckled(np.random.default_rng(0), (256, 256), 5, 1, 0.0)

    before, after = (sum(map(len, tables_of(classes, 64, min_pixels)[1])) for min_pixels in (0, 20))

    assert after < 0.15 * before


def test_tables_survive_the_way_through_plain_arrays(tmp_path):
    _, tables, grid = tables_of(speckled(np.random.default_rng(1), (20, 20), 4, 1, 0.1), 8, 5)

    for number, table in enumerate(tables):
        np.savez(tmp_path / f"{number}.npz", **table.to_arrays())
    back = [Pieces.from_arrays(dict(np.load(tmp_path / f"{number}.npz"))) for number in range(len(tables))]

    for one, other in zip(tables, back, strict=True):
        assert one.to_arrays().keys() == other.to_arrays().keys()
        for name, column in one.to_arrays().items():
            np.testing.assert_array_equal(column, other.to_arrays()[name])
            assert column.dtype == other.to_arrays()[name].dtype
    np.testing.assert_array_equal(
        merge(back, grid, min_pixels=5, features=FEATURES).numbers,
        merge(tables, grid, min_pixels=5, features=FEATURES).numbers,
    )


def test_regions_are_the_same_with_their_tables_on_the_disk(tmp_path):
    _, tables, grid = tables_of(speckled(np.random.default_rng(3), (60, 80), 4, 2, 0.1), 16, 9)

    found, expected = (
        merge(tables, grid, min_pixels=9, features=FEATURES, storage=storage)
        for storage in (DiskTables(tmp_path, 0), IN_MEMORY)
    )

    assert found.n_bytes == expected.n_bytes
    for name in ("classes", "pixels", "first", "offsets", "numbers"):
        column = getattr(expected, name)
        np.testing.assert_array_equal(getattr(found, name), column, strict=True)


def test_memory_of_the_merge_does_not_grow_with_the_pieces_within_tiles(tmp_path):
    grid, n = TileGrid((64 * 20, 128), 64, 0), 4000  # pieces of a tile
    side = np.ones(64, np.int32)

    def tables():
        for tile in grid:
            first = tile.core.row_off * 128 + tile.core.col_off + np.arange(n)
            is_open, none = np.arange(n) == 0, np.zeros((0, 2), np.int32)
            classes, pixels = np.full(n, 1 + tile.number % 3, np.int32), np.full(n, 30)
            yield Pieces(classes, pixels, first, is_open, none, none[:, 0].astype(np.int64), CoreSides(*4 * [side]))

    tracemalloc.start()
    found = merge(tables(), grid, min_pixels=20, features=FEATURES, storage=DiskTables(tmp_path, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(found.numbers) == 40 * n
    assert peak / len(found.numbers) < 30  # bytes; with all pieces in one graph 239


def test_tile_that_failed_counts_as_no_data():
    classes = speckled(np.random.default_rng(2), (18, 18), 3, 2, 0.0)
    _, tables, grid = tables_of(classes, 6, 9)
    failed = grid.tile(4)
    without = classes.copy()
    without[place(failed, classes)] = 0

    tables[4] = no_pieces(failed.core)
    regions = merge(tables, grid, min_pixels=9, features=FEATURES)

    expected, _ = whole_regions(without, min_pixels=9, features=FEATURES)
    np.testing.assert_array_equal(regions.pixels, np.bincount(expected.ravel())[1:])
    np.testing.assert_array_equal(regions.of_tile(4), [0])


def test_scene_without_data_has_no_regions():
    region_map, regions = tiled(np.zeros((7, 5), dtype=np.uint8), 3, 10)

    assert not region_map.any()
    assert len(regions) == 0


def test_too_few_or_too_many_tables_are_refused():
    _, tables, grid = tables_of(np.ones((6, 6), dtype=np.uint8), 3, 0)

    with pytest.raises(RunError, match="4 tiles"):
        merge(tables[:-1], grid, min_pixels=0, features=FEATURES)
    with pytest.raises(RunError, match="4 tiles"):
        merge([*tables, tables[0]], grid, min_pixels=0, features=FEATURES)


def test_table_of_another_tile_is_refused():
    _, tables, grid = tables_of(np.ones((6, 5), dtype=np.uint8), 3, 0)

    with pytest.raises(RunError, match=r"tile 0 .* \(3, 2\) pixels"):
        merge([tables[1], tables[0], *tables[2:]], grid, min_pixels=0, features=FEATURES)


def test_class_without_features_is_refused():
    with pytest.raises(ConfigError, match="features has 7 rows, but the classes go from 1 to 7"):
        tiled(drawn("17"), 2, 0)
