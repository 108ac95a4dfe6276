"""Read the rows of a polygon file in batches: GeoPackage, FlatGeobuf or GeoParquet."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pyogrio
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import RasterError, shorten
from geoseg.raster.polygon_layer import opened_layer, reading_polygons

_ROWS = 16_384  # of a batch
_GEOMETRY = "geometry"
_UNNAMED = "unknown"  # a name that was removed
_BY_NAME = {"class": "name", "confidence": "probability", "second": "second"}

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class PolygonFile:
    """An open polygon file.

    Parameters
    ----------
    path : Path
        As the user gave it.
    source : Path
        What is read.
    layer : str or None
        None = a GeoParquet file.
    columns : tuple of str
        Names of the columns without geometry.
    names : tuple of str
        From `by_name`; empty = regions have classes.
    """

    path: Path
    source: Path
    layer: str | None
    columns: tuple[str, ...]
    names: tuple[str, ...] = ()

    def by_name(self, known: Sequence[str]) -> PolygonFile:
        """Return the file with names in place of classes, for regions with the columns of `_BY_NAME`.

        Of `rows`, the column `class` is then the position of the name in `names`, from 1; `confidence` is the
        probability of the name, and `second` the position of the second name, 0 = none.

        Parameters
        ----------
        known : sequence of str
            The first ones of `names`; other names that occur follow.

        Raises
        ------
        RasterError
            If the file is damaged.
        """
        found: set[str] = set()
        for batch in self.batches(["name"]):
            found |= {_UNNAMED if each is None else str(each) for each in batch.column("name").unique().to_pylist()}
        kept = (name for name in self.columns if name not in _BY_NAME)
        return replace(self, columns=(*kept, *_BY_NAME), names=(*known, *sorted(found - set(known))))

    def rows(
        self,
        columns: Sequence[str],
        *,
        least: tuple[str, int] | None = None,
        bounds: tuple[float, float, float, float] | None = None,
    ) -> Iterator[Columns]:
        """Yield columns of the rows, in batches.

        Parameters
        ----------
        columns : sequence of str
            Names; "geometry" for the polygons as shapely geometries. Those that the file lacks are left out.
        least : (str, int) or None
            Only rows with at least this number in this column; None = all.
        bounds : (left, bottom, right, top) or None
            Only rows whose polygons may overlap these; None = all.

        Raises
        ------
        RasterError
            If the file is damaged.
        """
        wanted = [name for name in columns if name in self.columns]
        stored = {name: _BY_NAME[name] if self.names and name in _BY_NAME else name for name in wanted}
        has_geometry = _GEOMETRY in columns
        names = [*stored.values(), *([_GEOMETRY] if has_geometry else [])]
        for batch in self.batches(names, least=least, bounds=bounds):
            yield _columns(batch, stored, self.names, has_geometry=has_geometry)

    def batches(
        self,
        columns: Sequence[str],
        *,
        least: tuple[str, int] | None = None,
        bounds: tuple[float, float, float, float] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield columns of the rows as record batches; parameters as of `rows`, "geometry" is WKB.

        Raises
        ------
        RasterError
            If the file is damaged.
        """
        hidden = _BY_NAME.values() if self.names else ()
        wanted = [name for name in columns if name in self.columns or name in hidden]
        read = self._parquet if self.layer is None else self._ogr
        with reading_polygons(self.path):
            yield from read(wanted, has_geometry=_GEOMETRY in columns, least=least, bounds=bounds)

    def schema(self) -> pa.Schema:
        """Return the types of the columns without geometry, with alias and description as metadata.

        Raises
        ------
        RasterError
            If the file is damaged.
        """
        with reading_polygons(self.path):
            if self.layer is None:
                found = pq.ParquetFile(self.source).schema_arrow
            else:
                with pyogrio.open_arrow(self.source, layer=self.layer, read_geometry=False, use_pyarrow=True) as read:
                    found = read[1].schema
        return pa.schema([found.field(name) for name in self.columns])

    def geometry_type(self) -> str:
        """Return Polygon or MultiPolygon.

        Raises
        ------
        RasterError
            If the file is damaged or has other geometries.
        """
        with reading_polygons(self.path):
            if self.layer is None:
                found = set(self._geo().get("geometry_types", ()))
            else:
                found = {pyogrio.read_info(self.source, layer=self.layer)["geometry_type"]}
        if not found <= {"Polygon", "MultiPolygon"}:
            raise RasterError(f"{self.path} contains {shorten(', '.join(map(str, found)))}; expected polygons.")
        return "MultiPolygon" if "MultiPolygon" in found else "Polygon"

    def _geo(self) -> dict[str, Any]:
        """Return what GeoParquet records about the geometry."""
        about = json.loads((pq.ParquetFile(self.source).metadata.metadata or {}).get(b"geo", b"{}"))
        return dict(about.get("columns", {}).get(_GEOMETRY, {}))

    def crs(self) -> str:
        """Return the CRS as WKT.

        Raises
        ------
        RasterError
            If there is none, or the file is damaged.
        """
        with reading_polygons(self.path):
            if self.layer is None:
                given = self._geo().get("crs", "OGC:CRS84")  # the default of the standard
            else:
                given = pyogrio.read_info(self.source, layer=self.layer)["crs"]
            if given is None:
                raise RasterError(
                    f"{self.path} has no CRS, so its place is unknown. Assign one: ogr2ogr -a_srs EPSG:<code>."
                )
            return CRS(given).to_wkt()

    def _ogr(
        self,
        columns: list[str],
        *,
        has_geometry: bool,
        least: tuple[str, int] | None,
        bounds: tuple[float, float, float, float] | None,
    ) -> Iterator[pa.RecordBatch]:
        where = None if least is None else f'"{least[0]}" >= {least[1]}'
        with pyogrio.open_arrow(
            self.source,
            layer=self.layer,
            columns=columns,
            read_geometry=has_geometry,
            where=where,
            bbox=bounds,
            batch_size=_ROWS,
            use_pyarrow=True,
        ) as (meta, reader):
            for batch in reader:
                name = meta["geometry_name"] or "wkb_geometry"
                names = [_GEOMETRY if each == name else each for each in batch.schema.names]
                yield batch.rename_columns(names)

    def _parquet(
        self,
        columns: list[str],
        *,
        has_geometry: bool,
        least: tuple[str, int] | None,
        bounds: tuple[float, float, float, float] | None,
    ) -> Iterator[pa.RecordBatch]:
        conditions = [] if least is None else [ds.field(least[0]) >= least[1]]
        if bounds is not None:
            left, bottom, right, top = bounds
            conditions += [ds.field("bbox", "xmin") <= right, ds.field("bbox", "xmax") >= left]
            conditions += [ds.field("bbox", "ymin") <= top, ds.field("bbox", "ymax") >= bottom]
        keep = functools.reduce(operator.and_, conditions) if conditions else None
        names = [*columns, *([_GEOMETRY] if has_geometry else [])]
        yield from ds.dataset(self.source, format="parquet").to_batches(
            columns=names, filter=keep, batch_size=_ROWS, batch_readahead=1, fragment_readahead=1
        )


@contextmanager
def open_polygons(path: Path) -> Iterator[PolygonFile]:
    """Open the polygons of a run.

    Parameters
    ----------
    path : Path
        A .gpkg, .fgb or .parquet that geoseg has written.

    Raises
    ------
    RasterError
        If it is missing, damaged, or has no layer of geoseg.
    """
    with opened_layer(path) as found:
        with reading_polygons(path):
            if found.layer is None:
                names = pq.ParquetFile(path).schema_arrow.names
            else:
                names = pyogrio.read_info(found.source, layer=found.layer)["fields"].tolist()
        yield PolygonFile(path, found.source, found.layer, _checked(path, names))


def _checked(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    missing = [name for name in ("region", "class") if name not in names]
    if missing:
        raise RasterError(
            f"{path} has no column {missing[0]}; expected the polygons of geoseg tile or outline. Give their file."
        )
    return tuple(name for name in names if name not in (_GEOMETRY, "bbox"))


def _columns(batch: pa.RecordBatch, stored: Mapping[str, str], names: Sequence[str], *, has_geometry: bool) -> Columns:
    """Return columns of a batch by the names under which they are wanted."""
    found: Columns = {}
    for name, column in ((name, batch.column(each)) for name, each in stored.items()):
        if names and name in ("class", "second"):
            given = column.cast(pa.string())
            given = pc.fill_null(given, _UNNAMED) if name == "class" else given
            column = pc.fill_null(pc.add(pc.index_in(given, pa.array(names, pa.string())), 1), 0)
        found[name] = column.to_numpy(zero_copy_only=False)
    if has_geometry:
        wkb = batch.column(_GEOMETRY).to_numpy(zero_copy_only=False)
        found[_GEOMETRY] = shapely.from_wkb(wkb, on_invalid="ignore")
    return found
