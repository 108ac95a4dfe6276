"""Images for the network with their superpixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORE = -1  # superpixel and target of a nodata pixel
MAX_BATCH = 8  # tiles that are computed together on a GPU; a megapixel occupies it


@dataclass(frozen=True)
class Patch:
    """One image for the network.

    Parameters
    ----------
    channels : (channel, y, x) float32
        Standardised; 0 = nodata.
    superpixels : (y, x) int32
        From 0; -1 = nodata.
    """

    channels: NDArray[np.float32]
    superpixels: NDArray[np.int32]


@dataclass(frozen=True)
class TileImage:
    """What the codes of a tile are computed from.

    Parameters
    ----------
    number : int
        Of the tile.
    channels : (channel, y, x) float32
        As in `Patch`, of the read window of the tile with the margin that the network needs.
    inner : tuple of slice
        Rows and columns of the read window in `channels`.
    superpixels : (y, x) int32
        Of the read window: from 0, every number in use; -1 = nodata.
    """

    number: int
    channels: NDArray[np.float32]
    inner: tuple[slice, slice]
    superpixels: NDArray[np.int32]

    @property
    def patch(self) -> Patch:
        """The read window, on which a network is trained."""
        return Patch(np.ascontiguousarray(self.channels[:, *self.inner]), self.superpixels)
