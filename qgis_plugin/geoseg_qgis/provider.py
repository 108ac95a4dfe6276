"""The Processing provider."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithm import CommandAlgorithm
from .layers import StyleLoader
from .runner.commands import load_reference
from .runner.table import ALGORITHMS
from .settings import ICON, add_settings, remove_settings


class GeosegProvider(QgsProcessingProvider):
    """Provider with one algorithm per command of geoseg.

    Attributes
    ----------
    style_loader : StyleLoader
        Lives as long as the provider: QGIS calls it after an algorithm has ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.style_loader = StyleLoader()
        self._reference = load_reference()

    def id(self) -> str:
        return "geoseg"

    def name(self) -> str:
        return "geoseg"

    def longName(self) -> str:
        return f"geoseg {self._reference.version}"

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def svgIconPath(self) -> str:
        return ICON

    def load(self) -> bool:
        add_settings()
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        remove_settings()

    def loadAlgorithms(self) -> None:
        for algorithm in ALGORITHMS:
            if algorithm.command in self._reference.commands:
                self.addAlgorithm(CommandAlgorithm(algorithm, self._reference))

    def supportsNonFileBasedOutput(self) -> bool:
        return False  # geoseg writes files, not tables of databases

    def supportedOutputVectorLayerExtensions(self) -> list[str]:
        return ["gpkg", "fgb", "parquet"]

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        return ["tif"]

    def defaultVectorFileExtension(self, hasGeometry: bool = True) -> str:
        return "gpkg"

    def defaultRasterFileExtension(self) -> str:
        return "tif"
