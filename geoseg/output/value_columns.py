"""Columns of the statistics of rasters of values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from geoseg.output.extra_columns import Field
from geoseg.raster.values_raster import ValuesRaster

STATISTICS = {  # end of the name → display name, in the order of the columns
    "mean": "Mean",
    "std": "Standard deviation",
    "min": "Minimum",
    "max": "Maximum",
    "median": "Median",
    "p10": "10th percentile",
    "p90": "90th percentile",
}


def value_fields(rasters: Sequence[ValuesRaster]) -> tuple[Field, ...]:
    """Return the columns of rasters of values."""
    fields: list[Field] = []
    for raster in rasters:
        source = Path(raster.source.path).name
        if raster.is_categories:
            text = f"Most frequent value in {source}; no value if it has none there"
            fields.append(
                Field(f"{raster.name}_majority", pa.int64(), f"Majority of {raster.name}", text, "everywhere")
            )
        else:
            for layer in raster.layers:
                fields += [
                    Field(
                        f"{layer}_{end}",
                        pa.float64(),
                        f"{title} of {layer}",
                        f"{title} of the values of {source}",
                        "everywhere",
                    )
                    for end, title in STATISTICS.items()
                ]
    return tuple(fields)


def column_names(raster: ValuesRaster) -> list[str]:
    """Return the names of the columns of a raster of values."""
    return [field.name for field in value_fields([raster])]
