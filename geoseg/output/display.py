"""Colours of stretched red, green and blue, the same for the pixels of a picture, classes and labels.

Each band has its own linear stretch, as in QGIS. A stretch that the three bands share was compared: it shows haze as
blue, makes the scene grey where one band is much brighter, and has no meaning for bands of different units. Reflectance
is linear, and a few clouds or roofs extend its stretch, so that all land is dark; such a scene is brightened.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.raster.band_roles import FIRST_BANDS
from geoseg.raster.scene import Scene
from geoseg.segment.features import Stretch

_LEAST_MEAN = 0.35  # of red, green and blue; darker scenes are brightened to about this
_LEAST_EXPONENT = 0.4  # a lower one would show mainly noise


def display_bands(scene: Scene, stretch: Stretch) -> tuple[int, int, int]:
    """Return the positions of the bands that are shown as red, green and blue.

    They are those of the scene. Where nothing is known of its bands and the first ones are taken, constant bands, such
    as the dead ones of hyperspectral cubes, are left out.
    """
    if scene.colour_rule != FIRST_BANDS:
        return scene.red_green_blue
    varying = [i for i, (low, high) in enumerate(zip(stretch.low, stretch.high, strict=True)) if high > low] or [0]
    red, green, blue = (varying[min(i, len(varying) - 1)] for i in range(3))
    return red, green, blue


def display_exponent(values: NDArray[np.floating], pixels: NDArray[np.integer] | None = None) -> float:
    """Return the exponent that brightens a dark scene; 1 for others.

    Parameters
    ----------
    values : (n, 3) float
        Stretched red, green and blue; those beyond 0 and 1 are clipped.
    pixels : (n,) int or None
        Number of pixels with each of the values; None = one.

    Examples
    --------
    >>> display_exponent(np.array([[0.5, 0.4, 0.3]]))
    1.0
    >>> round(display_exponent(np.array([[0.1, 0.1, 0.1]])), 2)
    0.46
    """
    if not len(values) or (pixels is not None and not pixels.any()):
        return 1.0
    mean = float(np.average(np.clip(values, 0, 1).mean(axis=1, dtype=np.float64), weights=pixels))
    if not 0 < mean < _LEAST_MEAN:
        return 1.0
    return max(float(np.log(_LEAST_MEAN) / np.log(mean)), _LEAST_EXPONENT)


def display_colors(values: NDArray[np.floating], exponent: float = 1.0) -> NDArray[np.uint8]:
    """Return stretched values from 0 to 1 as colours; values beyond are clipped.

    Parameters
    ----------
    values : array of float, any shape
    exponent : float
        As `display_exponent` returns it.

    Examples
    --------
    >>> display_colors(np.array([-0.1, 0.25, 1.0])).tolist(), display_colors(np.array([0.25]), 0.5).tolist()
    ([0, 64, 255], [128])
    """
    return np.rint(np.clip(values, 0, 1) ** exponent * 255).astype(np.uint8)
