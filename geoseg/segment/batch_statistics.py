"""The running statistics of batch norms, computed over all crops of a scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geoseg.segment.network import CodeNetwork

_BATCH = 16  # crops that are normalised together


def with_statistics_of_all(
    network: CodeNetwork, images: Sequence[NDArray[np.float32]], device: str = "cpu"
) -> CodeNetwork:
    """Set the running statistics of a network to the mean over batches of all images.

    Every image has the same weight. A layer is applied to one image after the other, which fit the cache, and not to
    the whole batch.

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
    norms = [layer for layer in network.layers if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
    seen = 0
    with torch.inference_mode():
        for begin in range(0, len(images), _BATCH):
            batch = images[begin : begin + _BATCH]
            seen += len(batch)
            _add_batch(network, [_placed(image, device) for image in batch], len(batch) / seen)
    return network.eval()


def _placed(image: NDArray[np.float32], device: str) -> Tensor:
    return torch.from_numpy(image)[None].to(device).contiguous(memory_format=torch.channels_last)


def _add_batch(network: CodeNetwork, crops: list[Tensor], weight: float) -> None:
    """Add the statistics of a batch of crops, (1, channel, y, x) each, to the running statistics with a weight."""
    for layer in network.layers:
        if isinstance(layer, nn.BatchNorm2d):
            mean, variance, n = _moments(crops)
            _move(layer, mean, variance * n / max(n - 1, 1), weight)
            crops = [_normalised(layer, crop, mean, variance) for crop in crops]
        else:
            crops = [layer(crop) for crop in crops]


def _moments(crops: list[Tensor]) -> tuple[Tensor, Tensor, int]:
    """Return mean and variance of each channel, (channel,) float64, and the number of pixels."""
    shift = crops[0].mean(dim=(0, 2, 3), keepdim=True)  # near the mean, so that little is lost in the sums of squares
    total, squares = (torch.zeros(shift.shape[1], dtype=torch.float64, device=shift.device) for _ in range(2))
    for crop in crops:
        deviation = crop - shift
        total += deviation.sum(dim=(0, 2, 3))
        squares += deviation.square_().sum(dim=(0, 2, 3))
    n = sum(crop.shape[2] * crop.shape[3] for crop in crops)
    return total / n + shift.flatten(), (squares / n - (total / n) ** 2).clamp(min=0), n


def _move(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, weight: float) -> None:
    for running, new in ((norm.running_mean, mean), (norm.running_var, variance)):
        if running is not None:  # the hints of torch allow it
            running.lerp_(new.to(running.dtype), weight)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked += 1


def _normalised(norm: nn.BatchNorm2d, crop: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    scale = norm.weight / (variance + norm.eps).sqrt()
    offset = norm.bias - mean * scale
    return torch.addcmul(offset.to(crop.dtype)[:, None, None], crop, scale.to(crop.dtype)[:, None, None])
