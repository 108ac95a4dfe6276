"""Colours and legends of classes, and QGIS styles (QML) of polygons and rasters."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab

MAX_CATEGORIES = 256  # longer legends are unreadable, and QGIS draws them slowly

# 137.508° is the golden angle; 7 and 24, 11 and 20 are coprime, so that all remainders occur.
_REGION_COLOR = 'color_hsl(("region" * 137.508) % 360, 30 + ("region" * 7) % 24, 54 + ("region" * 11) % 20)'

_HUE_WEIGHT = 3.0  # of a difference in hue, relative to one in lightness or chroma

# The schema that QGIS itself creates (QgsOgrProvider), so that styles saved from QGIS are stored in the same table.
_LAYER_STYLES = """CREATE TABLE IF NOT EXISTS "layer_styles" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, "f_table_catalog" TEXT(256), "f_table_schema" TEXT(256),
    "f_table_name" TEXT(256), "f_geometry_column" TEXT(256), "styleName" TEXT(30), "styleQML" TEXT, "styleSLD" TEXT,
    "useAsDefault" BOOLEAN, "description" TEXT, "owner" TEXT(30), "ui" TEXT(30),
    "update_time" DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))"""


@dataclass(frozen=True)
class Legend:
    """Colour and name of each class; row i describes class i + 1.

    Parameters
    ----------
    colors : (class, 3) uint8
        Red, green, blue.
    names : tuple of str
        Labels of the legend, such as `class 3 (12.4 %)`.
    values : (class,) int64 or None
        Values of the column `class`; None = 1, 2, 3, …
    """

    colors: NDArray[np.uint8]
    names: tuple[str, ...]
    values: NDArray[np.int64] | None = None

    @classmethod
    def of_classes(cls, colors: NDArray[np.uint8], pixels: NDArray[np.integer]) -> Legend:
        """Return a legend that names each class by its number and its share of the scene.

        Parameters
        ----------
        colors : (class, 3) uint8
        pixels : (class,) int
            Number of pixels of each class.
        """
        shares = 100 * pixels / max(int(pixels.sum()), 1)
        return cls(colors, tuple(f"class {i} ({share:.1f} %)" for i, share in enumerate(shares, start=1)))

    @property
    def hexes(self) -> list[str]:
        """Colours as `#rrggbb`."""
        return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in self.colors.tolist()]


def separate_colors(colors: NDArray[np.uint8], *, min_distance: float = 10.0) -> NDArray[np.uint8]:
    """Return similar colours with the minimum distance from each other.

    Colours are processed in order. One that is too close to an earlier colour is replaced by the nearest free colour,
    where a difference in hue counts more than one in lightness or chroma. If no colour is free, it is replaced by the
    one that is farthest from all earlier colours.

    Parameters
    ----------
    colors : (n, 3) uint8
    min_distance : float
        Euclidean distance in CIELAB (CIE 1976 colour difference); about 2 is just noticeable.

    Returns
    -------
    (n, 3) uint8

    Examples
    --------
    >>> separate_colors(np.array([[90, 120, 60], [91, 120, 60], [200, 0, 0]], np.uint8)).tolist()[0::2]
    [[90, 120, 60], [200, 0, 0]]
    """
    steps = np.arange(0, 256, 15)
    free = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.uint8)
    free_lab, colors_lab = rgb2lab(free), rgb2lab(colors.reshape(-1, 3))
    used, gap = np.empty((0, 3)), np.full(len(free), np.inf)  # gap: distance of each free colour from the used ones
    result = colors.copy()
    for i, lab in enumerate(colors_lab):
        if len(used) and np.linalg.norm(used - lab, axis=1).min() < min_distance:
            cost = np.where(gap >= min_distance, _color_distances(free_lab, lab), np.inf)
            best = int(np.argmin(cost) if np.isfinite(cost).any() else np.argmax(gap))
            result[i], lab = free[best], free_lab[best]
        used = np.vstack([used, lab])
        gap = np.minimum(gap, np.linalg.norm(free_lab - lab, axis=1))
    return result


def min_color_distance(colors: NDArray[np.uint8]) -> float | None:
    """Return the smallest CIELAB (1976) distance between two colours; None for fewer than two colours.

    Parameters
    ----------
    colors : (n, 3) uint8

    Examples
    --------
    >>> round(min_color_distance(np.array([[0, 0, 0], [255, 255, 255], [255, 255, 250]], np.uint8)), 1)
    2.5
    """
    if len(colors) < 2:
        return None
    lab = rgb2lab(colors)
    return min(float(np.linalg.norm(lab[i + 1 :] - lab[i], axis=1).min()) for i in range(len(lab) - 1))


def border_scale(resolution: float) -> float:
    """Return the denominator of the smallest map scale at which polygon borders are drawn; 0 = at every scale.

    At this scale a screen pixel of 0.28 mm (OGC Symbology Encoding) covers 4 pixels of the scene. At smaller scales the
    smallest regions would consist of their borders only.

    Parameters
    ----------
    resolution : float
        Side of the scene's pixels in metres; 0 = unknown.
    """
    return 4 * resolution / 0.00028


def polygon_qml(legend: Legend, aliases: Mapping[str, str], *, borders: float = 0) -> str:
    """Return the QGIS style of the polygon layer: one category per class, in its colour.

    With more than `MAX_CATEGORIES` classes, one symbol takes the colours from the column `color`.

    Parameters
    ----------
    legend : Legend
        Of the classes in the column `class`.
    aliases : dict of str to str
        Column → name displayed by QGIS.
    borders : float
        Map scale from `border_scale`; 0 = borders at every scale.
    """
    root = _new_style("LayerConfiguration|Symbology|Fields")
    if len(legend.names) > MAX_CATEGORIES:
        _add_single_symbol(root, '"color"', borders)
    else:
        renderer = ET.SubElement(root, "renderer-v2", type="categorizedSymbol", attr="class", enableorderby="0")
        categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
        values = range(1, len(legend.names) + 1) if legend.values is None else legend.values.tolist()
        for i, (color, name) in enumerate(zip(legend.colors.tolist(), legend.names, strict=True)):
            ET.SubElement(
                categories, "category", value=str(values[i]), symbol=str(i), label=name, render="true", type="long"
            )
            _add_fill(symbols, str(i), color, borders=borders)
    _add_fields(root, aliases)
    return _to_text(root)


def name_qml(colors: Mapping[str, Sequence[int]], aliases: Mapping[str, str], *, borders: float = 0) -> str:
    """Return the QGIS style of polygons with names: one category per name, in its colour.

    Parameters
    ----------
    colors : dict of str to (int, int, int)
        Value of the column `name` → red, green, blue.
    aliases : dict of str to str
        Column → name displayed by QGIS.
    borders : float
        As in `polygon_qml`.
    """
    root = _new_style("LayerConfiguration|Symbology|Fields")
    renderer = ET.SubElement(root, "renderer-v2", type="categorizedSymbol", attr="name", enableorderby="0")
    categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
    for i, (name, color) in enumerate(colors.items()):
        ET.SubElement(categories, "category", value=name, symbol=str(i), label=name, render="true", type="string")
        _add_fill(symbols, str(i), color, borders=borders)
    _add_fields(root, aliases)
    return _to_text(root)


def region_qml(aliases: Mapping[str, str], *, borders: float = 0) -> str:
    """Return a QGIS style in which every region has its own colour.

    The hue advances by the golden angle from number to number, so that consecutive numbers, which are often neighbours,
    have different hues; saturation and lightness vary slightly. The colour depends on the number only.

    Parameters
    ----------
    aliases : dict of str to str
        Column → name displayed by QGIS.
    borders : float
        As in `polygon_qml`.
    """
    root = _new_style("LayerConfiguration|Symbology|Fields")
    _add_single_symbol(root, _REGION_COLOR, borders)
    _add_fields(root, aliases)
    return _to_text(root)


def color_qml(aliases: Mapping[str, str], *, borders: float = 0) -> str:
    """Return a QGIS style that takes the colours from the column `color`; the parameters are those of `polygon_qml`."""
    root = _new_style("LayerConfiguration|Symbology|Fields")
    _add_single_symbol(root, '"color"', borders)
    _add_fields(root, aliases)
    return _to_text(root)


def default_style(path: Path, layer: str | None) -> str | None:
    """Return the QML that QGIS applies to a layer of a GeoPackage; None where there is none."""
    if layer is None or path.suffix.lower() != ".gpkg":
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            query = "SELECT styleQML FROM layer_styles WHERE f_table_name = ? AND useAsDefault"
            found = database.execute(query, (layer,)).fetchone()
    except sqlite3.Error:
        return None
    return None if found is None else str(found[0])


def raster_qml(legend: Legend) -> str:
    """Return the QGIS style of the class raster: a palette with names.

    Parameters
    ----------
    legend : Legend
    """
    root = _new_style("Symbology")
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    palette = ET.SubElement(renderer, "colorPalette")
    for i, (color, name) in enumerate(zip(legend.hexes, legend.names, strict=True), start=1):
        ET.SubElement(palette, "paletteEntry", value=str(i), color=color, label=name, alpha="255")
    return _to_text(root)


def embed_styles(database: sqlite3.Connection, layer: str, styles: Mapping[str, str], *, description: str) -> None:
    """Store the QGIS styles of a layer in its GeoPackage and make the first one the default.

    Parameters
    ----------
    database : sqlite3.Connection
        An open GeoPackage; the caller commits.
    layer : str
        Name of the table. If it does not exist, nothing is stored.
    styles : dict of str to str
        Name → QML.
    description : str
        Displayed by QGIS.
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


def _color_distances(candidates: NDArray[np.float64], lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of each candidate from a colour with weighted hue: (n, 3) and (3,) CIELAB → (n,)."""
    chroma = np.hypot(lab[1], lab[2])
    difference = candidates - lab
    hue = lab[1:] / chroma if chroma > 1 else np.zeros(2)  # grey has no hue: every chroma is a difference in hue
    along = candidates[:, 1:] @ hue  # chroma in the direction of the colour; below 0 = the complementary hue
    radial, opposite = np.maximum(along, 0) - hue @ lab[1:], np.minimum(along, 0)
    tangential2 = np.maximum((candidates[:, 1:] ** 2).sum(axis=1) - along**2, 0)
    return np.sqrt(difference[:, 0] ** 2 + radial**2 + _HUE_WEIGHT**2 * (tangential2 + opposite**2))


def _new_style(categories: str) -> ET.Element:
    return ET.Element("qgis", version="3.22.0", styleCategories=categories)


def _add_single_symbol(root: ET.Element, expression: str, borders: float) -> None:
    """Add a renderer with one symbol whose colour is the value of an expression."""
    renderer = ET.SubElement(root, "renderer-v2", type="singleSymbol", enableorderby="0", forceraster="0")
    _add_fill(ET.SubElement(renderer, "symbols"), "0", (128, 128, 128), expression=expression, borders=borders)


def _add_fields(root: ET.Element, aliases: Mapping[str, str]) -> None:
    names = ET.SubElement(root, "aliases")
    for i, (field, alias) in enumerate(aliases.items()):
        ET.SubElement(names, "alias", field=field, name=alias, index=str(i))
    label = "concat('region ', \"region\", ', class ', \"class\")" if "region" in aliases else '"name"'
    ET.SubElement(root, "previewExpression").text = label
    ET.SubElement(root, "layerGeometryType").text = "2"


def _add_fill(
    symbols: ET.Element, name: str, color: Sequence[int], *, expression: str = "", borders: float = 0
) -> None:
    """Add a fill symbol with a hairline in a darker shade; at smaller scales than `borders`, in the fill colour."""
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
        # The outline is not removed: where two antialiased fills meet, the layer below would be visible between them.
        defined["outlineColor"] = f"if(@map_scale > {borders:.0f}, {fill}, {border})"
    if defined:
        _add_expressions(layer, defined)


def _add_expressions(layer: ET.Element, expressions: Mapping[str, str]) -> None:
    properties = ET.SubElement(ET.SubElement(layer, "data_defined_properties"), "Option", type="Map")
    ET.SubElement(properties, "Option", name="name", value="", type="QString")
    collection = ET.SubElement(properties, "Option", name="properties", type="Map")
    for key, expression in expressions.items():
        item = ET.SubElement(collection, "Option", name=key, type="Map")
        ET.SubElement(item, "Option", name="active", value="true", type="bool")
        ET.SubElement(item, "Option", name="expression", value=expression, type="QString")
        ET.SubElement(item, "Option", name="type", value="3", type="int")  # 3 = expression
    ET.SubElement(properties, "Option", name="type", value="collection", type="QString")


def _quoted(color: Sequence[int]) -> str:
    return f"'{_rgba(color)}'"


def _rgba(color: Sequence[int]) -> str:
    return ",".join(str(value) for value in (*color, 255))


def _to_text(root: ET.Element) -> str:
    ET.indent(root)
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{ET.tostring(root, encoding='unicode')}\n"
