"""Shares of the codes in parts of an image whose pixels are all equal, as in masks, water and margins without data."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

_N_STORED = 24  # parts, of about 1 MB each; a tile has parts of at most 9 shapes
_LOCK = Lock()  # tiles are computed in several threads
STORED: OrderedDict[bytes, NDArray[np.uint8]] = OrderedDict()  # of all tiles of a process


class ConstantParts:
    """Computes the shares of constant parts of the same shape and values once per process.

    The same numbers come out as without it: equal input to the same function, on the same machine.

    Parameters
    ----------
    weights : callable
        Returns the weights of the network by name; called if there is a constant part.
    settings : str
        What the shares depend on besides the weights and the pixels.
    """

    def __init__(self, weights: Callable[[], Mapping[str, NDArray[Any]]], settings: str) -> None:
        self._weights, self._settings, self._network = weights, settings, b""

    def shares(
        self, pixels: NDArray[np.float32], compute: Callable[[NDArray[np.float32]], NDArray[np.uint8]]
    ) -> NDArray[np.uint8]:
        """Return the shares of the codes in a part of an image, (y, x, code) uint8; they must not be changed.

        Parameters
        ----------
        pixels : (channel, y, x) float32
        compute : callable
            Returns the shares of such pixels.
        """
        if not is_constant(pixels):
            return compute(pixels)
        key = self._key(pixels)
        with _LOCK:
            found = STORED.get(key)
            if found is not None:
                STORED.move_to_end(key)
                return found
        found = compute(pixels)
        with _LOCK:
            STORED[key] = found
            if len(STORED) > _N_STORED:
                STORED.popitem(last=False)
        return found

    def _key(self, pixels: NDArray[np.float32]) -> bytes:
        if not self._network:
            digest = hashlib.sha256(self._settings.encode())
            for name, values in self._weights().items():
                digest.update(name.encode() + values.tobytes())
            self._network = digest.digest()
        shape = np.array(pixels.shape, np.int64).tobytes()
        return self._network + hashlib.sha256(shape + pixels[:, 0, 0].tobytes()).digest()


def is_constant(pixels: NDArray[np.float32]) -> bool:
    """Return whether all pixels, (channel, y, x), are equal.

    Examples
    --------
    >>> is_constant(np.ones((3, 4, 5), np.float32)), is_constant(np.arange(6, dtype=np.float32).reshape(1, 2, 3))
    (True, False)
    """
    first = pixels[:, :1, :1]
    return bool((pixels[:, :1] == first).all() and (pixels == first).all())  # a row of most parts decides
