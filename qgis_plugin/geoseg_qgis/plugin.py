"""The plugin: its provider, and its menu."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsApplication
from qgis.PyQt.QtGui import QIcon

from .provider import GeosegProvider
from .settings import ICON


class GeosegPlugin:
    """The plugin, as QGIS expects it.

    Parameters
    ----------
    iface : QgisInterface or None
        None in qgis_process.
    """

    def __init__(self, iface: Any) -> None:
        self._iface = iface
        self._provider: GeosegProvider | None = None
        self._menu: Any = None

    def initProcessing(self) -> None:
        """Add the provider."""
        self._provider = GeosegProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        """Add the provider and the menu Plugins > geoseg."""
        self.initProcessing()
        self._menu = self._iface.pluginMenu().addMenu(QIcon(ICON), "geoseg")
        self._menu.addAction(QIcon(ICON), "Segment raster…").triggered.connect(self._segment)
        self._menu.addAction("Install geoseg…").triggered.connect(self._install)
        self._menu.addAction("Settings…").triggered.connect(self._settings)

    def unload(self) -> None:
        """Remove what was added."""
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
        if self._menu is not None:
            self._menu.deleteLater()

    def _segment(self) -> None:
        import processing

        processing.execAlgorithmDialog("geoseg:segment")

    def _install(self) -> None:
        from .install_dialog import InstallDialog

        InstallDialog(self._iface.mainWindow()).exec()

    def _settings(self) -> None:
        self._iface.showOptionsDialog(self._iface.mainWindow(), "processingOptions")
