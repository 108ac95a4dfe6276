"""The running statistics of batch norms, computed over all crops of a scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geoseg.segment.network import CodeNetwork, autocast, computing_dtype
from geoseg.segment.passes import Passes

_BATCH = 16  # crops that are normalised together


def with_statistics_of_all(
    network: CodeNetwork, images: Sequence[NDArray[np.float32]], device: str = "cpu"
) -> CodeNetwork:
    """Set the running statistics of a network to the mean over batches of all images.

    Every image has the same weight.

    Parameters
    ----------
    network : CodeNetwork
        It is changed.
    images : sequence of (channel, y, x) float32
        Of one shape.
    device : str

    Returns
    -------
    CodeNetwork
        The same network in evaluation mode.
    """
    norms = [layer for layer in network.train().layers if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
    seen = 0
    for begin in range(0, len(images), _BATCH):
        batch = images[begin : begin + _BATCH]
        seen += len(batch)
        if device == "cpu":
            Passes(network, batch, computing_dtype(device)).forward(keep=False, momentum=len(batch) / seen)
        else:
            _add_batch(network, batch, device, len(batch) / seen)
    return network.eval()


def _add_batch(network: CodeNetwork, batch: Sequence[NDArray[np.float32]], device: str, weight: float) -> None:
    """Add the statistics of a batch to the running statistics with a weight, without strips."""
    norms = [layer for layer in network.layers if isinstance(layer, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = weight
    images = torch.from_numpy(np.stack(batch)).to(device, memory_format=torch.channels_last)
    with torch.no_grad(), autocast(device):
        network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
