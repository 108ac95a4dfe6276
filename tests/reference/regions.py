"""The regions of a whole class map, moved one by one as the rule is worded, and looked for anew after every move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class Region:
    """One region: where it is, and how long its border with each neighbouring class is."""

    number: int
    pixels: int
    first: int
    class_: int
    shared: dict[int, int]
    neighbours: frozenset[int]


def whole_regions(
    classes: NDArray[np.integer],
    *,
    min_pixels: int,
    features: NDArray[np.float64],
    shuffle: np.random.Generator | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the regions of the class map, numbered from 1 by their first pixels, and the class map, after the sieve.

    With `shuffle`, it is not the smallest of all small regions that moves next, but any that is smaller than all its
    neighbours.
    """
    classes = np.array(classes, dtype=np.int64)
    while True:
        numbers = number_labels(classes)
        regions = {number: describe(classes, numbers, number) for number in range(1, numbers.max() + 1)}
        small = [region for region in regions.values() if region.pixels < min_pixels and region.shared]
        if not small:
            return numbers, classes
        if shuffle is None:
            moved = min(small, key=size)
        else:
            least = [one for one in small if all(size(one) < size(regions[other]) for other in one.neighbours)]
            moved = least[shuffle.integers(len(least))]
        classes[numbers == moved.number] = class_to_take(moved, features)


def number_labels(classes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number the 4-connected regions from 1 in the reading order of their first pixels."""
    numbers = np.zeros(classes.shape, dtype=np.int64)
    count = 0
    for y, x in np.ndindex(classes.shape):
        if classes[y, x] and not numbers[y, x]:
            count += 1
            components, _ = ndimage.label(classes == classes[y, x])
            numbers[components == components[y, x]] = count
    return numbers


def describe(classes: NDArray[np.int64], numbers: NDArray[np.int64], number: int) -> Region:
    """Walk over the pixels of one region and look across each of their four edges."""
    inside = np.argwhere(numbers == number)
    shared: dict[int, int] = {}
    neighbours = set()
    for y, x in inside:
        for row, col in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= row < classes.shape[0] and 0 <= col < classes.shape[1] and numbers[row, col] not in (0, number):
                shared[int(classes[row, col])] = shared.get(int(classes[row, col]), 0) + 1
                neighbours.add(int(numbers[row, col]))
    first = int(inside[0][0] * classes.shape[1] + inside[0][1])
    return Region(number, len(inside), first, int(classes[tuple(inside[0])]), shared, frozenset(neighbours))


def size(region: Region) -> tuple[int, int]:
    return region.pixels, region.first


def class_to_take(region: Region, features: NDArray[np.float64]) -> int:
    """Longest border, then nearest features, then lower number."""

    def preference(other: int) -> tuple[int, float, int]:
        return -region.shared[other], float(((features[region.class_] - features[other]) ** 2).sum()), other

    return min(region.shared, key=preference)
