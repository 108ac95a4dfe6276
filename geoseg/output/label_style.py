"""Colours and legends of existing label rasters: from their palette, from band means, or from the label number."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from skimage.color import hsv2rgb

from geoseg.output.display import display_colors
from geoseg.output.style import MAX_CATEGORIES, Legend, separate_colors
from geoseg.segment.splitmix import INCREMENT, mix64

_STRETCH = 2.0  # standard deviations on each side of the mean; minimum and maximum would depend on outliers
_GREY = 128


def label_legend(
    values: NDArray[np.int64],
    colors: NDArray[np.uint8],
    pixels: NDArray[np.int64],
    *,
    palette: Mapping[int, tuple[int, int, int]],
    names: Mapping[int, str],
) -> Legend:
    """Return the legend of the labels of a raster.

    Parameters
    ----------
    values : (label,) int64
    colors : (label, 3) uint8
        Used for labels without a colour in the palette. Without a palette, similar colours are separated if there are
        at most `MAX_CATEGORIES` labels.
    pixels : (label,) int64
        Number of pixels.
    palette : dict of int to (int, int, int)
        Label → its own colour, used unchanged; may be empty.
    names : dict of int to str
        Label → name; labels without a name are called `class n`.

    Returns
    -------
    Legend
        Without names if there are more than `MAX_CATEGORIES` labels.
    """
    has_names = len(values) <= MAX_CATEGORIES
    final = separate_colors(colors) if has_names and not palette else colors.copy()
    if palette:
        for i, value in enumerate(values.tolist()):
            final[i] = palette.get(value, final[i])
    if not has_names:
        return Legend(final, ("",) * len(values), values)
    shares = 100 * pixels / max(int(pixels.sum()), 1)
    labels = (
        f"{names.get(value, f'class {value}')} ({share:.1f} %)"
        for value, share in zip(values.tolist(), shares.tolist(), strict=True)
    )
    return Legend(final, tuple(labels), values)


def mean_colors(
    means: NDArray[np.float64], pixels: NDArray[np.int64], spread: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Return mean values as colours, with one linear stretch for all labels.

    Parameters
    ----------
    means : (label, 3) float64
        Red, green, blue; NaN for labels without valid pixels.
    pixels : (label,) int64
        Number of valid pixels.
    spread : (3,) float64
        Standardizer deviation of all valid pixels.

    Returns
    -------
    (label, 3) uint8
        Grey for labels without valid pixels and for constant bands.
    """
    has_pixels = pixels > 0
    if not has_pixels.any():
        return np.full(means.shape, _GREY, np.uint8)
    middle = np.average(means[has_pixels], axis=0, weights=pixels[has_pixels])
    low, high = middle - _STRETCH * spread, middle + _STRETCH * spread
    scaled = (means - low) / np.where(high > low, high - low, np.inf)
    scaled = np.where(has_pixels[:, None] & (high > low), scaled, _GREY / 255)
    return display_colors(scaled)


def hashed_colors(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return a colour for each label that depends on its number only.

    Parameters
    ----------
    values : (label,) int64

    Returns
    -------
    (label, 3) uint8

    Examples
    --------
    >>> hashed_colors(np.array([7, 8])).tolist() == hashed_colors(np.array([8, 7])).tolist()[::-1]
    True
    """
    mixed = mix64(values.astype(np.uint64) + np.uint64(INCREMENT))  # consecutive numbers get unrelated colours
    parts = (mixed[:, None] >> np.array([0, 16, 32], np.uint64)) & np.uint64(0xFFFF)
    hue, saturation, value = (parts / 0xFFFF).T
    hsv = np.stack([hue, 0.35 + 0.45 * saturation, 0.55 + 0.4 * value], axis=1)
    return np.rint(hsv2rgb(hsv) * 255).astype(np.uint8)
