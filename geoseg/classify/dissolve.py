"""Unite adjacent regions of one name, with the polygons on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from geoseg.classify.named_layer import Named
from geoseg.classify.read_regions import Regions
from geoseg.output.columns import Layer
from geoseg.output.extra_columns import Field
from geoseg.report.polygon_file import PolygonFile
from geoseg.vectorize.dissolve import connected_groups, unite

DISSOLVED_FIELDS = (
    Field("region", pa.int64(), "Region", "Lowest number of its regions"),
    Field("name", pa.string(), "Name", "Name of its regions"),
    Field("probability", pa.float32(), "Probability", "Mean probability of the name, weighted by area, 0 to 1"),
    Field("regions", pa.int64(), "Regions", "Number of regions"),
    Field("size", pa.float64(), "Size", "Area in squared units of the CRS"),
)

_ROWS = 16_384  # regions whose polygons are in memory at a time, or one union if it has more
_GEOMETRY = "geometry"


def dissolved_batches(
    path: Path, file: PolygonFile, layer: Layer, regions: Regions, named: Named
) -> Iterator[pa.RecordBatch]:
    """Yield the unions in batches.

    The polygons are first written to a temporary Arrow file beside `path`, which is memory-mapped.

    Parameters
    ----------
    path : Path
        The output.
    file : PolygonFile
    layer : Layer
        With `DISSOLVED_FIELDS`.
    regions : Regions
    named : Named
    """
    borders = regions.table.borders
    adjacent = np.repeat(np.arange(borders.shape[0]), np.diff(borders.indptr)), borders.indices
    group = connected_groups(adjacent, named.first)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        stored = _store(Path(folder) / "regions.arrow", file)
        first = 0
        while first < len(starts):
            last = max(int(np.searchsorted(ends, starts[first] + _ROWS, side="right")), first + 1)
            rows = order[starts[first] : ends[last - 1]]
            bounds = np.append(starts[first:last], ends[last - 1]) - starts[first]
            yield _unite(stored, rows, bounds, layer, (regions, named))
            first = last


def _store(path: Path, file: PolygonFile) -> pa.Table:
    schema = pa.schema([("region", pa.int64()), (_GEOMETRY, pa.large_binary())])
    with pa.OSFile(str(path), "wb") as target, pa.ipc.new_file(target, schema) as writer:
        for batch in file.batches(["region", _GEOMETRY]):
            columns = [batch.column("region").cast(pa.int64()), batch.column(_GEOMETRY).cast(pa.large_binary())]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _unite(
    stored: pa.Table,
    rows: NDArray[np.int64],
    bounds: NDArray[np.int64],
    layer: Layer,
    content: tuple[Regions, Named],
) -> pa.RecordBatch:
    """Return one row per group; group i has the rows from bounds[i] to bounds[i + 1]."""
    regions, named = content
    part = stored.take(pa.array(rows))
    shapes = shapely.from_wkb(part.column(_GEOMETRY).combine_chunks().to_numpy(zero_copy_only=False))
    starts = bounds[:-1]
    united = unite(shapes, np.repeat(np.arange(len(starts)), np.diff(bounds)))
    polygons, of = shapely.get_parts(united, return_index=True)
    sizes = regions.table.sizes[rows]
    total = np.add.reduceat(sizes, starts)
    weighted = np.add.reduceat(sizes * named.probability[rows], starts)
    numbers = part.column("region").to_numpy()
    columns: dict[str, NDArray[Any]] = {
        "region": np.minimum.reduceat(numbers, starts),
        "name": np.array(named.names, object)[named.first[rows[starts]]],
        "probability": (weighted / np.where(total > 0, total, 1)).astype(np.float32),
        "regions": np.diff(bounds),
        "size": total,
    }
    return layer.batch({name: values[of] for name, values in columns.items()}, polygons)
