"""Labelled scenes: those of a folder, synthetic ones, and an image with hand-drawn areas."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

# Seeds and band sets of the synthetic scenes.
_SYNTHETIC = (
    ("11", ()),
    ("12", ("--add-nir",)),
    ("13", ("--add-nir", "--dtype", "uint16")),
    ("14", ("--resolution", "1.0")),
    ("15", ("--resolution", "0.25")),
    ("16", ("--dtype", "uint16", "--resolution", "2")),
)
_REFERENCES = ("_labels", "_buildings")


@dataclass(frozen=True)
class Labelled:
    """A scene with a label of each pixel.

    Parameters
    ----------
    name : str
    path : Path
    labels : (y, x) int
        0 = no label.
    """

    name: str
    path: Path
    labels: NDArray[np.integer]


def labelled_scenes(folder: Path, scratch: Path, areas: Path | None) -> Iterator[Labelled]:
    """Yield the scenes of a folder, six synthetic scenes, and the image beside a table of areas."""
    for reference in sorted(path for end in _REFERENCES for path in folder.glob(f"*{end}.tif")):
        if scene := _scene_of(reference):
            yield Labelled(scene.stem, scene, _labels(reference, scene))
    for seed, options in _SYNTHETIC:
        scene, truth = scratch / f"synthetic{seed}.tif", scratch / f"synthetic{seed}_truth.tif"
        if not scene.exists():
            run("synthetic", scene, "--size", "1400x1400", "--seed", seed, "--truth", truth, *options)
        with rasterio.open(truth) as raster:
            yield Labelled(scene.stem, scene, raster.read(1))
    if areas is not None:
        yield _with_areas(areas, scratch)


def run(*words: object) -> None:
    """Run a command of geoseg."""
    subprocess.run([sys.executable, "-m", "geoseg", *map(str, words)], check=True)


def _scene_of(reference: Path) -> Path | None:
    """Return the only scene whose name starts with that of a reference without its last words."""
    end = next(end for end in _REFERENCES if reference.stem.endswith(end))
    words = reference.stem.removesuffix(end).split("_")
    scenes = [path for path in reference.parent.glob("*.tif") if not path.stem.endswith(_REFERENCES)]
    for n in range(len(words), 0, -1):
        if found := [path for path in scenes if path.name.startswith("_".join(words[:n]))]:
            return found[0] if len(found) == 1 else None
    return None


def _labels(reference: Path, scene: Path) -> NDArray[np.integer]:
    """Return labels; a mask of buildings also labels what is not a building."""
    with rasterio.open(reference) as raster, rasterio.open(scene) as image:
        labels = raster.read(1)
        if reference.stem.endswith("_buildings"):
            labels = np.where(image.dataset_mask() == 0, 0, np.where(labels > 0, 1, 2))
    return labels.astype(np.int64)


def _with_areas(areas: Path, scratch: Path) -> Labelled:
    """Return the image NAME.jpg of the table NAME_areas.csv, in whose rectangles the land cover is known."""
    image, scene = areas.with_name(areas.name.replace("_areas.csv", ".jpg")), scratch / "aerial.tif"
    with rasterio.open(image) as raster:
        pixels = raster.read()
    georeference = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(5e5, 5.3e6, 0.3, 0.3)}
    shape = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype}
    with rasterio.open(scene, "w", driver="GTiff", **shape, **georeference) as raster:
        raster.write(pixels)
    labels, names = np.zeros(pixels.shape[1:], np.int64), []
    for name, *corners in list(csv.reader(areas.read_text().splitlines()))[1:]:
        if name not in names:
            names.append(name)
        x0, y0, x1, y1 = map(int, corners)
        labels[y0:y1, x0:x1] = names.index(name) + 1
    return Labelled("aerial", scene, labels)
