"""Minimum size: nodes that are too small take the class of a neighbour, on the adjacency graph of pieces or regions.

The rule, repeated while it applies: of all nodes with fewer than `min_pixels` pixels and with a neighbour, the smallest
by (pixels, first) takes the class with which it shares the longest border and is merged with all its neighbours of that
class.

A node that is smaller than all its neighbours may be merged before its turn. Its neighbours are larger, so their turn
is later; nodes that are merged earlier do not touch it, and so change neither its size nor the border that it shares
with any class. Every order in which each merge starts from such a local minimum therefore gives the same graph. A tile
can thus perform the merges that nothing outside it can change, and leave the others to the scene.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.segment.compiled import compiled, internal
from geoseg.segment.union_find import find


class Graph(NamedTuple):
    """Adjacency graph of pieces or regions, whose nodes are numbered from 0.

    Parameters
    ----------
    classes : (node,) int32
        From 1.
    pixels : (node,) int64
        Number of pixels; of an open node those known so far.
    first : (node,) int64
        Index of the first pixel of the node in the reading order of the scene.
    open : (node,) bool
        True = may continue outside the known part of the scene, so it must not be merged yet.
    pairs : (pair, 2) int64
        Adjacent nodes of different classes, of which at least one is below the minimum size.
    borders : (pair,) int64
        Length of the shared border in pixel edges.
    """

    classes: NDArray[np.int32]
    pixels: NDArray[np.int64]
    first: NDArray[np.int64]
    open: NDArray[np.bool_]
    pairs: NDArray[np.int64]
    borders: NDArray[np.int64]


def sieve(graph: Graph, *, min_pixels: int, features: NDArray[np.float64]) -> tuple[Graph, NDArray[np.int64]]:
    """Merge the nodes that are too small and return the graph without them, and the new node of each old one.

    Without open nodes every remaining node has at least `min_pixels` pixels, or no neighbour. An open node is never
    merged into another, nor is a node with a smaller neighbour that is not.

    Parameters
    ----------
    graph : Graph
    min_pixels : int
    features : (class + 1, feature) float64
        Features by which a small region chooses among its neighbours; row 0 is not used. Of two classes with equally
        long borders the one with the smaller squared distance is taken, then the lower number.

    Returns
    -------
    sieved : Graph
        Its nodes are in the order of their first pixels.
    node : (node,) int64
        Node in `sieved` of each node of `graph`.

    Raises
    ------
    ConfigError
        If `features` has no row for a class of the graph.
    """
    if graph.classes.size and not 0 < graph.classes.min() <= graph.classes.max() < len(features):
        raise ConfigError(
            f"features has {len(features)} rows, but the classes go from {graph.classes.min()} to "
            f"{graph.classes.max()}; give one row for each class and one before them for 0, nodata."
        )
    forest = _forest(graph)
    _merge_all(forest, min_pixels, np.ascontiguousarray(features, dtype=np.float64))
    merged = graph._replace(classes=forest.classes[forest.parent])
    return contract(merged, forest.parent, min_pixels=min_pixels)


def contract(graph: Graph, group: NDArray[np.int64], *, min_pixels: int) -> tuple[Graph, NDArray[np.int64]]:
    """Contract each group of nodes to one node and return the graph, and the new node of each old one.

    Parameters
    ----------
    graph : Graph
    group : (node,) int64
        Group of each node, below the number of nodes; all nodes of a group have the same class.
    min_pixels : int
        Pairs of two nodes of at least this size are left out.

    Returns
    -------
    contracted : Graph
        Its nodes are in the order of their first pixels.
    node : (node,) int64
        Node in `contracted` of each node of `graph`.

    Examples
    --------
    >>> two = Graph(*(np.array(column) for column in ([1, 1], [5, 3], [9, 2], [False, True])),
    ...             np.empty((0, 2), np.int64), np.empty(0, np.int64))
    >>> contract(two, np.array([1, 1]), min_pixels=0)[0].pixels
    array([8])
    """
    earliest = np.full(group.size, np.iinfo(np.int64).max)
    np.minimum.at(earliest, group, graph.first)
    groups = np.flatnonzero(np.bincount(group, minlength=group.size))
    groups = groups[np.argsort(earliest[groups])]
    position = np.zeros(group.size, dtype=np.int64)
    position[groups] = np.arange(groups.size)
    node = position[group]

    classes = np.zeros(groups.size, dtype=np.int32)
    classes[node] = graph.classes
    pixels = np.zeros(groups.size, dtype=np.int64)
    np.add.at(pixels, node, graph.pixels)
    is_open = np.zeros(groups.size, dtype=np.bool_)
    is_open[node[graph.open]] = True
    pairs, borders = _contracted_pairs(node[graph.pairs], graph.borders, pixels < min_pixels)
    return Graph(classes, pixels, earliest[groups], is_open, pairs, borders), node


def _contracted_pairs(
    pairs: NDArray[np.int64], borders: NDArray[np.int64], small: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return every distinct pair, lower node first, without those of one node and of two large ones."""
    low, high = np.minimum(pairs[:, 0], pairs[:, 1]), np.maximum(pairs[:, 0], pairs[:, 1])
    kept = (low != high) & (small[low] | small[high])
    keys, pair = np.unique(low[kept] * small.size + high[kept], return_inverse=True)
    lengths = np.zeros(keys.size, dtype=np.int64)
    np.add.at(lengths, pair, borders[kept])
    return np.stack(np.divmod(keys, max(small.size, 1)), axis=1), lengths


class _Forest(NamedTuple):
    """Union-find forest of the nodes, with the properties of each set at its root.

    A root has the edges of all its nodes as a linked list from `head` to `tail`, so that two lists are joined in
    constant time. Edge 2i leads from the first node of pair i to the second, edge 2i + 1 back.
    """

    parent: NDArray[np.int64]  # (node,)
    classes: NDArray[np.int32]  # (node,)
    pixels: NDArray[np.int64]  # (node,)
    first: NDArray[np.int64]  # (node,)
    open: NDArray[np.bool_]  # (node,)
    head: NDArray[np.int64]  # (node,) edge, -1 = none
    tail: NDArray[np.int64]  # (node,) edge, -1 = none
    following: NDArray[np.int64]  # (edge,) edge, -1 = none
    target: NDArray[np.int64]  # (edge,) node
    borders: NDArray[np.int64]  # (edge,)


def _forest(graph: Graph) -> _Forest:
    n_nodes = graph.classes.size
    target = np.ascontiguousarray(graph.pairs[:, ::-1]).ravel()
    return _Forest(
        parent=np.arange(n_nodes),
        classes=graph.classes.copy(),
        pixels=graph.pixels.copy(),
        first=graph.first.copy(),
        open=graph.open.copy(),
        head=np.full(n_nodes, -1),
        tail=np.full(n_nodes, -1),
        following=np.full(target.size, -1),
        target=target,
        borders=np.repeat(graph.borders, 2),
    )


@compiled(nogil=True)
def _merge_all(forest: _Forest, min_pixels: int, features: NDArray[np.float64]) -> None:
    """Merge the nodes that are too small, smallest first; at the end the parent of every node is its root.

    A node is merged into larger ones only, so each edge is visited at most log2(min_pixels) times. One visit of each
    node is enough: all nodes that could enlarge one that blocks it are smaller than both, and were visited before.
    """
    _link(forest, min_pixels)
    shared = np.zeros(len(features), dtype=np.int64)
    waiting = [
        (forest.pixels[node], forest.first[node], node) for node in range(forest.parent.size) if forest.head[node] >= 0
    ]
    heapify(waiting)
    while len(waiting) > 0:
        pixels, _, node = heappop(waiting)
        if forest.parent[node] != node or forest.pixels[node] != pixels:
            continue  # merged since; queued with its new size if still too small
        taken = _class_to_take(forest, node, shared, features)
        if taken == 0:
            continue
        root = _take(forest, node, taken)
        if forest.pixels[root] < min_pixels and not forest.open[root]:
            heappush(waiting, (forest.pixels[root], forest.first[root], root))
    for node in range(forest.parent.size):
        forest.parent[node] = find(forest.parent, node)


@internal(nogil=True)
def _link(forest: _Forest, min_pixels: int) -> None:
    """List the edges of each small node; a large or open one is never merged and needs no list."""
    for edge in range(forest.target.size):
        node = forest.target[edge ^ 1]
        if forest.pixels[node] < min_pixels and not forest.open[node]:
            forest.following[edge] = forest.head[node]
            forest.head[node] = edge
            if forest.tail[node] < 0:
                forest.tail[node] = edge


@internal(nogil=True)
def _class_to_take(forest: _Forest, node: int, shared: NDArray[np.int64], features: NDArray[np.float64]) -> int:
    """Return the class that the node takes; 0 = it has no neighbour, or a smaller one must be merged first.

    `shared` is a buffer for the border with each class, all 0 before and after.
    """
    waits = False
    edge = forest.head[node]
    while edge >= 0:
        other = find(forest.parent, forest.target[edge])
        if other != node:
            shared[forest.classes[other]] += forest.borders[edge]
            waits = waits or _is_smaller(forest, other, node)
        edge = forest.following[edge]

    own, taken, longest, nearest = forest.classes[node], 0, 0, np.inf
    edge = forest.head[node]
    while edge >= 0:
        other = forest.classes[find(forest.parent, forest.target[edge])]
        length = shared[other]
        shared[other] = 0
        if length > 0 and length >= longest:
            distance = _squared_distance(features, own, other)
            if length > longest or distance < nearest or (distance == nearest and other < taken):
                taken, longest, nearest = other, length, distance
        edge = forest.following[edge]
    return 0 if waits else taken


@internal(nogil=True)
def _take(forest: _Forest, node: int, taken: int) -> int:
    """Give the node a class, merge it with its neighbours of that class, and return their root."""
    forest.classes[node] = taken
    root, edge, last = node, forest.head[node], forest.tail[node]
    while True:
        other = find(forest.parent, forest.target[edge])
        if other != root and forest.classes[other] == taken:
            root = _merge_roots(forest, root, other)
        if edge == last:  # the edges of the merged neighbours follow
            return root
        edge = forest.following[edge]


@internal(nogil=True)
def _merge_roots(forest: _Forest, one: int, other: int) -> int:
    """Merge two sets and return the root of the larger one, which remains."""
    root, child = (one, other) if forest.pixels[one] >= forest.pixels[other] else (other, one)
    forest.parent[child] = root
    forest.pixels[root] += forest.pixels[child]
    forest.first[root] = min(forest.first[root], forest.first[child])
    forest.open[root] = forest.open[root] or forest.open[child]
    if forest.head[root] < 0:
        forest.head[root] = forest.head[child]
        forest.tail[root] = forest.tail[child]
    elif forest.head[child] >= 0:
        forest.following[forest.tail[root]] = forest.head[child]
        forest.tail[root] = forest.tail[child]
    return root


@internal(nogil=True)
def _is_smaller(forest: _Forest, one: int, other: int) -> bool:
    """Return whether one node is smaller by (pixels, first).

    Valid for open nodes as well: a node that continues outside is larger than known, and one that does not has its
    known first pixel.
    """
    if forest.pixels[one] != forest.pixels[other]:
        return bool(forest.pixels[one] < forest.pixels[other])
    return bool(forest.first[one] < forest.first[other])


@internal(nogil=True)
def _squared_distance(features: NDArray[np.float64], one: int, other: int) -> float:
    total = 0.0
    for column in range(features.shape[1]):
        total += (features[one, column] - features[other, column]) ** 2
    return np.inf if np.isnan(total) else total  # a class without features is far from every other
