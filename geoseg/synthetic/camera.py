"""Simulate an aerial camera over the synthetic landscape: colour, texture, uneven light, blur and noise."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.segment import splitmix
from geoseg.segment.compiled import compiled, internal
from geoseg.synthetic import land_cover, landscape
from geoseg.synthetic.land_cover import GRASS, RIPE_CROP, ROAD, ROOF, SHADE, WATER, WOODLAND, Spot, spot_at
from geoseg.synthetic.landscape import noise, part, scramble

# Reflectance of two variants of each land cover, mixed by the variety of the spot: red, green, blue, near infrared.
_COLOURS = np.array(
    [
        [(0.00, 0.00, 0.00, 0.00), (0.00, 0.00, 0.00, 0.00)],  # 0 is nodata
        [(0.27, 0.38, 0.20, 0.66), (0.41, 0.51, 0.25, 0.80)],  # green crop: maize, beet
        [(0.74, 0.65, 0.45, 0.60), (0.57, 0.53, 0.37, 0.52)],  # ripe crop: wheat, stubble
        [(0.43, 0.35, 0.28, 0.40), (0.62, 0.53, 0.43, 0.52)],  # bare soil: loam, gravel
        [(0.35, 0.43, 0.26, 0.62), (0.50, 0.53, 0.33, 0.60)],  # grass: lush, mown
        [(0.19, 0.28, 0.17, 0.52), (0.33, 0.40, 0.19, 0.74)],  # woodland: conifers, broadleaves
        [(0.11, 0.20, 0.23, 0.06), (0.19, 0.27, 0.26, 0.09)],  # water: deep, shallow
        [(0.48, 0.48, 0.49, 0.42), (0.60, 0.59, 0.57, 0.50)],  # road: asphalt, concrete
        [(0.44, 0.45, 0.48, 0.44), (0.66, 0.35, 0.26, 0.56)],  # roof: slate, tiles
    ]
)
_TEXTURE = np.array([0.0, 0.08, 0.08, 0.09, 0.10, 0.09, 0.04, 0.04, 0.03])  # per land cover, relative to its brightness
_WHITE_ROOF = 0.84
_GRAIN = 0.02  # amplitude of the noise, relative to the range; the standard deviation is 0.58 times this


class Exposure(NamedTuple):
    """Parameters of the camera."""

    resolution: float  # m per pixel
    n_bands: int  # 3, or 4 with near infrared
    white: int  # largest pixel value
    collar: bool  # whether there is an irregular nodata margin
    rows: int  # of the whole scene, which determine the collar
    cols: int


Kernel = Callable[[Window, Exposure, int], tuple[NDArray[np.uint16], NDArray[np.uint8]]]


@cache
def kernel() -> Kernel:
    """Return the compiled function that renders a window.

    Returns
    -------
    callable
        (window, exposure, seed) → pixels, (band, y, x) uint16 from 1 to `white`, and land cover, (y, x) uint8; both are
        0 where nodata.

    Notes
    -----
    Compilation takes some seconds, so the machine code is cached on disk. numba checks only the date of the file that
    contains the function, but this one inlines functions of four modules. The checksum of the four files is therefore
    part of the cache key, as a variable that the function closes over.
    """
    files = (__file__, land_cover.__file__, landscape.__file__, splitmix.__file__)
    checksum = zlib.crc32(b"".join(Path(file).read_bytes() for file in files))

    @compiled(nogil=True, error_model="numpy")
    def expose(window: Window, exposure: Exposure, seed: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        _ = checksum
        key = scramble(seed, 0, np.uint64(0))
        colours, covers = _light(window, exposure, key)
        return _pixels(colours, covers, window, exposure, key), covers

    return expose


@internal(nogil=True, error_model="numpy")
def _light(window: Window, exposure: Exposure, key: np.uint64) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the (band, y, x) light from a window with a margin of one pixel, and the land cover without the margin."""
    colours = np.empty((exposure.n_bands, window.height + 2, window.width + 2), np.float32)
    covers = np.zeros((window.height, window.width), np.uint8)
    for row in range(window.height + 2):
        y = (window.row_off + row - 0.5) * exposure.resolution
        for col in range(window.width + 2):
            x = (window.col_off + col - 0.5) * exposure.resolution
            spot = spot_at(x, y, key)
            tone, mix = _tone(spot, x, y, exposure.resolution, key), _mix(spot)
            shaded = spot.light <= SHADE * 1.3 and spot.cover != WOODLAND
            for band in range(exposure.n_bands):
                colour = (1.0 - mix) * _COLOURS[spot.cover, 0, band] + mix * _COLOURS[spot.cover, 1, band]
                if spot.cover == ROOF and spot.variety > 0.74:
                    colour = _WHITE_ROOF
                # Shadows are lit by the blue sky.
                colours[band, row, col] = colour * tone * (0.85 + 0.2 * band if shaded and band < 3 else 1.0)
            inside = 0 < row <= window.height and 0 < col <= window.width
            if inside and not (exposure.collar and _outside(x, y, exposure, key)):
                covers[row - 1, col - 1] = spot.cover
    return colours, covers


@internal(nogil=True, error_model="numpy")
def _mix(spot: Spot) -> float:
    """Return the weight of the second variant of the land cover of a spot."""
    if spot.cover == ROOF:
        return 0.1 * spot.variety if spot.variety < 0.38 else 0.8 + 0.5 * (spot.variety - 0.38)
    return max(0.0, 1.0 - spot.across / 9.0) if spot.cover == WATER else spot.variety


@internal(nogil=True, error_model="numpy")
def _tone(spot: Spot, x: float, y: float, resolution: float, key: np.uint64) -> float:
    """Return the brightness of a spot: its light times the texture of its land cover."""
    wide, narrow = noise(x / 36.0, y / 36.0, key + np.uint64(20)), noise(x / 9.0, y / 9.0, key + np.uint64(21))
    clusters = noise(x / 1.6, y / 1.6, key + np.uint64(22))
    tone = spot.light * (1.0 + _TEXTURE[spot.cover] * (wide[0] + 0.5 * narrow[0] + 0.8 * clusters[0]))
    if spot.cover == ROAD and 4.2 < spot.across < 4.8 and (x + y) % 9.0 < 5.0:
        return tone * 1.35  # the dashed centre line of main roads
    if spot.cover >= GRASS or spot.across == 0.0:
        return tone
    period = 2.2 + 1.2 * spot.variety
    if period > 3.0 * resolution:  # finer rows would cause moiré
        rows = spot.across / period
        tone *= 1.0 + 0.07 * (4.0 * abs(rows - math.floor(rows) - 0.5) - 1.0)
    wheel = spot.across % 18.0
    passed = spot.cover <= RIPE_CROP and (abs(wheel - 8.1) < 0.4 or abs(wheel - 9.9) < 0.4)
    return tone * 0.85 if passed else tone


@internal(nogil=True, error_model="numpy")
def _outside(x: float, y: float, exposure: Exposure, key: np.uint64) -> bool:
    """Return whether a point is in the collar; the image is rotated slightly within its raster."""
    width, height = exposure.cols * exposure.resolution, exposure.rows * exposure.resolution
    off_x, off_y = x - 0.5 * width, y - 0.5 * height
    along, across = 0.995 * off_x + 0.1 * off_y, 0.995 * off_y - 0.1 * off_x  # a rotation by 6 degrees
    ragged = 0.008 * min(width, height)
    long, wide = max(0.49 * width - 0.04 * height, 0.4 * width), max(0.49 * height - 0.04 * width, 0.4 * height)
    long -= ragged * (1.0 + noise(across / (4.0 * ragged), 0.0, key + np.uint64(23))[0])
    wide -= ragged * (1.0 + noise(along / (4.0 * ragged), 0.0, key + np.uint64(23))[1])
    return abs(along) > long or abs(across) > wide


@internal(nogil=True, error_model="numpy")
def _pixels(
    colours: NDArray[np.float32], covers: NDArray[np.uint8], window: Window, exposure: Exposure, key: np.uint64
) -> NDArray[np.uint16]:
    """Return the pixel values: with blur, light that varies over the scene, haze and noise."""
    pixels = np.zeros((exposure.n_bands, window.height, window.width), np.uint16)
    for row in range(window.height):
        y = (window.row_off + row + 0.5) * exposure.resolution
        for col in range(window.width):
            if covers[row, col] == 0:
                continue
            x = (window.col_off + col + 0.5) * exposure.resolution
            drift, mist = noise(x / 800.0, y / 800.0, key + np.uint64(24))
            for band in range(exposure.n_bands):
                light = _blurred(colours[band], row + 1, col + 1) * (1.0 + 0.15 * drift)
                haze = (0.02 + 0.02 * mist) * (0.5 + 0.5 * band if band < 3 else 0.2)
                bits = scramble(window.row_off + row, window.col_off + col, key + np.uint64(25 + band))
                grain = part(bits, 0) + part(bits, 1) + part(bits, 2) + part(bits, 3) - 2.0
                value = (light + haze + _GRAIN * grain) * exposure.white
                # 0 is nodata, so the darkest pixel is 1.
                pixels[band, row, col] = np.uint16(min(max(math.floor(value + 0.5), 1), exposure.white))
    return pixels


@internal(nogil=True, error_model="numpy")
def _blurred(colours: NDArray[np.float32], row: int, col: int) -> float:
    """Return a pixel after convolution with the kernel 1 2 1 in both directions."""
    total = 0.0
    for i in range(-1, 2):
        line = colours[row + i, col - 1] + 2.0 * colours[row + i, col] + colours[row + i, col + 1]
        total += line * (2.0 - abs(i))
    return total / 16.0
