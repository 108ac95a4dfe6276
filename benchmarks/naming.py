"""Accuracy of `geoseg classify` by the number of samples, on labelled scenes.

    python benchmarks/naming.py FOLDER RESULTS [SCENE …] [--draws 5] [--first 0] [--columns GROUP,GROUP] [--clustered]

FOLDER has scenes and their labels, as for benchmarks/quality.py; a scene is named by the beginning of its file names,
such as dubai_tile1. What `geoseg tile` makes of a scene is kept in RESULTS and used again. Samples are random labelled
pixels, equally many per name. Suggestions are named by the most frequent label in the region, as a user does in QGIS.
Each draw of samples is another one; all scores are of all labelled pixels of the scene.

Scenes are segmented with `--attributes all`; --columns leaves out the columns of all groups but some. The draws have
the seeds from --first on: constants were chosen with --first 100, and the documentation reports --first 0. --clustered
takes the points of each name from 3 of 6 × 6 blocks of the scene, as a user does who digitises samples in a few places.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import rasterio

from geoseg.classify.learn import learn, name_regions
from geoseg.classify.read_regions import read_regions
from geoseg.classify.region_table import RegionTable
from geoseg.classify.shapes import SHAPES
from geoseg.classify.suggest import suggestions
from geoseg.classify.training import Labelled
from geoseg.output.extra_columns import EXTRA_GROUPS
from geoseg.report.polygon_file import open_polygons

FEW, MANY, ROUNDS = 10, 50, 4
CLUSTERS, SIDE = 3, 6  # blocks with samples of a name, blocks along a side of the scene


class Scene:
    """Regions of a scene and the labels of its pixels."""

    def __init__(self, folder: Path, results: Path, name: str, columns: tuple[str, ...] = ("all",)) -> None:
        self.clustered = False
        scene = next(path for path in sorted(folder.glob(f"{name}_*.tif")) if "labels" not in path.name)
        labels = next(path for path in sorted(folder.glob("*labels*.tif")) if path.name.startswith(name))
        polygons, regions = results / f"{name}.gpkg", results / f"{name}.regions.tif"
        if not regions.exists():
            command = [
                "tile",
                str(scene),
                "--attributes",
                "all",
                "--out",
                str(polygons),
                "--region-raster",
                str(regions),
            ]
            subprocess.run([sys.executable, "-m", "geoseg", *command], check=True)
        with open_polygons(polygons) as file:
            self.table = of_groups(read_regions(file, None).table, columns)
            numbers = np.concatenate([rows["region"] for rows in file.rows(["region"])]).astype(np.int64)
        with rasterio.open(labels) as raster:
            found = raster.read(1)
            found[found == (raster.nodata or 0)] = 0
        with rasterio.open(regions) as raster:
            region = raster.read(1)
        row_of = np.zeros(int(region.max()) + 1, np.int64)
        row_of[numbers] = np.arange(len(numbers))
        is_labelled = (found > 0) & (region > 0)
        values, self.labels = np.unique(found[is_labelled], return_inverse=True)
        self.rows = row_of[region[is_labelled]]
        self.names = tuple(map(str, values))
        flat = np.bincount(self.rows * len(values) + self.labels, minlength=len(numbers) * len(values))
        centres = self.table.centres - self.table.centres.min(axis=0)
        self.blocks = np.minimum(centres * SIDE // centres.max(), SIDE - 1).astype(int) @ [SIDE, 1]
        self.counts = flat.reshape(-1, len(values))  # labelled pixels of each region

    def draw(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and labels of random pixels, n of each label."""
        rng = np.random.default_rng(seed)
        chosen = []
        for label in range(len(self.names)):
            part = np.flatnonzero(self.labels == label)
            if self.clustered:
                blocks = self.blocks[self.rows[part]]
                some = np.unique(blocks)
                part = part[np.isin(blocks, rng.choice(some, min(CLUSTERS, len(some)), replace=False))]
            chosen.append(rng.choice(part, min(n, len(part)), replace=False))
        points = np.concatenate(chosen)
        return self.rows[points], self.labels[points]

    def name(self, points: tuple[np.ndarray, np.ndarray], named: np.ndarray):
        """Return the learned forest and the probabilities by points and by regions that are named as a whole."""
        rows, labels = points
        is_open = ~np.isin(rows, named)
        keys = np.concatenate([rows[is_open] * len(self.names) + labels[is_open]])
        keys, n_points = np.unique(keys, return_counts=True)
        covered = named * len(self.names) + self.counts[named].argmax(axis=1)
        everything = np.concatenate([keys, covered])
        labelled = Labelled(
            everything // len(self.names),
            everything % len(self.names),
            np.concatenate([n_points, np.ones(len(covered), np.int64)]),
            np.arange(len(everything)) >= len(keys),
        )
        learned = learn(labelled, self.table, self.names)
        return learned, name_regions(learned).probabilities

    def score(self, probabilities: np.ndarray) -> tuple[float, float]:
        """Return overall accuracy and mean IoU of all labelled pixels."""
        confusion = np.zeros((len(self.names),) * 2)
        np.add.at(confusion, probabilities.argmax(axis=1), self.counts)
        hits = np.diag(confusion)
        union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
        return float(hits.sum() / confusion.sum()), float(np.mean(hits / union))

    def suggested(self, seed: int, n: int) -> tuple[float, float]:
        """Return the scores after some rounds of n suggestions."""
        points, named = self.draw(FEW, seed), np.empty(0, np.int64)
        learned, probabilities = self.name(points, named)
        sizes = self.table.sizes * (self.counts.sum(axis=1) > 0)  # a region without labels cannot be named
        for _ in range(ROUNDS):
            more = suggestions(probabilities, learned.features, sizes, self.table.centres, named, n)
            named = np.concatenate([named, more])
            learned, probabilities = self.name(points, named)
        return self.score(probabilities)


def of_groups(table: RegionTable, groups: tuple[str, ...]) -> RegionTable:
    """Return a table without the columns of `EXTRA_GROUPS` that are not in some groups.

    The shapes that `geoseg classify` measures from the polygons are always there.
    """
    absent = [each for group, some in EXTRA_GROUPS.items() if not {group, "all"} & set(groups) for each in some]
    kept = [
        i
        for i, name in enumerate(table.attributes)
        if name in SHAPES or not any(fnmatch(name, each) for each in absent)
    ]
    return replace(table, attributes=tuple(table.attributes[i] for i in kept), values=table.values[:, kept])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("scenes", nargs="*", default=["dubai_tile1", "dubai_tile3", "dubai_tile5", "zion"])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--columns", default="all")
    parser.add_argument("--clustered", action="store_true")
    parser.add_argument("--no-suggestions", action="store_true")
    options = parser.parse_args()
    heads = ["scene", "most frequent label", f"{FEW} per name", f"{MANY} per name"]
    if not options.no_suggestions:
        heads += ["random, as many as the next", f"{FEW} + 40 suggested", f"{FEW} + 40 per name suggested"]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for name in options.scenes:
        scene = Scene(options.folder, options.results, name, tuple(options.columns.split(",")))
        scene.clustered = options.clustered
        n_names, none = len(scene.names), np.empty(0, np.int64)
        draws = range(options.first, options.first + options.draws)
        numbers = (FEW, MANY) if options.no_suggestions else (FEW, MANY, FEW + round(10 * ROUNDS / n_names))
        columns = [[scene.score(scene.counts)]]
        columns += [[scene.score(scene.name(scene.draw(n, i), none)[1]) for i in draws] for n in numbers]
        if not options.no_suggestions:
            columns += [[scene.suggested(i, n) for i in draws] for n in (10, 10 * n_names)]
        cells = " | ".join("{:.3f}, {:.3f}".format(*np.mean(column, axis=0)) for column in columns)
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
