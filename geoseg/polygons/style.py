"""How classes look: colours that can be told apart, and styles that QGIS reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab

MAX_CATEGORIES = 256  # a legend with more entries is read by no one, and QGIS draws it slowly

_HUE = 3.0  # a step to another hue costs this many times a step to a lighter, darker or paler colour

# As QGIS creates it (QgsOgrProvider), so that styles saved from QGIS later land in the same table.
_LAYER_STYLES = """CREATE TABLE IF NOT EXISTS "layer_styles" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, "f_table_catalog" TEXT(256), "f_table_schema" TEXT(256),
    "f_table_name" TEXT(256), "f_geometry_column" TEXT(256), "styleName" TEXT(30), "styleQML" TEXT, "styleSLD" TEXT,
    "useAsDefault" BOOLEAN, "description" TEXT, "owner" TEXT(30), "ui" TEXT(30),
    "update_time" DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))"""


@dataclass(frozen=True)
class Legend:
    """The colour and name of each class: row i belongs to class i + 1.

    Parameters
    ----------
    colors : (class, 3) uint8, red green blue
    names : what the legend says, as `class 3 (12.4 %)`
    values : (class,) int, what stands in the column `class`; None = 1, 2, 3, …
    """

    colors: NDArray[np.uint8]
    names: tuple[str, ...]
    values: NDArray[np.int64] | None = None

    @classmethod
    def of_classes(cls, colors: NDArray[np.uint8], pixels: NDArray[np.integer]) -> Legend:
        """Name each class by its number and its share of the scene.

        Parameters
        ----------
        colors : (class, 3) uint8
        pixels : (class,) int, how many pixels each class has
        """
        shares = 100 * pixels / max(int(pixels.sum()), 1)
        return cls(colors, tuple(f"class {i} ({share:.1f} %)" for i, share in enumerate(shares, start=1)))

    @property
    def hexes(self) -> list[str]:
        """The colours as `#rrggbb`."""
        return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in self.colors.tolist()]


def distinct(colors: NDArray[np.uint8], *, min_distance: float = 10.0) -> NDArray[np.uint8]:
    """Move colours apart until the eye can tell them from each other, and give the new ones back.

    Parameters
    ----------
    colors : (n, 3) uint8
    min_distance : CIELAB (1976) units; about 2 is just noticeable side by side

    Returns
    -------
    (n, 3) uint8. Earlier colours stay; a later one too close to any of them takes the nearest free colour, where
    another hue counts as further away than another lightness. Where none is free, that farthest from all others.

    Examples
    --------
    >>> distinct(np.array([[90, 120, 60], [91, 120, 60], [200, 0, 0]], np.uint8)).tolist()[0::2]
    [[90, 120, 60], [200, 0, 0]]
    """
    steps = np.arange(0, 256, 15)
    free = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.uint8)
    free_lab, wanted_lab = rgb2lab(free), rgb2lab(colors.reshape(-1, 3))
    taken, gap = np.empty((0, 3)), np.full(len(free), np.inf)  # gap: distance of each free colour to the taken ones
    result = colors.copy()
    for i, lab in enumerate(wanted_lab):
        if len(taken) and np.linalg.norm(taken - lab, axis=1).min() < min_distance:
            cost = np.where(gap >= min_distance, _unlikeness(free_lab, lab), np.inf)
            best = int(np.argmin(cost) if np.isfinite(cost).any() else np.argmax(gap))
            result[i], lab = free[best], free_lab[best]
        taken = np.vstack([taken, lab])
        gap = np.minimum(gap, np.linalg.norm(free_lab - lab, axis=1))
    return result


def polygon_qml(legend: Legend, aliases: Mapping[str, str]) -> str:
    """Write the QGIS style of the polygon layer: one category per class, or the layer's own colours where too many.

    Parameters
    ----------
    legend : of the classes in the column `class`
    aliases : what QGIS calls each column
    """
    root = _qgis("LayerConfiguration|Symbology|Fields")
    if len(legend.names) > MAX_CATEGORIES:
        renderer = ET.SubElement(root, "renderer-v2", type="singleSymbol", enableorderby="0", forceraster="0")
        _fill(ET.SubElement(renderer, "symbols"), "0", (128, 128, 128), expression='"color"')
    else:
        renderer = ET.SubElement(root, "renderer-v2", type="categorizedSymbol", attr="class", enableorderby="0")
        categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
        values = range(1, len(legend.names) + 1) if legend.values is None else legend.values.tolist()
        for i, (color, name) in enumerate(zip(legend.colors.tolist(), legend.names, strict=True)):
            ET.SubElement(
                categories, "category", value=str(values[i]), symbol=str(i), label=name, render="true", type="long"
            )
            _fill(symbols, str(i), color)
    names = ET.SubElement(root, "aliases")
    for i, (field, alias) in enumerate(aliases.items()):
        ET.SubElement(names, "alias", field=field, name=alias, index=str(i))
    ET.SubElement(root, "previewExpression").text = "concat('region ', \"region\", ', class ', \"class\")"
    ET.SubElement(root, "layerGeometryType").text = "2"
    return _text(root)


def raster_qml(legend: Legend) -> str:
    """Write the QGIS style of the class raster: its palette, with names."""
    root = _qgis("Symbology")
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    palette = ET.SubElement(renderer, "colorPalette")
    for i, (color, name) in enumerate(zip(legend.hexes, legend.names, strict=True), start=1):
        ET.SubElement(palette, "paletteEntry", value=str(i), color=color, label=name, alpha="255")
    return _text(root)


def embed(database: sqlite3.Connection, layer: str, qml: str, *, description: str) -> None:
    """Make a QGIS style the default style of a layer, inside its GeoPackage.

    Parameters
    ----------
    database : an open GeoPackage; the caller commits
    layer : its table
    qml : as `polygon_qml` writes it
    description : what QGIS shows about the style
    """
    (geometry,) = database.execute(
        "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?", (layer,)
    ).fetchone()
    database.execute(_LAYER_STYLES)
    database.execute(
        "INSERT OR IGNORE INTO gpkg_contents (table_name, data_type, identifier, description, srs_id) "
        "VALUES ('layer_styles', 'attributes', 'layer_styles', 'Styles that QGIS applies', 0)"
    )
    database.execute("DELETE FROM layer_styles WHERE f_table_name = ?", (layer,))
    database.execute(
        "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
        "styleQML, styleSLD, useAsDefault, description, owner, ui) VALUES ('', '', ?, ?, ?, ?, '', 1, ?, '', NULL)",
        (layer, geometry, layer, qml, description),
    )


def _unlikeness(candidates: NDArray[np.float64], lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how unlike each candidate is, hue counted `_HUE` times: (n, 3) and (3,) CIELAB → (n,)."""
    chroma = np.hypot(lab[1], lab[2])
    apart = candidates - lab
    towards = lab[1:] / chroma if chroma > 1 else np.zeros(2)  # grey has no hue to keep: any is another one
    radial = apart[:, 1:] @ towards
    tangential2 = np.maximum((apart[:, 1:] ** 2).sum(axis=1) - radial**2, 0)
    return np.sqrt(apart[:, 0] ** 2 + radial**2 + _HUE**2 * tangential2)


def _qgis(categories: str) -> ET.Element:
    return ET.Element("qgis", version="3.22.0", styleCategories=categories)


def _fill(symbols: ET.Element, name: str, color: Sequence[int], *, expression: str = "") -> None:
    """Add a fill with a hairline of its own hue, a little darker."""
    symbol = ET.SubElement(symbols, "symbol", name=name, type="fill", alpha="1", clip_to_extent="1", force_rhr="0")
    layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    options = ET.SubElement(layer, "Option", type="Map")
    values = {
        "color": _rgba(color),
        "outline_color": _rgba([value * 4 // 5 for value in color]),
        "outline_style": "solid",
        "outline_width": "0",  # a hairline at every scale
        "outline_width_unit": "MM",
        "style": "solid",
    }
    for key, value in values.items():
        ET.SubElement(options, "Option", name=key, value=value, type="QString")
        ET.SubElement(layer, "prop", k=key, v=value)  # QGIS before 3.20 reads these
    if expression:
        _data_defined(layer, {"fillColor": expression, "outlineColor": f"darker({expression}, 125)"})


def _data_defined(layer: ET.Element, expressions: Mapping[str, str]) -> None:
    properties = ET.SubElement(ET.SubElement(layer, "data_defined_properties"), "Option", type="Map")
    ET.SubElement(properties, "Option", name="name", value="", type="QString")
    collection = ET.SubElement(properties, "Option", name="properties", type="Map")
    for key, expression in expressions.items():
        one = ET.SubElement(collection, "Option", name=key, type="Map")
        ET.SubElement(one, "Option", name="active", value="true", type="bool")
        ET.SubElement(one, "Option", name="expression", value=expression, type="QString")
        ET.SubElement(one, "Option", name="type", value="3", type="int")  # 3 = expression
    ET.SubElement(properties, "Option", name="type", value="collection", type="QString")


def _rgba(color: Sequence[int]) -> str:
    return ",".join(str(value) for value in (*color, 255))


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{ET.tostring(root, encoding='unicode')}\n"
