"""Polygons of regions that cross tile lines: their arcs are linked over the lines, shaped and assembled.

Tiles are processed row by row and finished regions are returned at once, so only the regions that continue below, and
their arcs, are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.grid import TileGrid
from geoseg.vectorize.arcs import Arcs, concatenate_arcs, no_arcs
from geoseg.vectorize.outline import CoreOutlines
from geoseg.vectorize.regions import CoreSides
from geoseg.vectorize.rings import Polygons, polygons_of
from geoseg.vectorize.simplify import Shaping, area_allowances, lattice_points, no_points, shape_arcs
from geoseg.vectorize.split_large import RegionCuts
from geoseg.vectorize.tile_seams import Runs, arcs_of_runs, link_arcs, runs_along


class _Held(NamedTuple):
    """Unfinished regions.

    Parameters
    ----------
    arcs : Arcs
        Between pieces.
    regions, blocks : (piece + 1,) int64
        Region and block of each piece; 0 = nodata.
    bottoms : mapping of int to (x,) int
        For each column of tiles, the pieces along the lower side of the last row of tiles; 0 = none continues below.
    points : (point, 2) int64
        (col, row) at which arcs turn or meet, also those of finished arcs.
    pairs : (pair, 2) int64
        Pieces of one region on both sides of a tile line.
    """

    arcs: Arcs
    regions: NDArray[np.int64]
    blocks: NDArray[np.int64]
    bottoms: Mapping[int, NDArray[np.integer]]
    points: NDArray[np.int64]
    pairs: NDArray[np.int64]


@dataclass(frozen=True)
class Mosaic:
    """Assembly of the outlines of all tiles.

    Parameters
    ----------
    grid : TileGrid
    pixels : (region + 1,) int64
        Size of each region in the whole scene; the first element is not used.
    shaping : Shaping
        The same as in the tiles.
    parts : RegionCuts
        How large regions are cut.
    """

    grid: TileGrid
    pixels: NDArray[np.int64]
    shaping: Shaping
    parts: RegionCuts = field(default_factory=RegionCuts)

    def polygons(self, tiles: Iterable[tuple[int, CoreOutlines]]) -> Iterator[Polygons]:
        """Yield the polygons of the regions that touch a tile line; `owners` are region numbers.

        Parameters
        ----------
        tiles : iterable of (int, CoreOutlines)
            Tile numbers, ascending, and outlines; failed tiles are absent.

        Notes
        -----
        A region that is cut, or divided by a failed tile, has several polygons with the same number.
        """
        nothing = np.zeros(1, np.int64)
        held = _Held(no_arcs(), nothing, nothing, {}, np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64))
        for row, outlines in _rows(tiles, self.grid):
            last = row + 1 == self.grid.n_rows
            open_row = None if last else self.grid.tile(row * self.grid.n_cols).core.row_end
            held = self._shaped(self._with_row(held, row, outlines), open_row)
            held, found = _finished(held)
            yield found

    def _with_row(self, held: _Held, row: int, outlines: Mapping[int, CoreOutlines]) -> _Held:
        """Add a row of tiles, and the borders along the tile lines above and within it."""
        arcs, regions, blocks, points = [held.arcs], [held.regions], [held.blocks], [held.points]
        sides: dict[int, CoreSides] = {}
        n = len(held.regions) - 1
        for col, found in outlines.items():
            tile = self.grid[row, col]
            arcs.append(_renumbered(found.arcs, n))
            sides[col] = CoreSides(*(np.where(side > 0, side + n, 0) for side in found.sides))
            regions.append(found.regions[1:])
            blocks.append(self.parts.of(found.regions[1:], tile, self.grid))
            points.append(found.points)
            n += len(found.regions) - 1
        runs = self._runs(row, held.bottoms, sides)
        bottoms = {col: side.bottom for col, side in sides.items()} if row + 1 < self.grid.n_rows else {}
        region, block = np.concatenate(regions), np.concatenate(blocks)
        same = (region[runs.one] == region[runs.other]) & (block[runs.one] == block[runs.other])
        arcs.append(arcs_of_runs(Runs(*(column[~same] for column in runs)), region))
        pairs = np.stack([runs.one[same], runs.other[same]], axis=1)
        return _Held(concatenate_arcs(arcs), region, block, bottoms, np.concatenate(points), pairs)

    def _runs(self, row: int, bottoms: Mapping[int, NDArray[np.integer]], sides: Mapping[int, CoreSides]) -> Runs:
        found = [Runs(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0, np.int64))]
        for col in range(self.grid.n_cols):
            core = self.grid[row, col].core
            origin, here, before = (core.col_off, core.row_off), sides.get(col), sides.get(col - 1)
            found.append(runs_along(bottoms.get(col), here and here.top, origin=origin, upright=False))
            found.append(runs_along(before and before.right, here and here.left, origin=origin, upright=True))
        return Runs(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def _shaped(self, held: _Held, open_row: int | None) -> _Held:
        """Link and shape the arcs that are complete."""
        kind = held.regions * (len(self.grid) + 1) + held.blocks
        sides = np.stack([kind[held.arcs.left], kind[held.arcs.right]], axis=1)
        whole, waiting = link_arcs(held.arcs, sides, open_row=open_row)
        points = held.points
        if self.shaping.neighbours:  # the rows below need the vertices that these arcs had before
            lowest = waiting.xy[:, 1].min(initial=np.inf if open_row is None else open_row)
            points = np.concatenate([points, whole.xy.astype(np.int64)])
            points = points[points[:, 1] >= lowest]
        if self.shaping.changes:
            allowances = area_allowances(whole, self.pixels[held.regions], self.shaping.min_pixels)
            features = self.shaping.neighbours > 0
            around = lattice_points(concatenate_arcs([whole, waiting]), others=held.points) if features else no_points()
            whole = shape_arcs(whole, allowances, self.shaping, around)
        arcs = concatenate_arcs([held.arcs.take(held.arcs.whole), whole, waiting])
        return held._replace(arcs=arcs, points=points)


def _rows(tiles: Iterable[tuple[int, CoreOutlines]], grid: TileGrid) -> Iterator[tuple[int, dict[int, CoreOutlines]]]:
    """Yield the outlines of every row of tiles by column, also of a row whose tiles all failed."""
    waiting = iter(tiles)
    following = next(waiting, None)
    for row in range(grid.n_rows):
        found = {}
        while following is not None and following[0] // grid.n_cols == row:
            found[following[0] % grid.n_cols] = following[1]
            following = next(waiting, None)
        yield row, found


def _renumbered(arcs: Arcs, n: int) -> Arcs:
    """Add `n` to the numbers of the pieces; 0 stays 0."""
    return arcs._replace(
        left=np.where(arcs.left > 0, arcs.left + n, 0), right=np.where(arcs.right > 0, arcs.right + n, 0)
    )


def _finished(held: _Held) -> tuple[_Held, Polygons]:
    """Merge the pieces of each part, and return the rest and the polygons of the parts that do not continue below."""
    n = len(held.regions)
    links = coo_array((np.ones(len(held.pairs)), tuple(held.pairs.T)), shape=(n, n))
    part = connected_components(links, directed=False)[1].astype(np.int64)
    _, first, part = np.unique(part, return_index=True, return_inverse=True)
    order = np.argsort(first)  # nodata, piece 0, is a part of its own and stays the first
    part = np.argsort(order)[part]
    first = first[order]
    goes_on = np.zeros(len(first), np.bool_)
    for bottom in held.bottoms.values():
        goes_on[part[bottom]] = True
    # an arc that ends at a node on the tile line below waits until the node is known, and its sides with it
    goes_on[part[held.arcs.left[~held.arcs.whole]]] = goes_on[part[held.arcs.right[~held.arcs.whole]]] = True
    goes_on[0] = False
    done = ~goes_on
    done[0] = False
    arcs = held.arcs._replace(left=part[held.arcs.left], right=part[held.arcs.right])
    polygons = polygons_of(arcs, done)
    number = np.where(goes_on, np.cumsum(goes_on), 0)
    arcs = arcs._replace(left=number[arcs.left], right=number[arcs.right])
    kept = np.concatenate([[0], np.flatnonzero(goes_on)])
    left = _Held(
        arcs.take((arcs.left > 0) | (arcs.right > 0)),
        held.regions[first[kept]],
        held.blocks[first[kept]],
        {col: number[part[bottom]] for col, bottom in held.bottoms.items()},
        held.points,
        np.zeros((0, 2), np.int64),
    )
    return left, polygons._replace(owners=held.regions[first[polygons.owners]])
