"""Give the classes of a run names and colours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.classify.name_table import ClassName, read_names
from geoseg.classify.named_layer import named_layer, with_columns
from geoseg.errors import ConfigError, RasterError, shorten
from geoseg.evaluate.class_raster import open_labels
from geoseg.grid import Window
from geoseg.output.class_document import write_classes
from geoseg.output.extra_columns import Field
from geoseg.output.files import check_output
from geoseg.output.input_files import check_no_input
from geoseg.output.label_style import hashed_colors
from geoseg.output.paths import class_document_path
from geoseg.output.polygons import CLASS_STYLE, POLYGON_SUFFIXES, Extras, sidecars, write_polygons
from geoseg.output.publication import Publication, file_digest
from geoseg.output.rasters import RASTER_SUFFIXES, raster_sidecars, write_class_raster
from geoseg.output.style import MAX_CATEGORIES, Legend, name_qml, region_qml
from geoseg.report.polygon_file import PolygonFile, open_polygons
from geoseg.run.lock import locked_outputs

FileName = str | Path

_FIELDS = (
    Field("color", pa.string(), "Colour of the class", "Colour of the name or class as #rrggbb"),
    Field("name", pa.string(), "Name", "Name of the class"),
)
_ROWS = 1024  # of a window of the raster
_MAX_DOCUMENT = 64 * 2**20


@dataclass(frozen=True)
class NamedClasses:
    """Result of `geoseg.name_classes`.

    Parameters
    ----------
    path : Path
        The named polygons.
    names : dict of int to str
        Name of each class that has polygons.
    colors : dict of int to str
        Colour of each class as #rrggbb.
    notes : tuple of str
        What should be known about the names.

    Examples
    --------
    >>> str(NamedClasses(Path("named.gpkg"), {1: "water"}, {1: "#0000ff"}))
    'named.gpkg: 1 classes with names'
    """

    path: Path
    names: Mapping[int, str]
    colors: Mapping[int, str]
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return f"{self.path}: {len(self.names)} classes with names"


def name_classes(
    labels: FileName,
    names: FileName | Mapping[int, str],
    out: FileName,
    *,
    raster: FileName | None = None,
    class_raster: FileName | None = None,
    overwrite: bool = False,
) -> NamedClasses:
    """Write the polygons of a run with a name for each class, and with its colour.

    The class document beside the polygons, if there is one, is written anew with the names, beside `out`; so a report
    of `out` shows them.

    Parameters
    ----------
    labels : str or Path
        Polygons that `segment_scene` or `outline_labels` has written.
    names : str, Path or dict of int to str
        CSV with the columns `class`, `name` and maybe `color` (#rrggbb); or class → name. Classes may share a name.
    out : str or Path
        Polygon file to write, .gpkg, .fgb or .parquet.
    raster : str, Path or None
        Class raster of the run, the source of `class_raster`.
    class_raster : str, Path or None
        Also write `raster` with the names as categories to this .tif.
    overwrite : bool
        Replace existing files.

    Returns
    -------
    NamedClasses

    Raises
    ------
    ConfigError
        If only one of `raster` and `class_raster` is given, or no class has a name.
    RasterError
        If the polygons, the names or the raster cannot be read.
    OutputError
        If a file exists and may not be replaced, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import geopandas, shapely
    >>> folder = Path(tempfile.mkdtemp())
    >>> columns = {"region": [1, 2], "class": [1, 2], "color": ["#101010", "#202020"]}
    >>> boxes = [shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1)]
    >>> regions = geopandas.GeoDataFrame(columns, geometry=boxes, crs="EPSG:32632")
    >>> regions.to_file(folder / "labels.gpkg", layer="labels")
    >>> name_classes(folder / "labels.gpkg", {1: "road", 2: "water"}, folder / "named.gpkg").names
    {1: 'road', 2: 'water'}
    """
    if (raster is None) != (class_raster is None):
        raise ConfigError("--class-raster is written from --raster; expected both or neither. Give the other one too.")
    source, target = Path(labels), Path(out)
    rasters = None if raster is None or class_raster is None else (Path(raster), Path(class_raster))
    given = _given(names)
    inputs = [source, *([] if isinstance(names, Mapping) else [Path(names)]), *([rasters[0]] if rasters else [])]
    publications = _check_outputs(target, rasters, inputs, overwrite=overwrite)
    with locked_outputs(publications), open_polygons(source) as file:
        colors = _class_colors(file)
        table, notes = _table(colors, given, source)
        document = _document(source, table)  # before anything is written
        _write_polygons(target, file, table, publications[target])
        if document is not None:
            path = class_document_path(target)
            write_classes(path, document, overwrite=publications[path])
        if rasters is not None:
            _write_raster(*rasters, table, publications[rasters[1]])
    values = sorted(colors)
    return NamedClasses(target, {i: table[i].name for i in values}, {i: table[i].color for i in values}, tuple(notes))


def _given(names: FileName | Mapping[int, str]) -> dict[int, ClassName]:
    if isinstance(names, Mapping):
        if not names:
            raise ConfigError("no class has a name; expected a dict such as {3: 'water'}.")
        return {int(value): ClassName(shorten(name, 80)) for value, name in names.items()}
    return read_names(Path(names))


def _check_outputs(
    out: Path, rasters: tuple[Path, Path] | None, inputs: list[Path], *, overwrite: bool
) -> dict[Path, Publication]:
    wanted: list[tuple[Path, tuple[str, ...], list[Path]]] = [
        (out, POLYGON_SUFFIXES, sidecars(out, (CLASS_STYLE, "regions")))
    ]
    if class_document_path(inputs[0]).is_file():
        inputs = [*inputs, class_document_path(inputs[0])]
        wanted.append((class_document_path(out), (".json",), []))
    if rasters is not None:
        wanted.append((rasters[1], RASTER_SUFFIXES, raster_sidecars(rasters[1], has_style=True)))
    check_no_input([path for out, _, beside in wanted for path in (out, *beside)], inputs)
    return {
        path: check_output(path, overwrite=overwrite, suffixes=suffixes, sidecars=beside)
        for path, suffixes, beside in wanted
    }


def _class_colors(file: PolygonFile) -> dict[int, str]:
    """Return the classes that have polygons, with the colour that the first polygon of each has; "" = none."""
    found: dict[int, str] = {}
    for rows in file.rows(["class", "color"]):
        values, first = np.unique(rows["class"].astype(np.int64), return_index=True)
        colors = rows["color"][first] if "color" in rows else [""] * len(first)
        for value, color in zip(values.tolist(), colors, strict=True):
            found.setdefault(value, str(color or ""))
    return found


def _table(
    colors: Mapping[int, str], given: Mapping[int, ClassName], source: Path
) -> tuple[dict[int, ClassName], list[str]]:
    """Return name and colour of each class, and notes on classes without a name and names without a class."""
    named = [value for value in given if value in colors]
    if not named:
        raise RasterError(
            f"none of the named classes {shorten(', '.join(map(str, given)), 60)} is in {source}, which has "
            f"{shorten(', '.join(map(str, sorted(colors))), 60)}. Name these."
        )
    notes = []
    for values, text in (
        ([value for value in given if value not in colors], "named, but have no polygons"),
        ([value for value in colors if value not in given], "without a name, and are called by their numbers"),
    ):
        if values:
            notes.append(f"{len(values)} classes are {text}: {shorten(', '.join(map(str, sorted(values))), 80)}.")
    found = dict(given) | {value: ClassName(f"class {value}") for value in colors if value not in given}
    hashed = {value: "#{:02x}{:02x}{:02x}".format(*hashed_colors(np.array([value]))[0]) for value in found}
    return {
        value: ClassName(each.name, each.color or colors.get(value) or hashed[value]) for value, each in found.items()
    }, notes


def _write_polygons(out: Path, file: PolygonFile, table: Mapping[int, ClassName], publication: Publication) -> None:
    layer = named_layer(file, "Named classes", "Regions with the names of their classes.", _FIELDS)
    values = np.array(sorted(table), np.int64)
    columns = [pa.array([getattr(table[i], key) for i in values.tolist()], pa.string()) for key in ("color", "name")]

    def added(batch: pa.RecordBatch, _: slice) -> list[pa.Array]:
        position = pa.array(np.searchsorted(values, batch.column("class").to_numpy(zero_copy_only=False)))
        return [column.take(position) for column in columns]

    drawn: dict[str, tuple[int, ...]] = {}
    for i in values.tolist():  # classes that share a name have the colour of the first one
        drawn.setdefault(table[i].name, tuple(bytes.fromhex(table[i].color[1:])))
    shown = dict(list(drawn.items())[:MAX_CATEGORIES])
    extras = Extras({"regions": region_qml(layer.aliases)})
    batches = with_columns(file, layer, added)
    write_polygons(out, batches, layer, style=name_qml(shown, layer.aliases), extras=extras, overwrite=publication)


def _document(source: Path, table: Mapping[int, ClassName]) -> dict[str, Any] | None:
    """Return the class document of a run with the names and colours, and with the polygons that they belong to."""
    path = class_document_path(source)
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_DOCUMENT:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
        for each in document["classes"]:
            if (named := table.get(int(each["class"]))) is not None:
                each |= {"name": named.name, "color": named.color}
        _rename(document.get("tree", {}), table)
        document["named_from"] = {"polygons": source.name, "digest": file_digest(source)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise RasterError(f"{path} cannot be read: {shorten(err)}. Move it away, or write it again.") from err
    return dict(document)


def _rename(node: dict[str, Any], table: Mapping[int, ClassName]) -> None:
    """Name the leaves of a nested tree in place."""
    if "class" in node and (named := table.get(int(node["class"]))) is not None:
        node["name"] = named.name
    for child in node.get("children", ()):
        _rename(child, table)


def _write_raster(source: Path, out: Path, table: Mapping[int, ClassName], publication: Publication) -> None:
    with open_labels(source) as labels:
        n = max((value for value in table if value > 0), default=1)
        if n > np.iinfo(np.uint16).max:
            raise RasterError(f"the highest class is {n}; a class raster has at most {np.iinfo(np.uint16).max}.")
        entries = [table.get(i, ClassName(f"class {i}", "#808080")) for i in range(1, n + 1)]
        colors = np.array([list(bytes.fromhex(each.color[1:])) for each in entries], np.uint8)
        legend = Legend(colors, tuple(each.name for each in entries))
        write_class_raster(out, labels.geobox, _windows(labels, n, source), legend, overwrite=publication)


def _windows(labels: Any, n: int, source: Path) -> Iterator[tuple[Window, NDArray[np.integer]]]:
    rows, cols = labels.geobox.shape
    for first in range(0, rows, _ROWS):
        window = Window(0, first, cols, min(_ROWS, rows - first))
        values = labels.read(window)
        if values.max(initial=0) > n:
            raise RasterError(
                f"{source} has class {values.max()}, which the polygons lack. Give the raster of the run."
            )
        yield window, values
