"""Errors of rasters that cannot be read: those of GDAL, and those that name the cause and what to do."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from rasterio._err import CPLE_BaseError  # rasterio raises it, but gives it no public name
from rasterio.errors import RasterioError

from geoseg.errors import RasterError
from geoseg.raster.names import quoted

GDAL_ERRORS = (RasterioError, CPLE_BaseError)  # any use of an open raster may raise both

_FORMATS = {  # driver of GDAL → name and suffixes
    "GTiff": "GeoTIFF (.tif)",
    "VRT": "VRT (.vrt)",
    "JP2OpenJPEG": "JPEG 2000 (.jp2)",
    "JPEG": "JPEG (.jpg)",
    "PNG": "PNG (.png)",
    "HFA": "Erdas Imagine (.img)",
    "ENVI": "ENVI (with its .hdr)",
}
_CONTAINERS = {".nc": "NETCDF", ".nc4": "NETCDF", ".h5": "HDF5", ".hdf5": "HDF5", ".he5": "HDF5", ".hdf": "HDF4_SDS"}
_CONTAINER = re.compile(r"(netcdf|hdf[45](_\w+)?|zarr|grib|bag|gpkg|sentinel2_\w+):", re.IGNORECASE)
_NO_CODEC = "missing codec"
_NOT_RECOGNISED = "not recognized as being in a supported file format"


def missing_file(path: str) -> RasterError:
    """Return the error for a path at which there is no file."""
    if _CONTAINER.match(path):
        return RasterError(
            f"{path} is one of several rasters in a file. Such files may refer to others, and geoseg reads none of "
            f"them; copy the raster first: gdal_translate {shlex.quote(path)} scene.tif"
        )
    if Path(path).suffix.lower() == ".zarr" and Path(path).is_dir():
        return RasterError(
            f"{path} is a Zarr store, which geoseg does not read. List its arrays with gdalinfo {quoted(path)}, and "
            f"copy one first: gdal_translate 'ZARR:\"{path}\":/<name>' scene.tif"
        )
    if Path(path).is_dir():
        return RasterError(f"{path} is a folder; give the path of a raster file, such as a GeoTIFF in it.")
    return RasterError(f"there is no file {path}; give the path of a raster.")


def unreadable(path: str, failures: Sequence[str]) -> RasterError:
    """Return the error for a file that no driver opens.

    Parameters
    ----------
    path : str
    failures : sequence of str
        The message of each driver.
    """
    file = Path(path)
    if file.is_file() and file.stat().st_size == 0:
        return RasterError(f"{path} is empty (0 bytes); expected a raster. Was it copied or downloaded completely?")
    if file.is_file() and not os.access(file, os.R_OK):
        return RasterError(f"{path} cannot be read: permission denied. Make it readable: chmod +r {quoted(path)}")
    if failures and all(_NOT_RECOGNISED in failure for failure in failures):
        if (prefix := _CONTAINERS.get(file.suffix.lower())) is not None:
            return RasterError(
                f"{path} is a container of rasters, which geoseg does not read. List them with gdalinfo "
                f"{quoted(path)}, and copy one first: gdal_translate '{prefix}:\"{path}\":<name>' scene.tif"
            )
        return RasterError(
            f"{path} cannot be opened as a raster: its format is not recognized; expected "
            f"{', '.join(_FORMATS.values())}. Convert it first: gdal_translate {path} scene.tif"
        )
    # The message of a driver that recognises the format is the one that helps.
    helpful = [failure for failure in failures if _NOT_RECOGNISED not in failure]
    if any(_NO_CODEC in failure for failure in helpful):
        return RasterError(
            f"{path} cannot be opened as a raster: {helpful[0].rstrip('.')}, in the GDAL that rasterio comes with. "
            "Convert it with another GDAL, such as that of QGIS: gdal_translate -co COMPRESS=DEFLATE "
            f"{quoted(path)} scene.tif"
        )
    return RasterError(f"{path} cannot be opened as a raster: {(helpful or failures)[0]}")
