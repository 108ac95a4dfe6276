"""Choice of the adjacency weight of the class tree with each scene left out, from the run folders of all scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.config import Classify, Config
from geoseg.run.folder import RunFolder, read_run_id
from geoseg.run.job import tile_grid
from geoseg.run.products import SUPERPIXEL_TABLE, TILE_SUPERPIXELS, VOTES, ProductStore
from geoseg.segment.class_model import fit_class_model

from .scenes import Labelled

_MIOU, _NMI, _LARGEST = 1, 2, 5  # columns of the scores


class Choice:
    """Scores of each scene with each adjacency weight.

    Parameters
    ----------
    weights : list of float
        Candidates.
    levels : tuple of int
        Numbers of classes.
    """

    def __init__(self, weights: list[float], levels: tuple[int, ...]) -> None:
        self.weights, self.levels = weights, levels
        self.scores: dict[str, NDArray[np.float64]] = {}  # (weight, level, column)

    def add(self, scene: Labelled, run: Path, score: Callable[..., list[float]]) -> None:
        """Grow the tree of a finished run again with each weight; regions below the minimum size are not merged."""
        store = ProductStore(RunFolder(run.absolute(), read_run_id(run)))
        tables = [store.get(SUPERPIXEL_TABLE, block) for block in sorted(store.finished([SUPERPIXEL_TABLE]))]
        tables = [table for table in tables if len(table.numbers)]
        found = []
        for weight in self.weights:
            options = Classify(adjacency_weight=weight)
            model = fit_class_model(tables, options, n_bands=tables[0].moments.shape[1] - 1)
            numbers = np.concatenate([table.numbers for table in tables])
            clusters = np.concatenate([model.clusters(table) for table in tables])
            order = np.argsort(numbers)
            raster = _painted(store, scene.labels.shape, numbers[order], clusters[order])
            lookup = [np.append(model.tree.level(k), 0) for k in self.levels]
            found.append([score(level[raster], scene.labels) for level in lookup])
        self.scores[scene.name] = np.array(found)

    def report(self) -> None:
        """Print the weight that is best on the other scenes, and the scores of each scene with it."""
        if not self.scores:
            return
        head = " | ".join(f"{k}: mIoU, NMI, largest" for k in self.levels)
        print(f"\n### Adjacency weight, each scene left out\n\n| scene | weight | {head} |")
        print(f"|---|---|{'---|' * len(self.levels)}")
        kept = []
        for name, own in self.scores.items():
            others = np.mean([scores for other, scores in self.scores.items() if other != name], axis=0)
            best = int(np.argmax(_value(others)))
            kept.append(own[best])
            print(f"| {name} | {self.weights[best]:g} | {_cells(own[best])} |")
        print(f"| mean | | {_cells(np.mean(kept, axis=0))} |")
        for weight, scores in zip(self.weights, np.mean(list(self.scores.values()), axis=0), strict=True):
            print(f"| all scenes | {weight:g} | {_cells(scores)} |")


def _value(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the levels of mIoU and half of NMI, (weight,)."""
    return np.asarray((scores[..., _MIOU] + scores[..., _NMI] / 2).mean(axis=-1))


def _cells(scores: NDArray[np.float64]) -> str:
    return " | ".join(f"{row[_MIOU]:.3f}, {row[_NMI]:.3f}, {row[_LARGEST]:.2f}" for row in scores)


def _painted(
    store: ProductStore, shape: tuple[int, int], numbers: NDArray[np.int64], clusters: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the cluster of each pixel, -1 = nodata."""
    raster = np.full(shape, -1)
    for tile in tile_grid(shape, Config()):
        if not store.has(VOTES, tile.number):
            continue
        rows = np.searchsorted(numbers, store.get(VOTES, tile.number).numbers)
        known = np.append(clusters, -1)[np.minimum(rows, len(clusters))]
        core = tile.core
        index = store.get(TILE_SUPERPIXELS, tile.number).index
        raster[core.row_off : core.row_end, core.col_off : core.col_end] = np.append(known, -1)[index]
    return raster
