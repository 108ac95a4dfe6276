"""GeoParquet 1.1, by hand, because the GDAL of pyogrio's wheels has no Parquet driver."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.output.columns import Layer
from geoseg.output.hilbert import hilbert_codes

_BBOX = ("xmin", "ymin", "xmax", "ymax")
_ROWS_PER_GROUP = 16_384  # small enough that a reader of a window leaves most of the file alone


def write_parquet(path: Path, batches: Iterable[pa.RecordBatch], layer: Layer) -> None:
    """Write rows with their bounding boxes, in the order of the Hilbert curve through the middles of these.

    What lies close together then is in the same row group, and a reader of a window skips the others by their boxes.
    The rows wait in a file beside `path`, which is mapped and never held as a whole; the places of all rows are held.

    Parameters
    ----------
    path : .parquet
    batches : rows as `Layer.batch` makes them
    """
    waiting = path.with_suffix(".arrows")
    try:
        middles, extent = _set_aside(waiting, batches, layer)
        order = np.argsort(hilbert_codes(middles), kind="stable")
        schema = _with_boxes(layer)
        with pq.ParquetWriter(path, schema, compression="zstd") as writer, pa.memory_map(str(waiting)) as mapped:
            for rows in _sorted_rows(pa.ipc.open_file(mapped), order):
                writer.write_batch(rows)
            writer.add_key_value_metadata(_about(layer, extent))
    finally:
        waiting.unlink(missing_ok=True)


def _set_aside(
    path: Path, batches: Iterable[pa.RecordBatch], layer: Layer
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Write the batches as they come; return the middle of each row's box, (n, 2), and the box of all, (4,)."""
    schema, middles = _with_boxes(layer), [np.empty((0, 2))]
    sides = list(schema.field("bbox").type)
    extent = np.array([np.inf, np.inf, -np.inf, -np.inf])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for batch in batches:
            bounds = shapely.bounds(shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False))).reshape(-1, 4)
            boxes = pa.StructArray.from_arrays([pa.array(side) for side in bounds.T], fields=sides)
            writer.write_batch(pa.record_batch([*batch.columns, boxes], schema=schema))
            extent[:2] = np.minimum(extent[:2], bounds[:, :2].min(axis=0, initial=np.inf))
            extent[2:] = np.maximum(extent[2:], bounds[:, 2:].max(axis=0, initial=-np.inf))
            middles.append((bounds[:, :2] + bounds[:, 2:]) / 2)
    return np.concatenate(middles), extent


def _sorted_rows(waiting: pa.ipc.RecordBatchFileReader, order: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of all batches in an order, a row group at a time."""
    counts = [waiting.get_batch(i).num_rows for i in range(waiting.num_record_batches)]
    ends = np.cumsum(counts)
    for first in range(0, len(order), _ROWS_PER_GROUP):
        wanted = order[first : first + _ROWS_PER_GROUP]
        ascending = np.sort(wanted)
        batch_of = np.searchsorted(ends, ascending, side="right")
        parts = [
            waiting.get_batch(int(i)).take(pa.array(ascending[batch_of == i] - (ends[i] - counts[i])))
            for i in np.unique(batch_of)
        ]
        yield pa.concat_batches(parts).take(pa.array(np.searchsorted(ascending, wanted)))


def _with_boxes(layer: Layer) -> pa.Schema:
    """Return the columns of the layer and `bbox`, each with what it is called and what it means."""
    named = [
        pa.field(field.name, field.type, metadata={"alias": field.alias, "description": field.description})
        for field in layer.fields
    ]
    box = pa.field("bbox", pa.struct([(side, pa.float64()) for side in _BBOX]))
    return pa.schema([*named, layer.schema.field("geometry"), box])


def _about(layer: Layer, extent: NDArray[np.float64]) -> dict[str, str]:
    """Return what the file says of itself, `geo` as the standard wants it."""
    geometry: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [layer.geometry],
        "crs": CRS(layer.crs).to_json_dict(),
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
    }
