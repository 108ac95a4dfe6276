"""Shape of polygons by their second moments and their convex hull, as the classifier uses it."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.classify.rings import Edges

SHAPES = ("area", "compactness", "elongation", "rectangularity", "solidity")

_TINY = 1e-12


def polygon_shapes(polygons: NDArray[Any], edges: Edges) -> dict[str, NDArray[np.float64]]:
    """Return the measures of `SHAPES`, each (row,) float64; 0 for polygons without an area.

    Parameters
    ----------
    polygons : (row,) array of shapely geometries
    edges : Edges
        Of the polygons.

    Notes
    -----
    `area` is in squared units of the CRS. `compactness` is 16 area / perimeter², 1 for a square. `elongation` is 1 -
    the ratio of the standard deviations of the pixels along the minor and the major axis: 0 for a square or a circle,
    near 1 for a line. `rectangularity` is the share of the rectangle around the polygon that is parallel to these
    axes, `solidity` the share of the convex hull. The moments follow from Green's theorem, ring by ring (Steger 1996,
    On the calculation of arbitrary moments of polygons).

    Examples
    --------
    >>> from geoseg.classify.rings import edges_of
    >>> bar = np.array([shapely.box(0, 0, 4, 1)])
    >>> {name: round(float(value[0]), 2) for name, value in polygon_shapes(bar, edges_of(bar)).items()}
    {'area': 4.0, 'compactness': 0.64, 'elongation': 0.75, 'rectangularity': 1.0, 'solidity': 1.0}
    """
    n, row = len(polygons), edges.row[edges.ring]
    bounds = shapely.bounds(polygons)  # (row, 4), NaN where there is no geometry
    centre = np.nan_to_num((bounds[:, :2] + bounds[:, 2:]) / 2)
    begin, end = edges.begin - centre[row], edges.end - centre[row]
    moments = _moments(begin, end, edges, n)
    area, major, minor, axis = _axes(moments)
    perimeter = np.bincount(row, np.hypot(*(end - begin).T), minlength=n).astype(np.float64)
    hull = shapely.area(shapely.convex_hull(polygons))
    rectangle = _extent(begin, row, axis) * _extent(begin, row, np.stack([-axis[:, 1], axis[:, 0]], axis=1))
    found = {
        "area": area,
        "compactness": _ratio(16 * area, perimeter * perimeter),
        "elongation": np.where(major > 0, 1 - np.sqrt(_ratio(minor, major)), 0.0),
        "rectangularity": np.minimum(_ratio(area, rectangle), 1.0),
        "solidity": np.minimum(_ratio(area, np.nan_to_num(hull)), 1.0),
    }
    return {name: found[name] for name in SHAPES}


def _moments(begin: NDArray[np.float64], end: NDArray[np.float64], edges: Edges, n: int) -> NDArray[np.float64]:
    """Return the sums of 1, x, y, x², y² and xy over the area of each polygon, (6, row); holes are subtracted."""
    (x0, y0), (x1, y1) = begin.T, end.T
    cross = x0 * y1 - x1 * y0
    terms = (
        cross / 2,
        cross * (x0 + x1) / 6,
        cross * (y0 + y1) / 6,
        cross * (x0 * x0 + x0 * x1 + x1 * x1) / 12,
        cross * (y0 * y0 + y0 * y1 + y1 * y1) / 12,
        cross * (x0 * y1 + 2 * x0 * y0 + 2 * x1 * y1 + x1 * y0) / 24,
    )
    n_rings = len(edges.row)
    rings = np.stack([np.bincount(edges.ring, term, minlength=n_rings) for term in terms])  # (6, ring)
    rings *= np.where(rings[0] < 0, -1, 1) * np.where(edges.is_hole, -1, 1)
    return np.stack([np.bincount(edges.row, of_ring, minlength=n) for of_ring in rings])


def _axes(
    moments: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the area, the variances along the major and the minor axis, and the major axis as (row, 2) unit vector."""
    area = np.maximum(moments[0], 0)
    _, x, y, xx, yy, xy = moments / np.where(area > _TINY, area, np.inf)
    a, b, c = xx - x * x, yy - y * y, xy - x * y
    half, spread = (a + b) / 2, np.hypot((a - b) / 2, c)
    angle = np.arctan2(2 * c, a - b) / 2
    axis = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return area, np.maximum(half + spread, 0), np.maximum(half - spread, 0), axis


def _extent(points: NDArray[np.float64], row: NDArray[np.int64], axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the length of each polygon in the direction of its unit vector; the rows of the points are ascending."""
    length = np.zeros(len(axis))
    if len(points):
        along = np.einsum("ij,ij->i", points, axis[row])
        first = np.flatnonzero(np.diff(row, prepend=-1))
        length[row[first]] = np.maximum.reduceat(along, first) - np.minimum.reduceat(along, first)
    return length


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros(len(above)), where=below > _TINY)
