"""The votes of a tile, and of all tiles together, pixel by pixel."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Word:
    """What is said of the superpixels: by number, and of borders by pair of numbers."""

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
) -> Word:
    """Walk over the pixels of a tile's read window; looks are rounded to 1/65536 for each pixel."""
    word = Word()
    inside = np.zeros(numbers.shape, bool)
    inside[core] = True
    for y, x in np.ndindex(numbers.shape):
        number = int(numbers[y, x])
        if number < 0:
            continue
        word.votes.setdefault(number, np.zeros(shares.shape[2], np.int64))
        word.moments.setdefault(number, np.zeros(len(moments)))
        word.votes[number] += int(weight[y, x]) * shares[y, x].astype(np.int64)
        if not inside[y, x]:
            continue
        word.pixels[number] += 1
        word.moments[number] += np.rint(moments[:, y, x] * 65536)
        for other in ((y, x + 1), (y + 1, x)):
            if other[0] < numbers.shape[0] and other[1] < numbers.shape[1]:
                neighbour = int(numbers[other])
                if neighbour >= 0 and neighbour != number:
                    word.borders[(min(number, neighbour), max(number, neighbour))] += 1
    return word
