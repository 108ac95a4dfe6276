"""Read samples: points or polygons with names, in any CRS, from an untrusted vector file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geoseg.classify.sample_points import TABLE_SUFFIXES, read_table
from geoseg.classify.samples import Samples
from geoseg.errors import GeosegError, RasterError, shorten
from geoseg.raster.geoparquet import MAGIC, opened_geoparquet
from geoseg.raster.raster_file import head_of
from geoseg.raster.vector_file import opened_vector

_MAX_SAMPLES = 1_000_000
_MAX_VERTICES = 5_000_000
_MAX_NAMES = 255  # more are identifiers of the samples
_NAME = 80  # characters
_POINTS = (shapely.GeometryType.POINT, shapely.GeometryType.MULTIPOINT)
_POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


def read_samples(
    path: Path, regions_crs: str, *, field: str, layer: str | None = None, crs: str | None = None
) -> Samples:
    """Return the samples of a file.

    Parameters
    ----------
    path : Path
        GeoPackage, Shapefile, FlatGeobuf, GeoParquet, GeoJSON, KML or GML with points or polygons; or a .csv, .tsv or
        .txt with the coordinates of points, see `read_table`.
    regions_crs : str
        WKT of the regions, to which the samples are reprojected.
    field : str
        Field with the name of each sample; those without a name are left out.
    layer : str or None
        None = the only one.
    crs : str or None
        Of the coordinates in a table of text; None = by the names of its columns.

    Raises
    ------
    RasterError
        If the file cannot be read, has no CRS, no such layer or field, or no sample that can be used.
    """
    if path.suffix.lower() in TABLE_SUFFIXES:
        _check_no_layer(path, layer)
        table = read_table(path, regions_crs, field=field, crs=crs)
        return _samples(path, field, _reprojected(table.shapes, table.crs, regions_crs), table.values)
    with _reading(path):
        if head_of(path).startswith(MAGIC):
            _check_no_layer(path, layer)
            with opened_geoparquet(path) as file:
                rows = file.batches([_field(path, field, file.fields)])
                batches = ((_geometry(batch, file.geometry), batch.column(field).to_pylist()) for batch in rows)
                found, given = _collected(path, batches), file.crs
        else:
            with opened_vector(path, with_fields=True) as source:
                chosen = _layer(path, source.layers, layer)
                info = pyogrio.read_info(source.path, layer=chosen)
                _field(path, field, [str(name) for name in info["fields"]])
                found, given = _collected(path, _batches(source.path, chosen, field)), info["crs"]
        if given is None:
            raise RasterError(
                f"{path} has no CRS, so the place of the samples is unknown. Assign one first: ogr2ogr -a_srs "
                f"EPSG:<code> samples.gpkg {path}"
            )
        shapes, values = found
        return _samples(path, field, _reprojected(shapes, str(given), regions_crs), values)


def _check_no_layer(path: Path, layer: str | None) -> None:
    if layer is not None:
        raise RasterError(f"{path} has no layers, so --layer {shorten(layer, 40)} has no effect. Leave it out.")


def _field(path: Path, field: str, fields: Sequence[str]) -> str:
    """Return a field after checking that the file has it."""
    if field not in fields:
        found = f"it has {shorten(', '.join(fields), 120)}" if fields else "it has no fields"
        raise RasterError(f"{path} has no field {field!r}; {found}. Choose one of them with --field.")
    return field


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except GeosegError:
        raise
    except Exception as err:  # pyogrio, pyarrow, pyproj, shapely and GDAL raise many kinds
        raise RasterError(f"the samples {path} cannot be read: {shorten(err)}. Is it a vector file?") from err


def _layer(path: Path, layers: Sequence[str], layer: str | None) -> str:
    if layer is None and len(layers) == 1:
        return layers[0]
    if layer is not None and layer in layers:
        return layer
    found = f"has the layers {shorten(', '.join(layers), 120)}" if layers else "has no layer with geometry"
    missing = "" if layer is None else f", but no layer {layer!r}"
    raise RasterError(f"{path} {found}{missing}. Choose one with --layer, or give a file of points or polygons.")


def _collected(path: Path, batches: Iterator[tuple[Any, list[Any]]]) -> tuple[NDArray[Any], list[Any]]:
    """Return the geometries and the values of the field of all batches."""
    shapes: list[NDArray[Any]] = []
    values: list[Any] = []
    n_vertices = 0
    for wkb, some in batches:
        found = shapely.from_wkb(wkb, on_invalid="ignore")
        shapes.append(shapely.force_2d(found))
        values += some
        n_vertices += int(shapely.get_num_coordinates(found).sum())
        if len(values) > _MAX_SAMPLES or n_vertices > _MAX_VERTICES:
            raise RasterError(
                f"{path} has more than {_MAX_SAMPLES} samples or {_MAX_VERTICES} vertices. Give a part of them."
            )
    return np.concatenate(shapes) if shapes else np.empty(0, object), values


def _batches(source: Path, layer: str, field: str) -> Iterator[tuple[Any, list[Any]]]:
    """Yield the geometries as WKB and the values of the field."""
    with pyogrio.open_arrow(source, layer=layer, columns=[field], batch_size=10_000, use_pyarrow=True) as (meta, rows):
        for batch in rows:
            yield _geometry(batch, meta["geometry_name"] or "wkb_geometry"), batch.column(field).to_pylist()


def _geometry(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    return batch.column(name).to_numpy(zero_copy_only=False)


def _reprojected(shapes: NDArray[Any], given: str, wanted: str) -> NDArray[Any]:
    """Return the geometries in another CRS; None for those that have no place there."""
    source, target = CRS(given), CRS(wanted)
    if source.equals(target, ignore_axis_order=True):
        return shapes
    transformer = Transformer.from_crs(source, target, always_xy=True)

    def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)

    try:
        result = shapely.transform(shapes, moved)
    except ProjError:
        return np.full(len(shapes), None, object)
    result[~np.isfinite(shapely.bounds(result)).all(axis=1)] = None
    return result


def _samples(path: Path, field: str, shapes: NDArray[Any], values: list[Any]) -> Samples:
    """Return the samples that have a name, and are points or polygons."""
    kinds = shapely.get_type_id(shapes)
    is_point, is_polygon = np.isin(kinds, _POINTS), np.isin(kinds, _POLYGONS)
    texts = [_name(value) for value in values]
    is_named = np.array([bool(text) for text in texts], bool)
    has_place = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    is_used = is_named & has_place & (is_point | is_polygon)
    notes = [
        f"{count} of {len(values)} samples {reason} and are not used."
        for count, reason in (
            (int((~is_named).sum()), f"have no value in the field {field!r}"),
            (int((is_named & ~has_place).sum()), "have no geometry that can be placed in the CRS of the regions"),
            (int((is_named & has_place & ~is_used).sum()), "are neither points nor polygons"),
        )
        if count
    ]
    if not is_used.any():
        reasons = f": {' '.join(notes)}" if notes else "; it is empty."
        raise RasterError(f"{path} has no sample that can be used{reasons} Expected points or polygons with names.")
    used = np.flatnonzero(is_used)
    names = tuple(sorted({texts[i] for i in used}))
    if len(names) > _MAX_NAMES:
        raise RasterError(
            f"the field {field!r} of {path} has {len(names)} different values; expected at most {_MAX_NAMES} names. "
            f"Choose another one with --field."
        )
    numbers = np.searchsorted(np.array(names), [texts[i] for i in used])
    parts, sample = shapely.get_parts(shapes[used], return_index=True)
    is_area = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    areas = shapely.make_valid(parts[is_area])
    inside = shapely.point_on_surface(areas)
    points = np.concatenate([parts[~is_area], inside])
    return Samples(
        points,
        areas,
        np.concatenate([sample[~is_area], sample[is_area]]),
        sample[is_area],
        numbers,
        names,
        tuple(notes),
    )


def _name(value: Any) -> str:
    """Return a value of a field as a name; "" if there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return shorten(value, _NAME)
