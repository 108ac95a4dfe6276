"""The collar of a scene: fill values around the data that the file does not declare as nodata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.raster.block_mask import BlockMask
from geoseg.raster.nodata import percent

_MOST_NAMED = 8  # bands in one note


@dataclass(frozen=True)
class Fill:
    """A part of a collar.

    Parameters
    ----------
    values : tuple of tuple of float
        One or more fill values, each with one number per band.
    tolerance : tuple of float
        Per band, the largest difference from a fill value; 0 unless the pixels were compressed with losses.
    n_pixels : int
    """

    values: tuple[tuple[float, ...], ...]
    tolerance: tuple[float, ...]
    n_pixels: int


@dataclass(frozen=True)
class Collar:
    """The collar of a scene, as `collar_search.find_collar` returns it.

    Parameters
    ----------
    fills : tuple of Fill
        Empty = the scene has no collar.
    mask : BlockMask
        The pixels of the collar.
    """

    fills: tuple[Fill, ...]
    mask: BlockMask

    def within(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window are in the collar, (y, x) bool."""
        return self.mask.within(window)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the collar as arrays."""
        document = {"fills": [asdict(fill) for fill in self.fills], "shape": self.mask.shape}
        return {
            "json": np.frombuffer(json.dumps(document).encode(), np.uint8),
            "numbers": np.array(self.mask.numbers, np.int64),
            "lengths": np.array([len(mask) for mask in self.mask.masks], np.int64),
            "masks": np.frombuffer(b"".join(self.mask.masks), np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Collar:
        """Return the collar from the arrays of `to_arrays`."""
        document = json.loads(arrays["json"].tobytes())
        rows, cols = document["shape"]
        ends = np.cumsum(arrays["lengths"]).tolist()
        stored = arrays["masks"].tobytes()
        masks = tuple(stored[begin:end] for begin, end in zip([0, *ends], ends, strict=False))
        fills = (
            Fill(tuple(map(tuple, fill["values"])), tuple(fill["tolerance"]), fill["n_pixels"])
            for fill in document["fills"]
        )
        return cls(tuple(fills), BlockMask((rows, cols), tuple(arrays["numbers"].tolist()), masks))


def collar_notes(collar: Collar, path: str) -> list[str]:
    """Return what the user should know of a collar, in whole sentences without a full stop.

    Parameters
    ----------
    collar : Collar
    path : str
        Name of the scene.
    """
    return [
        f"{_share(collar, fill)} of the pixels of {path} are an undeclared collar: {_values_of(fill)}, connected with "
        "the edge of the raster; they are nodata (--collar nodata); --collar keep keeps them"
        for fill in collar.fills
    ]


def fill_names(collar: Collar) -> str:
    """Return the fill values of a collar, such as ``255 in all bands``."""
    return ", ".join(_values_of(fill) for fill in collar.fills)


def _share(collar: Collar, fill: Fill) -> str:
    return percent(fill.n_pixels / (collar.mask.shape[0] * collar.mask.shape[1]))


def _values_of(fill: Fill) -> str:
    losses = max(fill.tolerance)
    names = " or ".join(_name(value) for value in fill.values)
    return names + (f", or at most {losses:.0f} away by lossy compression" if losses else "")


def _name(value: tuple[float, ...]) -> str:
    if len(set(value)) == 1:
        return f"{value[0]:g} in all bands"
    numbers = [f"{number:g}" for number in value[:_MOST_NAMED]]
    return f"({', '.join(numbers)}{', …' * (len(value) > _MOST_NAMED)})"
