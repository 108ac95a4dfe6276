"""Steps in strips against steps by automatic differentiation on whole images."""

import numpy as np
import pytest
import torch

from geoseg.config import Backprop, Network
from geoseg.segment import batch_statistics, strips
from geoseg.segment.descent import Optimizer
from geoseg.segment.network import new_network
from geoseg.segment.patch import IGNORE, Patch
from geoseg.segment.strip_descent import StripDescent
from geoseg.segment.whole_descent import WholeDescent

OPTIONS = {
    "yonv": Network(kernels=(3, 1, 3, 1), channels=(12, 8, 12, 8), order="bn-relu"),
    "kanezaki": Network(kernels=(3, 3, 1), channels=(10, 10, 10), order="relu-bn"),
}


@pytest.fixture(autouse=True)
def small_strips_in_full_floats(monkeypatch):
    monkeypatch.setattr(strips, "_PIXELS", 300)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)


def patches_of(n, *, nodata):
    """Return patches of 40 × 24 px with superpixels of 4 × 4 px, some of them nodata."""
    rows, cols = np.indices((40, 24))
    result = []
    for seed in range(n):
        channels = np.random.default_rng(seed).normal(size=(3, 40, 24)) + (rows > 20) - (cols > 9)
        superpixels = (rows // 4 * 6 + cols // 4).astype(np.int32)
        if nodata:
            superpixels[seed : seed + 9, 3:17] = IGNORE
        result.append(Patch(np.where(superpixels >= 0, channels, 0).astype(np.float32), superpixels))
    return result


def assert_same(one, other):
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("nodata", [False, True])
@pytest.mark.parametrize("entropy_weight", [0.0, 2.0])
@pytest.mark.parametrize("given", [False, True])
def test_step_is_that_on_whole_images(options, nodata, entropy_weight, given):
    chosen, patches = Backprop(entropy_weight=entropy_weight), patches_of(2, nodata=nodata)
    targets = [np.where(p.superpixels >= 0, p.superpixels % 8, IGNORE).ravel().astype(np.int64) for p in patches]
    networks, n_labels = [new_network(3, OPTIONS[options], seed=1) for _ in range(2)], []

    for network, descent in zip(
        networks, (StripDescent(networks[0], patches), WholeDescent(networks[1], patches, "cpu")), strict=True
    ):
        n_labels.append(descent.step(Optimizer(network.parameters(), chosen), chosen, targets if given else None))

    assert_same(*networks)
    assert n_labels[0] == n_labels[1]
    assert (n_labels[0] == 0) == given


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("nodata", [False, True])
def test_distillation_is_that_on_whole_images(options, nodata):
    patches = patches_of(1, nodata=nodata)
    networks = [new_network(3, OPTIONS[options], seed=1).eval() for _ in range(2)]

    for network, descent in zip(
        networks, (StripDescent(networks[0], patches), WholeDescent(networks[1], patches, "cpu")), strict=True
    ):
        optimizer = Optimizer(network.parameters(), Backprop())
        for _ in range(3):
            descent.distil(optimizer, 0.3)

    assert_same(*networks)


def test_statistics_in_strips_are_those_of_a_gpu(monkeypatch):
    images = [patch.channels for patch in patches_of(19, nodata=False)]
    one, other = (new_network(3, OPTIONS["yonv"], seed=1) for _ in range(2))

    batch_statistics.with_statistics_of_all(one, images)

    add = batch_statistics._add_batch
    monkeypatch.setattr(
        batch_statistics, "_add_batch", lambda network, batch, _, weight: add(network, batch, "cpu", weight)
    )
    assert_same(one, batch_statistics.with_statistics_of_all(other, images, "a GPU"))
