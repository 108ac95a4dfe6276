"""The segmentation of Felzenszwalb and Huttenlocher with sets of pixels, joined one edge at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVEL = 1 / 4096  # edges that differ by less count as equal


def felzenszwalb(bands: NDArray[np.float32], valid: NDArray[np.bool_], *, k: float, min_size: int) -> NDArray[np.int64]:
    """Return the superpixels of an image, numbered by their first pixels in reading order; -1 = nodata."""
    edges = sorted(edges_of(bands, valid), key=lambda edge: int(edge[0] / LEVEL))  # stable: ties in reading order
    segments = {(y, x): frozenset([(y, x)]) for y, x in np.argwhere(valid).tolist()}
    threshold = {segment: np.float32(k) for segment in segments.values()}  # Int(C) + k / |C|; a single pixel has Int 0
    for weight, p, q in edges:
        a, b = segments[p], segments[q]
        if a != b and weight <= min(threshold[a], threshold[b]):
            joined = join(segments, a, b)
            threshold[joined] = np.float32(weight + k / len(joined))
    for _, p, q in edges:
        a, b = segments[p], segments[q]
        if a != b and min(len(a), len(b)) < min_size:
            join(segments, a, b)
    return label_image(segments, valid.shape)


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
    segments: dict[tuple[int, int], frozenset[tuple[int, int]]],
    a: frozenset[tuple[int, int]],
    b: frozenset[tuple[int, int]],
) -> frozenset[tuple[int, int]]:
    """Join two segments."""
    joined = a | b
    for pixel in joined:
        segments[pixel] = joined
    return joined


def label_image(
    segments: dict[tuple[int, int], frozenset[tuple[int, int]]], shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return the segments as (y, x) labels."""
    numbers: dict[frozenset[tuple[int, int]], int] = {}
    labels = np.full(shape, -1, np.int64)
    for pixel in sorted(segments):
        labels[pixel] = numbers.setdefault(segments[pixel], len(numbers))
    return labels
