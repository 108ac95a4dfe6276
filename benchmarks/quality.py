"""Score the classes of labelled scenes: one table, one row per scene and seed.

    python benchmarks/quality.py FOLDER [--seeds 0,1] [-- OPTIONS OF geoseg tile]

FOLDER holds pairs NAME_rgb.tif and NAME_labels.tif (0 = no label). Three procedural scenes of known truth come along.
Each scene is segmented twice per seed, in tiles of 512 px and as one tile; the seam column is the border density on the
tile lines over that of the single tile on the same lines.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

TILE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    print("scene                 seed classes    OA  mIoU   NMI density  seam differ s/Mpx")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(p, p.with_name(p.name.replace("_rgb", "_labels"))) for p in sorted(args.folder.glob("*_rgb.tif"))]
        pairs = [(scene, truth) for scene, truth in pairs if truth.exists()] + procedural(Path(folder))
        for scene, truth in pairs:
            for seed in args.seeds.split(","):
                rows.append(row(scene, truth, seed, args.options, Path(folder)))
                print(f"{scene.stem:<21} {seed:>4} " + figures(rows[-1]), flush=True)
    print(f"{'mean':<26} " + figures(np.mean(rows, axis=0)))


def figures(row: np.ndarray) -> str:
    return (
        f"{row[0]:7.0f} "
        + " ".join(f"{value:5.3f}" for value in row[1:4])
        + "   "
        + " ".join(f"{value:5.3f}" for value in row[4:])
    )


def procedural(folder: Path) -> list[tuple[Path, Path]]:
    pairs = []
    for seed in (1, 2, 3):
        scene, truth = folder / f"procedural{seed}.tif", folder / f"procedural{seed}_truth.tif"
        run("scene", scene, "--size", "2048x2048", "--seed", seed, "--truth", truth)
        pairs.append((scene, truth))
    return pairs


def row(scene: Path, truth: Path, seed: str, options: list[str], folder: Path) -> np.ndarray:
    begin = time.monotonic()
    tiled = segment(scene, folder / "tiled.gpkg", "--tile-size", TILE, "--seed", seed, *options)
    seconds = time.monotonic() - begin
    labels = read(truth)
    single = segment(scene, folder / "single.gpkg", "--tile-size", max(labels.shape), "--seed", seed, *options)
    seam = line_density(tiled) / max(line_density(single), 1e-9)
    n_classes = len(np.unique(tiled[tiled > 0]))
    differ = float((tiled != single).mean())
    density = float(borders(tiled, 0).mean() + borders(tiled, 1).mean())
    return np.array([n_classes, *scores(tiled, labels), density, seam, differ, seconds / labels.size * 1e6])


def segment(scene: Path, out: Path, *options: object) -> np.ndarray:
    classes = out.with_suffix(".tif")
    run("tile", scene, "--out", out, "--class-raster", classes, "--overwrite", "-q", *options)
    return read(classes)


def run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "geoseg", *map(str, words)], check=True)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return raster.read(1)


def borders(labels: np.ndarray, axis: int) -> np.ndarray:
    return np.diff(labels.astype(int), axis=axis) != 0


def line_density(labels: np.ndarray) -> float:
    lines = [borders(labels, 1)[:, line - 1] for line in range(TILE, labels.shape[1] - 9, TILE)]
    lines += [borders(labels, 0)[line - 1] for line in range(TILE, labels.shape[0] - 9, TILE)]
    return float(np.mean([line.mean() for line in lines]))


def scores(classes: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Return overall accuracy and mean IoU, every class mapped to its most frequent label, and NMI."""
    keep = (truth > 0) & (classes > 0)
    _, c = np.unique(classes[keep], return_inverse=True)
    _, t = np.unique(truth[keep], return_inverse=True)
    table = np.bincount(c * (t.max() + 1) + t).astype(float)
    table = np.pad(table, (0, -len(table) % (t.max() + 1))).reshape(-1, t.max() + 1)
    confusion = np.zeros((table.shape[1],) * 2)
    np.add.at(confusion, table.argmax(axis=1), table)
    hit = np.diag(confusion)
    iou = hit / (confusion.sum(axis=0) + confusion.sum(axis=1) - hit)
    p = table / table.sum()
    of_class, of_truth = p.sum(axis=1, keepdims=True), p.sum(axis=0, keepdims=True)
    some = p > 0
    mutual = (p[some] * np.log(p[some] / (of_class * of_truth)[some])).sum()
    entropy = -(of_class * np.log(of_class)).sum() - (of_truth * np.log(of_truth)).sum()
    return float(hit.sum() / table.sum()), float(iou.mean()), float(2 * mutual / entropy)


if __name__ == "__main__":
    main()
