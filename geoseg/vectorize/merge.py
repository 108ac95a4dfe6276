"""Merge the pieces of all tiles into the regions of the scene, from their tables alone.

Most pieces are regions already: those that touch no other tile and no piece that is too small. They need a number and
nothing else. The graph of the scene has only the others, a fifth of the pieces of a photograph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.errors import RunError
from geoseg.grid import Tile, TileGrid
from geoseg.segment.table_storage import IN_MEMORY, TableStorage
from geoseg.vectorize.regions import Pieces, Regions, counted_pairs
from geoseg.vectorize.sieve import Graph, contract, sieve


def merge(
    tables: Iterable[Pieces],
    grid: TileGrid,
    *,
    min_pixels: int,
    features: NDArray[np.float64],
    storage: TableStorage = IN_MEMORY,
) -> Regions:
    """Merge the pieces of all tiles and return the regions of the scene.

    Parameters
    ----------
    tables : iterable of Pieces
        One per tile, in the order of `grid`; iterated over once.
    grid : TileGrid
    min_pixels : int
        The same as for the pieces.
    features : (class + 1, feature) float64
        The same as for the pieces.
    storage : TableStorage
        Where the table of all pieces and that of the regions are kept.

    Returns
    -------
    Regions

    Raises
    ------
    RunError
        If the tables do not fit the grid.
    """
    open_pieces = _OpenPieces(grid.n_cols)
    columns = storage.concatenate(open_pieces.added(_matched(grid, tables)))
    graph = open_pieces.graph()
    same = graph.classes[graph.pairs[:, 0]] == graph.classes[graph.pairs[:, 1]]
    graph, region = contract(graph, _components(graph.pairs[same], graph.classes.size), min_pixels=min_pixels)
    graph = graph._replace(open=np.zeros(graph.classes.size, dtype=np.bool_))  # the whole scene is known here
    graph, moved = sieve(graph, min_pixels=min_pixels, features=features)
    return _numbered(columns, np.array(open_pieces.offsets), graph, moved[region], (grid, storage))


class _OpenPieces:
    """The graph of the pieces that may be merged, tile after tile, with the pairs across tile lines.

    Parameters
    ----------
    n_cols : int
        Number of columns of tiles.

    Attributes
    ----------
    offsets : list of int
        Where the pieces of each tile begin among all pieces.
    """

    def __init__(self, n_cols: int) -> None:
        self.offsets = [0]
        self._n_cols, self._n = n_cols, 0
        self._graphs: list[Graph] = []
        self._seams: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
        self._above: dict[int, NDArray[np.int64]] = {}  # by column of tiles, so at most one row of them is in memory
        self._before = np.empty(0, dtype=np.int64)

    def added(self, tables: Iterable[tuple[Tile, Pieces]]) -> Iterator[dict[str, NDArray[Any]]]:
        """Add the tables, and yield of each the columns that are kept of all pieces.

        `node` is the number of a piece in the graph, from 0; -1 = it is a region already.
        """
        for tile, table in tables:
            taking_part = np.concatenate([[False], table.open])
            taking_part[table.pairs] = True
            for side in table.sides:
                taking_part[side] = True
            taking_part = taking_part[1:]
            node = np.where(taking_part, np.cumsum(taking_part) - 1 + self._n, -1)
            self._add(tile, table, taking_part, node)
            self.offsets.append(self.offsets[-1] + len(table))
            yield {"classes": table.classes, "pixels": table.pixels, "first": table.first, "node": node}

    def graph(self) -> Graph:
        """Return the graph, with the pairs across tile lines, also those of one class; the parts are given up."""
        classes, pixels, first, is_open = (
            np.concatenate(column) for column in list(zip(*self._graphs, strict=True))[:4]
        )
        pairs = np.concatenate([*(graph.pairs for graph in self._graphs), *(pairs for pairs, _ in self._seams)])
        borders = np.concatenate([*(graph.borders for graph in self._graphs), *(borders for _, borders in self._seams)])
        self._graphs, self._seams = [], []
        return Graph(classes, pixels, first, is_open, pairs, borders)

    def _add(self, tile: Tile, table: Pieces, taking_part: NDArray[np.bool_], node: NDArray[np.int64]) -> None:
        row, col = divmod(tile.number, self._n_cols)
        numbers = np.concatenate([[0], node + 1])  # 0 = nodata
        top, bottom, left, right = (numbers[side] for side in table.sides)
        touching = ([(self._above[col], top)] if row else []) + ([(self._before, left)] if col else [])
        for ends in touching:
            pairs, borders = counted_pairs(*ends)
            self._seams.append(((pairs - 1).astype(np.int32), borders.astype(np.int32)))
        self._above[col], self._before = bottom, right
        self._graphs.append(
            Graph(
                table.classes[taking_part],
                table.pixels[taking_part],
                table.first[taking_part],
                table.open[taking_part],
                node[table.pairs - 1].astype(np.int32),  # there are more pairs than pieces
                table.borders.astype(np.int32),
            )
        )
        self._n += int(taking_part.sum())


def _numbered(
    columns: dict[str, NDArray[Any]],
    offsets: NDArray[np.int64],
    merged: Graph,
    region: NDArray[np.int64],
    where: tuple[TileGrid, TableStorage],
) -> Regions:
    """Return the regions of the scene, numbered in the order of their first pixels.

    Parameters
    ----------
    columns : dict of str to (piece,) array
        As `_OpenPieces.added` yields them.
    offsets : (tile + 1,) int64
        Where the pieces of each tile begin.
    merged : Graph
        The regions of the pieces that were merged, in the order of their first pixels.
    region : (node,) int64
        The row in `merged` of each of these pieces.
    where : (TileGrid, TableStorage)

    Notes
    -----
    The first pixel of a region is in the row of tiles of its first piece, so the rows are numbered one after the other.
    """
    grid, storage = where
    n_regions = int(offsets[-1]) - len(region) + len(merged.classes)
    found = Regions(
        storage.zeros((n_regions,), np.int32),
        storage.zeros((n_regions,), np.int64),
        storage.zeros((n_regions,), np.int64),
        offsets,
        storage.zeros((int(offsets[-1]),), np.int64),
        storage,
    )
    number = np.zeros(len(merged.classes), np.int64)  # of each region of `merged`
    n, begin = 0, 0
    for row in range(grid.n_rows):
        pieces = slice(offsets[row * grid.n_cols], offsets[(row + 1) * grid.n_cols])
        end = int(np.searchsorted(merged.first, grid[row, 0].core.row_end * grid.shape[1]))
        node, own = columns["node"][pieces], slice(begin, end)
        settled = node < 0
        first = np.concatenate([columns["first"][pieces][settled], merged.first[own]])
        order = np.argsort(first)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(n + 1, n + 1 + len(order))
        number[own] = rank[settled.sum() :]
        numbers = number[region[node]] if len(region) else np.zeros(len(node), np.int64)
        numbers[settled] = rank[: settled.sum()]
        found.numbers[pieces] = numbers
        rows = slice(n, n + len(order))
        found.first[rows] = first[order]
        found.classes[rows] = np.concatenate([columns["classes"][pieces][settled], merged.classes[own]])[order]
        found.pixels[rows] = np.concatenate([columns["pixels"][pieces][settled], merged.pixels[own]])[order]
        n, begin = n + len(order), end
        storage.release()
    return found


def _matched(grid: TileGrid, tables: Iterable[Pieces]) -> Iterator[tuple[Tile, Pieces]]:
    """Yield each tile with its table."""
    for tile, table in zip_longest(grid, tables):
        if tile is None or table is None:
            raise RunError(
                f"The number of tables differs from the {len(grid)} tiles of the grid; give one per tile, in its order."
            )
        shape = (table.sides.left.size, table.sides.top.size)
        if shape != tile.core.shape:
            raise RunError(
                f"The table of tile {tile.number} describes a core of {shape} pixels, but in the grid it has "
                f"{tile.core.shape}; give the tables in the order of the grid that they were computed with."
            )
        yield tile, table


def _components(pairs: NDArray[np.int64], n_nodes: int) -> NDArray[np.int64]:
    """Return the connected component of each node in the graph of the pairs."""
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_nodes, n_nodes))
    return connected_components(links, directed=False)[1].astype(np.int64)
