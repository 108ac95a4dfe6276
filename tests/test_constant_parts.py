"""Parts of equal pixels get the shares that the network gives them, computed once per process."""

from collections import OrderedDict

import numpy as np
import pytest

from geoseg.config import Network
from geoseg.segment import backprop, constant_parts
from geoseg.segment.constant_parts import ConstantParts
from geoseg.segment.network import new_network


@pytest.fixture(autouse=True)
def _nothing_stored(monkeypatch):
    monkeypatch.setattr(constant_parts, "STORED", OrderedDict())


@pytest.fixture
def counted():
    """A function of the shares of pixels that depends on all of them, and the list of its calls."""
    calls = []

    def compute(pixels):
        calls.append(pixels.shape)
        return np.full((*pixels.shape[1:], 2), pixels.sum() % 251, np.uint8)

    return compute, calls


def filled(value, shape=(3, 8, 9)):
    return np.full(shape, value, np.float32)


def test_only_equal_parts_of_one_network_share_a_computation(counted):
    compute, calls = counted
    other = filled(1.0)
    other[2, 7, 8] = 2.0
    cases = [
        (ConstantParts(lambda weights=weights: weights, settings), pixels)
        for weights in ({"w": np.ones(2)}, {"w": np.zeros(2)}, {"v": np.ones(2)})
        for settings in ("cpu False", "cpu True")
        for pixels in (filled(1.0), filled(2.0), filled(1.0, (3, 9, 8)), filled(1.0, (2, 8, 9)), filled(-0.0))
    ]
    for parts, pixels in cases * 2:
        np.testing.assert_array_equal(
            parts.shares(pixels, compute), np.full((*pixels.shape[1:], 2), pixels.sum() % 251)
        )
    # More are stored than there is room for, so in the second round all are computed again.
    assert len(calls) == 2 * len(cases)
    assert len(constant_parts.STORED) < len(cases)

    parts, before = ConstantParts(lambda: {"w": np.ones(2)}, "cpu False"), len(calls)
    for pixels in (filled(5.0), other, filled(5.0), other):
        parts.shares(pixels, compute)
    assert len(calls) == before + 3


@pytest.mark.parametrize("hard", [False, True])
def test_image_with_constant_parts_has_the_shares_of_one_without(hard):
    network = new_network(4, Network(kernels=(3, 3), channels=(8, 8)), seed=1).eval()
    image = np.zeros((4, 900, 500), np.float32)
    image[:, 450:] = np.random.default_rng(0).normal(size=(4, 1, 1))
    marked = image.copy()
    marked[:, 40::90, 40::90] += 1  # in every part, and far from most pixels
    far = np.ones((900, 500), bool)
    for row, col in np.argwhere(marked[0] != image[0]):
        far[
            max(row - network.reach, 0) : row + network.reach + 1, max(col - network.reach, 0) : col + network.reach + 1
        ] = 0

    found = backprop.shares(network, image, hard=hard)

    assert 0 < len(constant_parts.STORED) < 15  # of 5 × 3 parts
    np.testing.assert_array_equal(found[far], backprop.shares(network, marked, hard=hard)[far])
    np.testing.assert_array_equal(found, backprop.shares(network, image, hard=hard))
