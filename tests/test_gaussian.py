"""The Gaussian filter equals that of scipy, its oracle, to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from geoseg.segment.gaussian import gaussian_filter


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    sigma=st.sampled_from([0.25, 0.5, 0.77, 1.0, 2.0, 4.0]),
    truncate=st.sampled_from([3.0, 4.0]),
    mode=st.sampled_from(["reflect", "nearest"]),
    seed=st.integers(0, 999),
)
def test_equals_scipy_on_images_of_any_shape(shape, sigma, truncate, mode, seed):
    image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    found = gaussian_filter(image, sigma, truncate=truncate, mode=mode)

    np.testing.assert_array_equal(found, ndimage.gaussian_filter(image, sigma, truncate=truncate, mode=mode))
    assert found.dtype == np.float32


@pytest.mark.parametrize("sigma", [0.5, 4.0])
def test_rows_of_other_memory_layouts_are_filtered_alike(sigma):
    image = np.random.default_rng(0).random((30, 41)).astype(np.float32)

    np.testing.assert_array_equal(
        gaussian_filter(np.asfortranarray(image), sigma), gaussian_filter(image, sigma), strict=True
    )
