"""Write docs/gallery.md and its pictures.

    python docs/gallery.py [FOLDER]

Runs the commands of each scene in FOLDER (default: demo/gallery), on the crops of docs/data and on synthetic scenes,
and draws the scene beside its polygons with examples/picture.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import geopandas
import rasterio
import shapely
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DATA, PICTURES = ROOT / "docs" / "data", ROOT / "docs" / "pictures"
_HEADER = """\
# Gallery

Six scenes, each with the commands that make it and what came out. On the left the scene, on the right its polygons in
the mean colours of their classes, as QGIS shows them. `make gallery` runs the commands, measures the figures, draws the
pictures and writes this page; do not edit it. [Sample scenes](data/README.md) has the sources of the crops.

{comments}
"""


@dataclass(frozen=True)
class Entry:
    """A scene of the gallery.

    Parameters
    ----------
    name : str
        Of the picture and of the polygons.
    title, text : str
        What the page states about it.
    scene : str
        File name of the scene in the folder.
    commands : tuple of str
        What makes the polygons.
    bands : str
        Numbers of the bands shown as red, green and blue.
    """

    name: str
    title: str
    text: str
    scene: str
    commands: tuple[str, ...]
    bands: str = "1,2,3"


ENTRIES = (
    Entry(
        "naip",
        "Fields and prairie lakes",
        "NAIP, North Dakota, 31 August 2020 (U.S. Department of Agriculture), four bands at 5 m. Water that is green "
        "with algae and clear water are two classes; bare fields, roads and shores share one.",
        "naip_2020.tif",
        ("geoseg tile naip_2020.tif --out naip.gpkg --classes 8 --save-model naip.geoseg",),
    ),
    Entry(
        "change",
        "The same place eleven years earlier, in the same classes",
        "NAIP, 18 August 2009, segmented with the model of the scene above: nothing is trained, and a class has the "
        "same number and colour. The lakes were smaller. The images are not calibrated to each other: a muddy lake is "
        "in the class of bare shores. [The same classes for another year](howto/model.md)",
        "naip_2009.tif",
        ("geoseg tile naip_2009.tif --out change.gpkg --model naip.geoseg",),
    ),
    Entry(
        "landsat",
        "Canyons",
        "Landsat 8, Zion National Park (U.S. Geological Survey), four bands of 16 bits at 30 m. White and red rock, "
        "forest, scrub and shade. [Sentinel-2 and Landsat](howto/satellite.md)",
        "landsat8.tif",
        ("geoseg tile landsat8.tif --out landsat.gpkg --config landsat --classes 8",),
        bands="3,2,1",
    ),
    Entry(
        "village",
        "A village",
        "A synthetic aerial image at 0.5 m, with the parameters for aerial images. The true land cover is known, so "
        "`geoseg evaluate` gives an accuracy.",
        "village.tif",
        (
            "geoseg synthetic village.tif --size 800x800 --seed 1 --truth truth.tif",
            "geoseg tile village.tif --out village.gpkg --config aerial --class-raster village_classes.tif",
            "geoseg evaluate village_classes.tif --reference truth.tif",
        ),
    ),
    Entry(
        "drone",
        "A drone mosaic",
        "A synthetic mosaic at 5 cm with a margin that is nodata, with the parameters for drone images. "
        "[A drone mosaic](howto/drone.md)",
        "drone.tif",
        (
            "geoseg synthetic drone.tif --size 900x900 --resolution 0.05 --seed 5 --collar",
            "geoseg tile drone.tif --out drone.gpkg --config drone --classes 8",
        ),
    ),
    Entry(
        "outline",
        "Labels that exist already",
        "The true land cover of the village, a raster of labels, as a smooth coverage with zonal statistics of the "
        "image. Nothing is trained. [Labels from other programs](howto/labels.md)",
        "village.tif",
        ("geoseg outline truth.tif --values village.tif --min-pixels 20 --smooth --simplify 1 --out outline.gpkg",),
    ),
)


def main() -> None:
    """Run everything, and replace the page and its pictures."""
    folder = Path(sys.argv[1] if sys.argv[1:] else ROOT / "demo" / "gallery").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    PICTURES.mkdir(exist_ok=True)
    crops = [entry.scene for entry in ENTRIES if (DATA / entry.scene).exists()]
    for name in crops:
        shutil.copyfile(DATA / name, folder / name)
    comments = f"<!-- files: {' '.join(f'{name}={name}' for name in crops)} -->"
    (ROOT / "docs" / "gallery.md").write_text(
        "\n".join([_HEADER.format(comments=comments), *(section(entry, folder) for entry in ENTRIES)]), encoding="utf-8"
    )
    draw_years()


def draw_years() -> None:
    """Draw the picture of docs/howto/model.md: both years, one above the other."""
    pair = [Image.open(PICTURES / f"{name}.jpg") for name in ("change", "naip")]
    both = Image.new("RGB", (pair[0].width, 2 * pair[0].height + 12), "white")
    for row, picture in enumerate(pair):
        both.paste(picture, (0, row * (picture.height + 12)))
    both.save(PICTURES / "years.jpg", optimize=True, quality=85)


def section(entry: Entry, folder: Path) -> str:
    """Run the commands of a scene and draw it; return its part of the page."""
    for command in entry.commands:
        subprocess.run([sys.executable, "-m", *command.split()], cwd=folder, check=True)
    arguments = [folder / entry.scene, folder / f"{entry.name}.gpkg", PICTURES / f"{entry.name}.jpg", entry.bands]
    subprocess.run([sys.executable, ROOT / "examples" / "picture.py", *arguments], check=True)
    return "\n".join(
        [
            f"## {entry.title}\n",
            f"{entry.text}\n",
            f"![{entry.title}: the scene and its polygons](pictures/{entry.name}.jpg)\n",
            "```bash",
            *entry.commands,
            "```\n",
            figures(folder / entry.scene, folder / f"{entry.name}.gpkg"),
        ]
    )


def figures(scene: Path, labels: Path) -> str:
    """Return a table of one row: size of the scene, and of the result."""
    with rasterio.open(scene) as source:
        size = f"{source.width} \N{MULTIPLICATION SIGN} {source.height} px at {source.res[0]:g} m, {source.count} bands"
    polygons = geopandas.read_file(labels, layer="labels")
    largest = polygons.groupby("class")["pixels"].sum().max() / polygons["pixels"].sum()
    row = (
        size,
        f"{len(polygons)} of {polygons['class'].nunique()} classes",
        f"{100 * largest:.0f} %",
        f"{float(format(polygons['area'].median(), '.3g')):g} m²",
        f"{shapely.get_num_coordinates(polygons.geometry.to_numpy()).sum() / len(polygons):.0f}",
        "yes" if shapely.coverage_is_valid(polygons.geometry.to_numpy()) else "no",
    )
    head = ("scene", "polygons", "largest class", "median area", "vertices per polygon", "valid coverage")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), row)) + "\n"


if __name__ == "__main__":
    main()
