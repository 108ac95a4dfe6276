"""Evaluate every level of the class tree on labelled scenes, beside baselines.

    python benchmarks/quality.py FOLDER [--areas NAME_areas.csv] [--seeds 0,1] [--choose 4,5,5.5,6,7] [--scratch DIR]
                                 [--no-baselines] [--largest-scene MPX] [-- OPTIONS OF geoseg tile]

FOLDER contains scenes and NAME_labels.tif (0 = no label) or NAME_buildings.tif; the scene is the only other file whose
name starts with NAME, or with NAME without its last words. Six synthetic scenes of different seeds and bands are added,
and with --areas the image NAME.jpg, whose land cover is known in rectangles. Each scene is segmented into 16 classes;
its levels of 2, 4, 8 and 16 classes are compared with Felzenszwalb and SLIC superpixels with k-means, and with Ward's
linkage of the 16 classes. One row per scene, method and level: scores as of `geoseg evaluate` (many-to-one), the share
of the largest class, and that of the largest label. With several seeds, the last table has the lowest adjusted Rand
index of two seeds. --choose takes each scene out, chooses the adjacency weight of the tree on the others, and reports
the scene that was left out; it needs the default tile size. Rasters that are in --scratch already are used again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from quality_parts import baselines, choose
from quality_parts.scenes import Labelled, labelled_scenes, run
from sklearn.metrics import adjusted_rand_score

from geoseg.evaluate.boundaries import boundaries, near
from geoseg.evaluate.scores import agreement, count_pairs

LEVELS = (2, 4, 8, 16)
COLUMNS = ("OA", "mIoU", "NMI", "recall", "density", "largest", "reference")
_DISTANCE = 3  # px within which a border is found

Raster = NDArray[np.integer]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--areas", type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--choose", default="")
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--largest-scene", type=float, default=20.0, help="Mpx; larger scenes have no baselines")
    parser.add_argument("options", nargs="*")
    args = parser.parse_intermixed_args()  # options after those of this script
    with tempfile.TemporaryDirectory() as temporary:
        scratch = args.scratch or Path(temporary)
        scratch.mkdir(exist_ok=True)
        report(args, scratch)


def report(args: argparse.Namespace, scratch: Path) -> None:
    """Segment all scenes and print one table per level, then those of the seeds and of the choice."""
    rows: dict[int, dict[str, dict[str, list[float]]]] = {k: defaultdict(dict) for k in LEVELS}
    seeds: dict[int, dict[str, float]] = {k: {} for k in LEVELS}
    chosen = choose.Choice([float(weight) for weight in args.choose.split(",") if weight], LEVELS)
    for scene in labelled_scenes(args.folder, scratch, args.areas):
        found = [levels_of(scene, seed, args.options, scratch) for seed in args.seeds.split(",")]
        maps = {"geoseg": found[0]}
        if not args.no_baselines and scene.labels.size <= args.largest_scene * 1e6:
            maps |= baseline_levels(scene, found[0][LEVELS[-1]])
        for method, levels in maps.items():
            for k, classes in levels.items():
                rows[k][method][scene.name] = scores(classes, scene.labels)
        for k in LEVELS if len(found) > 1 else ():
            pairs = combinations([levels[k][found[0][k] > 0] for levels in found], 2)
            seeds[k][scene.name] = min(adjusted_rand_score(a, b) for a, b in pairs)
        if chosen.weights:
            chosen.add(scene, run_folder(scene, args.seeds.split(",")[0], scratch), scores)
        own = ", ".join(f"{k}: mIoU {rows[k]['geoseg'][scene.name][1]:.3f}" for k in LEVELS)
        print(f"{scene.name}: {own}", flush=True)
    for k in LEVELS:
        print_level(k, rows[k], seeds[k])
    chosen.report()


def print_level(k: int, rows: dict[str, dict[str, list[float]]], seeds: dict[str, float]) -> None:
    """Print the table of one level; the means are those of the scenes that every method has."""
    print(f"\n### {k} classes\n\n| scene | method | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    for name in rows["geoseg"]:
        for method, scenes in rows.items():
            if name in scenes:
                print(f"| {name} | {method} | {' | '.join(f'{value:.3f}' for value in scenes[name])} |")
    common = set.intersection(*(set(scenes) for scenes in rows.values()))
    for method, scenes in rows.items():
        mean = np.mean([scenes[name] for name in sorted(common)], axis=0)
        print(f"| mean of {len(common)} | {method} | {' | '.join(f'{value:.3f}' for value in mean)} |")
    if seeds:
        print(f"\nLowest adjusted Rand index of two seeds: {', '.join(f'{n} {ari:.3f}' for n, ari in seeds.items())}")


def run_folder(scene: Labelled, seed: str, scratch: Path) -> Path:
    """Return the run folder of a scene."""
    return scratch / f"{scene.name}.{seed}.run"


def levels_of(scene: Labelled, seed: str, options: list[str], scratch: Path) -> dict[int, Raster]:
    """Segment a scene, unless its result is in the scratch folder, and return the class raster of each level."""
    raster = scratch / f"{scene.name}.{seed}.tif"
    if not raster.exists():
        out = ("--out", raster.with_suffix(".gpkg"), "--class-raster", raster, "--overwrite", "-q")
        kept = ("--keep", "--run-dir", run_folder(scene, seed, scratch))
        run("tile", scene.path, *out, *kept, "--seed", seed, *options)
    with rasterio.open(raster) as opened:
        classes = opened.read(1)
    described = json.loads(raster.with_suffix(".classes.json").read_text())["classes"]
    return {k: np.array([0, *(row.get(f"class_{k}", row["class"]) for row in described)])[classes] for k in LEVELS}


def baseline_levels(scene: Labelled, finest: Raster) -> dict[str, dict[int, Raster]]:
    """Return the levels of the baselines by name."""
    lab, valid = baselines.colours(scene.path)
    methods = ("felzenszwalb", "slic")
    found = {f"{method} + k-means": baselines.kmeans_levels(method, lab, valid, LEVELS) for method in methods}
    return {**found, "Ward of the 16 classes": baselines.ward_levels(lab, finest, LEVELS)}


def scores(classes: Raster, labels: Raster) -> list[float]:
    """Return the figures of `COLUMNS`."""
    found = agreement(count_pairs(classes, labels), {})
    edge, true_edge = boundaries(classes), boundaries(labels) & (labels > 0)
    recall = float(near(edge, _DISTANCE)[true_edge].mean())
    sizes, reference = np.bincount(classes[classes > 0]), np.bincount(labels[labels > 0])
    density, largest = float(edge.mean()), float(sizes.max() / sizes.sum())
    return [found.oa, found.miou, found.nmi, recall, density, largest, float(reference.max() / reference.sum())]


if __name__ == "__main__":
    main()
