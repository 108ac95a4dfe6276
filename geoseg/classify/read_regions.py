"""Read the regions of a polygon file, batch by batch, with their borders and their samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from geoseg.classify.attributes import attribute_columns, level_columns
from geoseg.classify.borders import BorderCollector
from geoseg.classify.region_table import RegionTable
from geoseg.classify.rings import edges_of
from geoseg.classify.samples import Located, SampleLocator, Samples
from geoseg.classify.shapes import SHAPES, polygon_shapes
from geoseg.errors import RasterError
from geoseg.report.polygon_file import PolygonFile

_GEOMETRY = "geometry"


class Regions(NamedTuple):
    """Regions of a file.

    Parameters
    ----------
    table : RegionTable
    colors : (region,) int32
        Colour of the class as 0xrrggbb; -1 = unknown.
    located : Located
        The regions with samples.
    """

    table: RegionTable
    colors: NDArray[np.int32]
    located: Located


def read_regions(file: PolygonFile, samples: Samples | None, *, in_one_scene: bool = True) -> Regions:
    """Read all regions once.

    Memory holds the attributes and the neighbours of all regions, and the polygons of a batch.

    Parameters
    ----------
    file : PolygonFile
    samples : Samples or None
        None = there are none.
    in_one_scene : bool
        As in `attribute_columns`.

    Raises
    ------
    RasterError
        If the file is damaged or has no regions.
    """
    columns, levels = attribute_columns(file.schema(), in_one_scene=in_one_scene), level_columns(file.schema())
    shapes = tuple(name for name in SHAPES if name not in columns)
    borders, locator = BorderCollector(), SampleLocator(samples) if samples is not None else None
    values, classes, colors, centres, sizes, n = [], [], [], [], [], 0
    for batch in file.batches([*columns, *levels, "color", _GEOMETRY]):
        polygons = shapely.from_wkb(batch.column(_GEOMETRY).to_numpy(zero_copy_only=False), on_invalid="ignore")
        edges = edges_of(polygons)
        of_shape = polygon_shapes(polygons, edges)
        measured = [_numbers(batch.column(name)) for name in columns]
        values.append(np.stack([*measured, *(of_shape[name].astype(np.float32) for name in shapes)], axis=1))
        classes.append([batch.column(name).fill_null(0).to_numpy(zero_copy_only=False) for name in levels])
        bounds = shapely.bounds(polygons)
        centres.append(np.nan_to_num((bounds[:, :2] + bounds[:, 2:]) / 2))
        sizes.append(shapely.area(polygons))
        colors.append(_colors(batch))
        borders.add(edges, n)
        if locator is not None:
            locator.add(polygons, n)
        n += len(polygons)
    if not n:
        raise RasterError(f"{file.path} has no regions, so nothing can be classified. Give a file with polygons.")
    table = RegionTable(
        attributes=(*columns, *shapes),
        values=np.concatenate(values),
        sizes=np.nan_to_num(np.concatenate(sizes)),
        centres=np.concatenate(centres),
        borders=borders.lengths(n),
        levels={name: _ranks(parts) for name, parts in zip(levels, zip(*classes, strict=True), strict=True)},
    )
    none = np.empty(0, np.int64)
    located = Located(none, none, np.empty(0, bool)) if locator is None else locator.located()
    return Regions(table, np.concatenate(colors), located)


def _numbers(column: pa.Array) -> NDArray[np.float32]:
    """Return a column as float32; NaN for missing and infinite values."""
    found = column.to_numpy(zero_copy_only=False).astype(np.float32)
    found[~np.isfinite(found)] = np.nan
    return found


def _ranks(parts: Sequence[NDArray[np.integer]]) -> NDArray[np.int32]:
    """Return the rank of each number among all that occur, from 0."""
    return np.unique(np.concatenate(parts), return_inverse=True)[1].astype(np.int32)


def _colors(batch: pa.RecordBatch) -> NDArray[np.int32]:
    if "color" not in batch.schema.names or not pa.types.is_string(batch.schema.field("color").type):
        return np.full(batch.num_rows, -1, np.int32)
    encoded = batch.column("color").dictionary_encode()
    numbers = np.array([_number(each) for each in encoded.dictionary.to_pylist()] + [-1], np.int32)
    return numbers[encoded.indices.fill_null(len(numbers) - 1).to_numpy(zero_copy_only=False)]


def _number(color: Any) -> int:
    try:
        return int(str(color).removeprefix("#"), 16) if len(str(color)) == 7 else -1
    except ValueError:
        return -1
