"""The network of a scene is made ready once for all tiles."""

import numpy as np
import pytest

from geoseg.config import Network
from geoseg.segment.inference import Inference, scene_inference
from geoseg.segment.network import new_network, to_arrays

OPTIONS = Network(kernels=(3, 1), channels=(8, 6))


@pytest.fixture
def network():
    return new_network(3, OPTIONS, seed=1).eval()


def test_tiles_share_the_network_of_their_scene(network):
    first = scene_inference(to_arrays(network), 3, OPTIONS)

    copies = {name: values.copy() for name, values in to_arrays(network).items()}
    assert scene_inference(copies, 3, OPTIONS) is first


@pytest.mark.parametrize("hard", [False, True])
def test_scene_inference_gives_the_shares_of_the_network(network, hard):
    channels = np.random.default_rng(0).normal(size=(3, 40, 50)).astype(np.float32)

    found = scene_inference(to_arrays(network), 3, OPTIONS, hard=hard).shares(channels)

    np.testing.assert_array_equal(found, Inference(network, hard=hard).shares(channels))


@pytest.mark.parametrize(
    "place",
    [("layers.0.weight", 0), ("layers.0.bias", 0), ("layers.1.running_mean", 0), ("layers.1.running_var", 0)],
)
def test_another_weight_or_statistic_is_another_network(network, place):
    name, i = place
    channels = np.random.default_rng(0).normal(size=(3, 40, 50)).astype(np.float32)
    arrays = {key: values.copy() for key, values in to_arrays(network).items()}
    before = scene_inference(arrays, 3, OPTIONS).shares(channels)
    assert name in arrays
    arrays[name].reshape(-1)[i] += 3

    after = scene_inference(arrays, 3, OPTIONS).shares(channels)

    assert (after != before).any()


def test_options_of_the_shares_are_part_of_what_is_kept(network):
    channels = np.random.default_rng(0).normal(size=(3, 40, 50)).astype(np.float32)
    arrays = to_arrays(network)

    soft, hard = (scene_inference(arrays, 3, OPTIONS, hard=hard).shares(channels) for hard in (False, True))

    assert set(np.unique(hard)) == {0, 255}
    assert len(np.unique(soft)) > 2
