"""Context of superpixels: features of the pixels around each of them.

Votes and moments are summed in the cells of a grid over the scene that does not depend on the tiles. The sums are
integers, so the context of a superpixel depends neither on the tile size nor on the order of the tiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.segment.compiled import compiled
from geoseg.segment.features import moment_features
from geoseg.segment.vote_sums import FIXED  # the sum of a cell in these units fits into 32 bits

CELL = 32  # px
_SIGMA = 64  # px; of the Gaussian that weights the pixels around
_TRUNCATE = 3.0  # standard deviations at which it ends
_RADIUS = round(_TRUNCATE * _SIGMA / CELL)  # cells


def window_around(window: Window, shape: tuple[int, int]) -> Window:
    """Return the window of the pixels on which the context of superpixels with a centroid in `window` depends.

    Parameters
    ----------
    window : Window
    shape : (rows, cols) int
        Of the scene.

    Examples
    --------
    >>> window_around(Window(1000, 0, 24, 8), (2000, 1100))
    Window(col_off=768, row_off=0, width=332, height=256)
    """
    cells = _cells_around(window, shape)
    pixels = Window(cells.col_off * CELL, cells.row_off * CELL, cells.width * CELL, cells.height * CELL)
    return pixels.expanded(0, shape)


def sum_cells(
    index: NDArray[np.int32], shares: NDArray[np.uint8], moments: NDArray[np.float32], window: Window
) -> NDArray[np.int32]:
    """Return the sums of votes and moments over the pixels of each cell.

    Parameters
    ----------
    index : (y, x) int32
        Below 0 = nodata.
    shares : (y, x, code) uint8
        Share of each code in each pixel, 255 = 1.
    moments : (moment, y, x) float32
        As returned by `features.pixel_moments`.
    window : Window
        Of the pixels; it overlaps the cells of the sums.

    Returns
    -------
    (cell row, cell column, code + moment + 1) int32
        The last is the number of pixels.

    Examples
    --------
    >>> shares, moments = np.array([[[255, 0], [0, 255], [255, 0]]], np.uint8), np.ones((1, 1, 3), np.float32)
    >>> sum_cells(np.array([[0, 0, -1]], np.int32), shares, moments, Window(31, 0, 3, 1)).tolist()
    [[[255, 0, 65536, 1], [0, 255, 65536, 1]]]
    """
    cells = _cells_of(window)
    sums = np.zeros((*cells.shape, shares.shape[2] + len(moments) + 1), np.int32)
    _add_pixels(sums, index, shares, moments, window.row_off % CELL, window.col_off % CELL)
    return sums


def cells_of_pixels(window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cell row of each row of a window, (y,), and the cell column of each column, (x,), as in `sum_cells`.

    Examples
    --------
    >>> [cells.tolist() for cells in cells_of_pixels(Window(30, 64, 3, 2))]
    [[0, 0], [0, 0, 1]]
    """
    rows, cols = np.arange(window.row_off, window.row_end), np.arange(window.col_off, window.col_end)
    return rows // CELL - window.row_off // CELL, cols // CELL - window.col_off // CELL


def context_features(
    centroids: NDArray[np.float64],
    window: Window,
    shape: tuple[int, int],
    sums: Iterable[tuple[Window, NDArray[np.int32], NDArray[np.float64] | None]],
    *,
    n_bands: int,
    votes_alone: bool,
) -> NDArray[np.float16]:
    """Return the context of superpixels.

    Parameters
    ----------
    centroids : (n, 2) float64
        Row and column of their centroids in the scene, all in `window`.
    window : Window
    shape : (rows, cols) int
        Of the scene.
    sums : iterable of (core, sums, translation)
        At least one tile: those whose cores overlap ``window_around(window, shape)``, in ascending order, with their
        `sum_cells`. A translation, (code, scene code) float64, maps the codes of the tile to those of the scene; None =
        they are the same.
    n_bands : int
        Number of moments that are bands; one more is squared brightness.
    votes_alone : bool
        Whether features of the moments are left out.

    Returns
    -------
    (n, code + feature) or (n, code) float16
        Square roots of the mean votes, and `moment_features` of the mean moments, of the pixels around, weighted by a
        Gaussian of their distance with a standard deviation of 64 px. 0 where none of the tiles has pixels around.
    """
    cells = _cells_around(window, shape)
    total: NDArray[np.float64] | None = None
    for core, tile_sums, translation in sums:
        found = _translated(tile_sums, translation, n_bands + 1)
        total = np.zeros((*cells.shape, found.shape[-1])) if total is None else total
        own = _cells_of(core)
        common = own.intersection(cells)
        if common is not None:
            total[common.within(cells)] += found[common.within(own)]
    if total is None:
        raise ValueError("the context needs the sums of at least one tile")
    sigma = _SIGMA / CELL
    blurred = ndimage.gaussian_filter(total, (sigma, sigma, 0), truncate=_TRUNCATE, mode="constant")
    around = _interpolated(blurred, centroids / CELL - (cells.row_off + 0.5, cells.col_off + 0.5))
    votes, moments, pixels = np.split(around, [-n_bands - 2, -1], axis=1)
    tiny = np.finfo(np.float64).tiny
    shares = votes / np.maximum(votes.sum(axis=1, keepdims=True), tiny)
    if votes_alone:
        return np.sqrt(shares).astype(np.float16)
    features = moment_features(moments / np.maximum(FIXED * pixels, tiny), n_bands)
    return np.concatenate([np.sqrt(shares), features], axis=1).astype(np.float16)


def _translated(sums: NDArray[np.int32], translation: NDArray[np.float64] | None, n_moments: int) -> NDArray[Any]:
    """Return the sums of a tile with the codes of the scene."""
    if translation is None:
        return sums
    n_codes = sums.shape[-1] - n_moments - 1
    return np.concatenate([sums[..., :n_codes] @ translation, sums[..., n_codes:]], axis=-1)


def _interpolated(layers: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of layers, (y, x, layer), at places, (n, 2), interpolated bilinearly between cell centres."""
    last = np.array(layers.shape[:2]) - 1
    places = np.clip(places, 0, last)
    low = np.floor(places).astype(np.int64)
    high = np.minimum(low + 1, last)
    y, x = (places - low).T[..., None]
    upper = (1 - x) * layers[low[:, 0], low[:, 1]] + x * layers[low[:, 0], high[:, 1]]
    lower = (1 - x) * layers[high[:, 0], low[:, 1]] + x * layers[high[:, 0], high[:, 1]]
    return np.asarray((1 - y) * upper + y * lower)


def _cells_of(window: Window) -> Window:
    """Return the cells that overlap a window of pixels, as a window of cells."""
    top, left = window.row_off // CELL, window.col_off // CELL
    return Window(left, top, -(-window.col_end // CELL) - left, -(-window.row_end // CELL) - top)


def _cells_around(window: Window, shape: tuple[int, int]) -> Window:
    """Return the cells on which the context of superpixels with a centroid in `window` depends."""
    scene = _cells_of(Window(0, 0, shape[1], shape[0]))
    return _cells_of(window).expanded(_RADIUS + 1, scene.shape)  # one more for the interpolation


@compiled(nogil=True)
def _add_pixels(sums, index, shares, moments, row_off, col_off):  # type: ignore[no-untyped-def]
    height, width, n_codes = shares.shape
    n_moments = moments.shape[0]
    for y in range(height):
        for x in range(width):
            if index[y, x] >= 0:
                cell = sums[(y + row_off) // CELL, (x + col_off) // CELL]
                for code in range(n_codes):
                    cell[code] += shares[y, x, code]
                for moment in range(n_moments):
                    cell[n_codes + moment] += np.int32(np.rint(moments[moment, y, x] * np.float32(FIXED)))
                cell[n_codes + n_moments] += 1
