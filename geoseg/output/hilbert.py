"""Places along a Hilbert curve: what is near on it is near on the map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ORDER = 16  # bits of each coordinate


def hilbert_codes(xy: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return the place of each point along the Hilbert curve through the rectangle around all of them.

    Parameters
    ----------
    xy : (n, 2), finite

    Returns
    -------
    (n,) uint32, on a grid of 65 536 × 65 536 cells

    Notes
    -----
    The usual loop over the bits (Warren 2012, Hacker's Delight, chapter 16): at each level the quadrant gives two bits,
    and turns or mirrors what is below.

    Examples
    --------
    >>> np.argsort(hilbert_codes(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]))).tolist()
    [0, 3, 2, 1]
    """
    if not len(xy):
        return np.zeros(0, np.uint32)
    low, extent = xy.min(axis=0), np.ptp(xy, axis=0)
    last = 2**_ORDER - 1
    cells = np.where(extent > 0, (xy - low) * (last / np.where(extent > 0, extent, 1)), 0)
    x, y = np.minimum(cells, last).astype(np.uint32).T
    codes = np.zeros(len(xy), np.uint32)
    for level in range(_ORDER - 1, -1, -1):
        side = np.uint32(1 << level)
        right, up = (x & side) > 0, (y & side) > 0
        codes += side * side * ((3 * right) ^ up).astype(np.uint32)
        mirrored = right & ~up
        x, y = np.where(mirrored, ~x, x), np.where(mirrored, ~y, y)
        x, y = np.where(up, x, y), np.where(up, y, x)
    return codes
