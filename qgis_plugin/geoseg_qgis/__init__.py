"""QGIS plugin: geoseg as algorithms of Processing. It runs the command line of geoseg and never imports geoseg."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .plugin import GeosegPlugin


def classFactory(iface: Any) -> GeosegPlugin:  # QGIS calls it by this name
    """Return the plugin; QGIS calls this when it loads the plugin."""
    from .plugin import GeosegPlugin

    return GeosegPlugin(iface)
