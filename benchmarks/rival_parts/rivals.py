"""How each program segments a scene to polygons: the commands, and what must be installed for them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PARTS = Path(__file__).parent
ROOT = PARTS.parents[1]
SHEPSEG_TILE, SHEPSEG_OVERLAP = 512, 128

GRASS_SCRIPT = """
set -e
r.in.gdal input="$1" output=scene memory=1000
g.region raster="$(g.list type=raster pattern='scene*' | head -n 1)"
i.group group=scene subgroup=scene input="$(g.list type=raster pattern='scene*' separator=comma)"
i.segment group=scene output=segments threshold=0.05 minsize=64 memory=1000
r.to.vect input=segments output=segments type=area
v.out.ogr input=segments type=area output="$2" format=GPKG
"""


class MissingError(Exception):
    """A program is not installed; the text is the reason."""


@dataclass(frozen=True)
class Job:
    """What a program is given.

    Parameters
    ----------
    scene : Path
    folder : Path
        Empty, for its files.
    python : Path or None
        Python with pyshepseg.
    steps : int
        Steps of the literal methods.
    """

    scene: Path
    folder: Path
    python: Path | None
    steps: int


@dataclass(frozen=True)
class Work:
    """The commands of a program, the layer of polygons that they write, and what is particular about them."""

    commands: list[list[str | Path]]
    polygons: Path
    note: str = ""


def geoseg(job: Job, *options: str) -> Work:
    out = job.folder / "labels.gpkg"
    command = [sys.executable, "-m", "geoseg", "tile", job.scene, "--out", out, "--progress", "none", *options]
    return Work([command], out, "classes, statistics and styles; simplified")


def geoseg_serial(job: Job) -> Work:
    return geoseg(job, "--workers", "0")


def geoseg_workers(job: Job) -> Work:
    return geoseg(job, "--workers", "2")


def pyshepseg(job: Job) -> Work:
    if job.python is None:
        raise MissingError("--pyshepseg-python was not given")
    check = [job.python, "-c", "import pyshepseg.tiling"]
    try:
        tried = subprocess.run(check, capture_output=True, text=True, check=False)
    except OSError as err:
        raise MissingError(f"{job.python} does not run: {err.strerror}") from err
    if tried.returncode:
        raise MissingError(f"{job.python} has no pyshepseg: {tried.stderr.strip().splitlines()[-1]}")
    work, sizes = polygonized(job, "segments.img"), [str(SHEPSEG_TILE), str(SHEPSEG_OVERLAP)]
    command = [job.python, PARTS / "shepseg.py", job.scene, job.folder / "segments.img", *sizes]
    note = f"tiles of {SHEPSEG_TILE} px overlap by {SHEPSEG_OVERLAP} px; no classes, no statistics"
    return Work([command, *work.commands], work.polygons, note)


def slic(job: Job) -> Work:
    if find_spec("skimage") is None:
        raise MissingError("scikit-image is not installed")
    work = polygonized(job, "segments.tif")
    command = [sys.executable, PARTS / "slic.py", job.scene, job.folder / "segments.tif"]
    return Work([command, *work.commands], work.polygons, "no classes, no statistics; whole scene in memory")


def orfeo(job: Job) -> Work:
    program, out = _found("otbcli_LargeScaleMeanShift"), job.folder / "segments.shp"
    options = [
        "-spatialr",
        "5",
        "-ranger",
        "15",
        "-minsize",
        "64",
        "-tilesizex",
        "512",
        "-tilesizey",
        "512",
        "-mode",
        "vector",
        "-mode.vector.out",
    ]
    return Work([[program, "-in", job.scene, *options, out]], out, "means and variances of segments; no classes")


def grass(job: Job) -> Work:
    program, out, script = _found("grass"), job.folder / "segments.gpkg", job.folder / "segment.sh"
    script.write_text(GRASS_SCRIPT, encoding="utf-8")
    command = [program, "--tmp-location", job.scene, "--exec", "sh", script, job.scene, out]
    return Work([command], out, "no classes, no statistics")


def kanezaki(job: Job) -> Work:
    return _literal(job, "kanezaki2018")


def yonv(job: Job) -> Work:
    return _literal(job, "yonv2019")


def polygonized(job: Job, raster: str) -> Work:
    """Return the polygons of a raster in the folder of a job by GDAL's script."""
    out = job.folder / "segments.gpkg"
    return Work([[_found("gdal_polygonize.py"), job.folder / raster, "-f", "GPKG", out, "-q"]], out)


RIVALS: dict[str, Callable[[Job], Work]] = {
    "geoseg": geoseg,
    "geoseg --workers 0": geoseg_serial,
    "geoseg --workers 2": geoseg_workers,
    "pyshepseg + gdal_polygonize": pyshepseg,
    "scikit-image slic + gdal_polygonize": slic,
    "Orfeo LargeScaleMeanShift": orfeo,
    "GRASS i.segment": grass,
    "Kanezaki (2018), literal": kanezaki,
    "Yonv (2019), literal": yonv,
}
LITERAL = ("Kanezaki (2018), literal", "Yonv (2019), literal")


def _literal(job: Job, config: str) -> Work:
    if not (ROOT / "tests/reference/backprop.py").exists():
        raise MissingError("tests/reference is not there; run from a checkout")
    work = polygonized(job, "labels.tif")
    arguments = [job.scene, job.folder / "labels.tif", ROOT / f"configs/{config}.yaml", str(job.steps)]
    note = f"{job.steps} steps on the upper left corner of the scene; no statistics"
    return Work([[sys.executable, PARTS / "literal.py", *arguments], *work.commands], work.polygons, note)


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise MissingError(f"{program} is not installed")
    return path
