"""Score segmentations of a scene without labels: geoseg and other programs at about the same number of regions.

    python benchmarks/unsupervised.py SCENE [--crop 1000] [--pyshepseg-python PATH] [--only NAME] [--out TABLE.md]

geoseg runs with its defaults. For each other program one parameter is searched for, by bisection of its logarithm, so
that the number of 4-connected regions is within 10 % of that of geoseg, or as near as --tries runs come; the smallest
size is 64 pixels where a program has one. The scores are those of `geoseg evaluate --unsupervised`: the normalised ones
are relative to the rows of the table. Programs that are not installed are left out, with the reason.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import which

import numpy as np
import rasterio
from rasterio.windows import Window
from rival_parts.rivals import MissingError

from geoseg import RegionEvaluation, evaluate_regions

_MIN_PIXELS, _TOLERANCE = 64, 0.1
_GRASS = """
set -e
r.in.gdal input="$1" output=scene memory=1000
g.region raster="$(g.list type=raster pattern='scene*' | head -n 1)"
i.group group=scene subgroup=scene input="$(g.list type=raster pattern='scene*' separator=comma)"
i.segment group=scene output=segments threshold="$3" minsize="$4" memory=1000
r.out.gdal -c input=segments output="$2" format=GTiff type=Int32 createopt=COMPRESS=DEFLATE
"""
_SHEPSEG = """
import sys
from pyshepseg import tiling
scene, out, size = sys.argv[1:]
tiling.doTiledShepherdSegmentation(scene, out, minSegmentSize=int(size), fixedKMeansInit=True, outputDriver="GTiff")
"""

Segmenter = Callable[[Path, Path, float], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--crop", type=int, help="use the upper left corner of so many pixels on each side")
    parser.add_argument("--tries", type=int, default=6, help="runs of a program at most")
    parser.add_argument("--pyshepseg-python", type=Path)
    parser.add_argument("--only", action="append", help="compare with this program; can be repeated")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        text = report(args, Path(temporary))
    print(text)
    if args.out is not None:
        args.out.write_text(text, encoding="utf-8")


def report(args: argparse.Namespace, folder: Path) -> str:
    """Return the table."""
    scene = args.scene if args.crop is None else corner_of(args.scene, folder / "scene.tif", args.crop)
    geoseg(scene, folder / "geoseg.tif")
    goal = n_regions(scene, folder / "geoseg.tif")
    made, skipped = {"geoseg, defaults": folder / "geoseg.tif"}, []
    for name, (run, least, most) in programs(args.pyshepseg_python).items():
        if args.only and name not in args.only:
            continue
        try:
            path, value = search(
                partial(run, scene), folder / re.sub(r"\W+", "_", name), (least, most), goal, args.tries
            )
            made[f"{name}, {value:.3g}"] = path
        except (MissingError, subprocess.CalledProcessError) as reason:
            skipped.append(f"{name}: {reason}")
        print(f"{name} done", file=sys.stderr, flush=True)
    return table(list(made), evaluate_regions(list(made.values()), scene), skipped)


def table(names: list[str], found: RegionEvaluation, skipped: list[str]) -> str:
    lines = [
        "| program, parameter | regions | mean px | variance share | Moran's I | Espindola | F |",
        f"|---|{'---|' * 6}",
    ]
    for name, scores, candidate in zip(names, found.scores, found.candidates, strict=True):
        normalised = "- | -" if candidate is None else f"{candidate.espindola:.3f} | {candidate.f:.3f}"
        figures = f"{scores.regions} | {scores.mean_pixels:.0f} | {scores.share:.4f} | {scores.moran:.4f}"
        lines.append(f"| {name} | {figures} | {normalised} |")
    return "\n".join([*lines, *(f"\nNot compared: {text}" for text in skipped)]) + "\n"


def search(
    run: Callable[[Path, float], None], stem: Path, bounds: tuple[float, float], goal: int, tries: int
) -> tuple[Path, float]:
    """Return the segmentation whose number of regions is nearest to the goal, and its parameter.

    The bounds are those of the parameter: with the first there are more regions than with the second.
    """
    low, high = np.log(bounds)
    found = []
    for attempt in range(tries):
        middle = (low + high) / 2
        path = stem.with_name(f"{stem.name}_{attempt}.tif")
        run(path, float(np.exp(middle)))
        n = n_regions(run.args[0], path)
        print(f"{path.stem}: {np.exp(middle):.4g} → {n} of {goal}", file=sys.stderr, flush=True)
        found.append((abs(n - goal), path, float(np.exp(middle))))
        if found[-1][0] <= _TOLERANCE * goal:
            break
        low, high = (middle, high) if n > goal else (low, middle)
    _, path, value = min(found)
    return path, value


def n_regions(scene: Path, labels: Path) -> int:
    return evaluate_regions(labels, scene, bands=(1,)).scores[0].regions


def programs(python: Path | None) -> dict[str, tuple[Segmenter, float, float]]:
    """Return each program with the bounds of its parameter, from many regions to few."""
    return {
        "GRASS i.segment threshold": (grass, 0.002, 0.5),
        "Orfeo LargeScaleMeanShift ranger": (orfeo, 2, 120),
        "pyshepseg minSegmentSize": (partial(pyshepseg, python), 8, 2000),
        "scikit-image felzenszwalb scale": (felzenszwalb, 1, 5000),
        "scikit-image slic 1/n_segments": (slic, 1e-5, 0.1),
    }


def geoseg(scene: Path, out: Path) -> None:
    polygons = out.with_suffix(".gpkg")
    options = ["--region-raster", out, "--workers", "0", "--progress", "none"]
    subprocess.run([sys.executable, "-m", "geoseg", "tile", scene, "--out", polygons, *options], check=True)


def grass(scene: Path, out: Path, value: float) -> None:
    script = out.with_suffix(".sh")
    script.write_text(_GRASS, encoding="utf-8")
    arguments = [scene, out, str(value), str(_MIN_PIXELS)]
    quiet([program("grass"), "--tmp-location", scene, "--exec", "sh", script, *arguments])


def orfeo(scene: Path, out: Path, value: float) -> None:
    options = ["-spatialr", "5", "-ranger", str(value), "-minsize", str(_MIN_PIXELS), "-mode", "raster"]
    quiet([program("otbcli_LargeScaleMeanShift"), "-in", scene, *options, "-mode.raster.out", out, "uint32"])


def pyshepseg(python: Path | None, scene: Path, out: Path, value: float) -> None:
    if python is None:
        raise MissingError("--pyshepseg-python was not given")
    quiet([python, "-c", _SHEPSEG, scene, out, str(round(value))])


def felzenszwalb(scene: Path, out: Path, value: float) -> None:
    from skimage.segmentation import felzenszwalb as segment

    write(scene, out, segment(pixels(scene), scale=value, sigma=0.5, min_size=_MIN_PIXELS, channel_axis=-1) + 1)


def slic(scene: Path, out: Path, value: float) -> None:
    from skimage.segmentation import slic as segment

    write(scene, out, segment(pixels(scene), n_segments=round(1 / value), compactness=0.1, channel_axis=-1))


def program(name: str) -> str:
    path = which(name)
    if path is None:
        raise MissingError(f"{name} is not installed")
    return path


def quiet(command: list[str | Path]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def pixels(scene: Path) -> np.ndarray:
    """Return the (y, x, band) pixels of a scene, each band from 0 to 1 between its 1st and 99th percentiles."""
    with rasterio.open(scene) as src:
        bands = src.read().astype(np.float64)
    low, high = np.percentile(bands, (1, 99), axis=(1, 2), keepdims=True)
    return np.clip((bands - low) / np.maximum(high - low, 1e-9), 0, 1).transpose(1, 2, 0)


def write(scene: Path, out: Path, labels: np.ndarray) -> None:
    with rasterio.open(scene) as src:
        profile = src.profile | {"driver": "GTiff", "count": 1, "dtype": "int32", "nodata": 0, "photometric": None}
    with rasterio.open(out, "w", **{name: value for name, value in profile.items() if value is not None}) as raster:
        raster.write(labels.astype(np.int32), 1)


def corner_of(scene: Path, path: Path, side: int) -> Path:
    """Write the upper left corner of a scene."""
    with rasterio.open(scene) as src:
        window = Window(0, 0, min(side, src.width), min(side, src.height))
        profile = src.profile | {"driver": "GTiff", "width": window.width, "height": window.height}
        with rasterio.open(path, "w", **profile) as corner:
            corner.write(src.read(window=window))
    return path


if __name__ == "__main__":
    main()
