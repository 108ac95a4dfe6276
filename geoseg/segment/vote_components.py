"""Principal components of the network's votes: a few numbers per superpixel instead of a histogram of codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from geoseg.segment.votes import SuperpixelTable, concatenate

N_COMPONENTS = 4


@dataclass(frozen=True)
class VoteComponents:
    """Principal components of the votes of a scene.

    Parameters
    ----------
    mean : (code,) float64
        Mean votes of all pixels.
    axes : (component, code) float64
        Each of length 1, the one with the largest variance first; 0 where there are fewer codes than components.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]

    def apply(self, votes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the components of superpixels, (superpixel, component), from their votes, (superpixel, code)."""
        with threadpool_limits(1):  # floating point sums depend on the number of threads
            return np.asarray((votes - self.mean) @ self.axes.T)


def fit_vote_components(tables: Sequence[SuperpixelTable]) -> VoteComponents:
    """Return the principal components of the votes of superpixels, weighted by their pixels.

    Parameters
    ----------
    tables : sequence of SuperpixelTable
        A sample of the blocks of a scene.

    Examples
    --------
    >>> nothing = np.zeros((0, 2), np.int64)
    >>> votes = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> numbers, pixels = np.arange(2), np.array([30, 30])
    >>> table = SuperpixelTable(numbers, votes, pixels, np.zeros((2, 1)), nothing, nothing[:, 0])
    >>> fit_vote_components([table]).apply(votes).round(2)[:, 0]
    array([ 0.71, -0.71])
    """
    table = concatenate(tables)
    votes, weights = table.votes, table.pixels.astype(np.float64)
    mean = weights @ votes / weights.sum()
    centred = votes - mean
    with threadpool_limits(1):
        variances, axes = np.linalg.eigh(centred.T @ (centred * weights[:, None]))
    chosen = axes[:, ::-1][:, :N_COMPONENTS].T
    chosen = chosen * (variances[::-1][: len(chosen)] > 1e-12 * max(variances[-1], 1e-300))[:, None]
    largest = np.take_along_axis(chosen, np.abs(chosen).argmax(axis=1)[:, None], axis=1)
    found = np.zeros((N_COMPONENTS, votes.shape[1]))
    found[: len(chosen)] = chosen * np.where(largest < 0, -1, 1)  # the sign depends on the library
    return VoteComponents(mean, found)
