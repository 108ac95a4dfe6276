"""The network of a scene with many bands sees principal components, whose values depend on the pixel alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.config import Config, Learn
from geoseg.raster.scene import open_scene
from geoseg.segment.projection import MAX_CHANNELS, N_COMPONENTS, Projection, fit_projection
from geoseg.segment.survey import Survey
from geoseg.steps.survey import survey_windows

from .conftest import fields


def mixed(n_channels, n_sources, n_pixels=500, seed=0):
    """Return standardised channels that are mixtures of a few independent sources."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(n_channels, n_sources)) @ draw.normal(size=(n_sources, n_pixels))
    values -= values.mean(axis=1, keepdims=True)
    return (values / values.std(axis=1, keepdims=True)).astype(np.float32)


def test_few_channels_are_not_projected():
    assert fit_projection(mixed(MAX_CHANNELS, 3)) is None
    assert fit_projection(mixed(MAX_CHANNELS + 1, 3)) is not None


def test_distances_are_kept_where_the_components_hold_all_variance():
    values = mixed(100, 5)

    components = fit_projection(values).apply(values[:, None])[:, 0]

    before = np.linalg.norm(values[:, 1:] - values[:, :-1], axis=0)
    after = np.linalg.norm(components[:, 1:] - components[:, :-1], axis=0)
    assert len(components) == N_COMPONENTS
    np.testing.assert_allclose(after / before, np.sqrt(N_COMPONENTS / 100), rtol=1e-4)


def test_projection_of_equal_channels_is_finite():
    projection = fit_projection(np.zeros((50, 3), np.float32))

    assert np.isfinite(projection.to_array()).all()


@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 150)), top=st.integers(0, 8), left=st.integers(0, 149))
def test_value_of_a_pixel_does_not_depend_on_the_pixels_around_it(shape, top, left):
    layers = np.random.default_rng(0).normal(size=(45, *shape)).astype(np.float32)
    projection = Projection.from_array(np.random.default_rng(1).normal(size=(7, 45)).astype(np.float32))
    part = (slice(top % shape[0], None), slice(left % shape[1], None))

    whole = projection.apply(layers)

    np.testing.assert_array_equal(projection.apply(layers[:, *part]), whole[:, *part])
    np.testing.assert_allclose(whole, np.einsum("kc,cyx->kyx", projection.to_array(), layers), atol=1e-4)


@pytest.mark.parametrize("n_bands", [3, 60])
def test_survey_projects_only_many_bands(make_raster, n_bands):
    scene = open_scene(make_raster(fields((60, 70), n_bands)))

    found = survey_windows(scene, Config(learn=Learn(windows=4, crop=32)))

    n_channels = len(found.standard.mean)
    channels = found.channels(np.ones((n_channels, 5, 6), np.float32), np.ones((5, 6), bool))
    assert channels.shape == (n_channels if n_bands == 3 else N_COMPONENTS, 5, 6)
    assert Survey.from_dict(found.to_dict()) == found
