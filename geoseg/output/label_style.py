"""How labels of any program look: in their own palette, in the colours of the ground, or in colours of their number."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from skimage.color import hsv2rgb

from geoseg.output.style import MAX_CATEGORIES, Legend, distinct
from geoseg.segment.splitmix import INCREMENT, mix64

_REACH = 2.0  # deviations on each side of the mean; a stretch to the very ends would be one of the outliers
_GREY = 128


def label_legend(
    values: NDArray[np.int64],
    colours: NDArray[np.uint8],
    pixels: NDArray[np.int64],
    *,
    palette: Mapping[int, tuple[int, int, int]],
    names: Mapping[int, str],
) -> Legend:
    """Say what each label looks like and is called.

    Parameters
    ----------
    values : (label,) int64
    colours : (label, 3) uint8, moved apart where there are few enough for a legend
    pixels : (label,) int64
    palette : label → its own colour, which is kept as it is
    names : label → what it is called, where it has a name
    """
    few = len(values) <= MAX_CATEGORIES
    chosen = distinct(colours) if few and not palette else colours.copy()
    if palette:
        for i, value in enumerate(values.tolist()):
            chosen[i] = palette.get(value, chosen[i])
    if not few:  # no legend, so no names
        return Legend(chosen, ("",) * len(values), values)
    shares = 100 * pixels / max(int(pixels.sum()), 1)
    told = (
        f"{names.get(value, f'class {value}')} ({share:.1f} %)"
        for value, share in zip(values.tolist(), shares.tolist(), strict=True)
    )
    return Legend(chosen, tuple(told), values)


def ground_colours(
    means: NDArray[np.float64], pixels: NDArray[np.int64], spread: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Return mean values as colours, in one stretch for all; grey where there is no value.

    Parameters
    ----------
    means : (label, 3) float64, red green blue; NaN where there are no pixels
    pixels : (label,) int64, those with a value
    spread : (3,) float64, standard deviation of all of these pixels
    """
    known = pixels > 0
    if not known.any():
        return np.full(means.shape, _GREY, np.uint8)
    middle = np.average(means[known], axis=0, weights=pixels[known])
    low, high = middle - _REACH * spread, middle + _REACH * spread
    scaled = (means - low) / np.where(high > low, high - low, np.inf)
    scaled = np.where(known[:, None] & (high > low), scaled, _GREY / 255)
    return np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def hashed_colours(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return a colour for each label that depends on its number alone, (label, 3) uint8.

    Examples
    --------
    >>> hashed_colours(np.array([7, 8])).tolist() == hashed_colours(np.array([8, 7])).tolist()[::-1]
    True
    """
    mixed = mix64(values.astype(np.uint64) + np.uint64(INCREMENT))  # consecutive numbers get unrelated colours
    parts = (mixed[:, None] >> np.array([0, 16, 32], np.uint64)) & np.uint64(0xFFFF)
    hue, saturation, value = (parts / 0xFFFF).T
    hsv = np.stack([hue, 0.35 + 0.45 * saturation, 0.55 + 0.4 * value], axis=1)
    return np.rint(hsv2rgb(hsv) * 255).astype(np.uint8)
