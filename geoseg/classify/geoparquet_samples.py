"""Geometries with names in a GeoParquet file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS

from geoseg.errors import RasterError, shorten

MAGIC = b"PAR1"
_DEFAULT_CRS = "OGC:CRS84"  # of the standard
_ROWS = 10_000


class ParquetSamples:
    """An open GeoParquet file.

    Parameters
    ----------
    path : Path

    Raises
    ------
    RasterError
        If it has no geometry, or one that is not stored as WKB.
    """

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        try:
            about = json.loads((self._file.metadata.metadata or {})[b"geo"])
            self._geometry = str(about["primary_column"])
            self._about: dict[str, Any] = dict(about["columns"][self._geometry])
        except (KeyError, TypeError, ValueError) as err:
            raise RasterError(f"{path} has no geometry; expected GeoParquet. Convert it first, or give a CSV.") from err
        if self._about.get("encoding") != "WKB":
            encoding = shorten(self._about.get("encoding"), 40)
            raise RasterError(f"{path} stores its geometry as {encoding}; expected WKB. Convert it to a GeoPackage.")
        names = self._file.schema_arrow.names
        self.fields = [name for name in names if name not in (self._geometry, "bbox")]

    @property
    def crs(self) -> str | None:
        """The CRS as WKT; None = there is none."""
        given = self._about.get("crs", _DEFAULT_CRS)
        return None if given is None else CRS.from_user_input(given).to_wkt()

    def batches(self, field: str) -> Iterator[tuple[Any, list[Any]]]:
        """Yield the geometries as WKB and the values of a field."""
        for batch in self._file.iter_batches(batch_size=_ROWS, columns=[field, self._geometry]):
            wkb = batch.column(self._geometry).cast(pa.binary())
            yield wkb.to_numpy(zero_copy_only=False), batch.column(field).to_pylist()
