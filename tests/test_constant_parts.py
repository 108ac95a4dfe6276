"""Parts of equal pixels get the shares that the network gives them, computed once."""

import numpy as np
import pytest

from geoseg.config import Network
from geoseg.segment import inference
from geoseg.segment.constant_parts import ConstantParts
from geoseg.segment.inference import Inference
from geoseg.segment.network import new_network


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


def test_only_equal_parts_share_a_computation(counted):
    compute, calls = counted
    parts, other = ConstantParts(), filled(1.0)
    other[2, 7, 8] = 2.0
    shapes = [(3, 8, 9), (3, 9, 8), (2, 8, 9)]
    cases = [filled(value, shape) for value in (*range(1, 10), -0.0) for shape in shapes]
    for pixels in cases * 2:
        np.testing.assert_array_equal(
            parts.shares(pixels, compute), np.full((*pixels.shape[1:], 2), pixels.sum() % 251)
        )
    # More are stored than there is room for, so in the second round all are computed again.
    assert len(calls) == 2 * len(cases)
    assert 0 < parts.n_stored < len(cases)

    before = len(calls)
    for pixels in (filled(50.0), other, filled(50.0), other):
        parts.shares(pixels, compute)
    assert len(calls) == before + 3


@pytest.mark.parametrize("hard", [False, True])
def test_image_with_constant_parts_has_the_shares_of_one_without(monkeypatch, hard):
    computed, rounded = [], inference.rounded_shares
    monkeypatch.setattr(
        inference, "rounded_shares", lambda *args, **kwargs: computed.append(1) or rounded(*args, **kwargs)
    )
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

    ready = Inference(network, hard=hard)
    found, n_computed = ready.shares(image), len(computed)
    np.testing.assert_array_equal(found, ready.shares(image))

    assert len(computed) == n_computed + 3  # of 5 × 3 parts, those that have pixels of both halves
    np.testing.assert_array_equal(found[far], Inference(network, hard=hard).shares(marked)[far])
    np.testing.assert_array_equal(found, Inference(network, hard=hard).shares(image))
