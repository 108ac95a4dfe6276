"""The reference of an evaluation: a raster of labels, or polygons that are rasterised on the grid of the classes.

Polygons are read once, batch by batch, and laid down in a file with a spatial index in the CRS of the classes; each
window then asks it for its own. So neither a large scene nor a large layer has to fit into memory.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import rasterio.features
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import GeosegError, RasterError
from geoseg.evaluate.class_raster import Labels, check_overlap, open_labels_on
from geoseg.grid import GeoBox, Window
from geoseg.output.columns import Field, Layer
from geoseg.output.files import Source, writing
from geoseg.raster.aoi import frame_of, outline_near, polygons_among, reproject

POLYGON_SUFFIXES = (".gpkg", ".geojson", ".json", ".shp", ".fgb", ".parquet", ".geoparquet", ".gml", ".kml", ".sqlite")
_ARROW_SUFFIXES = (".parquet", ".geoparquet")  # not in the GDAL of pyogrio's wheels

_ROWS_PER_BATCH = 10_000
_MOST_NAMES = 65_535  # different values of a field; more of them are ids
_FIELDS = (Field("place", pa.int64(), "Order in the file"), Field("number", pa.int32(), "Number of the label"))


@dataclass
class Names:
    """Numbers for the values of a field, from 1 in the order in which they are met."""

    path: Path
    numbers: dict[int | float | str, int] = field(default_factory=dict)

    def number(self, value: Any) -> int:
        """Return the number of a value, 0 for none.

        Raises
        ------
        RasterError : too many different values
        """
        if isinstance(value, float):
            if not math.isfinite(value):
                return 0
            value = int(value) if value.is_integer() else value
        if value is None or (isinstance(value, str) and not value.strip()):
            return 0
        key = value if isinstance(value, int | float | str) and not isinstance(value, bool) else str(value)
        if key not in self.numbers and len(self.numbers) == _MOST_NAMES:
            raise RasterError(
                f"the field of {self.path} has more than {_MOST_NAMES} different values, so it tells polygons apart "
                "and not kinds of ground. Give --field with another one."
            )
        return self.numbers.setdefault(key, len(self.numbers) + 1)

    def in_order(self) -> tuple[NDArray[np.int32], dict[int, int | float | str]]:
        """Return for each number its rank among the sorted values, (number,) int32 with 0 for 0, and rank → value."""
        ordered = sorted(self.numbers)  # of one column, so all of them numbers or all of them words
        ranks = np.zeros(len(ordered) + 1, np.int32)
        ranks[[self.numbers[value] for value in ordered]] = np.arange(1, len(ordered) + 1)
        return ranks, dict(enumerate(ordered, start=1))


@contextmanager
def open_reference(
    path: str | Path, geobox: GeoBox, *, field: str | None = None, layer: str | None = None
) -> Iterator[Labels]:
    """Open a reference on the grid of the classes.

    Parameters
    ----------
    path : raster of labels, or polygons of one of `POLYGON_SUFFIXES`
    field : of the polygons, with a number or a word for each; None = inside or outside is all that counts
    layer : of the polygons, where the file has several

    Raises
    ------
    RasterError : not readable, nothing in it, elsewhere, or no such field or layer
    """
    if Path(path).suffix.lower() not in POLYGON_SUFFIXES:
        if field or layer:
            raise RasterError(
                f"{path} is taken for a raster, which has no field or layer. Leave --field and --layer out, or give "
                f"polygons: {', '.join(POLYGON_SUFFIXES)}."
            )
        with open_labels_on(path, geobox) as labels:
            yield labels
        return
    _check_classes_placed(path, geobox)
    with TemporaryDirectory(prefix="geoseg-") as folder:
        copy = Path(folder) / "polygons.fgb"
        with _understood(path):
            names = _copy(Path(path), copy, geobox, field=field, layer=layer)
        yield _labels(Path(path), copy, geobox, names if field else None)


def _check_classes_placed(path: str | Path, geobox: GeoBox) -> None:
    if not geobox.crs:
        raise RasterError(
            f"the class raster has no CRS, so the polygons of {path} cannot be laid over it. Give it one first: "
            "gdal_edit.py -a_srs EPSG:<code> FILE"
        )


@contextmanager
def _understood(path: str | Path) -> Iterator[None]:
    """Turn what libraries say about a file of polygons into one line."""
    try:
        yield
    except GeosegError:
        raise
    except Exception as err:  # pyogrio, pyarrow, pyproj, shapely and GDAL raise many kinds
        raise RasterError(
            f"the polygons of {path} cannot be read: {' '.join(str(err).split())}. Is it a file of polygons?"
        ) from err


def _copy(path: Path, copy: Path, geobox: GeoBox, *, field: str | None, layer: str | None) -> Names:
    """Write the polygons with the numbers of their labels in the CRS of the classes; return the numbers."""
    if not path.is_file():
        raise RasterError(f"there is no file {path}.")
    names = Names(path)
    target = Layer("polygons", "", "", geobox.crs, _FIELDS)
    extent = np.array([np.inf, np.inf, -np.inf, -np.inf])
    source = Source(_numbered(_batches(path, geobox, field=field, layer=layer), names, geobox, target, extent))
    with writing(copy, source):
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(target.schema, source),
            copy,
            layer=target.name,
            driver="FlatGeobuf",
            geometry_name="geometry",
            geometry_type="Polygon",
            crs=target.crs,
            layer_options={"TEMPORARY_DIR": str(copy.parent)},
        )
    if not np.isfinite(extent).all():
        said = f" with a value in the field {field!r}" if field else ""
        raise RasterError(f"{path} has no polygon{said} near the classes. Give a reference of the same place.")
    check_overlap(path, tuple(extent.tolist()), geobox)
    return names


Batch = tuple[NDArray[np.object_], list[Any], str]  # shapes, the value of each, and their CRS


def _numbered(
    batches: Iterable[Batch], names: Names, geobox: GeoBox, target: Layer, extent: NDArray[np.float64]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the copy; widen `extent` (left, bottom, right, top) by each."""
    place = 0
    for shapes, values, crs in batches:
        if not CRS(crs).equals(CRS(geobox.crs), ignore_axis_order=True):
            shapes = reproject(shapely.make_valid(shapes), crs, geobox)
        polygons, source = polygons_among(shapely.force_2d(shapes))
        bounds = shapely.bounds(polygons)  # (polygon, 4)
        numbers = np.array([names.number(value) for value in values], np.int32)[source]
        kept = (numbers > 0) & np.isfinite(bounds).all(axis=1)
        extent[:2] = np.minimum(extent[:2], bounds[kept, :2].min(axis=0, initial=np.inf))
        extent[2:] = np.maximum(extent[2:], bounds[kept, 2:].max(axis=0, initial=-np.inf))
        yield target.batch({"place": place + source[kept], "number": numbers[kept]}, polygons[kept])
        place += len(shapes)


def _batches(path: Path, geobox: GeoBox, *, field: str | None, layer: str | None) -> Iterator[Batch]:
    read = _parquet_batches if path.suffix.lower() in _ARROW_SUFFIXES else _ogr_batches
    for rows, geometry, crs in read(path, geobox, field, layer):
        shapes = shapely.from_wkb(rows.column(geometry).to_numpy(zero_copy_only=False))
        values = rows.column(field).to_pylist() if field else ["polygon"] * len(shapes)
        yield shapes, values, crs


def _ogr_batches(
    path: Path, geobox: GeoBox, field: str | None, layer: str | None
) -> Iterator[tuple[pa.RecordBatch, str, str]]:
    layer = _layer(path, layer)
    info = pyogrio.read_info(path, layer=layer)
    _check_field(path, field, list(info["fields"]))
    crs = _check_crs(path, info["crs"])
    near = outline_near(geobox, crs)
    with pyogrio.open_arrow(
        path,
        layer=layer,
        columns=[field] if field else [],
        bbox=None if near is None else near.bounds,
        batch_size=_ROWS_PER_BATCH,
        use_pyarrow=True,
    ) as (meta, reader):
        for rows in reader:
            yield rows, meta["geometry_name"] or "wkb_geometry", crs


def _parquet_batches(
    path: Path,
    geobox: GeoBox,  # noqa: ARG001 # GeoParquet without a box for each polygon cannot be asked for a place
    field: str | None,
    layer: str | None,
) -> Iterator[tuple[pa.RecordBatch, str, str]]:
    with contextlib.closing(pq.ParquetFile(path)) as file:
        about = json.loads((file.metadata.metadata or {}).get(b"geo", b"{}"))
        geometry = about.get("primary_column", "")
        column = about.get("columns", {}).get(geometry, {})
        if column.get("encoding") != "WKB" or layer:
            raise RasterError(f"{path} is no GeoParquet of WKB, or was asked for a layer, which it does not have.")
        _check_field(path, field, [name for name in file.schema_arrow.names if name != geometry])
        crs = _check_crs(path, column.get("crs", "OGC:CRS84"))  # as the standard has it where nothing is said
        for rows in file.iter_batches(batch_size=_ROWS_PER_BATCH, columns=[geometry, *([field] if field else [])]):
            yield rows, geometry, crs


def _layer(path: Path, layer: str | None) -> str:
    layers = [str(name) for name, geometry in pyogrio.list_layers(path) if geometry is not None]
    if layer is None and len(layers) == 1:
        return layers[0]
    if layer is not None and layer in layers:
        return layer
    told = f"has the layers {', '.join(layers)}" if layers else "has no layer with geometry"
    wanted = "Choose one with --layer." if layer is None else f"There is no layer {layer!r} in it."
    raise RasterError(f"{path} {told}. {wanted if layers else 'Give a file of polygons.'}")


def _check_field(path: Path, field: str | None, fields: list[str]) -> None:
    if field is not None and field not in fields:
        there = f"it has {', '.join(fields)}" if fields else "it has none at all"
        raise RasterError(f"{path} has no field {field!r}; {there}. Choose one of them, or leave --field out.")


def _check_crs(path: Path, crs: Any) -> str:
    if crs is None:
        raise RasterError(f"{path} has no CRS, so it cannot be laid over the classes. Give it one: ogr2ogr -a_srs.")
    wkt: str = CRS(crs).to_wkt()
    return wkt


def _labels(path: Path, copy: Path, geobox: GeoBox, names: Names | None) -> Labels:
    """Return the labels of the copied polygons; without names every polygon is 1 and the background is 2."""
    if names is not None:
        ranks, words = names.in_order()
        return Labels(geobox, partial(_rasterise, copy, geobox, ranks), words)
    note = f"no field was named, so inside and outside of the polygons of {path} are the two labels."
    inside_outside: Mapping[int, str] = {1: "inside", 2: "outside"}
    return Labels(geobox, partial(_rasterise, copy, geobox, np.array([2, 1], np.int32)), inside_outside, (note,))


def _rasterise(copy: Path, geobox: GeoBox, labels: NDArray[np.int32], window: Window) -> NDArray[np.integer]:
    """Burn the polygons of a window in the order of the file, so that the last one is on top.

    Parameters
    ----------
    labels : (number,) int32; what is burnt for each number, and first of all for no polygon
    """
    part = geobox.cropped(window)
    _, _, shapes, (places, numbers) = pyogrio.raw.read(
        copy, bbox=frame_of(part).bounds, columns=[field.name for field in _FIELDS]
    )
    order = np.argsort(places, kind="stable")  # a spatial index has mixed them up
    if not len(order):
        return np.full(part.shape, labels[0])
    burnt = rasterio.features.rasterize(
        zip(shapely.from_wkb(shapes[order]), labels[numbers[order]].tolist(), strict=True),
        out_shape=part.shape,
        transform=part.transform,
        fill=int(labels[0]),
        dtype="int32",
    )
    return np.asarray(burnt)
