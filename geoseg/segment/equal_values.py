"""Connected pixels of equal values, in images that have few different ones: masks, thematic rasters, water, nodata."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.compiled import compiled
from geoseg.segment.union_find import find


def is_constant(layers: NDArray[np.float32]) -> bool:
    """Return whether all pixels of layers, (layer, y, x), have the same values.

    Examples
    --------
    >>> is_constant(np.ones((2, 3, 3), np.float32)), is_constant(np.eye(3, dtype=np.float32)[None])
    (True, False)
    """
    first, last = layers[:, :1, :1], layers[:, -1:, -1:]
    if not (first == last).all():  # nearly always in a photograph
        return False
    return bool((layers == first).all())


def parts_of_equal_value(labels: NDArray[np.integer], bands: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the parts of labels whose pixels have equal values in all bands and are connected through pixel sides.

    Parameters
    ----------
    labels : (y, x) int
        Below 0 = nodata.
    bands : (band, y, x) float32

    Returns
    -------
    (y, x) int32
        From 0, in the order of their first pixels; -1 = nodata.

    Examples
    --------
    >>> bands = np.array([[[0.2, 0.2, 0.7], [0.7, 0.2, 0.7]]], np.float32)
    >>> parts_of_equal_value(np.array([[0, 0, 0], [0, 0, -1]]), bands)
    array([[ 0,  0,  1],
           [ 2,  0, -1]], dtype=int32)
    """
    return np.asarray(_parts(labels.astype(np.int32, copy=False), np.ascontiguousarray(bands)))


@compiled(nogil=True)
def _parts(labels, bands):  # type: ignore[no-untyped-def]
    n_bands, height, width = bands.shape
    parent = np.arange(height * width)  # the root of a set is its first pixel
    for y in range(height):
        for x in range(width):
            if labels[y, x] < 0:
                continue
            for up in range(2):
                y2, x2 = y - up, x - 1 + up
                if y2 < 0 or x2 < 0 or labels[y2, x2] != labels[y, x]:
                    continue
                equal = True
                for band in range(n_bands):
                    equal = equal and bands[band, y, x] == bands[band, y2, x2]
                if equal:
                    a, b = find(parent, y * width + x), find(parent, y2 * width + x2)
                    parent[max(a, b)] = min(a, b)
    parts = np.empty((height, width), np.int32)
    n = 0
    for y in range(height):
        for x in range(width):
            pixel = y * width + x
            if labels[y, x] < 0:
                parts[y, x] = -1
            elif parent[pixel] == pixel:
                parts[y, x] = n
                n += 1
            else:
                root = find(parent, pixel)  # an earlier pixel
                parts[y, x] = parts[root // width, root % width]
    return parts
