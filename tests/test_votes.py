from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.grid import Tile, TileGrid, Window
from geoseg.segment.superpixels import NONE, block_of
from geoseg.segment.vote_sums import FIXED, sum_shares
from geoseg.segment.votes import SuperpixelTable, Votes, gather, ranked, rows_of, votes_of_sums
from tests.reference import votes as reference

SCENE = Window(0, 0, 26, 21)
N_CODES, N_MOMENTS, N_BLOCKS = 5, 3, 3
PER_BLOCK = 1 << 20

seeds = st.integers(0, 2**32 - 1)
halves = st.integers(1, 4)  # halos


@st.composite
def grids(draw: st.DrawFn, halo: st.SearchStrategy[int] = halves) -> TileGrid:
    width = draw(halo)
    return TileGrid(SCENE.shape, draw(st.integers(max(2 * width, 4), 30)), width)


class Scene:
    """A scene of random superpixels in three blocks; shares and moments of a pixel do not depend on the tile."""

    def __init__(self, seed: int, *, nodata: float = 0.2) -> None:
        draw = np.random.default_rng(seed)
        coarse = draw.integers(0, 40, (SCENE.height // 3 + 1, SCENE.width // 3 + 1))
        numbers = np.kron(coarse % N_BLOCKS * PER_BLOCK + coarse, np.ones((3, 3), np.int64))
        numbers = numbers[: SCENE.height, : SCENE.width]
        self.numbers = np.where(draw.random(SCENE.shape) < nodata, NONE, numbers)
        self.shares = draw.integers(0, 256, (*SCENE.shape, N_CODES)).astype(np.uint8)
        self.shares[..., 0] |= 1  # every pixel votes
        self.moments = draw.random((N_MOMENTS, *SCENE.shape)).astype(np.float32)

    def votes_of(self, tile: Tile, grid: TileGrid) -> Votes:
        here = tile.read.within(SCENE)
        return count_votes(
            self.numbers[here],
            self.shares[here],
            grid.feather(tile),
            self.moments[:, *here],
            core=tile.core.within(tile.read),
        )


def count_votes(numbers: Any, shares: Any, weight: Any, moments: Any, *, core: tuple[slice, slice]) -> Votes:
    """Return the votes of a tile as the segment stage does."""
    seen, index = ranked(numbers)
    return votes_of_sums(seen, index, sum_shares(index, shares, weight, len(seen)), moments, core=core)


def tables_of_blocks(
    seed: int, grid: TileGrid, *, nodata: float = 0.2, without: int | None = None
) -> list[SuperpixelTable]:
    """Return the superpixel table of each block from the votes of all tiles, except the tile `without`."""
    scene = Scene(seed, nodata=nodata)
    tables = [scene.votes_of(tile, grid) for tile in grid if tile.number != without]
    return [gather(block, [(table, None) for table in tables]) for block in range(N_BLOCKS)]


def assert_same(one: SuperpixelTable, other: SuperpixelTable) -> None:
    assert one.fields().keys() == other.fields().keys()
    for name, value in one.fields().items():
        np.testing.assert_array_equal(value, other.fields()[name], err_msg=name)


def pairs_of(table: Votes | SuperpixelTable) -> dict[tuple[int, int], int]:
    return {(a, b): n for (a, b), n in zip(table.pairs.tolist(), table.borders.tolist(), strict=True)}


class TestCountVotes:
    @settings(max_examples=25, deadline=None)
    @given(seeds, grids(st.integers(0, 4)), st.sampled_from([0.0, 0.2, 0.9]))
    def test_votes_of_a_tile_are_the_sums_over_its_pixels(self, seed: int, grid: TileGrid, nodata: float) -> None:
        scene = Scene(seed, nodata=nodata)
        tile = grid.tile(seed % len(grid))
        here = tile.read.within(SCENE)

        table = scene.votes_of(tile, grid)

        expected = reference.count_votes(
            scene.numbers[here],
            scene.shares[here],
            grid.feather(tile),
            scene.moments[:, *here],
            tile.core.within(tile.read),
        )
        assert table.numbers.tolist() == sorted(expected.votes)
        for i, number in enumerate(table.numbers.tolist()):
            np.testing.assert_array_equal(table.votes[i], expected.votes[number])
            np.testing.assert_array_equal(table.moments[i], expected.moments[number])
            assert table.pixels[i] == expected.pixels[number]
        assert pairs_of(table) == expected.borders
        assert len(table.pairs) == len(expected.borders)

    def test_votes_of_a_large_tile_do_not_overflow(self) -> None:
        numbers = np.zeros((40, 40), np.int64)
        weight = np.full((40, 40), (4 * 512) ** 2, np.int64)

        table = count_votes(
            numbers,
            np.full((40, 40, 2), 255, np.uint8),
            weight,
            np.zeros((1, 40, 40), np.float32),
            core=(slice(0, 40), slice(0, 40)),
        )

        assert table.votes.tolist() == [[1600 * (4 * 512) ** 2 * 255] * 2]

    @pytest.mark.parametrize("halo", [0, 3])
    def test_a_tile_without_valid_pixels_has_no_votes(self, halo: int) -> None:
        grid = TileGrid(SCENE.shape, 8, halo)

        table = Scene(0, nodata=1.0).votes_of(grid.tile(0), grid)

        assert table.numbers.shape == (0,)
        assert table.votes.shape == (0, N_CODES)
        assert table.moments.shape == (0, N_MOMENTS)
        assert table.pairs.shape == (0, 2)

    def test_a_tile_with_valid_pixels_only_in_its_halo_votes_but_counts_no_pixels(self) -> None:
        grid = TileGrid(SCENE.shape, 8, 3)
        scene, tile = Scene(0, nodata=0.0), grid.tile(0)
        scene.numbers[tile.core.within(SCENE)] = NONE

        table = scene.votes_of(tile, grid)

        assert len(table.numbers) > 0
        assert (table.votes.sum(axis=1) > 0).all()
        assert (table.pixels == 0).all()
        assert (table.moments == 0).all()
        assert len(table.pairs) == 0

    def test_votes_round_trip_through_arrays(self) -> None:
        grid = TileGrid(SCENE.shape, 8, 3)
        table = Scene(0).votes_of(grid.tile(4), grid)

        back = Votes(**table.to_arrays())

        for name, value in table.to_arrays().items():
            np.testing.assert_array_equal(getattr(back, name), value)


class TestGather:
    @settings(max_examples=40, deadline=None)
    @given(seeds, grids(), st.sampled_from([0.0, 0.2, 0.8]))
    def test_tables_do_not_depend_on_the_tile_size(self, seed: int, grid: TileGrid, nodata: float) -> None:
        whole = tables_of_blocks(seed, TileGrid(SCENE.shape, 100, grid.halo), nodata=nodata)

        for one, other in zip(tables_of_blocks(seed, grid, nodata=nodata), whole, strict=True):
            assert_same(one, other)

    @settings(max_examples=20, deadline=None)
    @given(seeds, grids(), st.sampled_from(["sums", "translated", "changed"]))
    def test_tables_are_stored_without_a_loss_and_as_integers_where_they_are_sums(
        self, seed: int, grid: TileGrid, kind: str
    ) -> None:
        draw = np.random.default_rng(seed)
        translation = draw.dirichlet(np.ones(N_CODES), N_CODES) if kind == "translated" else None
        table = gather(0, [(Scene(seed).votes_of(tile, grid), translation) for tile in grid])
        if kind == "changed":
            table = replace(table, moments=table.moments + draw.random(table.moments.shape))

        stored = table.to_arrays()
        back = SuperpixelTable.from_arrays(stored)

        assert (stored["votes"].dtype.kind == "u") == (kind != "translated" or not len(table.numbers))
        for name, value in replace(table, total=None).fields().items():
            np.testing.assert_array_equal(vars(back)[name], value, strict=True)

    @settings(max_examples=20, deadline=None)
    @given(seeds, grids())
    def test_tables_do_not_depend_on_the_order_of_the_tiles(self, seed: int, grid: TileGrid) -> None:
        scene = Scene(seed)
        tables = [(scene.votes_of(tile, grid), None) for tile in grid]
        mixed = [tables[i] for i in np.random.default_rng(seed).permutation(len(tables))]

        for block in range(N_BLOCKS):
            assert_same(gather(block, mixed), gather(block, tables))

    @settings(max_examples=20, deadline=None)
    @given(seeds, grids())
    def test_every_superpixel_is_in_the_table_of_its_block_once(self, seed: int, grid: TileGrid) -> None:
        superpixel_table = tables_of_blocks(seed, grid)

        expected = np.unique(Scene(seed).numbers)
        assert np.concatenate([part.numbers for part in superpixel_table]).tolist() == sorted(
            expected[expected >= 0].tolist(), key=lambda number: (number // PER_BLOCK, number)
        )
        for block, part in enumerate(superpixel_table):
            assert (block_of(part.numbers) == block).all()
            assert (block_of(part.pairs[:, 0]) == block).all()

    @settings(max_examples=20, deadline=None)
    @given(seeds, grids())
    def test_votes_sum_to_1_and_moments_are_means(self, seed: int, grid: TileGrid) -> None:
        scene = Scene(seed)

        for part in tables_of_blocks(seed, grid):
            np.testing.assert_allclose(part.votes.sum(axis=1), 1)
            for number, pixels, moments in zip(part.numbers, part.pixels, part.moments, strict=True):
                own = scene.numbers == number
                assert pixels == own.sum()
                np.testing.assert_allclose(moments, scene.moments[:, own].mean(axis=1), atol=1 / FIXED)

    def test_every_border_is_counted_once(self) -> None:
        found: dict[tuple[int, int], int] = {}
        for part in tables_of_blocks(7, TileGrid(SCENE.shape, 7, 2)):
            found |= pairs_of(part)

        numbers = Scene(7).numbers
        expected = 0
        for a, b in ((numbers[:, 1:], numbers[:, :-1]), (numbers[1:], numbers[:-1])):
            expected += int(((a != b) & (a >= 0) & (b >= 0)).sum())
        assert sum(found.values()) == expected

    def test_only_the_pixels_in_the_core_of_a_failed_tile_are_missing(self) -> None:
        grid = TileGrid(SCENE.shape, 7, 2)
        scene = Scene(3, nodata=0.0)
        outside = np.ones(SCENE.shape, bool)
        outside[grid.tile(4).core.within(SCENE)] = False

        superpixel_table = tables_of_blocks(3, grid, nodata=0.0, without=4)

        numbers, pixels = np.unique(scene.numbers[outside], return_counts=True)
        found = {
            int(n): int(count) for part in superpixel_table for n, count in zip(part.numbers, part.pixels, strict=True)
        }
        assert found == dict(zip(numbers.tolist(), pixels.tolist(), strict=True))
        for part in superpixel_table:
            assert np.isfinite(part.votes).all()
            assert np.isfinite(part.moments).all()

    def test_a_superpixel_with_pixels_only_in_the_core_of_a_failed_tile_is_left_out(self) -> None:
        grid, scene = TileGrid(SCENE.shape, 7, 2), Scene(3)
        scene.numbers[7:9, 0:3] = 999  # all of it in tile 4, and in the halo of tile 0

        tables = [(scene.votes_of(tile, grid), None) for tile in grid if tile.number != 4]

        assert 999 in tables[0][0].numbers
        assert 999 not in gather(0, tables).numbers

    def test_permuted_codes_of_tiles_are_restored_by_their_translations(self) -> None:
        grid, scene = TileGrid(SCENE.shape, 7, 2), Scene(5)
        draw = np.random.default_rng(0)
        tables = []
        for tile in grid:
            table, permutation = scene.votes_of(tile, grid), draw.permutation(N_CODES)
            permuted = Votes(**table.to_arrays() | {"votes": table.votes[:, permutation]})
            tables.append((permuted, np.eye(N_CODES)[permutation]))

        for block, expected in enumerate(tables_of_blocks(5, grid)):
            assert_same(gather(block, tables), expected)

    def test_a_translation_may_have_more_codes_than_the_tile(self) -> None:
        grid, scene = TileGrid(SCENE.shape, 7, 2), Scene(5)
        soft = np.random.default_rng(0).dirichlet(np.ones(11), N_CODES)

        superpixel_table = gather(0, [(scene.votes_of(tile, grid), soft) for tile in grid])

        assert superpixel_table.votes.shape == (len(superpixel_table.numbers), 11)
        np.testing.assert_allclose(superpixel_table.votes, tables_of_blocks(5, grid)[0].votes @ soft)

    @pytest.mark.parametrize("nodata", [0.2, 1.0])
    def test_a_block_without_votes_has_an_empty_table(self, nodata: float) -> None:
        grid, scene = TileGrid(SCENE.shape, 7, 2), Scene(5, nodata=nodata)

        superpixel_table = gather(99, [(scene.votes_of(tile, grid), None) for tile in grid])

        assert (
            len(superpixel_table.numbers)
            == len(superpixel_table.votes)
            == len(superpixel_table.moments)
            == len(superpixel_table.pairs)
            == 0
        )

    def test_a_block_without_tiles_has_an_empty_table(self) -> None:
        assert len(gather(0, []).numbers) == 0


class TestRanked:
    @settings(max_examples=40, deadline=None)
    @given(seeds, st.floats(0, 1))
    def test_equals_numpy_unique(self, seed: int, nodata: float) -> None:
        draw = np.random.default_rng(seed)
        numbers = draw.integers(0, 9, (7, 8)) << draw.integers(0, 3) * 20
        numbers[draw.random(numbers.shape) < nodata] = -1

        seen, index = ranked(numbers)

        data = numbers >= 0
        expected, inverse = np.unique(numbers[data], return_inverse=True)
        np.testing.assert_array_equal(seen, expected)
        np.testing.assert_array_equal(index[data], inverse)
        assert (index[~data] == -1).all()


def test_rows_of_blocks_are_those_of_the_numbers_asked_for() -> None:
    none = np.zeros(0, np.int64)

    def block(numbers: list[int]) -> SuperpixelTable:
        n = np.array(numbers, np.int64)
        return SuperpixelTable(n, np.outer(n, [1.0, 2.0]), 10 * n, np.outer(n, [0.5]), none.reshape(0, 2), none)

    part = rows_of([block([]), block([2, 5]), block([7, 11])], np.array([5, 7]))

    assert part.pixels.tolist() == [50, 70]
    assert part.votes.tolist() == [[5, 10], [7, 14]]
    assert part.moments.tolist() == [[2.5], [3.5]]
