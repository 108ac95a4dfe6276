"""The steps from a map of classes to outlines, wherever the map comes from: found in a scene, or read from a raster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config
from geoseg.grid import TileGrid
from geoseg.polygons import outline, regions, simplify
from geoseg.polygons.ragged import Ragged
from geoseg.polygons.regions import Pieces, Regions
from geoseg.raster import Scene
from geoseg.runs import RunFolder


class MapJob(Protocol):
    """What these steps must know."""

    @property
    def run(self) -> RunFolder:
        """The run folder."""

    @property
    def scene(self) -> Scene:
        """The raster on whose grid the map lies."""

    @property
    def config(self) -> Config:
        """What is done."""

    @property
    def tiles(self) -> TileGrid:
        """The tiles of the scene."""


def tables_of(job: MapJob, tiles: Sequence[int]) -> list[Pieces]:
    """Return the pieces of every tile of the scene; none of those that are not among `tiles`."""
    known = set(tiles)
    return [
        Pieces.from_arrays(job.run.get("pieces", tile.number)) if tile.number in known else regions.no_pieces(tile.core)
        for tile in job.tiles
    ]


def join_pieces(job: MapJob, tiles: Sequence[int], tables: Sequence[Pieces], looks: NDArray[np.float64]) -> Regions:
    """Join pieces to regions, and tell each of `tiles` what its pieces and its surroundings belong to.

    Parameters
    ----------
    tables : of every tile of the scene
    looks : (class + 1, look) float64, as `regions.join` takes them
    """
    joined = regions.join(tables, job.tiles, min_pixels=job.config.polygons.min_pixels, looks=looks)
    if job.run.has_json("labelled") and job.run.get_json("labelled") != list(tiles):
        job.run.remove_steps("regions", "sums", "values", "outlines")
    job.run.put_json("labelled", list(tiles))
    finished = job.run.finished("regions")
    for tile in tiles:
        if tile not in finished:
            surroundings = regions.surroundings(tables, joined, job.tiles, tile)
            job.run.put("regions", tile, {"lookup": joined.of_tile(tile), **surroundings._asdict()})
    return joined


def framed_pieces(job: MapJob, number: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the pieces of a tile's pixels, (y, x), and their regions with one pixel of the neighbours on each side."""
    found = job.run.get("pieces", number)["map"]
    around = job.run.get("regions", number)
    framed = np.zeros((found.shape[0] + 2, found.shape[1] + 2), np.int64)
    framed[1:-1, 1:-1] = around["lookup"][found]
    framed[0], framed[-1] = around["above"], around["below"]
    framed[1:-1, 0], framed[1:-1, -1] = around["left"], around["right"]
    return found, framed


def draw_outlines(job: MapJob, number: int, framed: NDArray[np.int64]) -> None:
    """Draw the outlines of a tile's pieces of regions."""
    core = job.tiles.tile(number).core
    polygons, of_region = outline.outline(framed, offset=(core.col_off, core.row_off))
    polygons = simplify.simplify(
        polygons, tolerance=job.config.polygons.simplify, min_area=job.config.polygons.min_pixels
    )
    job.run.put("outlines", number, {**Ragged.of(polygons).to_arrays(), "regions": of_region})
