"""Polygons as well-known binary, written from flat arrays without geometry objects, which is faster."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.segment.compiled import compiled, internal, needs_compilation


def polygons_to_wkb(coords: NDArray[np.float64], rings: NDArray[np.int64], parts: NDArray[np.int64]) -> pa.Array:
    """Return polygons as well-known binary (OGC 06-103r4, 8.2), little-endian; together less than 2 GiB.

    Parameters
    ----------
    coords : (vertex, 2) float64
        (x, y); the last vertex of a ring equals its first.
    rings : (ring + 1,) int64
        Where the vertices of each ring begin.
    parts : (polygon + 1,) int64
        Where the rings of each polygon begin, its shell first.

    Returns
    -------
    pyarrow.BinaryArray
        One element per polygon.
    """
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(wkb_sizes(rings, parts))])
    content = np.empty(offsets[-1], np.uint8)
    raw = np.ascontiguousarray(coords, "<f8").view(np.uint8).reshape(-1)
    _write_wkb(content, offsets, raw, rings, parts)
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.binary(), len(parts) - 1, buffers)


def wkb_sizes(rings: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the size of each polygon in bytes, (polygon,) int64; parameters as in `polygons_to_wkb`."""
    return np.asarray(9 + 4 * np.diff(parts) + 16 * np.diff(rings[parts]))


def is_to_compile() -> bool:
    """Return whether `polygons_to_wkb` will be compiled: no process has stored the last function of a run yet."""
    return needs_compilation(_write_wkb)


@compiled(nogil=True)
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
            for i in range(end - begin):  # a slice takes two seconds more to compile
                content[at + 4 + i] = raw[begin + i]
            at += 4 + end - begin


@internal(nogil=True)
def _write_number(content, at, number):  # type: ignore[no-untyped-def]
    for i in range(4):
        content[at + i] = (number >> (8 * i)) & 255
