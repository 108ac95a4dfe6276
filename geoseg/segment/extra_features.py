"""The components of a features raster in superpixel tables: their scale, and superpixels that have none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.clustering import nearest
from geoseg.segment.table_storage import IN_MEMORY, TableStorage, batches
from geoseg.segment.votes import SuperpixelTable

_MIN_VARIANCE = 0.01  # of the scene's own features, in squared units of the stretch: less is noise of a flat scene


def known_rows(table: SuperpixelTable, storage: TableStorage = IN_MEMORY) -> SuperpixelTable:
    """Return the superpixels that the features raster covers; all where it covers none, or there is none.

    Pairs are kept, also those with superpixels that are left out. `storage` keeps the new table.
    """
    if table.extra is None:
        return table
    known = np.asarray(~np.isnan(table.extra).any(axis=1))
    if known.all() or not known.any():
        return table
    none = np.zeros(0, np.int64)
    some = (table.rows(rows).rows(known[rows]) for rows in batches(len(known), storage))
    changed = storage.concatenate(replace(part, pairs=none, borders=none).fields() for part in some)
    return replace(table, **(changed | {"pairs": table.pairs, "borders": table.borders}))


def extra_scale(
    table: SuperpixelTable, features: NDArray[np.float64], weights: NDArray[np.float64], feature_weight: float
) -> float:
    """Return the factor that gives the extra components the variance of the scene's own features.

    Parameters
    ----------
    table : SuperpixelTable
        As returned by `known_rows`.
    features : (n, feature) float64
        The scene's own features of its superpixels.
    weights : (n,) float64
        Of the superpixels.
    feature_weight : float
        The total standard deviation of the extra components, in units of that of `features`.

    Returns
    -------
    float
        0 where there are none or they are the same everywhere.

    Examples
    --------
    >>> none = np.zeros(0, np.int64)
    >>> table = SuperpixelTable(none, none, none, none, none, none, extra=np.array([[0.0], [4.0]]))
    >>> extra_scale(table, np.array([[0.0], [1.0]]), np.ones(2), 3.0)
    0.75
    """
    if table.extra is None or np.isnan(table.extra).any():
        return 0.0
    own, extra = _variance(features, weights), _variance(table.extra, weights)
    return float(feature_weight * np.sqrt(max(own, _MIN_VARIANCE) / extra)) if extra > 0 else 0.0


def scaled(table: SuperpixelTable, scale: float) -> SuperpixelTable:
    """Return a table whose extra components are multiplied by `scale`; the same object where there are none.

    With a scale of 0 they are 0 also where they are unknown.
    """
    if table.extra is None:
        return table
    return replace(table, extra=scale * table.extra if scale else np.zeros_like(table.extra))


def completed(points: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points without NaN: those of a point become the values of the centroid that is nearest by the others.

    The nearest centroid of a point is then the one that is nearest by the features that it has.

    Parameters
    ----------
    points : (n, feature) float64
        NaN in the same columns of all rows that have any.
    centroids : (cluster, feature) float64

    Raises
    ------
    ValueError
        If the numbers of features differ.

    Examples
    --------
    >>> completed(np.array([[1.0, np.nan], [4.0, 0.2]]), np.array([[0.0, 7.0], [5.0, 8.0]]))
    array([[1. , 7. ],
           [4. , 0.2]])
    """
    if points.shape[1] != centroids.shape[1]:
        raise ValueError(f"superpixels have {points.shape[1]} features and clusters {centroids.shape[1]}")
    rows = np.isnan(points).any(axis=1)
    if not rows.any():
        return points
    columns = np.isnan(points[rows]).any(axis=0)
    found = nearest(points[rows][:, ~columns], centroids[:, ~columns])
    complete = points.copy()
    complete[np.ix_(rows, columns)] = centroids[:, columns][found]
    return complete


def _variance(points: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the weighted total variance."""
    deviations = points - np.average(points, axis=0, weights=weights)
    return float(np.average((deviations**2).sum(axis=1), weights=weights))
