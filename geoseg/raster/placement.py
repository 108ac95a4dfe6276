"""Check that the pixels of a raster have a place: finite coordinates that a CRS of the surface of the Earth has."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from geoseg.errors import RasterError, shorten
from geoseg.grid import GeoBox

_MAX_COORDINATE = 1e12  # of any unit; the orbit of the Moon is at 4e8 m
_MAX_ERROR = 1e-3  # of a pixel, by which rounding may move a vertex
_MAX_LATITUDE, _MAX_LONGITUDE = 91.0, 721.0  # degrees; pixels whose centre is on the pole end beyond it
_ADVICE = "Set the right ones: gdal_edit.py -a_srs EPSG:<code> -a_ullr <left> <top> <right> <bottom>"


def check_placement(geobox: GeoBox, path: str) -> None:
    """Check the transform and the CRS of a raster.

    Parameters
    ----------
    geobox : GeoBox
    path : str
        The raster, for messages.

    Raises
    ------
    RasterError
        If a coordinate is not finite, so large that neighbouring pixels round to the same one, or no place in the CRS;
        or if the CRS is not of a surface.
    """
    rows, cols = geobox.shape
    t = geobox.transform
    corners = np.array([t @ corner for corner in ((0, 0), (cols, 0), (0, rows), (cols, rows))], np.float64)
    largest = float(np.abs(corners).max())  # NaN if one is
    if not largest <= _MAX_COORDINATE:
        raise RasterError(
            f"{path} has coordinates up to {largest:g} (transform {tuple(t)[:6]}); expected finite ones up to "
            f"{_MAX_COORDINATE:.0e}. {_ADVICE} {path}"
        )
    pixel = min(math.hypot(t.a, t.d), math.hypot(t.b, t.e))
    if largest * np.finfo(np.float64).eps > _MAX_ERROR * pixel:
        raise RasterError(
            f"{path} has pixels of {pixel:g} at coordinates up to {largest:g}, which numbers of 64 bits do not "
            f"separate. {_ADVICE} {path}"
        )
    if geobox.crs:
        _check_crs(CRS(geobox.crs), corners, path)


def _check_crs(crs: CRS, corners: NDArray[np.float64], path: str) -> None:
    surface = crs.sub_crs_list[0] if crs.is_compound and crs.sub_crs_list else crs
    if crs.is_geocentric or surface.is_vertical:
        kind = "geocentric" if crs.is_geocentric else "vertical"
        raise RasterError(
            f"{path} has the {kind} CRS {shorten(crs.name, 80)}, in which pixels have no place on a surface. {_ADVICE} "
            f"{path}"
        )
    if not surface.is_geographic:
        return
    try:
        degrees = math.degrees(surface.axis_info[0].unit_conversion_factor)
    except (IndexError, CRSError):
        return
    longitude, latitude = np.abs(corners).max(axis=0) * degrees
    if latitude > _MAX_LATITUDE or longitude > _MAX_LONGITUDE:
        raise RasterError(
            f"{path} reaches the longitude {longitude:g}° and the latitude {latitude:g}° of {shorten(crs.name, 80)}, "
            f"which do not exist, so its transform or its CRS is wrong. {_ADVICE} {path}"
        )
