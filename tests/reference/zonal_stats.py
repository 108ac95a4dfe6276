"""What is known about regions, computed from the whole arrays at once, region by region, in float64."""

from typing import NamedTuple

import numpy as np


class Direct(NamedTuple):
    """One row for each region from 1; the bands or indices are columns."""

    pixels: np.ndarray
    area: np.ndarray
    perimeter: np.ndarray
    compactness: np.ndarray
    indices: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray


def direct_attributes(regions, pixels, indices, size):
    """Return the attributes of (y, x) regions on (band, y, x) pixels and (index, y, x) indices; NaN = no value."""
    return Direct(*(np.array(column) for column in zip(*_rows(regions, pixels, indices, size), strict=True)))


def _rows(regions, pixels, indices, size):
    for number in range(1, regions.max() + 1):
        inside = regions == number
        values = pixels[:, inside].astype(np.float64)
        area = (inside * _each(size.area)).sum()
        perimeter = _perimeter(inside, size)
        known = [layer[inside & ~np.isnan(layer)].astype(np.float64) for layer in indices]
        yield (
            inside.sum(),
            area,
            perimeter,
            16 * area / perimeter**2,
            [one.mean() if len(one) else np.nan for one in known],
            values.mean(axis=1),
            values.std(axis=1),
            values.min(axis=1),
            values.max(axis=1),
        )


def _perimeter(inside, size):
    framed = np.pad(inside, 1)
    horizontal = (framed[1:, 1:-1] != framed[:-1, 1:-1]) * _each(size.width)
    vertical = (framed[1:-1, 1:] != framed[1:-1, :-1]) * _each(size.height)
    return horizontal.sum() + vertical.sum()


def _each(sizes):
    """Return the sizes of rows, or of each pixel, fit for whole rows."""
    return sizes if sizes.ndim == 2 else sizes[:, None]
