"""Open files in QGIS and print its view of them as JSON; run by `test_qgis.py` with the Python of the system.

Usage: qgis_probe.py file.gpkg|layername=labels file.fgb classes.tif picture.png

The alternative styles of vector layers are applied and drawn as well: those in a GeoPackage, or FILE.NAME.qml.
"""

import glob
import json
import os
import sys
import traceback

from qgis.core import (
    QgsApplication,
    QgsExpressionContext,
    QgsExpressionContextUtils,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtXml import QDomDocument


def open_layer(path):
    raster = path.endswith(".tif")
    return QgsRasterLayer(path, "raster") if raster else QgsVectorLayer(path, "polygons", "ogr")


def describe(layer):
    if not layer.isValid():
        return {"valid": False}
    description = {"valid": True, "renderer": layer.renderer().type(), "crs": layer.crs().authid()}
    description["legend"] = (
        [item.label() for item in layer.renderer().legendSymbolItems()]
        if is_vector(layer)
        else [entry.label for entry in layer.renderer().classes()]
    )
    if is_vector(layer):
        description["n"] = layer.featureCount()
        description["aliases"] = {field.name(): layer.attributeAlias(i) for i, field in enumerate(layer.fields())}
        description["index"] = layer.hasSpatialIndex() == 2  # QgsFeatureSource.SpatialIndexPresent
        description["geometry"] = layer.wkbType()
        description["title"] = layer.dataProvider().layerMetadata().title()
    return description


def is_vector(layer):
    return isinstance(layer, QgsVectorLayer)


def picture(layer, zoom=1.0):
    """Draw a layer, or its centre, on a magenta background, which shows gaps."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent().scaled(1 / zoom))
    settings.setOutputSize(QSize(400, 400))
    settings.setBackgroundColor(QColor(255, 0, 255))
    context = QgsExpressionContext()  # includes @map_scale, as in the map canvas
    context.appendScope(QgsExpressionContextUtils.globalScope())
    context.appendScope(QgsExpressionContextUtils.mapSettingsScope(settings))
    settings.setExpressionContext(context)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


def colors(image):
    """Return the colour at the centre of each cell of a 4 × 4 grid."""
    at = [50, 150, 250, 350]
    return [[image.pixelColor(x, y).name() for x in at] for y in at]


def all_colors(image):
    """Return the unique colours of all pixels."""
    size = image.size()
    return sorted({image.pixelColor(x, y).name() for x in range(size.width()) for y in range(size.height())})


def stored_styles(layer, path):
    """Yield the name of each style of a vector layer and a function that applies it."""
    if ".gpkg" in path:
        n, ids, names, *_ = layer.listStylesInDatabase()
        for style, name in list(zip(ids, names, strict=True))[:n]:  # followed by those of other layers
            yield name, lambda style=style: import_style(layer, layer.getStyleFromDatabase(style)[0])
        return
    for file in sorted(glob.glob(os.path.splitext(path)[0] + ".*.qml")):  # noqa: PTH207, PTH122
        yield file.split(".")[-2], lambda file=file: layer.loadNamedStyle(file)[1]


def import_style(layer, qml):
    document = QDomDocument()
    return document.setContent(qml)[0] and layer.importNamedStyle(document)[0]


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
        if layer.isValid() and is_vector(layer):
            answers[path]["far"] = all_colors(picture(layer, zoom=1.1))
            answers[path]["near"] = all_colors(picture(layer, zoom=3))
            answers[path]["styles"] = {
                name: {"applied": apply(), "renderer": layer.renderer().type(), "colors": colors(picture(layer))}
                for name, apply in stored_styles(layer, path)
            }
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
    os._exit(0)  # QGIS 3.22 without a display crashes in its cleanup
