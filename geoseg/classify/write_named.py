"""Write the named regions, and the regions to name next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.classify.colors import name_colors
from geoseg.classify.dissolve import DISSOLVED_FIELDS, dissolved_batches
from geoseg.classify.named_layer import NAME_FIELDS, Named, field_of, named_layer, with_columns
from geoseg.classify.read_regions import Regions
from geoseg.errors import ConfigError
from geoseg.output.columns import Layer
from geoseg.output.extra_columns import Field
from geoseg.output.polygons import Extras, write_polygons
from geoseg.output.publication import Publication
from geoseg.output.style import name_qml, region_qml
from geoseg.report.polygon_file import PolygonFile

_GEOMETRY = "geometry"

Colors = dict[str, tuple[int, int, int]]


def suggestions_path(out: Path) -> Path:
    """Return the path of the regions to name next.

    Examples
    --------
    >>> suggestions_path(Path("named.gpkg")).name
    'named.suggestions.gpkg'
    """
    return out.with_name(f"{out.stem}.suggestions{out.suffix}")


def write_named(path: Path, file: PolygonFile, regions: Regions, named: Named, publication: Publication) -> Colors:
    """Write all regions with the columns that they had and their names; return the colours of the names."""
    layer = named_layer(file, "Named regions", "Regions with names from samples.", NAME_FIELDS)
    batches = with_columns(file, layer, lambda _, rows: named.columns(rows))
    return _write(path, batches, layer, (regions, named), publication)


def write_dissolved(path: Path, file: PolygonFile, regions: Regions, named: Named, publication: Publication) -> Colors:
    """Write the unions of adjacent regions of one name; return the colours of the names."""
    text = "Adjacent regions of one name, united."
    layer = Layer("labels", "Named areas", text, file.crs(), DISSOLVED_FIELDS, "Polygon")
    return _write(path, dissolved_batches(path, file, layer, regions, named), layer, (regions, named), publication)


def _write(
    path: Path,
    batches: Iterator[pa.RecordBatch],
    layer: Layer,
    content: tuple[Regions, Named],
    publication: Publication,
) -> Colors:
    regions, named = content
    colors = name_colors(named, regions.colors, regions.table.sizes)
    style = name_qml(colors, layer.aliases)
    extras = Extras({"regions": region_qml(layer.aliases)})
    write_polygons(path, batches, layer, style=style, extras=extras, overwrite=publication)
    return colors


def write_suggestions(
    path: Path, file: PolygonFile, chosen: tuple[NDArray[np.int64], Named], field: str, publication: Publication
) -> None:
    """Write regions with an empty field for their name.

    Parameters
    ----------
    path : Path
    file : PolygonFile
    chosen : ((n,) int64, Named)
        Rows, the most useful first; names of all regions.
    field : str
        Name of the field to fill in.
    publication : Publication

    Raises
    ------
    ConfigError
        If the layer has another column of this name.
    """
    rows, named = chosen
    region = field_of(file.schema().field("region"))
    fields = (
        Field("rank", pa.int32(), "Rank", "1 = its name would teach most"),
        Field("likely", pa.string(), "Likely name", "Most probable name at present"),
        Field("likely_probability", pa.float32(), "Probability", "Probability of the most probable name, 0 to 1"),
        Field("likely_second", pa.string(), "Second name", "Second most probable name at present"),
    )
    if field in {region.name, "fid", _GEOMETRY, *(each.name for each in fields)}:
        raise ConfigError(f"the layer of suggestions has a column {field} of its own; give --field another name.")
    wanted = Field(field, pa.string(), field, "To fill in: the name of the region")
    layer = Layer(
        "labels", "Regions to name", "Fill in the field, and give this file with --samples.", file.crs(),
        (region, wanted, *fields), file.geometry_type(),
    )  # fmt: skip
    style = region_qml(layer.aliases)
    batches = _suggested(file, layer, rows, named)
    write_polygons(path, batches, layer, style=style, extras=Extras({"regions": style}), overwrite=publication)


def _suggested(file: PolygonFile, layer: Layer, rows: NDArray[np.int64], named: Named) -> Iterator[pa.RecordBatch]:
    rank = {int(row): i for i, row in enumerate(rows.tolist(), start=1)}
    first = 0
    for batch in file.batches(["region", _GEOMETRY]):
        found = np.sort(rows[(rows >= first) & (rows < first + batch.num_rows)])
        if len(found):
            part = batch.take(pa.array(found - first))
            ranks = pa.array([rank[row] for row in found.tolist()], pa.int32())
            columns = [part.column("region"), pa.nulls(len(found), pa.string()), ranks, *named.columns(found)]
            yield pa.record_batch([*columns, part.column(_GEOMETRY).cast(pa.binary())], schema=layer.schema)
        first += batch.num_rows
