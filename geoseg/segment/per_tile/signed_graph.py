"""Clustering of a signed graph: pairs that belong together attract each other, pairs that differ repel each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_PER_OCTAVE = 8  # steps between a weight and its double; weights of one step are equals
_LEAST = 1e-9  # a weight up to this is what rounding leaves of 0


@dataclass(frozen=True)
class Edges:
    """The pairs of nodes that something is known of.

    Parameters
    ----------
    a, b : (edge,) int64 nodes, from 0, a < b
    weight : (edge,) float64, above 0 = belong together, below 0 = differ
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    weight: NDArray[np.float64]


def contract(edges: Edges, n_nodes: int, *, most: int | None = None) -> tuple[NDArray[np.int64], Edges, int]:
    """Join nodes to groups while something holds any two groups together.

    Greedy additive edge contraction (Keuper et al. 2015, GAEC): the two groups that attract each other most become
    one, and what each has with a third adds up. So a group of a hundred codes that was seen beside another one a
    hundred times cannot be joined to it by one odd link, which is how classes chain together where links alone count.

    As in RAMA (Abbas and Swoboda 2022), many groups are contracted at once, round after round, instead of one after the
    other from a queue: each two that are each other's strongest, and with them all others for which one of these two is
    the strongest, unless they differ from one another. Weights are compared in steps of 2^(1/8); within a step chance
    decides, a fixed hash of the two nodes, because weights that rise along a strip would otherwise need a round for
    each node. So the rounds grow with the logarithm of the nodes, and the edges fall by a part in each: the cost is
    all but linear.

    Parameters
    ----------
    edges : several with the same nodes add up, one of a node with itself counts for nothing
    most : how many times two groups may become one; None = any number

    Returns
    -------
    groups : (node,) int64, each one's group, named after one of its nodes
    left : what is between the groups, none of it above 0
    n_looked_at : edges, over all rounds

    Examples
    --------
    >>> edges = Edges(np.array([0, 1, 0]), np.array([1, 2, 2]), np.array([0.9, 0.8, -1.0]))
    >>> contract(edges, 3)[0]
    array([1, 1, 2])
    """
    groups = np.arange(n_nodes)
    edges = _added_up(edges, groups)
    n_looked_at, left = 0, n_nodes if most is None else most
    while left > 0 and (edges.weight > _LEAST).any():
        n_looked_at += len(edges.a)
        joined, n_joined = _joined(edges, n_nodes, left)
        left -= n_joined
        groups = joined[groups]
        edges = _added_up(edges, joined)
    return groups, edges, n_looked_at


def _added_up(edges: Edges, groups: NDArray[np.int64]) -> Edges:
    """Return one edge for each two groups."""
    n = len(groups)
    a, b = groups[edges.a], groups[edges.b]
    apart = a != b
    keys = np.minimum(a, b)[apart] * n + np.maximum(a, b)[apart]
    unique, place = np.unique(keys, return_inverse=True)
    return Edges(
        unique // max(n, 1), unique % max(n, 1), np.bincount(place, edges.weight[apart], len(unique)).astype(float)
    )


def _joined(edges: Edges, n_nodes: int, most: int) -> tuple[NDArray[np.int64], int]:
    """Return for each node itself or the one that it joins, which joins none; and how many join."""
    attract = edges.weight > _LEAST
    a, b = edges.a[attract], edges.b[attract]
    step = np.floor(_PER_OCTAVE * np.log2(edges.weight[attract]))
    order = np.lexsort((_hash(a * n_nodes + b), -step))
    a, b = a[order], b[order]
    rank = np.arange(len(order))
    best = np.full(n_nodes, len(order))  # rank of each node's strongest edge
    np.minimum.at(best, a, rank)
    np.minimum.at(best, b, rank)
    wooing = np.flatnonzero(best < len(order))
    wooed = np.where(a[best[wooing]] == wooing, b[best[wooing]], a[best[wooing]])
    n_wooers = np.bincount(wooed, minlength=n_nodes)
    mutual = (best[a] == rank) & (best[b] == rank)
    one, other = a[mutual], b[mutual]
    stays = np.zeros(n_nodes, bool)
    stays[np.where(n_wooers[one] >= n_wooers[other], one, other)] = True
    goes = stays[wooed] & ~stays[wooing]
    to = np.full(n_nodes, -1)
    to[wooing[goes]] = wooed[goes]
    differ = (edges.weight < 0) & (to[edges.a] >= 0) & (to[edges.a] == to[edges.b])
    one, other = edges.a[differ], edges.b[differ]
    to[np.where(best[one] > best[other], one, other)] = -1  # of two that differ, the weaker one waits
    go = np.flatnonzero(to >= 0)
    go = go[np.argsort(best[go])][:most]
    joined = np.arange(n_nodes)
    joined[go] = to[go]
    return joined, len(go)


def _hash(keys: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return numbers without a pattern, the same for the same keys and different for different ones (splitmix64)."""
    mixed = keys.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
