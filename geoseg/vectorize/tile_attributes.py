"""Shape, texture and context of the regions of a tile.

What is large per region, such as a co-occurrence matrix or the corners of a hull, leaves the tile only for open
regions, which may continue in other tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.raster.pixel_size import PixelSize
from geoseg.vectorize import neighbours, shape, texture
from geoseg.vectorize.neighbours import Adjacency, Borders, NodataMap
from geoseg.vectorize.region_runs import LocalRegions, region_runs, summed_rows
from geoseg.vectorize.shape import Moments
from geoseg.vectorize.texture import Cooccurrences, Gradients

Matrices = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # centres (region, 2) → as in `shape.axes`


class Hulls(NamedTuple):
    """Areas of the convex hulls of regions, and the corners of those that are open.

    Parameters
    ----------
    areas : (region, 2) float64
        Of the hull and of the smallest rectangle around it, in pixels; NaN for an open region.
    points : (point, 2) int64
        (x, y) of corners of open regions.
    regions : (point,) int64
        Number of the region of each.
    """

    areas: NDArray[np.float64]
    points: NDArray[np.int64]
    regions: NDArray[np.int64]


@dataclass(frozen=True)
class TileAttributes:
    """What is measured of the regions of a tile; row i of a table describes region `numbers[i]`.

    Parameters
    ----------
    numbers : (region,) int64
        Those with pixels in the core, ascending.
    moments : Moments
    hulls : Hulls
    texture : (region, 3) float64
        As of `texture.haralick`; NaN for an open region.
    open_texture : Cooccurrences
        Of the open regions, by their numbers in the scene.
    gradients : Gradients
    borders : Borders
    adjacency : Adjacency
        By numbers in the scene.
    nodata : (row, col) bool
        As of `NodataMap.of_tile`.
    votes : (region, component) float64
        Sums over pixels of the components of the votes.

    Notes
    -----
    What is not asked for has no rows.
    """

    numbers: NDArray[np.int64]
    moments: Moments
    hulls: Hulls
    texture: NDArray[np.float64]
    open_texture: Cooccurrences
    gradients: Gradients
    borders: Borders
    adjacency: Adjacency
    nodata: NDArray[np.bool_]
    votes: NDArray[np.float64]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name, to be saved."""
        named: dict[str, NDArray[Any]] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, np.ndarray):
                named[one.name] = value
            else:
                named |= {f"{one.name}.{name}": column for name, column in value._asdict().items()}
        return named

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> TileAttributes:
        """Return the attributes from the arrays of `to_arrays`."""
        kinds = {
            "moments": Moments,
            "hulls": Hulls,
            "open_texture": Cooccurrences,
            "gradients": Gradients,
            "borders": Borders,
            "adjacency": Adjacency,
        }
        values: dict[str, Any] = {name: array for name, array in arrays.items() if "." not in name}
        for name, kind in kinds.items():
            begin = f"{name}."
            values[name] = kind(**{key.removeprefix(begin): arrays[key] for key in arrays if key.startswith(begin)})
        return cls(**values)


@dataclass(frozen=True)
class TilePixels:
    """What the attributes of a tile are computed from, besides its regions.

    Parameters
    ----------
    window : Window
        The core.
    size : PixelSize
        Of the core.
    scene_shape : (int, int)
        (rows, cols).
    matrices : callable
        Returns for centres (region, 2) the matrices of `shape.axes`.
    brightness : (y + 2, x + 2) float32 or None
        Of the pixels of the core and of one pixel around it, from 0 to 1; None = not known.
    superpixels : (y, x) int or None
        Row of `votes` of each pixel of the core with data; None = there are no votes.
    votes : (superpixel, component) float64
        Components of the votes.
    """

    window: Window
    size: PixelSize
    scene_shape: tuple[int, int]
    matrices: Matrices
    brightness: NDArray[np.float32] | None = None
    superpixels: NDArray[np.integer[Any]] | None = None
    votes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))


def tile_attributes(regions: LocalRegions, pixels: TilePixels, groups: Collection[str]) -> TileAttributes:
    """Measure the regions of a tile.

    Parameters
    ----------
    regions : LocalRegions
    pixels : TilePixels
    groups : collection of str
        What is asked for, of "shape", "texture", "context", "objects" and "votes".
    """
    runs = region_runs(regions)
    own = np.diff(runs.offsets) > 0
    is_open, numbers = regions.is_open[own], regions.numbers[own]
    origin = pixels.window.col_off, pixels.window.row_off
    moments = Moments._make(column[own] for column in shape.moments_of(runs, origin))
    brightness = pixels.brightness
    if brightness is None:
        brightness = np.zeros(regions.map.shape, np.float32)
    hulls = _no_hulls()
    if "shape" in groups:
        corners = shape.hulls_of(runs, origin).take(own)
        closed = np.stack(shape.hull_areas(corners, pixels.matrices(moments.centre)), axis=1)
        some = corners.take(is_open)
        owners = np.repeat(numbers[is_open], np.diff(some.offsets))
        hulls = Hulls(np.where(is_open[:, None], np.nan, closed), some.xy, owners)
    measures, pairs, gradients = np.zeros((0, 3)), texture.summed_cooccurrences([]), Gradients.zeros(0)
    if "texture" in groups:
        found = texture.cooccurrences(runs, regions, texture.grey_levels(brightness))
        closed = texture.haralick(found, len(own))[own]
        measures = np.where(is_open[:, None], np.nan, closed)
        kept = regions.is_open[found.groups]
        pairs = Cooccurrences(regions.numbers[found.groups[kept]], found.cells[kept], found.counts[kept])
        gradients = Gradients._make(column[own] for column in texture.gradients(runs, regions, brightness))
    borders, adjacency, nodata = Borders.zeros(0), neighbours.summed_adjacency([]), np.zeros((0, 0), np.bool_)
    if {"context", "objects"} & set(groups):
        borders, adjacency = neighbours.borders_of(runs, regions, brightness, pixels.size)
        borders = Borders._make(column[own] for column in borders)
        core = regions.map[1:-1, 1:-1]
        nodata = NodataMap(pixels.scene_shape).of_tile(core < 0, pixels.window)
    votes = np.zeros((0, 0))
    if "votes" in groups and pixels.superpixels is not None:
        votes = summed_rows(runs, pixels.superpixels, pixels.votes)[own]
    return TileAttributes(numbers, moments, hulls, measures, pairs, gradients, borders, adjacency, nodata, votes)


def _no_hulls() -> Hulls:
    return Hulls(np.zeros((0, 2)), np.zeros((0, 2), np.int64), np.zeros(0, np.int64))
