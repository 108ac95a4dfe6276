"""Which pixels are valid: one rule for all data types.

In each band a pixel has data or not, by the nodata value or the mask of the band. A pixel is valid where any band has
data (``nodata_mode: all``: nodata in all bands makes it nodata), as in rasterio's `dataset_mask`; or only where every
band has data (``any``). Three things make a pixel nodata in both modes: a value that is NaN or infinite in any band, an
alpha of 0, and a place outside the area of interest.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import NodataShadowWarning

from geoseg.raster.ignored_warnings import ignored_warnings

NodataMode = Literal["all", "any"]


def valid_pixels(has_data: NDArray[np.bool_], mode: NodataMode) -> NDArray[np.bool_]:
    """Return which pixels are valid, (y, x) bool, from where each band has data.

    Parameters
    ----------
    has_data : (band, y, x) bool
        False = nodata in that band.
    mode : {"all", "any"}
        Whether nodata in all bands or in any band makes a pixel nodata.

    Examples
    --------
    >>> has_data = np.array([[[True, True, False]], [[True, False, False]]])
    >>> valid_pixels(has_data, "all"), valid_pixels(has_data, "any")
    (array([[ True,  True, False]]), array([[ True, False, False]]))
    """
    if not any(has_data.strides):  # one value, broadcast
        return np.full(has_data.shape[1:], has_data.flat[0])
    return np.asarray(has_data.any(axis=0) if mode == "all" else has_data.all(axis=0))


def finite_and_valid(pixels: NDArray[np.float32], known: NDArray[np.bool_], mode: NodataMode) -> NDArray[np.bool_]:
    """Return which pixels are valid, (y, x) bool: those of `valid_pixels` that are finite in all bands."""
    valid = valid_pixels(known, mode)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = pixels.sum(axis=0)
    if not np.isfinite(sums).all():  # some value is not finite, or their sum is not
        valid = valid & np.isfinite(pixels).all(axis=0)
    return valid


def has_data(
    handle: Any, bands: tuple[int, ...], part: Any, pixels: NDArray[Any], *, alpha: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Return where the bands of an open rasterio dataset have data, (band, y, x) bool; it may be read-only.

    Parameters
    ----------
    handle : rasterio dataset
    bands : tuple of int
        From 1.
    part : rasterio window
    pixels : (band, y, x)
        The values of the bands in the window, in any data type that holds them exactly.
    alpha : tuple of int
        Bands that are 0 where no band has data. Other bands that are flagged as alpha are not used.
    """
    flags = handle.mask_flag_enums  # of all bands, asked once: with hundreds of bands each time takes long
    masked = [i for i, band in enumerate(bands) if _has_mask(flags[band - 1])]
    found = np.broadcast_to(np.True_, pixels.shape)
    if masked:
        found = found.copy()
        values = handle.nodatavals
        by_value = [i for i in masked if MaskFlags.nodata in flags[bands[i] - 1] and _is_exact(handle, bands[i])]
        for i in by_value:  # many times faster than the masks of GDAL
            np.not_equal(pixels[i], values[bands[i] - 1], out=found[i])
        others = [i for i in masked if i not in by_value]
        if others:
            with ignored_warnings(NodataShadowWarning):  # alpha is applied below
                found[others] = handle.read_masks([bands[i] for i in others], window=part) > 0
    for band in alpha:
        found = found & (handle.read(band, window=part) > 0)
    return found


def percent(share: float) -> str:
    """Return a share as whole percents.

    Examples
    --------
    >>> percent(0.316), percent(0.004)
    ('32%', 'less than 1 %')
    """
    return f"{share:.0%}" if share >= 0.01 else "less than 1 %"


def _has_mask(flags: list[MaskFlags]) -> bool:
    """Return whether a band has a nodata value or a mask; one that GDAL derives from an alpha band does not count."""
    return MaskFlags.all_valid not in flags and MaskFlags.alpha not in flags


def _is_exact(handle: Any, band: int) -> bool:
    """Return whether values of a band are compared exactly with nodata: as float32, and without GDAL's tolerance."""
    return handle.dtypes[band - 1] in ("uint8", "int8", "uint16", "int16")
