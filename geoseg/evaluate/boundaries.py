"""Count class boundaries near those of a reference, and on the tile lines of a tiling.

The counts of windows add up to those of the scene. Computes with arrays; reads no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window

BESIDE = (-9, -7, -5, 5, 7, 9)  # px from a tile line, where the tiling does not affect the boundary density


class BoundaryCounts(NamedTuple):
    """Numbers of pixels on boundaries, as `boundaries` marks them; those of windows add up.

    Parameters
    ----------
    pixels : int
        All pixels.
    boundary : int
        Pixels on a class boundary.
    boundary_labelled : int
        Of these, pixels with a label.
    boundary_matched : int
        Of these, pixels near a boundary of the reference.
    reference : int
        Labelled pixels on a boundary of the reference.
    reference_matched : int
        Of these, pixels near a class boundary.
    """

    pixels: int
    boundary: int
    boundary_labelled: int
    boundary_matched: int
    reference: int
    reference_matched: int


@dataclass(frozen=True)
class SeamCounts:
    """Numbers of pixels with class boundaries on tile lines and beside them; those of windows add up.

    Parameters
    ----------
    classified : (rows, columns), each (position,) int64
        Per axis: pixels at each of the `seam_positions` that have a class on both sides.
    different : (rows, columns), each (position,) int64
        Of these, pixels with different classes on the two sides.
    """

    classified: tuple[NDArray[np.int64], NDArray[np.int64]]
    different: tuple[NDArray[np.int64], NDArray[np.int64]]

    def plus(self, other: SeamCounts) -> SeamCounts:
        """Return the sum of two counts."""
        return SeamCounts(
            (self.classified[0] + other.classified[0], self.classified[1] + other.classified[1]),
            (self.different[0] + other.different[0], self.different[1] + other.different[1]),
        )


def boundaries(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return the pixels that differ from their left or upper neighbour.

    Parameters
    ----------
    labels : (y, x) int

    Returns
    -------
    (y, x) bool

    Examples
    --------
    >>> boundaries(np.array([[1, 1, 2], [1, 1, 2]])).astype(int)
    array([[0, 0, 1],
           [0, 0, 1]])
    """
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    return edge


def near(edge: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """Return the pixels within a city-block distance of the pixels that are set.

    Parameters
    ----------
    edge : (y, x) bool
    distance : int
        Steps to the right, left, up and down; 0 returns `edge`.

    Returns
    -------
    (y, x) bool
    """
    if not edge.any():
        return np.zeros(edge.shape, bool)
    return np.asarray(ndimage.distance_transform_cdt(~edge, metric="taxicab") <= distance)


def count_boundaries(
    classes: NDArray[np.integer], labels: NDArray[np.integer], inner: tuple[slice, slice], tolerance: int
) -> BoundaryCounts:
    """Count the boundary pixels of a window.

    Parameters
    ----------
    classes, labels : (y, x) int
        0 = none. They extend `tolerance` + 1 pixels beyond the window, except at the edges of the scene.
    inner : tuple of slice
        Rows and columns of the window.
    tolerance : int
        City-block distance in pixels up to which boundaries match.

    Returns
    -------
    BoundaryCounts
    """
    edge, labelled = boundaries(classes), labels > 0
    reference = boundaries(labels) & labelled
    matched = edge & labelled & near(reference, tolerance)
    reference_matched = reference & near(edge, tolerance)
    masks = (edge, edge & labelled, matched, reference, reference_matched)
    return BoundaryCounts(edge[inner].size, *(int(np.count_nonzero(mask[inner])) for mask in masks))


def seam_positions(length: int, tile_size: int) -> NDArray[np.int64]:
    """Return the rows or columns at which seams are counted.

    Parameters
    ----------
    length : int
        Rows or columns of the scene.
    tile_size : int
        Pixels between tile lines.

    Returns
    -------
    (line, 7) int64
        First the tile line, then the positions beside it, see `BESIDE`.
    """
    lines = np.arange(tile_size, length - max(BESIDE), tile_size)
    return lines[:, None] + np.array([0, *BESIDE])


def count_seams(
    classes: NDArray[np.integer], read: Window, core: Window, shape: tuple[int, int], tile_size: int
) -> SeamCounts:
    """Count the class boundaries of a window on tile lines and beside them.

    Parameters
    ----------
    classes : (y, x) int
        Pixels of `read`; 0 = none.
    read : Window
        `core` and at least one pixel around it, except at the edges of the scene.
    core : Window
        The window whose pixels are counted.
    shape : tuple of int
        (rows, cols) of the scene.
    tile_size : int
        Pixels between tile lines.

    Returns
    -------
    SeamCounts
    """
    rows, cols = core.within(read)
    down = _compare(classes[:, cols], seam_positions(shape[0], tile_size).ravel() - read.row_off, rows)
    across = _compare(classes[rows].T, seam_positions(shape[1], tile_size).ravel() - read.col_off, cols)
    return SeamCounts((down[0], across[0]), (down[1], across[1]))


def seam_ratio(counts: SeamCounts) -> float | None:
    """Return the boundary density on tile lines divided by the density beside them.

    Parameters
    ----------
    counts : SeamCounts
        Of the whole scene.

    Returns
    -------
    float or None
        1 = no visible seam; None = the scene has no tile line.
    """
    densities = [
        (different / np.maximum(classified, 1)).reshape(-1, 1 + len(BESIDE))  # (line, position)
        for classified, different in zip(counts.classified, counts.different, strict=True)
    ]
    density = np.concatenate(densities)
    return float(density[:, 0].mean() / max(density[:, 1:].mean(), 1e-12)) if len(density) else None


def _compare(
    classes: NDArray[np.integer], positions: NDArray[np.int64], inside: slice
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count, at the row positions within `inside`, the columns with classes on both sides, and with different ones."""
    both, different = np.zeros(len(positions), np.int64), np.zeros(len(positions), np.int64)
    here = np.flatnonzero((positions >= inside.start) & (positions < inside.stop))
    above, below = classes[positions[here] - 1], classes[positions[here]]
    classified = (above > 0) & (below > 0)
    both[here] = classified.sum(axis=1)
    different[here] = (classified & (above != below)).sum(axis=1)
    return both, different
