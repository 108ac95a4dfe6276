"""Sums of the pixel values of regions and the pairs of adjacent regions, added up window by window."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

from geoseg.grid import Window
from geoseg.segment.grouped import grouped_sum

_NO_PAIRS = np.empty((0, 2), np.int64)


class RegionTable(NamedTuple):
    """The regions of a raster.

    Parameters
    ----------
    pixels : (region,) int64
    means : (region, band) float64
    squares : (region, band) float64
        Sums of the squared deviations of the pixels from the mean of their region.
    pairs : (pair, 2) int64
        Positions of the regions that share a pixel edge, lower first; every pair once.
    """

    pixels: NDArray[np.int64]
    means: NDArray[np.float64]
    squares: NDArray[np.float64]
    pairs: NDArray[np.int64]


class RegionSums:
    """Sums over the regions of a raster that is read window by window.

    What is held grows with the number of regions, not with that of pixels.

    Parameters
    ----------
    shape : (int, int)
        (rows, cols) of the raster.
    connected : bool
        True = regions are 4-connected pixels of one number; False = all pixels of a number are one region.

    Examples
    --------
    >>> sums = RegionSums((1, 4), connected=True)
    >>> sums.add(Window(0, 0, 2, 1), np.array([[1, 1]]), np.array([[[2.0, 4.0]]]))
    >>> sums.add(Window(2, 0, 2, 1), np.array([[1, 2]]), np.array([[[6.0, 9.0]]]))
    >>> table = sums.table()
    >>> table.pixels.tolist(), table.means[:, 0].tolist(), table.squares[:, 0].tolist(), table.pairs.tolist()
    ([3, 1], [4.0, 9.0], [8.0, 0.0], [[0, 1]])
    """

    def __init__(self, shape: tuple[int, int], *, connected: bool) -> None:
        self._connected = connected
        self._above = np.zeros((2, shape[1]), np.int64)  # numbers and parts of the last row above the next windows
        self._left = np.zeros((2, 0), np.int64)  # of the last column of the window to the left
        self._n = 0
        self._tables: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]] = []
        self._pairs: list[NDArray[np.int64]] = [_NO_PAIRS]
        self._links: list[NDArray[np.int64]] = [_NO_PAIRS]

    def add(self, window: Window, labels: NDArray[np.integer], values: NDArray[np.floating]) -> None:
        """Add a window; the windows come from left to right and from top to bottom.

        Parameters
        ----------
        window : Window
        labels : (y, x) int
            0 = not compared.
        values : (band, y, x) float
            Finite where `labels` is not 0.
        """
        numbers, parts = self._parts(labels.astype(np.int64))
        n = len(numbers)
        shown = parts[labels > 0] - 1
        pixels = np.bincount(shown, minlength=n)
        inside = values[:, labels > 0].T.astype(np.float64)  # (pixel, band)
        means = grouped_sum(inside, shown, n) / np.maximum(pixels, 1)[:, None]
        self._tables.append((numbers, pixels, means, grouped_sum((inside - means[shown]) ** 2, shown, n)))
        parts = np.where(parts > 0, parts + self._n, 0)
        self._pairs.append(_unequal(parts))
        self._join_sides(window, np.stack([labels, parts]))
        self._n += n

    def table(self) -> RegionTable:
        """Return the regions of all windows, of which there is at least one; empty if no pixel was compared."""
        numbers, pixels, means, squares = (np.concatenate(column) for column in zip(*self._tables, strict=True))
        region = self._regions(numbers)
        n = int(region.max(initial=-1)) + 1
        weights = pixels.astype(np.float64)
        total = grouped_sum(weights, region, n)
        mean = grouped_sum(means * weights[:, None], region, n) / np.maximum(total, 1)[:, None]
        between = grouped_sum(weights[:, None] * (means - mean[region]) ** 2, region, n)
        pairs = region[np.concatenate(self._pairs) - 1]
        pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
        within = grouped_sum(squares, region, n) + between
        return RegionTable(total.astype(np.int64), mean, within, _distinct(pairs, n))

    def _parts(self, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of the parts of a window, and the part of each pixel, from 1; 0 = not compared."""
        if self._connected:
            parts = label(labels, background=0, connectivity=1).astype(np.int64)
            numbers = np.zeros(int(parts.max(initial=0)) + 1, np.int64)
            numbers[parts] = labels
            return numbers[1:], parts
        numbers, index = np.unique(labels, return_inverse=True)
        index = index.reshape(labels.shape)
        return (numbers[1:], index) if len(numbers) and numbers[0] == 0 else (numbers, index + 1)

    def _join_sides(self, window: Window, own: NDArray[np.int64]) -> None:
        """Compare the sides of a window with its neighbours above and to the left; `own` is (2, y, x)."""
        columns = slice(window.col_off, window.col_end)
        if window.row_off:
            self._join(self._above[:, columns], own[:, 0])
        if window.col_off:
            self._join(self._left, own[:, :, 0])
        self._above[:, columns] = own[:, -1]
        self._left = own[:, :, -1]

    def _join(self, there: NDArray[np.int64], here: NDArray[np.int64]) -> None:
        both = (there[0] > 0) & (here[0] > 0)
        same = there[0] == here[0]
        for found, chosen in ((self._links, both & same), (self._pairs, both & ~same)):
            found.append(np.unique(np.stack([there[1], here[1]], axis=1)[chosen], axis=0))

    def _regions(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the region of each part, from 0."""
        if not self._connected:
            return np.unique(numbers, return_inverse=True)[1].reshape(-1)
        links = np.concatenate(self._links) - 1
        ones = np.ones(len(links), np.int8)
        graph = coo_array((ones, (links[:, 0], links[:, 1])), shape=(self._n, self._n))
        return connected_components(graph, directed=False)[1].astype(np.int64)


def _unequal(parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pairs of different parts that share a pixel edge, (pair, 2), lower first."""
    sides = [(parts[:, :-1], parts[:, 1:]), (parts[:-1], parts[1:])]
    found = [np.stack([one, other], axis=-1)[(one != other) & (one > 0) & (other > 0)] for one, other in sides]
    return _distinct(np.sort(np.concatenate(found), axis=1), int(parts.max(initial=0)) + 1)


def _distinct(pairs: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    keys = np.unique(pairs[:, 0] * n + pairs[:, 1])
    return np.stack(np.divmod(keys, max(n, 1)), axis=1)
