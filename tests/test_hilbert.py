"""The Hilbert curve: the code of geopandas is the oracle."""

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geoseg.output.hilbert import hilbert_codes


@given(seed=st.integers(0, 2**31), n=st.integers(1, 300), scale=st.sampled_from([1e-3, 1.0, 1e7]))
def test_codes_are_those_of_geopandas(seed, n, scale):
    xy = np.random.default_rng(seed).normal(5e5, scale, (n, 2))

    codes = hilbert_codes(xy)

    if n > 1:
        np.testing.assert_array_equal(codes, geopandas.GeoSeries(shapely.points(xy)).hilbert_distance())
    assert codes.dtype == np.uint32


def test_curve_goes_from_each_cell_of_a_square_to_one_beside_it():
    cells = np.stack(np.meshgrid(np.arange(16.0), np.arange(16.0)), axis=-1).reshape(-1, 2)

    steps = np.diff(cells[np.argsort(hilbert_codes(cells))], axis=0)

    assert np.abs(steps).sum(axis=1).tolist() == [1.0] * 255


@pytest.mark.parametrize("xy", [np.zeros((0, 2)), np.ones((3, 2)), np.array([[0.0, 1], [2, 1]])])
def test_points_without_an_extent_have_codes_too(xy):
    assert len(hilbert_codes(xy)) == len(xy)
