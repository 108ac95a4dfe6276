"""Dissolve a polygon file by a column: adjacent regions of equal value become one polygon, with columns of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import RasterError
from geoseg.layers.sorted_rows import SortedRows, open_sorted
from geoseg.output.columns import Layer, known_fields
from geoseg.output.extra_columns import Field
from geoseg.output.files import check_output
from geoseg.output.input_files import check_no_input
from geoseg.output.polygons import POLYGON_SUFFIXES, sidecars, write_polygons
from geoseg.output.style import color_qml, default_style
from geoseg.raster.polygon_layer import LAYER, reading_polygons
from geoseg.run.lock import locked_outputs
from geoseg.vectorize.dissolve import adjacent_groups, is_constant, merge_columns, merged_kind, unite
from geoseg.vectorize.zonal_stats import compactness

_ROWS = 2000  # of a batch that is written
_REGIONS = Field("regions", pa.int64(), "Regions", "Number of regions that were dissolved into it")
_PERIMETER = Field("perimeter", pa.float64(), "Perimeter (m)", "Length of the outline of the polygon in metres")

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class DissolvedFile:
    """The result of `dissolve_polygons`.

    Parameters
    ----------
    path : Path
    n_before, n_after : int
        Polygons of the input and of the result.

    Examples
    --------
    >>> DissolvedFile(Path("towns.gpkg"), n_before=120, n_after=31).n_after
    31
    """

    path: Path
    n_before: int
    n_after: int


def dissolve_polygons(labels: str | Path, out: str | Path, *, by: str, overwrite: bool = False) -> DissolvedFile:
    """Unite adjacent polygons with the same value of a column, and write the result.

    Parameters
    ----------
    labels : str or Path
        Polygons that geoseg has written, .gpkg, .fgb or .parquet.
    out : str or Path
        Ends in .gpkg, .fgb or .parquet.
    by : str
        Name of the column. Rows without a value are united with each other.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    DissolvedFile

    Raises
    ------
    ConfigError
        If there is no such column.
    OutputError
        If the output cannot be written, or is the input.
    RasterError
        If the input cannot be read, or is no coverage.

    Notes
    -----
    The result is a coverage like the input, with the same vertices. Pixels and areas are sums, means are weighted by
    pixels, standard deviations are those of all pixels; the perimeter is that of the polygon. Columns of integers and
    text stay where all regions of one value agree. Of a GeoPackage, one group of equal value is in memory, besides
    the columns of all rows.

    Examples
    --------
    >>> import tempfile
    >>> from geoseg.pipeline import segment_scene
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(96, 128), seed=1))
    >>> result = segment_scene(folder / "scene.tif", folder / "labels.gpkg", classes=4, method="kmeans", workers=0)
    >>> found = dissolve_polygons(folder / "labels.gpkg", folder / "two.gpkg", by="class_2")
    >>> found.n_before == result.n_regions, found.n_after < found.n_before
    (True, True)
    """
    source, target = Path(labels), Path(out)
    beside = sidecars(target)
    check_no_input([target, *beside], [source])
    publication = check_output(target, overwrite=overwrite, suffixes=POLYGON_SUFFIXES, sidecars=beside)
    with locked_outputs([target]), open_sorted(source) as rows:
        rows.check_column(by)
        layer = _layer(rows, by)
        style = default_style(rows.source, rows.layer) if "class" in layer.aliases else None
        n_before = 0

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal n_before
            for table in _joined(rows.groups(by)):
                n_before += table.num_rows
                with reading_polygons(source):
                    columns, polygons = _dissolved(table, by, layer, rows.crs)
                for begin in range(0, len(polygons), _ROWS):
                    some = slice(begin, begin + _ROWS)
                    yield layer.batch({name: column[some] for name, column in columns.items()}, polygons[some])

        style = style or color_qml(layer.aliases)
        n_after = write_polygons(target, batches(), layer, style=style, overwrite=publication)
    return DissolvedFile(target, n_before, n_after)


def _layer(rows: SortedRows, by: str) -> Layer:
    """Return the layer of the result: the column, those that depend on it, and those that are merged."""
    table = rows.table()
    groups = _codes(table, by)
    known = known_fields(rows.schema.names)
    fields: list[Field] = []
    for column in rows.schema:
        name = column.name
        text = (column.metadata or {}).get(b"GDAL:OGR:comment", b"").decode()
        field = known.get(name, Field(name, column.type, name))._replace(type=column.type)
        field = field._replace(description=text or field.description)
        if name == "perimeter":
            field = _PERIMETER
        is_merged = merged_kind(name) or name in ("perimeter", "compactness")
        is_kept = not pa.types.is_floating(column.type) and name != "region" and not merged_kind(name)
        if name == by or is_merged or (is_kept and is_constant(_values(table, name), groups)):
            fields.append(field)
    names = [field.name for field in fields]
    fields.insert(names.index(by) + 1, _REGIONS)
    title, source = f"{rows.path.stem} dissolved by {by}", rows.path.name
    description = f"The regions of {source}; adjacent ones with the same {by} are united. Areas in square metres."
    return Layer(LAYER, title, description, rows.crs, tuple(fields))


def _joined(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield several small tables as one, since each takes some ms."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(len(some) for some in waiting) >= _ROWS or len(waiting) >= _ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _dissolved(table: pa.Table, by: str, layer: Layer, crs: str) -> tuple[Columns, NDArray[np.object_]]:
    """Return the columns and the polygons of the rows of some values."""
    shapes = shapely.from_wkb(table.column("geometry").to_numpy())
    groups = adjacent_groups(shapes, _codes(table, by))
    polygons = unite(shapes, groups)
    if (shapely.get_type_id(polygons) != shapely.GeometryType.POLYGON).any():
        raise RasterError(
            "the polygons are not a coverage: some overlap or touch without common vertices. Give polygons of geoseg."
        )
    names = [name for name in table.schema.names if name != "geometry"]
    given = {name: _values(table, name) for name in names}
    first = np.unique(groups, return_index=True)[1]
    columns = {name: column[first] for name, column in given.items()} | merge_columns(given, groups)
    if "perimeter" in given:
        columns["perimeter"] = _lengths(polygons, crs)
    if {"area", "perimeter", "compactness"} <= given.keys():
        columns["compactness"] = compactness(columns["area"], columns["perimeter"])
    return {field.name: columns[field.name] for field in layer.fields}, polygons


def _lengths(polygons: NDArray[np.object_], crs: str) -> NDArray[np.float64]:
    """Return the lengths of outlines in metres; without a CRS in units of the coordinates."""
    if not crs:
        return np.asarray(shapely.length(polygons))
    system = CRS(crs)
    if system.is_geographic:
        geod = system.get_geod()
        return np.array([geod.geometry_length(shapely.boundary(polygon)) for polygon in polygons])
    unit = system.axis_info[0].unit_conversion_factor if system.axis_info else 1.0
    return np.asarray(shapely.length(polygons) * unit)


def _codes(table: pa.Table, name: str) -> NDArray[np.int64]:
    """Return a number for each row, the same where a column has the same value, or none."""
    column = table.column(name).combine_chunks()
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    codes = column.dictionary_encode(null_encoding="encode").indices
    return np.asarray(codes.to_numpy(zero_copy_only=False), np.int64)


def _values(table: pa.Table, name: str) -> NDArray[Any]:
    return np.asarray(table.column(name).to_numpy())
