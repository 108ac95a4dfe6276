"""An image for the network with its superpixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORE = -1  # superpixel and target of a nodata pixel


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
