"""Find the collar of a scene: fill values around the data that the file does not declare as nodata.

A pixel is in the collar if it has a fill value and is connected with the edge of the raster through pixels of that
value that share a side. A value is a fill value only if all of this holds:

* it has one number in all of three or more bands, or in each band 0, an end of the data type, or a number that is far
  outside of the data;
* along the edge of the raster it fills a quarter of a side without a gap, or an eighth from a corner;
* the data beside it is an image, not a mask or a thematic raster;
* it ends abruptly, unlike water in an elevation model, or clouds and snow that are saturated.

In bytes, and in integers of three or more bands, the losses of compression are part of the collar: around a value that
does not end abruptly, near values up to two blocks of JPEG away, in wider integers only if few near values follow; and
in three or more bands of bytes values up to 3, or from 252, instead of 0 and 255.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.raster.alpha import spread_windows
from geoseg.raster.block_mask import BlockMask
from geoseg.raster.collar import Collar, Fill
from geoseg.raster.collar_sample import (
    Group,
    Sample,
    Value,
    inner_value,
    read_valid,
    sample_beside,
    sample_windows,
    share_near,
)
from geoseg.raster.flood import flood, grow
from geoseg.raster.scene import Scene

_N_SAMPLES = 9  # windows along each side of the raster, of which a value must fill one
_RUN = 16  # px; their length, and the shortest run of a value along the edge at which the collar begins
_MIN_CORNER, _MIN_SIDE = 1 / 8, 1 / 4  # of a side that a value must fill, from a corner and elsewhere
_LINE = 4096  # px of the edge that are read at once
_MAX_VALUES = 4  # along the edge, and of one fill
_NOISE = 3  # difference from 0 or 255 of bytes that were compressed with losses more than once
_MIN_BANDS = 3  # in which such values are no water, and a number in all bands is no measurement
_END = 0.01  # of the range of a data type: its ends
_N_WINDOWS = 8  # per direction, of the sample of the whole scene
_WINDOW = 64  # px; width and height of the windows of the sample
_MIN_SAMPLE = 1000  # px, from which the sample of the scene can exclude a collar
_MANY_NEAR = 0.3  # share of the pixels beside a fill that are near: more are losses of compression, or no fill
_MAX_NEAR = 0.5  # share of them that are near where a fill ends abruptly
_LOSSES = 16  # px; two blocks of JPEG, one with subsampled colours


def find_collar(scene: Scene) -> Collar:
    """Return the collar of a scene; its area of interest and the collar that it has already are not used.

    Raises
    ------
    RasterError
        If the scene cannot be read at all.
    """
    scene = replace(scene, aoi=None, collar=None)
    mask = BlockMask(scene.geobox.shape)
    fills: list[Fill] = []
    found = _values_along_edge(scene)
    if not found:
        return Collar((), mask)
    sample = sample_windows(scene, list(spread_windows(scene.geobox.window, _N_WINDOWS, _WINDOW)), Group(tuple(found)))
    if sample.n_pixels >= _MIN_SAMPLE and not sample.is_image:
        return Collar((), mask)
    for value, noise in found.items():
        group = Group((value,), (noise,) * len(value))
        if _is_fill(value, scene, sample) and not any(value in fill.values for fill in fills):
            examined = _examine(scene, group, sample)
            if examined is not None:
                fill, pixels = examined
                fills.append(fill)
                mask = mask.union(pixels)
    return Collar(tuple(fills), mask)


def _values_along_edge(scene: Scene) -> dict[Value, float]:
    """Return the values that fill a short window at the edge, the most frequent ones, with the tolerance of each."""
    found: Counter[tuple[Value, float]] = Counter()
    for window in _edge_samples(scene.geobox.shape):
        pixels, valid = read_valid(scene, window)
        if not valid.all():
            continue
        low, high = pixels.min(axis=(1, 2)), pixels.max(axis=(1, 2))
        if (low == high).all():
            found[tuple(low.tolist()), 0.0] += 1
        elif _is_bytes(scene) and len(low) >= _MIN_BANDS and high.max() <= _NOISE:
            found[(0.0,) * len(low), float(_NOISE)] += 1
        elif _is_bytes(scene) and len(low) >= _MIN_BANDS and low.min() >= 255 - _NOISE:
            found[(255.0,) * len(low), float(_NOISE)] += 1
    noisy = [value for value, noise in found if noise]
    ordered = sorted(found, key=lambda entry: (-entry[1], -found[entry], entry[0]))
    kept = [
        (value, noise)
        for value, noise in ordered
        if noise or not any(np.abs(np.subtract(value, other)).max() <= _NOISE for other in noisy)
    ]
    return dict(kept[:_MAX_VALUES])


def _edge_samples(shape: tuple[int, int]) -> Iterator[Window]:
    rows, cols = shape
    for left in _positions(cols):
        yield from (Window(left, row, min(_RUN, cols), 1) for row in (0, rows - 1))
    for top in _positions(rows):
        yield from (Window(col, top, 1, min(_RUN, rows)) for col in (0, cols - 1))


def _positions(length: int) -> list[int]:
    found: list[int] = np.unique(np.linspace(0, max(length - _RUN, 0), _N_SAMPLES).astype(int)).tolist()
    return found


def _is_fill(value: Value, scene: Scene, sample: Sample) -> bool:
    """Return whether a value may be a fill value by its numbers alone."""
    if len(value) >= _MIN_BANDS and len(set(value)) == 1:
        return True
    return all(
        number == 0 or _is_end(number, np.dtype(dtype)) or _is_far(number, data)
        for number, dtype, data in zip(value, scene.dtypes, sample.data, strict=True)
    )


def _is_end(number: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind not in "ui":
        return False
    low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return min(number - low, high - number) <= _END * (high - low)


def _is_far(number: float, data: NDArray[np.float32]) -> bool:
    """Return whether a number is farther from all data than the whole range of the data."""
    if not data.size:
        return False
    low, high = float(data.min()), float(data.max())
    return not low - (high - low) <= number <= high + (high - low)


def _examine(scene: Scene, group: Group, sample: Sample) -> tuple[Fill, BlockMask] | None:
    """Return the fill that begins with a group of one value, and its pixels; None if it is none.

    Where another fill value follows inwards, both are taken together, if both are then a fill.
    """
    best: tuple[Fill, BlockMask] | None = None
    for _ in range(_MAX_VALUES):
        seeds = _edge_seeds(scene, group)
        if not seeds.numbers:
            break
        pixels = flood(seeds, lambda window, group=group: group.covers(*read_valid(scene, window)))  # type: ignore[misc]
        beside = [sample_beside(scene, group, pixels, value) for value in group.values]
        settled = _settle(scene, group, pixels, beside)
        best = settled or best
        inner = inner_value(beside[-1], group.values[-1])
        if inner is None or inner in group.values or not _is_fill(inner, scene, sample):
            break
        group = replace(group, values=(*group.values, inner))
    return best


def _settle(scene: Scene, group: Group, pixels: BlockMask, beside: list[Sample]) -> tuple[Fill, BlockMask] | None:
    """Return a fill and its pixels, with the losses of compression; None if the values are no fill."""
    if not all(sample.n_pixels and sample.is_image for sample in beside):
        return None
    share = share_near(beside, group, 1)
    if _may_have_losses(scene) and share > _MANY_NEAR:
        grown = _with_losses(scene, group, pixels, beside)
        if grown is not None:
            return grown
    return None if share > _MAX_NEAR else (Fill(group.values, group.tolerance, pixels.n_pixels), pixels)


def _with_losses(scene: Scene, group: Group, pixels: BlockMask, beside: list[Sample]) -> tuple[Fill, BlockMask] | None:
    """Return a fill with the losses of compression around it; None if it does not end abruptly with them either."""
    near = [sample.near(value) for sample, value in zip(beside, group.values, strict=True)]
    wide = replace(group, tolerance=tuple(np.max([*near, group.tolerance], axis=0).round().tolist()))

    def is_near(window: Window) -> NDArray[np.bool_]:
        return wide.covers(*read_valid(scene, window))

    grown = grow(pixels, is_near, steps=_LOSSES)
    if not _is_bytes(scene):
        beyond = grow(grown, is_near, steps=_LOSSES)
        if beyond.n_pixels - grown.n_pixels > _MANY_NEAR * (grown.n_pixels - pixels.n_pixels):
            return None  # a surface that goes on, such as water
    beside = [sample_beside(scene, wide, grown, value, reach=_LOSSES // 2) for value in wide.values]
    if share_near(beside, wide, 2) > _MANY_NEAR:
        return None
    return Fill(wide.values, wide.tolerance, grown.n_pixels), grown


def _edge_seeds(scene: Scene, group: Group) -> BlockMask:
    """Return the runs of a group along the edge of the raster; none if no run is long enough for a collar."""
    shape = scene.geobox.shape
    found: list[Window] = []
    is_long = False
    for side in _side_windows(shape):
        length = max(side.shape)
        for begin, end in _runs(_line(scene, group, side)):
            if end - begin < min(_RUN, length):
                continue
            share = (end - begin) / length
            is_long |= share >= (_MIN_CORNER if begin == 0 or end == length else _MIN_SIDE)
            found.append(_part(side, begin, end))
    return BlockMask.of_windows(shape, found if is_long else [])


def _side_windows(shape: tuple[int, int]) -> list[Window]:
    rows, cols = shape
    across = [Window(0, row, cols, 1) for row in (0, rows - 1)]
    return across + [Window(col, 0, 1, rows) for col in (0, cols - 1) if rows > 1]


def _line(scene: Scene, group: Group, side: Window) -> NDArray[np.bool_]:
    """Return which pixels of one side of the raster a group covers, (pixel,) bool."""
    length = max(side.shape)
    parts = [_part(side, begin, min(begin + _LINE, length)) for begin in range(0, length, _LINE)]
    return np.concatenate([group.covers(*read_valid(scene, part)).ravel() for part in parts])


def _part(side: Window, begin: int, end: int) -> Window:
    if side.height == 1:
        return Window(begin, side.row_off, end - begin, 1)
    return Window(side.col_off, begin, 1, end - begin)


def _runs(line: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the (begin, end) of the runs of True."""
    changes = np.flatnonzero(np.diff(line.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(changes[::2], changes[1::2], strict=True))


def _may_have_losses(scene: Scene) -> bool:
    """Return whether pixels may have been compressed with losses: bytes, or integers in bands that are no elevation."""
    is_integer = all(np.dtype(dtype).kind in "ui" for dtype in scene.dtypes)
    return _is_bytes(scene) or (is_integer and len(scene.dtypes) >= _MIN_BANDS)


def _is_bytes(scene: Scene) -> bool:
    return set(scene.dtypes) == {"uint8"}
