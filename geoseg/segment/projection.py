"""Principal components of the channels of the network, where a scene has many of them.

The cost of the first layer grows with its channels, and neighbouring bands of a hyperspectral scene hold nearly the
same values. The projection is computed once from the sample of the scene. The value of a pixel depends on its own
channels alone, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from geoseg.segment.compiled import compiled

MAX_CHANNELS = 40  # of the network's input without a projection
N_COMPONENTS = 32
_MIN_SCALE = 1e-6  # of a scene with one value
_CHUNK = 64  # px; their components stay in the fastest cache


@dataclass(frozen=True)
class Projection:
    """Linear map from the standardised channels of a pixel to fewer ones.

    Parameters
    ----------
    weights : (component, channel) float
        Principal components, those with the largest variance first, times one common factor.
    """

    weights: tuple[tuple[float, ...], ...]

    @classmethod
    def from_array(cls, weights: NDArray[np.float32]) -> Projection:
        """Return the projection with weights (component, channel)."""
        return cls(tuple(tuple(row) for row in weights.tolist()))

    def to_array(self) -> NDArray[np.float32]:
        """Return the weights, (component, channel) float32."""
        return np.array(self.weights, np.float32)

    def apply(self, layers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the components of each pixel.

        Parameters
        ----------
        layers : (channel, y, x) float32
            Standardised; 0 for nodata.

        Returns
        -------
        (component, y, x) float32
            0 for nodata.

        Examples
        --------
        >>> halves = Projection(((0.5, 0.5),))
        >>> halves.apply(np.array([[[1, 0]], [[3, 0]]], np.float32))
        array([[[2., 0.]]], dtype=float32)
        """
        n_pixels = layers[0].size
        found = np.empty((len(self.weights), n_pixels), np.float32)
        _project(np.ascontiguousarray(layers).reshape(len(layers), n_pixels), self.to_array(), found)
        return found.reshape(-1, *layers.shape[1:])


def fit_projection(values: NDArray[np.float32]) -> Projection | None:
    """Return the projection of channels to `N_COMPONENTS` principal components; None for at most `MAX_CHANNELS`.

    Parameters
    ----------
    values : (channel, pixel) float32
        Standardised channels of a sample.

    Notes
    -----
    The mean variance of the components is 1, as that of the channels. Since no component is scaled for itself, squared
    distances of pixels are those of all channels, up to the components that are left out and a common factor.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=(2, 400)).repeat(25, axis=0).astype(np.float32)
    >>> fit_projection(values).to_array().shape, fit_projection(values[:40])
    ((32, 50), None)
    """
    if len(values) <= MAX_CHANNELS:
        return None
    with threadpool_limits(1):  # floating point sums depend on the number of threads
        variances, axes = np.linalg.eigh(np.cov(values, ddof=0, dtype=np.float64))
    variances, components = np.maximum(variances[::-1][:N_COMPONENTS], 0), axes[:, ::-1][:, :N_COMPONENTS].T
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    components = components * np.sign(largest)  # the sign of an eigenvector depends on the library
    scale = max(float(np.sqrt(variances.mean())), _MIN_SCALE)
    return Projection.from_array((components / scale).astype(np.float32))


@compiled(nogil=True)
def _project(layers, weights, found):  # type: ignore[no-untyped-def]
    """Write the components of each pixel to `found`; channel by channel, so that the order of the sums is fixed."""
    n_channels, n_pixels = layers.shape
    n_components = weights.shape[0]
    part, total = np.zeros(_CHUNK, np.float32), np.empty((n_components, _CHUNK), np.float32)
    for begin in range(0, n_pixels, _CHUNK):
        n = min(_CHUNK, n_pixels - begin)
        total[:] = 0
        for channel in range(n_channels):
            for i in range(n):
                part[i] = layers[channel, begin + i]
            for component in range(n_components):
                weight, row = weights[component, channel], total[component]
                for i in range(_CHUNK):  # of fixed length, which the compiler vectorises
                    row[i] += weight * part[i]
        for component in range(n_components):
            for i in range(n):
                found[component, begin + i] = total[component, i]
