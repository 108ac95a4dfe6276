"""Objects: connected regions of one class of a coarser level of the class tree, with numbers of the whole scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def objects_of(pairs: NDArray[np.int64], classes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the object of each region, from 1 in the order of their first regions.

    Parameters
    ----------
    pairs : (pair, 2) int64
        Regions that share a border, from 1.
    classes : (region,) int
        Coarser class of each region.

    Examples
    --------
    >>> objects_of(np.array([[1, 2], [2, 3], [3, 4]]), np.array([7, 7, 5, 7]))
    array([1, 1, 2, 3])
    """
    n = len(classes)
    one, other = pairs.T - 1
    same = classes[one] == classes[other]
    graph = coo_array((np.ones(int(same.sum()), np.int8), (one[same], other[same])), shape=(n, n))
    found = connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return rank[inverse.ravel()]
