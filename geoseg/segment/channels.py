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
_CHROMA = 3.0  # how much a difference between bands counts against one of brightness; light and shade are no ground
_LIGHTNESS = 0.7  # power that makes steps of brightness look equal, between 1 and the cube root of CIELAB
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
        bands = np.clip((pixels - low) / np.where(span > 0, span, 1), -0.5, 1.5)
        return np.where(valid, bands, 0).astype(np.float32)


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
    return np.where(valid, np.stack(layers), 0).astype(np.float32)


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
    array([0.62, 1.2 , 1.8 ])
    """
    layers = np.moveaxis(bands, axis, 0)
    before = np.cumsum(layers, axis=0)[:-1] / np.arange(1, len(layers)).reshape(-1, *[1] * (layers.ndim - 1))
    lightness = np.maximum(layers.mean(axis=0, keepdims=True), 0) ** _LIGHTNESS
    mixed = np.concatenate([lightness, _CHROMA * (before - layers[1:])])
    return np.moveaxis(mixed, 0, axis)


def looks(bands: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the (look, y, x) float32 by which ground is compared: stretched bands, then texture; no data is 0."""
    return np.concatenate([bands, texture(bands, valid)])


def network_input(
    looks: NDArray[np.float32], valid: NDArray[np.bool_], inputs: Literal["bands", "bands+texture"]
) -> NDArray[np.float32]:
    """Return the (channel, y, x) float32 that the network is given, before `Standard`; no data is 0.

    Parameters
    ----------
    looks : (look, y, x) float32, as `looks` gives them
    inputs : "bands" = the stretched bands as they are
    """
    n_bands = len(looks) - len(TEXTURE_SIGMAS)
    if inputs == "bands":
        return looks[:n_bands]
    layers = np.concatenate([contrasts(looks[:n_bands]), np.sqrt(looks[n_bands:])])
    return np.where(valid, layers, 0).astype(np.float32)


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
        return np.where(valid, (layers - mean) / deviation, 0).astype(np.float32)
