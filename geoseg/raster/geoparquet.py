"""Read the rows of a GeoParquet file of any program in batches.

The GDAL in the wheels of pyogrio cannot read these files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS

from geoseg.errors import RasterError, shorten
from geoseg.raster.regular_file import regular_file

MAGIC = b"PAR1"  # first bytes of the file
_DEFAULT_CRS = "OGC:CRS84"  # of the standard
_MAX_GROUP_BYTES = 2 * 2**30
_ROWS = 10_000


@dataclass(frozen=True)
class GeoParquet:
    """An open GeoParquet file.

    Parameters
    ----------
    path : Path
    geometry : str
        Name of the column with the geometries, as WKB.
    fields : tuple of str
        Names of the other columns.
    crs : str or None
        CRS of the geometries as WKT; None = unknown.
    """

    path: Path
    geometry: str
    fields: tuple[str, ...]
    crs: str | None
    _file: Any

    def batches(self, fields: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches, with the geometries and some of the fields.

        Raises
        ------
        RasterError
            If a row group takes more than 2 GiB of memory.
        """
        columns = [self.geometry, *fields]
        self._check_row_groups(columns)
        yield from self._file.iter_batches(batch_size=_ROWS, columns=columns)

    def _check_row_groups(self, columns: Sequence[str]) -> None:
        """Check the memory of the columns that are read, which are decompressed by row group."""
        for number in range(self._file.metadata.num_row_groups):
            group = self._file.metadata.row_group(number)
            found = [group.column(i) for i in range(group.num_columns)]
            n_bytes = sum(one.total_uncompressed_size for one in found if one.path_in_schema.split(".")[0] in columns)
            if n_bytes > _MAX_GROUP_BYTES:
                raise RasterError(
                    f"{self.path} has a row group of {n_bytes / 2**30:.1f} GiB; expected at most "
                    f"{_MAX_GROUP_BYTES / 2**30:.0f} GiB. Write it with smaller row groups."
                )


@contextmanager
def opened_geoparquet(path: Path) -> Iterator[GeoParquet]:
    """Return a context manager with an open file.

    Raises
    ------
    RasterError
        If it has no geometry, or one that is not stored as WKB. Errors of libraries are passed on.
    """
    with closing(pq.ParquetFile(regular_file(path))) as file:
        try:
            about = json.loads((file.metadata.metadata or {})[b"geo"])
            geometry = str(about["primary_column"])
            column: dict[str, Any] = dict(about["columns"][geometry])
        except (KeyError, TypeError, ValueError) as err:
            raise RasterError(
                f"{path} has no geometry; expected GeoParquet. Convert it first, for example to a GeoPackage."
            ) from err
        if column.get("encoding") != "WKB":
            encoding = shorten(column.get("encoding"), 40)
            raise RasterError(f"{path} stores its geometry as {encoding}; expected WKB. Convert it to a GeoPackage.")
        given = column.get("crs", _DEFAULT_CRS)
        fields = tuple(name for name in file.schema_arrow.names if name not in (geometry, "bbox"))
        yield GeoParquet(path, geometry, fields, None if given is None else CRS.from_user_input(given).to_wkt(), file)
