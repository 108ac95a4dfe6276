"""The camera over an invented landscape: colours, texture, drifting light, blur and noise of its pictures."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.synthetic.land_cover import GRASS, RIPE_CROP, ROAD, ROOF, SHADE, WATER, WOODLAND, Spot, spot_at
from geoseg.synthetic.landscape import noise, part, scramble

# Two kinds of each ground, between which a spot's variety chooses: red, green, blue and near infrared from 0 to 1.
_COLOURS = np.array(
    [
        [(0.00, 0.00, 0.00, 0.00), (0.00, 0.00, 0.00, 0.00)],  # no ground has number 0
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
_TEXTURE = np.array([0.0, 0.08, 0.08, 0.09, 0.10, 0.09, 0.04, 0.04, 0.03])  # per ground, share of its brightness
_WHITE_ROOF = 0.84
_GRAIN = 0.02  # of the camera's range; its standard deviation is 0.58 times that


class Exposure(NamedTuple):
    """How a picture is taken."""

    resolution: float  # m per pixel
    n_bands: int  # 3, or 4 with near infrared
    white: int  # the highest value
    collar: bool
    rows: int  # of the whole picture, on which the collar depends
    cols: int


Kernel = Callable[[Window, Exposure, int], tuple[NDArray[np.uint16], NDArray[np.uint8]]]


@cache
def kernel() -> Kernel:
    """Return the compiled function from (window, exposure, seed) to the picture and its truth.

    Returns
    -------
    function to ((band, y, x) uint16 pixels from 1 to white, (y, x) uint8 numbers of the grounds), both 0 without data

    Notes
    -----
    Compiling takes some seconds, so the machine code is kept on disk. numba asks only the date of the file that holds a
    function, but this one contains functions of three: what they say is part of its key, as a number it closes over.
    """
    folder = Path(__file__).parent
    said = zlib.crc32(b"".join((folder / f"{name}.py").read_bytes() for name in ("camera", "land_cover", "landscape")))

    @njit(nogil=True, error_model="numpy", cache=True)
    def expose(window: Window, exposure: Exposure, seed: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        _ = said
        key = scramble(seed, 0, np.uint64(0))
        colours, grounds = _see(window, exposure, key)
        return _develop(colours, grounds, window, exposure, key), grounds

    return expose


@njit(nogil=True, error_model="numpy")
def _see(window: Window, exposure: Exposure, key: np.uint64) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the (band, y, x) light from a window and a rim of one pixel, and the grounds without the rim."""
    colours = np.empty((exposure.n_bands, window.height + 2, window.width + 2), np.float32)
    grounds = np.zeros((window.height, window.width), np.uint8)
    for row in range(window.height + 2):
        y = (window.row_off + row - 0.5) * exposure.resolution
        for col in range(window.width + 2):
            x = (window.col_off + col - 0.5) * exposure.resolution
            spot = spot_at(x, y, key)
            tone, mix = _tone(spot, x, y, exposure.resolution, key), _mix(spot)
            shaded = spot.light <= SHADE * 1.3 and spot.ground != WOODLAND
            for band in range(exposure.n_bands):
                colour = (1.0 - mix) * _COLOURS[spot.ground, 0, band] + mix * _COLOURS[spot.ground, 1, band]
                if spot.ground == ROOF and spot.variety > 0.74:
                    colour = _WHITE_ROOF
                # The blue sky lights shadows.
                colours[band, row, col] = colour * tone * (0.85 + 0.2 * band if shaded and band < 3 else 1.0)
            inside = 0 < row <= window.height and 0 < col <= window.width
            if inside and not (exposure.collar and _outside(x, y, exposure, key)):
                grounds[row - 1, col - 1] = spot.ground
    return colours, grounds


@njit(nogil=True, error_model="numpy")
def _mix(spot: Spot) -> float:
    """Return how much of the second colour of its ground a spot has."""
    if spot.ground == ROOF:
        return 0.1 * spot.variety if spot.variety < 0.38 else 0.8 + 0.5 * (spot.variety - 0.38)
    return max(0.0, 1.0 - spot.across / 9.0) if spot.ground == WATER else spot.variety


@njit(nogil=True, error_model="numpy")
def _tone(spot: Spot, x: float, y: float, resolution: float, key: np.uint64) -> float:
    """Return the brightness of a spot: its light, and the texture of its ground."""
    wide, narrow = noise(x / 36.0, y / 36.0, key + np.uint64(20)), noise(x / 9.0, y / 9.0, key + np.uint64(21))
    clusters = noise(x / 1.6, y / 1.6, key + np.uint64(22))
    tone = spot.light * (1.0 + _TEXTURE[spot.ground] * (wide[0] + 0.5 * narrow[0] + 0.8 * clusters[0]))
    if spot.ground == ROAD and 4.2 < spot.across < 4.8 and (x + y) % 9.0 < 5.0:
        return tone * 1.35  # the dashes in the middle of main roads
    if spot.ground >= GRASS or spot.across == 0.0:
        return tone
    period = 2.2 + 1.2 * spot.variety
    if period > 3.0 * resolution:  # rows finer than that would only make moiré
        rows = spot.across / period
        tone *= 1.0 + 0.07 * (4.0 * abs(rows - math.floor(rows) - 0.5) - 1.0)
    wheel = spot.across % 18.0
    passed = spot.ground <= RIPE_CROP and (abs(wheel - 8.1) < 0.4 or abs(wheel - 9.9) < 0.4)
    return tone * 0.85 if passed else tone


@njit(nogil=True, error_model="numpy")
def _outside(x: float, y: float, exposure: Exposure, key: np.uint64) -> bool:
    """Return whether a point is outside of the picture, which lies a little turned in its raster."""
    width, height = exposure.cols * exposure.resolution, exposure.rows * exposure.resolution
    off_x, off_y = x - 0.5 * width, y - 0.5 * height
    along, across = 0.995 * off_x + 0.1 * off_y, 0.995 * off_y - 0.1 * off_x  # by 6 degrees
    ragged = 0.008 * min(width, height)
    long, wide = max(0.49 * width - 0.04 * height, 0.4 * width), max(0.49 * height - 0.04 * width, 0.4 * height)
    long -= ragged * (1.0 + noise(across / (4.0 * ragged), 0.0, key + np.uint64(23))[0])
    wide -= ragged * (1.0 + noise(along / (4.0 * ragged), 0.0, key + np.uint64(23))[1])
    return abs(along) > long or abs(across) > wide


@njit(nogil=True, error_model="numpy")
def _develop(
    colours: NDArray[np.float32], grounds: NDArray[np.uint8], window: Window, exposure: Exposure, key: np.uint64
) -> NDArray[np.uint16]:
    """Return the picture: blurred by the lens, under light that drifts over the scene, with haze and noise."""
    pixels = np.zeros((exposure.n_bands, window.height, window.width), np.uint16)
    for row in range(window.height):
        y = (window.row_off + row + 0.5) * exposure.resolution
        for col in range(window.width):
            if grounds[row, col] == 0:
                continue
            x = (window.col_off + col + 0.5) * exposure.resolution
            drift, mist = noise(x / 800.0, y / 800.0, key + np.uint64(24))
            for band in range(exposure.n_bands):
                light = _blurred(colours[band], row + 1, col + 1) * (1.0 + 0.15 * drift)
                haze = (0.02 + 0.02 * mist) * (0.5 + 0.5 * band if band < 3 else 0.2)
                bits = scramble(window.row_off + row, window.col_off + col, key + np.uint64(25 + band))
                grain = part(bits, 0) + part(bits, 1) + part(bits, 2) + part(bits, 3) - 2.0
                value = (light + haze + _GRAIN * grain) * exposure.white
                # 0 means no data, so the darkest ground is 1.
                pixels[band, row, col] = np.uint16(min(max(math.floor(value + 0.5), 1), exposure.white))
    return pixels


@njit(nogil=True, error_model="numpy")
def _blurred(colours: NDArray[np.float32], row: int, col: int) -> float:
    """Return a pixel's colour mixed with its neighbours', with weights 1 2 1 in each direction."""
    total = 0.0
    for i in range(-1, 2):
        line = colours[row + i, col - 1] + 2.0 * colours[row + i, col] + colours[row + i, col + 1]
        total += line * (2.0 - abs(i))
    return total / 16.0
