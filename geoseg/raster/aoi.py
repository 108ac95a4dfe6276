"""The area of interest: polygons that say which part of a scene counts."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import rasterio.features
import rasterio.warp
import shapely
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from geoseg.errors import RasterError
from geoseg.grid import GeoBox

_MARGIN = 0.1  # of the scene's size, around it; more of an area is cut off before it is reprojected
_STEPS = 64  # vertices along the scene's size, because straight borders bend when they are reprojected


def read_aoi(path: Path, geobox: GeoBox) -> bytes:
    """Return the polygons of a vector file as WKB in the CRS of `geobox`.

    Raises
    ------
    RasterError : not readable, without CRS, with several layers, or without a polygon that touches the scene
    """
    try:
        frame = geopandas.read_file(path, layer=_layer(path))
    except RasterError:
        raise
    except Exception as err:  # pyogrio and GDAL raise many kinds
        raise RasterError(f"the area of interest {path} cannot be read: {' '.join(str(err).split())}") from err
    if frame.crs is None:
        raise RasterError(f"the area of interest {path} has no CRS, so it cannot be laid over the scene.")
    shapes = shapely.make_valid(np.asarray(frame.geometry.dropna().array, object))
    if frame.crs != geobox.crs:
        shapes = reproject(shapes, frame.crs.to_wkt(), geobox)
    area = shapely.union_all(polygons_among(shapes)[0])
    if area.is_empty or not area.intersects(frame_of(geobox)):
        raise RasterError(f"the area of interest {path} has no polygon that touches the scene.")
    return shapely.to_wkb(area)


def touches_area(aoi: bytes, geobox: GeoBox) -> bool:
    """Say whether an area of interest has a part in a geobox."""
    return bool(_area(aoi).intersects(frame_of(geobox)))


def inside(aoi: bytes, geobox: GeoBox) -> NDArray[np.bool_]:
    """Say for each pixel of a geobox whether its middle lies in the area of interest, (y, x) bool."""
    if not touches_area(aoi, geobox):
        return np.zeros(geobox.shape, bool)
    if _area(aoi).covers(frame_of(geobox)):
        return np.ones(geobox.shape, bool)
    found: NDArray[np.bool_] = rasterio.features.geometry_mask(
        [_area(aoi)], out_shape=geobox.shape, transform=geobox.transform, invert=True
    )
    return found


def frame_of(geobox: GeoBox) -> Any:
    """Return the outline of a geobox on the map."""
    rows, cols = geobox.shape
    return shapely.Polygon([geobox.transform @ corner for corner in ((0, 0), (cols, 0), (cols, rows), (0, rows))])


def reproject(shapes: NDArray[np.object_], crs: str, geobox: GeoBox) -> NDArray[np.object_]:
    """Bring what of the valid shapes lies near a scene into its CRS; the others become empty."""
    outline = outline_near(geobox, crs)
    if outline is not None:  # a shape as wide as the world does not survive reprojection
        left, bottom, right, top = outline.bounds
        step = max(right - left, top - bottom) / (1 + 2 * _MARGIN) / _STEPS
        shapes = np.asarray(shapely.segmentize(shapely.intersection(shapes, outline), step))
    moved = geopandas.GeoSeries(shapes, crs=crs).to_crs(geobox.crs)
    return np.asarray(shapely.make_valid(np.asarray(moved.array, object)))


def outline_near(geobox: GeoBox, crs: str) -> Any:
    """Return a box in another CRS that holds a scene with some room; None where that CRS cannot say it."""
    try:
        left, bottom, right, top = rasterio.warp.transform_bounds(geobox.crs, crs, *frame_of(geobox).bounds)
    except RasterioError:
        return None  # the scene goes beyond what that CRS can say
    if not np.isfinite([left, bottom, right, top]).all() or left >= right:
        return None  # likewise, or it crosses the date line
    return shapely.box(left, bottom, right, top).buffer(_MARGIN * max(right - left, top - bottom), join_style="mitre")


def polygons_among(shapes: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the polygons among the shapes, and the position of the shape that each comes from.

    Lines and points, also those from repair, have no area.
    """
    parts, source = shapely.get_parts(shapes, return_index=True)
    parts, again = shapely.get_parts(parts, return_index=True)  # a collection may hold a multipolygon
    chosen = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    return np.asarray(parts[chosen]), np.asarray(source[again][chosen])


def _layer(path: Path) -> str:
    """Return the name of the only layer with geometry."""
    layers = [name for name, geometry in pyogrio.list_layers(path) if geometry is not None]
    if len(layers) != 1:
        told = f"the layers {', '.join(layers)}" if layers else "no layer with geometry"
        raise RasterError(f"the area of interest {path} has {told}; give a file with one layer of polygons.")
    return str(layers[0])


@functools.lru_cache(maxsize=1)  # the same for every tile of a run
def _area(aoi: bytes) -> Any:
    area = shapely.from_wkb(aoi)
    shapely.prepare(area)
    return area
