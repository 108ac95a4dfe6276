"""Polygons with attributes from a label array in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from geoseg.errors import ConfigError, RasterError
from geoseg.grid import GeoBox, Window
from geoseg.raster.pixel_size import pixel_size
from geoseg.vectorize import label_index, zonal_stats
from geoseg.vectorize.outline import outline
from geoseg.vectorize.regions import pieces
from geoseg.vectorize.simplify import Shaping

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

_LARGEST = 2**63 - 1  # int64, the type of the column `class`
_LARGEST_FLOAT = 2**53  # above it float64 does not hold every whole number


class _Bands(NamedTuple):
    """Raster for zonal statistics."""

    pixels: NDArray[np.float32]  # (band, y, x), 0 where unknown
    known: NDArray[np.bool_]  # (y, x), True = has a value in every band


def polygonize(
    labels: ArrayLike,
    *,
    transform: Affine | Sequence[float],
    crs: Any,
    values: ArrayLike | None = None,
    nodata: float | None = None,
    min_pixels: int = 0,
    simplify: float = 0,
    smooth: bool = False,
) -> GeoDataFrame:
    """Return the connected regions of a label array as polygons with attributes.

    A region is a 4-connected set of pixels with the same label. The polygons form a coverage: they are valid, they
    neither overlap nor leave gaps, and neighbours share every vertex of their common border.

    Parameters
    ----------
    labels : (y, x) array of int, bool or whole floats
        Every number is a label, also 0 and negative ones. Masked pixels and NaN are nodata.
    transform : Affine or sequence of 6 float
        Pixel corner (col, row) to CRS (x, y), as `rasterio.DatasetReader.transform`. Six numbers are in the order of
        `Affine`: a, b, c, d, e, f; for GDAL's order use `Affine.from_gdal`.
    crs : pyproj.CRS, rasterio.crs.CRS, str or int
        Anything that `pyproj.CRS.from_user_input` accepts.
    values : (band, y, x) or (y, x) array of float, optional
        Raster for zonal statistics, computed in float32. Pixels that are masked, NaN or infinite in any band have no
        value.
    nodata : int or float, optional
        Number in `labels` that is no label. None or NaN = every number is a label.
    min_pixels : int
        Regions with fewer pixels are merged into the neighbour with the longest shared border; of equal borders into
        the one with the nearest mean of `values`. 0 = keep every region.
    simplify : float
        Tolerance in pixels by which borders may move. 0 = keep every corner.
    smooth : bool
        Replace the staircase of pixel edges by smooth lines.

    Returns
    -------
    GeoDataFrame
        One row per region, in the reading order of their first pixels, with the columns `region` (from 1), `class` (the
        label), `pixels`, `area` (m²), `perimeter` (m), `compactness` (0 to 1), and for each band n of `values`
        `mean_n`, `std_n`, `min_n`, `max_n` in its own units, NaN where no pixel of the region has a value.

    Raises
    ------
    RasterError
        If `labels`, `values`, `transform` or `crs` cannot be used.
    ConfigError
        If `min_pixels` or `simplify` is negative.

    Examples
    --------
    >>> frame = polygonize([[7, 7, 2]], transform=(10, 0, 500_000, 0, -10, 5_000_000), crs="EPSG:32631")
    >>> frame[["region", "class", "pixels", "area"]].values.tolist()
    [[1.0, 7.0, 2.0, 200.0], [2.0, 2.0, 1.0, 100.0]]
    >>> frame.geometry[1].wkt
    'POLYGON ((500020 5000000, 500030 5000000, 500030 4999990, 500020 4999990, 500020 5000000))'
    """
    from geopandas import GeoDataFrame  # it takes a second to import

    shaping = _shaping(min_pixels, simplify, smooth)
    integers, valid = _integer_labels(labels, nodata)
    bands = None if values is None else _bands(values, integers.shape)
    geobox = GeoBox(integers.shape, _affine(transform), _crs(crs).to_wkt())
    region_map, region_labels = _regions(integers, valid, bands, min_pixels)
    framed = np.pad(region_map.astype(np.int64), 1)
    columns = {
        "region": np.arange(1, len(region_labels) + 1),
        "class": region_labels,
        **_attributes(region_map, framed, bands, geobox),
    }
    polygons = outline(framed, shaping=shaping).polygons.transformed(geobox.transform)
    rows = polygons.owners - 1
    table = {name: column[rows] for name, column in columns.items()}
    return GeoDataFrame(table, geometry=polygons.shapes(), crs=_crs(crs))


def _shaping(min_pixels: int, simplify: float, smooth: bool) -> Shaping:
    if not (isinstance(min_pixels, int | np.integer) and min_pixels >= 0):
        raise ConfigError(
            f"min_pixels is {min_pixels!r}, and must be a whole number of pixels from 0. Use 0 to keep every region."
        )
    if not (isinstance(simplify, int | float | np.number) and 0 <= simplify < math.inf):
        raise ConfigError(
            f"simplify is {simplify!r}, and must be a finite number of pixels from 0. Use 0 to keep every corner."
        )
    return Shaping(float(simplify), bool(smooth), int(min_pixels))


def _affine(transform: Affine | Sequence[float]) -> Affine:
    try:
        affine = transform if isinstance(transform, Affine) else Affine(*map(float, transform))
    except (TypeError, ValueError) as err:
        raise RasterError(
            f"transform is {transform!r}, and must be an Affine or its 6 numbers a, b, c, d, e, f. "
            "Use for example rasterio.transform.from_origin(west, north, x_size, y_size)."
        ) from err
    if affine.determinant == 0 or not np.isfinite(affine).all():
        raise RasterError(
            f"transform is {tuple(affine)[:6]}, which gives pixels of no finite area; its numbers must be finite and "
            "a * e - b * d not 0. Six numbers are in the order of Affine; for GDAL's order use Affine.from_gdal."
        )
    return affine


def _crs(crs: Any) -> CRS:
    try:
        return CRS.from_user_input(crs)
    except CRSError as err:
        raise RasterError(
            f"crs is {crs!r}, and must be a CRS that pyproj accepts ({' '.join(str(err).split())}). "
            'Use for example crs="EPSG:32631".'
        ) from err


def _integer_labels(labels: ArrayLike, nodata: float | None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return labels as integers within int64, any number where not valid, and which of them are valid."""
    array, valid = _array(labels, "labels")
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "biuf":
        raise RasterError(
            f"labels have shape {array.shape} and dtype {array.dtype}, and must be integers (y, x) of at least one "
            "pixel. Select one band first: labels[0]."
        )
    if nodata is not None:
        valid &= _differs(array, nodata)
    if array.dtype.kind == "f":
        valid &= ~np.isnan(array)
        _check_whole(array[valid])
        return np.where(valid, array, 0).astype(np.int64), valid
    if array.dtype == np.uint64 and valid.any() and array[valid].max() > _LARGEST:
        raise RasterError(
            f"labels contain {array[valid].max()}, and must be at most {_LARGEST} (int64). Renumber them first: "
            "np.unique(labels, return_inverse=True)."
        )
    return array, valid


def _differs(array: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    """Return where an array has data; NaN as the nodata value needs no comparison."""
    if not isinstance(nodata, int | float | np.number) or (nodata != nodata // 1 and nodata == nodata):
        raise RasterError(f"nodata is {nodata!r}, and must be a whole number as labels are. Use None for no nodata.")
    return np.ones(array.shape, np.bool_) if np.isnan(nodata) else np.asarray(array != int(nodata))


def _check_whole(numbers: NDArray[np.floating[Any]]) -> None:
    wrong = numbers[(numbers != np.rint(numbers)) | (np.abs(numbers) > _LARGEST_FLOAT)]
    if wrong.size:
        raise RasterError(
            f"labels contain {float(wrong[0])!r}, and must be whole numbers, of at most 2**53 when they are floats. "
            "Round or classify the array first; for a continuous raster use geoseg.segment_array."
        )


def _bands(values: ArrayLike, shape: tuple[int, ...]) -> _Bands:
    array, unmasked = _array(values, "values")
    if array.ndim == 2:
        array, unmasked = array[None], unmasked[None]
    if array.ndim != 3 or array.shape[1:] != shape or array.dtype.kind not in "biuf":
        raise RasterError(
            f"values have shape {np.shape(values)} and dtype {array.dtype}, and must be numbers (band, y, x) or (y, x) "
            f"on the pixels of labels, which have shape {shape}. Resample values onto that grid first."
        )
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and no value
        pixels = array.astype(np.float32)
    known = np.all(unmasked & np.isfinite(pixels), axis=0, keepdims=True)[0]
    return _Bands(np.where(known, pixels, np.float32(0)), known)


def _array(given: ArrayLike, name: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return a numpy array without its mask, and a new array that is False where it is masked."""
    try:
        array = np.asarray(given)
    except ValueError as err:
        raise RasterError(f"{name} have rows of different length ({err}), and must be one array of numbers.") from err
    return array, ~np.ma.getmaskarray(given) if np.ma.isMA(given) else np.ones(array.shape, np.bool_)


def _regions(
    labels: NDArray[Any], valid: NDArray[np.bool_], bands: _Bands | None, min_pixels: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the region of each pixel, 0 = nodata, and the label of each region from 1."""
    classes, values = label_index.number_labels(labels, valid)
    features = np.zeros((len(values) + 1, 0))
    if bands is not None and min_pixels > 1:
        features = label_index.features(classes, values, *bands).of(values)
    window = Window(0, 0, labels.shape[1], labels.shape[0])
    # The core is the whole array, so its pieces are the regions.
    region_map, table = pieces(
        classes, window=window, scene_shape=labels.shape, min_pixels=min_pixels, features=features
    )
    return region_map, values[table.classes - 1]


def _attributes(
    region_map: NDArray[np.int32], framed: NDArray[np.int64], bands: _Bands | None, geobox: GeoBox
) -> dict[str, NDArray[np.generic]]:
    """Return the columns of the regions other than `region` and `class`."""
    n, size = int(region_map.max()), pixel_size(geobox)
    nothing = np.zeros((0, *region_map.shape), np.float32)
    columns = zonal_stats.columns(zonal_stats.zonal_sums(region_map, nothing, regions=framed, size=size, n_pieces=n))
    if bands is None:
        return columns
    known = np.where(bands.known, region_map, np.int32(0))  # a label may lie where there is no value
    sums = zonal_stats.zonal_sums(known, bands.pixels, regions=framed, size=size, n_pieces=n)
    return columns | {
        name: column for name, column in zonal_stats.columns(sums.empty_as_nan()).items() if name not in columns
    }
