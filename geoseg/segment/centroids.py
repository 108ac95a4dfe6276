"""Centroids of superpixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.superpixels import BlockSuperpixels


def centroids(superpixels: BlockSuperpixels, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the centroids of superpixels of a block.

    Parameters
    ----------
    superpixels : BlockSuperpixels
    numbers : (n,) int64
        Some of them.

    Returns
    -------
    (n, 2) float64
        Row and column in the scene.
    """
    read, index = superpixels.block.read, superpixels.labels.ravel() + 1  # 0 = nodata
    pixels = np.bincount(index)
    rows = np.repeat(np.arange(read.row_off, read.row_end, dtype=np.float64), read.width)
    cols = np.tile(np.arange(read.col_off, read.col_end, dtype=np.float64), read.height)
    chosen = numbers - superpixels.first_number + 1
    sums = np.stack([np.bincount(index, values)[chosen] for values in (rows, cols)], axis=1)
    return np.asarray(sums / pixels[chosen, None])
