"""Parameters of QGIS for the options of a command, and values of options from those parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterBand,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsVectorLayer,
)

from .compat import ADVANCED, DOUBLE, FILE, FOLDER, INTEGER, POLYGONS, RASTER
from .layers import pixel_window, raster_path, write_area, write_vector
from .runner.commands import Option, Reference
from .runner.table import FURTHER, Shown

_NOT_A_FORMAT = ["-"]  # so that QGIS always writes a file of one layer
_TYPES = {"bands": "Ints", "band": "Int", "integer": "Int", "number": "Double", "flag": "Bool", "choice": "EnumString"}
EXTENT, CONFIG_FILE = "EXTENT", "CONFIG_FILE"


@dataclass(frozen=True)
class Given:
    """The values of the parameters of one run.

    Parameters
    ----------
    algorithm : QgsProcessingAlgorithm
    parameters : dict
    context : QgsProcessingContext
    feedback : QgsProcessingFeedback
    """

    algorithm: QgsProcessingAlgorithm
    parameters: dict[str, Any]
    context: QgsProcessingContext
    feedback: QgsProcessingFeedback

    def is_set(self, name: str) -> bool:
        """Return whether a parameter has a value."""
        return self.parameters.get(name) not in (None, "", [])

    def read(self, kind: str, name: str) -> Any:
        """Return the value of a parameter as a type of QGIS, such as "RasterLayer"."""
        return getattr(self.algorithm, f"parameterAs{kind}")(self.parameters, name, self.context)


def definitions(shown: Shown, option: Option, reference: Reference) -> list[QgsProcessingParameterDefinition]:
    """Return the parameters of QGIS for an option; an area of interest and a configuration have two.

    Parameters
    ----------
    shown : Shown
    option : Option
    reference : Reference
        For the names of the configurations.
    """
    made = _MAKERS[shown.widget](shown, option, reference)
    for definition in made:
        if not definition.help():
            definition.setHelp(option.help)
        if shown.advanced:
            definition.setFlags(definition.flags() | ADVANCED)
    return made


def further() -> QgsProcessingParameterDefinition:
    """Return the parameter for options that have none of their own."""
    definition = QgsProcessingParameterString(FURTHER.upper(), "Further options", optional=True)
    definition.setHelp("Options of the command line that are not listed here, such as --scheduler tcp://host:8786.")
    definition.setFlags(definition.flags() | ADVANCED)
    return definition


def value_of(shown: Shown, given: Given) -> Any:
    """Return the value of an option; None = not given.

    Raises
    ------
    QgsProcessingException
        If a layer cannot be passed to geoseg.
    """
    name = shown.name.upper()
    special: dict[str, Callable[[Shown, Given], Any]] = {
        "area": _area,
        "configuration": _configuration,
        "window": _window,
        "reference": _reference,
    }
    if shown.widget in special:
        return special[shown.widget](shown, given)
    if shown.widget in ("vector_output", "raster_output"):
        return given.read("OutputLayer", name) if given.is_set(name) else None
    if shown.widget == "file_output":
        return given.read("FileOutput", name) if given.is_set(name) else None
    if not given.is_set(name):
        return None
    if shown.widget == "raster":
        return raster_path(_layer(given, name, shown.label), shown.label)
    if shown.widget == "classes":
        return given.read("Int", name) or "auto"
    kind = {
        "bands": "Ints",
        "band": "Int",
        "integer": "Int",
        "number": "Double",
        "flag": "Bool",
        "choice": "EnumString",
    }
    if shown.widget == "bands" and isinstance(given.parameters[name], str):  # from qgis_process; QGIS takes 1;2 only
        return [band.strip() for band in given.parameters[name].replace(";", ",").split(",")]
    if shown.widget == "field":
        return given.parameters[name][0] if isinstance(given.parameters[name], list) else given.read("String", name)
    return given.read(kind.get(shown.widget, "String"), name)


def _layer(given: Given, name: str, label: str) -> Any:
    layer = given.read("Layer", name)
    if layer is None:
        raise QgsProcessingException(
            f"{label} is {given.parameters[name]}, which QGIS cannot open. Choose a layer or a file that exists."
        )
    return layer


def _area(shown: Shown, given: Given) -> str | None:
    name = shown.name.upper()
    has_polygons, has_extent = given.is_set(name), given.is_set(EXTENT)
    if has_polygons and has_extent:
        raise QgsProcessingException(
            "there are two areas of interest, polygons and an extent; expected at most one. Empty one of them."
        )
    if has_polygons:
        path = given.algorithm.parameterAsCompatibleSourceLayerPath(
            given.parameters, name, given.context, _NOT_A_FORMAT, "gpkg", given.feedback
        )
        return str(path)
    if has_extent:
        crs = given.read("ExtentCrs", EXTENT)
        return write_area(given.read("ExtentGeometry", EXTENT), crs, given.context)
    return None


def _configuration(shown: Shown, given: Given) -> str | None:
    name = shown.name.upper()
    if given.is_set(name) and given.is_set(CONFIG_FILE):
        raise QgsProcessingException(
            "there are two configurations, by name and by file; expected at most one. Empty one of them."
        )
    if given.is_set(CONFIG_FILE):
        return str(given.read("File", CONFIG_FILE))
    return str(given.read("EnumString", name)) if given.is_set(name) else None


def _window(shown: Shown, given: Given) -> list[int] | None:
    name = shown.name.upper()
    if not given.is_set(name):
        return None
    layer = _layer(given, "SCENE", "Raster")
    crs: QgsCoordinateReferenceSystem = layer.crs()
    extent = given.algorithm.parameterAsExtent(given.parameters, name, given.context, crs)
    return pixel_window(layer, extent)


def _reference(shown: Shown, given: Given) -> str:
    layer = _layer(given, shown.name.upper(), shown.label)
    if isinstance(layer, QgsVectorLayer):
        return write_vector(layer, given.context)
    return raster_path(layer, shown.label)


def _make_area(shown: Shown, _option: Option, _reference: Reference) -> list[QgsProcessingParameterDefinition]:
    name = shown.name.upper()
    extent = QgsProcessingParameterExtent(EXTENT, "Area of interest (extent)", optional=True)
    extent.setHelp("Treat pixels outside this extent as nodata.")
    return [extent, QgsProcessingParameterFeatureSource(name, shown.label, [POLYGONS], optional=True)]


def _make_configuration(shown: Shown, _option: Option, reference: Reference) -> list[QgsProcessingParameterDefinition]:
    names = list(reference.configurations)
    by_name = QgsProcessingParameterEnum(shown.name.upper(), shown.label, names, optional=True, usesStaticStrings=True)
    by_name.setHelp("Use the parameters for this sensor or method; other parameters take precedence over it.")
    by_file = QgsProcessingParameterFile(
        CONFIG_FILE, "Configuration file", FILE, optional=True, fileFilter="YAML files (*.yaml *.yml)"
    )
    by_file.setHelp("Use the configuration in this YAML file; other parameters take precedence over it.")
    by_file.setFlags(by_file.flags() | ADVANCED)
    return [by_name, by_file]


def _make_number(kind: Any) -> Callable[..., list[QgsProcessingParameterDefinition]]:
    def make(shown: Shown, option: Option, _reference: Reference) -> list[QgsProcessingParameterDefinition]:
        return [
            QgsProcessingParameterNumber(
                shown.name.upper(), shown.label, kind, optional=not option.required, minValue=0
            )
        ]

    return make


def _make_file_output(shown: Shown, option: Option, _reference: Reference) -> list[QgsProcessingParameterDefinition]:
    is_optional = shown.advanced and not option.required
    return [
        QgsProcessingParameterFileDestination(
            shown.name.upper(), shown.label, shown.detail, optional=is_optional, createByDefault=not is_optional
        )
    ]


def _make_layer_output(make: Any) -> Callable[..., list[QgsProcessingParameterDefinition]]:
    def made(shown: Shown, option: Option, _reference: Reference) -> list[QgsProcessingParameterDefinition]:
        needed = option.required
        return [make(shown.name.upper(), shown.label, optional=not needed, createByDefault=needed)]

    return made


def _make_bands(allow_multiple: bool) -> Callable[..., list[QgsProcessingParameterDefinition]]:
    def make(shown: Shown, _option: Option, _reference: Reference) -> list[QgsProcessingParameterDefinition]:
        parent = shown.detail.upper()
        name = shown.name.upper()
        return [
            QgsProcessingParameterBand(
                name, shown.label, parentLayerParameterName=parent, optional=True, allowMultiple=allow_multiple
            )
        ]

    return make


def _make_choice(shown: Shown, option: Option, _reference: Reference) -> list[QgsProcessingParameterDefinition]:
    name, choices = shown.name.upper(), list(option.choices)
    return [QgsProcessingParameterEnum(name, shown.label, choices, optional=True, usesStaticStrings=True)]


def _make_file(behavior: Any) -> Callable[..., list[QgsProcessingParameterDefinition]]:
    def make(shown: Shown, option: Option, _reference: Reference) -> list[QgsProcessingParameterDefinition]:
        made = QgsProcessingParameterFile(shown.name.upper(), shown.label, behavior, optional=not option.required)
        if shown.detail:
            made.setFileFilter(shown.detail)
        return [made]

    return make


_MAKERS: dict[str, Callable[[Shown, Option, Reference], list[QgsProcessingParameterDefinition]]] = {
    "raster": lambda shown, option, _: [
        QgsProcessingParameterRasterLayer(shown.name.upper(), shown.label, optional=not option.required)
    ],
    "reference": lambda shown, option, _: [
        QgsProcessingParameterMapLayer(
            shown.name.upper(), shown.label, optional=not option.required, types=[RASTER, POLYGONS]
        )
    ],
    "field": lambda shown, _, __: [
        QgsProcessingParameterField(
            shown.name.upper(), shown.label, parentLayerParameterName=shown.detail.upper(), optional=True
        )
    ],
    "window": lambda shown, _, __: [QgsProcessingParameterExtent(shown.name.upper(), shown.label, optional=True)],
    "flag": lambda shown, _, __: [QgsProcessingParameterBoolean(shown.name.upper(), shown.label, defaultValue=False)],
    "text": lambda shown, option, _: [
        QgsProcessingParameterString(shown.name.upper(), shown.label, optional=not option.required)
    ],
    "area": _make_area,
    "configuration": _make_configuration,
    "bands": _make_bands(True),
    "band": _make_bands(False),
    "choice": _make_choice,
    "classes": _make_number(INTEGER),
    "integer": _make_number(INTEGER),
    "number": _make_number(DOUBLE),
    "file": _make_file(FILE),
    "folder": _make_file(FOLDER),
    "file_output": _make_file_output,
    "vector_output": _make_layer_output(QgsProcessingParameterVectorDestination),
    "raster_output": _make_layer_output(QgsProcessingParameterRasterDestination),
}
