"""Which window of a scene shows most: the one whose ground has the most different looks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from geoseg.grid import TileGrid, Window
from geoseg.raster.scene import Scene, read_tolerant
from geoseg.segment.features import contrasts
from geoseg.segment.survey import Survey

_MOST_PIXELS = 8_000_000  # that are read; a gigapixel scene must not take longer than a small one
_LEAST_WINDOWS = 4  # that are looked at, however large they are
_CELLS = 16  # along the shorter side of a window, at least, if it has as many pixels
_CELL = 16  # px, of a cell's side at most: ground and its texture, not single trees
_KINDS = 16  # of ground that are told apart
_TEXTURE_WEIGHT = 0.3  # of the root of a cell's deviation against its colour, as in `harmonize`
_ROUNDS = 30  # of k-means; a rough picture is enough


def most_varied(scene: Scene, survey: Survey, grid: TileGrid, *, size: int, seed: int) -> Window:
    """Return the window of at most `size` × `size` pixels whose ground has the most different looks.

    Candidates lie where the survey looked: all over the scene, and on data. Only they are read, so that the time does
    not grow with the scene. Those with more data come first (in steps of a tenth), then those with more entropy of the
    kinds of ground in them.

    Parameters
    ----------
    grid : tiles of the scene; a window that fits lies in one of them, and then shows the work of that tile alone
    size : px
    seed : of the grouping into kinds of ground
    """
    rows, cols = scene.geobox.shape
    candidates = _candidates(survey, grid, (min(size, rows), min(size, cols)))
    if len(candidates) == 1:
        return candidates[0]
    cells = [_cells(scene, window, survey) for window in candidates]
    entropies = _entropies([moments[share > 0] for moments, share in cells], seed)
    shares = [round(float(share.mean()), 1) for _, share in cells]
    ranks = list(zip(shares, entropies, strict=True))
    return candidates[ranks.index(max(ranks))]


def _candidates(survey: Survey, grid: TileGrid, shape: tuple[int, int]) -> list[Window]:
    """Return windows of one shape around the survey's, each within a tile where it fits; those that agree once."""
    found = {}
    for window in survey.windows:
        row, col = window.row_off + window.height // 2, window.col_off + window.width // 2
        home = grid.tile(grid.touching(Window(col, row, 1, 1))[0]).core
        top, bottom = (home.row_off, home.row_end) if home.height >= shape[0] else (0, grid.shape[0])
        left, right = (home.col_off, home.col_end) if home.width >= shape[1] else (0, grid.shape[1])
        row = min(max(row - shape[0] // 2, top), bottom - shape[0])
        col = min(max(col - shape[1] // 2, left), right - shape[1])
        found[Window(col, row, shape[1], shape[0])] = True
    return list(found)[: max(_MOST_PIXELS // (shape[0] * shape[1]), _LEAST_WINDOWS)]


def _cells(scene: Scene, window: Window, survey: Survey) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the looks (cell, look) and the share of data (cell,) of the square cells of a window."""
    pixels, valid = read_tolerant(scene, window)
    bands = survey.stretch.apply(pixels, valid)
    side = min(max(min(window.shape) // _CELLS, 1), _CELL)
    share = _cell_means(valid[None], side)[0]
    mean = _cell_means(bands, side) / np.maximum(share, 1e-9)
    brightness = bands.mean(axis=0, keepdims=True)
    square = _cell_means(brightness**2, side) / np.maximum(share, 1e-9)
    deviation = np.sqrt(np.maximum(square - mean.mean(axis=0) ** 2, 0))
    return np.concatenate([contrasts(mean), _TEXTURE_WEIGHT * np.sqrt(deviation)]).T, share


def _cell_means(layers: NDArray[np.generic], side: int) -> NDArray[np.float64]:
    """Return the means over square cells, (layer, cell) of (layer, y, x); a rest at the rim is left out."""
    n_rows, n_cols = layers.shape[1] // side, layers.shape[2] // side
    cells = layers[:, : n_rows * side, : n_cols * side].reshape(len(layers), n_rows, side, n_cols, side)
    return cells.mean(axis=(2, 4), dtype=np.float64).reshape(len(layers), -1)


def _entropies(windows: list[NDArray[np.float64]], seed: int) -> list[float]:
    """Return the entropy of the kinds of ground in each window, from the (cell, look) of each."""
    every = np.concatenate(windows)
    n_kinds = min(_KINDS, len(np.unique(every, axis=0)))
    if n_kinds < 2:
        return [0.0] * len(windows)
    with threadpool_limits(1):  # the order in which threads add up would change the last digits
        kinds = KMeans(n_kinds, n_init=1, random_state=seed, max_iter=_ROUNDS).fit_predict(every)
    ends = np.cumsum([len(cells) for cells in windows])
    return [_entropy(part) for part in np.split(kinds, ends[:-1])]


def _entropy(kinds: NDArray[np.integer]) -> float:
    counts = np.bincount(kinds)
    shares = counts[counts > 0] / max(len(kinds), 1)
    return round(float(-(shares * np.log(shares)).sum()), 9)  # the last digits are of no meaning
