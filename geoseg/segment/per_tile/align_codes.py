"""Translation: which codes of tiles that were trained alone are the same.

A code means something in its own tile only. The codes of all tiles are the nodes of a signed graph. Two tiles that
overlap say something of the same superpixels: codes that agree there attract each other, codes that do not repel each
other; so do codes of one tile that look different, for their network told them apart. The graph falls into groups
(`geoseg.segment.per_tile.signed_graph`), and groups that look alike share a code of the scene as long as nothing says that they
differ. Nothing here depends on the order of the tiles: all is done in the order of the codes' looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial.distance import cdist

from geoseg.segment.features import moment_features
from geoseg.segment.grouped import grouped_mean, grouped_sum
from geoseg.segment.per_tile.signed_graph import Edges, contract
from geoseg.segment.votes import FIXED, Votes

_ALIKE = 8.0  # times the squared distance that one ground has from tile to tile: there codes look half alike
_LEAST_SPREAD = 1e-6  # of that distance, where looks do not differ at all
_USUAL_SPREAD = 0.005  # of that distance, where no two tiles overlap
_RIM = 0.05  # of the ground that two tiles share; a code with as much of it is half known to the other tile
_FEATURES_ONLY_WEIGHT = 0.25  # of looks, where two tiles share no ground of two codes
_LEAST_WEIGHT = 1e-3  # of a pair that is looked at
_DIFFER = 0.25  # weight below 0 from which two groups are known to differ
_GROUPS = 2  # times the codes of the scene; where there are more groups, looks alone join neighbours too
_SIZE_POWER = (
    0.75  # of ground in the weight of a group: small ground that differs founds a code too, and so does a long strip
)
_HEARD = 0.5  # of the neighbours' word against the group's own
_PAIRS_AT_ONCE = 4096  # of tiles, so that memory grows with what is kept alone


@dataclass(frozen=True)
class Codes:
    """The codes of all tiles.

    Parameters
    ----------
    tiles : (node,) int64, number of the tile; a node is one code of one tile
    mass : (node,) float64, pixels; 0 = the code is not used
    looks : (node, look) float64, mean looks
    overlaps : (node, node) symmetric, ground that two nodes of different tiles have in common
    """

    tiles: NDArray[np.int64]
    mass: NDArray[np.float64]
    moments: NDArray[np.float64]
    overlaps: sparse.csr_array


def code_table(votes: Votes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixels of a tile's core that each code won (code,), and the codes' mean looks (code, look).

    A superpixel counts for its strongest code alone. Shares never come down to 0, so that means weighted by them make
    all codes look like the tile.
    """
    n_codes = votes.votes.shape[1]
    won = votes.votes.argmax(axis=1)
    mass = grouped_sum(votes.pixels, won, n_codes)
    sums = grouped_sum(votes.moments, won, n_codes)
    return mass, sums / (FIXED * np.maximum(mass, 1)[:, None])


def overlap(a: Votes, b: Votes) -> sparse.coo_array:
    """Return on how much ground tile a says code i where tile b says code j, as (code, code)."""
    _, rows_a, rows_b = np.intersect1d(a.numbers, b.numbers, assume_unique=True, return_indices=True)
    of_a, of_b = a.votes[rows_a], b.votes[rows_b]
    common = np.minimum(of_a.sum(axis=1), of_b.sum(axis=1)).astype(np.float64)
    table = sparse.coo_array((common, (of_a.argmax(axis=1), of_b.argmax(axis=1))), shape=(of_a.shape[1],) * 2)
    table.sum_duplicates()
    return table


def translate(codes: Codes, *, n_scene_codes: int, n_bands: int) -> NDArray[np.float64]:
    """Say for the codes of all tiles which code of the scene each one is, softly.

    Codes are grouped on a signed graph (Keuper et al. 2015; the idea that what differs must be an edge of its own is
    that of the mutex watershed, Wolf et al. 2018). The groups with the most ground, each as different as may be from
    those before it, found the codes of the scene (Gonzalez 1985, weighted); each further group joins the one that it
    looks most like, of those that hold no group from which it is known to differ (Wagstaff et al. 2001, constrained
    k-means). At the end each code takes half of its meaning from what the overlapping tiles say of its ground.

    Parameters
    ----------
    n_scene_codes : at most
    n_bands : how many of the looks are bands

    Returns
    -------
    (node, scene code) float64; the rows add up to 1. A code that is not used says nothing: its row is the scene's mean
    """
    nodes = _by_content(codes)
    if not len(nodes):
        return np.ones((len(codes.mass), 1))
    used = Codes(
        codes.tiles[nodes], codes.mass[nodes], codes.moments[nodes], sparse.csr_array(codes.overlaps[nodes][:, nodes])
    )
    used.overlaps.sort_indices()  # the order in which floats add up decides their last digits
    described = moment_features(used.moments, n_bands)
    groups, differences = _grouped(*signed_edges(used, described), len(nodes), n_scene_codes)
    scene_codes = _tied(groups, differences, used.mass, described, n_scene_codes)
    own = np.eye(int(scene_codes.max()) + 1)[scene_codes]
    heard = _listened(own, used.overlaps)
    words = np.empty((len(codes.mass), own.shape[1]))
    words[:] = used.mass @ heard / used.mass.sum()
    words[nodes] = heard
    return words / words.sum(axis=1, keepdims=True)


def signed_edges(codes: Codes, described: NDArray[np.float64]) -> tuple[Edges, Edges]:
    """Return what holds codes together and what keeps them apart, and what might do so by looks alone.

    The weight of a pair is share + likeness − 1, from 1 (same ground, same looks) to −1. The share is the ground that
    both have in common over the geometric mean of what each has in the overlap of their tiles, 0 in one tile; the
    likeness falls from 1 to 1/2 where looks differ as much as the same ground does between two tiles, times √8. Where
    a code has hardly any ground in the overlap, nothing is known of its share and the weight goes down to 0; such pairs
    that look alike are the second result.

    Parameters
    ----------
    codes : used ones, those of one tile side by side
    described : (node, feature) float64, what looks are compared by
    """
    n, tiles = len(codes.mass), codes.tiles.astype(np.int64)
    starts = np.flatnonzero(np.diff(tiles, prepend=tiles[0] - 1))
    counts = np.diff(starts, append=n)
    tile = np.repeat(np.arange(len(starts)), counts)
    half = sparse.triu(codes.overlaps, 1).tocoo()
    pairs = np.unique(tile[half.row] * len(starts) + tile[half.col])
    neighbours = np.stack([pairs // len(starts), pairs % len(starts)], axis=1)
    common = sparse.csr_array(half)
    spread = _spread(half, described, tile)
    said, alike = [], [_telling(tile[:0], tile[:0], np.zeros(0))]
    for first in range(0, len(neighbours), _PAIRS_AT_ONCE):
        some = neighbours[first : first + _PAIRS_AT_ONCE]
        a, b, pair = _products(some, starts, counts)
        likeness = _likeness(described, a, b, spread)
        share, known = _agreement(a, b, pair, common)
        said.append(_telling(a, b, known * (share + likeness - 1)))
        alike.append(_telling(a, b, (1 - known) * _FEATURES_ONLY_WEIGHT * np.maximum(2 * likeness - 1, 0)))
    for first in range(0, len(starts), _PAIRS_AT_ONCE):
        own = np.arange(first, min(first + _PAIRS_AT_ONCE, len(starts)))
        a, b, _ = _products(np.stack([own, own], axis=1), starts, counts)
        a, b = a[a < b], b[a < b]
        said.append(_telling(a, b, _likeness(described, a, b, spread) - 1))
    return _all(said), _all(alike)


def _grouped(said: Edges, alike: Edges, n_nodes: int, n_wanted: int) -> tuple[NDArray[np.int64], Edges]:
    """Return each node's group and what keeps the groups apart.

    A ground that is missing from an overlap here and there leaves many groups behind it on a long strip; only then do
    looks alone join groups of neighbouring tiles.
    """
    groups, left, _ = contract(said, n_nodes)
    more = _all([left, Edges(groups[alike.a], groups[alike.b], alike.weight)])
    joined, left, _ = contract(more, n_nodes, most=max(len(np.unique(groups)) - _GROUPS * n_wanted, 0))
    return joined[groups], left


def _by_content(codes: Codes) -> NDArray[np.int64]:
    """Return the used nodes, tile by tile, in an order that depends on what they are alone."""
    used = np.flatnonzero(codes.mass > 0)
    heaviest = np.zeros(len(codes.mass))
    half = codes.overlaps.tocoo()
    np.maximum.at(heaviest, half.row, half.data)
    order = used[np.lexsort((heaviest[used], *codes.moments[used].T, codes.mass[used]))]
    _, first, of = np.unique(codes.tiles[order], return_index=True, return_inverse=True)
    return np.asarray(order[np.argsort(first[of], kind="stable")])


def _products(
    pairs: NDArray[np.int64], starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return each node of the one tile with each node of the other, and the number of their pair of tiles."""
    (one, other), n_other = pairs.T, counts[pairs[:, 1]]
    n = counts[one] * n_other
    pair = np.repeat(np.arange(len(pairs)), n)
    place = np.arange(n.sum()) - (np.cumsum(n) - n)[pair]
    return starts[one][pair] + place // n_other[pair], starts[other][pair] + place % n_other[pair], pair


def _agreement(
    a: NDArray[np.int64], b: NDArray[np.int64], pair: NDArray[np.int64], common: sparse.csr_array
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of the ground that two codes have in common, and from 0 to 1 how well that is known."""
    superpixel_table = np.asarray(common[a, b]).ravel()
    n = common.shape[0]
    of_a, of_b = (_sums(pair * n + node, superpixel_table) for node in (a, b))
    share = superpixel_table / np.sqrt(np.maximum(of_a * of_b, 1e-12))
    less = np.minimum(of_a, of_b)
    return share, less / (less + _RIM * _sums(pair, superpixel_table))


def _telling(a: NDArray[np.int64], b: NDArray[np.int64], weight: NDArray[np.float64]) -> Edges:
    kept = np.abs(weight) > _LEAST_WEIGHT
    return Edges(a[kept], b[kept], weight[kept])


def _all(parts: list[Edges]) -> Edges:
    return Edges(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("a", "b", "weight")))


def _sums(keys: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each value the sum of those with the same key."""
    _, place = np.unique(keys, return_inverse=True)
    return np.asarray(np.bincount(place, values)[place])


def _spread(half: sparse.coo_array, described: NDArray[np.float64], tile: NDArray[np.int64]) -> float:
    """Return the median squared distance in looks between codes that two tiles give the same ground."""
    if half.nnz == 0:
        return _USUAL_SPREAD
    n = int(tile.max()) + 1
    best_a, best_b = (
        _most(node * n + tile[other], half.data) for node, other in ((half.row, half.col), (half.col, half.row))
    )
    same = (half.data >= best_a) & (half.data >= best_b)
    a, b = half.row[same], half.col[same]
    return max(float(np.median(((described[a] - described[b]) ** 2).sum(axis=1))), _LEAST_SPREAD)


def _most(keys: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each value the largest of those with the same key."""
    unique, place = np.unique(keys, return_inverse=True)
    most = np.zeros(len(unique))
    np.maximum.at(most, place, values)
    return most[place]


def _likeness(
    described: NDArray[np.float64], a: NDArray[np.int64], b: NDArray[np.int64], spread: float
) -> NDArray[np.float64]:
    distance = sum((column[a] - column[b]) ** 2 for column in described.T)
    return np.asarray(0.5 ** (distance / (_ALIKE * spread)))


def _tied(
    groups: NDArray[np.int64],
    differences: Edges,
    mass: NDArray[np.float64],
    described: NDArray[np.float64],
    n_scene_codes: int,
) -> NDArray[np.int64]:
    """Return the code of the scene of each node; groups that are known to differ share one only if they must."""
    heads, of = np.unique(groups, return_inverse=True)
    n = len(heads)
    superpixel_table = grouped_sum(mass, of, n)
    means = grouped_mean(described, of, n, weights=mass)
    known = differences.weight < -_DIFFER
    a, b = (np.searchsorted(heads, ends[known]) for ends in (differences.a, differences.b))
    half = sparse.coo_array((-differences.weight[known], (a, b)), shape=(n, n))
    apart = sparse.csr_array(half + half.T)
    founders = _founders(means, np.asarray(superpixel_table**_SIZE_POWER), n_scene_codes)
    distance = cdist(means, means[founders], "sqeuclidean")
    code = np.full(n, -1)
    code[founders] = np.arange(len(founders))
    for group in np.argsort(-superpixel_table, kind="stable"):
        if code[group] < 0:
            near = slice(apart.indptr[group], apart.indptr[group + 1])
            there = code[apart.indices[near]]
            against = np.bincount(there[there >= 0], apart.data[near][there >= 0], len(founders))
            code[group] = np.lexsort((distance[group], against))[0]
    return np.asarray(code[of])


def _founders(means: NDArray[np.float64], weights: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Return the groups that found a code: the heaviest, then always the one with most weight × squared distance."""
    founders = [int(weights.argmax())]
    nearest = ((means - means[founders[0]]) ** 2).sum(axis=1)
    while len(founders) < most and (nearest * weights).max() > 0:
        founders.append(int((nearest * weights).argmax()))
        nearest = np.minimum(nearest, ((means - means[founders[-1]]) ** 2).sum(axis=1))
    return np.array(founders)


def _listened(own: NDArray[np.float64], overlaps: sparse.csr_array) -> NDArray[np.float64]:
    said = np.asarray(overlaps.sum(axis=1)).ravel()
    heard = np.where(said > 0, _HEARD, 0.0)[:, None]
    return np.asarray((1 - heard) * own + heard * (sparse.diags_array(1 / np.maximum(said, 1e-12)) @ overlaps @ own))
