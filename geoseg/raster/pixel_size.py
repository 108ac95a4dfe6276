"""The size of pixels on the Earth, in metres."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geoseg.grid import GeoBox

# World projections whose scale depends on the latitude alone: a unit is a metre on one parallel only.
_CYLINDRICAL = (
    "Popular Visualisation Pseudo Mercator",
    "Mercator (variant A)",
    "Mercator (variant B)",
    "Mercator (variant C)",
    "Mercator (Spherical)",
    "Equidistant Cylindrical",
    "Equidistant Cylindrical (Spherical)",
    "Miller Cylindrical",
    "Gall Stereographic",
)

_MAX_DISTORTION = 0.01  # of a length or an area; above it, pixels are measured on the ellipsoid


@dataclass(frozen=True)
class PixelSize:
    """The size of the pixels of a geobox, per row or, where it varies along a row, per pixel.

    Parameters
    ----------
    area : (y,) or (y, x) float64
        m² per pixel.
    width : (y + 1,) or (y + 1, x) float64
        Length in m of the horizontal pixel edges above each row, and below the last.
    height : (y,) or (y, x + 1) float64
        Length in m of the vertical pixel edges.
    """

    area: NDArray[np.float64]
    width: NDArray[np.float64]
    height: NDArray[np.float64]


def pixel_size(geobox: GeoBox, scene: GeoBox | None = None) -> PixelSize:
    """Return the size of the pixels of a geobox in metres, or 1 without a CRS.

    Parameters
    ----------
    geobox : GeoBox
        Of a scene or a window of it; may be rotated or mirrored.
    scene : GeoBox or None
        The scene that `geobox` is a window of, so that all windows are measured in the same way. None = `geobox`.

    Notes
    -----
    Geographic CRS and world projections such as Web Mercator: on the ellipsoid; exact for grids that are not rotated,
    otherwise along the middle column. Other CRS with a distortion of more than 1 % in an area or a length somewhere in
    the scene, such as polar stereographic or geostationary: on the ellipsoid, per pixel. All others: in the plane of
    the CRS, converted to metres; the distortion of national grids and UTM is a few parts in a thousand. Pixels that
    are nowhere on the Earth have size 0.
    """
    if not geobox.crs:
        return PixelSize(*(np.ones(geobox.shape[0] + n) for n in (0, 1, 0)))
    plane = _plane_of(geobox.crs)
    if plane.depends_on_latitude:
        return _size_on_ellipsoid(geobox, plane.crs)
    if plane.is_on_earth and _is_distorted(scene or geobox, geobox.crs):
        return _size_pixel_by_pixel(geobox, plane.crs)
    return _size_in_plane(geobox, plane.unit)


def resolution(geobox: GeoBox) -> float:
    """Return the square root of the area of a pixel in the middle row of a raster in metres; 0 = unknown."""
    if not geobox.crs:
        return 0.0
    rows, cols = geobox.shape
    middle = geobox.window._replace(row_off=rows // 2, height=1, width=cols)
    return math.sqrt(float(np.median(pixel_size(geobox.cropped(middle), geobox).area)))


@dataclass(frozen=True)
class _Plane:
    """A CRS, whether it has a geodetic one, the metres of its unit, and whether its scale depends on the latitude."""

    crs: CRS
    is_on_earth: bool
    unit: float
    depends_on_latitude: bool


@functools.lru_cache(maxsize=8)  # called for every tile of a scene
def _plane_of(crs: str) -> _Plane:
    parsed = CRS(crs)
    operation = parsed.coordinate_operation
    unit = parsed.axis_info[0].unit_conversion_factor if parsed.axis_info else 1.0
    is_cylindrical = operation is not None and operation.method_name in _CYLINDRICAL
    return _Plane(parsed, parsed.geodetic_crs is not None, unit, parsed.is_geographic or is_cylindrical)


def _size_in_plane(geobox: GeoBox, unit: float) -> PixelSize:
    n_rows, t = geobox.shape[0], geobox.transform
    width, height = np.hypot(t.a, t.d) * unit, np.hypot(t.b, t.e) * unit
    area = abs(t.determinant) * unit**2
    return PixelSize(np.full(n_rows, area), np.full(n_rows + 1, width), np.full(n_rows, height))


@functools.lru_cache(maxsize=8)  # likewise
def _is_distorted(scene: GeoBox, crs: str) -> bool:
    """Return True if the distortion exceeds `_MAX_DISTORTION` at one of 9 pixels spread over the scene."""
    plane, (rows, cols) = _plane_of(crs), scene.shape
    for row in (0, rows // 2, rows - 1):
        for col in (0, cols // 2, cols - 1):
            pixel = scene.cropped(scene.window._replace(col_off=col, row_off=row, width=1, height=1))
            flat, real = _size_in_plane(pixel, plane.unit), _size_pixel_by_pixel(pixel, plane.crs)
            ratios = [getattr(real, name).max() / getattr(flat, name).max() for name in ("area", "width", "height")]
            if any(ratio > 0 and not 1 - _MAX_DISTORTION < ratio < 1 + _MAX_DISTORTION for ratio in ratios):
                return True
    return False


def _size_pixel_by_pixel(geobox: GeoBox, crs: CRS) -> PixelSize:
    """Return the size from the chords between the corners of each pixel; 1e-9 too short for pixels of 1 km."""
    n_rows, n_cols = geobox.shape
    x, y = geobox.transform @ tuple(np.meshgrid(np.arange(n_cols + 1.0), np.arange(n_rows + 1.0)))
    corners = _geocentric(x, y, crs)  # (y + 1, x + 1, 3)
    falling, rising = corners[1:, 1:] - corners[:-1, :-1], corners[:-1, 1:] - corners[1:, :-1]
    area = np.linalg.norm(np.cross(falling, rising), axis=2) / 2  # of the quadrilateral between the two diagonals
    width, height = (np.linalg.norm(np.diff(corners, axis=axis), axis=2) for axis in (1, 0))
    return PixelSize(*(np.nan_to_num(size, nan=0.0) for size in (area, width, height)))


def _geocentric(x: NDArray[np.float64], y: NDArray[np.float64], crs: CRS) -> NDArray[np.float64]:
    """Return the geocentric coordinates of points in metres, (…, 3) float64; NaN where they are not on the Earth."""
    geodetic, geod = crs.geodetic_crs, crs.get_geod()
    degrees = np.stack(Transformer.from_crs(crs, geodetic, always_xy=True).transform(x, y))
    lon, lat = (
        np.where(np.isfinite(degrees).all(axis=0), degrees, np.nan) * geodetic.axis_info[0].unit_conversion_factor
    )
    radius = geod.a / np.sqrt(1 - geod.es * np.sin(lat) ** 2)  # of the prime vertical
    position = (np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), (1 - geod.es) * np.sin(lat))
    return np.stack([radius * part for part in position], axis=-1)


def _size_on_ellipsoid(geobox: GeoBox, crs: CRS) -> PixelSize:
    geod = crs.get_geod()
    lat, right, down = _latitudes_and_steps(geobox, crs)
    nodes, weights = np.polynomial.legendre.leggauss(8)  # exact to rounding for pixels of several degrees
    inside = lat[:-1, None] + np.diff(lat)[:, None] * (nodes + 1) / 2  # (y, node)
    north, east = (radius @ weights / 2 for radius in _radii(inside, geod.a, geod.es))
    north_east = np.prod(_radii(inside, geod.a, geod.es), axis=0) @ weights / 2
    width_north, width_east = _radii(lat, geod.a, geod.es)
    return PixelSize(
        area=np.abs(right[0] * down[1] - right[1] * down[0]) * north_east,
        width=np.hypot(
            np.append(right[0], right[0][-1:]) * width_east, np.append(right[1], right[1][-1:]) * width_north
        ),
        height=np.hypot(down[0] * east, down[1] * north),
    )


def _latitudes_and_steps(
    geobox: GeoBox, crs: CRS
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the latitudes of the pixel edges of the middle column, and the steps of one pixel right and down.

    Returns
    -------
    lat : (y + 1,) float64
        Radians.
    right, down : (lon or lat, y) float64
        Radians.
    """
    n_rows, n_cols = geobox.shape
    cols, rows = np.meshgrid(n_cols // 2 + np.array([0, 1]), np.arange(n_rows + 1))
    x, y = geobox.transform @ (cols, rows)
    if crs.is_geographic:
        radian, t = crs.axis_info[0].unit_conversion_factor, geobox.transform
        # Steps from the transform: differences of corners would lose digits.
        right, down = (np.outer(step, np.full(n_rows, radian)) for step in ((t.a, t.d), (t.b, t.e)))
        return y.mean(axis=1) * radian, right, down
    geodetic = crs.geodetic_crs
    lon_lat = Transformer.from_crs(crs, geodetic, always_xy=True).transform(x, y)
    corners = np.stack(lon_lat) * geodetic.axis_info[0].unit_conversion_factor  # (lon or lat, y + 1, 2)
    corners[0] -= np.round((corners[0] - corners[0, :1, :1]) / (2 * np.pi)) * 2 * np.pi  # across the antimeridian
    corners = np.where(np.isfinite(corners).all(axis=0), corners, 0)
    right, down = np.diff(corners, axis=2)[..., 0], np.diff(corners, axis=1).mean(axis=2)
    return corners[1].mean(axis=1), (right[:, 1:] + right[:, :-1]) / 2, down


def _radii(lat: NDArray[np.float64], a: float, es: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the metres per radian to the north and to the east (Snyder 1987, eq. 4-18; 4-20 times cos)."""
    w2 = 1 - es * np.sin(lat) ** 2
    return a * (1 - es) / w2**1.5, a * np.maximum(np.cos(lat), 0) / np.sqrt(w2)
