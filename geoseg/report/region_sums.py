"""Sum the regions of a polygon file by class, and keep the largest ones for the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RasterError
from geoseg.report.polygon_file import Columns, PolygonFile
from geoseg.segment.grouped import grouped_sum

MAX_SHOWN_BANDS = 8  # whose means of single regions are in the report
SIZE_BINS, CONFIDENCE_BINS = 48, 20
_MAX_REGION = 2**28
_KEPT = ("region", "class", "pixels", "area", "confidence")
_KEPT_BY_NAME = (*_KEPT, "second")


@dataclass(frozen=True)
class ClassSums:
    """Sums over the regions of each class, which `add` changes; row i is class i of `values`.

    Parameters
    ----------
    values : (class,) int64
        Values of the column `class`, ascending.
    bands : tuple of int
        Numbers of the bands that have means.
    regions, pixels : (class,) int64
    area : (class,) float64
        Square metres.
    total, square : (class, band) float64
        Sums of the pixels and of their squares.
    weight : (class, band) float64
        Number of pixels of these sums.
    sizes : (SIZE_BINS,) int64
        Number of regions with 2**i to 2**(i + 1) - 1 pixels.
    confidences : (CONFIDENCE_BINS,) int64
        Number of regions by confidence, in equal steps from 0 to 1.
    certainty, certain : (class,) float64
        Sum of the confidence of the pixels, and number of pixels of this sum.
    """

    values: NDArray[np.int64]
    bands: tuple[int, ...]
    regions: NDArray[np.int64]
    pixels: NDArray[np.int64]
    area: NDArray[np.float64]
    total: NDArray[np.float64]
    square: NDArray[np.float64]
    weight: NDArray[np.float64]
    sizes: NDArray[np.int64]
    confidences: NDArray[np.int64]
    certainty: NDArray[np.float64]
    certain: NDArray[np.float64]

    @classmethod
    def empty(cls, values: NDArray[np.int64], bands: Sequence[int]) -> ClassSums:
        """Return the sums of no region."""
        n, shape = len(values), (len(values), len(bands))
        return cls(
            values,
            tuple(bands),
            regions=np.zeros(n, np.int64),
            pixels=np.zeros(n, np.int64),
            area=np.zeros(n),
            total=np.zeros(shape),
            square=np.zeros(shape),
            weight=np.zeros(shape),
            sizes=np.zeros(SIZE_BINS, np.int64),
            confidences=np.zeros(CONFIDENCE_BINS, np.int64),
            certainty=np.zeros(n),
            certain=np.zeros(n),
        )

    def add(self, rows: Columns) -> None:
        """Add regions, each of which occurs once."""
        position = np.searchsorted(self.values, rows["class"].astype(np.int64))
        n = len(self.values)
        self.regions[:] += np.bincount(position, minlength=n)
        if "confidence" in rows:
            known = rows["confidence"][np.isfinite(rows["confidence"])]
            steps = np.clip(known * CONFIDENCE_BINS, 0, CONFIDENCE_BINS - 1).astype(np.int64)
            self.confidences[:] += np.bincount(steps, minlength=CONFIDENCE_BINS)
        if "area" in rows:
            self.area[:] += grouped_sum(np.nan_to_num(rows["area"]), position, n)
        if "pixels" not in rows:
            return
        pixels = np.maximum(np.nan_to_num(rows["pixels"]), 0).astype(np.int64)
        np.add.at(self.pixels, position, pixels)
        powers = np.clip(np.log2(np.maximum(pixels, 1)), 0, SIZE_BINS - 1).astype(np.int64)
        self.sizes[:] += np.bincount(powers, minlength=SIZE_BINS)
        if "confidence" in rows:
            weights = np.where(np.isfinite(rows["confidence"]), pixels, 0).astype(float)
            self.certainty[:] += grouped_sum(weights * np.nan_to_num(rows["confidence"]), position, n)
            self.certain[:] += grouped_sum(weights, position, n)
        for i, band in enumerate(self.bands):
            self._add_band(i, rows, band, position)

    def _add_band(self, i: int, rows: Columns, band: int, position: NDArray[np.int64]) -> None:
        mean, std = rows[f"mean_{band}"], rows.get(f"std_{band}")
        spread = np.zeros(len(mean)) if std is None else std
        has_value = np.isfinite(mean) & np.isfinite(spread)
        weights = np.where(has_value, np.nan_to_num(rows["pixels"]), 0)
        mean, spread = np.where(has_value, mean, 0.0), np.where(has_value, spread, 0.0)
        n = len(self.values)
        self.weight[:, i] += grouped_sum(weights.astype(float), position, n)
        self.total[:, i] += grouped_sum(weights * mean, position, n)
        self.square[:, i] += grouped_sum(weights * (mean**2 + spread**2), position, n)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Mean confidence of the pixels of each class; NaN = unknown."""
        return self.certainty / np.where(self.certain > 0, self.certain, np.nan)

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean of the pixels of each class, (class, band); NaN = unknown."""
        return self.total / np.where(self.weight > 0, self.weight, np.nan)

    @property
    def deviations(self) -> NDArray[np.float64]:
        """Standard deviation of the pixels of each class, (class, band); NaN = unknown."""
        variance = self.square / np.where(self.weight > 0, self.weight, np.nan) - self.means**2
        return np.sqrt(np.maximum(variance, 0))


@dataclass(frozen=True)
class Regions:
    """The largest regions of a polygon file.

    Parameters
    ----------
    columns : dict of str to (region,) array
        `region`, `class`, and of `pixels`, `area`, `confidence` and the means of the bands what the file has. Ordered
        by `region`.
    smallest : int or None
        Pixels from which on regions are among them; None = all are, or their sizes are unknown.
    """

    columns: Columns
    smallest: int | None


def sum_regions(
    file: PolygonFile, values: NDArray[np.int64], bands: Sequence[int], *, most: int
) -> tuple[ClassSums, Regions]:
    """Return the sums by class, and the `most` largest regions.

    Parameters
    ----------
    file : PolygonFile
    values : (class,) int64
        All values of the column `class`, ascending.
    bands : sequence of int
        Numbers of the bands that have means in the file.
    most : int
    """
    sums, seen = ClassSums.empty(values, bands), np.zeros(0, bool)
    shown = [f"mean_{band}" for band in bands[:MAX_SHOWN_BANDS]]
    of_all = _KEPT_BY_NAME if file.names else _KEPT
    wanted = [*of_all, *(f"{name}_{band}" for band in bands for name in ("mean", "std"))]
    kept: list[Columns] = []
    smallest = None
    for batch in file.rows(wanted):
        rows, seen = _first_rows(batch, seen)
        sums.add(rows)
        kept.append({name: rows[name] for name in (*of_all, *shown) if name in rows})
        if sum(len(each["region"]) for each in kept) > 2 * most:
            kept, smallest = _largest(kept, most)
    kept, found = _largest(kept, most)
    columns = kept[0]
    order = np.argsort(columns["region"], kind="stable")
    return sums, Regions({name: column[order] for name, column in columns.items()}, found or smallest)


def class_values(file: PolygonFile) -> NDArray[np.int64]:
    """Return the values of the column `class`, ascending."""
    found = np.zeros(0, np.int64)
    for rows in file.rows(["class"]):
        found = np.union1d(found, rows["class"].astype(np.int64))
    return found


def _first_rows(rows: Columns, seen: NDArray[np.bool_]) -> tuple[Columns, NDArray[np.bool_]]:
    """Return the rows of regions that have not occurred before; a region that was split has several rows."""
    numbers = np.maximum(rows["region"].astype(np.int64), 0)
    highest = int(numbers.max(initial=0))
    if highest > _MAX_REGION:
        raise RasterError(f"a polygon has the region number {highest}; expected at most {_MAX_REGION}. Is it a region?")
    if highest >= len(seen):
        seen = np.concatenate([seen, np.zeros(max(highest + 1 - len(seen), len(seen)), bool)])
    _, first = np.unique(numbers, return_index=True)
    first = np.sort(first[~seen[numbers[first]]])
    seen[numbers] = True
    return {name: column[first] for name, column in rows.items()}, seen


def _largest(kept: Sequence[Columns], most: int) -> tuple[list[Columns], int | None]:
    """Return the rows of the `most` largest regions, and the pixels of the smallest of these if others are left out."""
    columns: dict[str, Any] = {name: np.concatenate([each[name] for each in kept]) for name in kept[0]}
    if len(columns["region"]) <= most:
        return [columns], None
    if "pixels" not in columns:
        return [{name: column[:most] for name, column in columns.items()}], None
    chosen = np.argsort(-columns["pixels"], kind="stable")[:most]
    return [{name: column[chosen] for name, column in columns.items()}], int(columns["pixels"][chosen].min())
