from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.config import Network
from geoseg.segment.network import CodeNetwork, fold_batch_norms, from_arrays, new_network, to_arrays

YONV = Network(kernels=(3, 1, 3, 1), channels=(6, 4, 6, 5), order="bn-relu")
KANEZAKI = Network(kernels=(3, 3, 1), channels=(7, 7, 7), order="relu-bn")


def kinds(network: CodeNetwork) -> list[str]:
    names = {nn.Conv2d: "conv", nn.BatchNorm2d: "norm", nn.ReLU: "relu"}
    return [names[type(layer)] for layer in network.layers]


def image(n_channels: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(2, n_channels, 9, 11)).astype(np.float32))


def test_layers_of_yonv_are_conv_norm_relu_and_end_with_the_norm() -> None:
    assert kinds(new_network(3, YONV, seed=0)) == ["conv", "norm", "relu"] * 3 + ["conv", "norm"]


def test_layers_of_kanezaki_are_conv_relu_norm_and_end_with_the_norm() -> None:
    assert kinds(new_network(3, KANEZAKI, seed=0)) == ["conv", "relu", "norm"] * 2 + ["conv", "norm"]


@pytest.mark.parametrize("options", [YONV, KANEZAKI])
def test_convolutions_have_the_kernels_and_channels_of_the_options(options: Network) -> None:
    convolutions = [layer for layer in new_network(4, options, seed=0).layers if isinstance(layer, nn.Conv2d)]

    assert tuple(layer.kernel_size for layer in convolutions) == tuple((k, k) for k in options.kernels)
    assert tuple(layer.out_channels for layer in convolutions) == options.channels
    assert [layer.in_channels for layer in convolutions] == [4, *options.channels[:-1]]


@pytest.mark.parametrize("n_channels", [1, 3, 8])
@pytest.mark.parametrize("options", [YONV, KANEZAKI])
def test_response_has_one_channel_per_code(options: Network, n_channels: int) -> None:
    responses = new_network(n_channels, options, seed=0)(image(n_channels))

    assert responses.shape == (2, options.channels[-1], 9, 11)


def test_responses_may_be_negative() -> None:
    assert (new_network(3, YONV, seed=0)(image(3)) < 0).any()


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = to_arrays(new_network(3, YONV, seed=7))
    torch.manual_seed(2)
    second = to_arrays(new_network(3, YONV, seed=7))
    other = to_arrays(new_network(3, YONV, seed=8))

    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    assert not np.array_equal(first["layers.0.weight"], other["layers.0.weight"])


def test_new_network_does_not_change_the_global_random_state() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    new_network(3, YONV, seed=7)

    torch.testing.assert_close(torch.rand(3), expected)


def test_loading_a_network_does_not_change_the_global_random_state() -> None:
    arrays = to_arrays(new_network(3, YONV, seed=7))
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    from_arrays(arrays, 3, YONV)

    torch.testing.assert_close(torch.rand(3), expected)


@pytest.mark.parametrize("options", [YONV, KANEZAKI])
def test_network_restored_from_its_arrays_gives_the_same_responses(options: Network) -> None:
    network = new_network(3, options, seed=3)
    network(image(3, seed=1))  # updates the running statistics
    back = from_arrays(to_arrays(network), 3, options)

    with torch.no_grad():
        assert torch.equal(network.eval()(image(3)), back.eval()(image(3)))


def test_restored_network_does_not_share_memory_with_its_arrays() -> None:
    arrays = to_arrays(new_network(3, YONV, seed=3))
    kept = {name: np.array(value) for name, value in arrays.items()}

    from_arrays(arrays, 3, YONV)(image(3))

    for name, value in kept.items():
        np.testing.assert_array_equal(arrays[name], value)


@pytest.mark.parametrize(("options", "reach"), [(YONV, 2), (KANEZAKI, 2), (Network((5, 3, 1), (4, 4, 4)), 3)])
def test_response_depends_on_the_pixels_within_reach_alone(options: Network, reach: int) -> None:
    network = new_network(1, options, seed=0).eval()
    image = torch.zeros(1, 1, 15, 15, requires_grad=True)
    network(image + torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 15, 15))).float())[
        0, :, 7, 7
    ].sum().backward()

    assert image.grad is not None
    rows, cols = np.nonzero(image.grad[0, 0].numpy())
    assert network.reach == reach
    assert max(np.abs(rows - 7).max(), np.abs(cols - 7).max()) == reach


@pytest.mark.parametrize("options", [YONV, KANEZAKI])
def test_folded_network_gives_the_same_responses(options: Network) -> None:
    network = new_network(3, options, seed=3)
    network(image(3, seed=1))  # updates the running statistics
    network.eval()
    kept = {name: value.clone() for name, value in network.state_dict().items()}

    folded = fold_batch_norms(network)

    with torch.no_grad():
        torch.testing.assert_close(folded(image(3)), network(image(3)), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())


def test_every_batch_norm_after_a_convolution_is_folded() -> None:
    folded = fold_batch_norms(new_network(3, YONV, seed=3).eval())

    assert kinds(folded) == ["conv", "relu", "conv", "relu", "conv", "relu", "conv"]
