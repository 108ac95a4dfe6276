"""Layers of QGIS as files for geoseg, and files of geoseg as styled layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingUtils,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorFileWriter,
    QgsVectorLayer,
)


class StyleLoader(QgsProcessingLayerPostProcessorInterface):
    """Load the style that geoseg has written into or beside a file."""

    def postProcessLayer(self, layer, context, feedback) -> None:  # types of QGIS
        """Load the style of a layer that was added to the project."""
        message, is_loaded = layer.loadDefaultStyle()
        if not is_loaded:
            feedback.pushWarning(f"the style of {layer.name()} cannot be loaded: {message}")
        layer.triggerRepaint()


def raster_path(layer: QgsMapLayer, label: str) -> str:
    """Return the file or address of a raster layer.

    Raises
    ------
    QgsProcessingException
        If GDAL does not read it.
    """
    if not isinstance(layer, QgsRasterLayer) or layer.providerType() != "gdal":
        kind = layer.providerType() if isinstance(layer, QgsRasterLayer) else "vector"
        raise QgsProcessingException(
            f"{label} is the layer {layer.name()} of type {kind}; expected a raster file. Save it first: right-click "
            f"the layer, Export > Save As…, GeoTIFF."
        )
    return layer.source().partition("|")[0]


def write_area(geometry: QgsGeometry, crs: QgsCoordinateReferenceSystem, context: QgsProcessingContext) -> str:
    """Write a polygon to a temporary GeoPackage and return its path."""
    layer = QgsVectorLayer("Polygon", "area", "memory")
    layer.setCrs(crs)
    feature = QgsFeature()
    feature.setGeometry(geometry)
    layer.dataProvider().addFeature(feature)
    return write_vector(layer, context)


def write_vector(layer: QgsVectorLayer, context: QgsProcessingContext) -> str:
    """Write the features of a layer to a temporary GeoPackage and return its path: geoseg reads files of one layer."""
    path = QgsProcessingUtils.generateTempFilename("polygons.gpkg")
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    options.layerName = "polygons"
    error = QgsVectorFileWriter.writeAsVectorFormatV3(layer, path, context.transformContext(), options)
    if error[0] != QgsVectorFileWriter.WriterError.NoError:
        raise QgsProcessingException(f"{layer.name()} cannot be written to {path}: {error[1]}. Check the disk.")
    return path


def pixel_window(layer: QgsRasterLayer, extent: QgsRectangle) -> list[int]:
    """Return the pixels of a raster in an extent in its CRS, as column, row, width and height.

    Raises
    ------
    QgsProcessingException
        If there are none.
    """
    full = layer.extent()
    inside = full.intersect(extent)
    if inside.isEmpty():
        raise QgsProcessingException(
            f"the window is outside of {layer.name()}, or smaller than a pixel. Draw it on the raster."
        )
    cols, rows = layer.width(), layer.height()
    left = int((inside.xMinimum() - full.xMinimum()) / full.width() * cols)
    top = int((full.yMaximum() - inside.yMaximum()) / full.height() * rows)
    width = max(round(inside.width() / full.width() * cols), 1)
    height = max(round(inside.height() / full.height() * rows), 1)
    return [left, top, min(width, cols - left), min(height, rows - top)]


@dataclass(frozen=True)
class Further:
    """Layers of a GeoPackage besides the polygons.

    Parameters
    ----------
    has_failed : bool
        Whether there is a layer of failed tiles.
    has_classes : bool
        Whether there is a layer of dissolved classes.
    """

    has_failed: bool
    has_classes: bool


def load_results(context: QgsProcessingContext, loader: StyleLoader, scene: str, further: Further) -> None:
    """Name the layers that QGIS loads when the algorithm ends, have their styles loaded, and add further layers.

    Parameters
    ----------
    context : QgsProcessingContext
        Its layers to load are replaced.
    loader : StyleLoader
    scene : str
        Name of the input, with which the names of the layers begin.
    further : Further
    """
    layers = {}
    for source, details in context.layersToLoadOnCompletion().items():
        details.setPostProcessor(loader)
        details.name = f"{scene}: {details.name.lower()}"
        details.forceName = True  # else the name of the layer in the file, which is the same for all
        if Path(source).suffix.lower() != ".gpkg":
            layers[source] = details
            continue
        layers[f"{source}|layername=labels"] = details
        for name, title, exists in (
            ("classes", "dissolved classes", further.has_classes),
            ("failed_tiles", "failed tiles", further.has_failed),
        ):
            if exists:
                more = QgsProcessingContext.LayerDetails(f"{scene}: {title}", details.project)
                more.forceName = True
                more.setPostProcessor(loader if name == "classes" else None)
                layers[f"{source}|layername={name}"] = more
    context.setLayersToLoadOnCompletion(layers)
