"""Check of a device against the CPU: the codes of a small tile."""

from __future__ import annotations

import functools

import numpy as np

from geoseg.config import load_config
from geoseg.grid import Window
from geoseg.segment.context import cells_of_pixels
from geoseg.segment.network import new_network
from geoseg.segment.patch import TileImage
from geoseg.segment.tile_batches import CountedTile, TileBatches

LEAST_AGREEMENT = 0.9  # rounding alone changes the codes of a few pixels in a hundred

_SIZE, _SQUARE, _SUPERPIXEL, _CHANNELS = 96, 24, 8, 6


@functools.cache
def agreement(device: str) -> float:
    """Return the share of the pixels of a small tile that have the same code on a device as on the CPU.

    The tile is always the same. Its codes are those of a network as it is, and of one that is trained for three steps;
    the share is the smaller of the two.

    Parameters
    ----------
    device : str

    Returns
    -------
    float
        From 0 to 1. Codes are compared by their sums over superpixels, so all that a run computes on a device takes
        part.

    Raises
    ------
    RuntimeError
        If the device cannot compute this.
    """
    shares = []
    for changes in ({}, {"training": "tile", "tile_steps": 3}):
        expected, found = (_votes(one, changes) for one in ("cpu", device))
        shares.append(np.minimum(expected, found).sum() / expected.sum())
    return float(min(shares))


def _votes(device: str, changes: dict[str, object]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    config = load_config({"classify": {"evidence": "votes"}}, **changes)
    network = new_network(_CHANNELS, config.network, seed=0).train(config.training == "tile")
    batches = TileBatches(lambda _: network, config, device, size=1)
    return batches.start([_tile()])()[0].votes


def _tile() -> CountedTile:
    """Return a tile of noisy squares, some of it nodata."""
    draw, (rows, cols) = np.random.default_rng(0), np.indices((_SIZE, _SIZE))
    squares = draw.normal(0, 1, (_CHANNELS, _SIZE // _SQUARE, _SIZE // _SQUARE))
    channels = squares[:, rows // _SQUARE, cols // _SQUARE] + draw.normal(0, 0.1, (_CHANNELS, _SIZE, _SIZE))
    superpixels = rows // _SUPERPIXEL * (_SIZE // _SUPERPIXEL) + cols // _SUPERPIXEL
    channels[:, -_SUPERPIXEL:], superpixels[-_SUPERPIXEL:] = 0, -1
    whole = (slice(0, _SIZE), slice(0, _SIZE))
    image = TileImage(0, channels.astype(np.float32), whole, superpixels.astype(np.int32))
    cells = cells_of_pixels(Window(0, 0, _SIZE, _SIZE))
    return CountedTile(image, np.ones((_SIZE, _SIZE), np.int64), whole, cells)
