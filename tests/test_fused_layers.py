"""Layers of a network that are computed together give the numbers of the layers one by one."""

import numpy as np
import pytest
import torch

from geoseg.config import Network
from geoseg.segment import fused_layers, inference
from geoseg.segment.fused_layers import fuse_layers
from geoseg.segment.inference import rounded_shares
from geoseg.segment.network import autocast, computing_dtype, fold_batch_norms, new_network, placed

NETWORKS = {
    "yonv": Network(),
    "one kernel size": Network((3, 3, 3), (8, 8, 8)),
    "relu before batch norm": Network((5, 3, 1), (8, 16, 8), "relu-bn"),
    "one layer": Network((3,), (8,)),
    "odd numbers of channels": Network((3, 1), (5, 7)),
}


@pytest.mark.skipif(computing_dtype("cpu") != torch.bfloat16, reason="this processor does not compute in bfloat16")
@pytest.mark.parametrize("folded", [True, False], ids=["folded", "with batch norms"])
@pytest.mark.parametrize("name", NETWORKS)
def test_fused_layers_give_the_numbers_of_the_network(name: str, folded: bool) -> None:
    network = new_network(6, NETWORKS[name], seed=4).eval()
    network = placed(fold_batch_norms(network) if folded else network, "cpu")
    draw = np.random.default_rng(0)
    fused = fuse_layers(network)

    assert fused is not network
    for shape in ((196, 130), (33, 7), (1, 9), (1, 1)):
        image = torch.from_numpy(draw.normal(size=(1, 6, *shape)).astype(np.float32))
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast("cpu"):
            assert torch.equal(fused(image), network(image))


@pytest.mark.parametrize("fault", [AttributeError, RuntimeError, TypeError, "other numbers"])
def test_network_is_used_as_it_is_where_torch_has_no_such_operation(
    monkeypatch: pytest.MonkeyPatch, fault: type[Exception] | str
) -> None:
    def convolve(*_: object, **__: object) -> torch.Tensor:
        if isinstance(fault, str):
            return torch.zeros(2, 3, 6, 5, dtype=torch.bfloat16)
        raise fault("convolution_pointwise")

    network = new_network(3, Network((3, 1), (8, 8)), seed=4).eval()
    fused_layers._is_usable.cache_clear()
    monkeypatch.setattr(fused_layers, "_convolve", convolve)

    assert fuse_layers(network) is network

    monkeypatch.undo()
    fused_layers._is_usable.cache_clear()


@pytest.mark.parametrize("at_once", [1, 50, 10**6])
def test_shares_do_not_depend_on_how_many_are_computed_at_once(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    responses = torch.from_numpy(np.random.default_rng(1).normal(0, 4, (23, 17, 5)).astype(np.float32))
    expected = (responses.softmax(dim=2) * 255 + 0.5).to(torch.uint8)
    monkeypatch.setattr(inference, "_SHARES_AT_ONCE", at_once)

    assert torch.equal(rounded_shares(responses, hard=False), expected)
    assert rounded_shares(responses[:0], hard=False).shape == (0, 17, 5)
