from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from geoseg.config import Classify
from geoseg.run.disk_tables import DiskTables
from geoseg.segment import class_model as class_model_module
from geoseg.segment.baselines.kmeans import fit_kmeans
from geoseg.segment.class_model import ClassModel, class_moments, fit_class_model
from geoseg.segment.class_tree import ClassTree
from geoseg.segment.predictors import CentroidPredictor, CodePredictor, ColorPredictor, vote_features
from geoseg.segment.table_storage import batches
from geoseg.segment.votes import SuperpixelTable, stored_table

N_BANDS = 3
MOMENTS = np.array(  # of four land covers: three bands, three further moments
    [
        [0.1, 0.2, 0.5, 0.01, 0.01, 0.02],
        [0.2, 0.6, 0.2, 0.08, 0.09, 0.10],
        [0.7, 0.6, 0.4, 0.02, 0.03, 0.03],
        [0.9, 0.9, 0.9, 0.05, 0.10, 0.12],
    ]
)
N_COVERS = len(MOMENTS)

seeds = st.integers(0, 2**32 - 1)


def scene(
    seed: int, counts: tuple[int, ...] = (40, 30, 20, 10), *, n_codes: int = 6
) -> tuple[SuperpixelTable, NDArray[np.int64]]:
    """Draw a row of adjacent superpixels of four land covers; return their table and the land cover of each."""
    draw = np.random.default_rng(seed)
    of = draw.permutation(np.repeat(np.arange(N_COVERS), counts))
    n = len(of)
    votes = np.eye(n_codes)[of] + draw.uniform(0, 0.1, (n, n_codes))
    numbers = np.arange(n, dtype=np.int64)
    table = SuperpixelTable(
        numbers=numbers,
        votes=votes / votes.sum(axis=1, keepdims=True),
        pixels=draw.integers(40, 200, n),
        moments=np.abs(MOMENTS[of] + draw.normal(0, 0.004, (n, MOMENTS.shape[1]))),
        pairs=np.stack([numbers[:-1], numbers[1:]], axis=1),
        borders=draw.integers(1, 30, n - 1),
    )
    return table, of


def shades(*, network: int) -> SuperpixelTable:
    """Draw the same 800 superpixels with gradual transitions of colour, with the votes of one of many networks."""
    colours = np.random.default_rng(0).uniform(0.2, 0.8, (800, N_BANDS))
    colours = (colours + colours[:, :1]) / 2
    codes = np.random.default_rng(network).uniform(0.2, 0.8, (8, N_BANDS))
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


def part(table: SuperpixelTable, rows: slice) -> SuperpixelTable:
    numbers = table.numbers[rows]
    edges = np.isin(table.pairs[:, 0], numbers)
    fields = {name: value[rows] for name, value in table.to_arrays().items() if name not in ("pairs", "borders")}
    return SuperpixelTable(**fields, pairs=table.pairs[edges], borders=table.borders[edges])


def with_neighbours(table: SuperpixelTable, reach: int) -> SuperpixelTable:
    """Return a table whose superpixels have borders with the `reach` next ones."""
    pairs = [np.stack([table.numbers[:-step], table.numbers[step:]], axis=1) for step in range(1, reach + 1)]
    return replace(table, pairs=np.concatenate(pairs), borders=np.full(sum(map(len, pairs)), 10))


def classes_of(class_model: ClassModel, table: SuperpixelTable, n_classes: int) -> NDArray[np.int64]:
    return class_model.tree.level(n_classes)[class_model.clusters(table)]


def groups(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number groups by their first members, so that partitions can be compared."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


BOTH = pytest.mark.parametrize("evidence", ["votes", "votes+features"])


class TestConfidence:
    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(1, 12))
    def test_membership_is_proportional_to_the_inverse_squared_distance_to_the_nearest_centroid(
        self, seed: int, n_classes: int
    ) -> None:
        table, _ = scene(seed)
        class_model = fit_class_model([table], Classify(clusters=14), n_bands=N_BANDS)
        class_of_cluster = class_model.class_of_cluster(n_classes)

        found = class_model.confidence(table, class_of_cluster)

        own = class_of_cluster[class_model.clusters(table)]
        for row, one in enumerate(vote_features(table, N_BANDS)):
            apart = ((class_model.predictor.centroids - one) ** 2).sum(axis=1)
            each = {k: 1 / max(apart[class_of_cluster == k].min(), 1e-12) for k in set(class_of_cluster.tolist())}
            assert found[row] == pytest.approx(each[own[row]] / sum(each.values()), rel=1e-6)

    def test_confidence_of_clusters_of_codes_is_the_share_of_the_votes(self) -> None:
        table, _ = scene(4)
        class_model = fit_class_model([table], Classify(evidence="votes", clusters=8, classes=4), n_bands=N_BANDS)
        class_of_cluster = class_model.class_of_cluster(2)

        found = class_model.confidence(table, class_of_cluster)

        of_code = class_of_cluster[class_model.predictor.cluster_of_code]
        own = class_of_cluster[class_model.clusters(table)]
        expected = [sum(vote[of_code == number]) for vote, number in zip(table.votes, own, strict=True)]
        np.testing.assert_allclose(found, expected)

    def test_confidence_of_a_single_class_is_1(self) -> None:
        table, _ = scene(5)
        class_model = fit_class_model([table], Classify(clusters=8), n_bands=N_BANDS)

        np.testing.assert_allclose(class_model.confidence(table, np.ones(len(class_model.moments), np.int64)), 1)

    def test_confidence_is_1_only_at_a_centroid(self) -> None:
        table, _ = scene(6)
        class_model = fit_class_model([table], Classify(clusters=8), n_bands=N_BANDS)
        exact = replace(class_model, predictor=CentroidPredictor(vote_features(table, N_BANDS)[:8], N_BANDS))

        confidence = exact.confidence(table, np.arange(1, 9))

        np.testing.assert_array_equal(confidence[:8], 1)
        assert confidence[8:].max() < 1

    def test_confidence_of_a_color_predictor_does_not_depend_on_votes(self) -> None:
        table, _ = scene(7)
        class_model = fit_kmeans([table], n_classes=4, n_bands=N_BANDS, seed=0)
        other = replace(table, votes=table.votes[::-1])

        confidence = class_model.confidence(table, class_model.class_of_cluster(4))

        np.testing.assert_array_equal(confidence, class_model.confidence(other, class_model.class_of_cluster(4)))
        assert 0.25 <= confidence.min() < confidence.max() <= 1


class TestArrays:
    def test_each_type_of_predictor_round_trips_through_arrays(self) -> None:
        table, _ = scene(7)
        models = [
            fit_class_model([table], Classify(evidence="votes"), n_bands=N_BANDS),
            fit_class_model([table], Classify(), n_bands=N_BANDS),
            fit_kmeans([table], n_classes=4, n_bands=N_BANDS, seed=0),
        ]

        back = [ClassModel.from_arrays(model.to_arrays()) for model in models]

        assert [type(model.predictor) for model in back] == [CodePredictor, CentroidPredictor, ColorPredictor]
        for model, other in zip(models, back, strict=True):
            classes = model.class_of_cluster("auto")
            np.testing.assert_array_equal(other.clusters(table), model.clusters(table))
            np.testing.assert_array_equal(other.class_of_cluster("auto"), classes)
            np.testing.assert_array_equal(other.confidence(table, classes), model.confidence(table, classes))

    def test_unknown_type_of_predictor_is_refused(self) -> None:
        arrays = fit_class_model([scene(7)[0]], Classify(), n_bands=N_BANDS).to_arrays()

        with pytest.raises(ValueError, match="type 7, expected 0, 1 or 2"):
            ClassModel.from_arrays(arrays | {"predictor": np.array(7)})

    def test_unknown_array_is_refused(self) -> None:
        arrays = fit_class_model([scene(7)[0]], Classify(), n_bands=N_BANDS).to_arrays()

        with pytest.raises(ValueError, match=r"unknown arrays \['mix'\]"):
            ClassModel.from_arrays(arrays | {"mix": np.eye(2)})

    @pytest.mark.parametrize("name", ["predictor", "centroids", "merges", "auto_n_classes"])
    def test_missing_array_is_refused(self, name: str) -> None:
        arrays = fit_class_model([scene(7)[0]], Classify(), n_bands=N_BANDS).to_arrays()
        del arrays[name]

        with pytest.raises(KeyError, match=name):
            ClassModel.from_arrays(arrays)


class TestClassMoments:
    def test_moments_of_a_class_are_the_means_over_the_pixels_of_its_superpixels(self) -> None:
        table, _ = scene(6)
        class_model = fit_class_model([table], Classify(), n_bands=N_BANDS)
        class_of_cluster = class_model.class_of_cluster(3)

        found = class_moments(class_model, class_of_cluster)

        classes = class_of_cluster[class_model.clusters(table)]
        np.testing.assert_array_equal(found[0], 0)
        for one in (1, 2, 3):
            own = classes == one
            np.testing.assert_allclose(found[one], np.average(table.moments[own], axis=0, weights=table.pixels[own]))


class TestFit:
    @settings(max_examples=15, deadline=None)
    @given(seeds, st.integers(2, 12), st.sampled_from(["votes", "votes+features"]))
    def test_there_are_at_most_the_requested_number_of_classes(self, seed: int, n_classes: int, evidence: str) -> None:
        table, _ = scene(seed)
        options = Classify(classes=n_classes, clusters=24, evidence=evidence)  # type: ignore[arg-type]

        classes = classes_of(fit_class_model([table], options, n_bands=N_BANDS), table, n_classes)

        assert set(classes.tolist()) <= set(range(1, n_classes + 1))

    @BOTH
    def test_each_land_cover_is_a_class(self, evidence: str) -> None:
        table, of = scene(1)
        options = Classify(classes=4, clusters=12, evidence=evidence, adjacency_weight=0.0)  # type: ignore[arg-type]

        classes = classes_of(fit_class_model([table], options, n_bands=N_BANDS), table, 4)

        np.testing.assert_array_equal(groups(classes), groups(of))

    @BOTH
    def test_a_rare_but_distinct_land_cover_keeps_its_own_class(self, evidence: str) -> None:
        table, of = scene(2, (2000, 1500, 1000, 5))
        options = Classify(classes=4, clusters=12, evidence=evidence, adjacency_weight=0.0)  # type: ignore[arg-type]

        classes = classes_of(fit_class_model([table], options, n_bands=N_BANDS), table, 4)

        small = np.unique(classes[of == 3])
        assert len(small) == 1
        assert not (classes[of != 3] == small[0]).any()

    def test_superpixels_with_equal_moments_are_split_by_their_codes(self) -> None:
        table, of = scene(3)
        uniform = SuperpixelTable(**table.to_arrays() | {"moments": np.full_like(table.moments, 0.3)})

        class_model = fit_class_model([uniform], Classify(clusters=4, classes=4), n_bands=N_BANDS)

        np.testing.assert_array_equal(groups(class_model.clusters(uniform)), groups(of))

    def test_clusters_hardly_depend_on_where_networks_split_a_gradual_transition(self) -> None:
        tables = [shades(network=network) for network in range(4)]
        options = Classify(classes=8, clusters=24)

        found = [fit_class_model([table], options, n_bands=N_BANDS).clusters(table) for table in tables]

        scores = [adjusted_rand_score(one, other) for one, other in itertools.combinations(found, 2)]
        assert min(scores) >= 0.7  # 0.64 with k-means on features and votes together

    @BOTH
    def test_fitting_is_deterministic(self, evidence: str) -> None:
        table, _ = scene(4)
        options = Classify(evidence=evidence)  # type: ignore[arg-type]

        one, other = (fit_class_model([table], options, n_bands=N_BANDS).to_arrays() for _ in range(2))

        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])

    @settings(max_examples=10, deadline=None)
    @given(seeds, st.integers(1, 99))
    def test_the_model_does_not_depend_on_the_division_into_blocks(self, seed: int, cut: int) -> None:
        table, _ = scene(seed)
        blocks = [
            part(table, slice(cut, None)),
            part(table, slice(0, 0)),
            part(table, slice(0, cut)),
        ]

        whole = fit_class_model([table], Classify(), n_bands=N_BANDS).to_arrays()

        for name, value in fit_class_model(blocks, Classify(), n_bands=N_BANDS).to_arrays().items():
            np.testing.assert_array_equal(value, whole[name])

    def test_memory_of_the_fit_is_bounded_per_superpixel(self) -> None:
        few, table = (with_neighbours(scene(3, (4 * n, 3 * n, 2 * n, n), n_codes=32)[0], 3) for n in (20, 2000))
        fit_class_model([few], Classify(), n_bands=N_BANDS)  # compiles

        tracemalloc.start()
        fit_class_model([table], Classify(), n_bands=N_BANDS)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert peak / 20_000 < 1500  # bytes; with the differences of all neighbours at once it is 2349

    def test_table_on_the_disk_gives_the_same_model_with_a_few_bytes_per_superpixel_in_memory(
        self, tmp_path: Path
    ) -> None:
        n, few = 40_000, Classify(clusters=8)  # k-means takes memory per cluster, of at most 40 000 superpixels
        table = with_neighbours(scene(3, (4 * n // 10, 3 * n // 10, 2 * n // 10, n // 10), n_codes=64)[0], 3)
        expected = fit_class_model([table], few, n_bands=N_BANDS).to_arrays()
        storage = DiskTables(tmp_path, 0)
        stored = stored_table([part(table, some) for some in batches(n, rows=5000)], storage)

        tracemalloc.start()
        found = fit_class_model([stored], few, n_bands=N_BANDS, storage=storage).to_arrays()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
        assert peak / n < 750  # bytes, most of them the 512 of the votes of the largest cluster, 4 in 10 superpixels

    def test_borders_are_the_same_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        table, _ = scene(5)
        whole = fit_class_model([table], Classify(), n_bands=N_BANDS).to_arrays()

        monkeypatch.setattr(class_model_module, "_PAIRS", 7)
        for name, value in fit_class_model([table], Classify(), n_bands=N_BANDS).to_arrays().items():
            np.testing.assert_array_equal(value, whole[name])

    def test_borders_to_blocks_outside_the_sample_are_ignored(self) -> None:
        table, _ = scene(5)

        class_model = fit_class_model(
            [part(table, slice(0, 30)), part(table, slice(60, 90))], Classify(), n_bands=N_BANDS
        )

        assert len(np.unique(class_model.clusters(table))) > 4

    @BOTH
    def test_moments_and_weights_are_those_of_the_superpixels_of_each_cluster(self, evidence: str) -> None:
        table, _ = scene(6)

        class_model = fit_class_model([table], Classify(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        clusters = class_model.clusters(table)
        assert class_model.weights.sum() == table.pixels.sum()
        for one in np.unique(clusters):
            own = clusters == one
            assert class_model.weights[one] == table.pixels[own].sum()
            np.testing.assert_allclose(
                class_model.moments[one],
                np.average(table.moments[own], axis=0, weights=table.pixels[own]),
            )

    @BOTH
    def test_class_model_round_trips_through_arrays(self, evidence: str) -> None:
        table, _ = scene(7)
        class_model = fit_class_model([table], Classify(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        back = ClassModel.from_arrays(class_model.to_arrays())

        assert back.n_bands == N_BANDS
        np.testing.assert_array_equal(back.clusters(table), class_model.clusters(table))
        np.testing.assert_array_equal(back.tree.level(3), class_model.tree.level(3))
        assert isinstance(back.tree, ClassTree)
        for name, value in class_model.to_arrays().items():
            np.testing.assert_array_equal(back.to_arrays()[name], value)

    @BOTH
    def test_automatic_number_of_classes_is_stored_with_the_model(self, evidence: str) -> None:
        table, _ = scene(7)
        options = Classify(classes="auto", evidence=evidence)  # type: ignore[arg-type]

        class_model = fit_class_model([table], options, n_bands=N_BANDS)

        assert class_model.auto_n_classes == class_model.tree.auto_n_classes
        assert class_model.class_of_cluster("auto").max() == class_model.auto_n_classes
        np.testing.assert_array_equal(class_model.class_of_cluster(3), class_model.tree.level(3))
        with_two_classes = replace(class_model, auto_n_classes=2)  # as another version may have chosen
        back = ClassModel.from_arrays(with_two_classes.to_arrays())
        assert back.auto_n_classes == back.class_of_cluster("auto").max() == 2

    def test_the_model_does_not_depend_on_the_requested_number_of_classes(self) -> None:
        table, _ = scene(7)

        one, other = (fit_class_model([table], Classify(classes=n), n_bands=N_BANDS).to_arrays() for n in ("auto", 5))

        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])

    @BOTH
    @pytest.mark.parametrize("n", [2, 3, 100])
    def test_auto_gives_at_least_two_classes_if_there_are_two_clusters(self, evidence: str, n: int) -> None:
        table = part(scene(8)[0], slice(0, n))

        class_model = fit_class_model([table], Classify(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        assert class_model.class_of_cluster("auto").max() >= min(2, class_model.tree.n_clusters)

    @BOTH
    @pytest.mark.parametrize("n", [1, 2])
    def test_one_or_two_superpixels_suffice(self, evidence: str, n: int) -> None:
        table = part(scene(8)[0], slice(0, n))

        class_model = fit_class_model([table], Classify(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        assert 1 <= classes_of(class_model, table, 16).max() <= n

    def test_a_constant_scene_gives_a_finite_model_without_warnings(self) -> None:
        table, _ = scene(9)
        rounding = np.random.default_rng(0).uniform(0, 1e-15, table.moments.shape)
        flat = SuperpixelTable(
            **table.to_arrays()
            | {
                "moments": 0.3 + rounding,
                "votes": np.full_like(table.votes, 1 / table.votes.shape[1]),
            }
        )

        class_model = fit_class_model([flat], Classify(), n_bands=N_BANDS)  # a warning is an error in tests

        assert np.isfinite(class_model.moments).all()

    @BOTH
    def test_an_empty_table_gives_no_clusters(self, evidence: str) -> None:
        table, _ = scene(10)
        class_model = fit_class_model([table], Classify(evidence=evidence), n_bands=N_BANDS)  # type: ignore[arg-type]

        assert class_model.clusters(part(table, slice(0, 0))).shape == (0,)

    def test_square_roots_of_votes_are_features_of_equal_length(self) -> None:
        table, _ = scene(11)
        without_votes = vote_features(
            SuperpixelTable(**table.to_arrays() | {"votes": np.zeros_like(table.votes)}), N_BANDS
        )

        of_votes = (vote_features(table, N_BANDS) - without_votes)[:, : table.votes.shape[1]]

        np.testing.assert_allclose((of_votes**2).sum(axis=1), (of_votes[0] ** 2).sum())
