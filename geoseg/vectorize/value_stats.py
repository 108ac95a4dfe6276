"""Statistics of values in regions: moments, extremes, percentiles by counted bins, and the most frequent category.

`tile_values` measures the regions of a tile, `combine` adds the tiles up. The bins of a region leave its tile only if
it is open, and may continue in other tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RunError
from geoseg.segment.compiled import compiled
from geoseg.vectorize.region_runs import LocalRegions, RegionRuns

QUANTILES = (0.1, 0.5, 0.9)
_MAX_HELD = 2**21  # rows of bins of open regions, beyond which complete ones are finished


class Binning(NamedTuple):
    """How the values of a layer are counted.

    Parameters
    ----------
    width : float
        Of a bin; 0 = categories, each a bin of its own.
    shift : float
        Value in the middle of bin 0, in units of `width`: 0 for whole numbers, else 0.5.
    low, high : int
        Bins below and above are counted as these.
    """

    width: float
    shift: float
    low: int
    high: int


class Counts(NamedTuple):
    """Numbers of pixels per layer, region and bin, ascending.

    Parameters
    ----------
    layers, regions, bins, counts : (n,) int64
    """

    layers: NDArray[np.int64]
    regions: NDArray[np.int64]
    bins: NDArray[np.int64]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class ValueSums:
    """Statistics of each layer in regions; row i describes region `numbers[i]`.

    Parameters
    ----------
    numbers : (region,) int64
    pixels : (region, layer) int64
        Number of pixels with a value.
    mean, scatter : (region, layer) float64
        Mean, 0 without pixels, and sum of squared differences from it.
    low, high : (region, layer) float64
        Extremes; inf and -inf without pixels.
    ranks : (region, layer, quantile) float64
        `QUANTILES`, or three times the most frequent category; NaN for an open region or without pixels.
    open_counts : Counts
        Of the open regions, by their numbers in the scene.
    """

    numbers: NDArray[np.int64]
    pixels: NDArray[np.int64]
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    ranks: NDArray[np.float64]
    open_counts: Counts

    @classmethod
    def zeros(cls, n: int, n_layers: int) -> ValueSums:
        """Return the statistics of regions 1 to `n` without pixels."""
        shape = (n, n_layers)
        return cls(
            np.arange(1, n + 1),
            np.zeros(shape, np.int64),
            np.zeros(shape),
            np.zeros(shape),
            np.full(shape, np.inf),
            np.full(shape, -np.inf),
            np.full((*shape, len(QUANTILES)), np.nan),
            no_counts(),
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name, to be saved."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "open_counts"}
        return named | {f"open_{name}": column for name, column in self.open_counts._asdict().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> ValueSums:
        """Return the statistics from the arrays of `to_arrays`."""
        counts = Counts(*(arrays[f"open_{name}"] for name in Counts._fields))
        return cls(
            **{name: array for name, array in arrays.items() if not name.startswith("open_")}, open_counts=counts
        )


def no_counts() -> Counts:
    """Return counts without rows."""
    return Counts(*(np.zeros(0, np.int64) for _ in Counts._fields))


def tile_values(
    regions: LocalRegions,
    runs: RegionRuns,
    layers: Iterable[tuple[NDArray[Any], NDArray[np.bool_]]],
    binnings: Sequence[Binning],
) -> ValueSums:
    """Measure the regions of a tile.

    Parameters
    ----------
    regions : LocalRegions
    runs : RegionRuns
        Of these regions.
    layers : iterable of ((y, x) float64 or int64, (y, x) bool)
        Values of the pixels of the core, and which pixels have one.
    binnings : sequence of Binning
        Of each layer.
    """
    own = np.diff(runs.offsets) > 0
    sums = ValueSums.zeros(int(own.sum()), len(binnings))
    counts, closed = [no_counts()], ~regions.is_open[own]
    for layer, ((values, has_value), binning) in enumerate(zip(layers, binnings, strict=True)):
        moments = _moments(runs, values.astype(np.float64), has_value)
        for table, column in zip((sums.pixels, sums.mean, sums.scatter, sums.low, sums.high), moments, strict=True):
            table[:, layer] = column[own]
        groups, bins, n = _counted(runs, _bins(values, has_value, binning), has_value)
        groups = (np.cumsum(own) - 1)[groups]  # rows of `sums`
        ranks = _ranks(groups, bins, n, binning, (sums.low[:, layer], sums.high[:, layer]))
        sums.ranks[closed, layer] = ranks[closed]
        waits = ~closed[groups]
        numbers = regions.numbers[own][groups[waits]]
        counts.append(Counts(np.full(len(numbers), layer, np.int64), numbers, bins[waits], n[waits]))
    columns = Counts._make(np.concatenate(column) for column in zip(*counts, strict=True))
    return replace(sums, numbers=regions.numbers[own], open_counts=columns)


def combine(tiles: Iterable[tuple[int, ValueSums]], last: NDArray[np.int64], binnings: Sequence[Binning]) -> ValueSums:
    """Return the statistics of the regions of the scene from those of its tiles.

    Parameters
    ----------
    tiles : iterable of (int, ValueSums)
        Numbers of the tiles, ascending, and what is measured there.
    last : (region,) int64
        The last tile in which each region has pixels; bins are held until then.
    binnings : sequence of Binning

    Raises
    ------
    RunError
        If a tile has a region that is not one of the scene.
    """
    total, most = ValueSums.zeros(len(last), len(binnings)), _MAX_HELD
    held = [no_counts()]
    for tile, part in tiles:
        _add(total, part)
        held.append(part.open_counts)
        if sum(len(counts.bins) for counts in held) > most:
            held = [_finish(total, held, last <= tile, binnings)]
            most = 2 * len(held[0].bins) + _MAX_HELD
    _finish(total, held, np.ones(len(last), np.bool_), binnings)
    return total


def _add(total: ValueSums, part: ValueSums) -> None:
    """Add to each region what adds up, and take what is complete (Chan, Golub & LeVeque 1979, equation 2.1)."""
    if part.numbers.max(initial=0) > len(total.pixels):
        raise RunError(
            f"A tile has values of region {part.numbers.max()}, and the scene has {len(total.pixels)} regions; its "
            "tables come from different runs. Start the run again with --overwrite."
        )
    rows = part.numbers - 1
    n, share = total.pixels[rows], part.pixels / np.maximum(total.pixels[rows] + part.pixels, 1)
    apart = part.mean - total.mean[rows]
    total.scatter[rows] += part.scatter + apart**2 * n * share
    total.mean[rows] += apart * share
    total.pixels[rows] += part.pixels
    total.low[rows] = np.minimum(total.low[rows], part.low)
    total.high[rows] = np.maximum(total.high[rows], part.high)
    known = ~np.isnan(part.ranks)
    total.ranks[rows] = np.where(known, part.ranks, total.ranks[rows])


def _finish(
    total: ValueSums, parts: Sequence[Counts], is_complete: NDArray[np.bool_], binnings: Sequence[Binning]
) -> Counts:
    """Compute the ranks of complete regions, (region,) bool; return the counts of the others."""
    layers, regions, bins, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((bins, regions, layers))
    layers, regions, bins, counts = (column[order] for column in (layers, regions, bins, counts))
    first = np.ones(len(bins), np.bool_)
    for i, column in enumerate((layers, regions, bins)):
        changed = column[1:] != column[:-1]
        first[1:] = changed if i == 0 else first[1:] | changed
    starts = np.flatnonzero(first)
    counts = np.add.reduceat(counts, starts) if len(starts) else counts
    layers, regions, bins = layers[first], regions[first], bins[first]
    done = is_complete[regions - 1]
    for layer, binning in enumerate(binnings):
        chosen = done & (layers == layer)
        used, groups = np.unique(regions[chosen], return_inverse=True)
        extremes = total.low[used - 1, layer], total.high[used - 1, layer]
        total.ranks[used - 1, layer] = _ranks(groups.ravel(), bins[chosen], counts[chosen], binning, extremes)
    return Counts(layers[~done], regions[~done], bins[~done], counts[~done])


def _bins(values: NDArray[Any], has_value: NDArray[np.bool_], binning: Binning) -> NDArray[np.int64]:
    if not binning.width:
        return values.astype(np.int64)
    scaled = np.where(has_value, values, 0) / binning.width + 0.5 - binning.shift
    return np.clip(np.floor(scaled), binning.low, binning.high).astype(np.int64)


def _ranks(
    groups: NDArray[np.integer],
    bins: NDArray[np.int64],
    counts: NDArray[np.int64],
    binning: Binning,
    extremes: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return the quantiles, or the most frequent category, of groups whose bins are in ascending order.

    Notes
    -----
    Quantiles are interpolated as ``numpy.quantile`` does, between the middles of bins. Of equally frequent categories
    the lowest one counts.
    """
    n_groups = len(extremes[0])
    offsets = np.searchsorted(groups, np.arange(n_groups + 1))
    found = np.full((n_groups, len(QUANTILES)), np.nan)
    if binning.width:
        _quantiles(offsets, bins, counts, np.array(QUANTILES), found)
        middles = (found + binning.shift) * binning.width
        return np.clip(middles, extremes[0][:, None], extremes[1][:, None])
    _majority(offsets, bins, counts, found)
    return found


@compiled(nogil=True)
def _moments(runs, values, has_value):  # type: ignore[no-untyped-def]
    rows, begins, ends, offsets = runs
    n_regions = len(offsets) - 1
    n, mean, scatter = np.zeros(n_regions, np.int64), np.zeros(n_regions), np.zeros(n_regions)
    low, high = np.full(n_regions, np.inf), np.full(n_regions, -np.inf)
    for region in range(n_regions):
        total = 0.0
        for run in range(offsets[region], offsets[region + 1]):
            for col in range(begins[run], ends[run]):
                if has_value[rows[run], col]:
                    value = values[rows[run], col]
                    n[region] += 1
                    total += value
                    low[region], high[region] = min(low[region], value), max(high[region], value)
        if n[region] == 0:
            continue
        mean[region] = total / n[region]
        for run in range(offsets[region], offsets[region + 1]):
            for col in range(begins[run], ends[run]):
                if has_value[rows[run], col]:
                    difference = values[rows[run], col] - mean[region]
                    scatter[region] += difference * difference
    return n, mean, scatter, low, high


@compiled(nogil=True)
def _counted(runs, bins, has_value):  # type: ignore[no-untyped-def]
    """Return the region, the bin and the number of pixels of each bin that a region has, in ascending order."""
    rows, begins, ends, offsets = runs
    n_regions = len(offsets) - 1
    groups, found = np.empty(bins.size, np.int64), np.empty(bins.size, np.int64)
    counts, own = np.empty(bins.size, np.int64), np.empty(bins.size, np.int64)
    total = 0
    for region in range(n_regions):
        n = 0
        for run in range(offsets[region], offsets[region + 1]):
            for col in range(begins[run], ends[run]):
                if has_value[rows[run], col]:
                    own[n] = bins[rows[run], col]
                    n += 1
        own[:n].sort()
        for i in range(n):
            if i > 0 and own[i] == own[i - 1]:
                counts[total - 1] += 1
            else:
                groups[total], found[total], counts[total] = region, own[i], 1
                total += 1
    return groups[:total].copy(), found[:total].copy(), counts[:total].copy()


@compiled(nogil=True)
def _quantiles(offsets, bins, counts, quantiles, found):  # type: ignore[no-untyped-def]
    for group in range(len(offsets) - 1):
        first, end = offsets[group], offsets[group + 1]
        n = counts[first:end].sum()
        for q in range(len(quantiles) if n else 0):
            rank = (n - 1) * quantiles[q]
            below = int(np.floor(rank))
            at, seen = first, counts[first]
            while seen <= below:
                at += 1
                seen += counts[at]
            following = at if seen > below + 1 or at + 1 == end else at + 1
            found[group, q] = bins[at] + (rank - below) * (bins[following] - bins[at])


@compiled(nogil=True)
def _majority(offsets, bins, counts, found):  # type: ignore[no-untyped-def]
    for group in range(len(offsets) - 1):
        best = -1
        for at in range(offsets[group], offsets[group + 1]):
            if best < 0 or counts[at] > counts[best]:
                best = at
        if best >= 0:
            found[group, :] = bins[best]
