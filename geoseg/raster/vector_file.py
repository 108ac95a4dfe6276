"""Give GDAL a vector file of which it reads geometry, and nothing else.

Formats are recognised by their content, whatever a file is called. GDAL reads a link or a copy in a folder of its own:
of text formats a copy of the elements that are known, of binary formats the file itself, without the files beside it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import pyogrio

from geoseg.errors import RasterError, shorten
from geoseg.raster.raster_file import head_of, is_address, parse_xml

_EXPECTED = "GeoPackage, Shapefile, FlatGeobuf, GeoJSON, KML or GML"
_MAX_TEXT = 256 * 2**20  # bytes; in memory it takes ten times as much
_SHAPEFILE = (".shp", ".shx", ".dbf", ".prj", ".cpg")
_GEOPACKAGE_IDS = (b"GPKG", b"GP10", b"GP11")
_SYSTEM_TABLES = ("gpkg_", "rtree_", "ogr_", "sqlite_", "gdal_")
_KINDS = "SELECT name, type FROM pragma_table_list WHERE schema = 'main'"
_SQL_SECONDS = 10.0
_SQL_STEPS = 10_000  # of SQLite's machine between two checks of the clock
_CRS_NAME = re.compile(r"(urn:(x-)?ogc:def:crs:)?[A-Za-z]+:[0-9.]*:?[A-Za-z0-9]+")
_CRS_ADDRESS = re.compile(r"https?://www\.opengis\.net/(def/crs/[\w./]+|gml/srs/[\w./]+#\w+)")
_GEOMETRIES = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection")
# Elements of KML and GML that refer to other files; not passed on, with all that is in them.
_XML_OMITTED = (
    *("NetworkLink", "NetworkLinkControl", "Style", "StyleMap", "styleUrl", "Link", "Model"),
    *("GroundOverlay", "ScreenOverlay", "PhotoOverlay", "Tour"),
)
_XML_DEPTH = 64


@dataclass(frozen=True)
class VectorFile:
    """A checked vector file.

    Parameters
    ----------
    path : Path
        What GDAL may open, until the context ends.
    layers : tuple of str
        Names of the layers with geometry.
    """

    path: Path
    layers: tuple[str, ...]


@contextmanager
def opened_vector(path: Path, *, with_fields: bool = False) -> Iterator[VectorFile]:
    """Return a context manager with a vector file that GDAL may open.

    Parameters
    ----------
    path : Path
    with_fields : bool
        Whether the attributes of GeoJSON are kept. Of other formats they are, and the caller does not read them.

    Raises
    ------
    RasterError
        If there is no such file, its format is not one of those that are read, or it is damaged.
    """
    try:
        head = head_of(path)
    except (OSError, ValueError) as err:
        raise RasterError(f"the file {shorten(path)} cannot be read: {shorten(err)}. Check the name.") from err
    with TemporaryDirectory(prefix="geoseg-") as folder:
        if head.startswith(b"SQLite format 3\0") and (head[68:72] in _GEOPACKAGE_IDS or path.suffix.lower() == ".gpkg"):
            layers = _tables(path)
            yield VectorFile(_linked(path, Path(folder) / "layers.gpkg"), layers)
            return
        if head.startswith(b"fgb") and head[4:7] == b"fgb":
            checked = _linked(path, Path(folder) / "layers.fgb")
        elif head.startswith(b"\0\0\x27\x0a"):
            checked = _linked_shapefile(path, Path(folder))
        elif (text := head.removeprefix(b"\xef\xbb\xbf").lstrip()).startswith(b"{"):
            checked = Path(folder) / "layers.geojson"
            checked.write_text(_geojson(path, with_fields=with_fields), encoding="utf-8")
        elif text.startswith(b"<"):
            suffix, content = _xml(path)
            checked = Path(folder) / f"layers{suffix}"
            checked.write_text(content, encoding="utf-8")
        else:
            raise _unknown(path)
        yield VectorFile(checked, _layers(checked))


def _unknown(path: Path) -> RasterError:
    return RasterError(
        f"{path} cannot be read: its content is in no vector format that geoseg reads; expected {_EXPECTED}. Convert "
        f"it first: ogr2ogr polygons.gpkg {path}"
    )


def _layers(path: Path) -> tuple[str, ...]:
    return tuple(str(name) for name, geometry in pyogrio.list_layers(path) if geometry is not None)


def _linked(path: Path, link: Path) -> Path:
    try:
        link.symlink_to(os.path.abspath(path))  # noqa: PTH100 # `..` of a link is kept
    except OSError:  # Windows allows links to administrators only
        shutil.copyfile(path, link)
    return link


def _linked_shapefile(path: Path, folder: Path) -> Path:
    for each in path.parent.iterdir():
        if each.stem.lower() == path.stem.lower() and each.suffix.lower() in _SHAPEFILE and each.is_file():
            link = folder / f"layers{each.suffix.lower()}"
            if not link.exists() and (each == path or each.suffix.lower() != ".shp"):
                _linked(each, link)
    return folder / "layers.shp"


def _tables(path: Path) -> tuple[str, ...]:
    """Return the tables of a GeoPackage with geometry, after checking that no query runs when they are read.

    A view is a query that the file defines. It may never end, or call functions of GDAL.
    """
    deadline = time.monotonic() + _SQL_SECONDS
    try:
        with closing(sqlite3.connect(f"file:{quote(os.path.abspath(path))}?mode=ro", uri=True)) as database:  # noqa: PTH100
            database.set_progress_handler(lambda: time.monotonic() > deadline, _SQL_STEPS)
            kinds = {str(name).lower(): kind for name, kind in database.execute(_KINDS)}
            _check_system_tables(path, database, kinds)
            named = [str(row[0]) for row in database.execute("SELECT table_name FROM gpkg_geometry_columns")]
            tables = tuple(name for name in named if kinds.get(name.lower()) == "table")
            for name in tables:
                _check_columns(path, database, name)
    except sqlite3.Error as err:
        raise RasterError(f"{path} is not a readable GeoPackage: {shorten(err)}. Is the file complete?") from err
    if named and not tables:
        raise RasterError(
            f"{path} has geometry in the view {shorten(named[0], 60)} only, a query that geoseg does not run; expected "
            f"a table. Copy it first: ogr2ogr polygons.gpkg {path} {shorten(named[0], 60)}"
        )
    return tables


def _check_system_tables(path: Path, database: sqlite3.Connection, kinds: dict[str, str]) -> None:
    """Check that the tables that GDAL reads unasked are tables, and that virtual ones are spatial or text indexes."""
    modules = dict(database.execute("SELECT lower(name), sql FROM sqlite_master WHERE type = 'table'").fetchall())
    for name, kind in kinds.items():
        is_index = re.search(r"\busing\s+(rtree|fts[345])\b", str(modules.get(name, "")), re.IGNORECASE) is not None
        if (kind == "view" and name.startswith(_SYSTEM_TABLES)) or (kind == "virtual" and not is_index):
            raise RasterError(
                f"{path} has the {kind} {shorten(name, 60)}, which may run a query of its own; expected a GeoPackage "
                f"with tables. Copy the layer first: ogr2ogr polygons.gpkg {path} LAYER"
            )


def _check_columns(path: Path, database: sqlite3.Connection, table: str) -> None:
    columns = database.execute("SELECT name, hidden FROM pragma_table_xinfo(?)", (table,)).fetchall()
    for name, hidden in columns:
        if hidden:
            raise RasterError(
                f"{path} computes the column {shorten(name, 60)} of the table {shorten(table, 60)}; expected stored "
                f"values. Copy the layer first: ogr2ogr polygons.gpkg {path}"
            )


def _read_text(path: Path) -> bytes:
    size = path.stat().st_size
    if size > _MAX_TEXT:
        raise RasterError(
            f"{path} has {size / 2**20:.0f} MiB of text; expected at most {_MAX_TEXT / 2**20:.0f} MiB. Convert it "
            f"first: ogr2ogr polygons.gpkg {path}"
        )
    return path.read_bytes()


def _geojson(path: Path, *, with_fields: bool) -> str:
    """Return the features of a GeoJSON file as GeoJSON that contains nothing else."""
    try:
        document = json.loads(_read_text(path).decode("utf-8-sig"))
        kind = document.get("type")
        features = document["features"] if kind == "FeatureCollection" else [document]
        if kind in _GEOMETRIES:
            features = [{"geometry": document}]
        elif kind not in ("FeatureCollection", "Feature"):
            raise _unknown(path)
        found = [_feature(each, with_fields=with_fields) for each in features]
        collection = {"type": "FeatureCollection", **_crs_of(path, document), "features": found}
        return json.dumps(collection)
    except RasterError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise RasterError(f"{path} is not readable as GeoJSON: {type(err).__name__}: {shorten(err)}.") from err


def _feature(feature: dict[str, Any], *, with_fields: bool) -> dict[str, Any]:
    fields = (feature.get("properties") or {}) if with_fields else {}
    simple = {str(name): value for name, value in fields.items() if not isinstance(value, dict | list)}
    return {"type": "Feature", "properties": simple, "geometry": _geometry(feature.get("geometry"))}


def _geometry(geometry: dict[str, Any] | None) -> dict[str, Any] | None:
    if geometry is None:
        return None
    if geometry["type"] not in _GEOMETRIES:
        raise ValueError(f"the geometry type {shorten(geometry['type'], 60)} is not known")
    if geometry["type"] == "GeometryCollection":
        return {"type": geometry["type"], "geometries": [_geometry(each) for each in geometry["geometries"]]}
    return {"type": geometry["type"], "coordinates": geometry["coordinates"]}


def _crs_of(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    if "crs" not in document:
        return {}
    crs = document["crs"]
    if crs is None:
        return {"crs": None}
    name = crs.get("properties", {}).get("name")
    if crs.get("type") != "name" or not isinstance(name, str) or not _CRS_NAME.fullmatch(name):
        raise RasterError(
            f"{path} has the CRS {shorten(json.dumps(crs), 80)}; expected a name such as EPSG:4326. Convert the file "
            f"first: ogr2ogr -a_srs EPSG:<code> polygons.gpkg {path}"
        )
    return {"crs": {"type": "name", "properties": {"name": name}}}


def _xml(path: Path) -> tuple[str, str]:
    """Return the suffix of the format, .kml or .gml, and the XML without references to other files."""
    writer = _XmlWriter(path)
    try:
        parse_xml(_read_text(path), writer.start, writer.end, writer.text)
    except ValueError as err:
        raise RasterError(f"{path} is not readable as KML or GML: {shorten(err)}.") from err
    return writer.suffix, "".join(writer.parts)


class _XmlWriter:
    """Writes the elements of KML or GML that are passed on to GDAL."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: list[str] = []
        self.depth = 0
        self.omitted = 0  # open elements inside an omitted one
        self.suffix = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2]
        if self.omitted or local in _XML_OMITTED:
            self.omitted += 1
            return
        if not self.suffix:
            self.suffix = self._format(local, attributes)
        self.depth += 1
        if self.depth > _XML_DEPTH:
            raise ValueError(f"more than {_XML_DEPTH} elements are nested")
        kept = {key: value for key, value in attributes.items() if self._is_kept(key, value)}
        self.parts.append(f"<{name}{''.join(f' {key}={quoteattr(value)}' for key, value in kept.items())}>")

    def text(self, data: str) -> None:
        if not self.omitted:
            self.parts.append(escape(data))

    def end(self, name: str) -> None:
        if self.omitted:
            self.omitted -= 1
            return
        self.depth -= 1
        self.parts.append(f"</{name}>")

    def _format(self, root: str, attributes: dict[str, str]) -> str:
        spaces = [value for key, value in attributes.items() if key.startswith("xmlns")]
        if root == "kml":
            return ".kml"
        if any(space.startswith("http://www.opengis.net/gml") for space in spaces):
            return ".gml"
        raise _unknown(self.path)

    def _is_kept(self, key: str, value: str) -> bool:
        if key.startswith("xmlns"):
            return True
        local = key.rpartition(":")[2].lower()
        if local == "srsname" and not (_CRS_NAME.fullmatch(value) or _CRS_ADDRESS.fullmatch(value)):
            raise RasterError(f"{self.path} has the CRS {shorten(value, 80)}; expected a name such as EPSG:4326.")
        return local == "srsname" or not (is_address(value) or local in ("href", "schemalocation", "src"))
