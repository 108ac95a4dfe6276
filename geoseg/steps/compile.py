"""Compile functions in a second process, while the first one surveys the scene and trains the network.

Only the first run after an installation compiles. It has one thread until the tiles are segmented, and the functions of
the later stages take longer to compile than the network to train.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geoseg.grid import TileGrid, Window
from geoseg.raster.pixel_size import PixelSize
from geoseg.run.kernel_lock import share_compilation
from geoseg.segment import context, features, superpixels, votes
from geoseg.segment.vote_sums import sum_shares
from geoseg.vectorize import outline, regions, wkb, zonal_stats
from geoseg.vectorize.merge import merge
from geoseg.vectorize.mosaic import Mosaic
from geoseg.vectorize.simplify import Shaping
from geoseg.vectorize.zonal_stats import ZonalSums

_SIZE, _TILE, _BANDS, _CODES = 24, 12, 3, 4


@contextmanager
def compiled_ahead() -> Iterator[None]:
    """Compile the functions of the later stages in another process meanwhile, unless they are stored already."""
    share_compilation()
    process = _start() if wkb.is_to_compile() else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def compile_functions() -> None:
    """Call the functions of the later stages on a few pixels, the last stage of a run first.

    Nothing more is compiled once the process that started this one has ended.
    """
    share_compilation()
    parent = os.getppid()
    for compile_some in (_outlines, _votes):
        if os.getppid() != parent:
            return
        compile_some()


def _start() -> subprocess.Popen[bytes] | None:
    """Start a process that compiles; None in a program that is not Python, such as one that embeds it."""
    if not Path(sys.executable or "").stem.lower().startswith("python"):
        return None
    command = [sys.executable, "-P", "-m", __name__]  # -P: no module is imported from the current folder
    nowhere = subprocess.DEVNULL
    try:
        return subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    except OSError:  # no process can be started: the functions are compiled where they are needed
        return None


def _outlines() -> None:
    """Label, merge and outline four tiles of random classes."""
    grid = TileGrid((_SIZE, _SIZE), _TILE, 0)
    everything = Window(0, 0, _SIZE, _SIZE)
    classes = np.random.default_rng(0).integers(1, 4, (_SIZE, _SIZE // 2)).repeat(2, axis=1)
    shaping = Shaping(tolerance=1.0, min_pixels=4)
    found = [
        regions.pieces(
            classes[tile.core.within(everything)],
            window=tile.core,
            scene_shape=everything.shape,
            min_pixels=4,
            features=np.eye(4),
        )
        for tile in grid
    ]
    tables = [table for _, table in found]
    merged = merge(tables, grid, min_pixels=4, features=np.eye(4))
    pixels, outlines, sums = np.append(0, merged.pixels), [], []
    for tile, (index, _) in zip(grid, found, strict=True):
        lookup = merged.of_tile(tile.number)
        framed = np.pad(lookup[index], 1)
        framed[0], framed[-1], framed[1:-1, 0], framed[1:-1, -1] = regions.surroundings(
            lambda number: tables[number].sides, merged, grid, tile.number
        )
        offset = (tile.core.col_off, tile.core.row_off)
        outlines.append(outline.outline(framed, pixels=pixels[framed[1:-1, 1:-1]], shaping=shaping, offset=offset))
        sums.append((_sums(index, framed, len(lookup) - 1), lookup[1:]))
    zonal_stats.combine(sums, len(merged))
    for polygons in Mosaic(grid, pixels, shaping).polygons(enumerate(outlines)):
        polygons.transformed(Affine.identity()).to_wkb()


def _sums(index: NDArray[np.int32], framed: NDArray[np.int64], n_pieces: int) -> ZonalSums:
    bands, length = np.zeros((_BANDS, *index.shape), np.float32), np.ones(_TILE + 1)
    size = PixelSize(length[1:], length, length[1:])
    return zonal_stats.zonal_sums(index, bands, regions=framed, size=size, n_pieces=n_pieces, indices=bands)


def _votes() -> None:
    """Compute the numbers of the superpixels of a block, and count the votes of a tile."""
    block = TileGrid((_SIZE, _SIZE), _SIZE, 0).tile(0)
    tiles = TileGrid((_SIZE, _SIZE), _TILE, 1)
    tile = tiles.tile(0)
    labels = np.zeros((_SIZE, _SIZE), np.int32)
    labels.setflags(write=False)  # as those that are read from the run folder, which are another type to numba
    made = superpixels.block_superpixels(labels, block)
    numbers = superpixels.assemble(tile.read, [made])
    moments = features.pixel_moments(np.zeros((_BANDS, *tile.read.shape), np.float32))
    shares = np.zeros((*tile.read.shape, _CODES), np.uint8)
    core = tile.core.within(tile.read)
    seen, index = votes.ranked(numbers)
    sums = sum_shares(index, shares, tiles.feather(tile), len(seen))
    votes.votes_of_sums(seen, index, sums, moments, core=core)
    context.sum_cells(index[core], shares[core], moments[:, *core], tile.core)


if __name__ == "__main__":
    compile_functions()
