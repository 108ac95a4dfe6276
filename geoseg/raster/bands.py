"""What the bands of a raster show: natural colours, and the bands of the vegetation index NDVI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geoseg.errors import RasterError

# Names of red and near infrared that occur together, in lower case. B04 and B08 are Sentinel-2's; numbers without the
# zero, as Landsat's, mean another band on another satellite.
_RED_AND_NIR = (
    ("red", ("nir", "near infrared", "near-infrared", "near_infrared")),
    ("b04", ("b08",)),
)


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
    """

    numbers: tuple[int, ...]
    names: tuple[str, ...]
    colours: tuple[ColorInterp, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]


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


def natural_colours(bands: BandDescriptions) -> tuple[int, int, int]:
    """Return the positions of the red, green and blue bands.

    Bands are found by name, then by colour interpretation. Where one of the three is unknown, the first three bands
    are returned; the last band is repeated where there are fewer.
    """
    found = [
        _position(bands, (name,), colour)
        for name, colour in (("red", ColorInterp.red), ("green", ColorInterp.green), ("blue", ColorInterp.blue))
    ]
    if None not in found:
        return found[0], found[1], found[2]  # type: ignore[return-value] # None was just excluded
    last = len(bands.numbers) - 1
    return (0, 1, 2) if last >= 2 else (0, min(1, last), last)


def vegetation_bands(
    bands: BandDescriptions, source: str, *, red: int | None = None, nir: int | None = None
) -> VegetationBands | None:
    """Return the positions of red and near infrared, or None where they are unknown.

    Parameters
    ----------
    bands : BandDescriptions
    source : str
        Name of the raster, for the error message.
    red, nir : int or None
        Band numbers from 1. None = by name or colour interpretation.

    Raises
    ------
    RasterError
        If a given band is not in use, or only one of the two is known.
    """
    given = [_given_position(bands, red, "red"), _given_position(bands, nir, "nir")]
    for red_name, nir_names in _RED_AND_NIR:
        pair = (
            _position(bands, (red_name,), ColorInterp.red) if given[0] is None else given[0],
            _position(bands, nir_names, ColorInterp.nir) if given[1] is None else given[1],
        )
        if pair[0] is not None and pair[1] is not None and pair[0] != pair[1]:
            scales, offsets = ((values[pair[0]], values[pair[1]]) for values in (bands.scales, bands.offsets))
            return VegetationBands(pair[0], pair[1], scales, offsets)
    if given != [None, None]:
        known, missing = ("red", "nir") if given[1] is None else ("nir", "red")
        raise RasterError(
            f"NDVI needs two bands, and {source} does not name its {missing} band ({known} is band "
            f"{red if known == 'red' else nir}); give --{missing} too."
        )
    return None


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


def _given_position(bands: BandDescriptions, number: int | None, option: str) -> int | None:
    if number is None:
        return None
    if number not in bands.numbers:
        used = ", ".join(str(band) for band in bands.numbers)
        raise RasterError(f"--{option} {number} is not one of the bands in use ({used}); give one of them.")
    return bands.numbers.index(number)


def _position(bands: BandDescriptions, names: Sequence[str], colour: ColorInterp) -> int | None:
    """Return the first position of a band with one of these names, else of one with this colour, else None."""
    named = [i for i, name in enumerate(bands.names) if name.lower() in names]
    coloured = [i for i, each in enumerate(bands.colours) if each == colour]
    return next(iter(named + coloured), None)
