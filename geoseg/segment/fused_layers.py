"""A network on the CPU whose ReLUs are computed together with the convolutions before them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from geoseg.segment.network import CodeNetwork, computing_dtype

Layer = Callable[[Tensor], Tensor]


def fuse_layers(network: CodeNetwork) -> Layer:
    """Return a function of images with the responses of a network on the CPU, in fewer passes over memory.

    Parameters
    ----------
    network : CodeNetwork
        It must not be changed while the function is in use.

    Returns
    -------
    callable
        Takes images (image, channel, y, x) under `network.autocast`, and returns the numbers that the network returns:
        rounding to bfloat16 does not change signs, so a ReLU may come before it or after it. The network itself where
        convolutions are not computed in bfloat16.
    """
    if computing_dtype("cpu") != torch.bfloat16 or not _is_usable():
        return network
    layers: list[Layer] = []
    for layer, after in pairwise([*network.layers, None]):
        if isinstance(layer, nn.Conv2d):
            layers.append(_fused(layer, has_relu=isinstance(after, nn.ReLU)))
        elif not (isinstance(layer, nn.ReLU) and layers and isinstance(layers[-1], functools.partial)):
            layers.append(layer)
    return lambda images: functools.reduce(lambda values, layer: layer(values), layers, images)


def _fused(layer: nn.Conv2d, *, has_relu: bool) -> Layer:
    assert layer.bias is not None
    weight, bias = layer.weight.to(torch.bfloat16), layer.bias.to(torch.bfloat16)
    return functools.partial(_convolve, weight=weight, bias=bias, padding=layer.padding, has_relu=has_relu)


def _convolve(images: Tensor, *, weight: Tensor, bias: Tensor, padding: Any, has_relu: bool) -> Tensor:
    # What torch.compile uses for the same purpose. It has no public name, and compiling needs a C++ compiler.
    convolve = torch.ops.mkldnn._convolution_pointwise
    images, ones, after = images.to(torch.bfloat16), [1, 1], "relu" if has_relu else "none"
    result: Tensor = convolve(images, weight, bias, padding, ones, ones, 1, after, [], "")
    return result


@functools.cache
def _is_usable() -> bool:
    """Return whether torch has the operation and it computes what the two layers do: it may change in any version."""
    images = torch.linspace(-1, 1, 2 * 4 * 6 * 5).reshape(2, 4, 6, 5).to(torch.bfloat16)
    weight = torch.linspace(-1, 1, 3 * 4 * 3 * 3).sin().reshape(3, 4, 3, 3).to(torch.bfloat16)
    bias = torch.tensor([-0.1, 0.0, 0.1], dtype=torch.bfloat16)
    expected = torch.conv2d(images, weight, bias, padding=1).relu()
    try:
        found = _convolve(images, weight=weight, bias=bias, padding=(1, 1), has_relu=True)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(found, expected)
