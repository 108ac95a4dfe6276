"""Pixels of equal values: the short ways give what the long ways give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import label

from geoseg.segment.equal_values import is_constant, parts_of_equal_value
from geoseg.segment.superpixels import SuperpixelParameters, felzenszwalb_labels, superpixels

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def by_sorting(labels, bands):
    """Number the values of pixels by sorting, then label the connected pixels with the same label and number."""
    values = np.unique(bands.reshape(len(bands), -1), axis=1, return_inverse=True)[1].reshape(labels.shape)
    both = np.where(labels >= 0, labels * (int(values.max()) + 1) + values + 1, 0)
    return label(both, background=0, connectivity=1).astype(np.int64) - 1


@given(shape=shapes, seed=st.integers(0, 999), n_bands=st.integers(1, 3), n_labels=st.integers(1, 4))
def test_parts_equal_those_found_by_sorting_the_values(shape, seed, n_bands, n_labels):
    draw = np.random.default_rng(seed)
    labels = draw.integers(-1, n_labels, shape)
    bands = draw.integers(0, 2, (n_bands, *shape)).astype(np.float32) / 3

    found = parts_of_equal_value(labels, bands)

    np.testing.assert_array_equal(found, by_sorting(labels, bands))


@given(shape=shapes, seed=st.integers(0, 99))
def test_layers_are_constant_only_if_no_pixel_differs(shape, seed):
    layers = np.full((2, *shape), 0.3, np.float32)
    other = layers.copy()
    other[:, *(np.random.default_rng(seed).integers(0, shape))] = 0.4

    assert is_constant(layers)
    assert is_constant(other) == (shape == (1, 1))


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("value", [0.0, 0.1, 0.7])
def test_constant_block_is_one_superpixel_as_without_the_short_way(sigma, value):
    bands, valid = np.full((3, 70, 50), value, np.float32), np.ones((70, 50), bool)
    parameters = SuperpixelParameters(sigma=sigma, min_size=10)

    labels = felzenszwalb_labels(bands, valid, parameters)

    assert (labels == labels[0, 0]).all()
    assert not superpixels(bands, valid, parameters).any()
