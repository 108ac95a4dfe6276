"""What the bands of a raster show: natural colours, and what the vegetation index is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geoseg.errors import RasterError

# What red and near infrared are called together, in small letters. B04 and B08 are Sentinel-2's; numbers without the
# zero, as Landsat's, mean another band on another satellite.
_RED_AND_NIR = (
    ("red", ("nir", "near infrared", "near-infrared", "near_infrared")),
    ("b04", ("b08",)),
)


class VegetationBands(NamedTuple):
    """What NDVI is computed from.

    Parameters
    ----------
    red, nir : positions in the bands that are used
    scales, offsets : of red and of nir, as the raster tells them: a measurement is value · scale + offset
    """

    red: int
    nir: int
    scales: tuple[float, float] = (1.0, 1.0)
    offsets: tuple[float, float] = (0.0, 0.0)


def natural_colours(src: Any, bands: Sequence[int], names: Sequence[str]) -> tuple[int, int, int]:
    """Return the positions in `bands` that show red, green and blue, or the first bands there are.

    Parameters
    ----------
    src : open raster
    bands : numbers from 1
    names : what each of them is called, "" where the raster does not say
    """
    found = [
        _position(src, bands, names, (word,), meaning)
        for word, meaning in (("red", ColorInterp.red), ("green", ColorInterp.green), ("blue", ColorInterp.blue))
    ]
    if None not in found:
        return found[0], found[1], found[2]  # type: ignore[return-value] # None was just excluded
    last = len(bands) - 1
    return (0, 1, 2) if last >= 2 else (0, min(1, last), last)


def vegetation_bands(
    src: Any, bands: Sequence[int], names: Sequence[str], *, red: int | None, nir: int | None
) -> VegetationBands | None:
    """Return where red and near infrared are, None where that is not known.

    Parameters
    ----------
    src, bands, names : as in `natural_colours`
    red, nir : numbers from 1 as the user told them; None = as the raster says by names or colours

    Raises
    ------
    RasterError : a band that was told is not among those that are used, or the other one is not known
    """
    told = [_told(bands, red, "red"), _told(bands, nir, "nir")]
    for red_name, nir_names in _RED_AND_NIR:
        pair = (
            _position(src, bands, names, (red_name,), ColorInterp.red) if told[0] is None else told[0],
            _position(src, bands, names, nir_names, ColorInterp.nir) if told[1] is None else told[1],
        )
        if pair[0] is not None and pair[1] is not None and pair[0] != pair[1]:
            numbers = [bands[position] for position in pair]  # type: ignore[index] # None was just excluded
            scales, offsets = (tuple(values[number - 1] for number in numbers) for values in (src.scales, src.offsets))
            return VegetationBands(pair[0], pair[1], scales, offsets)
    if told != [None, None]:
        known, missing = ("red", "nir") if told[1] is None else ("nir", "red")
        raise RasterError(
            f"NDVI needs two bands, and {src.name} does not say which one is {missing} beside {known} "
            f"{red if known == 'red' else nir}; give --{missing} too."
        )
    return None


def ndvi(pixels: NDArray[np.float32], which: VegetationBands) -> NDArray[np.float32]:
    """Return (nir − red) / (nir + red) of each pixel, from −1 to 1.

    Parameters
    ----------
    pixels : (band, y, x), in the raster's own units

    Returns
    -------
    (y, x) float32; NaN where the two do not add up to more than 0, as in black pixels. Corrections of the atmosphere
    can leave measurements below 0; what they would take beyond −1 or 1 ends there

    Examples
    --------
    >>> ndvi(np.array([[[1, 0, 3]], [[3, 0, 1]]], np.float32), VegetationBands(red=0, nir=1))
    array([[ 0.5,  nan, -0.5]], dtype=float32)
    """
    red, nir = (
        pixels[band].astype(np.float64) * scale + offset
        for band, scale, offset in zip((which.red, which.nir), which.scales, which.offsets, strict=True)
    )
    total = red + nir
    with np.errstate(divide="ignore", invalid="ignore"):
        index = np.where(total > 0, (nir - red) / total, np.nan)
    return np.clip(index, -1, 1).astype(np.float32)


def _told(bands: Sequence[int], number: int | None, option: str) -> int | None:
    if number is None:
        return None
    if number not in bands:
        used = ", ".join(str(band) for band in bands)
        raise RasterError(f"--{option} {number} is not among the bands that are used, {used}; name one of them.")
    return list(bands).index(number)


def _position(
    src: Any, bands: Sequence[int], names: Sequence[str], words: Sequence[str], meaning: ColorInterp
) -> int | None:
    """Return the first position of a band with one of these names, else of one shown in this colour, else None."""
    called = [i for i, name in enumerate(names) if name.lower() in words]
    shown = [i for i, band in enumerate(bands) if src.colorinterp[band - 1] == meaning]
    return next(iter(called + shown), None)
