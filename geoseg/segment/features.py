"""Features of pixels and superpixels: stretched bands, colour contrasts, texture, moments.

The texture of a pixel depends only on the pixels within `REACH`; all other features depend on the pixel alone. A window
that is read with a margin of `REACH` therefore has the same features as the whole scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.compiled import compiled
from geoseg.segment.gaussian import gaussian_filter

TEXTURE_SIGMAS = (1.0, 2.0, 4.0)  # px; fine, medium and coarse texture
_TRUNCATE = 3.0  # standard deviations at which the Gaussian filters end
REACH = round(_TRUNCATE * TEXTURE_SIGMAS[-1])  # px
# Weights of the features of superpixels, chosen by the experiments described in docs/.
_CHROMA_WEIGHT = 2.9  # of differences between bands relative to lightness; illumination changes lightness most
_LIGHTNESS_POWER = 0.7  # compresses the mean of the bands; CIELAB uses 1/3, linear is 1
_VARIATION_WEIGHT = 0.3  # of the root of the standard deviation of brightness, relative to lightness
_MIN_BLURRED_WEIGHT = 1e-6  # share of valid pixels under a Gaussian; avoids 0 / 0


@dataclass(frozen=True)
class Stretch:
    """Linear mapping of the raw values of each band to about 0 … 1, the same for the whole scene.

    Parameters
    ----------
    low, high : (band,) float
        Raw values that become 0 and 1, in the units of the raster.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def apply(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the stretched bands.

        Parameters
        ----------
        pixels : (band, y, x) float32
            Raw values.
        valid : (y, x) bool

        Returns
        -------
        (band, y, x) float32
            Clipped to -0.5 … 1.5; 0 for nodata.

        Examples
        --------
        >>> Stretch((100.0,), (300.0,)).apply(np.array([[[100, 150, 900]]], np.float32), np.ones((1, 3), bool))
        array([[[0.  , 0.25, 1.5 ]]], dtype=float32)
        """
        low = np.asarray(self.low, np.float32)[:, None, None]
        span = np.asarray(self.high, np.float32)[:, None, None] - low
        with np.errstate(over="ignore"):  # of nodata values such as -3e38 in some bands
            bands = (pixels - low) / np.where(span > 0, span, np.float32(1))
        return _with_zeros(np.clip(bands, -0.5, 1.5).astype(np.float32, copy=False), valid)


def texture(bands: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the local standard deviation of brightness at three scales.

    Parameters
    ----------
    bands : (band, y, x) float32
        Stretched.
    valid : (y, x) bool

    Returns
    -------
    (scale, y, x) float32
        Standard deviation of the mean of the bands, weighted by a Gaussian of each of `TEXTURE_SIGMAS`, in units of the
        stretch; 0 for nodata. Only valid pixels contribute.

    Examples
    --------
    >>> float(texture(np.full((3, 8, 8), 0.5, np.float32), np.ones((8, 8), bool)).max())
    0.0
    """
    brightness = np.where(valid, bands.mean(axis=0), 0)
    layers = []
    for sigma in TEXTURE_SIGMAS:
        weight: NDArray[np.float32] | np.float32 = np.float32(1)
        if not valid.all():
            weight = np.maximum(_blur(valid.astype(np.float32), sigma), _MIN_BLURRED_WEIGHT)
        mean = _blur(brightness, sigma) / weight
        square = _blur(brightness * brightness, sigma) / weight
        layers.append(np.sqrt(np.maximum(square - mean * mean, 0)))
    return _with_zeros(np.stack(layers), valid)


def _blur(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return gaussian_filter(image, sigma, truncate=_TRUNCATE, mode="nearest")


def contrasts(bands: NDArray[Any], *, axis: int = 0) -> NDArray[Any]:
    """Return lightness and opponent colour contrasts, for any number of bands.

    Parameters
    ----------
    bands : array of float
        Stretched values of the bands along `axis`.
    axis : int

    Returns
    -------
    array of float, shape and dtype of `bands`
        Along `axis`: the mean of the bands to the power of 0.7, then 2.9 times the difference between the mean of the
        first k bands and band k + 1, for each k from 1 (Helmert contrasts). Red, green and blue give lightness,
        red − green and yellow − blue.

    Examples
    --------
    >>> contrasts(np.array([0.9, 0.5, 0.1])).round(2)
    array([0.62, 1.16, 1.74])
    """
    layers = np.moveaxis(bands, axis, 0)
    if layers.dtype == np.float32 and layers.ndim == 3 and layers.flags.c_contiguous:
        lightness = np.maximum(layers.mean(axis=0), 0) ** _LIGHTNESS_POWER
        mixed = np.empty_like(layers)
        mixed[0] = lightness
        _opponent_contrasts(layers, mixed)
        return np.moveaxis(mixed, 0, axis)
    counts = np.arange(1, len(layers), dtype=layers.dtype).reshape(-1, *[1] * (layers.ndim - 1))
    before = np.cumsum(layers, axis=0)[:-1] / counts
    lightness = np.maximum(layers.mean(axis=0, keepdims=True), 0) ** _LIGHTNESS_POWER
    mixed = np.concatenate([lightness, _CHROMA_WEIGHT * (before - layers[1:])])
    return np.moveaxis(mixed, 0, axis)


@compiled(nogil=True)
def _opponent_contrasts(layers, mixed):  # type: ignore[no-untyped-def]
    """Write the contrasts of float32 layers from the second on; the sums are those of `np.cumsum`, in one pass."""
    n_layers, height, width = layers.shape
    weight = np.float32(_CHROMA_WEIGHT)
    total = np.empty(width, np.float32)
    for y in range(height):
        total[:] = 0
        for k in range(1, n_layers):
            count = np.float32(k)
            for x in range(width):
                total[x] += layers[k - 1, y, x]
                mixed[k, y, x] = weight * (total[x] / count - layers[k, y, x])


def pixel_moments(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the moments of each pixel: its bands and its squared brightness.

    Parameters
    ----------
    bands : (band, y, x) float32
        Stretched.

    Returns
    -------
    (band + 1, y, x) float32
        The bands, then the square of their mean.

    Notes
    -----
    The means of these values over a superpixel give its mean colour and its variance of brightness
    (`moment_features`). Sums of moments can be added when superpixels are merged, and unlike a texture filter they do
    not include pixels outside the superpixel.

    Examples
    --------
    >>> pixel_moments(np.array([[[0.25]], [[0.75]]], np.float32)).ravel()
    array([0.25, 0.75, 0.25], dtype=float32)
    """
    return np.concatenate([bands, bands.mean(axis=0, keepdims=True) ** 2])


def moment_features(moments: NDArray[np.float64], n_bands: int) -> NDArray[np.float64]:
    """Return the features by which mean moments are compared.

    Parameters
    ----------
    moments : (n, moment) float64
        Means of `pixel_moments` over superpixels.
    n_bands : int
        Number of moments that are bands; the other is squared brightness.

    Returns
    -------
    (n, feature) float64
        `contrasts` of the mean bands, and 0.3 times the root of the standard deviation of brightness.

    Examples
    --------
    >>> moment_features(np.array([[0.5, 0.25], [0.5, 0.29]]), n_bands=1).round(2)
    array([[0.62, 0.  ],
           [0.62, 0.13]])
    """
    colour = contrasts(moments[:, :n_bands], axis=1)
    variance = np.maximum(moments[:, n_bands:] - moments[:, :n_bands].mean(axis=1, keepdims=True) ** 2, 0)
    return np.concatenate([colour, _VARIATION_WEIGHT * variance**0.25], axis=1)


def network_input(
    bands: NDArray[np.float32], valid: NDArray[np.bool_], inputs: Literal["bands", "bands+texture"]
) -> NDArray[np.float32]:
    """Return the input channels of the network before standardisation.

    Parameters
    ----------
    bands : (band, y, x) float32
        Stretched.
    valid : (y, x) bool
    inputs : {"bands", "bands+texture"}
        "bands" = the stretched bands; "bands+texture" = their `contrasts` and the roots of `texture`.

    Returns
    -------
    (channel, y, x) float32
        0 for nodata.

    Examples
    --------
    >>> bands, valid = np.zeros((3, 8, 8), np.float32), np.ones((8, 8), bool)
    >>> network_input(bands, valid, "bands").shape, network_input(bands, valid, "bands+texture").shape
    ((3, 8, 8), (6, 8, 8))
    """
    if inputs == "bands":
        return bands
    return _with_zeros(np.concatenate([contrasts(bands), np.sqrt(texture(bands, valid))]), valid)


@dataclass(frozen=True)
class Standardizer:
    """Shift and scale that give each channel mean 0 and standard deviation 1 over the sample of the scene.

    Parameters
    ----------
    mean, deviation : (channel,) float
        Mean and standard deviation of the sample.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def apply(self, layers: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the standardised channels.

        Parameters
        ----------
        layers : (channel, y, x) float32
        valid : (y, x) bool

        Returns
        -------
        (channel, y, x) float32
            0 for nodata.

        Examples
        --------
        >>> Standardizer((2.0,), (0.5,)).apply(np.array([[[2, 3]]], np.float32), np.ones((1, 2), bool))
        array([[[0., 2.]]], dtype=float32)
        """
        mean = np.asarray(self.mean, np.float32)[:, None, None]
        deviation = np.asarray(self.deviation, np.float32)[:, None, None]
        return _with_zeros((layers - mean) / deviation, valid)


def _with_zeros(layers: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Set nodata pixels to 0 in place and return the layers."""
    if not valid.all():
        layers[:, ~valid] = 0
    return layers
