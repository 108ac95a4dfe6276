"""Reduction of the bands of a features raster to a few principal components, one reduction for the whole scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from geoseg.segment.compiled import compiled

MAX_COMPONENTS = 16
_MIN_EXPLAINED = 0.95  # share of the variance that the components keep, unless that takes more than `MAX_COMPONENTS`
_PERCENTILES = (1.0, 99.0)  # of the stretch of each band, as of the bands of a scene
_LOW, _HIGH = -0.5, 1.5  # to which stretched values are clipped, as those of a scene


@dataclass(frozen=True)
class FeatureReduction:
    """Stretch and principal components of the bands of a features raster.

    Parameters
    ----------
    low, high : (band,) float64
        Values of the raster that become 0 and 1.
    mean : (band,) float64
        Mean of the stretched values; a band that is nodata counts as its mean.
    components : (component, band) float64
        Orthonormal rows, those with the largest variance first.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    components: NDArray[np.float64]

    def apply(self, pixels: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the components of each cell.

        Parameters
        ----------
        pixels : (band, y, x) float32
        known : (band, y, x) bool
            False = nodata in that band.

        Returns
        -------
        (component, y, x) float64
            In units of the stretch. The value of a cell does not depend on the cells around it, to the last bit.

        Examples
        --------
        >>> reduction = FeatureReduction(np.zeros(2), np.full(2, 10.0), np.full(2, 0.5), np.array([[1.0, 0.0]]))
        >>> reduction.apply(np.array([[[5, 10]], [[0, 0]]], np.float32), np.ones((2, 1, 2), bool))
        array([[[0. , 0.5]]])
        """
        components = np.zeros((len(self.components), *pixels.shape[1:]))
        known = np.ascontiguousarray(known)
        _project(np.ascontiguousarray(pixels), known, (self.low, self.high, self.mean, self.components), components)
        return components


def fit_reduction(values: NDArray[np.float32], known: NDArray[np.bool_]) -> FeatureReduction:
    """Return the reduction that a sample of cells suggests.

    Parameters
    ----------
    values : (cell, band) float32
    known : (cell, band) bool
        False = nodata in that band.

    Returns
    -------
    FeatureReduction
        With the fewest components that keep 95 % of the variance of the stretched bands, at most 16.

    Examples
    --------
    >>> elevation = np.linspace(0, 900, 50)
    >>> same_in_feet = np.stack([elevation, elevation / 0.3048], axis=1).astype(np.float32)
    >>> fit_reduction(same_in_feet, np.ones((50, 2), bool)).components.round(2)
    array([[0.71, 0.71]])
    """
    low, high = np.array([_ends(band[has_data]) for band, has_data in zip(values.T, known.T, strict=True)]).T
    stretched = np.clip((values - low) / _span(low, high), _LOW, _HIGH)
    counts = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, stretched, 0).sum(axis=0) / counts
    centred = np.where(known, stretched - mean, 0)
    with threadpool_limits(1):  # floating point sums depend on the number of threads
        variances, axes = np.linalg.eigh(centred.T @ centred)
    variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1]
    enough = np.cumsum(variances) >= _MIN_EXPLAINED * variances.sum()
    components = axes[:, : min(int(enough.argmax()) + 1, MAX_COMPONENTS)].T
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    # The sign of an eigenvector depends on the library.
    return FeatureReduction(low, high, mean, np.ascontiguousarray(components * np.sign(largest)))


def _ends(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the values that become 0 and 1; both are 0 for a band that is nodata everywhere."""
    if not values.size:
        return 0.0, 0.0
    low, high = np.percentile(values.astype(np.float64), _PERCENTILES)
    if low == high:  # nearly all cells have one value; keep the others distinguishable
        low, high = values.min(), values.max()
    return float(low), float(high)


def _span(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(high > low, high - low, 1.0)


@compiled(nogil=True)
def _project(pixels, known, reduction, components):  # type: ignore[no-untyped-def]
    """Add the components of each cell to `components`; band by band, so that the order of the sums is fixed."""
    low, high, mean, weights = reduction
    n_bands, height, width = pixels.shape
    row = np.empty(width)
    for y in range(height):
        for band in range(n_bands):
            span = high[band] - low[band]
            if not span > 0:
                span = 1.0
            for x in range(width):
                if known[band, y, x]:
                    value = (pixels[band, y, x] - low[band]) / span
                    row[x] = min(max(value, _LOW), _HIGH) - mean[band]
                else:
                    row[x] = 0.0
            for component in range(weights.shape[0]):
                weight = weights[component, band]
                for x in range(width):
                    components[component, y, x] += weight * row[x]
