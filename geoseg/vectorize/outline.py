"""Outlines of the regions in a tile's core: polygons of regions inside it, arcs of regions that cross tile lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from geoseg.segment.compiled import compiled, internal
from geoseg.segment.union_find import find, union
from geoseg.vectorize.arcs import Arcs, trace
from geoseg.vectorize.regions import CoreSides
from geoseg.vectorize.rings import Polygons, polygons_of
from geoseg.vectorize.simplify import Shaping, area_allowances, lattice_points, no_points, shape_arcs


@dataclass(frozen=True)
class CoreOutlines:
    """Outlines of the regions in the core of one tile.

    Parameters
    ----------
    polygons : Polygons
        Of the regions that do not touch a tile line; `owners` are region numbers.
    arcs : Arcs
        Borders of the other regions: shaped if whole, as traced if they continue beyond the tile line.
    regions : (piece + 1,) int64
        Region of each piece in `arcs` and `sides`; 0 = none.
    vertices : (piece + 1,) int64
        Vertices of each piece before its border is simplified, without those of the tile line.
    sides : CoreSides
        Pieces along the sides of the core; 0 = nodata in the core or on the other side of the line.
    points : (point, 2) int64
        (col, row) at which whole arcs near the others turn or meet.
    """

    polygons: Polygons
    arcs: Arcs
    regions: NDArray[np.int64]
    vertices: NDArray[np.int64]
    sides: CoreSides
    points: NDArray[np.int64]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name, to be saved."""
        named: dict[str, NDArray[Any]] = {}
        named |= {f"polygon_{name}": array for name, array in self.polygons._asdict().items()}
        named |= {f"arc_{name}": array for name, array in self.arcs._asdict().items()}
        named |= {f"side_{name}": array for name, array in self.sides._asdict().items()}
        return named | {"regions": self.regions, "vertices": self.vertices, "points": self.points}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CoreOutlines:
        """Return the outlines from the arrays of `to_arrays`."""
        polygons = Polygons(*(arrays[f"polygon_{name}"] for name in Polygons._fields))
        arcs = Arcs(*(arrays[f"arc_{name}"] for name in Arcs._fields))
        sides = CoreSides(*(arrays[f"side_{name}"] for name in CoreSides._fields))
        return cls(polygons, arcs, arrays["regions"], arrays["vertices"], sides, arrays["points"])


def outline(
    regions: NDArray[np.int64],
    *,
    pixels: NDArray[np.int64] | None = None,
    shaping: Shaping | None = None,
    offset: tuple[int, int] = (0, 0),
) -> CoreOutlines:
    """Return the outlines of the 4-connected pieces of equal region number in a tile's core.

    Parameters
    ----------
    regions : (y + 2, x + 2) int64
        Region of each pixel of the core and of one pixel around it; 0 = nodata or outside the scene.
    pixels : (y, x) int64, optional
        Size in the whole scene of the region of each pixel. None = every region is one piece of the core.
    shaping : Shaping, optional
        How whole borders are smoothed and simplified. None = not at all.
    offset : (int, int)
        (col, row) of the first pixel of the core in the scene.

    Returns
    -------
    CoreOutlines

    Notes
    -----
    Arcs have a vertex where they turn and where they end. Every lattice point at which three regions meet is therefore
    a vertex of all of them, also of a region whose border is straight there.

    Examples
    --------
    >>> found = outline(np.pad(np.array([[5, 5, 7]]), 1), offset=(10, 0)).polygons
    >>> found.shapes()[1].wkt, found.owners
    ('POLYGON ((12 0, 13 0, 13 1, 12 1, 12 0))', array([5, 7]))
    """
    regions = np.require(regions, np.int64, ["C", "W"])  # one kind of array, so numba compiles once
    shaping = shaping or Shaping()
    pieces, n_pieces = find_pieces(regions)
    traced = trace(regions, pieces, offset=offset)
    arcs = traced
    if shaping.changes:
        allowances = area_allowances(traced, _region_sizes(pieces, n_pieces, pixels), shaping.min_pixels)
        on_sides = _points_on_sides(regions, offset, nodes_only=False)
        arcs = shape_arcs(
            traced, allowances, shaping, lattice_points(traced, others=on_sides) if shaping.neighbours else no_points()
        )

    sides = _sides_with_data_beyond(regions, pieces)
    goes_on = np.zeros(n_pieces + 1, np.bool_)
    goes_on[np.concatenate(sides)] = True
    goes_on[0] = False
    inside = ~goes_on
    inside[0] = False
    numbers = _regions_of(pieces, regions, n_pieces)
    polygons = polygons_of(arcs, inside)
    number = np.where(goes_on, np.cumsum(goes_on), 0)  # other pieces become 0, as nodata
    lengths = traced.edges() if shaping.smooth else traced.sizes - 1
    vertices = np.bincount(traced.left, lengths, n_pieces + 1) + np.bincount(traced.right, lengths, n_pieces + 1)
    kept = np.concatenate([[0], np.flatnonzero(goes_on)])
    others = arcs._replace(left=number[arcs.left], right=number[arcs.right])
    return CoreOutlines(
        polygons._replace(owners=numbers[polygons.owners]),
        others.take((others.left > 0) | (others.right > 0)),
        numbers[kept],
        np.where(kept > 0, vertices[kept], 0).astype(np.int64),
        CoreSides(*(number[side] for side in sides)),
        _points_near_open_arcs(traced, regions, offset, shaping),
    )


def _region_sizes(pieces: NDArray[np.int32], n_pieces: int, pixels: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Return the size in pixels of the region of each piece, (piece + 1,) int64."""
    if pixels is None:
        return np.maximum(np.bincount(pieces.ravel(), minlength=n_pieces + 1), 1)
    sizes = np.ones(n_pieces + 1, np.int64)
    sizes[pieces[1:-1, 1:-1]] = pixels
    sizes[0] = 1  # nodata; its border never moves
    return sizes


def _sides_with_data_beyond(regions: NDArray[np.int64], pieces: NDArray[np.int32]) -> CoreSides:
    """Return the pieces along the sides of the core, 0 where the pixel beyond is nodata."""
    return CoreSides(
        np.where(regions[0, 1:-1] > 0, pieces[1, 1:-1], 0),
        np.where(regions[-1, 1:-1] > 0, pieces[-2, 1:-1], 0),
        np.where(regions[1:-1, 0] > 0, pieces[1:-1, 1], 0),
        np.where(regions[1:-1, -1] > 0, pieces[1:-1, -2], 0),
    )


def _points_on_sides(regions: NDArray[np.int64], offset: tuple[int, int], *, nodes_only: bool) -> NDArray[np.int64]:
    """Return the lattice points on the sides of the core where borders meet or turn, (point, 2) int64 col and row."""
    height, width = regions.shape[0] - 1, regions.shape[1] - 1
    on_sides = np.ones((height, width), np.bool_)
    on_sides[1:-1, 1:-1] = False
    y, x = np.nonzero(on_sides)
    a, b, c, d = regions[y, x], regions[y, x + 1], regions[y + 1, x + 1], regions[y + 1, x]
    degree = (a != b).astype(int) + (b != c) + (c != d) + (d != a)
    turns = (degree == 2) & ((a != b) != (c != d))
    chosen = degree > 2 if nodes_only else (degree > 2) | turns
    return np.stack([x, y], axis=1)[chosen] + np.asarray(offset, np.int64)


def _points_near_open_arcs(
    traced: Arcs, regions: NDArray[np.int64], offset: tuple[int, int], shaping: Shaping
) -> NDArray[np.int64]:
    """Return the points that constrain arcs which continue beyond the tile line, (point, 2) int64 col and row."""
    nothing = np.zeros((0, 2), np.int64)
    if not shaping.neighbours:
        return nothing
    reach = int(np.ceil(shaping.neighbours))
    near = np.zeros((regions.shape[0] - 1, regions.shape[1] - 1), np.bool_)
    near[[0, -1]] = near[:, [0, -1]] = True
    near[tuple(_points_along(traced.take(~traced.whole), offset).T)] = True
    near = maximum_filter(near, 2 * reach + 1)
    whole = traced.take(traced.whole).xy.astype(np.int64)
    points = np.concatenate([whole, _points_on_sides(regions, offset, nodes_only=True)]) - offset
    chosen = np.zeros(near.shape[::-1], np.bool_)  # (col, row), so that the points are in ascending order
    chosen[tuple(points.T)] = True
    return np.argwhere(chosen & near.T) + offset


def _points_along(arcs: Arcs, offset: tuple[int, int]) -> NDArray[np.int64]:
    """Return the lattice points along arcs, (point, 2) int64 row and col in the core."""
    steps = np.diff(arcs.xy, axis=0)
    steps[arcs.offsets[1:-1] - 1] = 0  # between two arcs
    lengths = np.abs(steps).sum(axis=1).astype(np.int64) + 1
    first = np.cumsum(lengths) - lengths
    along = np.arange(lengths.sum()) - np.repeat(first, lengths)
    xy = np.repeat(arcs.xy[:-1], lengths, axis=0) + np.repeat(np.sign(steps), lengths, axis=0) * along[:, None]
    return (xy - offset).astype(np.int64)[:, ::-1]


@compiled(nogil=True)
def _regions_of(pieces: NDArray[np.int32], regions: NDArray[np.int64], n_pieces: int) -> NDArray[np.int64]:
    """Return the region of each piece, (piece + 1,) int64; 0 = nodata."""
    numbers = np.zeros(n_pieces + 1, np.int64)
    for row in range(pieces.shape[0]):
        for col in range(pieces.shape[1]):
            if pieces[row, col] > 0:
                numbers[pieces[row, col]] = regions[row, col]
    return numbers


@compiled(nogil=True)
def find_pieces(regions: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """Return the 4-connected pieces of the core, numbered from 1 in reading order, and how many there are.

    Parameters
    ----------
    regions : (y + 2, x + 2) int64
        Core and one pixel around it; 0 = nodata.

    Returns
    -------
    pieces : (y + 2, x + 2) int32
        0 = nodata or around the core.
    n_pieces : int
    """
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
                one, other = find(parents, above), find(parents, before)
                pieces[row, col] = union(parents, min(one, other), max(one, other))
    n_pieces = _number_roots(parents, n_found)
    for row in range(1, height - 1):
        for col in range(1, width - 1):
            pieces[row, col] = parents[pieces[row, col]]
    return pieces, n_pieces


@internal(nogil=True)
def _number_roots(parents: NDArray[np.int32], n_found: int) -> int:
    """Replace the parent of each number by the final number of its piece; return how many pieces there are."""
    n_pieces = 0
    for number in range(1, n_found + 1):
        if parents[number] == number:
            n_pieces += 1
            parents[number] = n_pieces
        else:
            parents[number] = parents[parents[number]]  # a parent has a lower number, so it is final
    return n_pieces
