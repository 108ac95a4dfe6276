"""The area of interest: polygons that limit a scene to a part of it."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import rasterio.features
import rasterio.warp
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import ProjError
from rasterio.errors import NotGeoreferencedWarning

from geoseg.errors import RasterError, shorten
from geoseg.grid import GeoBox, Window
from geoseg.raster.ignored_warnings import ignored_warnings
from geoseg.raster.unreadable import GDAL_ERRORS
from geoseg.raster.vector_file import opened_vector

_MARGIN = 0.1  # of the scene's size, on each side; an area is clipped to this before it is reprojected
_SMALL = 1_000_000  # px; an area with a larger extent contains the centre of a pixel
_MAX_VERTICES = 5_000_000  # their union takes some minutes and GiB
_STEPS = 64  # vertices along the scene's size; straight lines become curves when they are reprojected


def read_aoi(path: Path, geobox: GeoBox) -> bytes:
    """Return the union of the polygons of a vector file as WKB in the CRS of a scene.

    Parameters
    ----------
    path : Path
        Vector file with one layer of geometry, in any CRS.
    geobox : GeoBox
        Of the scene.

    Raises
    ------
    RasterError
        If the file cannot be read, has no CRS or several layers, or no polygon intersects the scene.
    """
    frame = _read(path)
    with _using(path):
        return _united(path, frame, geobox)


@contextmanager
def _using(path: Path) -> Iterator[None]:
    """Convert the errors of libraries about coordinates that no geometry can have."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except (shapely.errors.ShapelyError, ProjError) as err:
        raise RasterError(
            f"the area of interest {path} has polygons that cannot be used: {shorten(err)}. Check their coordinates."
        ) from err


def _united(path: Path, frame: geopandas.GeoDataFrame, geobox: GeoBox) -> bytes:
    """Return the union of the polygons of a frame, see `read_aoi`."""
    if not geobox.crs and frame.crs is not None:
        raise RasterError(
            f"the area of interest {path} has a CRS and the scene has none, so its position is unknown. Give an area "
            f"in the coordinates of the scene, without a CRS: x is the column, y the negative row."
        )
    if frame.crs is None and geobox.crs:
        raise RasterError(
            f"the area of interest {path} has no CRS, so its position is unknown. "
            f"Set one first: ogr2ogr -a_srs EPSG:<code> area.gpkg {path}"
        )
    given = np.asarray(frame.geometry.array, object)
    shapes = np.asarray(frame.geometry.dropna().array, object)
    n_vertices = int(shapely.get_num_coordinates(shapes).sum())
    if n_vertices > _MAX_VERTICES:
        raise RasterError(
            f"the area of interest {path} has {n_vertices} vertices; expected at most {_MAX_VERTICES}. Simplify it "
            f"first: ogr2ogr -simplify 1 area.gpkg {path}"
        )
    shapes = shapely.make_valid(shapes)
    if geobox.crs and frame.crs != geobox.crs:
        shapes = reproject(shapes, frame.crs.to_wkt(), geobox)
    area = shapely.union_all(polygons_among(shapes)[0])
    if area.is_empty or not area.intersects(frame_of(geobox)):
        raise RasterError(f"the area of interest {path} {_reason(given)}")
    if not _has_pixel(area, geobox):
        n_pixels = area.intersection(frame_of(geobox)).area / abs(geobox.transform.determinant)
        raise RasterError(
            f"the area of interest {path} contains the centre of no pixel: {n_pixels:.2g} px of it are in the scene. "
            f"Give a larger area."
        )
    return shapely.to_wkb(area)


def touches_area(aoi: bytes, geobox: GeoBox) -> bool:
    """Return True if an area of interest intersects a geobox."""
    return bool(_area(aoi).intersects(frame_of(geobox)))


def inside(aoi: bytes, geobox: GeoBox) -> NDArray[np.bool_]:
    """Return which pixels of a geobox have their centre in the area of interest, (y, x) bool."""
    if not touches_area(aoi, geobox):
        return np.zeros(geobox.shape, bool)
    if _area(aoi).covers(frame_of(geobox)):
        return np.ones(geobox.shape, bool)
    with ignored_warnings(NotGeoreferencedWarning):  # of a raster within rasterio, whose own filter is not for threads
        mask: NDArray[np.bool_] = rasterio.features.geometry_mask(
            [_area(aoi)], out_shape=geobox.shape, transform=geobox.transform, invert=True
        )
    return mask


def frame_of(geobox: GeoBox) -> Any:
    """Return the outline of a geobox as a polygon in its CRS."""
    rows, cols = geobox.shape
    return shapely.Polygon([geobox.transform @ corner for corner in ((0, 0), (cols, 0), (cols, rows), (0, rows))])


def reproject(shapes: NDArray[np.object_], crs: str, geobox: GeoBox) -> NDArray[np.object_]:
    """Return shapes in the CRS of a scene, clipped to its surroundings; those elsewhere become empty.

    Parameters
    ----------
    shapes : (n,) object
        Valid shapely geometries.
    crs : str
        CRS of the shapes.
    geobox : GeoBox
        Of the scene.
    """
    outline = outline_near(geobox, crs)
    if outline is not None:  # reprojection breaks shapes that extend over the whole world
        left, bottom, right, top = outline.bounds
        step = max(right - left, top - bottom) / (1 + 2 * _MARGIN) / _STEPS
        shapes = np.asarray(shapely.segmentize(shapely.intersection(shapes, outline), step))
    moved = geopandas.GeoSeries(shapes, crs=crs).to_crs(geobox.crs)
    return np.asarray(shapely.make_valid(np.asarray(moved.array, object)))


def outline_near(geobox: GeoBox, crs: str) -> Any:
    """Return a box in another CRS that contains a scene and a margin, or None where that CRS cannot express it."""
    try:
        left, bottom, right, top = rasterio.warp.transform_bounds(geobox.crs, crs, *frame_of(geobox).bounds)
    except GDAL_ERRORS:
        return None  # the scene extends beyond the domain of that CRS
    if not np.isfinite([left, bottom, right, top]).all() or left >= right:
        return None  # likewise, or it crosses the antimeridian
    return shapely.box(left, bottom, right, top).buffer(_MARGIN * max(right - left, top - bottom), join_style="mitre")


def polygons_among(shapes: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the polygon parts of shapes and the index of the shape that each belongs to.

    Lines and points, such as those from `shapely.make_valid`, are dropped.
    """
    parts, source = shapely.get_parts(shapes, return_index=True)
    parts, outer = shapely.get_parts(parts, return_index=True)  # a collection may contain a multipolygon
    chosen = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    return np.asarray(parts[chosen]), np.asarray(source[outer][chosen])


def _read(path: Path) -> geopandas.GeoDataFrame:
    """Return the geometries of the only layer, without attributes."""
    try:
        with opened_vector(path) as source:
            if len(source.layers) != 1:
                found = f"the layers {', '.join(source.layers)}" if source.layers else "no layer with geometry"
                raise RasterError(f"{path} has {found}; give a file with one layer of polygons.")
            n_features = int(pyogrio.read_info(source.path, layer=source.layers[0])["features"])
            if n_features > _MAX_VERTICES:
                raise RasterError(f"{path} has {n_features} features; expected at most {_MAX_VERTICES}. Dissolve them.")
            return pyogrio.read_dataframe(source.path, layer=source.layers[0], columns=[])
    except Exception as err:  # pyogrio and GDAL raise many types
        raise RasterError(f"the area of interest {path} cannot be read: {shorten(err, 400)}") from err


def _reason(shapes: NDArray[np.object_]) -> str:
    """Return why no part of the scene is in an area of interest of these shapes."""
    kept = [shape for shape in shapes if shape is not None and not shape.is_empty]
    if not kept:
        return "is empty: it has no geometry. Give a file with polygons."
    if not np.isfinite(shapely.get_coordinates(kept)).all():
        return "has coordinates that are no finite numbers. Repair its polygons."
    kinds = sorted({shape.geom_type for shape in kept})
    if not len(polygons_among(shapely.make_valid(np.array(kept, object)))[0]):
        return f"has no polygons, only {', '.join(kinds)}. Give polygons, for example a buffer around them."
    return "has no polygon that touches the scene. Check its CRS and its position."


def _has_pixel(area: Any, geobox: GeoBox) -> bool:
    """Return whether a small area contains the centre of a pixel; a large one does."""
    within = shapely.intersection(area, frame_of(geobox))
    if within.is_empty:
        return False
    corners = shapely.get_coordinates(shapely.box(*within.bounds)).tolist()
    cols, rows = zip(*(~geobox.transform @ (x, y) for x, y in corners), strict=True)
    left, top = max(math.floor(min(cols)), 0), max(math.floor(min(rows)), 0)
    right, bottom = min(math.ceil(max(cols)), geobox.shape[1]), min(math.ceil(max(rows)), geobox.shape[0])
    if (right - left) * (bottom - top) > _SMALL:
        return True
    if right <= left or bottom <= top:
        return False
    return bool(inside(shapely.to_wkb(area), geobox.cropped(Window(left, top, right - left, bottom - top))).any())


def _area(aoi: bytes) -> Any:
    """Return the area of interest as a prepared shapely geometry of this thread: GEOS indexes it when it is used."""
    return _area_of_thread(aoi, threading.get_ident())


@functools.lru_cache(maxsize=32)  # the same for every tile of a run
def _area_of_thread(aoi: bytes, thread: int) -> Any:  # noqa: ARG001
    area = shapely.from_wkb(aoi)
    shapely.prepare(area)
    return area
