from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from geoseg.config import Harmonize
from geoseg.segment.classtree import ClassTree
from geoseg.segment.codebook import find_codebook
from geoseg.segment.harmonize import Harmony, features, harmonize
from geoseg.segment.votes import Ground

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


def shades(*, as_said_by: int) -> Ground:
    """Draw the same 800 superpixels of grounds that pass into each other, with the votes of one of many networks."""
    colours = np.random.default_rng(0).uniform(0.2, 0.8, (800, N_BANDS))
    colours = (colours + colours[:, :1]) / 2
    codes = np.random.default_rng(as_said_by).uniform(0.2, 0.8, (8, N_BANDS))
    votes = np.exp(-20 * ((colours[:, None] - codes) ** 2).sum(axis=-1))
    numbers = np.arange(len(colours), dtype=np.int64)
    return Ground(
        numbers=numbers,
        votes=votes / votes.sum(axis=1, keepdims=True),
        pixels=np.full(len(colours), 100),
        looks=np.concatenate([colours, colours.mean(axis=1, keepdims=True) ** 2], axis=1),
        pairs=np.stack([numbers[:-1], numbers[1:]], axis=1),
        borders=np.full(len(colours) - 1, 10),
    )


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


class TestShares:
    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(1, 12))
    def test_shares_are_inverse_squared_distances_to_the_nearest_centre_of_each_class(
        self, seed: int, n_classes: int
    ) -> None:
        ground, _ = scene(seed)
        harmony = harmonize([ground], Harmonize(fine_classes=14), n_bands=N_BANDS)
        class_of_fine = harmony.classes(n_classes)

        found = harmony.shares(ground, class_of_fine)

        own = class_of_fine[harmony.fine_classes(ground)]
        for row, one in enumerate(features(ground, N_BANDS)):
            apart = ((harmony.centres - one) ** 2).sum(axis=1)
            each = {k: 1 / max(apart[class_of_fine == k].min(), 1e-12) for k in set(class_of_fine.tolist())}
            assert found[row] == pytest.approx(each[own[row]] / sum(each.values()), rel=1e-6)

    def test_with_classes_of_codes_the_share_is_that_of_the_votes(self) -> None:
        ground, _ = scene(4)
        harmony = harmonize([ground], Harmonize(evidence="votes", fine_classes=8, classes=4), n_bands=N_BANDS)
        class_of_fine = harmony.classes(2)

        found = harmony.shares(ground, class_of_fine)

        of_code = class_of_fine[harmony.code_class]
        own = class_of_fine[harmony.fine_classes(ground)]
        expected = [sum(vote[of_code == number]) for vote, number in zip(ground.votes, own, strict=True)]
        np.testing.assert_allclose(found, expected)

    def test_one_class_has_all(self) -> None:
        ground, _ = scene(5)
        harmony = harmonize([ground], Harmonize(fine_classes=8), n_bands=N_BANDS)

        np.testing.assert_allclose(harmony.shares(ground, np.ones(len(harmony.looks), np.int64)), 1)

    def test_superpixel_at_a_centre_belongs_to_its_class_alone(self) -> None:
        ground, _ = scene(6)
        harmony = harmonize([ground], Harmonize(fine_classes=8), n_bands=N_BANDS)
        exact = replace(harmony, centres=features(ground, N_BANDS)[:8])

        shares = exact.shares(ground, np.arange(1, 9))

        np.testing.assert_array_equal(shares[:8], 1)
        assert shares[8:].max() < 1

    def test_shares_of_a_codebook_of_colours_look_at_colours_alone(self) -> None:
        ground, _ = scene(7)
        harmony = find_codebook([ground], n_classes=4, n_bands=N_BANDS, seed=0)
        other = replace(ground, votes=ground.votes[::-1])

        shares = harmony.shares(ground, harmony.classes(4))

        np.testing.assert_array_equal(shares, harmony.shares(other, harmony.classes(4)))
        assert 0.25 <= shares.min() < shares.max() <= 1


class TestHarmonize:
    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(2, 12), st.sampled_from(["votes", "votes+looks"]))
    def test_there_are_at_most_as_many_classes_as_asked(self, seed: int, n_classes: int, evidence: str) -> None:
        ground, _ = scene(seed)
        options = Harmonize(classes=n_classes, fine_classes=24, evidence=evidence)  # type: ignore[arg-type]

        classes = classes_of(harmonize([ground], options, n_bands=N_BANDS), ground, n_classes)

        assert set(classes.tolist()) <= set(range(1, n_classes + 1))

    @BOTH
    def test_each_ground_is_a_class(self, evidence: str) -> None:
        ground, of = scene(1)
        options = Harmonize(classes=4, fine_classes=12, evidence=evidence, interleaving=0.0)  # type: ignore[arg-type]

        classes = classes_of(harmonize([ground], options, n_bands=N_BANDS), ground, 4)

        np.testing.assert_array_equal(groups(classes), groups(of))

    @BOTH
    def test_small_ground_that_looks_different_keeps_a_class_of_its_own(self, evidence: str) -> None:
        ground, of = scene(2, (2000, 1500, 1000, 5))
        options = Harmonize(classes=4, fine_classes=12, evidence=evidence, interleaving=0.0)  # type: ignore[arg-type]

        classes = classes_of(harmonize([ground], options, n_bands=N_BANDS), ground, 4)

        small = np.unique(classes[of == 3])
        assert len(small) == 1
        assert not (classes[of != 3] == small[0]).any()

    def test_ground_that_looks_the_same_falls_apart_where_codes_differ(self) -> None:
        ground, of = scene(3)
        alike = Ground(**ground.to_arrays() | {"looks": np.full_like(ground.looks, 0.3)})

        harmony = harmonize([alike], Harmonize(fine_classes=4, classes=4), n_bands=N_BANDS)

        np.testing.assert_array_equal(groups(harmony.fine_classes(alike)), groups(of))

    def test_networks_that_cut_one_ground_differently_hardly_move_its_fine_classes(self) -> None:
        grounds = [shades(as_said_by=network) for network in range(4)]
        options = Harmonize(classes=8, fine_classes=24)

        found = [harmonize([ground], options, n_bands=N_BANDS).fine_classes(ground) for ground in grounds]

        likeness = [adjusted_rand_score(one, other) for one, other in itertools.combinations(found, 2)]
        assert min(likeness) >= 0.7  # 0.64 where k-means groups by looks and votes at once

    @BOTH
    def test_twice_the_same_ground_gives_the_same_classes(self, evidence: str) -> None:
        ground, _ = scene(4)
        options = Harmonize(evidence=evidence)  # type: ignore[arg-type]

        one, other = (harmonize([ground], options, n_bands=N_BANDS).to_arrays() for _ in range(2))

        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])

    @settings(max_examples=10, deadline=None)
    @given(seeds, st.integers(1, 99))
    def test_in_which_blocks_the_superpixels_lie_does_not_matter(self, seed: int, cut: int) -> None:
        ground, _ = scene(seed)
        blocks = [part(ground, slice(cut, None)), part(ground, slice(0, 0)), part(ground, slice(0, cut))]

        whole = harmonize([ground], Harmonize(), n_bands=N_BANDS).to_arrays()

        for name, value in harmonize(blocks, Harmonize(), n_bands=N_BANDS).to_arrays().items():
            np.testing.assert_array_equal(value, whole[name])

    def test_borders_to_blocks_without_a_sample_are_left_out(self) -> None:
        ground, _ = scene(5)

        harmony = harmonize([part(ground, slice(0, 30)), part(ground, slice(60, 90))], Harmonize(), n_bands=N_BANDS)

        assert len(np.unique(harmony.fine_classes(ground))) > 4

    @BOTH
    def test_means_and_weights_are_those_of_the_superpixels(self, evidence: str) -> None:
        ground, _ = scene(6)

        harmony = harmonize([ground], Harmonize(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

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
        harmony = harmonize([ground], Harmonize(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

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

        harmony = harmonize([ground], options, n_bands=N_BANDS)

        assert harmony.n_classes == harmony.tree.natural
        assert harmony.classes("auto").max() == harmony.n_classes
        np.testing.assert_array_equal(harmony.classes(3), harmony.tree.level(3))
        chosen_otherwise = replace(harmony, n_classes=2)  # as another version of the choice might have done
        back = Harmony.from_arrays(chosen_otherwise.to_arrays())
        assert back.n_classes == back.classes("auto").max() == 2

    def test_how_many_classes_are_asked_does_not_matter_to_the_tree(self) -> None:
        ground, _ = scene(7)

        one, other = (harmonize([ground], Harmonize(classes=n), n_bands=N_BANDS).to_arrays() for n in ("auto", 5))

        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])

    @BOTH
    @pytest.mark.parametrize("n", [2, 3, 100])
    def test_auto_gives_two_classes_or_more_where_there_are_two_fine_classes(self, evidence: str, n: int) -> None:
        ground = part(scene(8)[0], slice(0, n))

        harmony = harmonize([ground], Harmonize(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        assert harmony.classes("auto").max() >= min(2, harmony.tree.n_fine)

    @BOTH
    @pytest.mark.parametrize("n", [1, 2])
    def test_one_or_two_superpixels_are_enough(self, evidence: str, n: int) -> None:
        ground = part(scene(8)[0], slice(0, n))

        harmony = harmonize([ground], Harmonize(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        assert 1 <= classes_of(harmony, ground, 16).max() <= n

    def test_flat_ground_is_one_class_and_nothing_is_said(self) -> None:
        ground, _ = scene(9)
        rounding = np.random.default_rng(0).uniform(0, 1e-15, ground.looks.shape)
        flat = Ground(
            **ground.to_arrays()
            | {"looks": 0.3 + rounding, "votes": np.full_like(ground.votes, 1 / ground.votes.shape[1])}
        )

        harmony = harmonize([flat], Harmonize(), n_bands=N_BANDS)  # a warning is an error in tests

        assert np.isfinite(harmony.looks).all()

    @BOTH
    def test_no_superpixels_have_no_classes(self, evidence: str) -> None:
        ground, _ = scene(10)
        harmony = harmonize([ground], Harmonize(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        assert harmony.fine_classes(part(ground, slice(0, 0))).shape == (0,)

    def test_shares_count_by_their_roots(self) -> None:
        ground, _ = scene(11)
        looks_alone = features(Ground(**ground.to_arrays() | {"votes": np.zeros_like(ground.votes)}), N_BANDS)

        of_votes = (features(ground, N_BANDS) - looks_alone)[:, : ground.votes.shape[1]]

        np.testing.assert_allclose((of_votes**2).sum(axis=1), (of_votes[0] ** 2).sum())
