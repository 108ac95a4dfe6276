"""Draw the pictures of docs/tutorial.md.

    python docs/tutorial_pictures.py FOLDER

Runs the commands of the tutorial on docs/data/naip_2020.tif, opens the result in QGIS without a screen, and writes the
pictures to FOLDER. Needs qgis and xvfb, and geoseg in the Python that runs this file. QGIS runs this file too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

SECONDS = 600  # until QGIS is killed
_FRAME = (1100, 700)  # px, of the window


def main() -> None:
    """Run geoseg, then QGIS on its result."""
    folder = Path(sys.argv[1]).resolve()
    scene = Path(__file__).resolve().parent / "data" / "naip_2020.tif"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        geoseg = [sys.executable, "-m", "geoseg"]
        preview = ["--out", f"{folder}/tutorial-preview.png", "--window-size", "384", "--overwrite"]
        subprocess.run([*geoseg, "preview", scene, *preview], cwd=work, check=True)
        subprocess.run([*geoseg, "tile", scene, "--out", "labels.gpkg", "--classes", "8"], cwd=work, check=True)
        draw_qgis(scene, Path(work), folder)


def draw_qgis(scene: Path, work: Path, folder: Path) -> None:
    """Start QGIS on a scene and on the labels in a folder, with a profile of its own, and wait until it has ended."""
    settings = work / "profiles" / "default" / "QGIS" / "QGIS3.ini"
    settings.parent.mkdir(parents=True)
    settings.write_text("[qgis]\ncheckVersion=false\n", encoding="utf-8")
    qgis = shutil.which("qgis.bin") or "qgis"  # qgis.bin: Debian, whose qgis is a script
    variables = {**os.environ, "GEOSEG_TUTORIAL": json.dumps([str(scene), str(work), str(folder)])}
    variables["PATH"] = f"/usr/bin{os.pathsep}{os.environ['PATH']}"  # QGIS takes the Python that comes first
    for name in ("QT_QPA_PLATFORM", "PYTHONPATH"):
        variables.pop(name, None)
    command = ["xvfb-run", "-a", "-s", "-screen 0 1400x1000x24", qgis, "--nologo", "--noversioncheck"]
    command += ["--profiles-path", str(work), "--code", __file__]
    subprocess.run(command, env=variables, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL)
    failure = work / "error.txt"
    if failure.exists():
        raise SystemExit(failure.read_text(encoding="utf-8"))


class Session:
    """The steps in QGIS; each starts the next one when its picture is complete."""

    def __init__(self, iface: Any, scene: str, work: str, folder: str) -> None:
        self._iface, self._scene, self._work, self._folder = iface, Path(scene), Path(work), Path(folder)
        self._labels: Any = None
        self._classes: Any = None  # the renderer of the file

    def start(self) -> None:
        """Load both layers, as if they were dragged into the window."""
        from qgis.core import QgsProject, QgsSettings
        from qgis.PyQt.QtWidgets import QDockWidget

        for path in ("Projections", "projections"):  # no dialog that chooses between transformations
            QgsSettings().setValue(f"/{path}/promptWhenMultipleTransformsExist", False, QgsSettings.App)

        window = self._iface.mainWindow()
        window.resize(*_FRAME)
        scene = self._iface.addRasterLayer(str(self._scene), self._scene.stem)
        QgsProject.instance().setCrs(scene.crs())
        self._labels = self._iface.addVectorLayer(f"{self._work / 'labels.gpkg'}|layername=labels", "labels", "ogr")
        for dock in window.findChildren(QDockWidget):
            if dock.objectName() not in ("Layers", "LayerOrder"):
                dock.hide()
        self._expand()
        self._iface.zoomFull()
        self._picture_then("tutorial-qgis", self._show_levels)

    def _show_levels(self) -> None:
        from qgis.core import QgsCategorizedSymbolRenderer, QgsRendererCategory

        self._classes = self._labels.renderer().clone()
        symbols = {str(category.value()): category.symbol().clone() for category in self._classes.categories()}
        pixels: Counter[tuple[int, int]] = Counter()
        for row in self._labels.getFeatures():
            pixels[row["class_4"], row["class"]] += row["pixels"]
        largest = {level: number for (level, number), _ in reversed(pixels.most_common())}
        categories = [
            QgsRendererCategory(level, symbols.pop(str(number)), f"class {level} of 4")
            for level, number in sorted(largest.items())
        ]
        self._labels.setRenderer(QgsCategorizedSymbolRenderer("class_4", categories))
        self._redraw()
        self._picture_then("tutorial-levels", self._select)

    def _select(self) -> None:
        self._labels.setRenderer(self._classes)
        self._labels.selectByExpression('"ndvi_mean" < -0.2')
        self._redraw()
        self._picture_then("tutorial-selection", self._end)

    def _redraw(self) -> None:
        self._labels.triggerRepaint()
        self._iface.layerTreeView().refreshLayerSymbology(self._labels.id())
        self._expand()

    def _expand(self) -> None:
        """Show the legend of the polygons, and not that of the image."""
        from qgis.core import QgsProject

        for node in QgsProject.instance().layerTreeRoot().findLayers():
            node.setExpanded(False)  # the view may have changed it, which the node does not know
            node.setExpanded(node.layer() == self._labels)

    def _end(self) -> None:
        os._exit(0)  # QGIS would ask whether to save the project

    def _picture_then(self, name: str, step: Any) -> None:
        """Grab the window as soon as the map is drawn, then go on."""
        from qgis.PyQt.QtCore import QTimer

        def wait() -> None:
            if self._iface.mapCanvas().isDrawing():
                QTimer.singleShot(500, wait)
                return
            self._expand()
            self._iface.mainWindow().grab().save(str(self._folder / f"{name}.png"))
            self.attempt(step)

        QTimer.singleShot(4000, lambda: self.attempt(wait))

    def attempt(self, step: Any) -> None:
        """Run a step; after an error, write it down and end QGIS."""
        try:
            step()
        except Exception:
            (self._work / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            os._exit(1)


if __name__ == "__main__" and "GEOSEG_TUTORIAL" not in os.environ:
    main()
elif "GEOSEG_TUTORIAL" in os.environ:
    from qgis.PyQt.QtCore import QTimer
    from qgis.utils import iface

    session = Session(iface, *json.loads(os.environ["GEOSEG_TUTORIAL"]))
    QTimer.singleShot(3000, lambda: session.attempt(session.start))
