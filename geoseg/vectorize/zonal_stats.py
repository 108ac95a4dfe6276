"""Zonal statistics: pixels, area, perimeter and the distribution of each band and index in each region.

`zonal_sums` computes the sums of the pieces of a tile, `combine` adds them up to regions, `columns` names the result.
An index is a quantity from −1 to 1 that is computed pixel by pixel, such as NDVI.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RunError, TileError
from geoseg.raster.pixel_size import PixelSize
from geoseg.segment.compiled import compiled
from geoseg.segment.table_storage import IN_MEMORY, TableStorage, filled

_MAX_ROWS = 2**16  # of regions that are changed before the storage may let go of them

FIXED = 1 << 20  # indices are summed as integers in units of 1/FIXED, so the order of tiles does not matter


@dataclass(frozen=True)
class ZonalSums:
    """Statistics that can be combined; row i describes piece or region i + 1.

    Parameters
    ----------
    pixels : (n,) int64
    area : (n,) float64
        m².
    perimeter : (n,) float64
        m.
    mean : (n, band) float64
        In the units of the raster; 0 without pixels.
    scatter : (n, band) float64
        Sum of squared differences from the mean.
    low, high : (n, band) float32
        Minimum and maximum; inf and -inf without pixels.
    counted : (n, index) int64
        Number of pixels with a value of the index.
    total : (n, index) int64
        Sum of these values in units of 1/`FIXED`.
    """

    pixels: NDArray[np.int64]
    area: NDArray[np.float64]
    perimeter: NDArray[np.float64]
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    counted: NDArray[np.int64]
    total: NDArray[np.int64]

    @classmethod
    def zeros(cls, n: int, n_bands: int, n_indices: int = 0, storage: TableStorage = IN_MEMORY) -> ZonalSums:
        """Return the sums of `n` rows without pixels, in `storage`."""
        bands, indices = (n, n_bands), (n, n_indices)
        return cls(
            pixels=storage.zeros((n,), np.int64),
            area=storage.zeros((n,), np.float64),
            perimeter=storage.zeros((n,), np.float64),
            mean=storage.zeros(bands, np.float64),
            scatter=storage.zeros(bands, np.float64),
            low=filled(storage, bands, np.float32(np.inf)),
            high=filled(storage, bands, np.float32(-np.inf)),
            counted=storage.zeros(indices, np.int64),
            total=storage.zeros(indices, np.int64),
        )

    def rows(self, chosen: NDArray[np.integer] | slice) -> ZonalSums:
        """Return some of the rows, by index or slice."""
        return ZonalSums(**{name: array[chosen] for name, array in vars(self).items()})

    def empty_as_nan(self) -> ZonalSums:
        """Return the sums with NaN instead of statistics in rows without pixels."""
        known = self.pixels[:, None] > 0
        names = ("mean", "scatter", "low", "high")
        return replace(self, **{name: np.where(known, getattr(self, name), np.nan) for name in names})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> ZonalSums:
        """Return the sums from the arrays of `to_arrays`."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})  # type: ignore[arg-type]

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays by name, to be saved."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def zonal_sums(
    pieces: NDArray[np.int32],
    pixels: NDArray[np.float32],
    *,
    regions: NDArray[np.integer],
    size: PixelSize,
    n_pieces: int,
    indices: NDArray[np.float32] | None = None,
) -> ZonalSums:
    """Return the sums of each piece of a tile.

    Parameters
    ----------
    pieces : (y, x) int
        Piece of each pixel, from 1; 0 = nodata.
    pixels : (band, y, x) float32
        Finite in every piece.
    regions : (y + 2, x + 2) int
        Number of the region of each pixel and of one pixel around the tile, the same in all tiles; 0 = nodata or
        outside the scene.
    size : PixelSize
        Of the pixels of the tile.
    n_pieces : int
        Highest number in `pieces`, or above.
    indices : (index, y, x) float32, optional
        From −1 to 1; NaN = no value. None = no indices.

    Returns
    -------
    ZonalSums

    Raises
    ------
    TileError
        If the arrays have different shapes or `pieces` exceeds `n_pieces`.

    Notes
    -----
    The perimeter is the length of the pixel edges between a region and another, nodata or the outside of the scene:
    the length of the staircase of pixels, longer than a smooth border (by up to 4/π on average over directions).
    Two passes, because a sum of squares of 16-bit values loses the variance of a dark, homogeneous region.
    """
    outside = (pieces.shape[0] + 2, pieces.shape[1] + 2)
    if regions.shape != outside or pixels.shape[1:] != pieces.shape or pieces.max(initial=0) > n_pieces:
        raise TileError(
            f"Regions of {regions.shape}, pixels of {pixels.shape} and pieces up to {pieces.max(initial=0)} do not fit "
            f"{n_pieces} pieces on {pieces.shape} pixels; this is a bug in geoseg, please report it."
        )
    edges = (side.reshape(len(side), -1) for side in (size.area, size.width, size.height))  # (row, col), or (row, 1)
    n, area, perimeter = _geometry(pieces, regions, *edges, n_pieces)
    bands = _moments(pieces, pixels, n)
    of_index = _counts(pieces, pixels[:0] if indices is None else indices, n_pieces, FIXED)
    return ZonalSums(n, area, perimeter, *bands, *of_index)


def combine(
    tables: Iterable[tuple[ZonalSums, NDArray[np.integer]]], n_regions: int, storage: TableStorage = IN_MEMORY
) -> ZonalSums:
    """Return the sums of the regions, from those of the pieces of all tiles.

    Parameters
    ----------
    tables : iterable of (ZonalSums, (piece,) int)
        For each tile the sums of its pieces and the region number of each, from 1; 0 = left out. The order of the
        tiles affects the last bits, so it must be the same in each run.
    n_regions : int
        Highest region number.
    storage : TableStorage
        Where the sums of the regions are kept.

    Returns
    -------
    ZonalSums
        One row per region.

    Raises
    ------
    RunError
        If the region numbers do not match the pieces.

    Notes
    -----
    Means and scatters are combined as in Chan, Golub & LeVeque (1979), equation 2.1.
    """
    total: ZonalSums | None = None
    n_rows = 0
    for part, regions in tables:
        if total is None:
            total = ZonalSums.zeros(n_regions, part.mean.shape[1], part.total.shape[1], storage)
        if len(regions) != len(part.pixels) or (len(regions) and not 0 <= regions.min() <= regions.max() <= n_regions):
            raise RunError(
                f"A tile has {len(part.pixels)} pieces and {len(regions)} region numbers, which must be in 0 to "
                f"{n_regions}; its tables come from different runs. Start the run again with --overwrite."
            )
        _add(regions, tuple(part.to_arrays().values()), tuple(total.to_arrays().values()))
        n_rows += len(regions)
        if n_rows > _MAX_ROWS:
            storage.release()
            n_rows = 0
    storage.release()
    return ZonalSums.zeros(n_regions, 0) if total is None else total


def columns(
    table: ZonalSums, *, bands: Sequence[int] | None = None, indices: Sequence[str] = ()
) -> dict[str, NDArray[np.generic]]:
    """Return the columns of the polygon layer.

    Parameters
    ----------
    table : ZonalSums
        One row per region.
    bands : sequence of int, optional
        Number of each band in the raster. None = 1, 2, 3, …
    indices : sequence of str
        Name of the column of each index.

    Returns
    -------
    dict of str to (region,) array
        `pixels`, `area` (m²), `perimeter` (m), `compactness`, the mean of each index (NaN where no pixel has a value),
        `mean_1` …, `std_1` … (population standard deviation, divided by n), `min_1` …, `max_1` ….
    """
    bands = range(1, table.mean.shape[1] + 1) if bands is None else bands
    std = np.sqrt(table.scatter / np.maximum(table.pixels, 1)[:, None])  # (region, band)
    index = table.total / (FIXED * np.where(table.counted > 0, table.counted, np.nan))  # (region, index)
    named: dict[str, NDArray[np.generic]] = {
        "pixels": table.pixels,
        "area": table.area,
        "perimeter": table.perimeter,
        "compactness": compactness(table.area, table.perimeter),
        **{name: index[:, i] for i, name in enumerate(indices)},
    }
    for family, values in (("mean", table.mean), ("std", std), ("min", table.low), ("max", table.high)):
        named |= {f"{family}_{band}": values[:, i] for i, band in enumerate(bands)}
    return named


def compactness(area: NDArray[np.float64], perimeter: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 16 · area / perimeter², from near 0 for long or ragged regions to 1 for a square.

    Notes
    -----
    A perimeter along the pixels of a disc is that of the square around it, so that 4π · area / perimeter² (Cox 1927;
    Polsby and Popper 1991) could reach 1 for no region. Of all sets of pixels a square has the shortest one, 4 · √area.
    This is 1 / SHAPE² with the shape index of FRAGSTATS for rasters (McGarigal and Marks 1995; Patton 1975).

    Examples
    --------
    >>> compactness(np.array([9.0, 9.0]), np.array([12.0, 20.0]))
    array([1.  , 0.36])
    """
    return np.minimum(16 * area / np.where(perimeter > 0, perimeter, np.inf) ** 2, 1)


@compiled(nogil=True)
def _geometry(pieces, regions, area, width, height, n_pieces):  # type: ignore[no-untyped-def]
    n = np.zeros(n_pieces, np.int64)
    total = np.zeros(n_pieces)
    perimeter = np.zeros(n_pieces)
    each = 1 if area.shape[1] > 1 else 0  # one size per pixel, or one per row
    for row in range(pieces.shape[0]):
        for col in range(pieces.shape[1]):
            piece = pieces[row, col] - 1
            if piece < 0:
                continue
            region = regions[row + 1, col + 1]
            n[piece] += 1
            at = col * each
            total[piece] += area[row, at]
            perimeter[piece] += (
                (regions[row, col + 1] != region) * width[row, at]
                + (regions[row + 2, col + 1] != region) * width[row + 1, at]
                + (regions[row + 1, col] != region) * height[row, at]
                + (regions[row + 1, col + 2] != region) * height[row, at + each]
            )
    return n, total, perimeter


@compiled(nogil=True)
def _moments(pieces, pixels, n):  # type: ignore[no-untyped-def]
    shape = (n.size, pixels.shape[0])
    mean, scatter = np.zeros(shape), np.zeros(shape)
    low, high = np.full(shape, np.float32(np.inf)), np.full(shape, np.float32(-np.inf))
    for row in range(pieces.shape[0]):
        for band in range(pixels.shape[0]):
            for col in range(pieces.shape[1]):
                piece = pieces[row, col] - 1
                if piece >= 0:
                    value = pixels[band, row, col]
                    mean[piece, band] += value
                    low[piece, band] = min(low[piece, band], value)
                    high[piece, band] = max(high[piece, band], value)
    for piece in range(n.size):
        for band in range(pixels.shape[0]):
            mean[piece, band] /= max(n[piece], 1)
    for row in range(pieces.shape[0]):
        for band in range(pixels.shape[0]):
            for col in range(pieces.shape[1]):
                if pieces[row, col] > 0:
                    difference = pixels[band, row, col] - mean[pieces[row, col] - 1, band]
                    scatter[pieces[row, col] - 1, band] += difference * difference
    return mean, scatter, low, high


@compiled(nogil=True)
def _counts(pieces, indices, n_pieces, fixed):  # type: ignore[no-untyped-def]
    shape = (n_pieces, indices.shape[0])
    counted, total = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for index in range(indices.shape[0]):
        for row in range(pieces.shape[0]):
            for col in range(pieces.shape[1]):
                piece, value = pieces[row, col] - 1, indices[index, row, col]
                if piece >= 0 and not np.isnan(value):
                    counted[piece, index] += 1
                    total[piece, index] += np.int64(np.rint(np.float64(value) * fixed))
    return counted, total


@compiled(nogil=True)
def _add(regions, part, total):  # type: ignore[no-untyped-def]
    n, area, perimeter, mean, scatter, low, high, counted, summed = part
    n_all, area_all, perimeter_all, mean_all, scatter_all, low_all, high_all, counted_all, summed_all = total
    for piece in range(n.size):
        region = regions[piece] - 1
        if region < 0 or n[piece] == 0:
            continue
        both = n_all[region] + n[piece]
        for band in range(mean.shape[1]):
            apart = mean[piece, band] - mean_all[region, band]
            mean_all[region, band] += apart * n[piece] / both
            scatter_all[region, band] += scatter[piece, band] + apart * apart * n_all[region] * (n[piece] / both)
            low_all[region, band] = min(low_all[region, band], low[piece, band])
            high_all[region, band] = max(high_all[region, band], high[piece, band])
        for index in range(counted.shape[1]):
            counted_all[region, index] += counted[piece, index]
            summed_all[region, index] += summed[piece, index]
        n_all[region] = both
        area_all[region] += area[piece]
        perimeter_all[region] += perimeter[piece]
