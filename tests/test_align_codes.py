from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from geoseg.segment.class_model import moment_features
from geoseg.segment.per_tile.align_codes import Codes, code_table, overlap, signed_edges, translate
from geoseg.segment.per_tile.signed_graph import contract
from geoseg.segment.votes import FIXED, Votes

N_BANDS = 3
LOOKS = np.array(  # four grounds: three bands, three textures
    [
        [0.1, 0.2, 0.5, 0.01, 0.01, 0.02],
        [0.2, 0.6, 0.2, 0.08, 0.09, 0.10],
        [0.7, 0.6, 0.4, 0.02, 0.03, 0.03],
        [0.9, 0.9, 0.9, 0.05, 0.10, 0.12],
    ]
)
N_GROUNDS = len(LOOKS)

seeds = st.integers(0, 2**32 - 1)


def groups(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number groups by their first members, so that the names of codes do not matter."""
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
    def test_codes_have_the_pixels_and_looks_of_the_superpixels_that_they_won(self) -> None:
        word = tile_votes([1, 4, 9], [[30, 0], [10, 30], [0, 8]], [10, 20, 0], [[0.2], [0.6], [0.0]])

        mass, moments = code_table(word)

        np.testing.assert_allclose(mass, [10, 20])
        np.testing.assert_allclose(moments, [[0.2], [0.6]], atol=1e-3)

    def test_codes_of_a_tile_without_data_weigh_nothing(self) -> None:
        word = tile_votes([7], [[3, 4]], [0], [[0.0]])

        mass, moments = code_table(word)

        np.testing.assert_array_equal(mass, [0, 0])
        assert np.isfinite(moments).all()

    def test_overlap_pairs_what_two_tiles_say_of_the_same_superpixels(self) -> None:
        one = tile_votes([1, 4, 6], [[10, 0], [0, 20], [9, 3]], [1, 1, 1], [[0.0], [0.0], [0.0]])
        other = tile_votes([4, 6, 8], [[30, 10], [2, 8], [5, 5]], [1, 1, 1], [[0.0], [0.0], [0.0]])

        np.testing.assert_allclose(overlap(one, other).toarray(), [[0, 10], [20, 0]])
        np.testing.assert_allclose(overlap(other, one).toarray(), overlap(one, other).toarray().T)

    def test_tiles_apart_have_no_overlap(self) -> None:
        one = tile_votes([1], [[10, 0]], [1], [[0.0]])
        other = tile_votes([2], [[10, 0]], [1], [[0.0]])

        assert overlap(one, other).nnz == 0


def plain_strip(n_tiles: int, looks_of: NDArray[np.float64], names: NDArray[np.int64]) -> Codes:
    """Put tiles in a row; `looks_of` is (tile, ground, look), and tile t calls ground g its code ``names[t, g]``."""
    n = names.shape[1]
    moments = np.empty((n_tiles * n, looks_of.shape[2]))
    for t in range(n_tiles):
        moments[t * n + names[t]] = looks_of[t]
    rows = np.concatenate([np.zeros(0, np.int64), *(t * n + names[t] for t in range(n_tiles - 1))])
    cols = np.concatenate([np.zeros(0, np.int64), *((t + 1) * n + names[t + 1] for t in range(n_tiles - 1))])
    half = sparse.coo_array((np.full(len(rows), 500.0), (rows, cols)), shape=(n_tiles * n,) * 2)
    tiles = np.repeat(np.arange(n_tiles), n)
    return Codes(tiles, np.full(n_tiles * n, 3000.0), moments, sparse.csr_array(half + half.T))


def permuted(seed: int, n_tiles: int, noise: float = 0.005) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw tiles that see the four grounds under names of their own."""
    draw = np.random.default_rng(seed)
    looks_of = np.abs(LOOKS + draw.normal(0, noise, (n_tiles, *LOOKS.shape)))
    return looks_of, np.stack([draw.permutation(N_GROUNDS) for _ in range(n_tiles)])


def drifting_strip(
    seed: int, n_tiles: int = 500, *, drift: float = 0.2, noise: float = 0.01
) -> tuple[Codes, NDArray[np.float64]]:
    """Draw a strip of tiles with six codes each for three grounds of one colour, and the shares of grounds in codes.

    SuperpixelTable g is 0.2 × (g + 1) bright, and all grow brighter along the strip, so that with `drift` 0.2 each one ends as
    the next begins. Every code has a little of each ground, some are half and half, and what two tiles have in common
    may be nearly nothing of one ground.
    """
    draw = np.random.default_rng(seed)
    of = np.array([draw.permutation([0, 1, 2, *draw.integers(0, 3, 3)]) for _ in range(n_tiles)])
    shares = 0.96 * np.eye(3)[of] + 0.04 / 3
    half = draw.random(of.shape) < 0.03
    shares[half] = 0.5 * shares[half] + 0.5 * np.roll(shares[half], 1, axis=-1)
    bright = shares @ [0.2, 0.4, 0.6] + drift * np.linspace(0, 1, n_tiles)[:, None]
    noise = draw.normal(0, noise, (*of.shape, 1)) + draw.normal(0, noise / 4, (*of.shape, 3))
    moments = np.concatenate([bright[..., None] + noise, np.full((*of.shape, 3), 0.02)], axis=-1)
    mass = draw.integers(500, 6000, of.shape).astype(float)
    overlaps = sparse.dok_array((of.size, of.size))
    for t in range(n_tiles - 1):
        this, following = ((shares[k] * mass[k, :, None]) / (shares[k].T @ mass[k]) for k in (t, t + 1))
        table = np.zeros((6, 6))
        for ground, area in enumerate(2000 * draw.dirichlet([1, 1, 1])):
            expected = np.outer(this[:, ground], following[:, ground])
            table += area * draw.dirichlet(np.maximum(8 * expected.ravel(), 1e-3)).reshape(6, 6)
        for i, j in zip(*np.nonzero(table > 0.5), strict=True):
            overlaps[6 * t + i, 6 * (t + 1) + j] = table[i, j]
    both = sparse.csr_array(overlaps)
    codes = Codes(
        np.repeat(np.arange(n_tiles), 6), mass.ravel(), moments.reshape(-1, 6), sparse.csr_array(both + both.T)
    )
    return codes, shares.reshape(-1, 3)


def reordered(codes: Codes, seed: int) -> tuple[Codes, NDArray[np.int64]]:
    """Give tiles other numbers and put all codes in another order."""
    draw = np.random.default_rng(seed)
    mixed = draw.permutation(len(codes.mass))
    numbers = draw.permutation(codes.tiles.max() + 1)
    overlaps = sparse.csr_array(codes.overlaps[mixed][:, mixed])
    return Codes(numbers[codes.tiles[mixed]], codes.mass[mixed], codes.moments[mixed], overlaps), mixed


def called(codes: Codes, n_scene_codes: int = 40) -> NDArray[np.int64]:
    words = translate(codes, n_scene_codes=n_scene_codes, n_bands=N_BANDS)
    return np.asarray(words.argmax(axis=1))


class TestTranslate:
    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(2, 30))
    def test_tiles_that_call_the_same_ground_by_other_names_come_together(self, seed: int, n_tiles: int) -> None:
        looks_of, names = permuted(seed, n_tiles)

        found = called(plain_strip(n_tiles, looks_of, names), 4)

        truth = np.concatenate([np.argsort(order) for order in names])  # of each code of each tile
        np.testing.assert_array_equal(groups(found), groups(truth))

    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(1, 12), st.integers(2, 40))
    def test_rows_add_up_to_1(self, seed: int, n_tiles: int, n_scene_codes: int) -> None:
        draw = np.random.default_rng(seed)
        n, tiles = n_tiles * 5, np.repeat(np.arange(n_tiles), 5)
        table = sparse.coo_array(sparse.random_array((n, n), density=0.2, rng=draw))
        table.data *= tiles[table.row] != tiles[table.col]
        mass = draw.integers(0, 3, n).astype(np.float64)  # some codes are not used

        codes = Codes(tiles, mass, draw.uniform(0, 1, (n, 6)), sparse.csr_array(table + table.T))
        words = translate(codes, n_scene_codes=n_scene_codes, n_bands=N_BANDS)

        assert words.shape[0] == n
        assert words.shape[1] <= n_scene_codes
        assert (words >= 0).all()
        np.testing.assert_allclose(words.sum(axis=1), 1)

    @settings(max_examples=10, deadline=None)
    @given(seeds)
    def test_neither_the_numbers_nor_the_order_of_tiles_and_codes_change_a_bit(self, seed: int) -> None:
        codes, _ = drifting_strip(seed, 40)
        other, mixed = reordered(codes, seed)

        words = translate(codes, n_scene_codes=12, n_bands=N_BANDS)

        np.testing.assert_array_equal(translate(other, n_scene_codes=12, n_bands=N_BANDS), words[mixed])

    def test_the_same_codes_give_the_same_words(self) -> None:
        codes, _ = drifting_strip(3, 60)

        one, other = (translate(codes, n_scene_codes=12, n_bands=N_BANDS) for _ in range(2))

        np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize(("drift", "purity"), [(0.0, 0.99), (0.2, 0.98), (0.4, 0.85)])  # looks alone: 0.95, 0.68
    @pytest.mark.parametrize("seed", [0, 1])
    def test_grounds_stay_apart_over_500_tiles_while_each_grows_as_bright_as_the_next(
        self, seed: int, drift: float, purity: float
    ) -> None:
        codes, shares = drifting_strip(seed, drift=drift)

        found = called(codes)

        clear = shares.max(axis=1) > 0.7
        table = np.zeros((found.max() + 1, 3))
        np.add.at(table, (found[clear], shares.argmax(axis=1)[clear]), codes.mass[clear])
        seen = {
            (tile, code, ground)
            for tile, code, ground in zip(codes.tiles[clear], found[clear], shares.argmax(axis=1)[clear], strict=True)
        }
        assert len({(tile, code) for tile, code, _ in seen}) >= 0.998 * len(seen)  # one ground for a code in a tile
        assert table.max(axis=1).sum() / table.sum() > purity  # and in the whole strip

    def test_where_links_alone_would_chain_grounds_together_they_stay_apart(self) -> None:
        codes, shares = drifting_strip(0, noise=0.03)
        ground, clear = shares.argmax(axis=1), shares.max(axis=1) > 0.7
        said, _ = signed_edges(codes, moment_features(codes.moments, N_BANDS))
        linked = said.weight > 0
        links = sparse.coo_array((said.weight[linked], (said.a[linked], said.b[linked])), shape=codes.overlaps.shape)
        _, chained = csgraph.connected_components(links, directed=False)
        largest = clear & (chained == np.bincount(chained).argmax())
        assert np.bincount(ground[largest], minlength=3).min() > 300  # all three in one

        found, _, _ = contract(said, len(ground))

        tables = np.zeros((len(ground), 3))
        np.add.at(tables, (found[clear], ground[clear]), codes.mass[clear])
        assert tables.max(axis=1).sum() / tables.sum() > 0.99

    def test_codes_that_are_half_and_half_belong_to_both(self) -> None:
        looks_of, names = permuted(0, 5)
        codes = plain_strip(5, looks_of, names)
        torn, one, other = 2 * 4 + names[2, 0], 3 * 4 + names[3, 0], 3 * 4 + names[3, 1]
        overlaps = codes.overlaps.tolil()
        overlaps[torn, other] = overlaps[other, torn] = 500.0
        torn_codes = Codes(codes.tiles, codes.mass, codes.moments, sparse.csr_array(overlaps))

        words = translate(torn_codes, n_scene_codes=4, n_bands=N_BANDS)

        assert words[torn, words[one].argmax()] > words[torn, words[other].argmax()] > 0.1

    def test_neighbours_decide_where_looks_are_in_doubt(self) -> None:
        looks_of, names = permuted(0, 9, noise=0.04)
        looks_of[4, 0] = 0.51 * LOOKS[1] + 0.49 * LOOKS[0]  # in haze, the water looks a little more like the wood

        found = called(plain_strip(9, looks_of, names), 4)

        assert found[4 * 4 + names[4, 0]] == found[3 * 4 + names[3, 0]] == found[5 * 4 + names[5, 0]]

    def test_tiles_without_overlaps_go_by_their_looks(self) -> None:
        looks_of, names = permuted(3, 12)
        codes = plain_strip(12, looks_of, names)

        found = called(Codes(codes.tiles, codes.mass, codes.moments, sparse.csr_array((48, 48))), 4)

        truth = np.concatenate([np.argsort(order) for order in names])
        np.testing.assert_array_equal(groups(found), groups(truth))

    def test_a_tile_alone_keeps_its_codes_apart(self) -> None:
        looks_of, names = permuted(5, 1)

        found = called(plain_strip(1, looks_of, names), 40)

        assert len(set(found)) == N_GROUNDS

    def test_more_codes_than_the_scene_may_have_share_some(self) -> None:
        looks_of, names = permuted(6, 20)

        words = translate(plain_strip(20, looks_of, names), n_scene_codes=2, n_bands=N_BANDS)

        assert words.shape[1] == 2

    def test_a_code_that_is_not_used_says_what_the_scene_says(self) -> None:
        looks_of, names = permuted(7, 6)
        codes = plain_strip(6, looks_of, names)
        mass = codes.mass.copy()
        mass[5] = 0

        words = translate(Codes(codes.tiles, mass, codes.moments, codes.overlaps), n_scene_codes=4, n_bands=N_BANDS)

        np.testing.assert_allclose(words[5], words[mass > 0].mean(axis=0))

    def test_empty_tiles_change_nothing(self) -> None:
        looks_of, names = permuted(8, 6)
        codes = plain_strip(6, looks_of, names)
        more = Codes(
            np.concatenate([codes.tiles, np.full(4, 77)]),
            np.concatenate([codes.mass, np.zeros(4)]),
            np.concatenate([codes.moments, np.zeros((4, 6))]),
            sparse.csr_array(sparse.block_diag([codes.overlaps, sparse.csr_array((4, 4))])),
        )

        words = translate(more, n_scene_codes=4, n_bands=N_BANDS)

        np.testing.assert_array_equal(words[:24], translate(codes, n_scene_codes=4, n_bands=N_BANDS))

    def test_where_no_code_is_used_all_say_the_same(self) -> None:
        codes = Codes(np.repeat([0, 1], 3), np.zeros(6), np.zeros((6, 6)), sparse.csr_array((6, 6)))

        np.testing.assert_array_equal(translate(codes, n_scene_codes=4, n_bands=N_BANDS), np.ones((6, 1)))


class TestCost:
    def test_edges_and_looks_at_them_grow_with_the_tiles_and_no_faster(self) -> None:
        per_tile = []
        for n_tiles in (100, 800):
            codes, _ = drifting_strip(0, n_tiles)
            said, alike = signed_edges(codes, moment_features(codes.moments, N_BANDS))
            _, _, n_looked_at = contract(said, len(codes.mass))
            per_tile.append([(len(said.a) + len(alike.a)) / n_tiles, n_looked_at / n_tiles])

        (edges_of_few, looks_of_few), (edges_of_many, looks_of_many) = per_tile
        assert edges_of_many < 1.05 * edges_of_few
        assert looks_of_many < 1.3 * looks_of_few

    def test_memory_for_many_tiles_stays_below_2500_bytes_per_code(self) -> None:
        codes = plain_strip(3000, *permuted(0, 3000))

        tracemalloc.start()
        translate(codes, n_scene_codes=40, n_bands=N_BANDS)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert peak / len(codes.mass) < 2500
