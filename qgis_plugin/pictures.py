"""Draw the pictures of docs/qgis.md with the QGIS application, and report what it shows.

Usage: python qgis_plugin/pictures.py SCENE FOLDER [METHOD]

Needs qgis and xvfb. FOLDER receives dialog.png, result.png, install.png and report.json. geoseg must be on the PATH.
The same file is the script that QGIS runs when it has started.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

SECONDS = 240  # until QGIS is killed
_REPORT = "report.json"


def main() -> None:
    """Start QGIS without a screen, with a profile of its own, and wait until it has ended."""
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    scene, folder, *method = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    qgis = shutil.which("qgis.bin") or "qgis"  # qgis.bin: Debian, whose qgis is a script
    with tempfile.TemporaryDirectory() as home:
        settings = Path(home) / "profiles" / "default" / "QGIS" / "QGIS3.ini"
        settings.parent.mkdir(parents=True)
        settings.write_text("[PythonPlugins]\ngeoseg_qgis=true\nprocessing=true\n\n[qgis]\ncheckVersion=false\n")
        variables = {
            **os.environ,
            "QGIS_PLUGINPATH": str(Path(__file__).parent),
            "GEOSEG_PICTURES": json.dumps([str(Path(scene).resolve()), str(Path(folder).resolve()), home, *method]),
        }
        variables["PATH"] = f"/usr/bin{os.pathsep}{os.environ['PATH']}"  # QGIS takes the Python that comes first
        variables.pop("QT_QPA_PLATFORM", None)
        command = ["xvfb-run", "-a", "-s", "-screen 0 1400x1000x24", qgis, "--nologo", "--noversioncheck"]
        command += ["--profiles-path", home, "--code", __file__]
        subprocess.run(command, env=variables, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL)
    report = json.loads((Path(folder) / _REPORT).read_text(encoding="utf-8"))
    print(json.dumps(report, indent=1))
    if "error" in report:
        raise SystemExit(1)


class Session:
    """The steps in QGIS, each of which starts the next one when its picture is complete."""

    def __init__(self, iface: Any, scene: str, folder: str, home: str, method: str | None = None) -> None:
        self._iface, self._scene, self._home, self._method = iface, scene, home, method
        self._folder = Path(folder)
        self._report: dict[str, Any] = {}
        self._dialog: Any = None

    def start(self) -> None:
        """Open the dialog of the algorithm."""
        import processing

        window = self._iface.mainWindow()
        window.resize(1000, 640)
        layer = self._iface.addRasterLayer(self._scene, Path(self._scene).stem)
        self._report["menu"] = [action.text() for action in self._iface.pluginMenu().actions()]
        values = {"SCENE": layer.id(), "CLASSES": 8, "RGB": "1,2,3", "WORKERS": 1, "METHOD": self._method}
        self._dialog = processing.createAlgorithmDialog("geoseg:segment", values)
        self._dialog.resize(820, 800)
        self._dialog.show()
        self._later(2, self._run)

    def _run(self) -> None:
        self._grab(self._dialog, "dialog")
        self._dialog.algorithmFinished.connect(lambda *_: self._later(2, self._show_result))
        self._dialog.runButton().click()

    def _show_result(self) -> None:
        from qgis.core import QgsProject
        from qgis.PyQt.QtWidgets import QDockWidget

        self._dialog.close()
        layers = list(QgsProject.instance().mapLayers().values())
        self._report["layers"] = {layer.name(): layer.renderer().type() for layer in layers}
        for node in QgsProject.instance().layerTreeRoot().findLayers():
            node.setExpanded(False)  # the view has collapsed it, which the node does not know
            node.setExpanded(node.layer().renderer().type() == "categorizedSymbol")
        for dock in self._iface.mainWindow().findChildren(QDockWidget):
            if dock.objectName() == "Browser":
                dock.hide()
        self._iface.zoomFull()
        self._later(5, self._show_installation)

    def _show_installation(self) -> None:
        from geoseg_qgis.install_dialog import InstallDialog

        self._grab(self._iface.mainWindow(), "result")
        self._dialog = InstallDialog(self._iface.mainWindow())
        self._dialog.show()
        self._later(1, self._end)

    def _end(self) -> None:
        self._grab(self._dialog, "install")
        self._write_report()
        os._exit(0)  # QGIS would ask whether to save the project

    def _later(self, seconds: float, step: Any) -> None:
        from qgis.PyQt.QtCore import QTimer

        QTimer.singleShot(int(1000 * seconds), lambda: self.attempt(step))

    def attempt(self, step: Any) -> None:
        """Run a step; after an error, report it and end QGIS."""
        try:
            step()
        except Exception:
            self._report["error"] = traceback.format_exc()
            self._write_report()
            os._exit(1)

    def _grab(self, widget: Any, name: str) -> None:
        widget.grab().save(str(self._folder / f"{name}.png"))

    def _write_report(self) -> None:
        (self._folder / _REPORT).write_text(json.dumps(self._report), encoding="utf-8")


if __name__ == "__main__" and "GEOSEG_PICTURES" not in os.environ:
    main()
elif "GEOSEG_PICTURES" in os.environ:
    from qgis.PyQt.QtCore import QTimer
    from qgis.utils import iface

    session = Session(iface, *json.loads(os.environ["GEOSEG_PICTURES"]))
    QTimer.singleShot(3000, lambda: session.attempt(session.start))
