"""Enums of QGIS under their present names, with those of QGIS before 3.36 as a substitute."""

from __future__ import annotations

from typing import Any

from qgis.core import Qgis, QgsProcessing, QgsProcessingParameterDefinition, QgsProcessingParameterFile
from qgis.core import QgsProcessingParameterNumber as Number


def _member(enum: str, name: str, holder: Any, former: str) -> Any:
    """Return a member of an enum of `Qgis`, or the attribute of a class that it was before."""
    return getattr(getattr(Qgis, enum, None), name, None) if hasattr(Qgis, enum) else getattr(holder, former)


ADVANCED = _member("ProcessingParameterFlag", "Advanced", QgsProcessingParameterDefinition, "FlagAdvanced")
INTEGER = _member("ProcessingNumberParameterType", "Integer", Number, "Integer")
DOUBLE = _member("ProcessingNumberParameterType", "Double", Number, "Double")
FILE = _member("ProcessingFileParameterBehavior", "File", QgsProcessingParameterFile, "File")
FOLDER = _member("ProcessingFileParameterBehavior", "Folder", QgsProcessingParameterFile, "Folder")
RASTER = _member("ProcessingSourceType", "Raster", QgsProcessing, "TypeRaster")
POLYGONS = _member("ProcessingSourceType", "VectorPolygon", QgsProcessing, "TypeVectorPolygon")
