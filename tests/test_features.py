from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.segment.features import (
    REACH,
    TEXTURE_SIGMAS,
    Standardizer,
    Stretch,
    contrasts,
    moment_features,
    network_input,
    pixel_moments,
    texture,
)

SCENE = Window(0, 0, 70, 60)

seeds = st.integers(0, 2**32 - 1)
windows = st.builds(Window, st.integers(0, 49), st.integers(0, 39), st.integers(1, 20), st.integers(1, 20))


def scene(seed: int, n_bands: int = 3, *, nodata: float = 0.1) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Draw a noisy scene with two areas of different brightness and random nodata pixels."""
    draw = np.random.default_rng(seed)
    valid = draw.random(SCENE.shape) >= nodata
    bands = 0.2 + 0.5 * (np.indices(SCENE.shape)[1] > 30) + draw.normal(0, 0.1, (n_bands, *SCENE.shape))
    return np.where(valid, bands, 0).astype(np.float32), valid


class TestStretch:
    def test_maps_low_to_0_and_high_to_1_in_each_band(self) -> None:
        raw = np.array([[[100.0, 300.0, 200.0]], [[-1.0, 1.0, 0.0]]], np.float32)

        bands = Stretch((100.0, -1.0), (300.0, 1.0)).apply(raw, np.ones((1, 3), bool))

        np.testing.assert_allclose(bands, [[[0, 1, 0.5]], [[0, 1, 0.5]]], atol=1e-6)

    @settings(max_examples=30, deadline=None)
    @given(seeds, st.floats(-1e6, 1e6), st.floats(0, 1e5))
    def test_clips_values_to_minus_0_5_and_1_5(self, seed: int, low: float, span: float) -> None:
        raw = np.random.default_rng(seed).normal(0, 1e6, (1, 8, 8)).astype(np.float32)

        bands = Stretch((low,), (low + span,)).apply(raw, np.ones((8, 8), bool))

        assert bands.dtype == np.float32
        assert ((bands >= -0.5) & (bands <= 1.5)).all()

    @pytest.mark.parametrize("filler", [0.0, -9999.0, np.nan])
    def test_nodata_becomes_0_whatever_its_raw_value(self, filler: float) -> None:
        raw = np.array([[[5.0, filler]]], np.float32)

        bands = Stretch((1.0,), (9.0,)).apply(raw, np.array([[True, False]]))

        np.testing.assert_array_equal(bands, [[[0.5, 0.0]]])

    def test_a_constant_band_becomes_0(self) -> None:
        bands = Stretch((7.0,), (7.0,)).apply(np.full((1, 2, 2), 7, np.float32), np.ones((2, 2), bool))

        np.testing.assert_array_equal(bands, np.zeros((1, 2, 2)))


class TestTexture:
    @pytest.mark.parametrize("value", [0.1, 0.37, 0.77, 1.3])
    def test_of_a_constant_image_is_0(self, value: float) -> None:
        layers = texture(np.full((3, 40, 40), value, np.float32), np.ones((40, 40), bool))

        assert layers.shape == (len(TEXTURE_SIGMAS), 40, 40)
        assert layers.max() < 1e-3

    @pytest.mark.parametrize("value", [0.1, 0.37, 0.77, 1.3])
    def test_of_a_constant_image_is_0_beside_nodata_too(self, value: float) -> None:
        _, valid = scene(0, nodata=0.3)
        valid[20:40, 20:50] = False

        assert texture(np.full((3, *valid.shape), value, np.float32), valid).max() < 1e-3

    def test_of_noise_is_its_standard_deviation(self) -> None:
        noise = np.random.default_rng(0).normal(0.5, 0.2, (1, 80, 80)).astype(np.float32)

        coarse = texture(noise, np.ones((80, 80), bool))[-1]

        assert coarse[20:60, 20:60].mean() == pytest.approx(0.2, rel=0.05)

    def test_does_not_depend_on_brightness(self) -> None:
        bands, valid = scene(3, nodata=0.0)
        raised = texture(bands + np.float32(0.3), valid)

        np.testing.assert_allclose(raised, texture(bands, valid), atol=1e-4)

    def test_does_not_depend_on_the_values_of_nodata_pixels(self) -> None:
        bands, valid = scene(4)
        filled = np.where(valid, bands, np.float32(50))

        np.testing.assert_array_equal(texture(filled, valid), texture(bands, valid))

    def test_of_nodata_is_0(self) -> None:
        bands, valid = scene(5, nodata=0.5)

        assert (texture(bands, valid)[:, ~valid] == 0).all()
        assert (texture(bands, np.zeros_like(valid)) == 0).all()


class TestContrasts:
    def test_of_three_bands_are_lightness_red_against_green_and_yellow_against_blue(self) -> None:
        red, green, blue = 0.9, 0.5, 0.1

        lightness, red_green, yellow_blue = contrasts(np.array([red, green, blue]))

        assert lightness == pytest.approx(contrasts(np.full(3, 0.5))[0])
        assert red_green / (red - green) == pytest.approx(yellow_blue / ((red + green) / 2 - blue))
        assert red_green > 0

    @pytest.mark.parametrize("n_bands", [1, 2, 3, 8])
    def test_lightness_rises_with_the_mean_of_the_bands_from_0_to_1(self, n_bands: int) -> None:
        lightness = contrasts(np.linspace(0, 1, 50) * np.ones((n_bands, 1)))[0]

        assert lightness[0] == 0
        assert lightness[-1] == pytest.approx(1)
        assert (np.diff(lightness) > 0).all()

    @pytest.mark.parametrize("n_bands", [1, 2, 3, 8])
    def test_of_values_below_the_stretch_are_finite(self, n_bands: int) -> None:
        assert np.isfinite(contrasts(np.full((n_bands, 2, 2), -0.5, np.float32))).all()

    @pytest.mark.parametrize("n_bands", [1, 2, 3, 8])
    def test_are_an_invertible_transform_of_the_bands(self, n_bands: int) -> None:
        colours = np.eye(n_bands)

        assert np.linalg.matrix_rank(contrasts(colours)) == n_bands
        assert contrasts(colours).shape == colours.shape

    @pytest.mark.parametrize("n_bands", [1, 2, 3, 8])
    def test_of_grey_are_lightness_alone(self, n_bands: int) -> None:
        grey = contrasts(np.full((n_bands, 3, 3), 0.4))

        assert (grey[0] > 0).all()
        np.testing.assert_allclose(grey[1:], 0, atol=1e-12)

    @pytest.mark.parametrize("axis", [0, 1, -1])
    def test_are_computed_along_the_given_axis(self, axis: int) -> None:
        bands = np.random.default_rng(0).random((4, 7))

        np.testing.assert_array_equal(
            contrasts(np.moveaxis(bands, 0, axis), axis=axis), np.moveaxis(contrasts(bands), 0, axis)
        )

    @pytest.mark.parametrize("n_bands", [1, 2, 3, 8])
    def test_stay_float32_as_the_bands_are(self, n_bands: int) -> None:
        bands, valid = scene(0, n_bands)

        layers = network_input(bands, valid, "bands+texture")

        assert layers.dtype == np.float32
        assert layers.shape == (n_bands + len(TEXTURE_SIGMAS), *SCENE.shape)
        assert np.isfinite(layers).all()


class TestWindows:
    @settings(max_examples=40, deadline=None)
    @given(seeds, windows, st.sampled_from([0.0, 0.1, 0.9]), st.sampled_from([1, 4]))
    def test_a_window_with_its_margin_has_the_texture_of_the_whole_scene(
        self, seed: int, window: Window, nodata: float, n_bands: int
    ) -> None:
        bands, valid = scene(seed, n_bands, nodata=nodata)
        wide = window.expanded(REACH, SCENE.shape)
        rows, cols = wide.within(SCENE)

        seen = texture(bands[:, rows, cols], valid[rows, cols])[:, *window.within(wide)]

        np.testing.assert_allclose(seen, texture(bands, valid)[:, *window.within(SCENE)], atol=1e-5)

    def test_texture_far_from_a_nodata_pixel_is_that_of_a_scene_without_it(self) -> None:
        bands, valid = np.full((1, *SCENE.shape), 0.77, np.float32), np.ones(SCENE.shape, bool)
        valid[0, 0] = False
        rows, cols = slice(30, 60), slice(30, 70)

        seen = texture(bands[:, rows, cols], valid[rows, cols])

        np.testing.assert_allclose(seen, texture(bands, valid)[:, rows, cols], atol=1e-5)


class TestMoments:
    @settings(max_examples=30, deadline=None)
    @given(seeds, st.sampled_from([1, 3, 4]))
    def test_means_of_two_halves_give_the_variation_of_brightness_of_the_whole(self, seed: int, n_bands: int) -> None:
        bands, valid = scene(seed, n_bands)
        seen = pixel_moments(bands)[:, valid].astype(float)

        joined = moment_features(seen.mean(axis=1, keepdims=True).T, n_bands)

        halves = np.stack([seen[:, :1000].mean(axis=1), seen[:, 1000:].mean(axis=1)])
        weights = [1000, seen.shape[1] - 1000]
        deviation = bands[:, valid].mean(axis=0).astype(float).std()
        np.testing.assert_allclose(joined[0, -1] / deviation**0.5, 0.3, rtol=1e-3)
        together = np.average(halves, axis=0, weights=weights)[None]
        np.testing.assert_allclose(moment_features(together, n_bands), joined, rtol=1e-6)

    def test_pixels_beyond_the_edge_of_a_superpixel_have_no_effect(self) -> None:
        bands = np.full((3, 40, 40), 0.2, np.float32)
        bands[:, :, 20:] = 0.9

        left = pixel_moments(bands)[:, :, :20].reshape(4, -1).mean(axis=1, dtype=float)

        assert moment_features(left[None], 3)[0, -1] < 1e-2  # a textured edge has 0.2

    def test_a_variance_below_0_by_rounding_counts_as_0(self) -> None:
        rounded = np.array([[0.5, 0.25 - 1e-9]])

        assert moment_features(rounded, 1)[0, -1] == 0


class TestNetworkInput:
    def test_bands_alone_are_the_stretched_bands(self) -> None:
        bands, valid = scene(0)

        np.testing.assert_array_equal(network_input(bands, valid, "bands"), bands)

    @pytest.mark.parametrize("inputs", ["bands", "bands+texture"])
    def test_nodata_is_0_before_and_after_standardisation(self, inputs: str) -> None:
        bands, valid = scene(1)
        layers = network_input(bands, valid, inputs)  # type: ignore[arg-type]
        standard = Standardizer((0.3,) * len(layers), (0.1,) * len(layers)).apply(layers, valid)

        assert (layers[:, ~valid] == 0).all()
        assert (standard[:, ~valid] == 0).all()

    def test_standardizer_gives_the_sample_mean_0_and_standard_deviation_1(self) -> None:
        bands, valid = scene(2)
        sample = bands[:, valid].astype(float)

        made = Standardizer(tuple(sample.mean(axis=1)), tuple(sample.std(axis=1))).apply(bands, valid)

        assert made.dtype == np.float32
        np.testing.assert_allclose(made[:, valid].mean(axis=1), 0, atol=1e-4)
        np.testing.assert_allclose(made[:, valid].std(axis=1), 1, atol=1e-4)
