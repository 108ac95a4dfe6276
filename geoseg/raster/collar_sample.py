"""Data beside the values that may be the collar of a scene."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.raster.block_mask import BlockMask
from geoseg.raster.coverage import FLAT, equal_neighbours
from geoseg.raster.damage import DamageError
from geoseg.raster.nodata import finite_and_valid
from geoseg.raster.scene import Scene, read_bands

Value = tuple[float, ...]  # one number per band

_N_WINDOWS = 24  # beside a fill, at most
_MARGIN = 32  # px; of the surroundings of a collar that are looked at
_MAX_SAMPLE = 16_384  # px
_MIN_DIFFERENT = 33  # different values of an image; a thematic raster with noise has fewer
_NEAR = 0.05  # of the difference between the data and a fill value: what is nearer may be the same surface
_MIN_BORDER = 0.05  # share of the border of a fill that a value must have to be judged by it
_MIN_NESTED = 0.1  # share of the pixels beside a fill that have one value, from which this may be part of the fill


@dataclass(frozen=True)
class Group:
    """Values that are one fill.

    Parameters
    ----------
    values : tuple of Value
    tolerance : Value
        Per band, how much a pixel may differ from one of them; empty = not at all.
    """

    values: tuple[Value, ...]
    tolerance: Value = ()

    def covers(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of the (band, …) pixels are valid and have one of the values."""
        covered = np.zeros(valid.shape, bool)
        for value in self.values:
            covered |= are_near(pixels, value, self.tolerance or (0.0,) * len(value))
        return covered & valid


class _Border(NamedTuple):
    """The data that is at most `reach` px from the pixels of a fill with a value."""

    pixels: BlockMask
    value: Value
    reach: int


class Sample(NamedTuple):
    """Data beside the values of a group.

    Parameters
    ----------
    data : (band, pixel) float32
    border : (band, pixel) float32
        Of the data, that which touches a given value.
    n_equal, n_neighbours : int
        As `coverage.equal_neighbours` returns them.
    """

    data: NDArray[np.float32]
    border: NDArray[np.float32]
    n_equal: int
    n_neighbours: int

    @property
    def n_pixels(self) -> int:
        """Number of pixels with data."""
        return self.data.shape[1]

    @property
    def is_image(self) -> bool:
        """Whether the pixels have many values and mostly others than their neighbours."""
        if self.n_equal >= FLAT * max(self.n_neighbours, 1):
            return False
        return len(np.unique(self.data, axis=1).T) >= _MIN_DIFFERENT

    def near(self, value: Value) -> Value:
        """Return per band the difference from a value up to which pixels may be the same surface."""
        contrast = np.percentile(np.abs(self.data - _column(value)), 99, axis=1)
        return tuple((_NEAR * contrast).tolist())


def sample_beside(scene: Scene, group: Group, pixels: BlockMask, value: Value, reach: int = 1) -> Sample:
    """Return a sample of the data beside the pixels of a fill; its border is at most `reach` px from one value."""
    numbers = pixels.partial_blocks
    margin = 0 if numbers else _MARGIN  # where the blocks of a file are those of the mask, a margin takes nine of them
    numbers = numbers or tuple(pixels.near_border(1))
    chosen = sorted({round(i) for i in np.linspace(0, len(numbers) - 1, _N_WINDOWS)}) if numbers else []
    windows = [pixels.grid.tile(numbers[i]).core.expanded(margin, pixels.shape) for i in chosen]
    return sample_windows(scene, windows, group, _Border(pixels, value, reach))


def sample_windows(scene: Scene, windows: list[Window], group: Group, of_fill: _Border | None = None) -> Sample:
    """Return a sample of the pixels of windows that a group does not cover."""
    most = _MAX_SAMPLE // max(len(windows), 1)  # pixels of a window
    parts = [Sample(np.zeros((len(scene.bands), 0), np.float32), np.zeros((len(scene.bands), 0), np.float32), 0, 0)]
    for window in windows:
        pixels, valid = read_valid(scene, window)
        data = valid & ~group.covers(pixels, valid)
        border = np.zeros(data.shape, bool)
        if of_fill is not None:
            of_value = replace(group, values=(of_fill.value,)).covers(pixels, valid) & of_fill.pixels.within(window)
            border = data & ndimage.binary_dilation(of_value, iterations=of_fill.reach)
        counts = equal_neighbours(pixels, data)
        parts.append(Sample(_thinned(pixels[:, data], most), _thinned(pixels[:, border], most), *counts))
    data_, border_, n_equal, n_neighbours = zip(*parts, strict=True)
    return Sample(np.concatenate(data_, axis=1), np.concatenate(border_, axis=1), sum(n_equal), sum(n_neighbours))


def inner_value(sample: Sample, value: Value) -> Value | None:
    """Return the value of many pixels beside a fill that are not near to it, or None."""
    if not sample.border.size:
        return None
    others = sample.border[:, ~are_near(sample.border, value, sample.near(value))]
    found, counts = np.unique(others, axis=1, return_counts=True)
    if not counts.size or counts.max() < _MIN_NESTED * sample.border.shape[1]:
        return None
    return tuple(found[:, counts.argmax()].tolist())


def share_near(beside: list[Sample], group: Group, factor: float) -> float:
    """Return the share of the pixels beside a value that are near to it, the largest of those of a group.

    Parameters
    ----------
    beside : list of Sample
        Data beside each of the values.
    group : Group
    factor : float
        How far a pixel may be, in units of what is near.
    """
    n_pixels = sum(sample.border.shape[1] for sample in beside)
    shares = [0.0]
    for sample, value in zip(beside, group.values, strict=True):
        if sample.border.shape[1] > _MIN_BORDER * n_pixels:
            near = tuple(factor * number for number in sample.near(value))
            shares.append(float(are_near(sample.border, value, near).mean()))
    return max(shares)


def read_valid(scene: Scene, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the pixels of a window and which are valid; none where it is damaged."""
    try:
        pixels, known = read_bands(scene, window)
    except DamageError:  # reported when its tile is read
        return np.zeros((len(scene.bands), *window.shape), np.float32), np.zeros(window.shape, bool)
    return pixels, finite_and_valid(pixels, known, scene.nodata_mode)


def are_near(pixels: NDArray[np.float32], value: Value, tolerance: Value) -> NDArray[np.bool_]:
    """Return which of the (band, …) pixels differ from a value by no more than a tolerance per band."""
    near = np.ones(pixels.shape[1:], bool)
    for band, number, largest in zip(pixels, value, tolerance, strict=True):
        if largest:
            near &= np.abs(band - np.float32(number)) <= largest
        else:
            near &= band == np.float32(number)
    return near


def _thinned(pixels: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    return pixels[:, :: max(1, -(-pixels.shape[1] // most))]


def _column(value: Value) -> NDArray[np.float64]:
    return np.array(value)[:, None]
