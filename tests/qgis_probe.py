"""Open files in QGIS and tell as JSON what it made of them; run by `test_qgis.py` with the system's own Python.

Usage: qgis_probe.py file.gpkg|layername=labels file.fgb classes.tif picture.png
"""

import json
import os
import sys
import traceback

from qgis.core import (
    QgsApplication,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def open_layer(path):
    raster = path.endswith(".tif")
    return QgsRasterLayer(path, "raster") if raster else QgsVectorLayer(path, "polygons", "ogr")


def describe(layer):
    if not layer.isValid():
        return {"valid": False}
    told = {"valid": True, "renderer": layer.renderer().type(), "crs": layer.crs().authid()}
    told["legend"] = (
        [item.label() for item in layer.renderer().legendSymbolItems()]
        if is_vector(layer)
        else [entry.label for entry in layer.renderer().classes()]
    )
    if is_vector(layer):
        told["n"] = layer.featureCount()
        told["aliases"] = {field.name(): layer.attributeAlias(i) for i, field in enumerate(layer.fields())}
        told["index"] = layer.hasSpatialIndex() == 2  # QgsFeatureSource.SpatialIndexPresent
        told["geometry"] = layer.wkbType()
        told["title"] = layer.dataProvider().layerMetadata().title()
    return told


def is_vector(layer):
    return isinstance(layer, QgsVectorLayer)


def picture(layer):
    """Draw a layer on magenta, so that whatever is not covered shows."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(400, 400))
    settings.setBackgroundColor(QColor(255, 0, 255))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


def colors(image):
    """Return the colour at the middle of each cell of a 4 × 4 grid."""
    at = [50, 150, 250, 350]
    return [[image.pixelColor(x, y).name() for x in at] for y in at]


def main(paths):
    warnings = []
    QgsApplication.messageLog().messageReceived.connect(
        lambda text, tag, level: warnings.append(f"{tag}: {text}") if level in (1, 2) else None
    )
    answers = {}
    for path in paths[:-1]:
        layer = open_layer(path)
        answers[path] = describe(layer)
        if layer.isValid():
            image = picture(layer)
            answers[path]["colors"] = colors(image)
            image.save(f"{paths[-1]}.{len(answers)}.png")
    answers["warnings"] = warnings
    sys.stdout.write(json.dumps(answers) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    try:
        main(sys.argv[1:])
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(0)  # QGIS 3.22 without a screen crashes in its own clearing up
