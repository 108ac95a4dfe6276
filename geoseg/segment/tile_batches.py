"""Codes of several tiles at once on a GPU, and their sums over superpixels there.

Only the sums leave the GPU. They are sums of integers, so they are those of `vote_sums` whatever the order.

Tiles of a batch have the same shape. They are not padded to one: convolutions pad an image with zeros in every layer,
so the codes at the edge of the scene would be others. A scene has at most nine shapes of tiles.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.config import Config
from geoseg.segment.grouped_descent import refine_each, train_each
from geoseg.segment.inference import rounded_shares
from geoseg.segment.network import CodeNetwork, autocast, fold_batch_norms, lacks_memory, placed
from geoseg.segment.patch import MAX_BATCH, TileImage
from geoseg.segment.tile_codes import code_shares
from geoseg.segment.torch_threads import fixed_threads

_log = logging.getLogger(__name__)

_SHARE_OF_FREE = 0.5  # of the free memory that a batch may take; the next batch is transferred meanwhile
_BYTES_PER_CODE = 24  # of a pixel: responses and shares in float32, shares times weights in int64
_BYTES_PER_CHANNEL, _TRAINED_BYTES_PER_CHANNEL = 4, 24  # of a pixel; with all layers and gradients


@dataclass(frozen=True)
class CountedTile:
    """A tile whose codes are to be summed.

    Parameters
    ----------
    image : TileImage
    weight : (y, x) int64
        Feathering weight of the read window.
    core : tuple of slice
        Rows and columns of the core in the read window.
    cells : tuple of (y,) int64 and (x,) int64, or None
        Of the core, from `context.cells_of_pixels`; None = the codes of the cells are not summed.
    """

    image: TileImage
    weight: NDArray[np.int64]
    core: tuple[slice, slice]
    cells: tuple[NDArray[np.int64], NDArray[np.int64]] | None


@dataclass(frozen=True)
class CodeSums:
    """Sums of the shares of the codes of one tile.

    Parameters
    ----------
    votes : (superpixel, code) int64
        As `votes.Votes.votes`.
    cells : (cell row, cell column, code) int32 or None
        As the first components of `context.sum_cells`.
    """

    votes: NDArray[np.int64]
    cells: NDArray[np.int32] | None


Result = Callable[[], list[CodeSums]]  # waits for the device


class TileBatches:
    """Computes the sums of the codes of tiles on a device.

    Parameters
    ----------
    networks : callable
        Returns the network with which a tile begins, given its number; with ``training: scene`` always the same.
    config : Config
    device : str
    size : int
        Largest number of tiles of a batch; see `batch_size`.

    Attributes
    ----------
    size : int
        The same, or less after the memory of the device did not suffice.
    """

    def __init__(self, networks: Callable[[int], CodeNetwork], config: Config, device: str, *, size: int) -> None:
        self.size = size
        self._networks, self._config, self._device = networks, config, device
        self._is_alone, self._is_hard = config.training == "tile", config.classify.evidence == "votes"
        self._transfers = _Transfers(device)
        self._shared: CodeNetwork | None = None  # network of the scene for inference, on the device

    def start(self, tiles: Sequence[CountedTile]) -> Result:
        """Start to compute tiles of one shape.

        Where the memory of the device does not suffice, batches are halved from now on; what is too large alone is
        computed by the CPU.

        Parameters
        ----------
        tiles : sequence of CountedTile

        Returns
        -------
        callable
            Waits for the device, and returns the `CodeSums` of each tile.

        Raises
        ------
        RuntimeError
            If the device fails; so does the result.
        """
        waiting, results = deque([tiles]), list[Result]()
        with fixed_threads():
            while waiting:
                batch = waiting.popleft()
                if len(batch) > self.size:
                    waiting.extendleft((batch[self.size :], batch[: self.size]))
                elif (result := self._attempt(batch)) is not None:
                    results.append(result)
                elif len(batch) == 1:
                    _log.warning("the memory of %s does not suffice for one tile, so the CPU computes it", self._device)
                    results.append(self._on_cpu(batch[0]))
                else:
                    self.size = len(batch) // 2
                    waiting.appendleft(batch)
        return lambda: [sums for result in results for sums in result()]

    def _attempt(self, tiles: Sequence[CountedTile]) -> Result | None:
        """Start to compute a batch; None = the memory of the device does not suffice."""
        try:
            return self._transfers.download(self._sums(tiles))
        except RuntimeError as err:
            if not lacks_memory(err):
                raise
        # Outside of the handler: its traceback would keep the tensors of the failed attempt.
        (torch.mps if self._device == "mps" else torch.cuda).empty_cache()
        return None

    def _sums(self, tiles: Sequence[CountedTile]) -> list[tuple[Tensor, Tensor | None]]:
        images = self._transfers.upload([tile.image.channels for tile in tiles])
        images = images.contiguous(memory_format=torch.channels_last)
        networks = self._trained(tiles)
        sums = []
        with torch.inference_mode(), autocast(self._device):
            if self._is_alone or self._config.steps:
                found = [self._for_inference(one)(images[i : i + 1])[0] for i, one in enumerate(networks)]
            else:
                self._shared = self._shared or self._for_inference(networks[0])
                found = list(self._shared(images))
            for tile, responses in zip(tiles, found, strict=True):
                inner = responses[:, *tile.image.inner].permute(1, 2, 0)  # (y, x, code)
                sums.append(_sum_codes(rounded_shares(inner, hard=self._is_hard), tile, self._transfers))
        return sums

    def _trained(self, tiles: Sequence[CountedTile]) -> list[CodeNetwork]:
        """Return the network of each tile."""
        config, networks = self._config, [self._networks(tile.image.number) for tile in tiles]
        if not config.steps:
            return networks
        patches = [tile.image.patch for tile in tiles]
        if self._is_alone:
            return train_each(networks, patches, config.backprop, steps=config.steps, device=self._device)
        return refine_each(networks[0], patches, config.backprop, steps=config.steps, device=self._device)

    def _for_inference(self, network: CodeNetwork) -> CodeNetwork:
        return placed(network.train() if self._is_alone else fold_batch_norms(network), self._device)

    def _on_cpu(self, tile: CountedTile) -> Result:
        transfers = _Transfers("cpu")
        shares = code_shares(self._networks(tile.image.number), tile.image, self._config, "cpu")
        return transfers.download([_sum_codes(torch.from_numpy(shares), tile, transfers)])


def batch_size(n_pixels: int, config: Config, device: str) -> int:
    """Return the number of tiles that fit into the free memory of a device together, from 1 to `MAX_BATCH`.

    Parameters
    ----------
    n_pixels : int
        Of a tile with the margin that the network needs.
    config : Config
    device : str
    """
    free = free_memory(device)
    if free is None:
        return MAX_BATCH
    channels, codes = config.network.channels, config.network.channels[-1]
    per_pixel = _TRAINED_BYTES_PER_CHANNEL * sum(channels) if config.steps else _BYTES_PER_CHANNEL * 2 * max(channels)
    return int(min(max(_SHARE_OF_FREE * free // (n_pixels * (per_pixel + _BYTES_PER_CODE * codes)), 1), MAX_BATCH))


def free_memory(device: str) -> int | None:
    """Return the free memory of a device in bytes; None = it is that of the machine."""
    if device == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return int(torch.cuda.mem_get_info()[0]) if device == "cuda" else None


class _Transfers:
    """Copies between the memory of the machine and that of a device.

    To a GPU they are made from pinned memory and on a stream of their own, so that it computes meanwhile.

    Parameters
    ----------
    device : str
    """

    def __init__(self, device: str) -> None:
        self._device, self._is_cuda = device, device == "cuda"
        self._stream = torch.cuda.Stream() if self._is_cuda else None  # type: ignore[no-untyped-call] # so in torch

    def upload(self, arrays: Sequence[NDArray[np.generic]]) -> Tensor:
        """Return arrays of one shape as one tensor on the device, which may still be on its way."""
        first = torch.from_numpy(arrays[0])
        host = torch.empty((len(arrays), *first.shape), dtype=first.dtype, pin_memory=self._is_cuda)
        for row, array in zip(host, arrays, strict=True):
            row.copy_(torch.from_numpy(array))
        if self._stream is None:
            return host.to(self._device)
        with torch.cuda.stream(self._stream):
            found = host.to(self._device, non_blocking=True)
        torch.cuda.current_stream().wait_stream(self._stream)
        found.record_stream(torch.cuda.current_stream())
        return found

    def download(self, sums: Sequence[tuple[Tensor, Tensor | None]]) -> Result:
        """Start to copy sums from the device; the result waits for them."""
        host = [(self._to_host(votes), None if cells is None else self._to_host(cells)) for votes, cells in sums]
        event = torch.cuda.Event() if self._is_cuda else None  # type: ignore[no-untyped-call] # so in torch
        if event is not None:
            event.record()

        def result() -> list[CodeSums]:
            if event is not None:
                event.synchronize()
            return [CodeSums(votes.numpy(), None if cells is None else cells.numpy()) for votes, cells in host]

        return result

    def _to_host(self, tensor: Tensor) -> Tensor:
        if not self._is_cuda:
            return tensor.cpu()
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _sum_codes(shares: Tensor, tile: CountedTile, transfers: _Transfers) -> tuple[Tensor, Tensor | None]:
    """Return the sums of one tile on the device, from the shares of the codes in its read window, (y, x, code)."""
    superpixels = transfers.upload([tile.image.superpixels])[0].long()
    n = int(tile.image.superpixels.max(initial=-1)) + 1
    rows = torch.where(superpixels >= 0, superpixels, n)
    weight = transfers.upload([tile.weight])[0]
    votes = _scattered(rows, shares.long() * weight[..., None], n)
    if tile.cells is None:
        return votes, None
    cell_rows, cell_cols = (transfers.upload([one])[0] for one in tile.cells)
    n_rows, n_cols = (int(one[-1]) + 1 for one in tile.cells)
    is_data = superpixels[tile.core] >= 0
    cells = torch.where(is_data, cell_rows[:, None] * n_cols + cell_cols, n_rows * n_cols)
    sums = _scattered(cells, shares[tile.core].int(), n_rows * n_cols)
    return votes, sums.reshape(n_rows, n_cols, -1)


def _scattered(rows: Tensor, values: Tensor, n: int) -> Tensor:
    """Return the sums of the values, (y, x, code), of the pixels of each of `n` rows, (y, x); n = none of them."""
    flat = values.flatten(0, 1)
    sums = torch.zeros(n + 1, flat.shape[1], dtype=flat.dtype, device=flat.device)
    return sums.index_add_(0, rows.flatten(), flat)[:n].clone()
