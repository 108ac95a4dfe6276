"""What is known about each region: its pixels, area, perimeter, and mean and spread of every band.

A tile makes `sums` of its pieces; `combine` adds the pieces of all tiles to regions; `columns` names the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geoseg.errors import RunError, TileError
from geoseg.grid import GeoBox

# World projections whose scale depends on the latitude alone: a map unit is a metre on one parallel only.
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


@dataclass(frozen=True)
class PixelSize:
    """How large the pixels of a geobox are on the ground, row by row.

    Parameters
    ----------
    area : (y,) float64, m² of one pixel of the row
    width : (y + 1,) float64, m; length of the horizontal pixel edges above each row, and below the last
    height : (y,) float64, m; length of the vertical pixel edges of the row
    """

    area: NDArray[np.float64]
    width: NDArray[np.float64]
    height: NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """What adds up over pieces: row i belongs to piece or region i + 1.

    Parameters
    ----------
    pixels : (n,) int64
    area : (n,) float64, m²
    perimeter : (n,) float64, m
    mean : (n, band) float64, in the raster's own units; 0 where there are no pixels
    scatter : (n, band) float64, sum of squared differences from the mean
    """

    pixels: NDArray[np.int64]
    area: NDArray[np.float64]
    perimeter: NDArray[np.float64]
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def zeros(cls, n: int, n_bands: int) -> Sums:
        """Return the sums of `n` rows without pixels."""
        bands = (n, n_bands)
        return cls(np.zeros(n, np.int64), np.zeros(n), np.zeros(n), np.zeros(bands), np.zeros(bands))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Sums:
        """Return the sums that `to_arrays` gave away."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})  # type: ignore[arg-type]

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays by name, to be saved."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def pixel_size(geobox: GeoBox) -> PixelSize:
    """Measure the pixels of a geobox in metres.

    Parameters
    ----------
    geobox : of the scene or of a window of it; may turn or mirror

    Notes
    -----
    On the ellipsoid where the CRS is geographic or a world projection like Web Mercator; exact for grids that are not
    turned, otherwise measured along the middle column. In the plane of the map for all other CRS, in whose units a
    length is meant (feet become metres). Pixels that lie nowhere on the Earth have size 0.
    """
    crs = CRS(geobox.crs)
    if crs.is_geographic or (crs.coordinate_operation and crs.coordinate_operation.method_name in _CYLINDRICAL):
        return _size_on_ellipsoid(geobox, crs)
    return _size_in_plane(geobox, crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0)


def resolution(geobox: GeoBox) -> float:
    """Return the side of a pixel in the middle of a raster in metres, the root of its area; 0 = unknown."""
    rows, cols = geobox.shape
    middle = geobox.window._replace(row_off=rows // 2, height=1, width=cols)
    return math.sqrt(float(pixel_size(geobox.cropped(middle)).area[0]))


def sums(
    pieces: NDArray[np.int32],
    pixels: NDArray[np.float32],
    *,
    regions: NDArray[np.integer],
    size: PixelSize,
    n_pieces: int,
) -> Sums:
    """Add up the pixels of each piece of a tile.

    Parameters
    ----------
    pieces : (y, x) int, piece of each pixel, from 1; 0 = no data
    pixels : (band, y, x), finite wherever there is a piece
    regions : (y + 2, x + 2) int, any numbers that tell regions apart across tiles; with one pixel of the neighbours
        on each side, 0 = no data or outside the scene
    size : of the pixels of the tile
    n_pieces : the highest number that `pieces` may hold

    Raises
    ------
    TileError
        Where the arrays do not belong together.

    Notes
    -----
    The perimeter is the length of the pixel edges between a region and another, no data or the rim of the scene: the
    length of the staircase of pixels, longer than a smooth border (by up to 4/π on average over directions).
    Two passes, because a sum of squares of 16-bit values loses the spread of a dark, even region.
    """
    outside = (pieces.shape[0] + 2, pieces.shape[1] + 2)
    if regions.shape != outside or pixels.shape[1:] != pieces.shape or pieces.max(initial=0) > n_pieces:
        raise TileError(
            f"Regions of {regions.shape}, pixels of {pixels.shape} and pieces up to {pieces.max(initial=0)} do not fit "
            f"{n_pieces} pieces on {pieces.shape} pixels; this is a fault of geoseg, please report it."
        )
    n, area, perimeter = _ground(pieces, regions, size.area, size.width, size.height, n_pieces)
    mean, scatter = _moments(pieces, pixels, n)
    return Sums(n, area, perimeter, mean, scatter)


def combine(tables: Iterable[tuple[Sums, NDArray[np.integer]]], n_regions: int) -> Sums:
    """Add the pieces of all tiles to regions.

    Parameters
    ----------
    tables : for each tile the sums of its pieces and the (n_pieces,) region number of each, from 1; 0 = left out.
        The order of the tiles decides about the last bits, so it must be the same in each run
    n_regions : the highest region number

    Returns
    -------
    Sums with a row for each region

    Raises
    ------
    RunError
        Where the numbers do not belong to the pieces.

    Notes
    -----
    Means and scatters join as in Chan, Golub & LeVeque (1979), equation 2.1.
    """
    total: Sums | None = None
    for part, regions in tables:
        if total is None:
            total = Sums.zeros(n_regions, part.mean.shape[1])
        if len(regions) != len(part.pixels) or (len(regions) and not 0 <= regions.min() <= regions.max() <= n_regions):
            raise RunError(
                f"A tile has {len(part.pixels)} pieces and {len(regions)} region numbers, which must lie in 0 to "
                f"{n_regions}; its tables are not of one run. Start the run again with --overwrite."
            )
        _add(regions, *part.to_arrays().values(), *total.to_arrays().values())
    return Sums.zeros(n_regions, 0) if total is None else total


def columns(table: Sums, *, bands: Sequence[int] | None = None) -> dict[str, NDArray[np.generic]]:
    """Name the columns of the polygon layer.

    Parameters
    ----------
    table : one row for each region
    bands : the raster's own number of each band; None = 1, 2, 3, …

    Returns
    -------
    `pixels`, `area` (m²), `perimeter` (m), `mean_1` …, `std_1` … (of the pixels themselves, so divided by n)
    """
    bands = range(1, table.mean.shape[1] + 1) if bands is None else bands
    std = np.sqrt(table.scatter / np.maximum(table.pixels, 1)[:, None])  # (region, band)
    named: dict[str, NDArray[np.generic]] = {
        "pixels": table.pixels,
        "area": table.area,
        "perimeter": table.perimeter,
    }
    named |= {f"mean_{band}": table.mean[:, i] for i, band in enumerate(bands)}
    return named | {f"std_{band}": std[:, i] for i, band in enumerate(bands)}


def _size_in_plane(geobox: GeoBox, unit: float) -> PixelSize:
    n_rows, t = geobox.shape[0], geobox.transform
    width, height = np.hypot(t.a, t.d) * unit, np.hypot(t.b, t.e) * unit
    area = abs(t.determinant) * unit**2
    return PixelSize(np.full(n_rows, area), np.full(n_rows + 1, width), np.full(n_rows, height))


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
    """Return where the rows of the middle column begin and end, and what one step right or down is.

    Returns
    -------
    lat : (y + 1,) radians
    right, down : (lon or lat, y) radians
    """
    n_rows, n_cols = geobox.shape
    cols, rows = np.meshgrid(n_cols // 2 + np.array([0, 1]), np.arange(n_rows + 1))
    x, y = geobox.transform @ (cols, rows)
    if crs.is_geographic:
        radian, t = crs.axis_info[0].unit_conversion_factor, geobox.transform
        # The steps straight from the transform: as differences of corners they would lose digits.
        right, down = (np.outer(step, np.full(n_rows, radian)) for step in ((t.a, t.d), (t.b, t.e)))
        return y.mean(axis=1) * radian, right, down
    geodetic = crs.geodetic_crs
    lon_lat = Transformer.from_crs(crs, geodetic, always_xy=True).transform(x, y)
    corners = np.stack(lon_lat) * geodetic.axis_info[0].unit_conversion_factor  # (lon or lat, y + 1, 2)
    corners[0] -= np.round((corners[0] - corners[0, :1, :1]) / (2 * np.pi)) * 2 * np.pi  # across the date line
    corners = np.where(np.isfinite(corners).all(axis=0), corners, 0)
    right, down = np.diff(corners, axis=2)[..., 0], np.diff(corners, axis=1).mean(axis=2)
    return corners[1].mean(axis=1), (right[:, 1:] + right[:, :-1]) / 2, down


def _radii(lat: NDArray[np.float64], a: float, es: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the metres per radian northwards and eastwards (Snyder 1987, eq. 4-18; 4-20 times cos)."""
    bend = 1 - es * np.sin(lat) ** 2
    return a * (1 - es) / bend**1.5, a * np.maximum(np.cos(lat), 0) / np.sqrt(bend)


@njit(cache=True, nogil=True)
def _ground(pieces, regions, area, width, height, n_pieces):  # type: ignore[no-untyped-def]
    n = np.zeros(n_pieces, np.int64)
    total = np.zeros(n_pieces)
    perimeter = np.zeros(n_pieces)
    for row in range(pieces.shape[0]):
        for col in range(pieces.shape[1]):
            piece = pieces[row, col] - 1
            if piece < 0:
                continue
            region = regions[row + 1, col + 1]
            n[piece] += 1
            total[piece] += area[row]
            perimeter[piece] += (
                (regions[row, col + 1] != region) * width[row]
                + (regions[row + 2, col + 1] != region) * width[row + 1]
                + ((regions[row + 1, col] != region) + (regions[row + 1, col + 2] != region)) * height[row]
            )
    return n, total, perimeter


@njit(cache=True, nogil=True)
def _moments(pieces, pixels, n):  # type: ignore[no-untyped-def]
    n_bands = pixels.shape[0]
    mean = np.zeros((n.size, n_bands))
    scatter = np.zeros((n.size, n_bands))
    for row in range(pieces.shape[0]):
        for band in range(n_bands):
            for col in range(pieces.shape[1]):
                if pieces[row, col] > 0:
                    mean[pieces[row, col] - 1, band] += pixels[band, row, col]
    for piece in range(n.size):
        for band in range(n_bands):
            mean[piece, band] /= max(n[piece], 1)
    for row in range(pieces.shape[0]):
        for band in range(n_bands):
            for col in range(pieces.shape[1]):
                if pieces[row, col] > 0:
                    difference = pixels[band, row, col] - mean[pieces[row, col] - 1, band]
                    scatter[pieces[row, col] - 1, band] += difference * difference
    return mean, scatter


@njit(cache=True, nogil=True)
def _add(regions, n, area, perimeter, mean, scatter, n_all, area_all, perimeter_all, mean_all, scatter_all):  # type: ignore[no-untyped-def]
    for piece in range(n.size):
        region = regions[piece] - 1
        if region < 0 or n[piece] == 0:
            continue
        both = n_all[region] + n[piece]
        for band in range(mean.shape[1]):
            apart = mean[piece, band] - mean_all[region, band]
            mean_all[region, band] += apart * n[piece] / both
            scatter_all[region, band] += scatter[piece, band] + apart * apart * n_all[region] * (n[piece] / both)
        n_all[region] = both
        area_all[region] += area[piece]
        perimeter_all[region] += perimeter[piece]
