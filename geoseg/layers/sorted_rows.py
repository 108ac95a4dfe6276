"""Rows of a polygon file in the order of a column, read once without holding the file in memory where SQLite sorts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
from pyproj import CRS

from geoseg.errors import ConfigError, shorten
from geoseg.raster.polygon_layer import opened_layer, reading_polygons

_GEOMETRY = "geometry"
_ROWS = 16_384  # of a batch


@dataclass(frozen=True)
class SortedRows:
    """An open polygon file.

    Parameters
    ----------
    path : Path
        As the user gave it.
    source : Path
        What is read.
    layer : str or None
        None = a GeoParquet file.
    crs : str
        WKT; "" = none.
    schema : pyarrow.Schema
        Columns without geometry.
    """

    path: Path
    source: Path
    layer: str | None
    crs: str
    schema: pa.Schema

    def check_column(self, name: str) -> None:
        """Check that there is a column of a name.

        Raises
        ------
        ConfigError
            If not.
        """
        if name not in self.schema.names:
            names = shorten(", ".join(self.schema.names))
            raise ConfigError(f"{self.path} has no column {shorten(name)}. Choose one of its columns: {names}.")

    def groups(self, by: str) -> Iterator[pa.Table]:
        """Yield the rows of each value of a column, with `geometry` as WKB, in ascending order; without value last.

        A GeoPackage is sorted on the disk, and one group is in memory; the other formats are sorted in memory.

        Raises
        ------
        ConfigError
            If there is no such column.
        RasterError
            If the file is damaged.
        """
        self.check_column(by)
        waiting: list[pa.RecordBatch] = []
        with reading_polygons(self.path):
            for batch in self._batches(by):
                for some in _runs(batch, by):
                    if waiting and not _same(waiting[-1], some, by):
                        yield pa.Table.from_batches(waiting)
                        waiting = []
                    waiting.append(some)
        if waiting:
            yield pa.Table.from_batches(waiting)

    def table(self) -> pa.Table:
        """Return all rows without geometry.

        Raises
        ------
        RasterError
            If the file is damaged.
        """
        names = self.schema.names
        with reading_polygons(self.path):
            if self.layer is None:
                return pq.read_table(self.source, columns=names)
            _, table = pyogrio.read_arrow(self.source, layer=self.layer, columns=names, read_geometry=False)
            return table.select(names)

    def _batches(self, by: str) -> Iterator[pa.RecordBatch]:
        if self.layer is None:
            yield from pq.read_table(self.source).sort_by([(by, "ascending")]).to_batches(max_chunksize=_ROWS)
            return
        column, layer = (name.replace('"', '""') for name in (by, self.layer))
        is_sqlite = self.source.suffix == ".gpkg"
        order = f'SELECT * FROM "{layer}" ORDER BY "{column}" IS NULL, "{column}"'
        chosen = {"sql": order} if is_sqlite else {"layer": self.layer}
        with pyogrio.open_arrow(self.source, batch_size=_ROWS, use_pyarrow=True, **chosen) as (meta, reader):
            name = meta["geometry_name"] or "wkb_geometry"
            batches = (_renamed(batch, name) for batch in reader)
            if is_sqlite:
                yield from batches
            else:
                table = pa.Table.from_batches(list(batches))
                yield from table.sort_by([(by, "ascending")]).combine_chunks().to_batches(max_chunksize=_ROWS)


@contextmanager
def open_sorted(path: Path) -> Iterator[SortedRows]:
    """Open a polygon file: its layer `labels`, or its only layer.

    Raises
    ------
    RasterError
        If it is missing, damaged, or has several layers and none is called labels.
    """
    with opened_layer(path) as found:
        with reading_polygons(path):
            schema, crs = _parquet_schema(path) if found.layer is None else _layer_schema(found.source, found.layer)
        yield SortedRows(path, found.source, found.layer, crs, _columns(schema))


def _parquet_schema(path: Path) -> tuple[pa.Schema, str]:
    """Return the columns, and the CRS as WKT; "" = none."""
    file = pq.ParquetFile(path)
    metadata = json.loads(file.metadata.metadata[b"geo"])["columns"][_GEOMETRY]
    return file.schema_arrow, "" if metadata.get("crs") is None else CRS.from_user_input(metadata["crs"]).to_wkt()


def _layer_schema(source: Path, layer: str) -> tuple[pa.Schema, str]:
    with pyogrio.open_arrow(source, layer=layer, use_pyarrow=True) as (meta, reader):
        schema = reader.schema.remove(reader.schema.get_field_index(meta["geometry_name"] or "wkb_geometry"))
    return schema, "" if meta["crs"] is None else CRS.from_user_input(meta["crs"]).to_wkt()


def _columns(schema: pa.Schema) -> pa.Schema:
    kept = [field for field in schema if field.name not in (_GEOMETRY, "bbox", "fid", "OGC_FID")]
    return pa.schema(kept)


def _renamed(batch: pa.RecordBatch, geometry: str) -> pa.RecordBatch:
    return batch.rename_columns([_GEOMETRY if name == geometry else name for name in batch.schema.names])


def _runs(batch: pa.RecordBatch, by: str) -> Iterator[pa.RecordBatch]:
    """Yield the parts of a sorted batch with one value each."""
    if not batch.num_rows:
        return
    codes = batch.column(by).dictionary_encode(null_encoding="encode").indices.to_numpy(zero_copy_only=False)
    ends = [*(np.flatnonzero(np.diff(codes)) + 1).tolist(), batch.num_rows]
    for begin, end in pairwise([0, *ends]):
        yield batch.slice(begin, end - begin)


def _same(one: pa.RecordBatch, other: pa.RecordBatch, by: str) -> bool:
    return bool(one.column(by)[0].as_py() == other.column(by)[0].as_py())
