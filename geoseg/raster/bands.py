"""What is known of the bands of a raster, and the vegetation index NDVI of two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp


@dataclass(frozen=True)
class BandDescriptions:
    """Metadata of the bands in use, one entry per band.

    Parameters
    ----------
    numbers : tuple of int
        Band numbers in the raster, from 1.
    names : tuple of str
        Band descriptions; "" where the raster has none.
    colours : tuple of ColorInterp
    scales, offsets : tuple of float
        A measurement is value · scale + offset.
    wavelengths : tuple of float or None
        Central wavelengths in nm; None = unknown.
    n_bands : int
        Number of all bands of the raster but alpha.
    """

    numbers: tuple[int, ...]
    names: tuple[str, ...]
    colours: tuple[ColorInterp, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    wavelengths: tuple[float | None, ...]
    n_bands: int


class VegetationBands(NamedTuple):
    """The bands that NDVI is computed from.

    Parameters
    ----------
    red, nir : int
        Positions among the bands in use, from 0.
    scales, offsets : (red, nir) float
        A measurement is value · scale + offset.
    """

    red: int
    nir: int
    scales: tuple[float, float] = (1.0, 1.0)
    offsets: tuple[float, float] = (0.0, 0.0)


def ndvi(pixels: NDArray[np.float32], bands: VegetationBands) -> NDArray[np.float32]:
    """Return (nir − red) / (nir + red) of each pixel, from −1 to 1.

    Parameters
    ----------
    pixels : (band, y, x) float32
        Values as stored in the raster.
    bands : VegetationBands

    Returns
    -------
    (y, x) float32
        NaN where the sum of the two is not above 0, as in black pixels. Values beyond −1 or 1, which come from
        negative reflectances after atmospheric correction, are clipped.

    Examples
    --------
    >>> ndvi(np.array([[[1, 0, 3]], [[3, 0, 1]]], np.float32), VegetationBands(red=0, nir=1))
    array([[ 0.5,  nan, -0.5]], dtype=float32)
    """
    red, nir = (
        pixels[band].astype(np.float64) * scale + offset
        for band, scale, offset in zip((bands.red, bands.nir), bands.scales, bands.offsets, strict=True)
    )
    total = red + nir
    with np.errstate(divide="ignore", invalid="ignore"):
        index = np.where(total > 0, (nir - red) / total, np.nan)
    return np.clip(index, -1, 1).astype(np.float32)
