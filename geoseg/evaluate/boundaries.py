"""How well the borders between classes lie on those of the reference, and whether a tiling can be seen in them.

Everything is counted window by window, and the counts of all windows added up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window

BESIDE = (-9, -7, -5, 5, 7, 9)  # px from a tile line; where the density is that of the ground alone


class BorderCounts(NamedTuple):
    """Pixels on borders; adds up over windows.

    Parameters
    ----------
    pixels : all
    edge : on a border between classes
    edge_labelled, edge_confirmed : of these, with a label; and of these, near a border of the reference
    true_edge, true_edge_found : labelled pixels on a border of the reference; of these, near one between classes
    """

    pixels: int
    edge: int
    edge_labelled: int
    edge_confirmed: int
    true_edge: int
    true_edge_found: int


@dataclass(frozen=True)
class SeamCounts:
    """Pixels with class borders on the lines of a tiling and beside them; adds up over windows.

    Parameters
    ----------
    both : per axis (position,) int64; pixels at the position, see `seam_positions`, that have a class on either side
    differ : per axis (position,) int64; of these, with two classes
    """

    both: tuple[NDArray[np.int64], NDArray[np.int64]]
    differ: tuple[NDArray[np.int64], NDArray[np.int64]]

    def plus(self, other: SeamCounts) -> SeamCounts:
        """Return the counts of both."""
        return SeamCounts(
            (self.both[0] + other.both[0], self.both[1] + other.both[1]),
            (self.differ[0] + other.differ[0], self.differ[1] + other.differ[1]),
        )


def boundaries(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Say of each pixel whether it differs from the one on its left or above it, (y, x) bool.

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


def near(edge: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Say of each pixel whether one of `edge` is at most `reach` steps right, left, up and down away, (y, x) bool."""
    if not edge.any():
        return np.zeros(edge.shape, bool)
    return np.asarray(ndimage.distance_transform_cdt(~edge, metric="taxicab") <= reach)


def count_borders(
    classes: NDArray[np.integer], labels: NDArray[np.integer], inner: tuple[slice, slice], reach: int
) -> BorderCounts:
    """Count the borders of a window.

    Parameters
    ----------
    classes, labels : (y, x) int, 0 = none; `reach` + 1 pixels wider than the window, but for the rim of the scene
    inner : rows and columns of the window
    reach : steps between pixels that count as near
    """
    edge, labelled = boundaries(classes), labels > 0
    true_edge = boundaries(labels) & labelled
    found = true_edge & near(edge, reach)
    confirmed = edge & labelled & near(true_edge, reach)
    areas = (edge, edge & labelled, confirmed, true_edge, found)
    return BorderCounts(edge[inner].size, *(int(np.count_nonzero(area[inner])) for area in areas))


def seam_positions(length: int, tile: int) -> NDArray[np.int64]:
    """Return the rows or columns on tile lines, (line, 0) and beside them, (line, 1 …), as (line, 7) int64."""
    lines = np.arange(tile, length - max(BESIDE), tile)
    return lines[:, None] + np.array([0, *BESIDE])


def count_seams(
    classes: NDArray[np.integer], read: Window, core: Window, shape: tuple[int, int], tile: int
) -> SeamCounts:
    """Count the class borders of a window on tile lines and beside them.

    Parameters
    ----------
    classes : (y, x) int over `read`, 0 = none
    read : the core and at least one pixel around it, but for the rim of the scene
    core : window whose pixels are counted
    shape : (rows, cols) of the scene
    tile : pixels between tile lines
    """
    rows, cols = core.within(read)
    down = _compare(classes[:, cols], seam_positions(shape[0], tile).ravel() - read.row_off, rows)
    across = _compare(classes[rows].T, seam_positions(shape[1], tile).ravel() - read.col_off, cols)
    return SeamCounts((down[0], across[0]), (down[1], across[1]))


def seam_ratio(counts: SeamCounts) -> float | None:
    """Return the border density on the tile lines over that beside them; 1 = not to be seen, None = no tile line."""
    densities = [
        (differ / np.maximum(both, 1)).reshape(-1, 1 + len(BESIDE))  # (line, position)
        for both, differ in zip(counts.both, counts.differ, strict=True)
    ]
    density = np.concatenate(densities)
    return float(density[:, 0].mean() / max(density[:, 1:].mean(), 1e-12)) if len(density) else None


def _compare(
    classes: NDArray[np.integer], positions: NDArray[np.int64], inside: slice
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count, at those row positions that lie inside, the columns with a class on either side, and with two."""
    both, differ = np.zeros(len(positions), np.int64), np.zeros(len(positions), np.int64)
    here = np.flatnonzero((positions >= inside.start) & (positions < inside.stop))
    above, below = classes[positions[here] - 1], classes[positions[here]]
    classified = (above > 0) & (below > 0)
    both[here] = classified.sum(axis=1)
    differ[here] = (classified & (above != below)).sum(axis=1)
    return both, differ
