"""Rings assembled from arcs, and polygons from rings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.segment.compiled import compiled
from geoseg.vectorize.arcs import Arcs, starts_of
from geoseg.vectorize.wkb import polygons_to_wkb, wkb_sizes

_DENSE = 32  # up to this many table entries per key, a lookup table is faster than sorting


class Polygons(NamedTuple):
    """Polygons as plain arrays.

    Parameters
    ----------
    coords : (vertex, 2) float64
        (x, y); the last vertex of a ring equals its first.
    rings : (ring + 1,) int64
        Where the vertices of each ring begin.
    parts : (polygon + 1,) int64
        Where the rings of each polygon begin, its shell first.
    owners : (polygon,) int64
        Piece or region of each polygon, ascending.
    """

    coords: NDArray[np.float64]
    rings: NDArray[np.int64]
    parts: NDArray[np.int64]
    owners: NDArray[np.int64]

    def shapes(self) -> NDArray[np.object_]:
        """Return them as shapely polygons."""
        offsets = (self.rings, self.parts)
        polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, self.coords, offsets)
        return np.asarray(polygons, object)

    def transformed(self, transform: Affine) -> Polygons:
        """Return them in CRS coordinates; `transform` maps pixel corners (col, row) to (x, y)."""
        return self._replace(coords=transform_corners(self.coords, transform))

    def to_wkb(self) -> pa.Array:
        """Return them as well-known binary."""
        return polygons_to_wkb(self.coords, self.rings, self.parts)

    def split(self, n_rows: int, n_bytes: int) -> Iterator[Polygons]:
        """Yield them in batches of at most `n_rows` and `n_bytes` of WKB; a larger polygon is a batch."""
        ends = np.cumsum(wkb_sizes(self.rings, self.parts))
        first, before = 0, 0
        while first < len(self.owners):
            last = int(np.searchsorted(ends, before + n_bytes, side="right"))
            last = max(first + 1, min(last, first + n_rows))
            before = int(ends[last - 1])
            parts = self.parts[first : last + 1]
            rings = self.rings[parts[0] : parts[-1] + 1]
            coords = self.coords[rings[0] : rings[-1]]
            yield Polygons(coords, rings - rings[0], parts - parts[0], self.owners[first:last])
            first = last


def transform_corners(corners: NDArray[np.float64], transform: Affine) -> NDArray[np.float64]:
    """Return pixel corners in CRS coordinates; equal corners stay equal to the last bit.

    Parameters
    ----------
    corners : (vertex, 2) float64
        (col, row).
    transform : Affine

    Returns
    -------
    (vertex, 2) float64
        (x, y).
    """
    a, b, c, d, e, f = list(transform)[:6]
    x, y = corners.T
    return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)


def polygons_of(arcs: Arcs, wanted: NDArray[np.bool_]) -> Polygons:
    """Return the polygons of connected pieces, of which all arcs must be given.

    Parameters
    ----------
    arcs : Arcs
        Whole ones, simplified or not; their nodes are pixel corners.
    wanted : (piece + 1,) bool
        Pieces whose polygons are returned; False for the first, nodata.

    Returns
    -------
    Polygons

    Notes
    -----
    A ring has its piece on the right. Where two pixels of a piece touch only at a corner, the ring continues along the
    other pixel. The piece connects the two elsewhere as well, and that connection, closed through the corner, separates
    the two other pixels at the corner; so a ring along one of these never returns to the corner. No ring touches
    itself, a piece has one shell, and nothing has to be split.

    Shells run counter-clockwise in (x, y), which is clockwise on an image whose rows go down; holes run the other way.
    """
    sides = _sides(arcs, wanted)
    following = _following(*sides[2:])
    order, ring_sizes = _trace_rings(following)
    bounds = starts_of(ring_sizes)
    arc, forward = sides.arc[order], sides.forward[order]
    owners = sides.piece[order[bounds[:-1]]]
    counts = np.bincount(owners, minlength=1)
    lengths, is_hole = _measure(arcs, (arc, forward), bounds, counts[owners] == 1)
    sorted_rings = np.lexsort((is_hole, owners))
    rings = starts_of(lengths[sorted_rings])
    coords = np.empty((rings[-1], 2))
    _write(arcs, (arc, forward), bounds, sorted_rings, rings, coords)
    pieces = np.flatnonzero(counts)
    return Polygons(coords, rings, starts_of(counts[pieces]), pieces)


class _Sides(NamedTuple):
    """Arcs as seen from one side, (side,) each, with the piece on the right."""

    arc: NDArray[np.int64]
    forward: NDArray[np.bool_]
    piece: NDArray[np.int64]
    begin: NDArray[np.int64]  # nodes; a ring has one of its own
    end: NDArray[np.int64]
    begin_way: NDArray[np.int8]
    end_way: NDArray[np.int8]


def _sides(arcs: Arcs, wanted: NDArray[np.bool_]) -> _Sides:
    ahead, back = np.flatnonzero(wanted[arcs.right]), np.flatnonzero(wanted[arcs.left])
    first, last = _nodes(arcs)
    return _Sides(
        np.concatenate([ahead, back]),
        np.arange(len(ahead) + len(back)) < len(ahead),
        np.concatenate([arcs.right[ahead], arcs.left[back]]),
        np.concatenate([first[ahead], last[back]]),
        np.concatenate([last[ahead], first[back]]),
        np.concatenate([arcs.ways[ahead, 0], (arcs.ways[back, 1] + 2) % 4]),
        np.concatenate([arcs.ways[ahead, 1], (arcs.ways[back, 0] + 2) % 4]),
    )


def _nodes(arcs: Arcs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the nodes at which each arc begins and ends."""
    first, last = arcs.xy[arcs.offsets[:-1]], arcs.xy[np.maximum(arcs.offsets[1:] - 1, 0)]
    width = int(arcs.xy[:, 0].max(initial=0)) + 2
    keys = np.stack([first[:, 1] * width + first[:, 0], last[:, 1] * width + last[:, 0]]).astype(np.int64)
    nodes = _compact(keys)
    nodes[:, arcs.ring] = nodes.max(initial=0) + 1 + np.arange(np.count_nonzero(arcs.ring))
    return nodes[0], nodes[1]


def _compact(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number from 0 for each key, the same for equal keys."""
    low = int(keys.min(initial=0))
    span = int(keys.max(initial=0)) - low + 1
    if span > _DENSE * keys.size:
        return np.unique(keys, return_inverse=True)[1].reshape(keys.shape)
    used = np.zeros(span, np.bool_)
    used[keys - low] = True
    return (np.cumsum(used) - 1)[keys - low]


@compiled(nogil=True)
def _following(piece, begin, end, begin_way, end_way):  # type: ignore[no-untyped-def]
    """Return the side that continues each one in its ring.

    As many sides of a piece begin at a node as end there: one, or two if the piece has two pixels across a corner. Of
    two, the one that turns left continues.
    """
    n_nodes = 0
    for side in range(len(begin)):
        n_nodes = max(n_nodes, begin[side] + 1)
    latest = np.full(n_nodes, -1)  # of the sides that begin at each node, a linked list
    earlier = np.empty_like(begin)
    for side in range(len(begin)):
        earlier[side], latest[begin[side]] = latest[begin[side]], side
    following = np.full(len(begin), -1)
    for side in range(len(begin)):
        other = latest[end[side]]
        while other >= 0:
            if piece[other] == piece[side] and (following[side] < 0 or (begin_way[other] - end_way[side] + 4) % 4 == 3):
                following[side] = other
            other = earlier[other]
    return following


@compiled(nogil=True)
def _trace_rings(following):  # type: ignore[no-untyped-def]
    """Return the sides ring by ring, and the number of sides of each ring."""
    order, sizes = np.empty_like(following), np.empty_like(following)
    seen = np.zeros(len(following), np.bool_)
    n, n_rings = 0, 0
    for first in range(len(following)):
        if seen[first]:
            continue
        begin, side = n, first
        while not seen[side]:
            seen[side] = True
            order[n] = side
            n += 1
            side = following[side]
        sizes[n_rings] = n - begin
        n_rings += 1
    return order, sizes[:n_rings].copy()


@compiled(nogil=True)
def _measure(arcs, sides, bounds, alone):  # type: ignore[no-untyped-def]
    """Return the number of vertices of each ring, with the closing one, and whether it is a hole.

    A ring that is `alone` is the only one of its piece, so it is no hole.
    """
    xy, offsets = arcs.xy, arcs.offsets
    arc, forward = sides
    lengths = np.ones(len(bounds) - 1, np.int64)
    is_hole = np.zeros(len(bounds) - 1, np.bool_)
    for ring in range(len(bounds) - 1):
        first = offsets[arc[bounds[ring]]]
        x, y = xy[first, 0], xy[first, 1]
        area = 0.0
        for side in range(bounds[ring], bounds[ring + 1]):
            begin, end = offsets[arc[side]], offsets[arc[side] + 1]
            lengths[ring] += end - begin - 1
            if alone[ring]:
                continue
            part = 0.0
            for k in range(begin + 1, end):
                part += (xy[k - 1, 0] - x) * (xy[k, 1] - y) - (xy[k, 0] - x) * (xy[k - 1, 1] - y)
            area += part if forward[side] else -part
        is_hole[ring] = area < 0
    return lengths, is_hole


@compiled(nogil=True)
def _write(arcs, sides, bounds, sorted_rings, rings, coords):  # type: ignore[no-untyped-def]
    """Write the vertices of the rings, closed, in the order `sorted_rings`."""
    xy, offsets = arcs.xy, arcs.offsets
    arc, forward = sides
    for i in range(len(sorted_rings)):
        ring, n = sorted_rings[i], rings[i]
        for side in range(bounds[ring], bounds[ring + 1]):
            first, last = offsets[arc[side]], offsets[arc[side] + 1] - 1
            step = 1 if forward[side] else -1
            vertex = first if forward[side] else last
            for _ in range(last - first):
                coords[n, 0], coords[n, 1] = xy[vertex, 0], xy[vertex, 1]
                n, vertex = n + 1, vertex + step
        coords[n, 0], coords[n, 1] = coords[rings[i], 0], coords[rings[i], 1]
