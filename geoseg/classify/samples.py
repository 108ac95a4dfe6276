"""Samples: places whose name is known, and the regions to which they belong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

_MOSTLY = 0.5  # share of a region


@dataclass(frozen=True)
class Samples:
    """Points and polygons with names, in the CRS of the regions.

    Parameters
    ----------
    points : (point,) array of shapely.Point
        The samples that are points, and one point inside of each sample that is a polygon.
    polygons : (polygon,) array of shapely.Polygon
    point_sample, polygon_sample : (point,) and (polygon,) int64
        The sample to which each belongs.
    numbers : (sample,) int64
        Position of the name of each sample in `names`.
    names : tuple of str
        Sorted.
    notes : tuple of str
        What the user should know about samples that are not used.
    """

    points: NDArray[Any]
    polygons: NDArray[Any]
    point_sample: NDArray[np.int64]
    polygon_sample: NDArray[np.int64]
    numbers: NDArray[np.int64]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Located:
    """Regions that have samples; a region occurs once for each of its samples.

    Parameters
    ----------
    rows : (pair,) int64
        Row of the region.
    samples : (pair,) int64
        Number of the sample.
    is_covered : (pair,) bool
        Whether the sample is a polygon that covers most of the region.
    """

    rows: NDArray[np.int64]
    samples: NDArray[np.int64]
    is_covered: NDArray[np.bool_]


class SampleLocator:
    """Finds the regions of samples while the regions are read in batches.

    A point belongs to the region that contains it; on a border, to the one that is read first. A polygon belongs to
    all regions that it covers by more than half; if there is none, to the region under a point inside of it.

    Parameters
    ----------
    samples : Samples
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._points, self._polygons = shapely.STRtree(samples.points), shapely.STRtree(samples.polygons)
        self._at_point = np.full(len(samples.points), -1, np.int64)
        self._covered: list[NDArray[np.int64]] = []  # (2, pair): row, sample

    def add(self, regions: NDArray[Any], first_row: int) -> None:
        """Find the samples of a batch of regions, whose first one has the number `first_row`."""
        row, point = self._points.query(regions, predicate="intersects")
        point, first = np.unique(point[np.argsort(row, kind="stable")], return_index=True)
        row = np.sort(row, kind="stable")[first]
        is_free = self._at_point[point] < 0
        self._at_point[point[is_free]] = row[is_free] + first_row
        if len(self._samples.polygons):
            self._add_covered(regions, first_row)

    def located(self) -> Located:
        """Return the regions of all samples, in the order of the samples."""
        covered = np.unique(np.concatenate([np.empty((2, 0), np.int64), *self._covered], axis=1), axis=1)
        is_left = (self._at_point >= 0) & ~np.isin(self._samples.point_sample, covered[1])
        pairs = np.concatenate(
            [covered, np.stack([self._at_point[is_left], self._samples.point_sample[is_left]])], axis=1
        )
        order = np.lexsort(pairs)  # by sample, then by row
        is_covered = np.arange(pairs.shape[1]) < covered.shape[1]
        return Located(pairs[0, order], pairs[1, order], is_covered[order])

    def _add_covered(self, regions: NDArray[Any], first_row: int) -> None:
        row, polygon = self._polygons.query(regions, predicate="intersects")
        if not len(row):
            return
        shapes, areas = self._samples.polygons[polygon], shapely.area(regions[row])
        shapely.prepare(shapes)
        is_mostly = shapely.covers(shapes, regions[row])
        partly = np.flatnonzero(~is_mostly)
        shared = shapely.area(shapely.intersection(shapely.make_valid(regions[row[partly]]), shapes[partly]))
        is_mostly[partly] = shared > _MOSTLY * areas[partly]
        samples = self._samples.polygon_sample[polygon[is_mostly]]
        self._covered.append(np.stack([row[is_mostly] + first_row, samples]))


def joined(parts: Sequence[Samples]) -> Samples:
    """Return the samples of several files as one."""
    names = tuple(sorted({name for part in parts for name in part.names}))
    starts = np.cumsum([0, *(len(part) for part in parts)])
    of = [np.searchsorted(np.array(names), part.names) for part in parts]  # number in a part → in all
    return Samples(
        np.concatenate([part.points for part in parts]),
        np.concatenate([part.polygons for part in parts]),
        np.concatenate([part.point_sample + start for part, start in zip(parts, starts[:-1], strict=True)]),
        np.concatenate([part.polygon_sample + start for part, start in zip(parts, starts[:-1], strict=True)]),
        np.concatenate([number[part.numbers] for number, part in zip(of, parts, strict=True)]),
        names,
        tuple(note for part in parts for note in part.notes),
    )
