"""Channels: what the network and the classes look at instead of the raw bands.

Every channel of a pixel depends on the pixels within `REACH` alone, so a window that is read with that margin has the
same channels as the whole scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TEXTURE_SIGMAS = (1.0, 2.0, 4.0)  # px; fine, middle and coarse texture
_TRUNCATE = 3.0
_CHROMA = 2.9  # how much a difference between bands counts against one of brightness; light and shade are no ground
_LIGHTNESS = 0.7  # power that makes steps of brightness look equal, between 1 and the cube root of CIELAB
_VARIATION = 0.3  # how much the root of a patch's deviation counts against lightness
REACH = round(_TRUNCATE * TEXTURE_SIGMAS[-1])


@dataclass(frozen=True)
class Stretch:
    """What maps the raw values of each band to about 0 … 1, the same for the whole scene.

    Parameters
    ----------
    low, high : (band,) float, in the raster's own units
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def apply(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Stretch raw (band, y, x) pixels; values far outside are held at -0.5 and 1.5, no data becomes 0."""
        low = np.asarray(self.low, np.float32)[:, None, None]
        span = np.asarray(self.high, np.float32)[:, None, None] - low
        bands = (pixels - low) / np.where(span > 0, span, np.float32(1))
        return _with_zeros(np.clip(bands, -0.5, 1.5).astype(np.float32, copy=False), valid)


def texture(bands: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return how much brightness varies around each pixel, at three scales.

    Parameters
    ----------
    bands : (band, y, x) float32, stretched
    valid : (y, x) bool

    Returns
    -------
    (scale, y, x) float32, standard deviation of the bands' mean under a Gaussian, in units of the stretch
    """
    brightness = np.where(valid, bands.mean(axis=0), 0)
    layers = []
    for sigma in TEXTURE_SIGMAS:
        weight = np.maximum(_blur(valid.astype(np.float32), sigma), 1e-6) if not valid.all() else np.float32(1)
        mean = _blur(brightness, sigma) / weight
        square = _blur(brightness * brightness, sigma) / weight
        layers.append(np.sqrt(np.maximum(square - mean * mean, 0)))
    return _with_zeros(np.stack(layers), valid)


def _blur(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(image, sigma, truncate=_TRUNCATE, mode="nearest")
    return blurred


def contrasts(bands: NDArray[Any], *, axis: int = 0) -> NDArray[Any]:
    """Return lightness and the differences between the bands, for any number of bands.

    Red, green and blue become a power of their mean, red − green, and yellow − blue: what eyes compare too. Each
    further band is set against the mean of those before it (Helmert contrasts).

    Examples
    --------
    >>> contrasts(np.array([0.9, 0.5, 0.1])).round(2)
    array([0.62, 1.16, 1.74])
    """
    layers = np.moveaxis(bands, axis, 0)
    counts = np.arange(1, len(layers), dtype=layers.dtype).reshape(-1, *[1] * (layers.ndim - 1))
    before = np.cumsum(layers, axis=0)[:-1] / counts
    lightness = np.maximum(layers.mean(axis=0, keepdims=True), 0) ** _LIGHTNESS
    mixed = np.concatenate([lightness, _CHROMA * (before - layers[1:])])
    return np.moveaxis(mixed, 0, axis)


def moments(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (look, y, x) float32 whose means tell what ground looks like: the bands, and brightness squared.

    Parameters
    ----------
    bands : (band, y, x) float32, stretched

    Notes
    -----
    The mean of a square tells, beside the mean, how much brightness varies inside a patch (`moment_features`), and it
    adds up over patches. Unlike a texture around each pixel it does not see over the edge of the patch.
    """
    return np.concatenate([bands, bands.mean(axis=0, keepdims=True) ** 2])


def moment_features(moments: NDArray[np.float64], n_bands: int) -> NDArray[np.float64]:
    """Return what mean looks (n, look) are compared by: (n, feature) brightness and colour, variation of brightness.

    Examples
    --------
    >>> moment_features(np.array([[0.5, 0.25], [0.5, 0.29]]), n_bands=1).round(2)
    array([[0.62, 0.  ],
           [0.62, 0.13]])
    """
    colour = contrasts(moments[:, :n_bands], axis=1)
    variance = np.maximum(moments[:, n_bands:] - moments[:, :n_bands].mean(axis=1, keepdims=True) ** 2, 0)
    return np.concatenate([colour, _VARIATION * variance**0.25], axis=1)


def network_input(
    bands: NDArray[np.float32], valid: NDArray[np.bool_], inputs: Literal["bands", "bands+texture"]
) -> NDArray[np.float32]:
    """Return the (channel, y, x) float32 that the network is given, before `Standard`; no data is 0.

    Parameters
    ----------
    bands : (band, y, x) float32, stretched
    inputs : "bands" = the stretched bands as they are
    """
    if inputs == "bands":
        return bands
    return _with_zeros(np.concatenate([contrasts(bands), np.sqrt(texture(bands, valid))]), valid)


@dataclass(frozen=True)
class Standard:
    """What gives each channel mean 0 and deviation 1 over the sample of the scene.

    Parameters
    ----------
    mean, deviation : (channel,) float
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def apply(self, layers: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Standardise (channel, y, x) layers; no data becomes 0."""
        mean = np.asarray(self.mean, np.float32)[:, None, None]
        deviation = np.asarray(self.deviation, np.float32)[:, None, None]
        return _with_zeros((layers - mean) / deviation, valid)


def _with_zeros(layers: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the layers with 0 where there is no data; in place."""
    if not valid.all():
        layers[:, ~valid] = 0
    return layers
