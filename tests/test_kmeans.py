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
    """Draw superpixels of four colours, and say which of them each one has."""
    draw = np.random.default_rng(seed)
    of = draw.permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(of)
    moments = np.concatenate([colours[of] + draw.normal(0, 0.004, (n, colours.shape[1])), draw.random((n, 3))], axis=1)
    superpixel_table = SuperpixelTable(
        numbers=np.arange(n, dtype=np.int64),
        votes=np.ones((n, 1)),
        pixels=draw.integers(40, 200, n),
        moments=moments,
        pairs=np.zeros((0, 2), np.int64),
        borders=np.zeros(0, np.int64),
    )
    return superpixel_table, of


def part(superpixel_table: SuperpixelTable, rows: slice) -> SuperpixelTable:
    fields = {name: vars(superpixel_table)[name][rows] for name in ("numbers", "votes", "pixels", "moments")}
    return replace(superpixel_table, **fields)


def groups(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number groups by their first members, so that the names of classes do not matter."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


class TestLumaChroma:
    @pytest.mark.parametrize("n_bands", [1, 2, 3, 4, 8])
    def test_grey_has_its_brightness_and_no_chroma(self, n_bands: int) -> None:
        mixed = luma_chroma(n_bands) @ np.full(n_bands, 0.6)

        np.testing.assert_allclose(mixed, [0.6] + [0] * (n_bands - 1), atol=1e-5)

    @pytest.mark.parametrize("n_bands", [1, 2, 3, 4, 8])
    def test_no_colour_is_lost(self, n_bands: int) -> None:
        assert np.linalg.matrix_rank(luma_chroma(n_bands)) == n_bands

    @pytest.mark.parametrize("n_bands", [2, 3, 4, 8])
    def test_chroma_goes_from_minus_a_half_to_a_half(self, n_bands: int) -> None:
        chroma = luma_chroma(n_bands)[1:]

        np.testing.assert_allclose(np.maximum(chroma, 0).sum(axis=1), 0.5, atol=1e-5)
        np.testing.assert_allclose(np.minimum(chroma, 0).sum(axis=1), -0.5, atol=1e-5)

    def test_red_green_and_blue_are_weighted_as_in_bt_601(self) -> None:
        red, green, blue = luma_chroma(3).T

        np.testing.assert_allclose([red[0], green[0], blue[0]], [0.299, 0.587, 0.114])
        assert blue[1] == red[2] == 0.5  # Pb of blue, Pr of red


class TestFindCodebook:
    @given(seeds, st.integers(2, 12))
    def test_there_are_at_most_as_many_classes_as_asked(self, seed: int, n_classes: int) -> None:
        superpixel_table, _ = scene(seed)

        class_model = fit_kmeans([superpixel_table], n_classes=n_classes, n_bands=3, seed=0)

        assert 2 <= class_model.tree.n_clusters <= n_classes
        assert set(class_model.clusters(superpixel_table)) == set(range(class_model.tree.n_clusters))

    @pytest.mark.parametrize("n_bands", [1, 2, 3, 4])
    def test_each_colour_is_a_class(self, n_bands: int) -> None:
        colours = np.concatenate([COLOURS[:, ::-1], COLOURS[:, :1]], axis=1)[:, :n_bands]
        superpixel_table, of = scene(1, colours=colours)

        class_model = fit_kmeans([superpixel_table], n_classes=4, n_bands=n_bands, seed=0)

        np.testing.assert_array_equal(groups(class_model.clusters(superpixel_table)), groups(of))

    def test_textures_and_votes_have_no_say(self) -> None:
        superpixel_table, _ = scene(2)
        class_model = fit_kmeans([superpixel_table], n_classes=4, n_bands=3, seed=0)

        other = replace(
            superpixel_table,
            moments=np.concatenate([superpixel_table.moments[:, :3], superpixel_table.moments[::-1, 3:] * 9], axis=1),
        )

        np.testing.assert_array_equal(class_model.clusters(other), class_model.clusters(superpixel_table))

    def test_two_colours_that_are_nearest_are_joined_first_in_the_tree(self) -> None:
        colours = np.array([[0.1, 0.1, 0.1], [0.15, 0.1, 0.1], [0.5, 0.5, 0.5], [0.9, 0.9, 0.9]])
        superpixel_table, of = scene(3, colours=colours)

        class_model = fit_kmeans([superpixel_table], n_classes=4, n_bands=3, seed=0)

        coarse = class_model.tree.level(3)[class_model.clusters(superpixel_table)]
        np.testing.assert_array_equal(groups(coarse), groups(np.maximum(of, 1)))

    def test_large_ground_gets_more_of_the_codebook_than_small(self) -> None:
        superpixel_table, of = scene(4, (60, 60, 60, 60))
        spread = superpixel_table.moments + np.random.default_rng(0).normal(0, 0.05, superpixel_table.moments.shape)
        uneven = replace(
            superpixel_table, moments=spread, pixels=np.where(of == 0, 10_000, 1) * superpixel_table.pixels
        )

        class_model = fit_kmeans([uneven], n_classes=8, n_bands=3, seed=0)

        assert len(np.unique(class_model.clusters(uneven)[of == 0])) >= 4

    def test_means_and_weights_are_those_of_the_superpixels(self) -> None:
        superpixel_table, _ = scene(5)

        class_model = fit_kmeans([superpixel_table], n_classes=6, n_bands=3, seed=0)

        clusters = class_model.clusters(superpixel_table)
        for one in range(class_model.tree.n_clusters):
            own = clusters == one
            assert class_model.weights[one] == superpixel_table.pixels[own].sum()
            np.testing.assert_allclose(
                class_model.moments[one],
                np.average(superpixel_table.moments[own], axis=0, weights=superpixel_table.pixels[own]),
            )

    @given(seeds, st.integers(1, 99))
    def test_in_which_blocks_the_superpixels_lie_does_not_matter(self, seed: int, cut: int) -> None:
        superpixel_table, _ = scene(seed)
        blocks = [
            part(superpixel_table, slice(0, cut)),
            part(superpixel_table, slice(0, 0)),
            part(superpixel_table, slice(cut, None)),
        ]

        whole = fit_kmeans([superpixel_table], n_classes=5, n_bands=3, seed=0).to_arrays()

        for name, value in fit_kmeans(blocks, n_classes=5, n_bands=3, seed=0).to_arrays().items():
            np.testing.assert_array_equal(value, whole[name])

    def test_a_harmony_comes_back_from_its_arrays(self) -> None:
        superpixel_table, _ = scene(6)
        class_model = fit_kmeans([superpixel_table], n_classes=5, n_bands=3, seed=0)

        back = ClassModel.from_arrays(class_model.to_arrays())

        np.testing.assert_array_equal(back.clusters(superpixel_table), class_model.clusters(superpixel_table))
        for name, value in class_model.to_arrays().items():
            np.testing.assert_array_equal(back.to_arrays()[name], value)

    @pytest.mark.parametrize("n", [1, 2])
    def test_one_or_two_superpixels_are_enough(self, n: int) -> None:
        superpixel_table = part(scene(7)[0], slice(0, n))

        class_model = fit_kmeans([superpixel_table], n_classes=16, n_bands=3, seed=0)

        assert class_model.tree.n_clusters == n

    def test_no_superpixels_have_no_classes(self) -> None:
        superpixel_table, _ = scene(8)
        class_model = fit_kmeans([superpixel_table], n_classes=4, n_bands=3, seed=0)

        assert class_model.clusters(part(superpixel_table, slice(0, 0))).shape == (0,)
