"""How classes look: colours that can be told apart, and styles that QGIS reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from skimage.color import rgb2lab

MAX_CATEGORIES = 256  # a legend with more entries is read by no one, and QGIS draws it slowly
# 137.508° is the golden angle; 7 and 11 have nothing in common with 24 and 20, so that all steps come up.
_REGION_COLOUR = 'color_hsl(("region" * 137.508) % 360, 30 + ("region" * 7) % 24, 54 + ("region" * 11) % 20)'

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


def smallest_distance(colors: NDArray[np.uint8]) -> float | None:
    """Return the CIELAB (1976) distance of the two colours that are most alike; None where there are no two.

    Examples
    --------
    >>> round(smallest_distance(np.array([[0, 0, 0], [255, 255, 255], [255, 255, 250]], np.uint8)), 1)
    2.5
    """
    if len(colors) < 2:
        return None
    return float(pdist(rgb2lab(colors)).min())


def border_scale(resolution: float) -> float:
    """Return the scale, as the number behind 1 :, up to which borders are drawn; 0 = always.

    A pixel of the screen, 0.28 mm wide as in OGC's standards, is 4 pixels of the scene there, and the smallest regions
    are 2 pixels of the screen wide: smaller ones would be nothing but border.

    Parameters
    ----------
    resolution : side of the scene's pixels in metres; 0 = unknown
    """
    return 4 * resolution / 0.00028


def polygon_qml(legend: Legend, aliases: Mapping[str, str], *, borders: float = 0) -> str:
    """Write the QGIS style of the polygon layer: one category per class, or the layer's own colours where too many.

    Parameters
    ----------
    legend : of the classes in the column `class`
    aliases : what QGIS calls each column
    borders : scale up to which they are drawn, as `border_scale` gives it
    """
    root = _qgis("LayerConfiguration|Symbology|Fields")
    if len(legend.names) > MAX_CATEGORIES:
        _single(root, '"color"', borders)
    else:
        renderer = ET.SubElement(root, "renderer-v2", type="categorizedSymbol", attr="class", enableorderby="0")
        categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
        values = range(1, len(legend.names) + 1) if legend.values is None else legend.values.tolist()
        for i, (color, name) in enumerate(zip(legend.colors.tolist(), legend.names, strict=True)):
            ET.SubElement(
                categories, "category", value=str(values[i]), symbol=str(i), label=name, render="true", type="long"
            )
            _fill(symbols, str(i), color, borders=borders)
    _finish(root, aliases)
    return _text(root)


def region_qml(aliases: Mapping[str, str], *, borders: float = 0) -> str:
    """Write a QGIS style in which every region has a colour of its own; parameters as in `polygon_qml`.

    The hue goes on by the golden angle from number to number, so that any few numbers in a row, which often are
    neighbours, have hues far apart; saturation and lightness vary a little. A number always has the same colour.
    """
    root = _qgis("LayerConfiguration|Symbology|Fields")
    _single(root, _REGION_COLOUR, borders)
    _finish(root, aliases)
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


def embed(database: sqlite3.Connection, layer: str, styles: Mapping[str, str], *, description: str) -> None:
    """Keep the QGIS styles of a layer inside its GeoPackage; the first one is the default, and the only one.

    Parameters
    ----------
    database : an open GeoPackage; the caller commits
    layer : its table; nothing happens where there is none
    styles : name → QML
    description : what QGIS shows about the styles
    """
    table = database.execute("SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?", (layer,)).fetchone()
    if table is None:
        return
    database.execute(_LAYER_STYLES)
    database.execute(
        "INSERT OR IGNORE INTO gpkg_contents (table_name, data_type, identifier, description, srs_id) "
        "VALUES ('layer_styles', 'attributes', 'layer_styles', 'Styles that QGIS applies', 0)"
    )
    database.execute("DELETE FROM layer_styles WHERE f_table_name = ?", (layer,))
    database.executemany(
        "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
        "styleQML, styleSLD, useAsDefault, description, owner, ui) VALUES ('', '', ?, ?, ?, ?, '', ?, ?, '', NULL)",
        [(layer, *table, name, qml, i == 0, description) for i, (name, qml) in enumerate(styles.items())],
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


def _single(root: ET.Element, expression: str, borders: float) -> None:
    """Draw all polygons alike, each in the colour that an expression gives it."""
    renderer = ET.SubElement(root, "renderer-v2", type="singleSymbol", enableorderby="0", forceraster="0")
    _fill(ET.SubElement(renderer, "symbols"), "0", (128, 128, 128), expression=expression, borders=borders)


def _finish(root: ET.Element, aliases: Mapping[str, str]) -> None:
    names = ET.SubElement(root, "aliases")
    for i, (field, alias) in enumerate(aliases.items()):
        ET.SubElement(names, "alias", field=field, name=alias, index=str(i))
    named = "concat('region ', \"region\", ', class ', \"class\")" if "region" in aliases else '"name"'
    ET.SubElement(root, "previewExpression").text = named
    ET.SubElement(root, "layerGeometryType").text = "2"


def _fill(symbols: ET.Element, name: str, color: Sequence[int], *, expression: str = "", borders: float = 0) -> None:
    """Add a fill with a hairline of its own hue, a little darker, as far out as `borders`."""
    symbol = ET.SubElement(symbols, "symbol", name=name, type="fill", alpha="1", clip_to_extent="1", force_rhr="0")
    layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    options = ET.SubElement(layer, "Option", type="Map")
    darker = [value * 4 // 5 for value in color]
    values = {
        "color": _rgba(color),
        "outline_color": _rgba(darker),
        "outline_style": "solid",
        "outline_width": "0",  # a hairline at every scale
        "outline_width_unit": "MM",
        "style": "solid",
    }
    for key, value in values.items():
        ET.SubElement(options, "Option", name=key, value=value, type="QString")
        ET.SubElement(layer, "prop", k=key, v=value)  # QGIS before 3.20 reads these
    fill, border = expression or _quoted(color), f"darker({expression}, 125)" if expression else _quoted(darker)
    defined = {"fillColor": fill, "outlineColor": border} if expression else {}
    if borders:
        # In the colour of the fill, and not gone: where two fills meet, each covers a part of a pixel of the screen,
        # and what is below the layer would shine through.
        defined["outlineColor"] = f"if(@map_scale > {borders:.0f}, {fill}, {border})"
    if defined:
        _data_defined(layer, defined)


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


def _quoted(color: Sequence[int]) -> str:
    return f"'{_rgba(color)}'"


def _rgba(color: Sequence[int]) -> str:
    return ",".join(str(value) for value in (*color, 255))


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{ET.tostring(root, encoding='unicode')}\n"
