"""Write GeoParquet 1.1 with pyarrow, because the GDAL of pyogrio's wheels has no Parquet driver.

Reference: GeoParquet specification 1.1.0, https://geoparquet.org/releases/v1.1.0/
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.output.columns import Layer

_BBOX = ("xmin", "ymin", "xmax", "ymax")
_ROWS_PER_GROUP = 16_384  # a reader of a window skips most row groups of a large file


def write_parquet(path: Path, batches: Iterable[pa.RecordBatch], layer: Layer) -> None:
    """Write rows with their bounding boxes, sorted along the Hilbert curve through the centres of the boxes.

    Neighbouring polygons are stored in the same row group, so that a reader of a window can skip row groups by their
    bounding boxes.

    Parameters
    ----------
    path : Path
        Ends in .parquet.
    batches : iterable of pyarrow.RecordBatch
        Rows as returned by `Layer.batch`.
    layer : Layer

    Notes
    -----
    The rows are first written to a temporary Arrow file beside `path`, which is memory-mapped for sorting. Memory
    holds one row group and 28 bytes per row (centre, position on the curve, order).
    """
    unsorted = path.with_suffix(".arrows")
    try:
        centres, extent = _write_unsorted(unsorted, batches, layer)
        order = np.argsort(_hilbert_distances(centres), kind="stable")
        schema = _with_bbox(layer)
        with pq.ParquetWriter(path, schema, compression="zstd") as writer, pa.memory_map(str(unsorted)) as mapped:
            for rows in _sorted_rows(pa.ipc.open_file(mapped), order):
                writer.write_batch(rows)
            writer.add_key_value_metadata(_metadata(layer, extent))
    finally:
        unsorted.unlink(missing_ok=True)


def _write_unsorted(
    path: Path, batches: Iterable[pa.RecordBatch], layer: Layer
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Write the batches in their order; return the centre of each row's box, (n, 2), and the total bounds, (4,)."""
    schema, centres = _with_bbox(layer), [np.empty((0, 2))]
    sides = list(schema.field("bbox").type)
    extent = np.array([np.inf, np.inf, -np.inf, -np.inf])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in batches:
            bounds = shapely.bounds(shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False))).reshape(-1, 4)
            boxes = pa.StructArray.from_arrays([pa.array(side) for side in bounds.T], fields=sides)
            writer.write_batch(pa.record_batch([*batch.columns, boxes], schema=schema))
            extent[:2] = np.minimum(extent[:2], bounds[:, :2].min(axis=0, initial=np.inf))
            extent[2:] = np.maximum(extent[2:], bounds[:, 2:].max(axis=0, initial=-np.inf))
            centres.append((bounds[:, :2] + bounds[:, 2:]) / 2)
    return np.concatenate(centres), extent


def _hilbert_distances(centres: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return the position of each point on the Hilbert curve through the bounds of all points, (n,) uint32."""
    distances = np.empty(len(centres), np.uint32)
    bounds = np.concatenate([centres.min(axis=0, initial=np.inf), centres.max(axis=0, initial=-np.inf)])
    for first in range(0, len(centres), _ROWS_PER_GROUP):  # shapely points take ten times the memory of coordinates
        part = slice(first, first + _ROWS_PER_GROUP)
        distances[part] = geopandas.GeoSeries(shapely.points(centres[part])).hilbert_distance(total_bounds=bounds)
    return distances


def _sorted_rows(unsorted: pa.ipc.RecordBatchFileReader, order: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of all batches in the given order, one row group at a time."""
    counts = [unsorted.get_batch(i).num_rows for i in range(unsorted.num_record_batches)]
    ends = np.cumsum(counts)
    for first in range(0, len(order), _ROWS_PER_GROUP):
        rows = order[first : first + _ROWS_PER_GROUP]
        ascending = np.sort(rows)
        batch_of = np.searchsorted(ends, ascending, side="right")
        parts = [
            unsorted.get_batch(int(i)).take(pa.array(ascending[batch_of == i] - (ends[i] - counts[i])))
            for i in np.unique(batch_of)
        ]
        yield pa.concat_batches(parts).take(pa.array(np.searchsorted(ascending, rows)))


def _with_bbox(layer: Layer) -> pa.Schema:
    """Return the schema of the layer with a column `bbox`; alias and description are field metadata."""
    fields = [
        pa.field(field.name, field.type, metadata={"alias": field.alias, "description": field.description})
        for field in layer.fields
    ]
    box = pa.field("bbox", pa.struct([(side, pa.float64()) for side in _BBOX]))
    return pa.schema([*fields, layer.schema.field("geometry"), box])


def _metadata(layer: Layer, extent: NDArray[np.float64]) -> dict[str, str]:
    """Return the metadata of the file: `geo` as specified by GeoParquet, title, description and columns."""
    geometry: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [layer.geometry],
        "crs": CRS(layer.crs).to_json_dict() if layer.crs else None,
        "covering": {"bbox": {side: ["bbox", side] for side in _BBOX}},
    }
    if np.isfinite(extent).all():
        geometry["bbox"] = extent.tolist()
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
    columns = {field.name: {"alias": field.alias, "description": field.description} for field in layer.fields}
    return {
        "geo": json.dumps(geo),
        "title": layer.title,
        "description": layer.description,
        "columns": json.dumps(columns, ensure_ascii=False),
        **({"source": json.dumps(layer.source, ensure_ascii=False)} if layer.source else {}),
    }
