"""From region numbers to polygons: the pieces of a tile's core, with a vertex wherever a neighbour needs one."""

from __future__ import annotations

import numpy as np
import shapely
from numba import njit
from numpy.typing import NDArray


def outline(
    regions: NDArray[np.int64], *, offset: tuple[int, int] = (0, 0)
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Outline every 4-connected piece of equal region number in a tile's core.

    Parameters
    ----------
    regions : (y + 2, x + 2) int64, the core and one pixel of its neighbours on each side; 0 = no data or no scene
    offset : (col, row) of the core's first pixel in the scene

    Returns
    -------
    polygons : (piece,) object, shapely Polygon in pixels of the scene (x = col, y = row), in reading order
    numbers : (piece,) int64, the region number of each; a region of several pieces is there several times

    Notes
    -----
    A ring has a vertex where it turns, and where it goes straight but the region on its other side changes. So every
    lattice point at which three regions meet is a vertex of all of them. On a tile line a vertex is needed if the
    regions change on either side of the line; both tiles see that, and put the same vertices there.

    Where two pixels of a piece touch only in a corner, the ring goes over to the other pixel. The piece joins the two
    elsewhere as well, and that way, closed through the corner, parts the two pixels there that are not its own; so a
    ring that follows one of these never comes to the corner again. No ring touches itself, a piece has one shell, and
    nothing has to be split.

    Shells run counter-clockwise in (x, y), which is clockwise on an image whose rows go down; holes run the other way.

    Examples
    --------
    >>> polygons, numbers = outline(np.pad(np.array([[5, 5, 7]]), 1), offset=(10, 0))
    >>> polygons[0].wkt, numbers
    ('POLYGON ((10 0, 12 0, 12 1, 10 1, 10 0))', array([5, 7]))
    """
    regions = np.require(regions, np.int64, ["C", "W"])  # one kind of array, so numba compiles once
    pieces, n_pieces = _pieces(regions)
    starts, owners, sizes = _rings(pieces, regions)
    order = np.argsort(owners, kind="stable")  # a piece's shell was met before its holes, and stays before them
    ring_offsets = _offsets(sizes[order])
    polygon_offsets = _offsets(np.bincount(owners - 1, minlength=n_pieces))
    coordinates = _coordinates(pieces, regions, starts[order], ring_offsets)
    coordinates += np.asarray(offset, np.float64)
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, coordinates, (ring_offsets, polygon_offsets))
    shells = starts[order][polygon_offsets[:-1]]  # (piece, 2)
    return polygons, regions[shells[:, 0], shells[:, 1]]


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


@njit(cache=True)
def _pieces(regions: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """Return the 4-connected pieces of the core, numbered from 1 in reading order, 0 on the rim; and their number."""
    height, width = regions.shape
    pieces = np.zeros((height, width), np.int32)
    parents = np.zeros((height - 2) * (width - 2) + 1, np.int32)
    n_found = 0
    for row in range(1, height - 1):
        for col in range(1, width - 1):
            region = regions[row, col]
            if region == 0:
                continue
            above = pieces[row - 1, col] if regions[row - 1, col] == region else 0
            before = pieces[row, col - 1] if regions[row, col - 1] == region else 0
            if above == 0 and before == 0:
                n_found += 1
                parents[n_found] = n_found
                pieces[row, col] = n_found
            elif above == 0 or before == 0:
                pieces[row, col] = above + before
            else:
                pieces[row, col] = _joined(parents, above, before)
    n_pieces = _number(parents, n_found)
    for row in range(1, height - 1):
        for col in range(1, width - 1):
            pieces[row, col] = parents[pieces[row, col]]
    return pieces, n_pieces


@njit(cache=True)
def _joined(parents: NDArray[np.int32], first: int, second: int) -> int:
    """Join two numbers' trees and return the root, which is the lowest number of both."""
    while parents[first] != first:
        parents[first] = parents[parents[first]]
        first = parents[first]
    while parents[second] != second:
        parents[second] = parents[parents[second]]
        second = parents[second]
    low = min(first, second)
    parents[max(first, second)] = low
    return low


@njit(cache=True)
def _number(parents: NDArray[np.int32], n_found: int) -> int:
    """Replace each number's parent by the final number of its piece; return how many pieces there are."""
    n_pieces = 0
    for number in range(1, n_found + 1):
        if parents[number] == number:
            n_pieces += 1
            parents[number] = n_pieces
        else:
            parents[number] = parents[parents[number]]  # a parent is lower, so it is final already
    return n_pieces


@njit(cache=True)
def _rings(
    pieces: NDArray[np.int32], regions: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find all rings, in the order of their first upper edges.

    Returns
    -------
    starts : (ring, 2) int64, row and col of the pixel whose upper edge is the ring's first
    owners : (ring,) int64, the piece
    sizes : (ring,) int64, number of coordinates, the first one counted again at the end
    """
    height, width = pieces.shape
    n_most = 0
    for row in range(1, height - 1):
        for col in range(1, width - 1):
            n_most += _begins(pieces, row, col)
    starts = np.empty((n_most, 2), np.int64)
    owners = np.empty(n_most, np.int64)
    sizes = np.empty(n_most, np.int64)
    seen = np.zeros((height, width), np.bool_)  # upper edges that a ring has walked along; every ring has one
    nowhere = np.empty((0, 2), np.float64)
    n_rings = 0
    for row in range(1, height - 1):
        for col in range(1, width - 1):
            if _begins(pieces, row, col) and not seen[row, col]:
                starts[n_rings, 0], starts[n_rings, 1] = row, col
                owners[n_rings] = pieces[row, col]
                sizes[n_rings] = _walk(pieces, regions, (row, col), seen, nowhere)
                n_rings += 1
    return starts[:n_rings], owners[:n_rings], sizes[:n_rings]


@njit(cache=True)
def _begins(pieces: NDArray[np.int32], row: int, col: int) -> bool:
    """Tell whether a ring can have its first upper edge here: the edge is one, and does not go on from the left."""
    piece = pieces[row, col]
    if piece == 0 or pieces[row - 1, col] == piece:
        return False
    return pieces[row, col - 1] != piece or pieces[row - 1, col - 1] == piece


@njit(cache=True)
def _coordinates(
    pieces: NDArray[np.int32], regions: NDArray[np.int64], starts: NDArray[np.int64], ring_offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the (x, y) of all rings, the core's first pixel at 0, 0."""
    coordinates = np.empty((ring_offsets[-1], 2), np.float64)
    unused = np.zeros((0, 0), np.bool_)
    for ring in range(len(starts)):
        out = coordinates[ring_offsets[ring] : ring_offsets[ring + 1]]
        _walk(pieces, regions, (starts[ring, 0], starts[ring, 1]), unused, out)
    return coordinates


@njit(cache=True)
def _walk(
    pieces: NDArray[np.int32],
    regions: NDArray[np.int64],
    start: tuple[int, int],
    seen: NDArray[np.bool_],
    out: NDArray[np.float64],
) -> int:
    """Walk once around a ring, its piece on the right hand; return the number of coordinates.

    Marks the upper edges in `seen` and writes the (x, y) into `out`, each only if it has any room.
    """
    row, col = start
    piece = pieces[row, col]
    down, right = 0, 1  # the direction; its left is (-right, down), its right (right, -down)
    _put(out, 0, col - 1, row - 1)
    size = 1
    while True:
        if seen.size and right == 1:
            seen[row, col] = True
        # the end of this edge: half a pixel ahead and half a pixel to the left of the middle of the pixel
        x, y = col + (right + down - 1) // 2, row + (down - right - 1) // 2
        left_row, left_col = row - right, col + down
        if pieces[left_row + down, left_col + right] == piece:
            row, col = left_row + down, left_col + right
            down, right = -right, down
            turned = True
        elif pieces[row + down, col + right] == piece:
            row, col = row + down, col + right
            turned = False
        else:
            down, right = right, -down
            turned = True
        if turned or regions[left_row, left_col] != regions[row - right, col + down]:
            _put(out, size, x, y)
            size += 1
        if (row, col) == start and right == 1:
            return size


@njit(cache=True)
def _put(out: NDArray[np.float64], index: int, x: int, y: int) -> None:
    """Write a coordinate if there is room."""
    if len(out):
        out[index, 0], out[index, 1] = x, y
