"""Classify stage, first part: scene codes for the codes of tiles that were trained alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from geoseg.grid import TileGrid
from geoseg.run.contents import CodeAssignments
from geoseg.run.job import Job
from geoseg.run.products import CODE_ASSIGNMENTS, VOTES
from geoseg.segment.per_tile import align_codes
from geoseg.segment.votes import Votes


def align_tiles(job: Job, tiles: Sequence[int]) -> None:
    """Store the scene codes of each tile's codes; nothing is done with a scene network or a single tile."""
    if job.config.training == "scene" or len(tiles) == 1 or set(tiles) <= job.store.finished([CODE_ASSIGNMENTS]):
        return

    @functools.lru_cache(maxsize=2 * job.tiles.n_cols + 4)  # two rows of tiles overlap
    def load(tile: int) -> Votes:
        return job.store.get(VOTES, tile)

    tables = [align_codes.code_table(load(tile)) for tile in tiles]
    n_codes = len(tables[0][0])
    overlaps = {
        (a, b): align_codes.overlap(load(tile), load(other))
        for a, tile in enumerate(tiles)
        for other in _later_neighbours(job.tiles, tile)
        if (b := _position(tiles, other)) is not None
    }
    codes = align_codes.Codes(
        tiles=np.repeat(np.asarray(tiles), n_codes),
        pixels=np.concatenate([pixels for pixels, _ in tables]),
        moments=np.concatenate([moments for _, moments in tables]),
        overlaps=_symmetric(overlaps, len(tiles), n_codes),
    )
    weights = align_codes.align(codes, n_scene_codes=job.config.classify.clusters, n_bands=len(job.scene.bands))
    for i, tile in enumerate(tiles):
        job.store.put(CODE_ASSIGNMENTS, CodeAssignments(weights[i * n_codes : (i + 1) * n_codes]), tile)


def _later_neighbours(grid: TileGrid, number: int) -> list[int]:
    """Return the neighbours to the right and below, so that each pair of tiles occurs once."""
    return [other for other in grid.reading(grid.tile(number).read) if other > number]


def _position(tiles: Sequence[int], number: int) -> int | None:
    i = int(np.searchsorted(tiles, number))
    return i if i < len(tiles) and tiles[i] == number else None


def _symmetric(overlaps: dict[tuple[int, int], sparse.coo_array], n_tiles: int, n_codes: int) -> sparse.csr_array:
    """Combine the (code, code) tables of pairs of tiles into one symmetric (node, node) table."""
    rows = [block.row + a * n_codes for (a, _), block in overlaps.items()]
    cols = [block.col + b * n_codes for (_, b), block in overlaps.items()]
    values = [block.data for block in overlaps.values()]
    n = n_tiles * n_codes
    half = sparse.coo_array(
        (np.concatenate([[0.0], *values]), (np.concatenate([[0], *rows]), np.concatenate([[0], *cols]))), shape=(n, n)
    )
    return sparse.csr_array(half + half.T)
