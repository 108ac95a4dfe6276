from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from geoseg.segment.features import moment_features
from geoseg.segment.per_tile.align_codes import Codes, align, code_table, overlap, signed_edges
from geoseg.segment.per_tile.signed_graph import contract
from geoseg.segment.vote_sums import FIXED
from geoseg.segment.votes import Votes

N_BANDS = 3
COVERS = np.array(  # four land covers: three bands, three textures
    [
        [0.1, 0.2, 0.5, 0.01, 0.01, 0.02],
        [0.2, 0.6, 0.2, 0.08, 0.09, 0.10],
        [0.7, 0.6, 0.4, 0.02, 0.03, 0.03],
        [0.9, 0.9, 0.9, 0.05, 0.10, 0.12],
    ]
)
N_COVERS = len(COVERS)

seeds = st.integers(0, 2**32 - 1)


def groups(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number groups by their first members, so that numberings can be compared."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def tile_votes(numbers: list[int], votes: list[list[int]], pixels: list[int], moments: list[list[float]]) -> Votes:
    return Votes(
        np.array(numbers, np.int64),
        np.array(votes, np.int64),
        np.array(pixels, np.int64),
        np.rint(np.array(moments) * np.array(pixels)[:, None] * FIXED).astype(np.int64),
        np.zeros((0, 2), np.int64),
        np.zeros(0, np.int64),
    )


class TestTables:
    def test_codes_have_the_pixels_and_mean_moments_of_the_superpixels_in_which_they_are_most_frequent(self) -> None:
        table = tile_votes([1, 4, 9], [[30, 0], [10, 30], [0, 8]], [10, 20, 0], [[0.2], [0.6], [0.0]])

        pixels, moments = code_table(table)

        np.testing.assert_allclose(pixels, [10, 20])
        np.testing.assert_allclose(moments, [[0.2], [0.6]], atol=1e-3)

    def test_codes_of_a_tile_without_data_have_no_pixels(self) -> None:
        table = tile_votes([7], [[3, 4]], [0], [[0.0]])

        pixels, moments = code_table(table)

        np.testing.assert_array_equal(pixels, [0, 0])
        assert np.isfinite(moments).all()

    def test_overlap_is_the_contingency_table_over_the_superpixels_of_both_tiles(self) -> None:
        one = tile_votes([1, 4, 6], [[10, 0], [0, 20], [9, 3]], [1, 1, 1], [[0.0], [0.0], [0.0]])
        other = tile_votes([4, 6, 8], [[30, 10], [2, 8], [5, 5]], [1, 1, 1], [[0.0], [0.0], [0.0]])

        np.testing.assert_allclose(overlap(one, other).toarray(), [[0, 10], [20, 0]])
        np.testing.assert_allclose(overlap(other, one).toarray(), overlap(one, other).toarray().T)

    def test_tiles_without_common_superpixels_have_no_overlap(self) -> None:
        one = tile_votes([1], [[10, 0]], [1], [[0.0]])
        other = tile_votes([2], [[10, 0]], [1], [[0.0]])

        assert overlap(one, other).nnz == 0


def plain_strip(n_tiles: int, moments_of: NDArray[np.float64], code_of: NDArray[np.int64]) -> Codes:
    """Return tiles in a row; `moments_of` is (tile, cover, moment), cover g has code ``code_of[t, g]`` in tile t."""
    n = code_of.shape[1]
    moments = np.empty((n_tiles * n, moments_of.shape[2]))
    for t in range(n_tiles):
        moments[t * n + code_of[t]] = moments_of[t]
    rows = np.concatenate([np.zeros(0, np.int64), *(t * n + code_of[t] for t in range(n_tiles - 1))])
    cols = np.concatenate([np.zeros(0, np.int64), *((t + 1) * n + code_of[t + 1] for t in range(n_tiles - 1))])
    half = sparse.coo_array((np.full(len(rows), 500.0), (rows, cols)), shape=(n_tiles * n,) * 2)
    tiles = np.repeat(np.arange(n_tiles), n)
    return Codes(tiles, np.full(n_tiles * n, 3000.0), moments, sparse.csr_array(half + half.T))


def permuted(seed: int, n_tiles: int, noise: float = 0.005) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw tiles in which the four land covers have permuted codes."""
    draw = np.random.default_rng(seed)
    moments_of = np.abs(COVERS + draw.normal(0, noise, (n_tiles, *COVERS.shape)))
    return moments_of, np.stack([draw.permutation(N_COVERS) for _ in range(n_tiles)])


def drifting_strip(
    seed: int, n_tiles: int = 500, *, drift: float = 0.2, noise: float = 0.01
) -> tuple[Codes, NDArray[np.float64]]:
    """Draw a strip of tiles with six codes each for three grey land covers, and the shares of covers in codes.

    Cover g has brightness 0.2 × (g + 1), and brightness increases along the strip, so that with `drift` 0.2 each cover
    ends as bright as the next one begins. Every code contains a little of each cover, some codes are mixed half and
    half, and the overlap of two tiles may contain hardly any pixels of one cover.
    """
    draw = np.random.default_rng(seed)
    of = np.array([draw.permutation([0, 1, 2, *draw.integers(0, 3, 3)]) for _ in range(n_tiles)])
    shares = 0.96 * np.eye(3)[of] + 0.04 / 3
    half = draw.random(of.shape) < 0.03
    shares[half] = 0.5 * shares[half] + 0.5 * np.roll(shares[half], 1, axis=-1)
    bright = shares @ [0.2, 0.4, 0.6] + drift * np.linspace(0, 1, n_tiles)[:, None]
    noise = draw.normal(0, noise, (*of.shape, 1)) + draw.normal(0, noise / 4, (*of.shape, 3))
    moments = np.concatenate([bright[..., None] + noise, np.full((*of.shape, 3), 0.02)], axis=-1)
    pixels = draw.integers(500, 6000, of.shape).astype(float)
    overlaps = sparse.dok_array((of.size, of.size))
    for t in range(n_tiles - 1):
        this, following = ((shares[k] * pixels[k, :, None]) / (shares[k].T @ pixels[k]) for k in (t, t + 1))
        table = np.zeros((6, 6))
        for cover, area in enumerate(2000 * draw.dirichlet([1, 1, 1])):
            expected = np.outer(this[:, cover], following[:, cover])
            table += area * draw.dirichlet(np.maximum(8 * expected.ravel(), 1e-3)).reshape(6, 6)
        for i, j in zip(*np.nonzero(table > 0.5), strict=True):
            overlaps[6 * t + i, 6 * (t + 1) + j] = table[i, j]
    both = sparse.csr_array(overlaps)
    codes = Codes(
        np.repeat(np.arange(n_tiles), 6), pixels.ravel(), moments.reshape(-1, 6), sparse.csr_array(both + both.T)
    )
    return codes, shares.reshape(-1, 3)


def reordered(codes: Codes, seed: int) -> tuple[Codes, NDArray[np.int64]]:
    """Return the codes in another order and with other tile numbers, and that order."""
    draw = np.random.default_rng(seed)
    mixed = draw.permutation(len(codes.pixels))
    numbers = draw.permutation(codes.tiles.max() + 1)
    overlaps = sparse.csr_array(codes.overlaps[mixed][:, mixed])
    return Codes(numbers[codes.tiles[mixed]], codes.pixels[mixed], codes.moments[mixed], overlaps), mixed


def aligned(codes: Codes, n_scene_codes: int = 40) -> NDArray[np.int64]:
    assignments = align(codes, n_scene_codes=n_scene_codes, n_bands=N_BANDS)
    return np.asarray(assignments.argmax(axis=1))


class TestAlign:
    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(2, 30))
    def test_permuted_codes_of_the_same_land_cover_get_one_scene_code(self, seed: int, n_tiles: int) -> None:
        moments_of, code_of = permuted(seed, n_tiles)

        found = aligned(plain_strip(n_tiles, moments_of, code_of), 4)

        truth = np.concatenate([np.argsort(order) for order in code_of])  # of each code of each tile
        np.testing.assert_array_equal(groups(found), groups(truth))

    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(1, 12), st.integers(2, 40))
    def test_rows_add_up_to_1(self, seed: int, n_tiles: int, n_scene_codes: int) -> None:
        draw = np.random.default_rng(seed)
        n, tiles = n_tiles * 5, np.repeat(np.arange(n_tiles), 5)
        table = sparse.coo_array(sparse.random_array((n, n), density=0.2, rng=draw))
        table.data *= tiles[table.row] != tiles[table.col]
        pixels = draw.integers(0, 3, n).astype(np.float64)  # some codes are not used

        codes = Codes(tiles, pixels, draw.uniform(0, 1, (n, 6)), sparse.csr_array(table + table.T))
        assignments = align(codes, n_scene_codes=n_scene_codes, n_bands=N_BANDS)

        assert assignments.shape[0] == n
        assert assignments.shape[1] <= n_scene_codes
        assert (assignments >= 0).all()
        np.testing.assert_allclose(assignments.sum(axis=1), 1)

    @settings(max_examples=10, deadline=None)
    @given(seeds)
    def test_result_does_not_depend_on_the_numbers_or_the_order_of_tiles_and_codes(self, seed: int) -> None:
        codes, _ = drifting_strip(seed, 40)
        other, mixed = reordered(codes, seed)

        assignments = align(codes, n_scene_codes=12, n_bands=N_BANDS)

        np.testing.assert_array_equal(align(other, n_scene_codes=12, n_bands=N_BANDS), assignments[mixed])

    def test_the_same_codes_give_the_same_assignments(self) -> None:
        codes, _ = drifting_strip(3, 60)

        one, other = (align(codes, n_scene_codes=12, n_bands=N_BANDS) for _ in range(2))

        np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize(("drift", "purity"), [(0.0, 0.99), (0.2, 0.98), (0.4, 0.85)])  # features alone: 0.95, 0.68
    @pytest.mark.parametrize("seed", [0, 1])
    def test_land_covers_keep_different_codes_over_500_tiles_while_brightness_drifts_by_the_difference_between_two(
        self, seed: int, drift: float, purity: float
    ) -> None:
        codes, shares = drifting_strip(seed, drift=drift)

        found = aligned(codes)

        clear = shares.max(axis=1) > 0.7
        table = np.zeros((found.max() + 1, 3))
        np.add.at(table, (found[clear], shares.argmax(axis=1)[clear]), codes.pixels[clear])
        seen = {
            (tile, code, cover)
            for tile, code, cover in zip(codes.tiles[clear], found[clear], shares.argmax(axis=1)[clear], strict=True)
        }
        assert len({(tile, code) for tile, code, _ in seen}) >= 0.998 * len(seen)  # one cover per code in a tile
        assert table.max(axis=1).sum() / table.sum() > purity  # and in the whole strip

    def test_land_covers_that_connected_components_would_chain_together_are_separated(self) -> None:
        codes, shares = drifting_strip(0, noise=0.03)
        cover, clear = shares.argmax(axis=1), shares.max(axis=1) > 0.7
        evidence, _ = signed_edges(codes, moment_features(codes.moments, N_BANDS))
        linked = evidence.weight > 0
        links = sparse.coo_array(
            (evidence.weight[linked], (evidence.a[linked], evidence.b[linked])), shape=codes.overlaps.shape
        )
        _, chained = csgraph.connected_components(links, directed=False)
        largest = clear & (chained == np.bincount(chained).argmax())
        assert np.bincount(cover[largest], minlength=3).min() > 300  # all three in one

        found, _, _ = contract(evidence, len(cover))

        tables = np.zeros((len(cover), 3))
        np.add.at(tables, (found[clear], cover[clear]), codes.pixels[clear])
        assert tables.max(axis=1).sum() / tables.sum() > 0.99

    def test_mixed_codes_are_assigned_to_both_scene_codes(self) -> None:
        moments_of, code_of = permuted(0, 5)
        codes = plain_strip(5, moments_of, code_of)
        mixed, one, other = 2 * 4 + code_of[2, 0], 3 * 4 + code_of[3, 0], 3 * 4 + code_of[3, 1]
        overlaps = codes.overlaps.tolil()
        overlaps[mixed, other] = overlaps[other, mixed] = 500.0
        mixed_codes = Codes(codes.tiles, codes.pixels, codes.moments, sparse.csr_array(overlaps))

        assignments = align(mixed_codes, n_scene_codes=4, n_bands=N_BANDS)

        assert assignments[mixed, assignments[one].argmax()] > assignments[mixed, assignments[other].argmax()] > 0.1

    def test_overlaps_decide_where_features_are_ambiguous(self) -> None:
        moments_of, code_of = permuted(0, 9, noise=0.04)
        moments_of[4, 0] = (
            0.51 * COVERS[1] + 0.49 * COVERS[0]
        )  # haze: the features of water are slightly closer to forest

        found = aligned(plain_strip(9, moments_of, code_of), 4)

        assert found[4 * 4 + code_of[4, 0]] == found[3 * 4 + code_of[3, 0]] == found[5 * 4 + code_of[5, 0]]

    def test_tiles_without_overlaps_are_aligned_by_features(self) -> None:
        moments_of, code_of = permuted(3, 12)
        codes = plain_strip(12, moments_of, code_of)

        found = aligned(Codes(codes.tiles, codes.pixels, codes.moments, sparse.csr_array((48, 48))), 4)

        truth = np.concatenate([np.argsort(order) for order in code_of])
        np.testing.assert_array_equal(groups(found), groups(truth))

    def test_codes_of_a_single_tile_stay_different(self) -> None:
        moments_of, code_of = permuted(5, 1)

        found = aligned(plain_strip(1, moments_of, code_of), 40)

        assert len(set(found)) == N_COVERS

    def test_codes_are_merged_to_at_most_n_scene_codes(self) -> None:
        moments_of, code_of = permuted(6, 20)

        assignments = align(plain_strip(20, moments_of, code_of), n_scene_codes=2, n_bands=N_BANDS)

        assert assignments.shape[1] == 2

    def test_unused_code_has_the_mean_assignment_of_the_scene(self) -> None:
        moments_of, code_of = permuted(7, 6)
        codes = plain_strip(6, moments_of, code_of)
        pixels = codes.pixels.copy()
        pixels[5] = 0

        assignments = align(Codes(codes.tiles, pixels, codes.moments, codes.overlaps), n_scene_codes=4, n_bands=N_BANDS)

        np.testing.assert_allclose(assignments[5], assignments[pixels > 0].mean(axis=0))

    def test_tiles_without_data_do_not_change_the_assignments(self) -> None:
        moments_of, code_of = permuted(8, 6)
        codes = plain_strip(6, moments_of, code_of)
        more = Codes(
            np.concatenate([codes.tiles, np.full(4, 77)]),
            np.concatenate([codes.pixels, np.zeros(4)]),
            np.concatenate([codes.moments, np.zeros((4, 6))]),
            sparse.csr_array(sparse.block_diag([codes.overlaps, sparse.csr_array((4, 4))])),
        )

        assignments = align(more, n_scene_codes=4, n_bands=N_BANDS)

        np.testing.assert_array_equal(assignments[:24], align(codes, n_scene_codes=4, n_bands=N_BANDS))

    def test_without_any_used_code_all_assignments_are_equal(self) -> None:
        codes = Codes(np.repeat([0, 1], 3), np.zeros(6), np.zeros((6, 6)), sparse.csr_array((6, 6)))

        np.testing.assert_array_equal(align(codes, n_scene_codes=4, n_bands=N_BANDS), np.ones((6, 1)))


class TestCost:
    def test_number_of_edges_and_visits_is_linear_in_the_number_of_tiles(self) -> None:
        per_tile = []
        for n_tiles in (100, 800):
            codes, _ = drifting_strip(0, n_tiles)
            evidence, feature_edges = signed_edges(codes, moment_features(codes.moments, N_BANDS))
            _, _, n_visited = contract(evidence, len(codes.pixels))
            per_tile.append([(len(evidence.a) + len(feature_edges.a)) / n_tiles, n_visited / n_tiles])

        (edges_of_few, visits_of_few), (edges_of_many, visits_of_many) = per_tile
        assert edges_of_many < 1.05 * edges_of_few
        assert visits_of_many < 1.3 * visits_of_few

    def test_memory_stays_below_2500_bytes_per_code(self) -> None:
        codes = plain_strip(3000, *permuted(0, 3000))

        tracemalloc.start()
        align(codes, n_scene_codes=40, n_bands=N_BANDS)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert peak / len(codes.pixels) < 2500
