from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.segment.codebook import find_codebook, luma_chroma
from geoseg.segment.harmonize import Harmony
from geoseg.segment.votes import Ground

COLOURS = np.array([[0.1, 0.2, 0.5], [0.2, 0.6, 0.2], [0.7, 0.6, 0.4], [0.9, 0.9, 0.9]])

seeds = st.integers(0, 2**32 - 1)


def scene(
    seed: int, counts: tuple[int, ...] = (40, 30, 20, 10), colours: NDArray[np.float64] = COLOURS
) -> tuple[Ground, NDArray[np.int64]]:
    """Draw superpixels of four colours, and say which of them each one has."""
    draw = np.random.default_rng(seed)
    of = draw.permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(of)
    looks = np.concatenate([colours[of] + draw.normal(0, 0.004, (n, colours.shape[1])), draw.random((n, 3))], axis=1)
    ground = Ground(
        numbers=np.arange(n, dtype=np.int64),
        votes=np.ones((n, 1)),
        pixels=draw.integers(40, 200, n),
        looks=looks,
        pairs=np.zeros((0, 2), np.int64),
        borders=np.zeros(0, np.int64),
    )
    return ground, of


def part(ground: Ground, rows: slice) -> Ground:
    fields = {name: vars(ground)[name][rows] for name in ("numbers", "votes", "pixels", "looks")}
    return replace(ground, **fields)


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
        ground, _ = scene(seed)

        harmony = find_codebook([ground], n_classes=n_classes, n_bands=3, seed=0)

        assert 2 <= harmony.tree.n_fine <= n_classes
        assert set(harmony.fine_classes(ground)) == set(range(harmony.tree.n_fine))

    @pytest.mark.parametrize("n_bands", [1, 2, 3, 4])
    def test_each_colour_is_a_class(self, n_bands: int) -> None:
        colours = np.concatenate([COLOURS[:, ::-1], COLOURS[:, :1]], axis=1)[:, :n_bands]
        ground, of = scene(1, colours=colours)

        harmony = find_codebook([ground], n_classes=4, n_bands=n_bands, seed=0)

        np.testing.assert_array_equal(groups(harmony.fine_classes(ground)), groups(of))

    def test_textures_and_votes_have_no_say(self) -> None:
        ground, _ = scene(2)
        harmony = find_codebook([ground], n_classes=4, n_bands=3, seed=0)

        other = replace(ground, looks=np.concatenate([ground.looks[:, :3], ground.looks[::-1, 3:] * 9], axis=1))

        np.testing.assert_array_equal(harmony.fine_classes(other), harmony.fine_classes(ground))

    def test_two_colours_that_are_nearest_are_joined_first_in_the_tree(self) -> None:
        colours = np.array([[0.1, 0.1, 0.1], [0.15, 0.1, 0.1], [0.5, 0.5, 0.5], [0.9, 0.9, 0.9]])
        ground, of = scene(3, colours=colours)

        harmony = find_codebook([ground], n_classes=4, n_bands=3, seed=0)

        coarse = harmony.tree.level(3)[harmony.fine_classes(ground)]
        np.testing.assert_array_equal(groups(coarse), groups(np.maximum(of, 1)))

    def test_large_ground_gets_more_of_the_codebook_than_small(self) -> None:
        ground, of = scene(4, (60, 60, 60, 60))
        spread = ground.looks + np.random.default_rng(0).normal(0, 0.05, ground.looks.shape)
        uneven = replace(ground, looks=spread, pixels=np.where(of == 0, 10_000, 1) * ground.pixels)

        harmony = find_codebook([uneven], n_classes=8, n_bands=3, seed=0)

        assert len(np.unique(harmony.fine_classes(uneven)[of == 0])) >= 4

    def test_means_and_weights_are_those_of_the_superpixels(self) -> None:
        ground, _ = scene(5)

        harmony = find_codebook([ground], n_classes=6, n_bands=3, seed=0)

        fine = harmony.fine_classes(ground)
        for one in range(harmony.tree.n_fine):
            own = fine == one
            assert harmony.weights[one] == ground.pixels[own].sum()
            np.testing.assert_allclose(
                harmony.looks[one], np.average(ground.looks[own], axis=0, weights=ground.pixels[own])
            )

    @given(seeds, st.integers(1, 99))
    def test_in_which_blocks_the_superpixels_lie_does_not_matter(self, seed: int, cut: int) -> None:
        ground, _ = scene(seed)
        blocks = [part(ground, slice(0, cut)), part(ground, slice(0, 0)), part(ground, slice(cut, None))]

        whole = find_codebook([ground], n_classes=5, n_bands=3, seed=0).to_arrays()

        for name, value in find_codebook(blocks, n_classes=5, n_bands=3, seed=0).to_arrays().items():
            np.testing.assert_array_equal(value, whole[name])

    def test_a_harmony_comes_back_from_its_arrays(self) -> None:
        ground, _ = scene(6)
        harmony = find_codebook([ground], n_classes=5, n_bands=3, seed=0)

        back = Harmony.from_arrays(harmony.to_arrays())

        np.testing.assert_array_equal(back.fine_classes(ground), harmony.fine_classes(ground))
        for name, value in harmony.to_arrays().items():
            np.testing.assert_array_equal(back.to_arrays()[name], value)

    @pytest.mark.parametrize("n", [1, 2])
    def test_one_or_two_superpixels_are_enough(self, n: int) -> None:
        ground = part(scene(7)[0], slice(0, n))

        harmony = find_codebook([ground], n_classes=16, n_bands=3, seed=0)

        assert harmony.tree.n_fine == n

    def test_no_superpixels_have_no_classes(self) -> None:
        ground, _ = scene(8)
        harmony = find_codebook([ground], n_classes=4, n_bands=3, seed=0)

        assert harmony.fine_classes(part(ground, slice(0, 0))).shape == (0,)
