"""Polygons into one file: GeoPackage, FlatGeobuf or GeoParquet; complete under its name, or not there at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # rasterio lets it out, but gives it no public name

from geoseg.errors import ConfigError, OutputError
from geoseg.output.columns import Field, Layer
from geoseg.output.geoparquet import write_parquet
from geoseg.output.style import embed

SUFFIXES = (".gpkg", ".fgb", ".parquet")

Item = TypeVar("Item")

CLASS_STYLE = "classes"  # the name of the style that QGIS applies


class FailedTile(NamedTuple):
    """A tile that gave no polygons: its number, why, and where it lies."""

    number: int
    message: str
    polygon: shapely.Polygon


class Dissolved(NamedTuple):
    """A second layer of a GeoPackage, made of the first one: all polygons of a class in one row.

    Parameters
    ----------
    layer : with a field `class`, and multi-polygons
    columns : one (class,) array for each field; the classes without polygons are left out
    style : QML, which QGIS applies
    """

    layer: Layer
    columns: Mapping[str, NDArray[Any]]
    style: str


@dataclass(frozen=True)
class Extras:
    """What goes with the polygons.

    Parameters
    ----------
    styles : more styles to choose from, name → QML; within the GeoPackage, otherwise beside the file as .NAME.qml
    failed : the tiles without polygons: a layer `failed_tiles` of the GeoPackage, otherwise beside the file as
        .failed.geojson
    dissolved : a second layer of the GeoPackage; other formats have no place for it
    """

    styles: Mapping[str, str] = field(default_factory=dict)
    failed: Sequence[FailedTile] = ()
    dissolved: Dissolved | None = None


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
    extras: Extras | None = None,
    overwrite: bool = False,
) -> int:
    """Write the polygons as they come and return how many there were.

    No more than a batch is held; of GeoParquet also 28 bytes for each polygon, and of a dissolved layer one class.

    Parameters
    ----------
    path : .gpkg, .fgb or .parquet
    batches : rows as `Layer.batch` makes them; their own exceptions pass through
    style : QML, which QGIS applies; within the GeoPackage, otherwise beside the file as .qml
    extras : more styles, failed tiles, a second layer; None = nothing of these

    Raises
    ------
    ConfigError, OutputError
        As `check_output`; and where writing fails or what was written does not read back. Nothing is left behind then.
    """
    check_output(path, overwrite=overwrite)
    extras = extras or Extras()
    styles = {CLASS_STYLE: style, **extras.styles}
    write = {".gpkg": _write_gpkg, ".fgb": _write_fgb, ".parquet": write_parquet}[path.suffix.lower()]
    with staged(path, sidecars=[name.name for name in sidecars(path, styles)]) as folder:
        counts: list[int] = []
        source, target = Source(_counted(batches, counts)), folder / path.name
        with writing(path, source):
            write(target, source, layer)
            if extras.dissolved is not None and write is _write_gpkg:
                _write_dissolved(target, layer, extras.dissolved)
            _write_styles(target, layer, styles, extras.dissolved)
            if extras.failed:
                _write_failed(target, layer.crs, extras.failed)
            _verify(target, sum(counts))
    return sum(counts)


def sidecars(path: Path, styles: Iterable[str] = (CLASS_STYLE,)) -> list[Path]:
    """Return the files that may lie beside the polygons: none for GeoPackage, which has all of it inside.

    Parameters
    ----------
    styles : names, the one that QGIS applies first
    """
    if path.suffix.lower() == ".gpkg":
        return []
    first, *others = styles
    del first  # QGIS looks for it under the name of the file alone
    return [path.with_suffix(".qml"), *(path.with_suffix(f".{name}.qml") for name in others), _failed_path(path)]


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


def _write_gpkg(path: Path, source: Source[pa.RecordBatch], layer: Layer) -> None:
    options = {"IDENTIFIER": layer.title, "DESCRIPTION": layer.description}
    # Version 1.2, because older QGIS warns about GDAL's default.
    _write_ogr(path, source, layer, driver="GPKG", dataset_options={"VERSION": "1.2"}, layer_options=options)


def _write_fgb(path: Path, source: Source[pa.RecordBatch], layer: Layer) -> None:
    options = {"TITLE": layer.title, "DESCRIPTION": layer.description, "TEMPORARY_DIR": str(path.parent)}
    _write_ogr(path, source, layer, driver="FlatGeobuf", layer_options=options)


def _write_dissolved(path: Path, layer: Layer, dissolved: Dissolved) -> None:
    """Write a row for each class, one after the other, so that only one class is held."""
    options = {"IDENTIFIER": dissolved.layer.title, "DESCRIPTION": dissolved.layer.description}
    rows = 0
    for i, number in enumerate(dissolved.columns["class"]):
        polygons = pyogrio.raw.read(path, layer=layer.name, columns=[], where=f'"class" = {number}')[2]
        if not len(polygons):
            continue
        whole = shapely.multipolygons(shapely.get_parts(shapely.coverage_union_all(shapely.from_wkb(polygons))))
        row = {name: column[i : i + 1] for name, column in dissolved.columns.items()}
        batch = dissolved.layer.batch(row, np.array([whole]))
        _write_ogr(path, [batch], dissolved.layer, driver="GPKG", append=True, layer_options=options)
        rows += 1
    if rows:
        _verify(path, rows, layer=dissolved.layer.name)


def _write_styles(path: Path, layer: Layer, styles: Mapping[str, str], dissolved: Dissolved | None) -> None:
    if path.suffix.lower() != ".gpkg":
        for file, qml in zip(sidecars(path, styles), styles.values(), strict=False):
            file.write_text(qml, encoding="utf-8")
        return
    with closing(sqlite3.connect(path)) as database, database:
        embed(database, layer.name, styles, description=layer.title)
        if dissolved is not None:
            own = dissolved.layer
            embed(database, own.name, {CLASS_STYLE: dissolved.style}, description=own.title)


def _write_ogr(path: Path, source: Iterable[pa.RecordBatch], layer: Layer, **options: Any) -> None:
    pyogrio.write_arrow(
        pa.RecordBatchReader.from_batches(layer.schema, source),
        path,
        layer=layer.name,
        geometry_name="geometry",
        geometry_type=layer.geometry,
        crs=layer.crs,
        **options,
    )


def _write_failed(path: Path, crs: str, failed: Sequence[FailedTile]) -> None:
    fields = (Field("tile", pa.int32(), "Tile"), Field("message", pa.string(), "What went wrong"))
    layer = Layer("failed_tiles", "Tiles that failed", "Here are no polygons, because the tile failed.", crs, fields)
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
    """Read every row back, because a file cut short can still open and tell the right number."""
    if path.suffix.lower() == ".parquet":
        found = sum(batch.num_rows for batch in pq.ParquetFile(path).iter_batches(columns=["geometry"]))
    else:
        with pyogrio.open_arrow(path, layer=layer, columns=[], use_pyarrow=True) as (_, reader):
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
