"""Attributes of regions besides zonal statistics: shape, texture and context, exact over tile lines.

`tile_attributes` measures the regions of a tile, `combine` adds the tiles up, and a function per group names the
columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RunError
from geoseg.grid import Window
from geoseg.segment.grouped import grouped_sum
from geoseg.vectorize import neighbours, shape, texture
from geoseg.vectorize.neighbours import Adjacency, Borders, NodataMap
from geoseg.vectorize.shape import Moments
from geoseg.vectorize.texture import Cooccurrences, Gradients
from geoseg.vectorize.tile_attributes import Hulls, Matrices, TileAttributes

_MAX_HELD = 2**21  # rows of parts of open regions, beyond which complete ones are finished


@dataclass(frozen=True)
class RegionAttributes:
    """What is measured of the regions of a scene; row i describes region i + 1.

    Parameters
    ----------
    moments : Moments
    areas : (region, 2) float64
        As of `Hulls`; NaN without pixels.
    texture : (region, 3) float64
    gradients : Gradients
    borders : Borders
    adjacency : Adjacency
    nodata : (row, col) bool
        Of a `NodataMap`.
    votes : (region, component) float64
        Sums over pixels; without columns if they are not asked for.
    """

    moments: Moments
    areas: NDArray[np.float64]
    texture: NDArray[np.float64]
    gradients: Gradients
    borders: Borders
    adjacency: Adjacency
    nodata: NDArray[np.bool_]
    votes: NDArray[np.float64]


def combine(
    tiles: Iterable[tuple[Window, TileAttributes | None]],
    last: NDArray[np.int64],
    *,
    scene_shape: tuple[int, int],
    matrices: Matrices,
) -> RegionAttributes:
    """Return the attributes of the regions of the scene from those of its tiles.

    Parameters
    ----------
    tiles : iterable of (Window, TileAttributes or None)
        The core of every tile of the scene, in an order that is the same in each run, and what is measured there; None
        = nothing, so that all its pixels count as nodata.
    last : (region,) int64
        The last tile in which each region has pixels, counted from 0; what is large is held until then.
    scene_shape : (int, int)
        (rows, cols).
    matrices : callable
        As in `TilePixels`.

    Raises
    ------
    RunError
        If a tile has a region that is not one of the scene.
    """
    n = len(last)
    found = RegionAttributes(
        Moments.zeros(n),
        np.full((n, 2), np.nan),
        np.full((n, 3), np.nan),
        Gradients.zeros(n),
        Borders.zeros(n),
        neighbours.summed_adjacency([]),
        NodataMap(scene_shape).empty(),
        np.zeros((n, 0)),
    )
    adjacency, held, most = list[Adjacency](), _Held([], []), _MAX_HELD
    for tile, (window, part) in enumerate(tiles):
        cells = NodataMap(scene_shape).cells(window)
        if part is None:
            found.nodata[cells] = True
            continue
        if part.nodata.size:
            found.nodata[cells] |= part.nodata
        if part.votes.shape[1] > found.votes.shape[1]:
            found = replace(found, votes=np.zeros((n, part.votes.shape[1])))
        _add_tile(found, part)
        adjacency.append(part.adjacency)
        held.pairs.append(part.open_texture)
        held.hulls.append(part.hulls)
        if held.size > most:
            held = _finish(found, held, last <= tile, matrices)
            most = 2 * held.size + _MAX_HELD
    _finish(found, held, np.ones(n, np.bool_), matrices)
    return replace(found, adjacency=neighbours.summed_adjacency(adjacency))


def shape_columns(found: RegionAttributes, matrices: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Return the columns of the group `shape`; `matrices` are (region, 2, 2) as in `shape.axes`."""
    elongation, orientation = shape.axes(found.moments.scatter, matrices)
    pixels, (hull, rectangle) = found.moments.pixels, found.areas.T
    return {
        "elongation": elongation,
        "orientation": orientation,
        "rectangularity": np.minimum(pixels / rectangle, 1),
        "solidity": pixels / hull,
    }


def texture_columns(found: RegionAttributes) -> dict[str, NDArray[Any]]:
    """Return the columns of the group `texture`; NaN for a region of a single pixel."""
    contrast, homogeneity, entropy = found.texture.T
    return {
        "texture_contrast": contrast,
        "texture_homogeneity": homogeneity,
        "texture_entropy": entropy,
        "gradient": _ratio(found.gradients.total, found.gradients.pairs),
    }


def votes_columns(found: RegionAttributes) -> dict[str, NDArray[Any]]:
    """Return the columns of the group `votes`: the mean of each component over the pixels."""
    means = _ratio(found.votes, found.moments.pixels[:, None])
    return {f"votes_{number}": column for number, column in enumerate(means.T, start=1)}


def context_columns(
    found: RegionAttributes, scene_shape: tuple[int, int], pixel: float, classes: NDArray[np.integer], n_classes: int
) -> dict[str, NDArray[Any]]:
    """Return the columns of the group `context`.

    Parameters
    ----------
    found : RegionAttributes
    scene_shape : (int, int)
        (rows, cols).
    pixel : float
        Side of a pixel in m.
    classes : (region,) int
        From 1.
    n_classes : int
        For how many classes there is a column.
    """
    borders, n = found.borders, len(classes)
    one, other = found.adjacency.pairs.T - 1
    edges = borders.edges + borders.to_nodata
    columns: dict[str, NDArray[Any]] = {
        "border_contrast": _ratio(borders.contrast, borders.edges),
        "border_difference": _ratio(borders.difference, borders.edges),
        "neighbours": np.bincount(one, minlength=n),
        "border_nodata": _ratio(borders.to_nodata, edges),
        "nodata_distance": NodataMap(scene_shape).distances(found.nodata, found.moments.centre) * pixel,
    }
    columns["nodata_distance"][found.moments.pixels == 0] = np.nan
    if n_classes:
        base = np.int64(n_classes)
        of_class = np.bincount(one * base + classes[other] - 1, found.adjacency.edges, minlength=n * n_classes)
        shares = _ratio(of_class.reshape(n, n_classes), edges[:, None])
        columns |= {f"border_class_{number}": shares[:, number - 1] for number in range(1, n_classes + 1)}
    return columns


def object_perimeter(
    perimeter: NDArray[np.float64], found: Adjacency, objects: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the perimeter of objects in m: that of their regions without the borders inside of them.

    Parameters
    ----------
    perimeter : (region,) float64
    found : Adjacency
    objects : (region,) int
        Object of each region, from 1.
    """
    one, other = objects[found.pairs.T - 1]
    inside = np.bincount(one - 1, np.where(one == other, found.length, 0), minlength=int(objects.max(initial=0)))
    return grouped_sum(perimeter, objects - 1, len(inside)) - inside


def _ratio(total: NDArray[Any], n: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(total / np.where(n > 0, n, np.nan))


class _Held(NamedTuple):
    """Parts of open regions: their pairs of grey levels, and the corners of their hulls."""

    pairs: list[Cooccurrences]
    hulls: list[Hulls]

    @property
    def size(self) -> int:
        """Number of rows of all parts."""
        return sum(len(part.groups) for part in self.pairs) + sum(len(part.regions) for part in self.hulls)


def _add_tile(found: RegionAttributes, part: TileAttributes) -> None:
    """Add to each region what adds up, and take what is complete."""
    n_regions = len(found.areas)
    if part.numbers.max(initial=0) > n_regions:
        raise RunError(
            f"A tile has attributes of region {part.numbers.max()}, and the scene has {n_regions} regions; its tables "
            "come from different runs. Start the run again with --overwrite."
        )
    rows = part.numbers - 1
    found.moments.add(part.moments, rows)
    sums: tuple[tuple[NDArray[Any], NDArray[Any]], ...] = (
        *zip(found.gradients, part.gradients, strict=True),
        *zip(found.borders, part.borders, strict=True),
    )
    for total, column in sums:
        if len(column):
            total[rows] += column
    if part.votes.size:
        found.votes[rows] += part.votes
    for table, values in ((found.areas, part.hulls.areas), (found.texture, part.texture)):
        if len(values):
            table[rows] = values  # NaN for an open region


def _finish(found: RegionAttributes, held: _Held, is_complete: NDArray[np.bool_], matrices: Matrices) -> _Held:
    """Compute what follows from the parts of complete regions, (region,) bool; return those of the others."""
    pairs = texture.summed_cooccurrences(held.pairs)
    chosen = is_complete[pairs.groups - 1]
    used, groups = np.unique(pairs.groups[chosen], return_inverse=True)
    some = Cooccurrences(groups.ravel().astype(np.int64), pairs.cells[chosen], pairs.counts[chosen])
    found.texture[used - 1] = texture.haralick(some, len(used))
    points = np.concatenate([np.zeros((0, 2), np.int64), *(part.points for part in held.hulls)])
    owners = np.concatenate([np.zeros(0, np.int64), *(part.regions for part in held.hulls)])
    whole = is_complete[owners - 1]
    used, groups = np.unique(owners[whole], return_inverse=True)
    hulls = shape.hulls_of_points(points[whole], groups.ravel().astype(np.int64), len(used))
    areas = shape.hull_areas(hulls, matrices(found.moments.centre[used - 1]))
    found.areas[used - 1] = np.stack(areas, axis=1)
    waiting = Cooccurrences._make(column[~chosen] for column in pairs)
    return _Held([waiting], [Hulls(np.zeros((0, 2)), points[~whole], owners[~whole])])
