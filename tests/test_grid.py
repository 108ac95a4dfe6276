import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st

from geoseg.grid import GeoBox, TileGrid, Window

SHAPES = st.tuples(st.integers(1, 90), st.integers(1, 90))


@st.composite
def grids(draw):
    size = draw(st.integers(1, 40))
    return TileGrid(draw(SHAPES), size, draw(st.integers(0, size // 2)))


@st.composite
def windows(draw, shape):
    left, top = draw(st.integers(0, shape[1] - 1)), draw(st.integers(0, shape[0] - 1))
    return Window(left, top, draw(st.integers(1, shape[1] - left)), draw(st.integers(1, shape[0] - top)))


def whole(shape):
    return Window(0, 0, shape[1], shape[0])


# --- tiles --------------------------------------------------------------------------------------------------------


@given(grid=grids())
def test_cores_partition_the_scene(grid):
    owners = np.zeros(grid.shape, int)

    for tile in grid:
        owners[tile.core.within(whole(grid.shape))] += 1

    assert (owners == 1).all()


@given(grid=grids())
def test_tiles_are_numbered_from_0_in_row_major_order(grid):
    corners = [(tile.core.row_off, tile.core.col_off) for tile in grid]

    assert [tile.number for tile in grid] == list(range(len(grid)))
    assert corners == sorted(corners)
    assert len(grid) == grid.n_rows * grid.n_cols
    assert list(grid) == [grid[row, col] for row in range(grid.n_rows) for col in range(grid.n_cols)]


@given(grid=grids())
def test_read_window_is_the_core_and_the_halo_clipped_to_the_scene(grid):
    for tile in grid:
        rows, cols = np.indices(grid.shape)
        core, halo = tile.core, grid.halo
        near = (rows >= core.row_off - halo) & (rows < core.row_end + halo)
        near &= (cols >= core.col_off - halo) & (cols < core.col_end + halo)

        assert near[tile.read.within(whole(grid.shape))].all()
        assert near.sum() == tile.read.width * tile.read.height


@given(grid=grids())
def test_no_core_is_narrower_than_two_halos_unless_the_scene_is(grid):
    for tile in grid:
        assert tile.core.width >= min(2 * grid.halo, grid.shape[1])
        assert tile.core.height >= min(2 * grid.halo, grid.shape[0])
        assert tile.core.width < grid.size + max(2 * grid.halo, 1)


@given(grid=grids())
def test_feather_weights_have_the_same_sum_on_every_pixel(grid):
    total = np.zeros(grid.shape, np.int64)

    for tile in grid:
        weight = grid.feather(tile)
        assert weight.min() > 0
        assert weight.shape == tile.read.shape
        total[tile.read.within(whole(grid.shape))] += weight

    assert (total == max(4 * grid.halo, 1) ** 2).all()


def test_feather_decreases_linearly_towards_the_edge_of_the_halo():
    grid = TileGrid((8, 24), 8, 2)

    row = grid.feather(grid.tile(1))[0] // 8

    assert row.tolist() == [1, 3, 5, 7, 8, 8, 8, 8, 7, 5, 3, 1]


@given(data=st.data(), grid=grids())
def test_tiles_touching_or_reading_a_window_equal_those_found_by_brute_force(data, grid):
    window = data.draw(windows(grid.shape))

    assert grid.touching(window) == [tile.number for tile in grid if tile.core.intersection(window)]
    assert grid.reading(window) == [tile.number for tile in grid if tile.read.intersection(window)]


@pytest.mark.parametrize(
    ("length", "count"), [(1, 1), (99, 1), (100, 1), (119, 1), (120, 2), (200, 2), (219, 2), (220, 3)]
)
def test_narrow_last_tile_is_merged_into_the_one_before(length, count):
    assert TileGrid((10, length), 100, 10).n_cols == count


# --- windows ------------------------------------------------------------------------------------------------------


@given(data=st.data(), shape=SHAPES)
def test_intersection_is_the_window_of_the_common_pixels(data, shape):
    a, b = data.draw(windows(shape)), data.draw(windows(shape))
    both = np.zeros(shape, int)
    both[a.within(whole(shape))] += 1
    both[b.within(whole(shape))] += 1

    common = a.intersection(b)

    assert common == b.intersection(a)
    assert (common is None) == (not (both == 2).any())
    if common is not None:
        assert (both[common.within(whole(shape))] == 2).all()
        assert (both == 2).sum() == common.width * common.height


@given(data=st.data(), shape=SHAPES)
def test_window_within_another_selects_the_same_pixels_as_from_the_scene(data, shape):
    outer = data.draw(windows(shape))
    inner = data.draw(windows(shape)).intersection(outer)
    assume(inner is not None)
    pixels = np.arange(shape[0] * shape[1]).reshape(shape)

    from_outer = pixels[outer.within(whole(shape))][inner.within(outer)]

    np.testing.assert_array_equal(from_outer, pixels[inner.within(whole(shape))])


def test_window_ends_after_its_last_pixel():
    window = Window(col_off=3, row_off=5, width=7, height=2)

    assert (window.shape, window.col_end, window.row_end) == ((2, 7), 10, 7)


# --- geoboxes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform",
    [
        Affine(10, 0, 500_000, 0, -10, 5_000_000),
        Affine(0.5, 0, -180, 0, 0.5, -90),  # south up
        Affine(-0.14, -0.58, 337_934, -0.58, 0.14, 7_840_518),  # rotated and mirrored
    ],
    ids=["north-up", "south-up", "rotated"],
)
def test_cropped_geobox_has_its_pixels_at_the_same_coordinates(transform):
    geobox = GeoBox((40, 60), transform, "EPSG:32631")

    part = geobox.cropped(Window(7, 11, 20, 5))

    assert part.shape == (5, 20)
    assert part.crs == geobox.crs
    for col, row in ((0, 0), (20, 5), (3, 2)):
        np.testing.assert_allclose(part.transform @ (col, row), transform @ (col + 7, row + 11), rtol=1e-12)


def test_window_of_a_geobox_contains_all_pixels():
    assert GeoBox((40, 60), Affine.identity(), "").window == Window(0, 0, 60, 40)
