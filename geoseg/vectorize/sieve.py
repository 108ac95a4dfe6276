"""The minimum size: what is too small takes the class of its neighbours, on a graph of what touches what.

The rule, until none is left: of all nodes with fewer than `min_pixels` pixels and with a neighbour, the smallest by
(pixels, first) takes the class with which it shares the longest border and is united with all its neighbours of that
class.

A node that is smaller than all its neighbours may move before its turn comes. Its neighbours are larger, so they move
after it; what moves before it does not touch it, and so changes neither its size nor the border it shares with any
class. Every order in which each move is made by such a local minimum therefore ends in the same graph. That is why
a tile can go ahead alone: it makes the moves that nothing outside of it can change, and the scene makes the others.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.segment.union_find import find


class Graph(NamedTuple):
    """Pieces or regions as nodes, numbered from 0, and the borders between them.

    Parameters
    ----------
    classes : (node,) int32, from 1
    pixels : (node,) int64, number of pixels; of an open node those that are known so far
    first : (node,) int64, place of the node's first pixel in the reading order of the scene
    open : (node,) bool, True = may go on outside of what is known, so it must not move yet
    pairs : (pair, 2) int64, nodes of different classes that touch; at least one of the two is smaller than the
        minimum size, as two large nodes have nothing to decide
    borders : (pair,) int64, length of the shared border in pixel edges
    """

    classes: NDArray[np.int32]
    pixels: NDArray[np.int64]
    first: NDArray[np.int64]
    open: NDArray[np.bool_]
    pairs: NDArray[np.int64]
    borders: NDArray[np.int64]


def sieve(graph: Graph, *, min_pixels: int, features: NDArray[np.float64]) -> tuple[Graph, NDArray[np.int64]]:
    """Move the nodes that are too small and return the graph afterwards, and where each node is in it.

    Without open nodes every node that is left has at least `min_pixels` pixels, or no neighbour. An open node never
    moves, and a node beside a smaller one that cannot move waits with it.

    Parameters
    ----------
    graph : Graph
    min_pixels : int
    looks : (class, d) float64, what each class looks like, row 0 unused. Of two classes with equally long borders
        the one with the nearer looks is taken (squared distance), then the lower number.

    Returns
    -------
    Graph, its nodes in the order of their first pixels
    (node,) int64, for each node of `graph` its node in the returned one

    Raises
    ------
    ConfigError
        If `looks` has no row for a class of the graph.
    """
    if graph.classes.size and not 0 < graph.classes.min() <= graph.classes.max() < len(features):
        raise ConfigError(
            f"looks has {len(features)} rows, but the classes go from {graph.classes.min()} to {graph.classes.max()}; "
            "give one row for each class and one before them for 0, no data."
        )
    forest = _forest(graph)
    _move_all(forest, min_pixels, np.ascontiguousarray(features, dtype=np.float64))
    moved = graph._replace(classes=forest.classes[forest.parent])
    return united(moved, forest.parent, min_pixels=min_pixels)


def united(graph: Graph, group: NDArray[np.int64], *, min_pixels: int) -> tuple[Graph, NDArray[np.int64]]:
    """Make one node of each group and return the graph, and where each node is in it.

    Parameters
    ----------
    graph : Graph
    group : (node,) int64, any numbers from 0 to below the number of nodes; a group has one class
    min_pixels : int, pairs of two nodes that are not smaller are left out

    Returns
    -------
    Graph, its nodes in the order of their first pixels
    (node,) int64, for each node of `graph` its node in the returned one

    Examples
    --------
    >>> two = Graph(*(np.array(column) for column in ([1, 1], [5, 3], [9, 2], [False, True])),
    ...             np.empty((0, 2), np.int64), np.empty(0, np.int64))
    >>> united(two, np.array([1, 1]), min_pixels=0)[0].pixels
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
    pairs, borders = _merged(node[graph.pairs], graph.borders, pixels < min_pixels)
    return Graph(classes, pixels, earliest[groups], is_open, pairs, borders), node


def _merged(
    pairs: NDArray[np.int64], borders: NDArray[np.int64], small: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Name every pair once, lower node first, and leave out those of one node and of two large ones."""
    low, high = np.minimum(pairs[:, 0], pairs[:, 1]), np.maximum(pairs[:, 0], pairs[:, 1])
    kept = (low != high) & (small[low] | small[high])
    keys, pair = np.unique(low[kept] * small.size + high[kept], return_inverse=True)
    lengths = np.zeros(keys.size, dtype=np.int64)
    np.add.at(lengths, pair, borders[kept])
    return np.stack(np.divmod(keys, max(small.size, 1)), axis=1), lengths


class _Forest(NamedTuple):
    """Nodes that are being united: each points to a parent, and the root of a tree speaks for all of it.

    A root has the edges of all its nodes as a linked list from `head` to `tail`, so that two lists are joined at once.
    Edge 2i leads from the first node of pair i to the second, edge 2i + 1 back.
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


@njit(cache=True, nogil=True)
def _move_all(forest: _Forest, min_pixels: int, features: NDArray[np.float64]) -> None:
    """Move what is too small, smallest first; at the end the parent of every node is its root.

    A moved node joins larger ones only, so each edge is looked at no more than log2(min_pixels) times. One look at
    each node is enough: all that could grow a node that blocks it are smaller than both, and had their turn before.
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
            continue  # it has been united since, and waits under its new size if it is still small
        taken = _class_to_take(forest, node, shared, features)
        if taken == 0:
            continue
        root = _take(forest, node, taken)
        if forest.pixels[root] < min_pixels and not forest.open[root]:
            heappush(waiting, (forest.pixels[root], forest.first[root], root))
    for node in range(forest.parent.size):
        forest.parent[node] = find(forest.parent, node)


@njit(cache=True, nogil=True)
def _link(forest: _Forest, min_pixels: int) -> None:
    """List the edges of each small node; a large or open one never moves and needs no list."""
    for edge in range(forest.target.size):
        node = forest.target[edge ^ 1]
        if forest.pixels[node] < min_pixels and not forest.open[node]:
            forest.following[edge] = forest.head[node]
            forest.head[node] = edge
            if forest.tail[node] < 0:
                forest.tail[node] = edge


@njit(cache=True, nogil=True)
def _class_to_take(forest: _Forest, node: int, shared: NDArray[np.int64], features: NDArray[np.float64]) -> int:
    """Return the class that the node takes; 0 where it has no neighbour or must wait for a smaller one.

    `shared` is room for the border with each class, all 0 before and after.
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


@njit(cache=True, nogil=True)
def _take(forest: _Forest, node: int, taken: int) -> int:
    """Give the node a class, unite it with its neighbours of that class, and return the root of them all."""
    forest.classes[node] = taken
    root, edge, last = node, forest.head[node], forest.tail[node]
    while True:
        other = find(forest.parent, forest.target[edge])
        if other != root and forest.classes[other] == taken:
            root = _unite(forest, root, other)
        if edge == last:  # behind it come the edges of those that were united
            return root
        edge = forest.following[edge]


@njit(cache=True, nogil=True)
def _unite(forest: _Forest, one: int, other: int) -> int:
    """Unite two roots and return the one that stays, the larger."""
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


@njit(cache=True, nogil=True)
def _is_smaller(forest: _Forest, one: int, other: int) -> bool:
    """Tell whether one node comes before the other.

    Right for open nodes too: one that goes on outside is larger than it is known to be, and one that does not has
    the first pixel that is known.
    """
    if forest.pixels[one] != forest.pixels[other]:
        return bool(forest.pixels[one] < forest.pixels[other])
    return bool(forest.first[one] < forest.first[other])


@njit(cache=True, nogil=True)
def _squared_distance(features: NDArray[np.float64], one: int, other: int) -> float:
    total = 0.0
    for column in range(features.shape[1]):
        total += (features[one, column] - features[other, column]) ** 2
    return np.inf if np.isnan(total) else total  # a class without looks is far from every other
