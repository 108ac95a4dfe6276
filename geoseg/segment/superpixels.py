"""Superpixels: small patches of like pixels that follow the edges of the picture.

They are made on a grid of blocks that belongs to the scene and not to the tiles, each block with a margin. Where two
blocks disagree, whoever has the middle of a superpixel keeps it whole (`assemble`): so neither a block line nor a tile
line cuts one, and the tile size has no say in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import slic as skimage_slic

from geoseg.config import Superpixels
from geoseg.grid import Tile, Window
from geoseg.segment.union_find import find

BLOCK = 512  # px; core of a block of superpixels
BLOCK_MARGIN = 48  # px on each side, several superpixels wide
NONE = -1  # number of a pixel without a superpixel
_NUMBERS_PER_BLOCK = 1 << 20  # more than a block with its margins has pixels
_USUAL_RESOLUTION = 0.5  # m
_USUAL_CONTRAST = 0.045  # of the stretch; of satellite and aerial pictures of half a metre
_LEAST_SIGMA = 0.25  # px; less smooths nothing
_LEVELS = 1 << 14  # of edge weights in the counting sort
_LEVEL = 1 / 4096  # of the stretch; finer than 8 bits and than what sensors keep apart


@dataclass(frozen=True)
class Sizes:
    """The parameters of superpixels; see `config.Superpixels` for what they mean."""

    method: Literal["felzenszwalb", "slic"] = "felzenszwalb"
    scale: float = 32.0
    sigma: float = 0.5
    min_size: int = 32
    n_segments: int = 10_000
    compactness: float = 100.0


@dataclass(frozen=True)
class BlockSuperpixels:
    """The superpixels of one block.

    Parameters
    ----------
    block : Tile, of the grid of blocks
    labels : (y, x) int32 over ``block.read``, from 0; -1 = no data
    home : (n,) bool, the middle of the superpixel lies in the block's core
    """

    block: Tile
    labels: NDArray[np.int32]
    home: NDArray[np.bool_]

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Numbers in the scene: (y, x) int64 over ``block.read``; `NONE` = no data."""
        first = self.block.number * _NUMBERS_PER_BLOCK
        return np.where(self.labels >= 0, self.labels.astype(np.int64) + first, NONE)


def fitted(options: Superpixels, *, resolution: float, contrast: float) -> Sizes:
    """Fill in what the options leave open, for pixels of any size and scenes of any contrast.

    A pixel of 5 cm shows leaves and roof tiles, one of 30 m is a field: so the least size falls with the root of the
    pixel's side, the smoothing likewise but slower, and beyond some metres there is none, because it would lose roads
    and rivers. The scale follows the root of the contrast: lively ground would fall apart, faint ground run together.

    Parameters
    ----------
    resolution : m, side of a pixel; 0 = unknown, taken for half a metre
    contrast : mean step between neighbouring pixels, root mean square over the bands, in units of the stretch; 0 = none

    Examples
    --------
    >>> [fitted(Superpixels(), resolution=metres, contrast=0.045).min_size for metres in (0.05, 0.3, 0.5, 10, 30)]
    [101, 41, 32, 7, 6]
    """
    usual = Sizes(options.method)
    finer = _USUAL_RESOLUTION / resolution if resolution > 0 else 1.0
    lively = contrast / _USUAL_CONTRAST if contrast > 0 else 1.0
    sigma = min(usual.sigma * finer**0.3, 1.0)
    suited = {
        "scale": min(max(usual.scale * lively**0.5 * finer**0.1, usual.scale / 2), usual.scale * 2),
        "sigma": sigma if sigma >= _LEAST_SIGMA else 0.0,
        "min_size": round(min(max(usual.min_size * finer**0.5, 6), 128)),
        "n_segments": round(min(max(usual.n_segments / finer**0.5, 1000), 40_000)),
        "compactness": min(max(usual.compactness * lively, 25.0), 400.0),
    }
    given = {name: value for name, value in vars(options).items() if value is not None}
    return Sizes(**(suited | given))


def contrast(bands: NDArray[np.float32], valid: NDArray[np.bool_]) -> float:
    """Return the mean step between neighbouring pixels, root mean square over the bands; 0 = no neighbours."""
    steps = [
        np.sqrt((np.diff(bands, axis=axis) ** 2).mean(axis=0))[both]
        for axis, both in ((1, valid[1:] & valid[:-1]), (2, valid[:, 1:] & valid[:, :-1]))
    ]
    found = np.concatenate(steps)
    return float(found.mean(dtype=np.float64)) if found.size else 0.0


def superpixels(
    bands: NDArray[np.float32], valid: NDArray[np.bool_], options: Sizes, origin: tuple[int, int] = (0, 0)
) -> NDArray[np.int32]:
    """Give every pixel with data the number of its superpixel.

    Parameters
    ----------
    bands : (band, y, x) float32, stretched so that most values lie in 0 … 1
    valid : (y, x) bool, True = data
    origin : (row, col) of the first pixel in the scene

    Returns
    -------
    (y, x) int32, from 0, every number in use; -1 = no data
    """
    if not valid.any():
        return np.full(valid.shape, NONE, np.int32)
    if options.method == "felzenszwalb":
        return _consecutive(felzenszwalb(bands, valid, options))
    return _consecutive(slic(bands, valid, options, origin))


def felzenszwalb(bands: NDArray[np.float32], valid: NDArray[np.bool_], options: Sizes) -> NDArray[np.int64]:
    """Join pixels while the edge between two patches is weak against the edges inside them.

    Notes
    -----
    Felzenszwalb and Huttenlocher (2004), section 3, with τ(C) = k / |C| and the joining of patches under `min_size`
    of their public code; on edges to the 4 neighbours, so that every patch is connected through pixel sides. Edges are
    sorted by counting on 1/4096 of the stretch, ties in reading order.
    """
    smooth = _smoothed(bands, valid, options.sigma)
    return _felzenszwalb(smooth, valid, options.scale / 255.0, options.min_size)


def slic(
    bands: NDArray[np.float32], valid: NDArray[np.bool_], options: Sizes, origin: tuple[int, int] = (0, 0)
) -> NDArray[np.int64]:
    """Cluster pixels by likeness and nearness around seeds on one lattice of the whole scene (Achanta 2012).

    Parameters
    ----------
    origin : (row, col) of the first pixel in the scene, so that the lattice of each block is the same
    """
    step = max(1, round(BLOCK / options.n_segments**0.5))
    top, left = (begin % step for begin in origin)
    padded = np.pad(bands.astype(np.float64), ((0, 0), (top, 0), (left, 0)), mode="edge")
    labels = skimage_slic(
        np.moveaxis(padded, 0, -1),
        n_segments=max(1, round(padded[0].size / step**2)),
        # Its reference is Lab, 0 … 100, and the stretch is 0 … 1; by the span it would scale each block for itself.
        compactness=options.compactness / 100.0 / (float(np.ptp(padded)) or 1.0),
        start_label=1,
        convert2lab=False,
        channel_axis=-1,
    )
    data = np.where(valid, labels[top:, left:], 0)  # with its own `mask` it takes minutes where data are missing
    return label(data, background=0, connectivity=1).astype(np.int64) - 1


def block_superpixels(labels: NDArray[np.int32], block: Tile) -> BlockSuperpixels:
    """Say which superpixels of a block have their middle in its core."""
    n = int(labels.max()) + 1
    flat = labels.ravel()
    rows, cols = np.indices(labels.shape)
    inside = flat >= 0
    count = np.bincount(flat[inside], minlength=n)
    row = np.bincount(flat[inside], rows.ravel()[inside], minlength=n) // count + block.read.row_off
    col = np.bincount(flat[inside], cols.ravel()[inside], minlength=n) // count + block.read.col_off
    core = block.core
    home = (row >= core.row_off) & (row < core.row_end) & (col >= core.col_off) & (col < core.col_end)
    return BlockSuperpixels(block, labels, home)


def assemble(window: Window, blocks: Iterable[BlockSuperpixels]) -> NDArray[np.int64]:
    """Put together the superpixels of a window from all blocks that look at it.

    A pixel belongs to the superpixel of its own block when that has its middle there; otherwise to that of the
    neighbour, lowest number first, who has its middle; otherwise to that of its own block all the same.

    Parameters
    ----------
    window : pixels of the scene that are wanted
    blocks : every block whose read window has pixels in `window`, ascending

    Returns
    -------
    (y, x) int64, numbers that hold in the whole scene; `NONE` = no data
    """
    numbers = np.full(window.shape, NONE, np.int64)
    rank = np.full(window.shape, 3, np.uint8)  # 0 own and at home, 1 a neighbour at home, 2 own all the same
    for item in blocks:
        part = item.block.read.intersection(window)
        if part is None:
            continue
        here = part.within(item.block.read)
        labels = item.labels[here]
        own = np.zeros(labels.shape, bool)
        core = item.block.core.intersection(window)
        if core is not None:
            own[core.within(part)] = True
        at_home = item.home[labels] if item.home.size else np.zeros(labels.shape, bool)
        offer = np.where(own, np.where(at_home, 0, 2), np.where(at_home, 1, 3)).astype(np.uint8)
        offer[labels < 0] = 3
        there = part.within(window)
        better = offer < rank[there]
        numbers[there][better] = item.numbers[here][better]
        rank[there][better] = offer[better]
    return numbers


def block_of(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers of the blocks that superpixels belong to."""
    return numbers // _NUMBERS_PER_BLOCK


def _smoothed(bands: NDArray[np.float32], valid: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    if sigma == 0:
        return bands
    weight = ndimage.gaussian_filter(valid.astype(np.float32), sigma)
    smooth = np.stack([ndimage.gaussian_filter(np.where(valid, band, 0), sigma) for band in bands])
    return np.where(valid, smooth / np.maximum(weight, 1e-6), 0).astype(np.float32)


def _consecutive(labels: NDArray[np.int64]) -> NDArray[np.int32]:
    used = np.zeros(int(labels.max()) + 1, bool)
    used[labels[labels >= 0]] = True
    lookup = np.cumsum(used) - 1
    return np.where(labels >= 0, lookup[labels], NONE).astype(np.int32)


@njit(cache=True)
def _edges(bands, valid):  # type: ignore[no-untyped-def]
    """Return the edges to the right and lower neighbours as (first pixel × 2 + direction), and their weights."""
    n_bands, height, width = bands.shape
    edge = np.empty(2 * height * width, np.int32)
    weight = np.empty(2 * height * width, np.float32)
    n = 0
    for y in range(height):
        for x in range(width):
            if not valid[y, x]:
                continue
            for down in range(2):
                y2, x2 = y + down, x + 1 - down
                if y2 == height or x2 == width or not valid[y2, x2]:
                    continue
                square = np.float32(0)
                for b in range(n_bands):
                    step = bands[b, y, x] - bands[b, y2, x2]
                    square += step * step
                edge[n] = 2 * (y * width + x) + down
                weight[n] = np.sqrt(square)
                n += 1
    return edge[:n], weight[:n]


@njit(cache=True)
def _by_weight(edge, weight):  # type: ignore[no-untyped-def]
    """Return edges and weights in the order of their levels: read in a row, they cost no jumps through the memory."""
    start = np.zeros(_LEVELS + 1, np.int64)
    for i in range(weight.size):
        start[min(int(weight[i] / _LEVEL), _LEVELS - 1) + 1] += 1
    for k in range(_LEVELS):
        start[k + 1] += start[k]
    sorted_edge, sorted_weight = np.empty_like(edge), np.empty_like(weight)
    for i in range(weight.size):
        level = min(int(weight[i] / _LEVEL), _LEVELS - 1)
        sorted_edge[start[level]], sorted_weight[start[level]] = edge[i], weight[i]
        start[level] += 1
    return sorted_edge, sorted_weight


@njit(cache=True)
def _felzenszwalb(bands, valid, k, min_size):  # type: ignore[no-untyped-def]
    width = valid.shape[1]
    edge, weight = _by_weight(*_edges(bands, valid))
    parent = np.arange(valid.size).astype(np.int32)  # half the memory of int64, and most of it is waited for
    size = np.ones(valid.size, np.int32)
    most = np.full(valid.size, k, np.float32)  # Int(C) + τ(C)
    n_left = 0  # edges between patches; the others will never count again
    for i in range(edge.size):
        first = edge[i] // 2
        a, b = find(parent, first), find(parent, first + (width if edge[i] % 2 else 1))
        if a == b:
            continue
        if weight[i] <= most[a] and weight[i] <= most[b]:
            parent[b] = a
            size[a] += size[b]
            most[a] = weight[i] + k / size[a]
        else:
            edge[n_left] = edge[i]
            n_left += 1
    for i in range(n_left):
        first = edge[i] // 2
        a, b = find(parent, first), find(parent, first + (width if edge[i] % 2 else 1))
        if a != b and min(size[a], size[b]) < min_size:
            parent[b] = a
            size[a] += size[b]
    labels = np.empty(valid.size, np.int64)
    for p in range(valid.size):
        labels[p] = find(parent, p) if valid.flat[p] else -1
    return labels.reshape(valid.shape)
