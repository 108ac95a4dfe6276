"""Votes of a tile, counted pixel by pixel."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Sums:
    """Sums by number of the superpixel; borders by pair of numbers."""

    votes: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    pixels: Counter[int] = field(default_factory=Counter)
    moments: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    borders: Counter[tuple[int, int]] = field(default_factory=Counter)


def count_votes(
    numbers: NDArray[np.int64],
    shares: NDArray[np.uint8],
    weight: NDArray[np.int64],
    moments: NDArray[np.float32],
    core: tuple[slice, slice],
) -> Sums:
    """Loop over the pixels of the read window of a tile; each pixel's moments are rounded to 1/65536."""
    sums = Sums()
    inside = np.zeros(numbers.shape, bool)
    inside[core] = True
    for y, x in np.ndindex(numbers.shape):
        number = int(numbers[y, x])
        if number < 0:
            continue
        sums.votes.setdefault(number, np.zeros(shares.shape[2], np.int64))
        sums.moments.setdefault(number, np.zeros(len(moments)))
        sums.votes[number] += int(weight[y, x]) * shares[y, x].astype(np.int64)
        if not inside[y, x]:
            continue
        sums.pixels[number] += 1
        sums.moments[number] += np.rint(moments[:, y, x] * 65536)
        for other in ((y, x + 1), (y + 1, x)):
            if other[0] < numbers.shape[0] and other[1] < numbers.shape[1]:
                neighbour = int(numbers[other])
                if neighbour >= 0 and neighbour != number:
                    sums.borders[(min(number, neighbour), max(number, neighbour))] += 1
    return sums
