"""Write a million polygons in every format, and draw them in QGIS where it is installed.

Usage: python benchmarks/million.py FOLDER [SIDE]

SIDE² squares of 8 × 8 pixels in 16 classes (1000² by default), with all columns of a scene of three bands. Prints the
seconds, the largest memory and the size of each file, and how long QGIS takes to open and to draw the GeoPackage.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PYTHON = "/usr/bin/python3"  # of the system: QGIS comes with no other
SIDE, PIXELS, RESOLUTION, ROWS = 1000, 8, 0.5, 20


def write(path: Path, side: int) -> None:
    import numpy as np
    import shapely
    from pyproj import CRS

    from geoseg.output.columns import Layer, label_fields
    from geoseg.output.polygons import Extras, write_polygons
    from geoseg.output.style import Legend, border_scale, polygon_qml, region_qml, separate_colors

    draw = np.random.default_rng(0)
    classes = draw.integers(1, 17, side * side)
    colors = separate_colors(draw.integers(30, 220, (16, 3)).astype(np.uint8))
    legend = Legend.of_classes(colors, np.bincount(classes - 1))
    fields = label_fields(
        bands=[1, 2, 3], levels=[2, 4, 8], n_regions=side * side, n_classes=16, indices=["confidence"]
    )
    layer = Layer("labels", "A million squares", "Written by benchmarks/million.py", CRS(32631).to_wkt(), fields)
    size, hexes = PIXELS * RESOLUTION, np.array(legend.hexes)

    def batches() -> Iterator[Any]:
        for first in range(0, side, ROWS):
            number = np.arange(first * side, min(first + ROWS, side) * side)
            y, x = np.divmod(number, side)
            left, top = 5e5 + x * size, 5e6 - y * size
            columns: dict[str, Any] = {field.name: number / 7 for field in fields}
            columns |= {"region": number + 1, "class": classes[number], "color": hexes[classes[number] - 1]}
            columns |= {"pixels": np.full(len(number), PIXELS**2)}
            columns |= {f"class_{n}": classes[number] % n + 1 for n in (2, 4, 8)}
            yield layer.batch(columns, shapely.box(left, top - size, left + size, top))

    borders = border_scale(RESOLUTION)
    begin = time.monotonic()
    write_polygons(
        path,
        batches(),
        layer,
        style=polygon_qml(legend, layer.aliases, borders=borders),
        extras=Extras(styles={"regions": region_qml(layer.aliases, borders=borders)}),
        overwrite=True,
    )
    seconds, usage = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"{path.suffix:9} {seconds:6.1f} s  {usage.ru_utime + usage.ru_stime:6.1f} CPU s  "
        f"{usage.ru_maxrss / 1e6:5.2f} GB  {path.stat().st_size / 1e6:7.1f} MB on the disk"
    )


def draw(path: str) -> None:
    from qgis.core import QgsApplication, QgsMapRendererParallelJob, QgsMapSettings, QgsVectorLayer
    from qgis.PyQt.QtCore import QSize

    application = QgsApplication([], False)
    application.initQgis()
    messages = []
    application.messageLog().messageReceived.connect(lambda *message: messages.append(message))
    begin = time.monotonic()
    layer = QgsVectorLayer(f"{path}|layername=labels", "labels", "ogr")
    opened = time.monotonic()
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(1200, 1200))
    settings.setFlag(QgsMapSettings.UseRenderingOptimization, True)  # as the map of QGIS has it
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    drawn = time.monotonic()
    print(
        f"QGIS: {layer.featureCount()} polygons open in {opened - begin:.2f} s, "
        f"drawn whole in {drawn - opened:.1f} s, {len(messages)} messages"
    )
    sys.stdout.flush()
    os._exit(0)  # QGIS 3.22 without a screen crashes at exit


def main() -> None:
    folder, side = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else SIDE
    for suffix in (".gpkg", ".fgb", ".parquet"):  # one process each, to measure its memory
        subprocess.run([sys.executable, __file__, "--write", str(folder / f"million{suffix}"), str(side)], check=True)
    if subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True, check=False).returncode == 0:
        screen = os.environ | {"QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": ""}
        subprocess.run([PYTHON, __file__, "--draw", str(folder / "million.gpkg")], check=True, env=screen)


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "--draw":
        draw(sys.argv[2])
    else:
        main()
