"""Comparison of several segmentations of one scene by their scores without a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidate:
    """Normalised scores of a segmentation among others; 1 = the best of them, 0 = the worst.

    Parameters
    ----------
    variance : float
        Of the variance within regions: low values are good.
    moran : float
        Of Moran's I: low values are good.
    espindola : float
        Sum of both (Espindola et al. 2006), from 0 to 2.
    f : float
        Weighted harmonic mean of both (Johnson et al. 2015), from 0 to 1.
    """

    variance: float
    moran: float
    espindola: float
    f: float


def compare(
    variances: Sequence[float | None], morans: Sequence[float | None], *, weight: float = 1.0
) -> list[Candidate | None]:
    """Return the normalised scores of segmentations, each relative to all of them.

    Parameters
    ----------
    variances, morans : sequences of (float or None)
        One of each for every segmentation.
    weight : float
        The weight a of F: above 1 the variance counts more, below 1 Moran's I does.

    Returns
    -------
    list of (Candidate or None)
        None = a score of the segmentation is None, or fewer than two have both.

    Notes
    -----
    The normalised score is (max - x) / (max - min) as in Espindola et al. (2006), and 1 where all are equal. Johnson
    and Xie (2011) use 1 minus it. F is (1 + a²) · m · v / (a² · m + v), with v of the variance and m of Moran's I.

    Examples
    --------
    >>> [round(found.f, 2) for found in compare([1, 2, 5], [0.9, 0.4, 0.1])]
    [0.0, 0.68, 0.0]
    >>> compare([1, None], [0.3, 0.2])
    [None, None]
    """
    known = [i for i, pair in enumerate(zip(variances, morans, strict=True)) if None not in pair]
    found: list[Candidate | None] = [None] * len(variances)
    if len(known) < 2:
        return found
    low_variance = _normalised([variances[i] for i in known])
    low_moran = _normalised([morans[i] for i in known])
    for i, v, m in zip(known, low_variance.tolist(), low_moran.tolist(), strict=True):
        below = weight**2 * m + v
        found[i] = Candidate(v, m, v + m, (1 + weight**2) * m * v / below if below > 0 else 0.0)
    return found


def _normalised(values: Sequence[float | None]) -> NDArray[np.float64]:
    array = np.array(values, np.float64)
    extent = array.max() - array.min()
    return (array.max() - array) / extent if extent > 0 else np.ones(len(array))
