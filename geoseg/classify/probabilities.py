"""Probabilities of names that fit the whole scene: shares of the names, and neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_FLOOR = 0.01  # added to each probability: a forest of few samples is too certain
_RETENTION = 0.2  # weight of the shares among the samples against those in the scene
_STRENGTH = 0.75  # exponent of the correction
_NEIGHBOURS = 0.5  # weight of the neighbours against the region
_ITERATIONS = 50


def scene_shares(
    probabilities: NDArray[np.float32], sample_shares: NDArray[np.float64], sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the share of each name in the scene, (name,) float64 with sum 1.

    Samples are seldom taken in proportion to the area: with equally many per name, a forest finds too much of what is
    rare.

    Parameters
    ----------
    probabilities : (region, name) float32
    sample_shares : (name,) float64
        Share of each name among the samples; names without samples have the share 0 in the scene too.
    sizes : (region,) float64
        Areas.

    Notes
    -----
    Expectation maximisation of Saerens, Latinne and Decaestecker (2002, Adjusting the outputs of a classifier to new a
    priori probabilities), weighted by area, and drawn towards the shares of the samples by `_RETENTION`.

    Examples
    --------
    >>> sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]], np.float32)
    >>> scene_shares(sure, np.array([0.5, 0.5]), np.array([3.0, 3.0, 1.0])).round(1)
    array([0.8, 0.2])
    """
    certain = _floored(probabilities)
    weights = sizes / sizes.sum() if sizes.sum() > 0 else np.full(len(sizes), 1 / len(sizes))
    shares = sample_shares.copy()
    for _ in range(_ITERATIONS):
        factor = _ratio(shares, sample_shares).astype(np.float32)
        of_names = certain * factor
        shares = np.einsum(
            "i,ij->j", weights / of_names.sum(axis=1), of_names
        )  # `@` can warn of NaN that are not there
        shares = (shares + _RETENTION * sample_shares) / (1 + _RETENTION)
    return shares


def corrected(
    probabilities: NDArray[np.float32], sample_shares: NDArray[np.float64], shares: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the probabilities for the shares of names in the scene instead of those among the samples.

    Parameters
    ----------
    probabilities : (region, name) float32
    sample_shares : (name,) float64
        Names without samples, 0, get the probability 0.
    shares : (name,) float64
        From `scene_shares`.
    """
    factor = (_ratio(shares, sample_shares) ** _STRENGTH).astype(np.float32)
    result = _floored(probabilities) * factor
    result /= result.sum(axis=1, keepdims=True)
    return result


def smoothed(probabilities: NDArray[np.float32], shares: sparse.csr_array) -> NDArray[np.float32]:
    """Return the probabilities with those of the neighbours taken into account.

    Parameters
    ----------
    probabilities : (region, name) float32
    shares : (region, region) sparse float32
        Share of each neighbour in the borders of a region.
    """
    near = shares @ probabilities
    near[np.diff(shares.indptr) == 0] = 1
    near += 2 * _FLOOR
    result = (probabilities + 2 * _FLOOR) * near**_NEIGHBOURS
    result /= result.sum(axis=1, keepdims=True)
    return result


def _ratio(shares: NDArray[np.float64], sample_shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(shares, sample_shares, out=np.zeros(len(shares)), where=sample_shares > 0)


def _floored(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    return (probabilities + np.float32(_FLOOR)) / np.float32(1 + probabilities.shape[1] * _FLOOR)
