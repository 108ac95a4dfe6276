"""Connected regions of a class map that is processed tile by tile, with numbers that hold over the whole scene.

A piece is a 4-connected set of pixels of one class inside the core of one tile, a region the same over the whole scene.
Each tile returns the table of its pieces; the regions follow from the tables alone, without the pixels. The result does
not depend on the tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from geoseg.grid import TileGrid, Window
from geoseg.segment.table_storage import IN_MEMORY, TableStorage
from geoseg.vectorize.sieve import Graph, sieve


class CoreSides(NamedTuple):
    """Values of the pixels along the sides of a core, from left to right and from top to bottom; int, 0 = nodata."""

    top: NDArray[np.integer]
    bottom: NDArray[np.integer]
    left: NDArray[np.integer]
    right: NDArray[np.integer]


@dataclass(frozen=True)
class Pieces:
    """The pieces of one tile; row i describes piece i + 1.

    Parameters
    ----------
    classes : (piece,) int32
        From 1; or labels as int64, which `label_index.renumber_tables` replaces by classes.
    pixels : (piece,) int64
    first : (piece,) int64
        Index of the first pixel in the reading order of the scene: row · scene width + col.
    open : (piece,) bool
        True = touches a side of the core with another tile beyond it.
    pairs : (pair, 2) int32
        Numbers of touching pieces, lower first; only pairs with a piece below the minimum size.
    borders : (pair,) int64
        Length of the shared border of each pair in pixel edges.
    sides : CoreSides
        Numbers of the pieces along the sides of the core.
    """

    classes: NDArray[Any]
    pixels: NDArray[np.int64]
    first: NDArray[np.int64]
    open: NDArray[np.bool_]
    pairs: NDArray[np.int32]
    borders: NDArray[np.int64]
    sides: CoreSides

    def __len__(self) -> int:
        return len(self.classes)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, to be saved."""
        return {name: getattr(self, name) for name in _columns()} | self.sides._asdict()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Pieces:
        """Return the table from the arrays of `to_arrays`."""
        return cls(
            **{name: arrays[name] for name in _columns()},
            sides=CoreSides(*(arrays[side] for side in CoreSides._fields)),
        )


@dataclass(frozen=True)
class Regions:
    """The regions of a scene; row i describes region i + 1, in the reading order of their first pixels.

    Parameters
    ----------
    classes : (region,) int32
        From 1.
    pixels : (region,) int64
    first : (region,) int64
        Index of the first pixel in the reading order of the scene: row · scene width + col.
    offsets : (tile + 1,) int64
        Where the pieces of each tile begin in `numbers`.
    numbers : (piece,) int64
        Region of every piece of every tile.
    storage : TableStorage
        Where these arrays are kept.
    """

    classes: NDArray[np.int32]
    pixels: NDArray[np.int64]
    first: NDArray[np.int64]
    offsets: NDArray[np.int64]
    numbers: NDArray[np.int64]
    storage: TableStorage = field(default=IN_MEMORY, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))

    def of_tile(self, number: int) -> NDArray[np.int64]:
        """Return the regions of a tile's pieces, (piece + 1,) int64: index it with the tile's piece map; 0 stays 0."""
        return np.concatenate([[0], self.numbers[self.offsets[number] : self.offsets[number + 1]]])

    def values(self, column: NDArray[Any], numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Return the values of a column, (region,), of regions that are given by their numbers; 0 for number 0.

        Examples
        --------
        >>> regions = Regions(np.array([7, 8]), *(np.array([4, 5]) for _ in range(4)))
        >>> regions.values(regions.classes, np.array([2, 0, 1]))
        array([8, 0, 7])
        """
        known = numbers > 0
        found = np.zeros(numbers.shape, np.int64)
        found[known] = column[numbers[known] - 1]
        return found


def pieces(
    classes: NDArray[np.integer],
    *,
    window: Window,
    scene_shape: tuple[int, int],
    min_pixels: int,
    features: NDArray[np.float64],
) -> tuple[NDArray[np.int32], Pieces]:
    """Return the pieces of one tile, as a map and as a table.

    Small pieces are already merged where nothing outside the tile can change the result, so that little is left to
    decide for the whole scene.

    Parameters
    ----------
    classes : (y, x) int
        Class map of the core; 0 = nodata.
    window : Window
        The core.
    scene_shape : (int, int)
        (rows, cols).
    min_pixels : int
        Regions with fewer pixels are merged into a neighbour; 0 and 1 merge none.
    features : (class + 1, feature) float64
        Features by which a small region chooses among its neighbours; row 0 is not used. See `sieve`.

    Returns
    -------
    piece_map : (y, x) int32
        Piece of each pixel; 0 = nodata.
    table : Pieces
    """
    labels = label(classes, background=0, connectivity=1)
    graph = _graph(labels, classes, window=window, scene_shape=scene_shape, min_pixels=min_pixels)
    graph, node = sieve(graph, min_pixels=min_pixels, features=features)
    piece_map = np.concatenate([[0], node + 1]).astype(np.int32)[labels]
    table = Pieces(
        graph.classes,
        graph.pixels,
        graph.first,
        graph.open,
        (graph.pairs + 1).astype(np.int32),
        graph.borders,
        core_sides_of(piece_map),
    )
    return piece_map, table


def no_pieces(window: Window) -> Pieces:
    """Return the table of a tile without pieces, such as a failed one."""
    nothing = np.empty(0, dtype=np.int64)
    return Pieces(
        nothing.astype(np.int32),
        nothing,
        nothing,
        nothing.astype(np.bool_),
        np.empty((0, 2), dtype=np.int32),
        nothing,
        core_sides_of(np.zeros(window.shape, dtype=np.int32)),
    )


class Surroundings(NamedTuple):
    """Regions of the pixels around a core; 0 = nodata or outside the scene.

    Parameters
    ----------
    above, below : (width + 2,) int64
        With the corners.
    left, right : (height,) int64
    """

    above: NDArray[np.int64]
    below: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]


def surroundings(sides: Callable[[int], CoreSides], regions: Regions, grid: TileGrid, number: int) -> Surroundings:
    """Return the regions of the pixels around the core of tile `number`; `sides` returns those of a tile's pieces."""
    row, col = divmod(number, grid.n_cols)
    height, width = grid.tile(number).core.shape

    def side(down: int, right: int, name: str, length: int) -> NDArray[np.int64]:
        if not (0 <= row + down < grid.n_rows and 0 <= col + right < grid.n_cols):
            return np.zeros(length, np.int64)
        other = (row + down) * grid.n_cols + col + right
        return regions.of_tile(other)[getattr(sides(other), name)]

    def line(down: int, name: str) -> NDArray[np.int64]:
        corners = side(down, -1, name, 1)[-1:], side(down, 1, name, 1)[:1]
        return np.concatenate([corners[0], side(down, 0, name, width), corners[1]])

    return Surroundings(line(-1, "bottom"), line(1, "top"), side(0, -1, "right", height), side(0, 1, "left", height))


def _columns() -> list[str]:
    return [field.name for field in fields(Pieces) if field.name != "sides"]


def _graph(
    labels: NDArray[np.int64],
    classes: NDArray[np.integer],
    *,
    window: Window,
    scene_shape: tuple[int, int],
    min_pixels: int,
) -> Graph:
    """Return the components of a tile, numbered from 1 in `labels`, as nodes from 0."""
    pixels = np.bincount(labels.ravel())[1:]
    first = np.full(pixels.size + 1, labels.size)
    np.minimum.at(first, labels.ravel(), np.arange(labels.size))
    rows, cols = np.divmod(first[1:], window.width)
    pairs, borders = _touching(labels, np.concatenate([[False], pixels < min_pixels]))
    return Graph(
        classes[rows, cols].astype(np.int32),
        pixels,
        (rows + window.row_off) * scene_shape[1] + cols + window.col_off,
        _open(labels, window, scene_shape, pixels.size),
        pairs - 1,
        borders,
    )


def _touching(labels: NDArray[np.int64], small: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of touching components of which one is small, and the length of their border."""
    found = []
    for one, other in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        differ = one != other
        ones, others = one[differ], other[differ]
        kept = small[ones] | small[others]
        found.append((ones[kept], others[kept]))
    return counted_pairs(*(np.concatenate(ends) for ends in zip(*found, strict=True)))


def counted_pairs(ones: NDArray[np.int64], others: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return every distinct pair without a 0, lower number first, and its count."""
    low, high = np.minimum(ones, others), np.maximum(ones, others)
    base = int(high.max(initial=0)) + 1
    keys, counts = np.unique((low * base + high)[low > 0], return_counts=True)
    return np.stack(np.divmod(keys, base), axis=1), counts


def _open(labels: NDArray[np.int64], window: Window, scene_shape: tuple[int, int], n_labels: int) -> NDArray[np.bool_]:
    """Return which components touch a side of the core with more of the scene beyond it."""
    rows, cols = scene_shape
    goes_on = (window.row_off > 0, window.row_end < rows, window.col_off > 0, window.col_end < cols)
    found = np.zeros(n_labels + 1, dtype=np.bool_)
    for side, inside in zip(core_sides_of(labels), goes_on, strict=True):
        found[side] |= inside
    return found[1:]


def core_sides_of(labels: NDArray[np.integer]) -> CoreSides:
    """Return copies of the four sides of a map."""
    return CoreSides(labels[0].copy(), labels[-1].copy(), labels[:, 0].copy(), labels[:, -1].copy())
