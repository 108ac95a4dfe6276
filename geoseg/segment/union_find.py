"""Disjoint sets: which of many things have become one (Tarjan 1975)."""

from __future__ import annotations

from numba import njit


@njit(cache=True)
def find(parent, i):  # type: ignore[no-untyped-def]
    """Return the head of the set that `i` is in, and shorten the way to it (path halving).

    Parameters
    ----------
    parent : (n,) int, changed in place; a head is its own parent
    i : int

    Examples
    --------
    >>> import numpy as np
    >>> int(find(np.array([0, 0, 1, 3]), 2))
    0
    """
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
