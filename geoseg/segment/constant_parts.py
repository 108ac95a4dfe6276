"""Shares of the codes in parts of an image whose pixels are all equal, as in masks, water and margins without data."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import numpy as np
from numpy.typing import NDArray

_N_STORED = 24  # parts, of about 1 MB each; a tile has parts of at most 9 shapes


class ConstantParts:
    """Computes the shares of constant parts of the same shape and values once.

    The same numbers come out as without it: equal input to the same function, on the same machine.

    Examples
    --------
    >>> parts, water = ConstantParts(), np.zeros((3, 4, 5), np.float32)
    >>> first = parts.shares(water, lambda pixels: np.ones((4, 5, 2), np.uint8))
    >>> first is parts.shares(water.copy(), lambda pixels: np.zeros((4, 5, 2), np.uint8)), parts.n_stored
    (True, 1)
    """

    def __init__(self) -> None:
        self._stored: OrderedDict[tuple[object, ...], NDArray[np.uint8]] = OrderedDict()
        self._lock = Lock()  # tiles are computed in several threads

    @property
    def n_stored(self) -> int:
        """Number of parts whose shares are stored."""
        return len(self._stored)

    def shares(
        self, pixels: NDArray[np.float32], compute: Callable[[NDArray[np.float32]], NDArray[np.uint8]]
    ) -> NDArray[np.uint8]:
        """Return the shares of the codes in a part of an image, (y, x, code) uint8; they must not be changed.

        Parameters
        ----------
        pixels : (channel, y, x) float32
        compute : callable
            Returns the shares of such pixels; always the same function.
        """
        if not is_constant(pixels):
            return compute(pixels)
        key = (pixels.shape, pixels[:, 0, 0].tobytes())
        with self._lock:
            found = self._stored.get(key)
            if found is not None:
                self._stored.move_to_end(key)
                return found
        found = compute(pixels)
        with self._lock:
            self._stored[key] = found
            if len(self._stored) > _N_STORED:
                self._stored.popitem(last=False)
        return found


def is_constant(pixels: NDArray[np.float32]) -> bool:
    """Return whether all pixels, (channel, y, x), are equal.

    Examples
    --------
    >>> is_constant(np.ones((3, 4, 5), np.float32)), is_constant(np.arange(6, dtype=np.float32).reshape(1, 2, 3))
    (True, False)
    """
    first = pixels[:, :1, :1]
    return bool((pixels[:, :1] == first).all() and (pixels == first).all())  # a row of most parts decides
