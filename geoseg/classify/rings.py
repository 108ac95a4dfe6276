"""The edges of polygons as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray


@dataclass(frozen=True)
class Edges:
    """Straight edges of the rings of polygons, in the order of the polygons.

    Parameters
    ----------
    begin, end : (edge, 2) float64
        Coordinates x, y.
    ring : (edge,) int64
        Ring of each edge, from 0.
    row : (ring,) int64
        Row of the polygon of each ring.
    is_hole : (ring,) bool
    """

    begin: NDArray[np.float64]
    end: NDArray[np.float64]
    ring: NDArray[np.int64]
    row: NDArray[np.int64]
    is_hole: NDArray[np.bool_]


def edges_of(polygons: NDArray[Any]) -> Edges:
    """Return the edges of polygons and multi-polygons; of other geometries and None there are none.

    Parameters
    ----------
    polygons : (row,) array of shapely geometries

    Examples
    --------
    >>> edges = edges_of(np.array([shapely.box(0, 0, 2, 1), None]))
    >>> edges.begin.tolist(), edges.row.tolist()
    ([[2.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.0, 0.0]], [0])
    """
    parts, row = shapely.get_parts(polygons, return_index=True)
    is_polygon = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)
    parts, row = parts[is_polygon], row[is_polygon]
    if not len(parts):
        empty = np.empty((0, 2))
        return Edges(empty, empty, np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, bool))
    _, points, (ring_offsets, part_offsets) = shapely.to_ragged_array(parts, include_z=False)
    n_points = np.diff(ring_offsets)
    ring = np.repeat(np.arange(len(n_points)), n_points)
    inner = ring[:-1] == ring[1:]  # not from the last point of a ring to the first one of the next
    is_hole = np.ones(len(n_points), bool)
    is_hole[part_offsets[:-1]] = False
    ring_row = np.repeat(row, np.diff(part_offsets))
    return Edges(points[:-1][inner], points[1:][inner], ring[:-1][inner], ring_row, is_hole)
