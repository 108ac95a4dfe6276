"""Linking of arcs over tile lines: borders along a line, and borders that cross it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.compiled import compiled, internal
from geoseg.vectorize.arcs import Arcs, starts_of


class Runs(NamedTuple):
    """Maximal intervals of a tile line with one piece on each side.

    Parameters
    ----------
    begin, end : (run, 2) float64
        (col, row); rightwards or downwards.
    one, other : (run,) int64
        Piece above or left, and piece below or right; 0 = a failed tile.
    """

    begin: NDArray[np.float64]
    end: NDArray[np.float64]
    one: NDArray[np.int64]
    other: NDArray[np.int64]


def runs_along(
    one: NDArray[np.integer] | None, other: NDArray[np.integer] | None, *, origin: tuple[int, int], upright: bool
) -> Runs:
    """Return the runs between two tiles, without those with nodata on both sides.

    Parameters
    ----------
    one, other : (pixel,) int64 or None
        Pieces along the line in the tile above or left, and in the one below or right. None = that tile failed or is
        outside the scene.
    origin : (int, int)
        (col, row) at which the line begins.
    upright : bool
        True = the line is vertical.
    """
    n = next((len(side) for side in (one, other) if side is not None), 0)
    sides = np.stack([np.zeros(n, np.int64) if side is None else side.astype(np.int64) for side in (one, other)])
    bounds = np.concatenate([[0], np.flatnonzero((np.diff(sides) != 0).any(axis=0)) + 1, [n]])[: n + 1]
    kept = sides[:, bounds[:-1]].any(axis=0)
    first, last = bounds[:-1][kept], bounds[1:][kept]
    step = np.array([0.0, 1.0] if upright else [1.0, 0.0])
    begin, end = (np.asarray(origin, np.float64) + at[:, None] * step for at in (first, last))
    return Runs(begin, end, sides[0, first], sides[1, first])


def arcs_of_runs(runs: Runs, regions: NDArray[np.int64]) -> Arcs:
    """Return runs as parts of arcs; the lower of `regions`, (piece + 1,) int64, is on the left."""
    down = (runs.begin[:, 0] == runs.end[:, 0]).astype(np.int8)
    # rightwards along a run the piece above is on the left, downwards the piece to its right
    left, right = np.where(down, runs.other, runs.one), np.where(down, runs.one, runs.other)
    back = regions[left] > regions[right]
    ways = (down + 2 * back).astype(np.int8)
    ends = np.stack([np.where(back[:, None], runs.end, runs.begin), np.where(back[:, None], runs.begin, runs.end)], 1)
    n = len(down)
    return Arcs(
        ends.reshape(-1, 2),
        np.arange(n + 1, dtype=np.int64) * 2,
        np.where(back, right, left),
        np.where(back, left, right),
        np.stack([ways, ways], axis=1),
        np.zeros(n, np.bool_),
        regions[left] == regions[right],  # a cut through a region stays straight
    )


def link_arcs(arcs: Arcs, sides: NDArray[np.int64], *, open_row: int | None) -> tuple[Arcs, Arcs]:
    """Link the parts of arcs that are not whole.

    Parameters
    ----------
    arcs : Arcs
        All unfinished ones, also whole ones, whose ends are nodes.
    sides : (arc, 2) int64
        What is left and right of each; equal for parts of the same arc.
    open_row : int or None
        Tile line below which the scene is not processed yet. None = all is processed.

    Returns
    -------
    whole : Arcs
        Those completed here, each once, with vertices only where it turns and where it ends.
    open : Arcs
        Parts that must be linked to the next row.
    """
    first, last = arcs.xy[arcs.offsets[:-1]], arcs.xy[np.maximum(arcs.offsets[1:] - 1, 0)]
    following = _following(arcs, sides, first, last, open_row)
    waits = np.zeros(arcs.n, np.bool_) if open_row is None else (first[:, 1] == open_row) | (last[:, 1] == open_row)
    order, sizes, ring, is_open = _chains(following, arcs.whole, waits)
    xy, lengths = _merge(arcs.xy, arcs.offsets, order, sizes, ring)
    begins = starts_of(sizes)
    heads, tails = order[begins[:-1]], order[begins[1:] - 1]
    ways = np.stack([arcs.ways[heads, 0], arcs.ways[tails, 1]], axis=1)
    whole = np.ones(len(heads), np.bool_)
    return Arcs(xy, starts_of(lengths), arcs.left[heads], arcs.right[heads], ways, ring, whole), arcs.take(is_open)


def _following(
    arcs: Arcs,
    sides: NDArray[np.int64],
    first: NDArray[np.float64],
    last: NDArray[np.float64],
    open_row: int | None,
) -> NDArray[np.int64]:
    """Return the part that continues each one, -1 = none."""
    width = int(max(first[:, 0].max(initial=0), last[:, 0].max(initial=0))) + 1
    begins, ends = ((at[:, 1] * width + at[:, 0]).astype(np.int64) for at in (first, last))
    begins[arcs.ring] = ends[arcs.ring] = -1 - np.flatnonzero(arcs.ring)  # a ring has no end
    points, counts = np.unique(np.concatenate([begins, ends]), return_counts=True)
    following = np.full(arcs.n, -1)
    parts = np.flatnonzero(~arcs.whole)
    by_begin = parts[np.argsort(begins[parts], kind="stable")]
    at = np.searchsorted(begins[by_begin], ends[parts])
    found = at < len(by_begin)
    parts, after = parts[found], by_begin[at[found]]
    fits = (begins[after] == ends[parts]) & (counts[np.searchsorted(points, ends[parts])] == 2)
    fits &= (sides[after] == sides[parts]).all(axis=1)
    if open_row is not None:
        fits &= last[parts, 1] != open_row
    following[parts[fits]] = after[fits]
    return following


@compiled(nogil=True)
def _chains(following, whole, waits):  # type: ignore[no-untyped-def]
    """Return the parts of the complete arcs, arc by arc, and which parts belong to none.

    Returns
    -------
    order : (part,) int64
    sizes : (arc,) int64
        Number of parts of each arc.
    ring : (arc,) bool
    is_open : (part,) bool
    """
    n = len(following)
    is_head = ~whole
    for part in range(n):
        if following[part] >= 0:
            is_head[following[part]] = False
    order, sizes = np.empty(n, np.int64), np.empty(n, np.int64)
    ring, is_open = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    seen = whole.copy()
    total, n_arcs = 0, 0
    for rings in (False, True):
        for head in range(n):
            if seen[head] or (not rings and not is_head[head]):
                continue
            begin, part, known = total, head, True
            while part >= 0 and not seen[part]:
                seen[part] = True
                known = known and not waits[part]
                order[total] = part
                total += 1
                part = following[part]
            if known:
                sizes[n_arcs] = total - begin
                ring[n_arcs] = rings
                n_arcs += 1
            else:
                is_open[order[begin:total]] = True
                total = begin
    return order[:total].copy(), sizes[:n_arcs].copy(), ring[:n_arcs].copy(), is_open


@compiled(nogil=True)
def _merge(xy, offsets, order, sizes, ring):  # type: ignore[no-untyped-def]
    """Return the vertices of arcs composed of parts, without those on straight lines, and how many each arc has."""
    total = 0
    for part in order:
        total += offsets[part + 1] - offsets[part]
    merged = np.empty((total + len(sizes), 2))
    lengths = np.empty(len(sizes), np.int64)
    n, at = 0, 0
    for arc in range(len(sizes)):
        size = 1
        for k in range(at, at + sizes[arc]):
            size += offsets[order[k] + 1] - offsets[order[k]] - 1
        line = np.empty((size, 2))
        size = 0
        for k in range(at, at + sizes[arc]):
            for vertex in range(offsets[order[k]] + (k > at), offsets[order[k] + 1]):
                line[size, 0], line[size, 1] = xy[vertex, 0], xy[vertex, 1]
                size += 1
        at += sizes[arc]
        if ring[arc]:
            line = _from_first(line[:-1])
        begin = n
        for i in range(len(line)):
            if 0 < i < len(line) - 1 and _is_straight(line, i):
                continue
            merged[n, 0], merged[n, 1] = line[i, 0], line[i, 1]
            n += 1
        lengths[arc] = n - begin
    return merged[:n].copy(), lengths


@internal(nogil=True)
def _from_first(line):  # type: ignore[no-untyped-def]
    """Return a ring that begins and ends at its first vertex in reading order, which is always a corner."""
    first = 0
    for i in range(len(line)):
        if line[i, 1] < line[first, 1] or (line[i, 1] == line[first, 1] and line[i, 0] < line[first, 0]):
            first = i
    turned = np.empty((len(line) + 1, 2))
    for i in range(len(line) + 1):
        k = (first + i) % len(line)
        turned[i, 0], turned[i, 1] = line[k, 0], line[k, 1]
    return turned


@internal(nogil=True)
def _is_straight(line, i):  # type: ignore[no-untyped-def]
    a, b = i - 1, i + 1
    return (line[a, 0] == line[i, 0] == line[b, 0]) or (line[a, 1] == line[i, 1] == line[b, 1])
