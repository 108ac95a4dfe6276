"""Union-find: disjoint sets as a forest of parent pointers (Tarjan 1975), compiled for use inside other loops."""

from __future__ import annotations

from geoseg.segment.compiled import compiled


@compiled(nogil=True)
def find(parent, i):  # type: ignore[no-untyped-def]
    """Return the root of the set that contains `i`, and shorten the path to it (path halving).

    Parameters
    ----------
    parent : (n,) int
        Parent of each element, changed in place; a root is its own parent.
    i : int

    Returns
    -------
    int

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


@compiled(nogil=True)
def union(parent, a, b):  # type: ignore[no-untyped-def]
    """Merge the sets that contain `a` and `b`; return the root of the merged set, which is the root of `a`.

    Parameters
    ----------
    parent : (n,) int
        Parent of each element, changed in place; a root is its own parent.
    a, b : int
        Elements of the two sets, or of the same set, which then does not change. The caller decides which root
        remains: for the lowest index of each set as its root, pass the smaller of the two roots as `a`.

    Returns
    -------
    int

    Examples
    --------
    >>> import numpy as np
    >>> parent = np.arange(4)
    >>> int(union(parent, 2, 3)), int(union(parent, 0, 3))
    (2, 0)
    >>> parent
    array([0, 1, 0, 2])
    """
    root = find(parent, a)
    parent[find(parent, b)] = root
    return root
