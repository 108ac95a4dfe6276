"""Write polygons to a GeoPackage, FlatGeobuf or GeoParquet file."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from numpy.typing import NDArray

from geoseg.errors import OutputError
from geoseg.output.columns import Layer
from geoseg.output.extra_columns import Field
from geoseg.output.files import Source, check_output, staged, writing
from geoseg.output.geopackage import copy_other_tables
from geoseg.output.geoparquet import write_parquet
from geoseg.output.publication import Publication
from geoseg.output.style import embed_styles
from geoseg.vectorize.dissolve import unite

POLYGON_SUFFIXES = (".gpkg", ".fgb", ".parquet")

_VERIFIED = 8192  # polygons that are read back at once
_INDEX_OPTION, INDEX_BYTES = "OGR_GPKG_MAX_RAM_USAGE_RTREE", 2**26
_MAX_REGIONS = 50_000  # whose polygons are in memory when they are united to objects

CLASS_STYLE = "classes"  # name of the style that QGIS applies by default


class FailedTile(NamedTuple):
    """A tile without polygons.

    Parameters
    ----------
    number : int
    message : str
        The error.
    polygon : shapely.Polygon
        The outline of the tile in coordinates of the CRS.
    """

    number: int
    message: str
    polygon: shapely.Polygon


class Dissolved(NamedTuple):
    """Second layer of a GeoPackage: the first layer dissolved by class.

    Parameters
    ----------
    layer : Layer
        Has a field `class` and multi-polygons.
    columns : dict of str to (class,) array
        One array per field. Classes without polygons are not written.
    style : str
        QML that QGIS applies.
    """

    layer: Layer
    columns: Mapping[str, NDArray[Any]]
    style: str


class ObjectLayer(NamedTuple):
    """Further layer of a GeoPackage: the regions of each object as one polygon.

    Parameters
    ----------
    layer : Layer
        Has a field `object` and polygons.
    columns : dict of str to (object,) array
        One array per field; row i describes object i + 1. Objects without polygons are not written.
    style : str
        QML that QGIS applies.
    by : str
        Column of the first layer with the object of each region.
    objects : (region,) int
        The same for all regions.
    """

    layer: Layer
    columns: Mapping[str, NDArray[Any]]
    style: str
    by: str
    objects: NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Extras:
    """Optional contents of a polygon file.

    Parameters
    ----------
    styles : dict of str to str
        Alternative styles, name → QML. Stored in the GeoPackage, otherwise beside the file as .NAME.qml.
    failed : sequence of FailedTile
        Written as layer `failed_tiles` of the GeoPackage, otherwise beside the file as .failed.geojson.
    dissolved : Dissolved or None
        Second layer of the GeoPackage; ignored for the other formats, which hold one layer.
    objects : sequence of ObjectLayer
        Further layers of the GeoPackage.
    """

    styles: Mapping[str, str] = field(default_factory=dict)
    failed: Sequence[FailedTile] = ()
    dissolved: Dissolved | None = None
    objects: Sequence[ObjectLayer] = ()


def write_polygons(
    path: Path,
    batches: Iterable[pa.RecordBatch],
    layer: Layer,
    *,
    style: str,
    extras: Extras | None = None,
    overwrite: bool | Publication = False,
) -> int:
    """Write polygons batch by batch and return their number.

    Memory holds one batch; for GeoParquet also 28 bytes per polygon, for a dissolved layer one class.

    Parameters
    ----------
    path : Path
        Ends in .gpkg, .fgb or .parquet.
    batches : iterable of pyarrow.RecordBatch
        Rows as returned by `Layer.batch`. Exceptions raised by the iterable are not converted.
    layer : Layer
    style : str
        QML that QGIS applies. Stored in the GeoPackage, otherwise beside the file as .qml.
    extras : Extras or None
        Alternative styles, failed tiles and a second layer.
    overwrite : bool or Publication
        Other tables of a GeoPackage that is replaced are kept.

    Raises
    ------
    ConfigError
        If the suffix is not supported.
    OutputError
        If `check_output` fails, the file cannot be written, or it does not read back. No file is left behind.
    """
    extras = extras or Extras()
    styles = {CLASS_STYLE: style, **extras.styles}
    beside = sidecars(path, styles)
    publication = check_output(path, overwrite=overwrite, suffixes=POLYGON_SUFFIXES, sidecars=beside)
    counts: list[int] = []
    source = Source(_counted(batches, counts))
    with staged(path, publication, sidecars=beside) as folder, writing(path, source):
        copy_other_tables(path, folder / path.name)
        _write_layers(folder / path.name, source, layer, styles, extras)
        _verify(folder / path.name, sum(counts), layer=layer.name if path.suffix.lower() == ".gpkg" else 0)
    return sum(counts)


def sidecars(path: Path, styles: Iterable[str] = (CLASS_STYLE,)) -> list[Path]:
    """Return the paths of the files that may be written beside the polygons.

    Parameters
    ----------
    path : Path
        The polygon file. A GeoPackage has no sidecar files.
    styles : iterable of str
        Names of the styles, the default style first.
    """
    if path.suffix.lower() == ".gpkg":
        return []
    _, *others = styles  # QGIS expects the default style under the name of the file alone
    return [path.with_suffix(".qml"), *(path.with_suffix(f".{name}.qml") for name in others), _failed_path(path)]


def _write_layers(
    path: Path, source: Source[pa.RecordBatch], layer: Layer, styles: Mapping[str, str], extras: Extras
) -> None:
    write = {".gpkg": _write_gpkg, ".fgb": _write_fgb, ".parquet": write_parquet}[path.suffix.lower()]
    write(path, source, layer)
    if extras.dissolved is not None and write is _write_gpkg:
        _write_dissolved(path, layer, extras.dissolved)
    for objects in extras.objects:
        _write_objects(path, layer, objects)
    _write_styles(path, layer, styles, [*filter(None, [extras.dissolved]), *extras.objects])
    if extras.failed:
        _write_failed(path, layer.crs, extras.failed)


def _counted(batches: Iterable[pa.RecordBatch], counts: list[int]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        counts.append(batch.num_rows)
        yield batch


def _write_gpkg(path: Path, source: Source[pa.RecordBatch], layer: Layer) -> None:
    options = {"IDENTIFIER": layer.title, "DESCRIPTION": layer.description}
    # Version 1.2, because older QGIS warns about GDAL's default.
    with _bounded_index():
        _write_ogr(path, source, layer, driver="GPKG", dataset_options={"VERSION": "1.2"}, layer_options=options)


def _write_fgb(path: Path, source: Source[pa.RecordBatch], layer: Layer) -> None:
    options = {"TITLE": layer.title, "DESCRIPTION": layer.description, "TEMPORARY_DIR": str(path.parent)}
    _write_ogr(path, source, layer, driver="FlatGeobuf", layer_options=options)


def _write_dissolved(path: Path, layer: Layer, dissolved: Dissolved) -> None:
    """Append one multi-polygon per class; memory holds one class at a time."""
    options = {"IDENTIFIER": dissolved.layer.title, "DESCRIPTION": dissolved.layer.description}
    n_rows = 0
    for i, number in enumerate(dissolved.columns["class"]):
        polygons = pyogrio.raw.read(path, layer=layer.name, columns=[], where=f'"class" = {number}')[2]
        if not len(polygons):
            continue
        union = shapely.coverage_union_all(shapely.from_wkb(polygons))
        merged = shapely.multipolygons(shapely.get_parts(union))
        row = {name: column[i : i + 1] for name, column in dissolved.columns.items()}
        batch = dissolved.layer.batch(row, np.array([merged]))
        _write_ogr(path, [batch], dissolved.layer, driver="GPKG", append=True, layer_options=options)
        n_rows += 1
    if n_rows:
        _verify(path, n_rows, layer=dissolved.layer.name)


def _write_objects(path: Path, layer: Layer, objects: ObjectLayer) -> None:
    """Append one polygon per object; memory holds the polygons of `_MAX_REGIONS` regions, or of one object."""
    options = {"IDENTIFIER": objects.layer.title, "DESCRIPTION": objects.layer.description}
    n_regions = np.cumsum(np.bincount(objects.objects)[1:])
    n_rows, first = 0, 0  # first = objects before the present ones
    while first < len(n_regions):
        before = n_regions[first - 1] if first else 0
        end = max(int(np.searchsorted(n_regions, before + _MAX_REGIONS, side="right")), first + 1)
        where = f'"{objects.by}" > {first} AND "{objects.by}" <= {end}'
        _, _, wkb, (numbers,) = pyogrio.raw.read(path, layer=layer.name, columns=[objects.by], where=where)
        used, groups = np.unique(numbers, return_inverse=True)
        first = end
        if len(used):
            polygons = unite(shapely.from_wkb(wkb), groups.ravel())
            rows = {name: column[used - 1] for name, column in objects.columns.items()}
            parts, row = shapely.get_parts(polygons, return_index=True)  # several only beside a tile that failed
            batch = objects.layer.batch({name: column[row] for name, column in rows.items()}, parts)
            _write_ogr(path, [batch], objects.layer, driver="GPKG", append=True, layer_options=options)
            n_rows += len(parts)
    if n_rows:
        _verify(path, n_rows, layer=objects.layer.name)


def _write_styles(
    path: Path, layer: Layer, styles: Mapping[str, str], others: Sequence[Dissolved | ObjectLayer]
) -> None:
    if path.suffix.lower() != ".gpkg":
        for file, qml in zip(sidecars(path, styles), styles.values(), strict=False):
            file.write_text(qml, encoding="utf-8")
        return
    with closing(sqlite3.connect(path)) as database, database:
        embed_styles(database, layer.name, styles, description=layer.title)
        for other in others:
            embed_styles(database, other.layer.name, {CLASS_STYLE: other.style}, description=other.layer.title)


def _write_ogr(path: Path, source: Iterable[pa.RecordBatch], layer: Layer, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Field format '' not supported")  # columns of views in an existing file
        warnings.filterwarnings("ignore", "'crs' was not provided")
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(layer.schema, source),
            path,
            layer=layer.name,
            geometry_name="geometry",
            geometry_type=layer.geometry,
            crs=layer.crs or None,
            layer_metadata=dict(layer.source) or None,
            **options,
        )


@contextmanager
def _bounded_index() -> Iterator[None]:
    """Let GDAL hold at most `INDEX_BYTES` of the spatial index of a GeoPackage in memory, unless the user set it.

    By default that is a tenth of the memory of the machine, and 75 bytes per polygon are held until the end. What
    exceeds the limit is indexed row by row.
    """
    if pyogrio.get_gdal_config_option(_INDEX_OPTION) is not None:
        yield
        return
    pyogrio.set_gdal_config_options({_INDEX_OPTION: INDEX_BYTES})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({_INDEX_OPTION: None})


def _write_failed(path: Path, crs: str, failed: Sequence[FailedTile]) -> None:
    fields = (Field("tile", pa.int32(), "Tile"), Field("message", pa.string(), "Error message"))
    layer = Layer("failed_tiles", "Failed tiles", "Tiles that failed and therefore have no polygons.", crs, fields)
    numbers, messages, polygons = zip(*failed, strict=True)
    batch = layer.batch({"tile": numbers, "message": messages}, np.array(polygons))
    if path.suffix.lower() == ".gpkg":
        options = {"IDENTIFIER": layer.title, "DESCRIPTION": layer.description}
        _write_ogr(path, [batch], layer, driver="GPKG", append=True, layer_options=options)
    else:
        _write_ogr(_failed_path(path), [batch], layer, driver="GeoJSON")


def _failed_path(path: Path) -> Path:
    return path.with_suffix(".failed.geojson")


def _verify(path: Path, n_rows: int, *, layer: int | str = 0) -> None:
    """Read every row back: a truncated file can still open and report the right number of rows."""
    if path.suffix.lower() == ".parquet":
        found = sum(batch.num_rows for batch in pq.ParquetFile(path).iter_batches(columns=["geometry"]))
    else:
        options: dict[str, Any] = {"columns": [], "use_pyarrow": True, "batch_size": _VERIFIED}
        with pyogrio.open_arrow(path, layer=layer, **options) as (_, reader):
            found = sum(batch.num_rows for batch in reader)
    if found != n_rows:
        raise OutputError(f"{path.name} contains {found} polygons, but {n_rows} were written. Is the disk full?")
