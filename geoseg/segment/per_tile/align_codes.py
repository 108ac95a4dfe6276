"""Alignment of the codes of tiles whose networks were trained separately.

The numbers of codes have a meaning within one tile only. The codes of all tiles are the nodes of a signed graph. Codes
of overlapping tiles attract each other if they are given to the same superpixels, and repel each other if they are not;
codes of one tile repel each other by the distance of their features. The graph is partitioned into groups
(`geoseg.segment.per_tile.signed_graph`), and groups with similar features share a scene code unless there is evidence
that they differ. Nodes are processed in the order of their contents, so the result does not depend on the order of the
tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial.distance import cdist

from geoseg.segment.features import moment_features
from geoseg.segment.per_tile.signed_graph import Edges, contract
from geoseg.segment.vote_sums import FIXED
from geoseg.segment.votes import Votes

_HALF_SIMILARITY = 8.0  # times the usual squared distance of one land cover between two tiles: similarity 1/2
_MIN_SPREAD = 1e-6  # of that distance, where features do not differ at all
_DEFAULT_SPREAD = 0.005  # of that distance, where no two tiles overlap
_HALF_KNOWN = 0.05  # share of an overlap; the evidence on a code that covers as much of it counts half
_FEATURES_ONLY_WEIGHT = 0.25  # of the similarity of features, where two codes cover little of the overlap
_MIN_WEIGHT = 1e-3  # edges with a smaller weight are dropped
_REPULSION = 0.25  # weight below 0 from which two groups count as different
_GROUPS_PER_SCENE_CODE = 2  # with more groups than that, neighbouring tiles' groups are also joined by features alone
_SIZE_POWER = 0.75  # of a group's pixels in its weight: below 1, so that small but distinct groups get a code too
_NEIGHBOUR_WEIGHT = 0.5  # of the overlapping tiles' codes in the assignment of a code
_PAIRS_AT_ONCE = 4096  # pairs of tiles per chunk, so that temporary arrays do not grow with the scene


@dataclass(frozen=True)
class Codes:
    """The codes of all tiles; a node is one code of one tile.

    Parameters
    ----------
    tiles : (node,) int64
        Tile number.
    pixels : (node,) float64
        0 = the code is not used.
    moments : (node, moment) float64
        Mean moments of these pixels.
    overlaps : (node, node) sparse array of float64, symmetric
        Weight of the superpixels that two nodes of different tiles have in common.
    """

    tiles: NDArray[np.int64]
    pixels: NDArray[np.float64]
    moments: NDArray[np.float64]
    overlaps: sparse.csr_array


def code_table(votes: Votes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixels and the mean moments of each code in the core of a tile.

    A superpixel counts for its most frequent code alone. Softmax shares are never 0, so means weighted by the votes
    would make all codes similar to the mean of the tile.

    Parameters
    ----------
    votes : Votes

    Returns
    -------
    pixels : (code,) float64
    moments : (code, moment) float64
        0 where a code has no pixels.
    """
    n_codes = votes.votes.shape[1]
    majority = votes.votes.argmax(axis=1)
    pixels = np.bincount(majority, votes.pixels, n_codes).astype(np.float64)
    sums = np.stack([np.bincount(majority, moment, n_codes) for moment in votes.moments.T], axis=1).astype(np.float64)
    return pixels, sums / (FIXED * np.maximum(pixels, 1)[:, None])


def overlap(a: Votes, b: Votes) -> sparse.coo_array:
    """Return the contingency table of the codes of two tiles over the superpixels that both contain.

    Parameters
    ----------
    a, b : Votes

    Returns
    -------
    (code of a, code of b) sparse array of float64
        Each superpixel counts for its most frequent code in each tile, with the smaller of its two sums of votes.
    """
    _, rows_a, rows_b = np.intersect1d(a.numbers, b.numbers, assume_unique=True, return_indices=True)
    of_a, of_b = a.votes[rows_a], b.votes[rows_b]
    common = np.minimum(of_a.sum(axis=1), of_b.sum(axis=1)).astype(np.float64)
    table = sparse.coo_array((common, (of_a.argmax(axis=1), of_b.argmax(axis=1))), shape=(of_a.shape[1],) * 2)
    table.sum_duplicates()
    return table


def align(codes: Codes, *, n_scene_codes: int, n_bands: int) -> NDArray[np.float64]:
    """Return soft assignments of the codes of all tiles to scene codes.

    Parameters
    ----------
    codes : Codes
    n_scene_codes : int
        Maximum number of scene codes.
    n_bands : int
        Number of the moments that are band means.

    Returns
    -------
    (node, scene code) float64
        Rows add up to 1. The row of a code that is not used is the mean over the scene.

    Notes
    -----
    Codes are grouped on a signed graph (Keuper et al. 2015; repulsive edges beside attractive ones as in the mutex
    watershed, Wolf et al. 2018). The seeds of the scene codes are chosen among the groups by farthest-point traversal
    (Gonzalez 1985), weighted by size. Each other group gets the code with the most similar seed among those with the
    least evidence against them (constrained k-means, Wagstaff et al. 2001). Finally, half of each assignment is
    replaced with the mean assignment of the codes that overlapping tiles give to the same superpixels.
    """
    nodes = _by_content(codes)
    if not len(nodes):
        return np.ones((len(codes.pixels), 1))
    used = Codes(
        codes.tiles[nodes], codes.pixels[nodes], codes.moments[nodes], sparse.csr_array(codes.overlaps[nodes][:, nodes])
    )
    used.overlaps.sort_indices()  # the order of a floating point sum decides its last digits
    features = moment_features(used.moments, n_bands)
    groups, repulsion = _group(*signed_edges(used, features), len(nodes), n_scene_codes)
    scene_codes = _scene_codes(groups, repulsion, used.pixels, features, n_scene_codes)
    own = np.eye(int(scene_codes.max()) + 1)[scene_codes]
    smoothed = _smooth_over_overlaps(own, used.overlaps)
    assignments = np.empty((len(codes.pixels), own.shape[1]))
    assignments[:] = used.pixels @ smoothed / used.pixels.sum()
    assignments[nodes] = smoothed
    return assignments / assignments.sum(axis=1, keepdims=True)


def signed_edges(codes: Codes, features: NDArray[np.float64]) -> tuple[Edges, Edges]:
    """Return the edges between codes that rest on evidence, and those that rest on features alone.

    Parameters
    ----------
    codes : Codes
        All of them used, those of one tile consecutive.
    features : (node, feature) float64

    Returns
    -------
    evidence : Edges
        Within tiles and between overlapping tiles.
    feature_edges : Edges
        Attractive edges between codes of overlapping tiles that have similar features but cover too little of the
        overlap for evidence.

    Notes
    -----
    The weight of an edge is agreement + similarity − 1, from −1 to 1. The agreement of two codes is the overlap that
    they have in common over the geometric mean of what each covers in the overlap of their tiles; 0 within a tile. The
    similarity falls from 1 to 1/2 where features differ √8 times as much as those of one land cover usually do between
    two tiles. The weight decreases to 0 where one of the codes covers hardly any of the overlap.
    """
    n, tiles = len(codes.pixels), codes.tiles.astype(np.int64)
    starts = np.flatnonzero(np.diff(tiles, prepend=tiles[0] - 1))
    counts = np.diff(starts, append=n)
    tile = np.repeat(np.arange(len(starts)), counts)
    half = sparse.triu(codes.overlaps, 1).tocoo()
    pairs = np.unique(tile[half.row] * len(starts) + tile[half.col])
    neighbours = np.stack([pairs // len(starts), pairs % len(starts)], axis=1)
    common = sparse.csr_array(half)
    spread = _usual_spread(half, features, tile)
    evidence, feature_edges = [], [_significant(tile[:0], tile[:0], np.zeros(0))]
    for first in range(0, len(neighbours), _PAIRS_AT_ONCE):
        a, b, pair = _products(neighbours[first : first + _PAIRS_AT_ONCE], starts, counts)
        similarity = _similarity(features, a, b, spread)
        agreement, known = _agreement(a, b, pair, common)
        evidence.append(_significant(a, b, known * (agreement + similarity - 1)))
        by_features = (1 - known) * _FEATURES_ONLY_WEIGHT * np.maximum(2 * similarity - 1, 0)
        feature_edges.append(_significant(a, b, by_features))
    for first in range(0, len(starts), _PAIRS_AT_ONCE):
        own = np.arange(first, min(first + _PAIRS_AT_ONCE, len(starts)))
        a, b, _ = _products(np.stack([own, own], axis=1), starts, counts)
        a, b = a[a < b], b[a < b]
        evidence.append(_significant(a, b, _similarity(features, a, b, spread) - 1))
    return _concatenate(evidence), _concatenate(feature_edges)


def _by_content(codes: Codes) -> NDArray[np.int64]:
    """Return the used nodes, tile by tile, in an order that depends on their contents alone."""
    used = np.flatnonzero(codes.pixels > 0)
    largest_overlap = np.zeros(len(codes.pixels))
    half = codes.overlaps.tocoo()
    np.maximum.at(largest_overlap, half.row, half.data)
    order = used[np.lexsort((largest_overlap[used], *codes.moments[used].T, codes.pixels[used]))]
    _, first, of = np.unique(codes.tiles[order], return_index=True, return_inverse=True)
    return np.asarray(order[np.argsort(first[of], kind="stable")])


def _group(evidence: Edges, feature_edges: Edges, n_nodes: int, n_scene_codes: int) -> tuple[NDArray[np.int64], Edges]:
    """Return the group of each node and the repulsive edges between the groups.

    A land cover that is missing from some overlaps leaves several groups on a long strip of tiles; only if there are
    too many of them, groups of neighbouring tiles are also joined by features alone.
    """
    groups, contracted, _ = contract(evidence, n_nodes)
    edges = _concatenate([contracted, Edges(groups[feature_edges.a], groups[feature_edges.b], feature_edges.weight)])
    n_excess = max(len(np.unique(groups)) - _GROUPS_PER_SCENE_CODE * n_scene_codes, 0)
    joined, contracted, _ = contract(edges, n_nodes, max_contractions=n_excess)
    return joined[groups], contracted


def _scene_codes(
    groups: NDArray[np.int64],
    repulsion: Edges,
    pixels: NDArray[np.float64],
    features: NDArray[np.float64],
    n_scene_codes: int,
) -> NDArray[np.int64]:
    """Return the scene code of each node; groups that repel each other share one only if every code is in conflict."""
    names, of = np.unique(groups, return_inverse=True)
    n = len(names)
    group_pixels = np.bincount(of, pixels, n).astype(np.float64)
    means = np.stack([np.bincount(of, pixels * column, n) for column in features.T], axis=1) / group_pixels[:, None]
    conflicts = _conflicts(repulsion, names)
    seeds = _farthest_points(means, np.asarray(group_pixels**_SIZE_POWER), n_scene_codes)
    distance = cdist(means, means[seeds], "sqeuclidean")
    code = np.full(n, -1)
    code[seeds] = np.arange(len(seeds))
    for group in np.argsort(-group_pixels, kind="stable"):
        if code[group] < 0:
            row = slice(conflicts.indptr[group], conflicts.indptr[group + 1])
            other = code[conflicts.indices[row]]
            conflict = np.bincount(other[other >= 0], conflicts.data[row][other >= 0], len(seeds))
            code[group] = np.lexsort((distance[group], conflict))[0]
    return np.asarray(code[of])


def _conflicts(repulsion: Edges, names: NDArray[np.int64]) -> sparse.csr_array:
    """Return the repulsion between groups that count as different, (group, group) and symmetric."""
    strong = repulsion.weight < -_REPULSION
    a, b = (np.searchsorted(names, nodes[strong]) for nodes in (repulsion.a, repulsion.b))
    half = sparse.coo_array((-repulsion.weight[strong], (a, b)), shape=(len(names), len(names)))
    return sparse.csr_array(half + half.T)


def _farthest_points(points: NDArray[np.float64], weights: NDArray[np.float64], n_most: int) -> NDArray[np.int64]:
    """Return the heaviest point, then repeatedly the one with the largest weight × squared distance to those chosen."""
    chosen = [int(weights.argmax())]
    nearest = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < n_most and (nearest * weights).max() > 0:
        chosen.append(int((nearest * weights).argmax()))
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return np.array(chosen)


def _smooth_over_overlaps(own: NDArray[np.float64], overlaps: sparse.csr_array) -> NDArray[np.float64]:
    """Return the mean of each node's assignment and that of its overlapping nodes, weighted by the overlap."""
    total = np.asarray(overlaps.sum(axis=1)).ravel()
    weight = np.where(total > 0, _NEIGHBOUR_WEIGHT, 0.0)[:, None]
    neighbours = sparse.diags_array(1 / np.maximum(total, 1e-12)) @ overlaps @ own
    return np.asarray((1 - weight) * own + weight * neighbours)


def _products(
    pairs: NDArray[np.int64], starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs of nodes of each pair of tiles, and the index of the pair of tiles."""
    (one, other), n_other = pairs.T, counts[pairs[:, 1]]
    n = counts[one] * n_other
    pair = np.repeat(np.arange(len(pairs)), n)
    place = np.arange(n.sum()) - (np.cumsum(n) - n)[pair]
    return starts[one][pair] + place // n_other[pair], starts[other][pair] + place % n_other[pair], pair


def _agreement(
    a: NDArray[np.int64], b: NDArray[np.int64], pair: NDArray[np.int64], common: sparse.csr_array
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the agreement of pairs of codes in the overlap of their tiles, and its reliability from 0 to 1."""
    shared = np.asarray(common[a, b]).ravel()
    n = common.shape[0]
    of_a, of_b = (_group_sums(pair * n + node, shared) for node in (a, b))
    agreement = shared / np.sqrt(np.maximum(of_a * of_b, 1e-12))
    smaller = np.minimum(of_a, of_b)
    return agreement, smaller / (smaller + _HALF_KNOWN * _group_sums(pair, shared))


def _usual_spread(half: sparse.coo_array, features: NDArray[np.float64], tile: NDArray[np.int64]) -> float:
    """Return the median squared distance in features of codes that are each other's largest overlap in two tiles."""
    if half.nnz == 0:
        return _DEFAULT_SPREAD
    n = int(tile.max()) + 1
    largest_of_a, largest_of_b = (
        _group_maxima(node * n + tile[other], half.data) for node, other in ((half.row, half.col), (half.col, half.row))
    )
    mutual = (half.data >= largest_of_a) & (half.data >= largest_of_b)
    a, b = half.row[mutual], half.col[mutual]
    return max(float(np.median(((features[a] - features[b]) ** 2).sum(axis=1))), _MIN_SPREAD)


def _similarity(
    features: NDArray[np.float64], a: NDArray[np.int64], b: NDArray[np.int64], spread: float
) -> NDArray[np.float64]:
    distance = sum((column[a] - column[b]) ** 2 for column in features.T)
    return np.asarray(0.5 ** (distance / (_HALF_SIMILARITY * spread)))


def _significant(a: NDArray[np.int64], b: NDArray[np.int64], weight: NDArray[np.float64]) -> Edges:
    """Return the edges whose weight is not negligible."""
    kept = np.abs(weight) > _MIN_WEIGHT
    return Edges(a[kept], b[kept], weight[kept])


def _concatenate(parts: list[Edges]) -> Edges:
    return Edges(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("a", "b", "weight")))


def _group_sums(keys: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each value the sum of the values with the same key."""
    _, index = np.unique(keys, return_inverse=True)
    return np.asarray(np.bincount(index, values)[index])


def _group_maxima(keys: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each value the maximum of the values with the same key."""
    unique, index = np.unique(keys, return_inverse=True)
    maxima = np.zeros(len(unique))
    np.maximum.at(maxima, index, values)
    return maxima[index]
