"""Texture of regions: grey-level co-occurrence matrices (Haralick 1973) and gradients within each region."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.compiled import compiled
from geoseg.vectorize.region_runs import LocalRegions, RegionRuns

LEVELS = 16  # of grey, equally spaced over the stretch of the scene


class Cooccurrences(NamedTuple):
    """Numbers of pairs of adjacent pixels by their grey levels, where they are not 0.

    Parameters
    ----------
    groups : (cell,) int64
        Region, ascending.
    cells : (cell,) int64
        16 · lower level + higher level of the pair.
    counts : (cell,) int64
    """

    groups: NDArray[np.int64]
    cells: NDArray[np.int64]
    counts: NDArray[np.int64]


class Gradients(NamedTuple):
    """Differences in brightness between pixels of a region that share a side.

    Parameters
    ----------
    pairs : (region,) int64
    total : (region,) float64
        Sum of the absolute differences.
    """

    pairs: NDArray[np.int64]
    total: NDArray[np.float64]

    @classmethod
    def zeros(cls, n: int) -> Gradients:
        """Return the gradients of `n` regions without pixels."""
        return cls(np.zeros(n, np.int64), np.zeros(n))


def grey_levels(brightness: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the grey level of each pixel, from 0 to 15; brightness outside of 0 … 1 is clipped.

    Examples
    --------
    >>> grey_levels(np.array([-0.2, 0.0, 0.5, 1.3], np.float32))
    array([ 0,  0,  8, 15], dtype=uint8)
    """
    return np.clip(np.floor(brightness * np.float32(LEVELS)), 0, LEVELS - 1).astype(np.uint8)


def cooccurrences(runs: RegionRuns, regions: LocalRegions, levels: NDArray[np.uint8]) -> Cooccurrences:
    """Count the pairs of pixels of each region that touch at a side or a corner.

    Parameters
    ----------
    runs : RegionRuns
    regions : LocalRegions
    levels : (y + 2, x + 2) uint8
        Grey level of each pixel of the core and of one pixel around it.

    Notes
    -----
    The four directions at distance 1 are taken together. A pair belongs to the tile of its upper pixel, or the left one
    in a row, so that each pair of the scene is counted once.
    """
    return Cooccurrences(*_cooccurrences(*runs, regions.map, levels))


def summed_cooccurrences(parts: list[Cooccurrences]) -> Cooccurrences:
    """Return the sum of co-occurrences, with groups and cells in ascending order."""
    n_cells = LEVELS * LEVELS
    keys = np.concatenate([np.zeros(0, np.int64), *(part.groups * n_cells + part.cells for part in parts)])
    counts = np.concatenate([np.zeros(0, np.int64), *(part.counts for part in parts)])
    keys, inverse = np.unique(keys, return_inverse=True)
    total = np.bincount(inverse.ravel(), counts, minlength=len(keys)).astype(np.int64)
    return Cooccurrences(keys // n_cells, keys % n_cells, total)


def haralick(found: Cooccurrences, n_groups: int) -> NDArray[np.float64]:
    """Return contrast, homogeneity and entropy, (group, 3) float64; NaN for a group without pairs.

    Notes
    -----
    Of the symmetric matrix p of probabilities: Σ p (i - j)², Σ p / (1 + (i - j)²) and -Σ p ln p, as in
    ``skimage.feature.graycoprops``.
    """
    group, counts = found.groups, found.counts.astype(np.float64)
    apart = (found.cells // LEVELS - found.cells % LEVELS) ** 2
    total = np.bincount(group, counts, minlength=n_groups)
    total = np.where(total > 0, total, np.nan)
    share = counts / total[group]
    # A pair of different levels fills two cells of the symmetric matrix with half of its probability each.
    information = -share * np.log(np.where(apart > 0, share / 2, share))
    sums = (share * apart, share / (1 + apart), information)
    columns = [np.bincount(group, weights, minlength=n_groups) for weights in sums]
    return np.where(np.isnan(total)[:, None], np.nan, np.stack(columns, axis=1))


def gradients(runs: RegionRuns, regions: LocalRegions, brightness: NDArray[np.float32]) -> Gradients:
    """Return the gradients of the regions of a core; `brightness` is (y + 2, x + 2), with one pixel around the core."""
    return Gradients(*_gradients(*runs, regions.map, brightness))


@compiled(nogil=True)
def _cooccurrences(rows, begins, ends, offsets, index, levels):  # type: ignore[no-untyped-def]
    n_regions, n_runs = len(offsets) - 1, len(rows)
    counts = np.zeros(256, np.int64)
    size = min(256 * n_regions, 4 * index.size)
    groups, cells, found = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    total = 0
    for region in range(n_regions):
        if offsets[region] == offsets[region + 1]:
            continue
        counts[:] = 0
        for run in range(offsets[region], min(offsets[region + 1], n_runs)):
            row = rows[run] + 1
            for col in range(begins[run] + 1, ends[run] + 1):
                level = levels[row, col]
                for right, down in ((1, 0), (-1, 1), (0, 1), (1, 1)):
                    if index[row + down, col + right] == region:
                        other = levels[row + down, col + right]
                        counts[16 * min(level, other) + max(level, other)] += 1
        for cell in range(256):
            if counts[cell] > 0:
                groups[total], cells[total], found[total] = region, cell, counts[cell]
                total += 1
    return groups[:total].copy(), cells[:total].copy(), found[:total].copy()


@compiled(nogil=True)
def _gradients(rows, begins, ends, offsets, index, brightness):  # type: ignore[no-untyped-def]
    n_regions = len(offsets) - 1
    pairs, total = np.zeros(n_regions, np.int64), np.zeros(n_regions)
    for region in range(n_regions):
        n, differences = 0, 0.0
        for run in range(offsets[region], offsets[region + 1]):
            row = rows[run] + 1
            for col in range(begins[run] + 1, ends[run] + 1):
                here = np.float64(brightness[row, col])
                if index[row, col + 1] == region:
                    n += 1
                    differences += abs(here - brightness[row, col + 1])
                if index[row + 1, col] == region:
                    n += 1
                    differences += abs(here - brightness[row + 1, col])
        pairs[region], total[region] = n, differences
    return pairs, total
