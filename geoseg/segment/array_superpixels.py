"""Superpixels of arrays with nodata: `felzenszwalb` and `slic` as in scikit-image, for any number of bands."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoseg.errors import ConfigError, RasterError
from geoseg.segment.superpixels import SuperpixelParameters, slic_labels, superpixels

_PERCENTILES = (1.0, 99.0)  # that the stretch maps to 0 and 1; minimum and maximum would depend on outliers
_MARGIN = 0.5  # of the stretch; values further outside are clipped
_MAX_PIXELS = 1 << 30  # edges are numbered in int32, two per pixel


def felzenszwalb(
    image: ArrayLike,
    *,
    valid: ArrayLike | None = None,
    scale: float = 32.0,
    sigma: float = 0.5,
    min_size: int = 64,
) -> NDArray[np.int64]:
    """Return superpixels by the method of Felzenszwalb and Huttenlocher (2004).

    Each band is stretched first, so that values may have any range: the 1st and 99th percentiles of its valid pixels
    become 0 and 1, and values beyond −0.5 and 1.5 are clipped. `scale` therefore has the same effect on uint8,
    on uint16 and on reflectances. The defaults are those of the 2019 variant of Kanezaki's method.

    Parameters
    ----------
    image : (band, y, x) array of integers or floats
        A masked array as of rasterio's ``read(masked=True)`` is accepted: pixels masked in any band are nodata.
    valid : (y, x) array of bool, optional
        True = data; numbers other than 0 count as True, as in rasterio's dataset masks. None = all pixels. Pixels with
        NaN or infinity in any band are always nodata.
    scale : float
        Larger values give larger superpixels; in units of 1/255 of the stretch, as in scikit-image for images from
        0 to 1.
    sigma : float
        Standard deviation in pixels of the Gaussian that smooths the bands first; 0 = no smoothing. Values of nodata
        pixels are not used.
    min_size : int
        Smaller superpixels are joined with a neighbour; only areas surrounded by nodata may be smaller.

    Returns
    -------
    (y, x) int64
        Superpixels from 1 in the order of their first pixels, each connected through pixel sides; 0 = nodata.

    Raises
    ------
    RasterError
        If `image` is not a numeric (band, y, x) array, or `valid` has another shape.
    ConfigError
        If a parameter is out of range.

    See Also
    --------
    skimage.segmentation.felzenszwalb : For (y, x, band) images from 0 to 1 without nodata.

    Examples
    --------
    >>> image = np.zeros((1, 4, 6), np.uint16)
    >>> image[:, :, 3:] = 2000
    >>> image[:, 0, 0] = 65535
    >>> felzenszwalb(image, valid=image[0] < 65535, sigma=0, min_size=1)
    array([[0, 1, 1, 2, 2, 2],
           [1, 1, 1, 2, 2, 2],
           [1, 1, 1, 2, 2, 2],
           [1, 1, 1, 2, 2, 2]])
    """
    _check_at_least("scale", scale, 0)
    _check_at_least("sigma", sigma, 0)
    _check_at_least("min_size", min_size, 1)
    bands, data = _bands_and_data(image, valid)
    parameters = SuperpixelParameters("felzenszwalb", scale=scale, sigma=sigma, min_size=min_size)
    return _in_reading_order(superpixels(bands, data, parameters))


def slic(
    image: ArrayLike,
    *,
    valid: ArrayLike | None = None,
    n_segments: int = 10_000,
    compactness: float = 100.0,
) -> NDArray[np.int64]:
    """Return superpixels by simple linear iterative clustering (SLIC; Achanta et al. 2012).

    Each band is stretched as in `felzenszwalb`. The defaults are those of Kanezaki (2018), for images of about
    480 × 320 pixels.

    Parameters
    ----------
    image : (band, y, x) array of integers or floats
        As in `felzenszwalb`.
    valid : (y, x) array of bool, optional
        As in `felzenszwalb`.
    n_segments : int
        Approximate number of superpixels. Superpixels that nodata divides are counted several times.
    compactness : float
        Weight of position against colour: larger values give squarer superpixels. The scale is that of images in
        CIELAB; the stretch from 0 to 1 counts as 100 units of it.

    Returns
    -------
    (y, x) int64
        Superpixels from 1 in the order of their first pixels, each connected through pixel sides; 0 = nodata.

    Raises
    ------
    RasterError
        If `image` is not a numeric (band, y, x) array, or `valid` has another shape.
    ConfigError
        If a parameter is out of range.

    See Also
    --------
    skimage.segmentation.slic : For (y, x, band) images without nodata.

    Examples
    --------
    >>> image = np.zeros((1, 4, 8))
    >>> image[:, :, 4:] = 0.3
    >>> image[:, 0, 0] = np.nan
    >>> slic(image, n_segments=2)
    array([[0, 1, 1, 1, 2, 2, 2, 2],
           [1, 1, 1, 1, 2, 2, 2, 2],
           [1, 1, 1, 1, 2, 2, 2, 2],
           [1, 1, 1, 1, 2, 2, 2, 2]])
    """
    _check_at_least("n_segments", n_segments, 1)
    _check_at_least("compactness", compactness, 1e-6)
    bands, data = _bands_and_data(image, valid)
    if not data.any():
        return np.zeros(data.shape, np.int64)
    step = max(1, round(math.sqrt(data.sum() / n_segments)))
    return _in_reading_order(slic_labels(bands, data, step, compactness))


def _check_at_least(name: str, value: float, least: float) -> None:
    try:
        in_range = math.isfinite(value) and value >= least
    except TypeError:
        in_range = False
    if not in_range:
        raise ConfigError(f"{name} is {value!r}; it must be a finite number of at least {least:g}. Change {name}.")


def _bands_and_data(image: ArrayLike, valid: ArrayLike | None) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the stretched bands, 0 = nodata, and the valid pixels (y, x) bool, True = data."""
    pixels: np.ma.MaskedArray[Any, Any] = np.ma.asarray(image)
    values: NDArray[Any] = np.ma.getdata(pixels)
    if values.dtype.kind not in "iuf":
        raise RasterError(
            f"image has dtype {values.dtype}; expected integers or floats. Convert it, as in image.astype('float32')."
        )
    if values.ndim != 3 or 0 in values.shape or values[0].size >= _MAX_PIXELS:
        raise RasterError(
            f"image has shape {values.shape}; expected (band, y, x) with at least 1 and less than 2^30 pixels. Use "
            f"image[None] for a single band, np.moveaxis(image, -1, 0) for (y, x, band)."
        )
    data = ~np.ma.getmaskarray(pixels).any(axis=0) & np.isfinite(values).all(axis=0)
    if valid is not None:
        mask = np.asarray(valid)
        if mask.shape != data.shape:
            raise RasterError(
                f"valid has shape {mask.shape}; expected {data.shape}, as image has shape {values.shape}. Give one "
                f"value per pixel."
            )
        data &= mask.astype(bool)
    return np.stack([_stretched(band, data) for band in values]), data


def _stretched(band: NDArray[Any], data: NDArray[np.bool_]) -> NDArray[np.float32]:
    stretched = np.zeros(band.shape, np.float32)
    if data.any():
        values = band[data].astype(np.float64)
        low, high = np.percentile(values, _PERCENTILES)
        if low == high:  # nearly all values are equal, and the few others must not be lost
            low, high = values.min(), values.max()
        scaled = (values - low) / (high - low or 1.0)
        stretched[data] = np.clip(scaled, -_MARGIN, 1 + _MARGIN)
    return stretched


def _in_reading_order(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return labels from 0 without gaps, −1 = nodata, as labels from 1 in the order of their first pixels."""
    flat = labels.ravel()
    n = int(flat.max(initial=-1)) + 1
    first = np.empty(n + 1, np.int64)
    first[flat[::-1]] = np.arange(flat.size)[::-1]  # of repeated indices the last one counts, so the first pixel
    number = np.zeros(n + 1, np.int64)  # the last entry is that of −1, nodata
    number[np.argsort(first[:n])] = np.arange(1, n + 1)
    return np.asarray(number[labels])
