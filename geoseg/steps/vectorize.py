"""The steps from a map of classes to outlines, wherever the map comes from: found in a scene, or read from a raster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Config
from geoseg.grid import TileGrid
from geoseg.raster.scene import Scene
from geoseg.run.folder import RunFolder
from geoseg.vectorize import outline, regions
from geoseg.vectorize.regions import Pieces, Regions
from geoseg.vectorize.simplify import Shaping


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


def tile_grid(shape: tuple[int, int], config: Config) -> TileGrid:
    """Return the tiles of a scene of `shape` (rows, cols)."""
    return TileGrid(shape, config.tiles.size, config.halo)


def tables_of(job: MapJob, tiles: Sequence[int]) -> list[Pieces]:
    """Return the pieces of every tile of the scene; none of those that are not among `tiles`."""
    known = set(tiles)
    return [
        Pieces.from_arrays(job.run.get("pieces", tile.number)) if tile.number in known else regions.no_pieces(tile.core)
        for tile in job.tiles
    ]


def join_pieces(job: MapJob, tiles: Sequence[int], tables: Sequence[Pieces], features: NDArray[np.float64]) -> Regions:
    """Join pieces to regions, and tell each of `tiles` what its pieces and its surroundings belong to.

    Parameters
    ----------
    tables : of every tile of the scene
    looks : (class + 1, look) float64, as `regions.merge` takes them
    """
    joined = regions.merge(tables, job.tiles, min_pixels=job.config.polygons.min_pixels, features=features)
    if job.run.has_json("labelled") and job.run.get_json("labelled") != list(tiles):
        job.run.remove_steps("regions", "sums", "values", "vertices", "outlines")
    job.run.put_json("labelled", list(tiles))
    finished = job.run.finished("regions")
    for tile in tiles:
        if tile not in finished:
            surroundings = regions.surroundings(tables, joined, job.tiles, tile)
            lookup = joined.of_tile(tile)
            classes, pixels = (np.concatenate([[0], column])[lookup] for column in (joined.classes, joined.pixels))
            job.run.put(
                "regions", tile, {"lookup": lookup, "classes": classes, "pixels": pixels, **surroundings._asdict()}
            )
    return joined


class Framed(NamedTuple):
    """What is known of a tile before it is outlined.

    Parameters
    ----------
    pieces : what was put as "pieces"
    around : what was put as "regions"
    regions : (y + 2, x + 2) int64, the region of each pixel, with one pixel of the neighbours on each side
    """

    pieces: dict[str, NDArray[Any]]
    around: dict[str, NDArray[Any]]
    regions: NDArray[np.int64]

    @property
    def found(self) -> NDArray[np.int32]:
        """The piece of each pixel of the core, (y, x)."""
        return self.pieces["map"]

    @property
    def n_pieces(self) -> int:
        """Number of pieces."""
        return len(self.around["lookup"]) - 1


def framed_pieces(job: MapJob, number: int) -> Framed:
    """Return the pieces of a tile, and the regions of its pixels with those around it."""
    pieces, around = job.run.get("pieces", number), job.run.get("regions", number)
    found = pieces["map"]
    framed = np.zeros((found.shape[0] + 2, found.shape[1] + 2), np.int64)
    framed[1:-1, 1:-1] = around["lookup"][found]
    framed[0], framed[-1] = around["above"], around["below"]
    framed[1:-1, 0], framed[1:-1, -1] = around["left"], around["right"]
    return Framed(pieces, around, framed)


def draw_outlines(job: MapJob, number: int, framed: Framed) -> None:
    """Draw the outlines of a tile's pieces of regions."""
    core = job.tiles.tile(number).core
    drawn = outline.outline(
        framed.regions,
        pixels=framed.around["pixels"][framed.found],
        shaping=shaping_of(job.config),
        offset=(core.col_off, core.row_off),
    )
    job.run.put("vertices", number, {"regions": drawn.regions[1:], "vertices": drawn.vertices[1:]})
    job.run.put("outlines", number, drawn.to_arrays())


def shaping_of(config: Config) -> Shaping:
    """Return what is done to the borders of regions."""
    options = config.polygons
    return Shaping(options.simplify, options.smooth, options.min_pixels)
