"""Dissolving of a coverage: unions of adjacent polygons of one value, and what follows for their columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.segment.grouped import grouped_sum


def adjacent_groups(polygons: NDArray[np.object_], values: NDArray[np.integer[Any]] | None = None) -> NDArray[np.int64]:
    """Return for each polygon the number of its group, from 0: polygons that share a side, directly or through others.

    Parameters
    ----------
    polygons : (n,) array of shapely polygons or multi-polygons
        Of a coverage: a common border has the same vertices in both. Polygons that share a corner only are not
        adjacent.
    values : (n,) int or None
        Polygons with different values are not in one group; None = all have the same.

    Examples
    --------
    >>> adjacent_groups(shapely.box([0, 1, 2], [0, 0, 1], [1, 2, 3], [1, 1, 2]))
    array([0, 0, 1])
    """
    parts, owner = shapely.get_parts(polygons, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    within = ring[1:] == ring[:-1]
    one, other, of = xy[:-1][within], xy[1:][within], owner[part[ring[:-1][within]]]
    swapped = (one[:, 0] > other[:, 0]) | ((one[:, 0] == other[:, 0]) & (one[:, 1] > other[:, 1]))
    one, other = np.where(swapped[:, None], other, one), np.where(swapped[:, None], one, other)
    sides = np.concatenate([one, other], axis=1)
    order = np.lexsort(sides.T)
    sides, of = sides[order], of[order]
    same = (sides[1:] == sides[:-1]).all(axis=1)
    return connected_groups(
        (of[1:][same], of[:-1][same]), np.zeros(len(polygons), np.int8) if values is None else values
    )


def connected_groups(
    pairs: tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]], values: NDArray[np.integer[Any]]
) -> NDArray[np.int64]:
    """Return for each polygon the number of its group, from 0 in the order of the first polygon of each.

    Parameters
    ----------
    pairs : ((pair,) int, (pair,) int)
        Positions of adjacent polygons.
    values : (n,) int
        Polygons with different values are not in one group.

    Examples
    --------
    >>> connected_groups((np.array([0, 1]), np.array([1, 2])), np.array([5, 5, 7]))
    array([0, 0, 1])
    """
    one, other = pairs
    n, same = len(values), values[one] == values[other]
    graph = coo_array((np.ones(int(same.sum()), np.int8), (one[same], other[same])), shape=(n, n))
    found = connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse.ravel()].astype(np.int64)


def unite(polygons: NDArray[np.object_], groups: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return the union of the polygons of each group, of groups 0, 1, … without gaps; borders between groups stay.

    Examples
    --------
    >>> unite(shapely.box([0, 1], 0, [1, 2], 1), np.array([0, 0]))[0].area
    2.0
    """
    order = np.argsort(groups, kind="stable")
    ends = np.cumsum(np.bincount(groups))
    united = np.empty(len(ends), object)
    for group, (begin, end) in enumerate(zip(ends - np.bincount(groups), ends, strict=True)):
        some = polygons[order[begin:end]]
        united[group] = some[0] if len(some) == 1 else _as_polygon(shapely.coverage_union_all(some))
    return np.asarray(shapely.orient_polygons(united))


def merge_columns(table: Mapping[str, NDArray[Any]], groups: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the columns of unions of regions.

    Parameters
    ----------
    table : mapping of str to (n,) array
        Columns of the regions, named as in the layer `labels`. Rows with the same `region` in a group are one region.
    groups : (n,) int64
        Group of each row, from 0 without gaps.

    Returns
    -------
    dict of str to (group,) array
        `regions`, their number; sums of `pixels` and `area`; means weighted by pixels; standard deviations of all
        pixels; extremes; `color` of the most pixels. Other columns are left out, see `merged_names`.

    Examples
    --------
    >>> table = {"region": np.array([1, 2]), "pixels": np.array([1, 3]), "mean_1": np.array([10.0, 20.0])}
    >>> merged = merge_columns(table, np.array([0, 0]))
    >>> merged["regions"].tolist(), merged["pixels"].tolist(), merged["mean_1"].tolist()
    ([2], [4], [17.5])
    """
    if "region" in table:  # a region that is split into several polygons has its columns in each
        keys = np.stack([groups, table["region"]], axis=1)
        once = np.sort(np.unique(keys, axis=0, return_index=True)[1])
        table, groups = {name: column[once] for name, column in table.items()}, groups[once]
    n = int(groups.max(initial=-1)) + 1
    weights = np.asarray(table.get("pixels", np.ones(len(groups))), np.float64)
    merged: dict[str, NDArray[Any]] = {"regions": np.bincount(groups, minlength=n)}
    for name, column in table.items():
        kind = merged_kind(name)
        if kind == "sum":
            merged[name] = grouped_sum(column, groups, n).astype(column.dtype)
        elif kind == "mean":
            merged[name] = _mean(column, weights, groups, n)
        elif kind == "std" and (mean := _partner(name)) in table:
            both = _mean(table[mean], weights, groups, n)
            square = _mean(column.astype(np.float64) ** 2 + (table[mean] - both[groups]) ** 2, weights, groups, n)
            merged[name] = np.sqrt(square)
        elif kind in ("min", "max"):
            merged[name] = _extreme(column, groups, n, kind)
        elif kind == "color":
            merged[name] = column[_largest(weights, groups, n)]
    return merged


def merged_kind(name: str) -> str:
    """Return how a column is merged: sum, mean, std, min, max or color; "" = not at all."""
    if name in ("pixels", "area"):
        return "sum"
    if name in ("color", "confidence"):
        return {"color": "color", "confidence": "mean"}[name]
    return next(
        (kind for kind in ("mean", "std", "min", "max") if name.startswith(f"{kind}_") or name.endswith(f"_{kind}")), ""
    )


def is_constant(column: NDArray[Any], groups: NDArray[np.int64]) -> bool:
    """Return whether all rows of each group have one value; NaN and None differ from each other and all else."""
    order = np.argsort(groups, kind="stable")
    same = groups[order][1:] == groups[order][:-1]
    return bool((column[order][1:] == column[order][:-1])[same].all())


def _partner(name: str) -> str:
    """Return the name of the mean that belongs to a standard deviation."""
    return f"mean_{name.removeprefix('std_')}" if name.startswith("std_") else f"{name.removesuffix('_std')}_mean"


def _mean(column: NDArray[Any], weights: NDArray[np.float64], groups: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    values = column.astype(np.float64)
    known = ~np.isnan(values)
    total = np.bincount(groups, np.where(known, weights, 0), minlength=n)
    sums = np.bincount(groups, np.where(known, values, 0) * weights, minlength=n)
    return np.asarray(sums / np.where(total > 0, total, np.nan))


def _extreme(column: NDArray[Any], groups: NDArray[np.int64], n: int, kind: str) -> NDArray[np.float64]:
    reduce, start = (np.fmin, np.inf) if kind == "min" else (np.fmax, -np.inf)
    found = np.full(n, start)
    reduce.at(found, groups, column.astype(np.float64))
    return np.where(np.isinf(found), np.nan, found)


def _largest(weights: NDArray[np.float64], groups: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    order = np.lexsort((weights, groups))
    return order[np.searchsorted(groups[order], np.arange(n), side="right") - 1]


def _as_polygon(union: shapely.Geometry) -> shapely.Geometry:
    parts = shapely.get_parts(union)
    return parts[0] if len(parts) == 1 else union
