"""Clustering of a signed graph by greedy additive edge contraction (Keuper et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.splitmix import mix64

_BINS_PER_OCTAVE = 8  # weights are compared in bins of a factor of 2^(1/8)
_ZERO = 1e-9  # weights up to this are rounding errors of 0


@dataclass(frozen=True)
class Edges:
    """Weighted edges of an undirected graph.

    Parameters
    ----------
    a, b : (edge,) int64
        Nodes, from 0; a < b.
    weight : (edge,) float64
        Above 0: attractive, evidence that both nodes belong to one cluster. Below 0: repulsive.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    weight: NDArray[np.float64]


def contract(
    edges: Edges, n_nodes: int, *, max_contractions: int | None = None
) -> tuple[NDArray[np.int64], Edges, int]:
    """Return clusters of nodes: contract attractive edges, the strongest first, until none is left.

    Parameters
    ----------
    edges : Edges
        The weights of parallel edges are added; edges from a node to itself are ignored.
    n_nodes : int
    max_contractions : int, optional
        Number of contractions after which to stop; None = no limit.

    Returns
    -------
    clusters : (node,) int64
        Cluster of each node, numbered by one of its nodes.
    contracted : Edges
        Edges between the clusters. Without `max_contractions` all weights are at most 0.
    n_visited : int
        Edges that were processed, summed over all rounds.

    Notes
    -----
    In greedy additive edge contraction (GAEC; Keuper et al. 2015, Efficient decomposition of image and mesh graphs by
    lifted multicuts, Algorithm 1) the weights of edges that become parallel are added. A single false attractive edge
    between two large clusters is outweighed by their many repulsive edges; connected components of the attractive
    edges would chain the two together.

    Many edges are contracted per round, as in RAMA (Abbas and Swoboda 2022), instead of one at a time from a priority
    queue: each edge that is the strongest of both its nodes, and with it all nodes whose strongest edge leads to one
    chosen end of it, unless two of them repel each other. Weights are compared in bins of 2^(1/8); within a bin the
    order is a fixed hash of the two nodes, because weights that increase along a path would otherwise need one round
    per node. The number of rounds is logarithmic in the number of nodes, and the edges decrease in each round.

    Examples
    --------
    >>> edges = Edges(np.array([0, 1, 0]), np.array([1, 2, 2]), np.array([0.9, 0.8, -1.0]))
    >>> contract(edges, 3)[0]
    array([1, 1, 2])
    """
    clusters = np.arange(n_nodes)
    edges = _sum_parallel_edges(edges, clusters)
    n_visited, n_allowed = 0, n_nodes if max_contractions is None else max_contractions
    while n_allowed > 0 and (edges.weight > _ZERO).any():
        n_visited += len(edges.a)
        target, n_contracted = _contraction_targets(edges, n_nodes, n_allowed)
        n_allowed -= n_contracted
        clusters = target[clusters]
        edges = _sum_parallel_edges(edges, target)
    return clusters, edges, n_visited


def _sum_parallel_edges(edges: Edges, clusters: NDArray[np.int64]) -> Edges:
    """Return one edge per pair of clusters, sorted by nodes."""
    n = len(clusters)
    a, b = clusters[edges.a], clusters[edges.b]
    between = a != b
    keys = np.minimum(a, b)[between] * n + np.maximum(a, b)[between]
    unique, index = np.unique(keys, return_inverse=True)
    weight = np.bincount(index, edges.weight[between], len(unique)).astype(float)
    return Edges(unique // max(n, 1), unique % max(n, 1), weight)


def _contraction_targets(edges: Edges, n_nodes: int, max_contractions: int) -> tuple[NDArray[np.int64], int]:
    """Return the node that each node is contracted into, itself if none, and the number of contractions."""
    a, b = _attractive_by_rank(edges, n_nodes)
    rank = np.arange(len(a))
    best = np.full(n_nodes, len(a))  # rank of the strongest edge of each node
    np.minimum.at(best, a, rank)
    np.minimum.at(best, b, rank)
    node = np.flatnonzero(best < len(a))
    partner = np.where(a[best[node]] == node, b[best[node]], a[best[node]])  # other end of the strongest edge
    n_partners = np.bincount(partner, minlength=n_nodes)
    mutual = (best[a] == rank) & (best[b] == rank)
    one, other = a[mutual], b[mutual]
    center = np.zeros(n_nodes, bool)  # of two mutual partners, the one that more nodes are attached to
    center[np.where(n_partners[one] >= n_partners[other], one, other)] = True
    attached = center[partner] & ~center[node]
    proposed = np.full(n_nodes, -1)
    proposed[node[attached]] = partner[attached]
    repelled = (edges.weight < 0) & (proposed[edges.a] >= 0) & (proposed[edges.a] == proposed[edges.b])
    one, other = edges.a[repelled], edges.b[repelled]
    proposed[np.where(best[one] > best[other], one, other)] = -1  # of two that repel each other, the weaker one waits
    contracted = np.flatnonzero(proposed >= 0)
    contracted = contracted[np.argsort(best[contracted])][:max_contractions]
    target = np.arange(n_nodes)
    target[contracted] = proposed[contracted]
    return target, len(contracted)


def _attractive_by_rank(edges: Edges, n_nodes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the nodes of the attractive edges, the strongest bin of weights first."""
    attractive = edges.weight > _ZERO
    a, b = edges.a[attractive], edges.b[attractive]
    weight_bin = np.floor(_BINS_PER_OCTAVE * np.log2(edges.weight[attractive]))
    order = np.lexsort((mix64((a * n_nodes + b).astype(np.uint64)), -weight_bin))
    return a[order], b[order]
