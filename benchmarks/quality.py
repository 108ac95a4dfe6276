"""Evaluate the classes of labelled scenes: a table with one row per scene and seed.

    python benchmarks/quality.py FOLDER [--seeds 0,1] [-- OPTIONS OF geoseg tile]

FOLDER contains scenes and NAME_labels.tif (0 = no label); the scene is the only other file whose name starts with NAME,
or with NAME without its last words. Three synthetic scenes with known land cover are added. Each scene is segmented
twice per seed, in tiles of 512 px and as a single tile. The seam column is the boundary density on the tile lines
divided by that of the single tile on the same lines; differ is the share of pixels whose class differs between the two.
The other scores are those of `geoseg evaluate`: recall and density are those of the boundaries. CPU seconds are those
of the tiled run and its workers.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio

from geoseg.evaluate.evaluate import evaluate_classes

TILE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    print("scene                 seed classes    OA  mIoU   NMI recall density  seam differ CPU s/Mpx")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        pairs = labelled(args.folder) + synthetic(Path(folder))
        for scene, reference in pairs:
            for seed in args.seeds.split(","):
                rows.append(row(scene, reference, seed, args.options, Path(folder)))
                print(f"{scene.stem:<21} {seed:>4} " + figures(rows[-1]), flush=True)
    print(f"{'mean':<26} " + figures(np.mean(rows, axis=0)))


def figures(row: np.ndarray) -> str:
    return (
        f"{row[0]:7.0f} "
        + " ".join(f"{value:5.3f}" for value in row[1:4])
        + f"  {row[4]:5.3f}   "
        + " ".join(f"{value:5.3f}" for value in row[5:])
    )


def labelled(folder: Path) -> list[tuple[Path, Path]]:
    pairs = []
    scenes = [path for path in folder.glob("*.tif") if not path.stem.endswith("_labels")]
    for reference in sorted(folder.glob("*_labels.tif")):
        words = reference.stem.removesuffix("_labels").split("_")
        for n in range(len(words), 0, -1):
            found = [path for path in scenes if path.name.startswith("_".join(words[:n]))]
            if found:
                pairs += [(found[0], reference)] if len(found) == 1 else []
                break
    return pairs


def synthetic(folder: Path) -> list[tuple[Path, Path]]:
    pairs = []
    for seed in (1, 2, 3):
        scene, land_cover = folder / f"synthetic{seed}.tif", folder / f"synthetic{seed}_land_cover.tif"
        run("synthetic", scene, "--size", "2048x2048", "--seed", seed, "--truth", land_cover)
        pairs.append((scene, land_cover))
    return pairs


def row(scene: Path, reference: Path, seed: str, options: list[str], folder: Path) -> np.ndarray:
    begin = cpu_seconds()
    tiled = segment(scene, folder / "tiled.gpkg", "--tile-size", TILE, "--seed", seed, *options)
    seconds = cpu_seconds() - begin
    single = segment(scene, folder / "single.gpkg", "--tile-size", max(tiled.shape), "--seed", seed, *options)
    seam = line_density(tiled) / max(line_density(single), 1e-9)
    differ = float((tiled != single).mean())
    scores = evaluate_classes(folder / "tiled.tif", reference, tile_size=TILE).to_dict()
    named = ("n_classes", "oa", "miou", "nmi", "boundary_recall", "boundary_density")
    return np.array([*(scores[name] for name in named), seam, differ, seconds / tiled.size * 1e6])


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def segment(scene: Path, out: Path, *options: object) -> np.ndarray:
    classes = out.with_suffix(".tif")
    run("tile", scene, "--out", out, "--class-raster", classes, "--overwrite", "-q", *options)
    return read(classes)


def run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "geoseg", *map(str, words)], check=True)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return raster.read(1)


def boundaries(labels: np.ndarray, axis: int) -> np.ndarray:
    return np.diff(labels.astype(int), axis=axis) != 0


def line_density(labels: np.ndarray) -> float:
    lines = [boundaries(labels, 1)[:, line - 1] for line in range(TILE, labels.shape[1] - 9, TILE)]
    lines += [boundaries(labels, 0)[line - 1] for line in range(TILE, labels.shape[0] - 9, TILE)]
    return float(np.mean([line.mean() for line in lines]))


if __name__ == "__main__":
    main()
