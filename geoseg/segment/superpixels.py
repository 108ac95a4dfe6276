"""Superpixels: small connected groups of similar pixels that follow the edges of the image.

They are made in blocks of a grid over the scene that does not depend on the tiles, each block with a margin. Where two
blocks overlap, the block whose core contains the centroid of a superpixel keeps it whole (`assemble`). So superpixels
are not cut at the borders of blocks or tiles, and do not depend on the tile size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label
from skimage.segmentation import slic as skimage_slic

from geoseg.config import Superpixels
from geoseg.grid import Tile, Window
from geoseg.segment.blockwise import offer, sums_of_places
from geoseg.segment.compiled import compiled, internal
from geoseg.segment.equal_values import is_constant, parts_of_equal_value
from geoseg.segment.gaussian import gaussian_filter
from geoseg.segment.union_find import find

BLOCK = 512  # px; core of a block of superpixels
BLOCK_MARGIN = 48  # px on each side, several superpixels wide
NONE = -1  # number of a pixel without a superpixel
NUMBERS_PER_BLOCK = 1 << 20  # more than a block with its margins has pixels
_REFERENCE_RESOLUTION = 0.5  # m
_REFERENCE_CONTRAST = 0.045  # of the stretch; typical of satellite and aerial images at this resolution
_MIN_SIGMA = 0.25  # px; a smaller Gaussian changes nothing
_MIN_WEIGHT = np.float32(1e-6)  # share of valid pixels under a Gaussian; avoids 0 / 0
_LEVELS = 1 << 14  # of edge weights in the counting sort
_LEVEL = 1 / 4096  # of the stretch; finer than 8 bits and than the noise of sensors


@dataclass(frozen=True)
class SuperpixelParameters:
    """The parameters of a superpixel method, see `config.Superpixels` for their meaning.

    With `by_value`, pixels of different values are never in one superpixel; for masks and thematic rasters.
    """

    method: Literal["felzenszwalb", "slic"] = "felzenszwalb"
    scale: float = 32.0
    sigma: float = 0.5
    min_size: int = 32
    n_segments: int = 10_000
    compactness: float = 100.0
    by_value: bool = False


@dataclass(frozen=True)
class BlockSuperpixels:
    """The superpixels of one block.

    Parameters
    ----------
    block : Tile
        Of the grid of blocks.
    labels : (y, x) int32
        Superpixels in ``block.read``, from 0; -1 = nodata.
    in_core : (n,) bool
        Whether the centroid of each superpixel lies in the core of the block.
    """

    block: Tile
    labels: NDArray[np.int32]
    in_core: NDArray[np.bool_]

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Superpixel numbers that are unique in the scene, (y, x) int64 over ``block.read``; `NONE` = nodata."""
        return np.where(self.labels >= 0, self.labels.astype(np.int64) + self.first_number, NONE)

    @property
    def first_number(self) -> int:
        """Number in the scene of the superpixel with label 0."""
        return self.block.number * NUMBERS_PER_BLOCK


def fit_parameters(options: Superpixels, *, resolution: float, contrast: float) -> SuperpixelParameters:
    """Return the parameters that suit the resolution and the contrast of a scene, where the options give none.

    Parameters
    ----------
    options : Superpixels
        A value that is not None is kept.
    resolution : float
        Side of a pixel in m; 0 = unknown, 0.5 m is assumed.
    contrast : float
        Mean difference between neighbouring pixels in units of the stretch, as returned by `contrast`; 0 = unknown.

    Returns
    -------
    SuperpixelParameters

    Notes
    -----
    At 5 cm a pixel shows leaves and roof tiles, at 30 m a field. So the minimum size is inversely proportional to the
    square root of the resolution. Smoothing decreases more slowly, and is omitted from some metres on because it would
    remove roads and rivers. The scale grows with the square root of the contrast: otherwise images of high contrast
    would be split into many superpixels, and images of low contrast into few.

    Examples
    --------
    >>> [fit_parameters(Superpixels(), resolution=m, contrast=0.045).min_size for m in (0.05, 0.3, 0.5, 10, 30)]
    [101, 41, 32, 7, 6]
    """
    default = SuperpixelParameters(options.method)
    finer = _REFERENCE_RESOLUTION / resolution if resolution > 0 else 1.0
    relative_contrast = contrast / _REFERENCE_CONTRAST if contrast > 0 else 1.0
    sigma = min(default.sigma * finer**0.3, 1.0)
    fitted = {
        "scale": min(max(default.scale * relative_contrast**0.5 * finer**0.1, default.scale / 2), default.scale * 2),
        "sigma": sigma if sigma >= _MIN_SIGMA else 0.0,
        "min_size": round(min(max(default.min_size * finer**0.5, 6), 128)),
        "n_segments": round(min(max(default.n_segments / finer**0.5, 1000), 40_000)),
        "compactness": min(max(default.compactness * relative_contrast, 25.0), 400.0),
    }
    given = {name: value for name, value in vars(options).items() if value is not None}
    return SuperpixelParameters(**(fitted | given))


def contrast(bands: NDArray[np.float32], valid: NDArray[np.bool_]) -> float:
    """Return the mean difference between neighbouring pixels, the root mean square over the bands.

    Parameters
    ----------
    bands : (band, y, x) float32
    valid : (y, x) bool
        True = data.

    Returns
    -------
    float
        In units of `bands`; 0 = there are no neighbouring pixels with data.
    """
    steps = [
        np.sqrt((np.diff(bands, axis=axis) ** 2).mean(axis=0))[both]
        for axis, both in ((1, valid[1:] & valid[:-1]), (2, valid[:, 1:] & valid[:, :-1]))
    ]
    differences = np.concatenate(steps)
    return float(differences.mean(dtype=np.float64)) if differences.size else 0.0


def superpixels(
    bands: NDArray[np.float32],
    valid: NDArray[np.bool_],
    parameters: SuperpixelParameters,
    origin: tuple[int, int] = (0, 0),
) -> NDArray[np.int32]:
    """Return the superpixels of an image.

    Parameters
    ----------
    bands : (band, y, x) float32
        Stretched so that most values are between 0 and 1.
    valid : (y, x) bool
        True = data.
    parameters : SuperpixelParameters
    origin : (int, int)
        Row and column in the scene of the first pixel. SLIC starts from one lattice of seeds for the whole scene.

    Returns
    -------
    (y, x) int32
        From 0, without gaps, each connected through pixel sides; -1 = nodata.
    """
    if not valid.any():
        return np.full(valid.shape, NONE, np.int32)
    if parameters.method == "felzenszwalb":
        if valid.all() and is_constant(bands):
            return np.zeros(valid.shape, np.int32)
        labels = felzenszwalb_labels(bands, valid, parameters)
    else:
        step = max(1, round(BLOCK / parameters.n_segments**0.5))
        labels = slic_labels(bands, valid, step, parameters.compactness, origin)
    return parts_of_equal_value(labels, bands) if parameters.by_value else labels


def felzenszwalb_labels(
    bands: NDArray[np.float32], valid: NDArray[np.bool_], parameters: SuperpixelParameters
) -> NDArray[np.int32]:
    """Return labels of segments, joined while the edge between two is weak compared with those inside.

    Returns
    -------
    (y, x) int32
        From 0, without gaps; -1 = nodata.

    Notes
    -----
    Felzenszwalb and Huttenlocher (2004), section 3, with τ(C) = k / |C|, and segments smaller than `min_size` joined as
    in their public code. Edges lead to the 4 neighbours, so that every segment is connected through pixel sides. They
    are sorted by counting in steps of 1/4096 of the stretch, equal ones in reading order.
    """
    smooth = _smoothed(bands, valid, parameters.sigma)
    return np.asarray(_merge_along_edges(smooth, valid, parameters.scale / 255.0, parameters.min_size))


def slic_labels(
    bands: NDArray[np.float32],
    valid: NDArray[np.bool_],
    step: int,
    compactness: float,
    origin: tuple[int, int] = (0, 0),
) -> NDArray[np.int32]:
    """Return clusters of pixels by colour and position around a regular lattice of seeds (SLIC; Achanta et al. 2012).

    Parameters
    ----------
    step : int
        Distance of the seeds in pixels.
    compactness : float
        Weight of position against colour.
    origin : (int, int)
        Row and column in the scene of the first pixel, so that the lattice of each block is the same.

    Returns
    -------
    (y, x) int32
        From 0, without gaps; -1 = nodata.
    """
    top, left = (begin % step for begin in origin)
    padded = np.pad(bands.astype(np.float64), ((0, 0), (top, 0), (left, 0)), mode="edge")
    labels = skimage_slic(
        np.moveaxis(padded, 0, -1),
        n_segments=max(1, round(padded[0].size / step**2)),
        # Compactness refers to Lab, 0 … 100, and the stretch is 0 … 1; slic itself rescales each image by its range.
        compactness=compactness / 100.0 / (float(np.ptp(padded)) or 1.0),
        start_label=1,
        convert2lab=False,
        channel_axis=-1,
    )
    data = np.where(valid, labels[top:, left:], 0)  # slic's own `mask` takes minutes where much is nodata
    return label(data, background=0, connectivity=1).astype(np.int32) - 1


def block_superpixels(labels: NDArray[np.int32], block: Tile) -> BlockSuperpixels:
    """Return the superpixels of a block together with whether their centroids lie in its core.

    Parameters
    ----------
    labels : (y, x) int32
        As returned by `superpixels` for ``block.read``.
    block : Tile
    """
    count, rows, cols = sums_of_places(labels, int(labels.max()) + 1)
    row, col, core = rows // count + block.read.row_off, cols // count + block.read.col_off, block.core
    in_core = (row >= core.row_off) & (row < core.row_end) & (col >= core.col_off) & (col < core.col_end)
    return BlockSuperpixels(block, labels, in_core)


def assemble(window: Window, blocks: Iterable[BlockSuperpixels]) -> NDArray[np.int64]:
    """Return the superpixels of a window, assembled from those of all blocks around it.

    A pixel belongs to the superpixel of its own block if the centroid of that superpixel lies in the core of the block;
    otherwise to the superpixel of the first block in ascending order whose core contains its centroid; otherwise to
    that of its own block.

    Parameters
    ----------
    window : Window
        In pixels of the scene.
    blocks : iterable of BlockSuperpixels
        All blocks whose read windows intersect `window`, ascending.

    Returns
    -------
    (y, x) int64
        Numbers that are unique in the scene; `NONE` = nodata.
    """
    numbers = np.full(window.shape, NONE, np.int64)
    rank = np.full(window.shape, 3, np.uint8)  # 0: own block, in core; 1: other block, in core; 2: own block
    for item in blocks:
        part = item.block.read.intersection(window)
        if part is None:
            continue
        core = item.block.core.intersection(window)
        rows, cols = (slice(0, 0), slice(0, 0)) if core is None else core.within(part)
        in_window = part.within(window)
        labels = item.labels[part.within(item.block.read)]
        offer(
            numbers[in_window], rank[in_window], labels, item.in_core, item.first_number,
            (rows.start, cols.start, rows.stop, cols.stop),
        )  # fmt: skip
    return numbers


def block_of(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of the block of each superpixel number."""
    return numbers // NUMBERS_PER_BLOCK


def _smoothed(bands: NDArray[np.float32], valid: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """Return the bands under a Gaussian, normalised by the share of valid pixels under it."""
    if sigma == 0:
        return bands
    if valid.all():  # the weight of one pixel is that of all
        weight = gaussian_filter(np.ones((1, 1), np.float32), sigma)
        return np.stack([gaussian_filter(band, sigma) / np.maximum(weight, _MIN_WEIGHT) for band in bands])
    weight = gaussian_filter(valid.astype(np.float32), sigma)
    smooth = np.stack([gaussian_filter(np.where(valid, band, 0), sigma) for band in bands])
    return np.where(valid, smooth / np.maximum(weight, _MIN_WEIGHT), 0).astype(np.float32)


@internal()
def _edges(bands, valid):  # type: ignore[no-untyped-def]
    """Return the edges to the right and lower neighbours as 2 × first pixel + (1 if lower), and their weights."""
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


@internal()
def _by_weight(edge, weight):  # type: ignore[no-untyped-def]
    """Return edges and weights sorted by level; both are copied, because sequential reads are faster than indices."""
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


@compiled(nogil=True)
def _merge_along_edges(bands, valid, k, min_size):  # type: ignore[no-untyped-def]
    height, width = valid.shape
    unsorted_edge, unsorted_weight = _edges(bands, valid)
    edge, weight = _by_weight(unsorted_edge, unsorted_weight)
    parent = np.empty(valid.size, np.int32)  # half the memory of int64, and memory access dominates
    size = np.empty(valid.size, np.int32)
    threshold = np.empty(valid.size, np.float32)  # Int(C) + τ(C) of each root
    for p in range(valid.size):
        parent[p], size[p], threshold[p] = p, 1, k
    n_left = 0  # edges between different segments; the others are not needed any more
    for i in range(edge.size):
        first = edge[i] // 2
        a, b = find(parent, first), find(parent, first + (width if edge[i] % 2 else 1))
        if a == b:
            continue
        if weight[i] <= threshold[a] and weight[i] <= threshold[b]:
            parent[b] = a  # both are roots; `union` would find them again, and the whole takes 6 to 8 % longer
            size[a] += size[b]
            threshold[a] = weight[i] + k / size[a]
        else:
            edge[n_left] = edge[i]
            n_left += 1
    for i in range(n_left):
        first = edge[i] // 2
        a, b = find(parent, first), find(parent, first + (width if edge[i] % 2 else 1))
        if a != b and min(size[a], size[b]) < min_size:
            parent[b] = a
            size[a] += size[b]
    labels = np.empty((height, width), np.int32)
    number = size  # of each root, in the order of the roots; the sizes are not needed any more
    n_segments = 0
    for y in range(height):
        for x in range(width):
            p = y * width + x
            if not valid[y, x]:
                labels[y, x] = -1
            elif parent[p] == p:
                number[p] = n_segments
                n_segments += 1
    for y in range(height):
        for x in range(width):
            if valid[y, x]:
                labels[y, x] = number[find(parent, y * width + x)]
    return labels
