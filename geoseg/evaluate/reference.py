"""Read the reference of an evaluation: a raster of labels, or polygons rasterised on the grid of the classes.

Polygons are read once, batch by batch, and copied to a file with a spatial index in the CRS of the classes, from which
each window reads its own. So neither a large scene nor a large layer has to fit into memory.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
import rasterio.features
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import GeosegError, RasterError, shorten
from geoseg.evaluate.class_raster import Labels, check_overlap, open_labels_on
from geoseg.grid import GeoBox, Window
from geoseg.output.columns import Layer
from geoseg.output.extra_columns import Field
from geoseg.output.files import Source, writing
from geoseg.raster.aoi import frame_of, outline_near, polygons_among, reproject
from geoseg.raster.geoparquet import opened_geoparquet
from geoseg.raster.vector_file import opened_vector

POLYGON_SUFFIXES = (".gpkg", ".geojson", ".json", ".shp", ".fgb", ".parquet", ".geoparquet", ".gml", ".kml")
_ARROW_SUFFIXES = (".parquet", ".geoparquet")

_ROWS_PER_BATCH = 10_000
_MAX_NAMES = 65_535  # distinct values of a field; more are identifiers of polygons
_FIELDS = (Field("position", pa.int64(), "Order in the file"), Field("number", pa.int32(), "Number of the label"))


@dataclass
class Names:
    """Numbers of the values of a field, from 1 in order of occurrence.

    Parameters
    ----------
    path : Path
        The file, named in messages.
    numbers : dict
        Value → number.
    """

    path: Path
    numbers: dict[int | float | str, int] = field(default_factory=dict)

    def number(self, value: Any) -> int:
        """Return the number of a value; 0 for a missing one.

        Raises
        ------
        RasterError
            If there are too many distinct values.
        """
        if isinstance(value, float):
            if not math.isfinite(value):
                return 0
            value = int(value) if value.is_integer() else value
        if value is None or (isinstance(value, str) and not value.strip()):
            return 0
        key = value if isinstance(value, int | float | str) and not isinstance(value, bool) else str(value)
        if key not in self.numbers and len(self.numbers) == _MAX_NAMES:
            raise RasterError(
                f"the field of {self.path} has more than {_MAX_NAMES} distinct values, so it identifies polygons; "
                "expected a field with the label of each polygon. Give --field with another one."
            )
        return self.numbers.setdefault(key, len(self.numbers) + 1)

    def in_order(self) -> tuple[NDArray[np.int32], dict[int, int | float | str]]:
        """Return the rank of each number among the sorted values, and the values by rank.

        Returns
        -------
        ranks : (number,) int32
            From 1; that of number 0 is 0.
        names : dict
            Rank → value.
        """
        ordered = sorted(self.numbers)  # values of one column, so all numbers or all strings
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
    path : str or Path
        Raster of labels, or polygons in a file with one of `POLYGON_SUFFIXES`.
    geobox : GeoBox
        The grid of the classes.
    field : str or None
        Field of the polygons with a number or a word for each; None = the labels are "inside" and "outside".
    layer : str or None
        Layer of the polygons; None = the only one.

    Yields
    ------
    Labels

    Raises
    ------
    RasterError
        If the file cannot be read, is empty, does not overlap the classes, or has no such field or layer.
    """
    if Path(path).suffix.lower() not in POLYGON_SUFFIXES:
        if field or layer:
            raise RasterError(
                f"{path} is read as a raster, because its suffix is none of {', '.join(POLYGON_SUFFIXES)}; a "
                "raster has no field or layer. Omit --field and --layer, or give polygons."
            )
        with open_labels_on(path, geobox) as labels:
            yield labels
        return
    _check_classes_crs(path, geobox)
    with TemporaryDirectory(prefix="geoseg-") as folder:
        copy = Path(folder) / "polygons.fgb"
        with _reading_polygons(path):
            names = _copy(Path(path), copy, geobox, field=field, layer=layer)
        yield _labels(Path(path), copy, geobox, names if field else None)


def _check_classes_crs(path: str | Path, geobox: GeoBox) -> None:
    if not geobox.crs:
        raise RasterError(
            f"the class raster has no CRS, so the polygons of {path} cannot be aligned with it. Assign a CRS first: "
            "gdal_edit.py -a_srs EPSG:<code> FILE"
        )


@contextmanager
def _reading_polygons(path: str | Path) -> Iterator[None]:
    """Convert the errors of libraries that read polygons to a `RasterError`."""
    try:
        yield
    except GeosegError:
        raise
    except Exception as err:  # pyogrio, pyarrow, pyproj, shapely and GDAL raise many kinds
        raise RasterError(f"the polygons of {path} cannot be read: {shorten(err)}. Is it a file of polygons?") from err


def _copy(path: Path, copy: Path, geobox: GeoBox, *, field: str | None, layer: str | None) -> Names:
    """Copy the polygons, with the numbers of their labels, in the CRS of the classes; return the numbers."""
    if not path.is_file():
        raise RasterError(f"there is no file {path}; expected polygons. Check the name.")
    names = Names(path)
    target = Layer("polygons", "", "", geobox.crs, _FIELDS)
    extent = np.array([np.inf, np.inf, -np.inf, -np.inf])
    batches = _batches(path, geobox, field=field, layer=layer)
    source = Source(_numbered(batches, names, geobox, target, extent))
    with closing(batches), writing(copy, source):
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
        filled = f" with a value in the field {field!r}" if field else ""
        raise RasterError(f"{path} has no polygon{filled} near the classes. Give a reference of the same area.")
    check_overlap(path, tuple(extent.tolist()), geobox)
    return names


Batch = tuple[NDArray[np.object_], list[Any], str]  # shapes, the value of each, and their CRS


def _numbered(
    batches: Iterable[Batch], names: Names, geobox: GeoBox, target: Layer, extent: NDArray[np.float64]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the copy; extend `extent` (left, bottom, right, top) in place."""
    position = 0
    for shapes, values, crs in batches:
        if not CRS(crs).equals(CRS(geobox.crs), ignore_axis_order=True):
            shapes = reproject(shapely.make_valid(shapes), crs, geobox)
        polygons, source = polygons_among(shapely.force_2d(shapes))
        bounds = shapely.bounds(polygons)  # (polygon, 4)
        numbers = np.array([names.number(value) for value in values], np.int32)[source]
        kept = (numbers > 0) & np.isfinite(bounds).all(axis=1)
        extent[:2] = np.minimum(extent[:2], bounds[kept, :2].min(axis=0, initial=np.inf))
        extent[2:] = np.maximum(extent[2:], bounds[kept, 2:].max(axis=0, initial=-np.inf))
        yield target.batch({"position": position + source[kept], "number": numbers[kept]}, polygons[kept])
        position += len(shapes)


def _batches(path: Path, geobox: GeoBox, *, field: str | None, layer: str | None) -> Generator[Batch, None, None]:
    read = _parquet_batches if path.suffix.lower() in _ARROW_SUFFIXES else _ogr_batches
    with closing(read(path, geobox, field, layer)) as found:
        for rows, geometry, crs in found:
            shapes = shapely.from_wkb(rows.column(geometry).to_numpy(zero_copy_only=False))
            values = rows.column(field).to_pylist() if field else ["polygon"] * len(shapes)
            yield shapes, values, crs


def _ogr_batches(
    path: Path, geobox: GeoBox, field: str | None, layer: str | None
) -> Generator[tuple[pa.RecordBatch, str, str], None, None]:
    with opened_vector(path, with_fields=field is not None) as source:
        layer = _layer(path, source.layers, layer)
        info = pyogrio.read_info(source.path, layer=layer)
        _check_field(path, field, list(info["fields"]))
        crs = _check_crs(path, info["crs"])
        near = outline_near(geobox, crs)
        with pyogrio.open_arrow(
            source.path,
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
    geobox: GeoBox,  # noqa: ARG001 # GeoParquet without bounding boxes cannot be filtered
    field: str | None,
    layer: str | None,
) -> Generator[tuple[pa.RecordBatch, str, str], None, None]:
    with opened_geoparquet(path) as file:
        if layer:
            raise RasterError(f"{path} is GeoParquet, which has no layers, but layer {layer!r} was given. Omit it.")
        _check_field(path, field, list(file.fields))
        crs = _check_crs(path, file.crs)
        for rows in file.batches([field] if field else []):
            yield rows, file.geometry, crs


def _layer(path: Path, layers: tuple[str, ...], layer: str | None) -> str:
    if layer is None and len(layers) == 1:
        return layers[0]
    if layer is not None and layer in layers:
        return layer
    found = f"has the layers {', '.join(layers)}" if layers else "has no layer with geometry"
    missing = "" if layer is None else f", but no layer {layer!r}"
    advice = "Choose one with --layer." if layers else "Give a file of polygons."
    raise RasterError(f"{path} {found}{missing}. {advice}")


def _check_field(path: Path, field: str | None, fields: list[str]) -> None:
    if field is not None and field not in fields:
        found = f"it has {', '.join(fields)}" if fields else "it has no fields"
        raise RasterError(f"{path} has no field {field!r}; {found}. Choose one of them, or omit --field.")


def _check_crs(path: Path, crs: Any) -> str:
    if crs is None:
        raise RasterError(f"{path} has no CRS, so it cannot be aligned with the classes. Assign one: ogr2ogr -a_srs.")
    wkt: str = CRS(crs).to_wkt()
    return wkt


def _labels(path: Path, copy: Path, geobox: GeoBox, names: Names | None) -> Labels:
    """Return the labels of the copied polygons; without names, polygons are 1 and the background is 2."""
    if names is not None:
        ranks, values = names.in_order()
        return Labels(geobox, partial(_rasterise, copy, geobox, ranks), values)
    note = f"no field was given, so the labels are inside and outside of the polygons of {path}."
    inside_outside: Mapping[int, str] = {1: "inside", 2: "outside"}
    return Labels(geobox, partial(_rasterise, copy, geobox, np.array([2, 1], np.int32)), inside_outside, (note,))


def _rasterise(copy: Path, geobox: GeoBox, labels: NDArray[np.int32], window: Window) -> NDArray[np.integer]:
    """Rasterise the polygons of a window in the order of the file, so that the last one is on top.

    `labels` is (number,) int32, the label of each number; that of number 0 is the background.
    """
    part = geobox.cropped(window)
    _, _, shapes, (positions, numbers) = pyogrio.raw.read(
        copy, bbox=frame_of(part).bounds, columns=[field.name for field in _FIELDS]
    )
    order = np.argsort(positions, kind="stable")  # the spatial index changes the order
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
