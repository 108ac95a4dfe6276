"""Polygons into one file: GeoPackage, FlatGeobuf or GeoParquet; complete under its name, or not there at all."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from rasterio._err import CPLE_BaseError  # rasterio lets it out, but gives it no public name

from geoseg.errors import ConfigError, OutputError
from geoseg.polygons.style import embed

SUFFIXES = (".gpkg", ".fgb", ".parquet")

Item = TypeVar("Item")

_WKB = {b"ARROW:extension:name": b"geoarrow.wkb"}
_BBOX = ("xmin", "ymin", "xmax", "ymax")
_POLYGON = 3  # shapely's and OGC's number of the type


class Field(NamedTuple):
    """A column: its name in the file, its type, and what QGIS calls it."""

    name: str
    type: pa.DataType
    alias: str


class FailedTile(NamedTuple):
    """A tile that gave no polygons: its number, why, and where it lies."""

    number: int
    message: str
    polygon: shapely.Polygon


@dataclass(frozen=True)
class Layer:
    """What a polygon file says about itself.

    Parameters
    ----------
    name : of the layer, as `labels`
    title, description : for people, shown by QGIS and ogrinfo
    crs : str, WKT
    fields : the columns in order, without the geometry
    """

    name: str
    title: str
    description: str
    crs: str
    fields: tuple[Field, ...]

    @property
    def schema(self) -> pa.Schema:
        """The columns and `geometry` (WKB)."""
        geometry = pa.field("geometry", pa.binary(), metadata=_WKB)
        return pa.schema([*(pa.field(field.name, field.type) for field in self.fields), geometry])

    @property
    def aliases(self) -> dict[str, str]:
        """What QGIS calls each column."""
        return {field.name: field.alias for field in self.fields}

    def batch(
        self, columns: Mapping[str, NDArray[Any] | Sequence[Any]], polygons: NDArray[Any] | pa.Array
    ) -> pa.RecordBatch:
        """Make one batch of rows for `write_polygons`.

        Parameters
        ----------
        columns : one (n,) array for each field; others are left out, and NaN is null
        polygons : (n,) shapely polygons in coordinates of the CRS, or these as WKB already

        Raises
        ------
        OutputError
            Where something is no polygon, or a number does not fit its column.
        """
        if not isinstance(polygons, pa.Array):
            if (shapely.get_type_id(polygons) != _POLYGON).any():
                raise OutputError(
                    f"Layer {self.name} takes polygons only; this is a fault of geoseg, please report it."
                )
            polygons = pa.array(shapely.to_wkb(polygons), pa.binary())
        try:
            arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in self.fields]
        except pa.ArrowInvalid as err:
            raise OutputError(f"Layer {self.name} cannot hold these columns: {err}") from err
        return pa.record_batch([*arrays, polygons], schema=self.schema)


def label_fields(*, bands: Sequence[int], levels: Sequence[int], n_regions: int, n_classes: int) -> tuple[Field, ...]:
    """Return the columns of the layer `labels`.

    Parameters
    ----------
    bands : the raster's own number of each band
    levels : numbers of classes of the coarser levels of the class tree, as (2, 4, 8)
    n_regions, n_classes : the highest numbers, which decide about the types
    """
    region = pa.int32() if n_regions < 2**31 else pa.int64()
    class_ = pa.int16() if n_classes < 2**15 else pa.int32()
    return (
        Field("region", region, "Region"),
        Field("class", class_, "Class"),
        Field("color", pa.string(), "Colour of the class"),
        Field("pixels", pa.int64(), "Pixels"),
        Field("area", pa.float64(), "Area (m²)"),
        Field("perimeter", pa.float64(), "Perimeter along the pixels (m)"),
        *(Field(f"mean_{band}", pa.float64(), f"Mean of band {band}") for band in bands),
        *(Field(f"std_{band}", pa.float64(), f"Standard deviation of band {band}") for band in bands),
        *(Field(f"class_{level}", class_, f"Class of {level}") for level in levels),
    )


def check_output(path: Path, *, overwrite: bool, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Look whether a result can be written, before the work starts.

    Raises
    ------
    ConfigError
        Where the name ends in none of `suffixes`.
    OutputError
        Where it exists and may not be replaced, is open in another program, or its folder cannot be written to.
    """
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"{path} ends in {path.suffix or 'no suffix'!r}; it can end in {', '.join(suffixes)}.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give a name for a file in it, as {path / ('labels' + path.suffix)}")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists. Choose another name, or replace it with --overwrite.")
    # SQLite would play back the journal of the old file into the new one.
    if journals := [str(path) + end for end in ("-wal", "-journal") if Path(str(path) + end).exists()]:
        raise OutputError(f"{journals[0]} says that {path} is open in another program, as QGIS; close it there first.")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent} is no folder, so {path.name} cannot be written in it. Create it first.")
    with writing(path), TemporaryDirectory(dir=path.parent, prefix=f".{path.name}."):
        pass  # trying is surer than asking: a file system can be read-only


def write_polygons(
    path: Path,
    batches: Iterable[pa.RecordBatch],
    layer: Layer,
    *,
    style: str,
    failed: Sequence[FailedTile] = (),
    overwrite: bool = False,
) -> int:
    """Write the polygons as they come and return how many there were; no more than a batch is held.

    Parameters
    ----------
    path : .gpkg, .fgb or .parquet
    batches : rows as `Layer.batch` makes them; their own exceptions pass through
    style : QML; within the GeoPackage, otherwise beside the file as .qml
    failed : the tiles without polygons: a layer `failed_tiles` of the GeoPackage, otherwise beside the file as
        .failed.geojson

    Raises
    ------
    ConfigError, OutputError
        As `check_output`; and where writing fails or what was written does not read back. Nothing is left behind then.
    """
    check_output(path, overwrite=overwrite)
    write = {".gpkg": _write_gpkg, ".fgb": _write_fgb, ".parquet": _write_parquet}[path.suffix.lower()]
    sidecars = () if write is _write_gpkg else (f"{path.stem}.qml", f"{path.stem}.failed.geojson")
    with staged(path, sidecars=sidecars) as folder:
        counts: list[int] = []
        source = Source(_counted(batches, counts))
        with writing(path, source):
            write(folder / path.name, source, layer, style)
            if failed:
                _write_failed(folder / path.name, layer.crs, failed)
            _verify(folder / path.name, sum(counts))
    return sum(counts)


class Source(Generic[Item]):
    """Things on their way to a file; keeps the error that they raise, because GDAL would swallow it."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = items
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[Item]:
        try:
            yield from self.items
        except GeneratorExit:
            raise  # the file is done with; not an error of the items
        except BaseException as error:
            self.error = error
            raise


@contextmanager
def staged(path: Path, *, sidecars: Sequence[str] = ()) -> Iterator[Path]:
    """Give a folder beside `path` whose files move to the place of `path` at the end, and vanish on failure.

    Parameters
    ----------
    path : the result; a file of its name has to be in the folder
    sidecars : names of files that belong to the result; one that is not written anew is removed
    """
    folder = path.parent / f".{path.name}.part"  # always the same, so that a killed run leaves no second one
    try:
        with writing(path):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        yield folder
        with writing(path):
            _publish(folder, path, sidecars)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing(path: Path, source: Source[Any] | None = None) -> Iterator[None]:
    """Turn what libraries say about files that cannot be written into an `OutputError` that names the result."""
    try:
        yield
    except (OSError, RuntimeError, sqlite3.Error, pa.ArrowException, CPLE_BaseError) as err:  # pyogrio: RuntimeError
        if source is not None and source.error is not None:
            raise source.error from None  # it came from the rows, not from writing them
        reason = err.strerror if isinstance(err, OSError) and err.strerror else err
        raise OutputError(f"{path} could not be written: {reason}. Is the disk full, or the folder protected?") from err


def _counted(batches: Iterable[pa.RecordBatch], counts: list[int]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        counts.append(batch.num_rows)
        yield batch


def _write_gpkg(path: Path, source: Source[pa.RecordBatch], layer: Layer, style: str) -> None:
    options = {"IDENTIFIER": layer.title, "DESCRIPTION": layer.description}
    # Version 1.2, because older QGIS warns about GDAL's default.
    _write_ogr(path, source, layer, driver="GPKG", dataset_options={"VERSION": "1.2"}, layer_options=options)
    with closing(sqlite3.connect(path)) as database, database:
        embed(database, layer.name, style, description=layer.title)


def _write_fgb(path: Path, source: Source[pa.RecordBatch], layer: Layer, style: str) -> None:
    options = {"TITLE": layer.title, "DESCRIPTION": layer.description, "TEMPORARY_DIR": str(path.parent)}
    _write_ogr(path, source, layer, driver="FlatGeobuf", layer_options=options)
    path.with_suffix(".qml").write_text(style, encoding="utf-8")


def _write_ogr(path: Path, source: Iterable[pa.RecordBatch], layer: Layer, **options: Any) -> None:
    pyogrio.write_arrow(
        pa.RecordBatchReader.from_batches(layer.schema, source),
        path,
        layer=layer.name,
        geometry_name="geometry",
        geometry_type="Polygon",
        crs=layer.crs,
        **options,
    )


def _write_parquet(path: Path, source: Source[pa.RecordBatch], layer: Layer, style: str) -> None:
    """Write GeoParquet 1.1; by hand, because the GDAL of pyogrio's wheels has no Parquet driver."""
    box = pa.struct([(side, pa.float64()) for side in _BBOX])
    extent = np.array([np.inf, np.inf, -np.inf, -np.inf])
    with pq.ParquetWriter(path, layer.schema.append(pa.field("bbox", box)), compression="zstd") as writer:
        for batch in source:
            bounds = shapely.bounds(shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False)))
            extent[:2] = np.minimum(extent[:2], bounds[:, :2].min(axis=0, initial=np.inf))
            extent[2:] = np.maximum(extent[2:], bounds[:, 2:].max(axis=0, initial=-np.inf))
            boxes = pa.StructArray.from_arrays([pa.array(side) for side in bounds.T], fields=list(box))
            writer.write_batch(batch.append_column("bbox", boxes))
        writer.add_key_value_metadata({"geo": json.dumps(_geo(layer, extent)), "title": layer.title})
    path.with_suffix(".qml").write_text(style, encoding="utf-8")


def _geo(layer: Layer, extent: NDArray[np.float64]) -> dict[str, Any]:
    geometry = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": CRS(layer.crs).to_json_dict(),
        "covering": {"bbox": {side: ["bbox", side] for side in _BBOX}},
    }
    if np.isfinite(extent).all():
        geometry["bbox"] = extent.tolist()
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}


def _write_failed(path: Path, crs: str, failed: Sequence[FailedTile]) -> None:
    fields = (Field("tile", pa.int32(), "Tile"), Field("message", pa.string(), "What went wrong"))
    layer = Layer("failed_tiles", "Tiles that failed", "Here are no polygons, because the tile failed.", crs, fields)
    numbers, messages, polygons = zip(*failed, strict=True)
    batch = layer.batch({"tile": numbers, "message": messages}, np.array(polygons))
    if path.suffix.lower() == ".gpkg":
        options = {"IDENTIFIER": layer.title, "DESCRIPTION": layer.description}
        _write_ogr(path, [batch], layer, driver="GPKG", append=True, layer_options=options)
    else:
        _write_ogr(path.with_suffix(".failed.geojson"), [batch], layer, driver="GeoJSON")


def _verify(path: Path, n_rows: int) -> None:
    """Read every row back, because a file cut short can still open and tell the right number."""
    if path.suffix.lower() == ".parquet":
        found = sum(batch.num_rows for batch in pq.ParquetFile(path).iter_batches(columns=["geometry"]))
    else:
        with pyogrio.open_arrow(path, layer=0, columns=[], use_pyarrow=True) as (_, reader):
            found = sum(batch.num_rows for batch in reader)
    if found != n_rows:
        raise OutputError(f"{path.name} holds {found} polygons where {n_rows} were written. Is the disk full?")


def _publish(folder: Path, path: Path, sidecars: Sequence[str]) -> None:
    names = sorted((file.name for file in folder.iterdir()), key=lambda name: name == path.name)  # the result last
    for name in names:
        _sync(folder / name)
    for name in names:
        (folder / name).replace(path.parent / name)
    for name in set(sidecars) - set(names):
        (path.parent / name).unlink(missing_ok=True)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Make sure that a file or a folder is on the disk, for a crash of the machine right after."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
