"""Felzenszwalb and Huttenlocher's segmentation with sets of pixels, joined one edge after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVEL = 1 / 4096  # edges that differ by less count as equal


def felzenszwalb(bands: NDArray[np.float32], valid: NDArray[np.bool_], *, k: float, min_size: int) -> NDArray[np.int64]:
    """Return the superpixels of a picture, numbered by their first pixels in reading order; -1 = no data."""
    edges = sorted(edges_of(bands, valid), key=lambda edge: int(edge[0] / LEVEL))  # stable: ties in reading order
    patches = {(y, x): frozenset([(y, x)]) for y, x in np.argwhere(valid).tolist()}
    most = {patch: np.float32(k) for patch in patches.values()}  # Int(C) + k / |C|; a single pixel has Int 0
    for weight, p, q in edges:
        a, b = patches[p], patches[q]
        if a != b and weight <= min(most[a], most[b]):
            joined = join(patches, a, b)
            most[joined] = np.float32(weight + k / len(joined))
    for _, p, q in edges:
        a, b = patches[p], patches[q]
        if a != b and min(len(a), len(b)) < min_size:
            join(patches, a, b)
    return drawn(patches, valid.shape)


def edges_of(
    bands: NDArray[np.float32], valid: NDArray[np.bool_]
) -> list[tuple[np.float32, tuple[int, int], tuple[int, int]]]:
    """Return (weight, pixel, pixel) in reading order, the right neighbour before the lower one."""
    edges = []
    for y, x in map(tuple, np.argwhere(valid).tolist()):
        for other in ((y, x + 1), (y + 1, x)):
            if other[0] < valid.shape[0] and other[1] < valid.shape[1] and valid[other]:
                square = np.float32(0)
                for band in bands:
                    square += (band[y, x] - band[other]) ** 2
                edges.append((np.sqrt(square), (y, x), other))
    return edges


def join(
    patches: dict[tuple[int, int], frozenset[tuple[int, int]]],
    a: frozenset[tuple[int, int]],
    b: frozenset[tuple[int, int]],
) -> frozenset[tuple[int, int]]:
    """Let all pixels of two patches know that they are one now."""
    joined = a | b
    for pixel in joined:
        patches[pixel] = joined
    return joined


def drawn(patches: dict[tuple[int, int], frozenset[tuple[int, int]]], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the map of the patches."""
    numbers: dict[frozenset[tuple[int, int]], int] = {}
    labels = np.full(shape, -1, np.int64)
    for pixel in sorted(patches):
        labels[pixel] = numbers.setdefault(patches[pixel], len(numbers))
    return labels
