from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.segment.baselines.kmeans import fit_kmeans, luma_chroma
from geoseg.segment.class_model import ClassModel
from geoseg.segment.votes import SuperpixelTable

COLOURS = np.array([[0.1, 0.2, 0.5], [0.2, 0.6, 0.2], [0.7, 0.6, 0.4], [0.9, 0.9, 0.9]])

seeds = st.integers(0, 2**32 - 1)


def scene(
    seed: int, counts: tuple[int, ...] = (40, 30, 20, 10), colours: NDArray[np.float64] = COLOURS
) -> tuple[SuperpixelTable, NDArray[np.int64]]:
    """Return superpixels of four colours, and the colour of each."""
    draw = np.random.default_rng(seed)
    of = draw.permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(of)
    moments = np.concatenate([colours[of] + draw.normal(0, 0.004, (n, colours.shape[1])), draw.random((n, 3))], axis=1)
    table = SuperpixelTable(
        numbers=np.arange(n, dtype=np.int64),
        votes=np.ones((n, 1)),
        pixels=draw.integers(40, 200, n),
        moments=moments,
        pairs=np.zeros((0, 2), np.int64),
        borders=np.zeros(0, np.int64),
    )
    return table, of


def part(table: SuperpixelTable, rows: slice) -> SuperpixelTable:
    fields = {name: vars(table)[name][rows] for name in ("numbers", "votes", "pixels", "moments")}
    return replace(table, **fields)


def groups(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number groups by their first members, so that numberings can be compared."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


class TestLumaChroma:
    @pytest.mark.parametrize("n_bands", [1, 2, 3, 4, 8])
    def test_grey_has_luma_only(self, n_bands: int) -> None:
        mixed = luma_chroma(n_bands) @ np.full(n_bands, 0.6)

        np.testing.assert_allclose(mixed, [0.6] + [0] * (n_bands - 1), atol=1e-5)

    @pytest.mark.parametrize("n_bands", [1, 2, 3, 4, 8])
    def test_matrix_has_full_rank(self, n_bands: int) -> None:
        assert np.linalg.matrix_rank(luma_chroma(n_bands)) == n_bands

    @pytest.mark.parametrize("n_bands", [2, 3, 4, 8])
    def test_chroma_is_between_minus_a_half_and_a_half(self, n_bands: int) -> None:
        chroma = luma_chroma(n_bands)[1:]

        np.testing.assert_allclose(np.maximum(chroma, 0).sum(axis=1), 0.5, atol=1e-5)
        np.testing.assert_allclose(np.minimum(chroma, 0).sum(axis=1), -0.5, atol=1e-5)

    def test_red_green_and_blue_are_weighted_as_in_bt_601(self) -> None:
        red, green, blue = luma_chroma(3).T

        np.testing.assert_allclose([red[0], green[0], blue[0]], [0.299, 0.587, 0.114])
        assert blue[1] == red[2] == 0.5  # Pb of blue, Pr of red


class TestFitKmeans:
    @given(seeds, st.integers(2, 12))
    def test_there_are_at_most_n_classes(self, seed: int, n_classes: int) -> None:
        table, _ = scene(seed)

        class_model = fit_kmeans([table], n_classes=n_classes, n_bands=3, seed=0)

        assert 2 <= class_model.tree.n_clusters <= n_classes
        assert set(class_model.clusters(table)) == set(range(class_model.tree.n_clusters))

    @pytest.mark.parametrize("n_bands", [1, 2, 3, 4])
    def test_each_colour_is_a_class(self, n_bands: int) -> None:
        colours = np.concatenate([COLOURS[:, ::-1], COLOURS[:, :1]], axis=1)[:, :n_bands]
        table, of = scene(1, colours=colours)

        class_model = fit_kmeans([table], n_classes=4, n_bands=n_bands, seed=0)

        np.testing.assert_array_equal(groups(class_model.clusters(table)), groups(of))

    def test_texture_does_not_affect_the_clusters(self) -> None:
        table, _ = scene(2)
        class_model = fit_kmeans([table], n_classes=4, n_bands=3, seed=0)

        other = replace(
            table,
            moments=np.concatenate([table.moments[:, :3], table.moments[::-1, 3:] * 9], axis=1),
        )

        np.testing.assert_array_equal(class_model.clusters(other), class_model.clusters(table))

    def test_most_similar_colours_are_merged_first_in_the_tree(self) -> None:
        colours = np.array([[0.1, 0.1, 0.1], [0.15, 0.1, 0.1], [0.5, 0.5, 0.5], [0.9, 0.9, 0.9]])
        table, of = scene(3, (25, 25, 25, 25), colours)

        class_model = fit_kmeans([table], n_classes=4, n_bands=3, seed=0)

        coarse = class_model.tree.level(3)[class_model.clusters(table)]
        np.testing.assert_array_equal(groups(coarse), groups(np.maximum(of, 1)))

    def test_larger_areas_get_more_clusters(self) -> None:
        table, of = scene(4, (60, 60, 60, 60))
        spread = table.moments + np.random.default_rng(0).normal(0, 0.05, table.moments.shape)
        uneven = replace(table, moments=spread, pixels=np.where(of == 0, 10_000, 1) * table.pixels)

        class_model = fit_kmeans([uneven], n_classes=8, n_bands=3, seed=0)

        assert len(np.unique(class_model.clusters(uneven)[of == 0])) >= 4

    def test_means_and_weights_are_those_of_the_superpixels(self) -> None:
        table, _ = scene(5)

        class_model = fit_kmeans([table], n_classes=6, n_bands=3, seed=0)

        clusters = class_model.clusters(table)
        for one in range(class_model.tree.n_clusters):
            own = clusters == one
            assert class_model.weights[one] == table.pixels[own].sum()
            np.testing.assert_allclose(
                class_model.moments[one],
                np.average(table.moments[own], axis=0, weights=table.pixels[own]),
            )

    @given(seeds, st.integers(1, 99))
    def test_result_does_not_depend_on_the_division_into_blocks(self, seed: int, cut: int) -> None:
        table, _ = scene(seed)
        blocks = [
            part(table, slice(0, cut)),
            part(table, slice(0, 0)),
            part(table, slice(cut, None)),
        ]

        whole = fit_kmeans([table], n_classes=5, n_bands=3, seed=0).to_arrays()

        for name, value in fit_kmeans(blocks, n_classes=5, n_bands=3, seed=0).to_arrays().items():
            np.testing.assert_array_equal(value, whole[name])

    def test_class_model_is_restored_from_its_arrays(self) -> None:
        table, _ = scene(6)
        class_model = fit_kmeans([table], n_classes=5, n_bands=3, seed=0)

        restored = ClassModel.from_arrays(class_model.to_arrays())

        np.testing.assert_array_equal(restored.clusters(table), class_model.clusters(table))
        for name, value in class_model.to_arrays().items():
            np.testing.assert_array_equal(restored.to_arrays()[name], value)

    @pytest.mark.parametrize("n", [1, 2])
    def test_one_or_two_superpixels_are_a_class_each(self, n: int) -> None:
        table = part(scene(7)[0], slice(0, n))

        class_model = fit_kmeans([table], n_classes=16, n_bands=3, seed=0)

        assert class_model.tree.n_clusters == n

    def test_table_without_superpixels_gets_no_classes(self) -> None:
        table, _ = scene(8)
        class_model = fit_kmeans([table], n_classes=4, n_bands=3, seed=0)

        assert class_model.clusters(part(table, slice(0, 0))).shape == (0,)
