"""Shared borders of the polygons of a coverage, found by their common edges while the polygons are read in batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geoseg.classify.rings import Edges
from geoseg.segment.splitmix import INCREMENT, mix64


class BorderCollector:
    """Collects the edges of polygons, and matches those that two polygons share.

    Neighbours in a coverage have every vertex of their border in common. An edge that both have is known by the hash
    of its two ends; it is matched within the batch if possible, so that only the edges around each batch are kept.
    """

    def __init__(self) -> None:
        self._pairs: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
        self._open: list[tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.float32]]] = []

    def add(self, edges: Edges, first_row: int) -> None:
        """Add the edges of a batch whose first polygon has the number `first_row`."""
        length = np.hypot(*(edges.end - edges.begin).T).astype(np.float32)
        rows = (edges.row[edges.ring] + first_row).astype(np.int32)
        self._open.append(self._match(_hashes(edges), rows, length))

    def lengths(self, n_rows: int) -> sparse.csr_array:
        """Return the length of the common border of each pair of neighbours, symmetric, (row, row) float32."""
        self._match(*(np.concatenate(part) for part in zip(*self._open, strict=True))) if self._open else None
        self._open = []
        if not self._pairs:
            return sparse.csr_array((n_rows, n_rows), dtype=np.float32)
        a, b, length = (np.concatenate(part) for part in zip(*self._pairs, strict=True))
        self._pairs = []
        both = (np.concatenate([length, length]), (np.concatenate([a, b]), np.concatenate([b, a])))
        return sparse.coo_array(both, shape=(n_rows, n_rows)).tocsr()  # adds the edges of a pair

    def _match(
        self, hashes: NDArray[np.uint64], rows: NDArray[np.int32], length: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.float32]]:
        """Keep the pairs of rows with the same edge; return the edges without a partner."""
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        is_pair = np.zeros(len(order), bool)
        is_pair[:-1] = ordered[:-1] == ordered[1:]
        is_pair[1:] &= ~is_pair[:-1]  # an edge has one partner
        first, second = order[is_pair], order[np.flatnonzero(is_pair) + 1]
        differ = rows[first] != rows[second]
        keys = rows[first][differ].astype(np.int64) << 32 | rows[second][differ]
        low, high = np.minimum(keys >> 32, keys & 0xFFFFFFFF), np.maximum(keys >> 32, keys & 0xFFFFFFFF)
        pairs, index = np.unique(low << 32 | high, return_inverse=True)
        sums = np.bincount(index, length[first][differ], minlength=len(pairs)).astype(np.float32)
        self._pairs.append(((pairs >> 32).astype(np.int32), (pairs & 0xFFFFFFFF).astype(np.int32), sums))
        left = np.ones(len(order), bool)
        left[first] = left[second] = False
        return hashes[left], rows[left], length[left]


def _hashes(edges: Edges) -> NDArray[np.uint64]:
    """Return a hash of each edge that does not depend on its direction, (edge,) uint64."""
    return mix64(_hash_points(edges.begin) + _hash_points(edges.end))


def _hash_points(points: NDArray[np.float64]) -> NDArray[np.uint64]:
    bits = np.ascontiguousarray(points + 0.0).view(np.uint64)  # + 0.0: -0 is 0
    return mix64(mix64(bits[:, 0] + np.uint64(INCREMENT)) + bits[:, 1])
