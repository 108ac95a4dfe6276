"""Alpha bands: which bands of a raster are transparency, and which are only flagged so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import rasterio.windows
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geoseg.grid import Window
from geoseg.raster.unreadable import GDAL_ERRORS

_NAME = "alpha"
_N_WINDOWS = 5  # per direction, of which the values of a flagged band are read
_WINDOW = 64  # px; their width and height
_MIN_VALUES = 16  # different values above 0 of a band that measures something
_MAX_SHARE = 0.5  # of the most frequent of them; in an alpha band most pixels are opaque


class AlphaBands(NamedTuple):
    """The bands that are flagged or named as alpha.

    Parameters
    ----------
    used : tuple of int
        Numbers of the alpha bands, from 1.
    mistaken : tuple of int
        Numbers of the bands that are flagged as alpha but have the values of a measurement. GDAL flags the fourth of
        four bands of bytes by default, which in aerial images is near infrared.
    """

    used: tuple[int, ...] = ()
    mistaken: tuple[int, ...] = ()


def is_named_alpha(name: str | None) -> bool:
    """Return whether the description of a band is alpha."""
    return (name or "").strip().lower() == _NAME


def find_alpha(src: Any) -> AlphaBands:
    """Return the alpha bands of an open rasterio dataset, by their flags, descriptions and values."""
    used: list[int] = []
    mistaken: list[int] = []
    has_others = any(colour != ColorInterp.alpha for colour in src.colorinterp)
    for band, colour, name in zip(src.indexes, src.colorinterp, src.descriptions, strict=True):
        if is_named_alpha(name):
            used.append(band)
        elif colour == ColorInterp.alpha:
            (mistaken if has_others and _is_measurement(src, band) else used).append(band)
    return AlphaBands(tuple(used), tuple(mistaken))


def corrected_colours(src: Any, mistaken: tuple[int, ...]) -> tuple[ColorInterp, ...]:
    """Return the colour interpretations of the bands; a mistaken alpha beside red, green and blue is near infrared."""
    colours = list(src.colorinterp)
    complete = {ColorInterp.red, ColorInterp.green, ColorInterp.blue} <= set(colours)
    is_nir = complete and len(mistaken) == 1 and ColorInterp.nir not in colours
    for band in mistaken:
        colours[band - 1] = ColorInterp.nir if is_nir else ColorInterp.undefined
    return tuple(colours)


def spread_windows(extent: Window, n_windows: int, size: int) -> Iterator[Window]:
    """Yield ``n_windows`` × ``n_windows`` windows of at most `size` px that are spread evenly over an extent.

    Windows that would overlap are smaller, so that each pixel of a small extent is in one or two of them.
    """
    height, width = (min(size, -(-side // n_windows)) for side in (extent.height, extent.width))
    for top in np.unique(np.linspace(0, extent.height - height, n_windows).astype(int)):
        for left in np.unique(np.linspace(0, extent.width - width, n_windows).astype(int)):
            yield Window(extent.col_off + int(left), extent.row_off + int(top), width, height)


def _is_measurement(src: Any, band: int) -> bool:
    """Return whether the values of a band above 0 are many, and most of them are not the same."""
    parts = []
    for window in spread_windows(Window(0, 0, src.width, src.height), _N_WINDOWS, _WINDOW):
        try:
            values: NDArray[Any] = src.read(band, window=rasterio.windows.Window(*window))
        except GDAL_ERRORS:  # what is damaged is reported when the bands are read
            continue
        parts.append(values[values > 0])
    found, counts = np.unique(np.concatenate([*parts, np.zeros(0)]), return_counts=True)
    return len(found) >= _MIN_VALUES and counts.max() < _MAX_SHARE * counts.sum()
