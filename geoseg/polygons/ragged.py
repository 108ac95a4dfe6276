"""Polygons as flat arrays, as shapely's ragged arrays have them: what needs no geometry library is quicker without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numba import njit
from numpy.typing import NDArray

from geoseg.grid import Window


@dataclass(frozen=True)
class Ragged:
    """Polygons.

    Parameters
    ----------
    coords : (coordinate, 2) float64, x and y; the last of a ring is its first
    rings : (ring + 1,) int64, where the coordinates of each ring begin
    parts : (polygon + 1,) int64, where the rings of each polygon begin, its shell first
    """

    coords: NDArray[np.float64]
    rings: NDArray[np.int64]
    parts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.parts) - 1

    @classmethod
    def of(cls, polygons: NDArray[np.object_]) -> Ragged:
        """Take shapely polygons apart."""
        if not len(polygons):
            return cls(np.zeros((0, 2)), np.zeros(1, np.int64), np.zeros(1, np.int64))
        _, coords, (rings, parts) = shapely.to_ragged_array(polygons)
        return cls(coords, rings, parts)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Ragged:
        """Return the polygons that `to_arrays` gave away; other arrays are left alone."""
        return cls(arrays["coords"], arrays["rings"], arrays["parts"])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, to be saved."""
        return {"coords": self.coords, "rings": self.rings, "parts": self.parts}

    def polygons(self) -> NDArray[np.object_]:
        """Return shapely polygons."""
        offsets = (self.rings, self.parts)
        return np.asarray(shapely.from_ragged_array(shapely.GeometryType.POLYGON, self.coords, offsets))

    def touching(self, window: Window) -> NDArray[np.bool_]:
        """Tell which polygons, all within the window, touch one of its sides, (polygon,) bool."""
        x, y = self.coords.T
        on_side = (x == window.col_off) | (x == window.col_end) | (y == window.row_off) | (y == window.row_end)
        if not len(self):
            return np.zeros(0, bool)
        return np.asarray(np.logical_or.reduceat(on_side, self.rings[self.parts[:-1]]))

    def chosen(self, which: NDArray[np.bool_]) -> Ragged:
        """Return some of the polygons, in their order."""
        its_rings, parts = _within(which, self.parts)
        its_coords, rings = _within(its_rings, self.rings)
        return Ragged(self.coords[its_coords], rings, parts)

    def to_wkb(self) -> pa.Array:
        """Return the polygons as well-known binary (OGC 06-103r4, 8.2), little-endian."""
        sizes = 9 + 4 * np.diff(self.parts) + 16 * np.diff(self.rings[self.parts])
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        content = np.empty(offsets[-1], np.uint8)
        raw = np.ascontiguousarray(self.coords, "<f8").view(np.uint8).reshape(-1)
        _write_wkb(content, offsets, raw, self.rings, self.parts)
        buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(content)]
        return pa.Array.from_buffers(pa.binary(), len(self), buffers)


def _within(which: NDArray[np.bool_], offsets: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which inner things belong to the outer ones chosen, and where they begin when the others are gone."""
    counts = np.diff(offsets)
    return np.repeat(which, counts), np.concatenate([[0], np.cumsum(counts[which])])


@njit(cache=True, nogil=True)
def _write_wkb(content, offsets, raw, rings, parts):  # type: ignore[no-untyped-def]
    for polygon in range(len(parts) - 1):
        at = offsets[polygon]
        content[at] = 1  # little-endian
        _write_number(content, at + 1, 3)  # a polygon
        _write_number(content, at + 5, parts[polygon + 1] - parts[polygon])
        at += 9
        for ring in range(parts[polygon], parts[polygon + 1]):
            begin, end = 16 * rings[ring], 16 * rings[ring + 1]
            _write_number(content, at, rings[ring + 1] - rings[ring])
            content[at + 4 : at + 4 + end - begin] = raw[begin:end]
            at += 4 + end - begin


@njit(cache=True, nogil=True)
def _write_number(content, at, number):  # type: ignore[no-untyped-def]
    for i in range(4):
        content[at + i] = (number >> (8 * i)) & 255
