"""Scores of regions without a reference: how homogeneous they are, and how different from their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.evaluate.region_sums import RegionTable

_ROUNDING = 1e-12  # of the largest mean; deviations below it are those of rounded sums


@dataclass(frozen=True)
class RegionScores:
    """Scores of the regions of one raster.

    Parameters
    ----------
    regions : int
    pixels : int
        Pixels in regions.
    neighbours : int
        Pairs of regions that share a pixel edge.
    variances : tuple of float
        Variance of each band within regions, weighted by their pixels; in squared units of the band.
    totals : tuple of float
        Variance of each band over all pixels in regions.
    morans : tuple of (float or None)
        Moran's I of the means of the regions in each band; None = all means are equal, or no region has a neighbour.
    """

    regions: int
    pixels: int
    neighbours: int
    variances: tuple[float, ...]
    totals: tuple[float, ...]
    morans: tuple[float | None, ...]

    @property
    def mean_pixels(self) -> float:
        """Mean size of a region in pixels; 0 without regions."""
        return self.pixels / self.regions if self.regions else 0.0

    @property
    def variance(self) -> float:
        """Mean of the bands' variances within regions."""
        return float(np.mean(self.variances))

    @property
    def share(self) -> float | None:
        """Mean over the bands of the variance within regions, divided by that of all pixels; None = constant bands.

        0 = every region is homogeneous; 1 = regions explain nothing. It does not depend on the units of the bands.
        """
        shares = [within / total for within, total in zip(self.variances, self.totals, strict=True) if total > 0]
        return float(np.mean(shares)) if shares else None

    @property
    def moran(self) -> float | None:
        """Mean of the bands' Moran's I; None = it is not defined for any band."""
        known = [value for value in self.morans if value is not None]
        return float(np.mean(known)) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as plain values for JSON."""
        bands = zip(self.variances, self.totals, self.morans, strict=True)
        return {
            "regions": self.regions,
            "pixels": self.pixels,
            "mean_pixels": self.mean_pixels,
            "neighbours": self.neighbours,
            "variance": self.variance,
            "variance_share": self.share,
            "moran": self.moran,
            "bands": [{"variance": within, "total": total, "moran": moran} for within, total, moran in bands],
        }


def region_scores(table: RegionTable) -> RegionScores:
    """Return the scores of regions.

    Parameters
    ----------
    table : RegionTable
        At least one region.

    Notes
    -----
    Espindola et al. (2006), equations 1 and 2. With z the deviation of the mean of a region from the mean of all
    regions, n the number of regions and m that of pairs of regions that share a pixel edge (rook contiguity), all of
    weight 1, Moran's I is n / m · Σ z_i z_j over the pairs / Σ z_i².

    Examples
    --------
    >>> table = RegionTable(np.array([2, 2]), np.array([[1.0], [5.0]]), np.array([[0.5], [1.5]]), np.array([[0, 1]]))
    >>> region_scores(table)
    RegionScores(regions=2, pixels=4, neighbours=1, variances=(0.5,), totals=(4.5,), morans=(-1.0,))
    """
    n, pixels = len(table.pixels), int(table.pixels.sum())
    weights = table.pixels / pixels
    within = table.squares.sum(axis=0) / pixels
    overall = weights @ table.means
    between = weights @ (table.means - overall) ** 2
    constant = within + between <= (_ROUNDING * np.abs(table.means).max(axis=0)) ** 2
    within, between = np.where(constant, 0, within), np.where(constant, 0, between)
    return RegionScores(
        regions=n,
        pixels=pixels,
        neighbours=len(table.pairs),
        variances=tuple(within.tolist()),
        totals=tuple((within + between).tolist()),
        morans=tuple(_moran(band, table.pairs) for band in table.means.T),
    )


def _moran(means: NDArray[np.float64], pairs: NDArray[np.int64]) -> float | None:
    deviations = means - means.mean()
    scatter = float(deviations @ deviations)
    if not len(pairs) or scatter <= len(means) * (_ROUNDING * float(np.abs(means).max())) ** 2:
        return None
    return float(len(means) / len(pairs) * (deviations[pairs[:, 0]] @ deviations[pairs[:, 1]]) / scatter)
