"""The small network that gives every pixel a code."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geoseg.config import Network


class CodeNetwork(nn.Module):
    """Convolutions that turn the channels of an image into one score per code and pixel.

    The networks of Kanezaki (2018; order relu-bn) and of Yonv (2019; order bn-relu); the last layer has no ReLU.

    Parameters
    ----------
    n_channels : channels of the input
    options : kernels and channels of the layers
    """

    def __init__(self, n_channels: int, options: Network) -> None:
        super().__init__()
        self.reach = options.reach
        self.n_codes = options.channels[-1]
        layers: list[nn.Module] = []
        last = len(options.kernels) - 1
        for i, (kernel, channels) in enumerate(zip(options.kernels, options.channels, strict=True)):
            layers.append(nn.Conv2d(n_channels, channels, kernel, padding=kernel // 2))
            norm, active = nn.BatchNorm2d(channels), nn.ReLU()
            if i == last:
                layers.append(norm)
            else:
                layers += [norm, active] if options.order == "bn-relu" else [active, norm]
            n_channels = channels
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Map (image, channel, y, x) to scores (image, code, y, x)."""
        scores: Tensor = self.layers(image)
        return scores


def new_network(n_channels: int, options: Network, *, seed: int) -> CodeNetwork:
    """Return a network with random weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CodeNetwork(n_channels, options)


def to_arrays(network: CodeNetwork) -> dict[str, NDArray[Any]]:
    """Return the weights and running statistics by name."""
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}


def from_arrays(arrays: dict[str, NDArray[Any]], n_channels: int, options: Network) -> CodeNetwork:
    """Return a network with the weights that `to_arrays` gave."""
    network = new_network(n_channels, options, seed=0)  # whatever it draws is replaced
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
    return network
