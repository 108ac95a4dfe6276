from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from geoseg.config import Harmonize
from geoseg.segment.classtree import ClassTree
from geoseg.segment.harmonize import Harmony, code_table, features, harmonize, overlap, translate
from geoseg.segment.votes import Ground, Votes

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


def scene(
    seed: int, counts: tuple[int, ...] = (40, 30, 20, 10), *, n_codes: int = 6
) -> tuple[Ground, NDArray[np.int64]]:
    """Draw superpixels of four grounds in a row that touch one after the other, and say of which ground each one is."""
    draw = np.random.default_rng(seed)
    of = draw.permutation(np.repeat(np.arange(N_GROUNDS), counts))
    n = len(of)
    votes = np.eye(n_codes)[of] + draw.uniform(0, 0.1, (n, n_codes))
    numbers = np.arange(n, dtype=np.int64)
    ground = Ground(
        numbers=numbers,
        votes=votes / votes.sum(axis=1, keepdims=True),
        pixels=draw.integers(40, 200, n),
        looks=np.abs(LOOKS[of] + draw.normal(0, 0.004, (n, LOOKS.shape[1]))),
        pairs=np.stack([numbers[:-1], numbers[1:]], axis=1),
        borders=draw.integers(1, 30, n - 1),
    )
    return ground, of


def part(ground: Ground, rows: slice) -> Ground:
    numbers = ground.numbers[rows]
    edges = np.isin(ground.pairs[:, 0], numbers)
    fields = {name: value[rows] for name, value in ground.to_arrays().items() if name not in ("pairs", "borders")}
    return Ground(**fields, pairs=ground.pairs[edges], borders=ground.borders[edges])


def classes_of(harmony: Harmony, ground: Ground, n_classes: int) -> NDArray[np.int64]:
    return harmony.tree.level(n_classes)[harmony.fine_classes(ground)]


def groups(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number groups by their first members, so that the names of classes do not matter."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


BOTH = pytest.mark.parametrize("evidence", ["votes", "votes+looks"])


class TestHarmonize:
    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(2, 12), st.sampled_from(["votes", "votes+looks"]))
    def test_there_are_at_most_as_many_classes_as_asked(self, seed: int, n_classes: int, evidence: str) -> None:
        ground, _ = scene(seed)
        options = Harmonize(classes=n_classes, fine_classes=24, evidence=evidence)  # type: ignore[arg-type]

        classes = classes_of(harmonize([ground], options, n_bands=N_BANDS, seed=0), ground, n_classes)

        assert set(classes.tolist()) <= set(range(1, n_classes + 1))

    @BOTH
    def test_each_ground_is_a_class(self, evidence: str) -> None:
        ground, of = scene(1)
        options = Harmonize(classes=4, fine_classes=12, evidence=evidence, interleaving=0.0)  # type: ignore[arg-type]

        classes = classes_of(harmonize([ground], options, n_bands=N_BANDS, seed=0), ground, 4)

        np.testing.assert_array_equal(groups(classes), groups(of))

    @BOTH
    def test_small_ground_that_looks_different_keeps_a_class_of_its_own(self, evidence: str) -> None:
        ground, of = scene(2, (2000, 1500, 1000, 5))
        options = Harmonize(classes=4, fine_classes=12, evidence=evidence, interleaving=0.0)  # type: ignore[arg-type]

        classes = classes_of(harmonize([ground], options, n_bands=N_BANDS, seed=0), ground, 4)

        small = np.unique(classes[of == 3])
        assert len(small) == 1
        assert not (classes[of != 3] == small[0]).any()

    def test_ground_that_looks_the_same_falls_apart_where_codes_differ(self) -> None:
        ground, of = scene(3)
        alike = Ground(**ground.to_arrays() | {"looks": np.full_like(ground.looks, 0.3)})

        harmony = harmonize([alike], Harmonize(fine_classes=4, classes=4), n_bands=N_BANDS, seed=0)

        np.testing.assert_array_equal(groups(harmony.fine_classes(alike)), groups(of))

    @BOTH
    def test_the_same_seed_gives_the_same_classes(self, evidence: str) -> None:
        ground, _ = scene(4)
        options = Harmonize(evidence=evidence)  # type: ignore[arg-type]

        one, other = (harmonize([ground], options, n_bands=N_BANDS, seed=5).to_arrays() for _ in range(2))

        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])

    @settings(max_examples=10, deadline=None)
    @given(seeds, st.integers(1, 99))
    def test_in_which_blocks_the_superpixels_lie_does_not_matter(self, seed: int, cut: int) -> None:
        ground, _ = scene(seed)
        blocks = [part(ground, slice(cut, None)), part(ground, slice(0, 0)), part(ground, slice(0, cut))]

        whole = harmonize([ground], Harmonize(), n_bands=N_BANDS, seed=0).to_arrays()

        for name, value in harmonize(blocks, Harmonize(), n_bands=N_BANDS, seed=0).to_arrays().items():
            np.testing.assert_array_equal(value, whole[name])

    def test_borders_to_blocks_without_a_sample_are_left_out(self) -> None:
        ground, _ = scene(5)

        harmony = harmonize(
            [part(ground, slice(0, 30)), part(ground, slice(60, 90))], Harmonize(), n_bands=N_BANDS, seed=0
        )

        assert len(np.unique(harmony.fine_classes(ground))) > 4

    @BOTH
    def test_means_and_weights_are_those_of_the_superpixels(self, evidence: str) -> None:
        ground, _ = scene(6)

        harmony = harmonize([ground], Harmonize(evidence=evidence), n_bands=N_BANDS, seed=0)  # type: ignore[arg-type]

        fine = harmony.fine_classes(ground)
        assert harmony.weights.sum() == ground.pixels.sum()
        for one in np.unique(fine):
            own = fine == one
            assert harmony.weights[one] == ground.pixels[own].sum()
            np.testing.assert_allclose(
                harmony.looks[one], np.average(ground.looks[own], axis=0, weights=ground.pixels[own])
            )

    @BOTH
    def test_a_harmony_comes_back_from_its_arrays(self, evidence: str) -> None:
        ground, _ = scene(7)
        harmony = harmonize([ground], Harmonize(evidence=evidence), n_bands=N_BANDS, seed=0)  # type: ignore[arg-type]

        back = Harmony.from_arrays(harmony.to_arrays())

        assert back.n_bands == N_BANDS
        np.testing.assert_array_equal(back.fine_classes(ground), harmony.fine_classes(ground))
        np.testing.assert_array_equal(back.tree.level(3), harmony.tree.level(3))
        assert isinstance(back.tree, ClassTree)
        for name, value in harmony.to_arrays().items():
            np.testing.assert_array_equal(back.to_arrays()[name], value)

    @BOTH
    def test_number_of_classes_is_chosen_with_them_and_comes_back_with_them(self, evidence: str) -> None:
        ground, _ = scene(7)
        options = Harmonize(classes="auto", evidence=evidence)  # type: ignore[arg-type]

        harmony = harmonize([ground], options, n_bands=N_BANDS, seed=0)

        assert harmony.n_classes == harmony.tree.natural
        assert harmony.classes("auto").max() == harmony.n_classes
        np.testing.assert_array_equal(harmony.classes(3), harmony.tree.level(3))
        chosen_otherwise = replace(harmony, n_classes=2)  # as another version of the choice might have done
        back = Harmony.from_arrays(chosen_otherwise.to_arrays())
        assert back.n_classes == back.classes("auto").max() == 2

    def test_how_many_classes_are_asked_does_not_matter_to_the_tree(self) -> None:
        ground, _ = scene(7)

        one, other = (
            harmonize([ground], Harmonize(classes=n), n_bands=N_BANDS, seed=0).to_arrays() for n in ("auto", 5)
        )

        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])

    @BOTH
    @pytest.mark.parametrize("n", [2, 3, 100])
    def test_auto_gives_two_classes_or_more_where_there_are_two_fine_classes(self, evidence: str, n: int) -> None:
        ground = part(scene(8)[0], slice(0, n))

        harmony = harmonize([ground], Harmonize(evidence=evidence), n_bands=N_BANDS, seed=0)  # type: ignore[arg-type]

        assert harmony.classes("auto").max() >= min(2, harmony.tree.n_fine)

    @BOTH
    @pytest.mark.parametrize("n", [1, 2])
    def test_one_or_two_superpixels_are_enough(self, evidence: str, n: int) -> None:
        ground = part(scene(8)[0], slice(0, n))

        harmony = harmonize([ground], Harmonize(evidence=evidence), n_bands=N_BANDS, seed=0)  # type: ignore[arg-type]

        assert 1 <= classes_of(harmony, ground, 16).max() <= n

    def test_flat_ground_is_one_class_and_nothing_is_said(self) -> None:
        ground, _ = scene(9)
        rounding = np.random.default_rng(0).uniform(0, 1e-15, ground.looks.shape)
        flat = Ground(
            **ground.to_arrays()
            | {"looks": 0.3 + rounding, "votes": np.full_like(ground.votes, 1 / ground.votes.shape[1])}
        )

        harmony = harmonize([flat], Harmonize(), n_bands=N_BANDS, seed=0)  # a warning is an error in tests

        assert np.isfinite(harmony.looks).all()

    @BOTH
    def test_no_superpixels_have_no_classes(self, evidence: str) -> None:
        ground, _ = scene(10)
        harmony = harmonize([ground], Harmonize(evidence=evidence), n_bands=N_BANDS, seed=0)  # type: ignore[arg-type]

        assert harmony.fine_classes(part(ground, slice(0, 0))).shape == (0,)

    def test_shares_count_by_their_roots(self) -> None:
        ground, _ = scene(11)
        looks_alone = features(Ground(**ground.to_arrays() | {"votes": np.zeros_like(ground.votes)}), N_BANDS)

        of_votes = (features(ground, N_BANDS) - looks_alone)[:, : ground.votes.shape[1]]

        np.testing.assert_allclose((of_votes**2).sum(axis=1), (of_votes[0] ** 2).sum())


def tile_votes(numbers: list[int], votes: list[list[int]], pixels: list[int], looks: list[list[float]]) -> Votes:
    return Votes(
        np.array(numbers, np.int64),
        np.array(votes, np.int64),
        np.array(pixels, np.int64),
        np.rint(np.array(looks) * np.array(pixels)[:, None] * 4096).astype(np.int64),
        np.zeros((0, 2), np.int64),
        np.zeros(0, np.int64),
    )


class TestTables:
    def test_codes_have_the_pixels_and_looks_of_the_core(self) -> None:
        word = tile_votes([1, 4, 9], [[30, 0], [10, 30], [0, 8]], [10, 20, 0], [[0.2], [0.6], [0.0]])

        mass, looks = code_table(word)

        np.testing.assert_allclose(mass, [15, 15])
        np.testing.assert_allclose(looks, [[(10 * 0.2 + 5 * 0.6) / 15], [0.6]], atol=1e-3)

    def test_codes_of_a_tile_without_data_weigh_nothing(self) -> None:
        word = tile_votes([7], [[3, 4]], [0], [[0.0]])

        mass, looks = code_table(word)

        np.testing.assert_array_equal(mass, [0, 0])
        assert np.isfinite(looks).all()

    def test_overlap_pairs_what_two_tiles_say_of_the_same_superpixels(self) -> None:
        one = tile_votes([1, 4], [[10, 0], [0, 20]], [1, 1], [[0.0], [0.0]])
        other = tile_votes([4, 8], [[30, 10], [5, 5]], [1, 1], [[0.0], [0.0]])

        np.testing.assert_allclose(overlap(one, other), [[0, 0], [15, 5]])
        np.testing.assert_allclose(overlap(other, one), overlap(one, other).T)

    def test_tiles_apart_have_no_overlap(self) -> None:
        one = tile_votes([1], [[10, 0]], [1], [[0.0]])
        other = tile_votes([2], [[10, 0]], [1], [[0.0]])

        np.testing.assert_array_equal(overlap(one, other), np.zeros((2, 2)))


def strip(
    n_tiles: int, looks_of: NDArray[np.float64], names: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], sparse.csr_array]:
    """Put tiles in a row; `looks_of` is (tile, ground, look), and tile t calls ground g its code ``names[t, g]``."""
    n = names.shape[1]
    looks = np.empty((n_tiles * n, looks_of.shape[2]))
    for t in range(n_tiles):
        looks[t * n + names[t]] = looks_of[t]
    rows = np.concatenate([t * n + names[t] for t in range(n_tiles - 1)])
    cols = np.concatenate([(t + 1) * n + names[t + 1] for t in range(n_tiles - 1)])
    half = sparse.coo_array((np.full(len(rows), 500.0), (rows, cols)), shape=(n_tiles * n,) * 2)
    return np.full(n_tiles * n, 3000.0), looks, sparse.csr_array(half + half.T)


def permuted(seed: int, n_tiles: int, noise: float = 0.005) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw tiles that see the four grounds under names of their own."""
    draw = np.random.default_rng(seed)
    looks_of = np.abs(LOOKS + draw.normal(0, noise, (n_tiles, *LOOKS.shape)))
    return looks_of, np.stack([draw.permutation(N_GROUNDS) for _ in range(n_tiles)])


class TestTranslate:
    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(2, 30))
    def test_tiles_that_call_the_same_ground_by_other_names_come_together(self, seed: int, n_tiles: int) -> None:
        looks_of, names = permuted(seed, n_tiles)

        words = translate(*strip(n_tiles, looks_of, names), n_scene_codes=4, n_bands=N_BANDS, seed=0)

        truth = np.concatenate([np.argsort(order) for order in names])  # of each code of each tile
        np.testing.assert_array_equal(groups(words.argmax(axis=1)), groups(truth))

    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(1, 12), st.integers(2, 40))
    def test_rows_add_up_to_1(self, seed: int, n_tiles: int, n_scene_codes: int) -> None:
        draw = np.random.default_rng(seed)
        n = n_tiles * 5
        table = sparse.random_array((n, n), density=0.2, rng=draw)
        mass = draw.integers(0, 3, n).astype(np.float64)  # some codes are not used
        mass[0] = 1

        words = translate(
            mass,
            draw.uniform(0, 1, (n, 6)),
            sparse.csr_array(table + table.T),
            n_scene_codes=n_scene_codes,
            n_bands=N_BANDS,
            seed=0,
        )

        assert words.shape[0] == n
        assert words.shape[1] <= n_scene_codes
        assert (words >= 0).all()
        np.testing.assert_allclose(words.sum(axis=1), 1)

    @settings(max_examples=10, deadline=None)
    @given(seeds)
    def test_the_order_of_the_tiles_does_not_matter(self, seed: int) -> None:
        mass, looks, overlaps = strip(20, *permuted(seed, 20))
        mixed = np.random.default_rng(seed).permutation(len(mass))

        words = translate(mass, looks, overlaps, n_scene_codes=4, n_bands=N_BANDS, seed=0)
        other = translate(
            mass[mixed], looks[mixed], overlaps[mixed][:, mixed], n_scene_codes=4, n_bands=N_BANDS, seed=0
        )

        np.testing.assert_array_equal(groups(other.argmax(axis=1)), groups(words.argmax(axis=1)[mixed]))
        np.testing.assert_allclose(np.sort(other, axis=1), np.sort(words, axis=1)[mixed], atol=1e-6)

    def test_neighbours_decide_where_looks_are_in_doubt(self) -> None:
        looks_of, names = permuted(0, 9, noise=0.04)
        looks_of[4, 0] = 0.51 * LOOKS[1] + 0.49 * LOOKS[0]  # in haze, the water looks a little more like the wood

        words = translate(*strip(9, looks_of, names), n_scene_codes=4, n_bands=N_BANDS, seed=0).argmax(axis=1)

        assert words[4 * 4 + names[4, 0]] == words[3 * 4 + names[3, 0]] == words[5 * 4 + names[5, 0]]

    def test_light_that_drifts_over_500_tiles_does_not_chain_different_grounds_together(self) -> None:
        n_tiles, grounds = 500, LOOKS[:2]
        drift = np.linspace(0, 0.4, n_tiles)[:, None, None] * np.array([1, 1, 1, 0, 0, 0])
        names = np.stack([np.random.default_rng(t).permutation(2) for t in range(n_tiles)])

        words = translate(*strip(n_tiles, grounds + drift, names), n_scene_codes=16, n_bands=N_BANDS, seed=0)

        called = words.argmax(axis=1).reshape(n_tiles, 2)
        of_ground = np.take_along_axis(called, names, axis=1)
        assert (of_ground[:, 0] != of_ground[:, 1]).all()
        assert not set(of_ground[:, 0]) & set(of_ground[:, 1])

    def test_tiles_without_neighbours_go_by_their_looks(self) -> None:
        looks_of, names = permuted(3, 12)
        mass, looks, _ = strip(12, looks_of, names)

        words = translate(mass, looks, sparse.csr_array((48, 48)), n_scene_codes=4, n_bands=N_BANDS, seed=0)

        truth = np.concatenate([np.argsort(order) for order in names])
        np.testing.assert_array_equal(groups(words.argmax(axis=1)), groups(truth))

    def test_memory_for_many_tiles_stays_below_2500_bytes_per_code(self) -> None:
        mass, looks, overlaps = strip(3000, *permuted(0, 3000))

        tracemalloc.start()
        translate(mass, looks, overlaps, n_scene_codes=40, n_bands=N_BANDS, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert peak / len(mass) < 2500
