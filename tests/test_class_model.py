from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from geoseg.config import Classify
from geoseg.segment.baselines.kmeans import fit_kmeans
from geoseg.segment.class_model import ClassModel, features, fit_class_model
from geoseg.segment.class_tree import ClassTree
from geoseg.segment.votes import SuperpixelTable

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
) -> tuple[SuperpixelTable, NDArray[np.int64]]:
    """Draw superpixels of four grounds in a row that touch one after the other, and say of which ground each one is."""
    draw = np.random.default_rng(seed)
    of = draw.permutation(np.repeat(np.arange(N_GROUNDS), counts))
    n = len(of)
    votes = np.eye(n_codes)[of] + draw.uniform(0, 0.1, (n, n_codes))
    numbers = np.arange(n, dtype=np.int64)
    superpixel_table = SuperpixelTable(
        numbers=numbers,
        votes=votes / votes.sum(axis=1, keepdims=True),
        pixels=draw.integers(40, 200, n),
        moments=np.abs(LOOKS[of] + draw.normal(0, 0.004, (n, LOOKS.shape[1]))),
        pairs=np.stack([numbers[:-1], numbers[1:]], axis=1),
        borders=draw.integers(1, 30, n - 1),
    )
    return superpixel_table, of


def shades(*, as_said_by: int) -> SuperpixelTable:
    """Draw the same 800 superpixels of grounds that pass into each other, with the votes of one of many networks."""
    colours = np.random.default_rng(0).uniform(0.2, 0.8, (800, N_BANDS))
    colours = (colours + colours[:, :1]) / 2
    codes = np.random.default_rng(as_said_by).uniform(0.2, 0.8, (8, N_BANDS))
    votes = np.exp(-20 * ((colours[:, None] - codes) ** 2).sum(axis=-1))
    numbers = np.arange(len(colours), dtype=np.int64)
    return SuperpixelTable(
        numbers=numbers,
        votes=votes / votes.sum(axis=1, keepdims=True),
        pixels=np.full(len(colours), 100),
        moments=np.concatenate([colours, colours.mean(axis=1, keepdims=True) ** 2], axis=1),
        pairs=np.stack([numbers[:-1], numbers[1:]], axis=1),
        borders=np.full(len(colours) - 1, 10),
    )


def part(superpixel_table: SuperpixelTable, rows: slice) -> SuperpixelTable:
    numbers = superpixel_table.numbers[rows]
    edges = np.isin(superpixel_table.pairs[:, 0], numbers)
    fields = {
        name: value[rows] for name, value in superpixel_table.to_arrays().items() if name not in ("pairs", "borders")
    }
    return SuperpixelTable(**fields, pairs=superpixel_table.pairs[edges], borders=superpixel_table.borders[edges])


def classes_of(class_model: ClassModel, superpixel_table: SuperpixelTable, n_classes: int) -> NDArray[np.int64]:
    return class_model.tree.level(n_classes)[class_model.clusters(superpixel_table)]


def groups(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number groups by their first members, so that the names of classes do not matter."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


BOTH = pytest.mark.parametrize("evidence", ["votes", "votes+features"])


class TestShares:
    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(1, 12))
    def test_shares_are_inverse_squared_distances_to_the_nearest_centre_of_each_class(
        self, seed: int, n_classes: int
    ) -> None:
        superpixel_table, _ = scene(seed)
        class_model = fit_class_model([superpixel_table], Classify(clusters=14), n_bands=N_BANDS)
        class_of_cluster = class_model.classes(n_classes)

        found = class_model.shares(superpixel_table, class_of_cluster)

        own = class_of_cluster[class_model.clusters(superpixel_table)]
        for row, one in enumerate(features(superpixel_table, N_BANDS)):
            apart = ((class_model.centres - one) ** 2).sum(axis=1)
            each = {k: 1 / max(apart[class_of_cluster == k].min(), 1e-12) for k in set(class_of_cluster.tolist())}
            assert found[row] == pytest.approx(each[own[row]] / sum(each.values()), rel=1e-6)

    def test_with_classes_of_codes_the_share_is_that_of_the_votes(self) -> None:
        superpixel_table, _ = scene(4)
        class_model = fit_class_model(
            [superpixel_table], Classify(evidence="votes", clusters=8, classes=4), n_bands=N_BANDS
        )
        class_of_cluster = class_model.classes(2)

        found = class_model.shares(superpixel_table, class_of_cluster)

        of_code = class_of_cluster[class_model.code_class]
        own = class_of_cluster[class_model.clusters(superpixel_table)]
        expected = [sum(vote[of_code == number]) for vote, number in zip(superpixel_table.votes, own, strict=True)]
        np.testing.assert_allclose(found, expected)

    def test_one_class_has_all(self) -> None:
        superpixel_table, _ = scene(5)
        class_model = fit_class_model([superpixel_table], Classify(clusters=8), n_bands=N_BANDS)

        np.testing.assert_allclose(class_model.shares(superpixel_table, np.ones(len(class_model.moments), np.int64)), 1)

    def test_superpixel_at_a_centre_belongs_to_its_class_alone(self) -> None:
        superpixel_table, _ = scene(6)
        class_model = fit_class_model([superpixel_table], Classify(clusters=8), n_bands=N_BANDS)
        exact = replace(class_model, centres=features(superpixel_table, N_BANDS)[:8])

        shares = exact.shares(superpixel_table, np.arange(1, 9))

        np.testing.assert_array_equal(shares[:8], 1)
        assert shares[8:].max() < 1

    def test_shares_of_a_codebook_of_colours_look_at_colours_alone(self) -> None:
        superpixel_table, _ = scene(7)
        class_model = fit_kmeans([superpixel_table], n_classes=4, n_bands=N_BANDS, seed=0)
        other = replace(superpixel_table, votes=superpixel_table.votes[::-1])

        shares = class_model.shares(superpixel_table, class_model.classes(4))

        np.testing.assert_array_equal(shares, class_model.shares(other, class_model.classes(4)))
        assert 0.25 <= shares.min() < shares.max() <= 1


class TestHarmonize:
    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(2, 12), st.sampled_from(["votes", "votes+features"]))
    def test_there_are_at_most_as_many_classes_as_asked(self, seed: int, n_classes: int, evidence: str) -> None:
        superpixel_table, _ = scene(seed)
        options = Classify(classes=n_classes, clusters=24, evidence=evidence)  # type: ignore[arg-type]

        classes = classes_of(fit_class_model([superpixel_table], options, n_bands=N_BANDS), superpixel_table, n_classes)

        assert set(classes.tolist()) <= set(range(1, n_classes + 1))

    @BOTH
    def test_each_ground_is_a_class(self, evidence: str) -> None:
        superpixel_table, of = scene(1)
        options = Classify(classes=4, clusters=12, evidence=evidence, adjacency_weight=0.0)  # type: ignore[arg-type]

        classes = classes_of(fit_class_model([superpixel_table], options, n_bands=N_BANDS), superpixel_table, 4)

        np.testing.assert_array_equal(groups(classes), groups(of))

    @BOTH
    def test_small_ground_that_looks_different_keeps_a_class_of_its_own(self, evidence: str) -> None:
        superpixel_table, of = scene(2, (2000, 1500, 1000, 5))
        options = Classify(classes=4, clusters=12, evidence=evidence, adjacency_weight=0.0)  # type: ignore[arg-type]

        classes = classes_of(fit_class_model([superpixel_table], options, n_bands=N_BANDS), superpixel_table, 4)

        small = np.unique(classes[of == 3])
        assert len(small) == 1
        assert not (classes[of != 3] == small[0]).any()

    def test_ground_that_looks_the_same_falls_apart_where_codes_differ(self) -> None:
        superpixel_table, of = scene(3)
        alike = SuperpixelTable(
            **superpixel_table.to_arrays() | {"moments": np.full_like(superpixel_table.moments, 0.3)}
        )

        class_model = fit_class_model([alike], Classify(clusters=4, classes=4), n_bands=N_BANDS)

        np.testing.assert_array_equal(groups(class_model.clusters(alike)), groups(of))

    def test_networks_that_cut_one_ground_differently_hardly_move_its_clusters(self) -> None:
        superpixel_tables = [shades(as_said_by=network) for network in range(4)]
        options = Classify(classes=8, clusters=24)

        found = [
            fit_class_model([superpixel_table], options, n_bands=N_BANDS).clusters(superpixel_table)
            for superpixel_table in superpixel_tables
        ]

        likeness = [adjusted_rand_score(one, other) for one, other in itertools.combinations(found, 2)]
        assert min(likeness) >= 0.7  # 0.64 where k-means groups by looks and votes at once

    @BOTH
    def test_twice_the_same_ground_gives_the_same_classes(self, evidence: str) -> None:
        superpixel_table, _ = scene(4)
        options = Classify(evidence=evidence)  # type: ignore[arg-type]

        one, other = (fit_class_model([superpixel_table], options, n_bands=N_BANDS).to_arrays() for _ in range(2))

        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])

    @settings(max_examples=10, deadline=None)
    @given(seeds, st.integers(1, 99))
    def test_in_which_blocks_the_superpixels_lie_does_not_matter(self, seed: int, cut: int) -> None:
        superpixel_table, _ = scene(seed)
        blocks = [
            part(superpixel_table, slice(cut, None)),
            part(superpixel_table, slice(0, 0)),
            part(superpixel_table, slice(0, cut)),
        ]

        whole = fit_class_model([superpixel_table], Classify(), n_bands=N_BANDS).to_arrays()

        for name, value in fit_class_model(blocks, Classify(), n_bands=N_BANDS).to_arrays().items():
            np.testing.assert_array_equal(value, whole[name])

    def test_borders_to_blocks_without_a_sample_are_left_out(self) -> None:
        superpixel_table, _ = scene(5)

        class_model = fit_class_model(
            [part(superpixel_table, slice(0, 30)), part(superpixel_table, slice(60, 90))], Classify(), n_bands=N_BANDS
        )

        assert len(np.unique(class_model.clusters(superpixel_table))) > 4

    @BOTH
    def test_means_and_weights_are_those_of_the_superpixels(self, evidence: str) -> None:
        superpixel_table, _ = scene(6)

        class_model = fit_class_model([superpixel_table], Classify(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        clusters = class_model.clusters(superpixel_table)
        assert class_model.weights.sum() == superpixel_table.pixels.sum()
        for one in np.unique(clusters):
            own = clusters == one
            assert class_model.weights[one] == superpixel_table.pixels[own].sum()
            np.testing.assert_allclose(
                class_model.moments[one],
                np.average(superpixel_table.moments[own], axis=0, weights=superpixel_table.pixels[own]),
            )

    @BOTH
    def test_a_harmony_comes_back_from_its_arrays(self, evidence: str) -> None:
        superpixel_table, _ = scene(7)
        class_model = fit_class_model([superpixel_table], Classify(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        back = ClassModel.from_arrays(class_model.to_arrays())

        assert back.n_bands == N_BANDS
        np.testing.assert_array_equal(back.clusters(superpixel_table), class_model.clusters(superpixel_table))
        np.testing.assert_array_equal(back.tree.level(3), class_model.tree.level(3))
        assert isinstance(back.tree, ClassTree)
        for name, value in class_model.to_arrays().items():
            np.testing.assert_array_equal(back.to_arrays()[name], value)

    @BOTH
    def test_number_of_classes_is_chosen_with_them_and_comes_back_with_them(self, evidence: str) -> None:
        superpixel_table, _ = scene(7)
        options = Classify(classes="auto", evidence=evidence)  # type: ignore[arg-type]

        class_model = fit_class_model([superpixel_table], options, n_bands=N_BANDS)

        assert class_model.n_classes == class_model.tree.auto_n_classes
        assert class_model.classes("auto").max() == class_model.n_classes
        np.testing.assert_array_equal(class_model.classes(3), class_model.tree.level(3))
        chosen_otherwise = replace(class_model, n_classes=2)  # as another version of the choice might have done
        back = ClassModel.from_arrays(chosen_otherwise.to_arrays())
        assert back.n_classes == back.classes("auto").max() == 2

    def test_how_many_classes_are_asked_does_not_matter_to_the_tree(self) -> None:
        superpixel_table, _ = scene(7)

        one, other = (
            fit_class_model([superpixel_table], Classify(classes=n), n_bands=N_BANDS).to_arrays() for n in ("auto", 5)
        )

        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])

    @BOTH
    @pytest.mark.parametrize("n", [2, 3, 100])
    def test_auto_gives_two_classes_or_more_where_there_are_two_clusters(self, evidence: str, n: int) -> None:
        superpixel_table = part(scene(8)[0], slice(0, n))

        class_model = fit_class_model([superpixel_table], Classify(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        assert class_model.classes("auto").max() >= min(2, class_model.tree.n_clusters)

    @BOTH
    @pytest.mark.parametrize("n", [1, 2])
    def test_one_or_two_superpixels_are_enough(self, evidence: str, n: int) -> None:
        superpixel_table = part(scene(8)[0], slice(0, n))

        class_model = fit_class_model([superpixel_table], Classify(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        assert 1 <= classes_of(class_model, superpixel_table, 16).max() <= n

    def test_flat_ground_is_one_class_and_nothing_is_said(self) -> None:
        superpixel_table, _ = scene(9)
        rounding = np.random.default_rng(0).uniform(0, 1e-15, superpixel_table.moments.shape)
        flat = SuperpixelTable(
            **superpixel_table.to_arrays()
            | {
                "moments": 0.3 + rounding,
                "votes": np.full_like(superpixel_table.votes, 1 / superpixel_table.votes.shape[1]),
            }
        )

        class_model = fit_class_model([flat], Classify(), n_bands=N_BANDS)  # a warning is an error in tests

        assert np.isfinite(class_model.moments).all()

    @BOTH
    def test_no_superpixels_have_no_classes(self, evidence: str) -> None:
        superpixel_table, _ = scene(10)
        class_model = fit_class_model([superpixel_table], Classify(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        assert class_model.clusters(part(superpixel_table, slice(0, 0))).shape == (0,)

    def test_shares_count_by_their_roots(self) -> None:
        superpixel_table, _ = scene(11)
        looks_alone = features(
            SuperpixelTable(**superpixel_table.to_arrays() | {"votes": np.zeros_like(superpixel_table.votes)}), N_BANDS
        )

        of_votes = (features(superpixel_table, N_BANDS) - looks_alone)[:, : superpixel_table.votes.shape[1]]

        np.testing.assert_allclose((of_votes**2).sum(axis=1), (of_votes[0] ** 2).sum())
