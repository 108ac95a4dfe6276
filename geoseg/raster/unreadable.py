"""The error for a raster that no driver opens: it names the cause and what to do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from geoseg.errors import RasterError
from geoseg.raster.names import quoted

_FORMATS = {  # driver of GDAL → name and suffixes
    "GTiff": "GeoTIFF (.tif)",
    "VRT": "VRT (.vrt)",
    "JP2OpenJPEG": "JPEG 2000 (.jp2)",
    "JPEG": "JPEG (.jpg)",
    "PNG": "PNG (.png)",
    "HFA": "Erdas Imagine (.img)",
    "ENVI": "ENVI (with its .hdr)",
}
_NOT_RECOGNISED = "not recognized as being in a supported file format"


def missing_file(path: str) -> RasterError:
    """Return the error for a path at which there is no file."""
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
        return RasterError(
            f"{path} cannot be opened as a raster: its format is not recognized; expected "
            f"{', '.join(_FORMATS.values())}. Convert it first: gdal_translate {path} scene.tif"
        )
    # The message of a driver that recognises the format is the one that helps.
    helpful = [failure for failure in failures if _NOT_RECOGNISED not in failure]
    return RasterError(f"{path} cannot be opened as a raster: {(helpful or failures)[0]}")
