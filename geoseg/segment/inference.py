"""The shares of the codes in the pixels of an image, by a trained network."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 # torch's own name for it
from numpy.typing import NDArray
from torch import Tensor

from geoseg.config import Network
from geoseg.grid import TileGrid, Window
from geoseg.segment.buffers import empty
from geoseg.segment.constant_parts import ConstantParts
from geoseg.segment.fused_layers import fuse_layers
from geoseg.segment.network import CodeNetwork, autocast, fold_batch_norms, from_arrays, placed
from geoseg.segment.torch_threads import fixed_threads

_CACHE_SIZE = 192  # px; an image of this size and all layers fit the cache: twice as fast as 600
_SHARES_AT_ONCE = 2**17  # float32, half a MB: within the cache, which divides the time by two


class Inference:
    """A network that is ready to compute the shares of its codes, in any thread.

    Parameters
    ----------
    network : CodeNetwork
        It is not changed.
    device : str
    own_statistics : bool
        Batch norms use the statistics of the image, as in the articles, instead of the running statistics.
    hard : bool
        The code with the largest response gets all, as in the articles, instead of the softmax.
    """

    def __init__(
        self, network: CodeNetwork, *, device: str = "cpu", own_statistics: bool = False, hard: bool = False
    ) -> None:
        self._device, self._own_statistics, self._hard = device, own_statistics, hard
        network = copy.deepcopy(network).train(own_statistics)
        with torch.inference_mode():
            self._network = placed(network if own_statistics else fold_batch_norms(network), device)
            self._layers = self._network if own_statistics or device != "cpu" else fuse_layers(self._network)
        self._constant_parts = ConstantParts()

    def shares(self, channels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the share of each code in each pixel: the softmax of the responses.

        Parameters
        ----------
        channels : (channel, y, x) float32
            As in `Patch`.

        Returns
        -------
        (y, x, code) uint8
            In units of 1/255; undefined for nodata pixels.
        """
        with fixed_threads(), torch.inference_mode(), autocast(self._device):
            if self._own_statistics:
                return self._shares_of(channels)
            if self._device != "cpu":
                with suppress(torch.cuda.OutOfMemoryError):  # the parts below need less
                    return self._shares_of(channels)
            whole = Window(0, 0, channels.shape[2], channels.shape[1])
            result = np.empty((*whole.shape, self._network.n_codes), np.uint8)
            for part in TileGrid(whole.shape, _CACHE_SIZE, self._network.reach):
                found = self._constant_parts.shares(channels[:, *part.read.within(whole)], self._shares_of)
                result[part.core.within(whole)] = found[part.core.within(part.read)]
            return result

    def _shares_of(self, channels: NDArray[np.float32]) -> NDArray[np.uint8]:
        if self._device == "cpu":
            image = empty((*channels.shape[1:], len(channels)), torch.float32).permute(2, 0, 1)[None]  # channels last
            image[0].copy_(torch.from_numpy(channels))
        else:
            image = torch.from_numpy(channels)[None].to(self._device).contiguous(memory_format=torch.channels_last)
        responses = self._layers(image)[0].permute(1, 2, 0)
        shares: NDArray[np.uint8] = rounded_shares(responses, hard=self._hard).cpu().numpy()
        return shares


def scene_inference(
    arrays: Mapping[str, NDArray[Any]], n_channels: int, options: Network, *, device: str = "cpu", hard: bool = False
) -> Inference:
    """Return the network of a scene, ready to compute shares; the one asked for last is kept, since tiles share it.

    Parameters
    ----------
    arrays : dict of str to array
        As returned by `network.to_arrays`.
    n_channels : int
    options : Network
    device : str
    hard : bool
        As in `Inference`.
    """
    digest = hashlib.blake2b()
    for name, values in arrays.items():
        digest.update(f"{name} {values.dtype} {values.shape} ".encode() + np.ascontiguousarray(values).tobytes())
    return _scene_inference(_Weights(digest.digest(), arrays), n_channels, options, device, hard)


@dataclass(frozen=True)
class _Weights:
    """Weights of a network, compared by their digest."""

    digest: bytes
    arrays: Mapping[str, NDArray[Any]] = field(compare=False)


@lru_cache(maxsize=1)
def _scene_inference(weights: _Weights, n_channels: int, options: Network, device: str, hard: bool) -> Inference:
    return Inference(from_arrays(weights.arrays, n_channels, options).eval(), device=device, hard=hard)


def rounded_shares(responses: Tensor, *, hard: bool) -> Tensor:
    """Return what `Inference.shares` does, (y, x, code) uint8, from the responses, (y, x, code)."""
    n_rows, n_cols, n_codes = responses.shape
    if hard:
        return (F.one_hot(responses.argmax(dim=2), n_codes) * 255).to(torch.uint8).contiguous()
    on_cpu = responses.device.type == "cpu"
    result = empty(responses.shape, torch.uint8) if on_cpu else torch.empty_like(responses, dtype=torch.uint8)
    at_once = max(_SHARES_AT_ONCE // max(n_cols * n_codes, 1), 1) if on_cpu else n_rows
    for begin in range(0, n_rows, max(at_once, 1)):
        rows = slice(begin, begin + at_once)
        result[rows] = responses[rows].float().softmax(dim=2).mul_(255).add_(0.5)
    return result
