"""The slow, literal version of `geoseg.vectorize.outline`: GDAL's polygonizer, one shape at a time."""

from __future__ import annotations

import numpy as np
import rasterio.features
import shapely
import shapely.geometry
from numpy.typing import NDArray


def outline_by_gdal(regions: NDArray[np.int64]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Outline every 4-connected piece of equal region number above 0 of a whole scene, without nodes on straight lines.

    Parameters
    ----------
    regions : (y, x) int64, below 2³¹ because GDAL's polygonizer takes no int64 here

    Returns
    -------
    polygons : (piece,) object, shapely Polygon in pixels (x = col, y = row)
    numbers : (piece,) int64
    """
    found = list(rasterio.features.shapes(regions.astype(np.int32), mask=regions > 0, connectivity=4))
    polygons = np.empty(len(found), object)
    polygons[:] = [shapely.geometry.shape(shape) for shape, _ in found]
    return polygons, np.array([int(number) for _, number in found], np.int64)
