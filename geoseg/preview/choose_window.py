"""Choose the window of a scene whose land surface is the most varied."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from geoseg.grid import TileGrid, Window
from geoseg.raster.scene import Scene, read_tolerant
from geoseg.segment.features import contrasts
from geoseg.segment.survey import Survey

_MAX_PIXELS = 8_000_000  # that are read, so that the time does not grow with the scene
_MIN_WINDOWS = 4  # that are compared, even if they are large
_CELLS = 16  # along the shorter side of a window, at least
_CELL = 16  # px, largest side of a cell: larger than single trees
_N_CLUSTERS = 16  # of cells
_TEXTURE_WEIGHT = 0.3  # of the root of the standard deviation of a cell, relative to colour, as in `class_model`
_ITERATIONS = 30  # of k-means; an approximate result is sufficient


def most_varied(scene: Scene, survey: Survey, grid: TileGrid, *, size: int, seed: int) -> Window:
    """Return the window of at most `size` × `size` pixels whose land surface is the most varied.

    The parameters are those of `varied_windows`, of which this is the first.
    """
    return varied_windows(scene, survey, grid, size=size, n=1, seed=seed)[0]


def varied_windows(scene: Scene, survey: Survey, grid: TileGrid, *, size: int, n: int, seed: int) -> list[Window]:
    """Return windows of at most `size` × `size` pixels whose land surface is the most varied, also taken together.

    The candidates are windows around those of the survey, which are distributed over the valid part of the scene. They
    are divided into square cells, which are clustered by colour and texture. The window with the largest share of valid
    pixels (rounded to 0.1) is chosen; among equal shares, the one with the largest entropy of clusters. Each further
    window is chosen likewise among those that overlap none of the chosen, by the entropy of the clusters of all.

    Parameters
    ----------
    scene : Scene
    survey : Survey
    grid : TileGrid
        Tiles of the scene. A window that is not larger than a tile lies within one tile.
    size : int
        Side of the windows in pixels.
    n : int
        Number of windows, from 1; fewer are returned where there are not as many without overlap.
    seed : int
        Seed of the clustering.

    Returns
    -------
    list of Window
    """
    rows, cols = scene.geobox.shape
    candidates = _candidates(survey, grid, (min(size, rows), min(size, cols)))
    if len(candidates) == 1:
        return candidates
    cells = [_cells(scene, window, survey) for window in candidates]
    counts = _cluster_counts([moments[share > 0] for moments, share in cells], seed)
    shares = [round(float(share.mean()), 1) for _, share in cells]
    chosen: list[int] = []
    while len(chosen) < n:
        free = [i for i in range(len(candidates)) if not any(_overlap(candidates[i], candidates[j]) for j in chosen)]
        if not free:
            break
        known = np.sum([counts[i] for i in chosen], axis=0, dtype=np.int64)  # 0 if none is chosen
        ranks = [(shares[i], _entropy(known + counts[i])) for i in free]
        chosen.append(free[ranks.index(max(ranks))])
    return [candidates[i] for i in chosen]


def _candidates(survey: Survey, grid: TileGrid, shape: tuple[int, int]) -> list[Window]:
    """Return distinct windows of one shape around those of the survey, each within a tile if it fits."""
    found = {}
    for window in survey.windows:
        row, col = window.row_off + window.height // 2, window.col_off + window.width // 2
        tile = grid.tile(grid.touching(Window(col, row, 1, 1))[0]).core
        top, bottom = (tile.row_off, tile.row_end) if tile.height >= shape[0] else (0, grid.shape[0])
        left, right = (tile.col_off, tile.col_end) if tile.width >= shape[1] else (0, grid.shape[1])
        row = min(max(row - shape[0] // 2, top), bottom - shape[0])
        col = min(max(col - shape[1] // 2, left), right - shape[1])
        found[Window(col, row, shape[1], shape[0])] = True
    return list(found)[: max(_MAX_PIXELS // (shape[0] * shape[1]), _MIN_WINDOWS)]


def _cells(scene: Scene, window: Window, survey: Survey) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (cell, feature) features and the (cell,) shares of valid pixels of the cells of a window."""
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
    """Return the (layer, cell) means of (layer, y, x) layers over square cells; incomplete cells are omitted."""
    n_rows, n_cols = layers.shape[1] // side, layers.shape[2] // side
    cells = layers[:, : n_rows * side, : n_cols * side].reshape(len(layers), n_rows, side, n_cols, side)
    return cells.mean(axis=(2, 4), dtype=np.float64).reshape(len(layers), -1)


def _cluster_counts(windows: list[NDArray[np.float64]], seed: int) -> list[NDArray[np.int64]]:
    """Return the number of cells of each cluster in each window, from the (cell, feature) features of each."""
    features = np.concatenate(windows)
    n_clusters = min(_N_CLUSTERS, len(np.unique(features, axis=0)))
    if n_clusters < 2:
        return [np.array([len(cells)]) for cells in windows]
    with threadpool_limits(1):  # sums by several threads differ in the last digits
        clusters = KMeans(n_clusters, n_init=1, random_state=seed, max_iter=_ITERATIONS).fit_predict(features)
    ends = np.cumsum([len(cells) for cells in windows])
    return [np.bincount(part, minlength=n_clusters) for part in np.split(clusters, ends[:-1])]


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / max(int(counts.sum()), 1)
    return round(float(-(shares * np.log(shares)).sum()), 9)  # the last digits are not significant


def _overlap(one: Window, other: Window) -> bool:
    rows = one.row_off < other.row_end and other.row_off < one.row_end
    return rows and one.col_off < other.col_end and other.col_off < one.col_end
