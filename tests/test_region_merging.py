from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import TileGrid
from geoseg.segment.baselines.region_merging import corner_windows, merge_similar, merge_table
from geoseg.segment.superpixels import block_of
from geoseg.segment.vote_sums import FIXED
from geoseg.segment.votes import SuperpixelTable

from .reference import region_merging as reference

N_BANDS, N_TEXTURES = 2, 1
GRID = TileGrid((120, 160), 40, 10)  # 3 × 4 blocks
CELL = 4  # px; side of a superpixel

seeds = st.integers(0, 2**32 - 1)


def lattice(n_rows: int, n_cols: int) -> NDArray[np.int64]:
    """Return the pairs of adjacent cells of a lattice, numbered in reading order."""
    cells = np.arange(n_rows * n_cols).reshape(n_rows, n_cols)
    right = np.stack([cells[:, :-1].ravel(), cells[:, 1:].ravel()], axis=1)
    down = np.stack([cells[:-1].ravel(), cells[1:].ravel()], axis=1)
    return np.concatenate([right, down])


def same_groups(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    n_both = len(np.unique(np.stack([one, other], axis=1), axis=0))
    return n_both == len(np.unique(one)) == len(np.unique(other))


def graph(seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Draw totals, pixels and pairs: a lattice of a few colours with noise, and some pairs from anywhere."""
    draw = np.random.default_rng(seed)
    n_rows, n_cols = draw.integers(1, 9, 2)
    n = int(n_rows * n_cols)
    colours = draw.uniform(0, 1, (3, N_BANDS))[draw.integers(0, 3, n)] + draw.normal(0, 0.08, (n, N_BANDS))
    pixels = draw.integers(1, 300, n)
    jumps = np.sort(draw.integers(0, n, (n // 4, 2)), axis=1)
    pairs = np.unique(np.concatenate([lattice(n_rows, n_cols), jumps[jumps[:, 0] < jumps[:, 1]]]), axis=0)
    return colours * pixels[:, None], pixels, pairs


class TestMergeSimilar:
    @given(seeds, st.sampled_from([0.0, 0.03, 0.1, 0.3, 1.0]))
    def test_regions_are_those_of_scikit_image(self, seed: int, threshold: float) -> None:
        drawn = graph(seed)

        assert same_groups(
            merge_similar(*drawn, threshold=threshold), reference.merge_similar(*drawn, threshold=threshold)
        )

    @given(seeds)
    def test_regions_are_numbered_by_their_lowest_row(self, seed: int) -> None:
        region = merge_similar(*graph(seed), threshold=0.1)

        rows = np.arange(len(region))
        np.testing.assert_array_equal(region, [rows[region == one].min() for one in region])

    @given(seeds)
    def test_neighbouring_regions_differ_by_at_least_the_threshold(self, seed: int) -> None:
        totals, pixels, pairs = graph(seed)

        region = merge_similar(totals, pixels, pairs, threshold=0.1)

        means = np.stack([np.bincount(region, total) for total in totals.T], axis=1)
        means /= np.maximum(np.bincount(region, pixels), 1)[:, None]
        a, b = region[pairs].T
        difference = np.sqrt(((means[a] - means[b]) ** 2).mean(axis=1))
        assert (difference[a != b] >= 0.1).all()

    def test_only_adjacent_superpixels_are_merged(self) -> None:
        region = merge_similar(np.full((4, 1), 0.5), np.ones(4, int), np.array([[0, 1], [2, 3]]), threshold=0.1)

        assert region.tolist() == [0, 0, 2, 2]

    def test_difference_equal_to_the_threshold_is_not_merged(self) -> None:
        totals, pairs = np.array([[0.25], [0.5]]), np.array([[0, 1]])

        assert merge_similar(totals, np.ones(2, int), pairs, threshold=0.25).tolist() == [0, 1]
        assert merge_similar(totals, np.ones(2, int), pairs, threshold=0.2500001).tolist() == [0, 0]

    def test_ramp_is_not_merged_into_one_region(self) -> None:
        totals, pairs = np.linspace(0, 1, 100)[:, None], np.stack([np.arange(99), np.arange(1, 100)], axis=1)

        region = merge_similar(totals, np.ones(100, int), pairs, threshold=0.1)

        assert 5 <= len(np.unique(region)) <= 20

    def test_means_are_weighted_by_pixels(self) -> None:
        totals = np.array([[0.0], [0.1], [0.17]]) * np.array([[99], [1], [1]])

        region = merge_similar(totals, np.array([99, 1, 1]), np.array([[0, 1], [1, 2]]), threshold=0.08)
        other = merge_similar(totals, np.array([99, 1, 1]), np.array([[0, 1], [0, 2]]), threshold=0.11)

        assert region.tolist() == [0, 1, 1]
        assert other.tolist() == [0, 0, 2]  # the mean stays near 0; 0.17 differs too much

    def test_tie_goes_to_the_lowest_row(self) -> None:
        totals, pairs = np.array([[0.0], [0.0], [0.125], [-0.125]]), np.array([[0, 1], [1, 2], [0, 3]])

        region = merge_similar(totals, np.ones(4, int), pairs, threshold=0.15)

        assert region.tolist() == [0, 0, 0, 3]  # 3 now differs too much from the mean of the others

    def test_neighbours_are_merged_after_the_nearest_neighbours_of_both_changed(self) -> None:
        means, pixels = np.array([0.31, 0.27, 0.49, 0.53, 0.36, 0.44]), np.array([1, 1000, 1, 1000, 1, 1])
        pairs = np.array([[0, 1], [2, 3], [0, 4], [2, 5], [4, 5]])  # 1 0 4 5 2 3 in a row; 1 and 3 are heavy

        region = merge_similar((means * pixels)[:, None], pixels, pairs, threshold=0.085)

        assert region.tolist() == [0, 0, 2, 2, 4, 4]

    def test_constant_image_is_one_region_for_any_order_of_pairs(self) -> None:
        totals, pairs = np.full((900, 3), 0.3), lattice(30, 30)

        region = merge_similar(totals, np.ones(900, int), np.random.default_rng(0).permutation(pairs), threshold=0.01)

        assert not region.any()

    @pytest.mark.parametrize("n", [0, 1, 3])
    def test_superpixels_without_neighbours_are_not_merged(self, n: int) -> None:
        region = merge_similar(np.zeros((n, 2)), np.ones(n, int), np.zeros((0, 2), int), threshold=1.0)

        assert region.tolist() == list(range(n))


class Lattice:
    """A scene of square superpixels in the blocks of `GRID`; ``colours`` is (row, col, band) over the superpixels."""

    def __init__(self, colours: NDArray[np.float64], *, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        n_rows, n_cols = GRID.shape[0] // CELL, GRID.shape[1] // CELL
        rows, cols = np.indices((n_rows, n_cols)).reshape(2, -1)
        block = rows * CELL // GRID.size * GRID.n_cols + cols * CELL // GRID.size
        self.numbers = (block << 20) + np.arange(len(rows))
        self.centroids = np.stack([rows, cols], axis=1) * CELL + CELL / 2
        textures = draw.uniform(0, 0.1, (len(rows), N_TEXTURES))
        self.moments = np.concatenate([colours.reshape(-1, N_BANDS), textures], axis=1)
        self.pixels = draw.integers(10, 20, len(rows))
        self.pairs = np.sort(self.numbers[lattice(n_rows, n_cols)], axis=1)

    def table(self, number: int) -> SuperpixelTable:
        own, edges = block_of(self.numbers) == number, block_of(self.pairs[:, 0]) == number
        order = np.argsort(self.numbers[own])
        return SuperpixelTable(
            self.numbers[own][order],
            np.ones((own.sum(), 1)),
            self.pixels[own][order],
            self.moments[own][order],
            self.pairs[edges],
            np.ones(edges.sum(), np.int64),
        )

    def merged(self, number: int, *, threshold: float) -> SuperpixelTable:
        own = block_of(self.numbers) == number
        at = self.centroids[own][np.argsort(self.numbers[own])]
        windows = [
            ([self.table(block) for block in blocks], weight) for blocks, weight in corner_windows(GRID, number, at)
        ]
        return merge_table(self.table(number), windows, n_bands=N_BANDS, threshold=threshold)

    def image(self, *, threshold: float) -> NDArray[np.float64]:
        """Return the merged moments of all blocks, (row, col, moment) over the superpixels."""
        merged = [self.merged(number, threshold=threshold) for number in range(len(GRID))]
        numbers = np.concatenate([table.numbers for table in merged])
        moments = np.concatenate([table.moments for table in merged])
        rows = np.searchsorted(numbers, self.numbers)
        return moments[rows].reshape(GRID.shape[0] // CELL, GRID.shape[1] // CELL, -1)


def patches(seed: int, *, size: int = 5, noise: float = 0.01) -> NDArray[np.float64]:
    """Draw the colours of square patches of `size` superpixels, with noise, (row, col, band)."""
    draw = np.random.default_rng(seed)
    kinds = np.kron(draw.integers(0, 3, (30 // size + 1, 40 // size + 1)), np.ones((size, size), int))[:30, :40]
    colours = np.array([[0.2, 0.2], [0.5, 0.4], [0.8, 0.9]])
    return colours[kinds] + draw.normal(0, noise, (30, 40, N_BANDS))


class TestMergeTable:
    @pytest.mark.parametrize("seed", range(4))
    def test_regions_smaller_than_a_block_have_the_moments_of_merging_the_whole_scene(self, seed: int) -> None:
        scene = Lattice(patches(seed, size=3))  # 12 px, a third of a block
        totals = np.rint(scene.moments * scene.pixels[:, None] * FIXED) / FIXED
        region = merge_similar(totals[:, :N_BANDS], scene.pixels, lattice(30, 40), threshold=0.1)
        means = np.stack([np.bincount(region, total) for total in totals.T], axis=1)[region]
        means /= np.bincount(region, scene.pixels)[region, None]

        merged = scene.image(threshold=0.1).reshape(len(region), -1)

        assert 10 < len(np.unique(region)) < 200
        assert np.abs(merged - means)[:, :N_BANDS].max() < 0.003  # the noise is 0.01

    @pytest.mark.parametrize(("spread", "threshold"), [(0.2, 0.15), (0.15, 0.2), (0.05, 0.1)])
    def test_moments_do_not_change_more_at_block_borders_than_elsewhere(self, spread: float, threshold: float) -> None:
        at_lines, elsewhere = [], []
        for seed in range(8):  # waves: the extent of a region depends on the window
            waves = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, (30, 40)), 3)
            noise = np.random.default_rng(seed + 100).normal(0, 0.02, (30, 40, N_BANDS))
            scene = Lattice(0.5 + spread * (waves / waves.std())[..., None] + noise)
            merged = scene.image(threshold=threshold)[..., :N_BANDS]
            for axis, lines in ((0, [9, 19]), (1, [9, 19, 29])):
                steps = np.abs(np.diff(merged, axis=axis)).mean(axis=(1 - axis, 2))
                at_lines.append(steps[lines].mean())
                elsewhere.append(np.delete(steps, lines).mean())

        assert np.mean(at_lines) <= 1.25 * np.mean(elsewhere)  # 1.9 to 8.5 times if blocks are merged independently

    def test_both_sides_of_a_block_border_have_the_same_windows_and_weights(self) -> None:
        for left in (0, 1, 4, 5, 6, 9):
            line = GRID.tile(left).core.col_end
            at = np.array([[row, line] for row in range(GRID.tile(left).core.row_off, GRID.tile(left).core.row_end)])

            before, after = (
                {tuple(blocks): weight for blocks, weight in corner_windows(GRID, block, at) if weight.any()}
                for block in (left, left + 1)
            )

            assert before.keys() == after.keys()
            for blocks, weight in before.items():
                np.testing.assert_allclose(weight, after[blocks])

    @pytest.mark.parametrize("shape", [(30, 30), (30, 90), (90, 30), (70, 120), (200, 200)])
    def test_weights_add_up_to_1_and_every_window_contains_the_block(self, shape: tuple[int, int]) -> None:
        grid = TileGrid(shape, 40, 10)
        for tile in grid:
            at = np.random.default_rng(0).uniform(-50, 250, (20, 2))

            windows = corner_windows(grid, tile.number, at)

            np.testing.assert_allclose(sum(weight for _, weight in windows), 1)
            for blocks, weight in windows:
                assert tile.number in blocks
                assert blocks == sorted(set(blocks))
                assert set(blocks) <= set(range(len(grid)))
                assert (weight >= 0).all()

    def test_inner_block_has_the_four_windows_at_its_corners(self) -> None:
        core = GRID.tile(5).core

        windows = corner_windows(GRID, 5, np.array([[core.row_off, core.col_off], [core.row_off + 20, core.col_end]]))

        assert [blocks for blocks, _ in windows] == [[0, 1, 4, 5], [1, 2, 5, 6], [4, 5, 8, 9], [5, 6, 9, 10]]
        np.testing.assert_allclose([weight for _, weight in windows], [[1, 0], [0, 0.5], [0, 0], [0, 0.5]])

    def test_moments_are_the_means_of_the_region_and_other_columns_are_unchanged(self) -> None:
        table = Lattice(patches(1)).table(5)
        inner = (block_of(table.pairs) == 5).all(axis=1)
        totals = np.rint(table.moments * table.pixels[:, None] * FIXED) / FIXED
        rows = np.searchsorted(table.numbers, table.pairs[inner])
        region = merge_similar(totals[:, :N_BANDS], table.pixels, rows, threshold=0.1)

        merged = alone(table)

        for one in np.unique(region):
            mean = totals[region == one].sum(axis=0) / table.pixels[region == one].sum()
            np.testing.assert_allclose(
                merged.moments[region == one], np.tile(mean, ((region == one).sum(), 1)), atol=1e-6
            )
        for name in ("numbers", "votes", "pixels", "pairs", "borders"):
            np.testing.assert_array_equal(vars(merged)[name], vars(table)[name])

    def test_textures_do_not_affect_merging(self) -> None:
        table = Lattice(patches(2)).table(5)
        textures = np.random.default_rng(0).uniform(0, 5, (len(table.numbers), N_TEXTURES))
        other = replace(table, moments=np.concatenate([table.moments[:, :N_BANDS], textures], axis=1))

        np.testing.assert_array_equal(alone(table).moments[:, :N_BANDS], alone(other).moments[:, :N_BANDS])

    def test_threshold_0_merges_nothing(self) -> None:
        scene = Lattice(patches(3))

        np.testing.assert_allclose(
            scene.image(threshold=0.0)[..., :N_BANDS], scene.moments[:, :N_BANDS].reshape(30, 40, -1), atol=1e-4
        )

    def test_constant_image_has_identical_moments(self) -> None:
        scene = Lattice(np.full((30, 40, N_BANDS), 1229 / FIXED))

        assert (scene.image(threshold=0.1)[..., :N_BANDS] == 1229 / FIXED).all()

    def test_blocks_without_superpixels_are_accepted(self) -> None:
        none = np.zeros(0, np.int64)
        empty = SuperpixelTable(none, np.zeros((0, 1)), none, np.zeros((0, 1)), np.zeros((0, 2), np.int64), none)
        table = Lattice(patches(4)).table(5)
        weight = np.ones(len(table.numbers))

        beside = merge_table(table, [([empty, table], weight)], n_bands=N_BANDS, threshold=0.1)

        assert merge_table(empty, [([empty, table], none)], n_bands=N_BANDS, threshold=0.1) is empty
        np.testing.assert_array_equal(beside.moments, alone(table).moments)


def alone(table: SuperpixelTable) -> SuperpixelTable:
    return merge_table(table, [([table], np.ones(len(table.numbers)))], n_bands=N_BANDS, threshold=0.1)
