"""Check the header of a TIFF before GDAL opens it: the size of its blocks, and references to other files.

A block, a tile or strip of a TIFF, is decoded as a whole. A file of 500 bytes can declare one of 17 GB.
"""

from __future__ import annotations

import html
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from geoseg.errors import RasterError

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # both byte orders, classic and BigTIFF
MAX_BLOCK_BYTES = 2**30

# Metadata items that make GDAL open another file, in lower case.
_REFERENCES = ("overview_file", "proxyoverviewrequest")
_MAX_DIRECTORIES = 1000  # overviews and masks; GDAL reads more only of files with as many images
_MAX_ENTRIES = 4096
_MAX_TEXT = 16 * 2**20  # bytes
_SPLIT_ROWS = 2000  # GDAL reads a strip of the whole image row by row if it has more rows
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _ROWS_PER_STRIP, _PLANAR = 256, 257, 258, 277, 278, 284
_TILE_WIDTH, _TILE_HEIGHT, _GDAL_METADATA = 322, 323, 42112
_FORMATS = {1: "B", 2: "B", 3: "H", 4: "I", 16: "Q"}  # type of a tag → type of struct


@dataclass(frozen=True)
class _Layout:
    """How the numbers of a file are stored: the byte order, and the formats that differ in BigTIFF."""

    order: str
    is_big: bool

    def read(self, file: BinaryIO, kinds: str) -> tuple[int, ...]:
        """Return the next numbers of a file; struct.error at its end."""
        return struct.unpack(self.order + kinds, file.read(struct.calcsize(self.order + kinds)))


def check_tiff(path: Path) -> None:
    """Check the blocks and the metadata of all images of a TIFF; a header that is damaged is left to GDAL.

    Parameters
    ----------
    path : Path

    Raises
    ------
    RasterError
        If a block takes more memory than `MAX_BLOCK_BYTES`, or the metadata refers to another file.
    """
    with path.open("rb") as file:
        for tags in _directories(file):
            check_block(path, _block_bytes(tags))
            check_references(path, tags.get(_GDAL_METADATA, b""))


def check_block(path: object, n_bytes: int) -> None:
    """Check the memory that a block takes.

    Raises
    ------
    RasterError
        If it is more than `MAX_BLOCK_BYTES`.
    """
    if n_bytes > MAX_BLOCK_BYTES:
        raise RasterError(
            f"{path} has blocks of {n_bytes / 2**30:.1f} GiB, and each is read as a whole; expected at most "
            f"{MAX_BLOCK_BYTES / 2**30:.0f} GiB. Divide it into tiles first: gdal_translate -co TILED=YES {path} "
            "tiled.tif"
        )


def check_references(path: object, metadata: bytes | int) -> None:
    """Check that metadata of GDAL, as XML, refer to no other file.

    Raises
    ------
    RasterError
        If they do.
    """
    text = html.unescape(metadata.decode("latin-1")).lower() if isinstance(metadata, bytes) else ""
    for name in _REFERENCES:
        if name in text:
            raise RasterError(
                f"{path} has the metadata item {name.upper()}, which makes GDAL open another file; expected a raster "
                f"without it. Copy the pixels first: gdal_translate {path} copy.tif"
            )


def _directories(file: BinaryIO) -> Iterator[dict[int, int | bytes]]:
    """Yield tag → first number, or text, of each image of a file, until its end or a damaged place."""
    head = file.read(4)
    if head not in TIFF_SIGNATURES:
        return
    layout = _Layout("<" if head.startswith(b"II") else ">", b"+" in head)
    seen: set[int] = set()
    try:
        offset = layout.read(file, "HHQ" if layout.is_big else "I")[-1]
        while offset and offset not in seen and len(seen) < _MAX_DIRECTORIES:
            seen.add(offset)
            file.seek(offset)
            (n_entries,) = layout.read(file, "Q" if layout.is_big else "H")
            entry = "HHQ8B" if layout.is_big else "HHI4B"
            size = struct.calcsize(layout.order + entry)
            table = io.BytesIO(file.read(min(n_entries, _MAX_ENTRIES) * size))
            (offset,) = layout.read(file, "Q" if layout.is_big else "I")
            yield {tag: value for tag, value in _entries(file, table, layout) if value is not None}
    except (struct.error, OSError, OverflowError, ValueError):
        return


def _entries(file: BinaryIO, table: BinaryIO, layout: _Layout) -> Iterator[tuple[int, int | bytes | None]]:
    inline, pointer = (8, "Q") if layout.is_big else (4, "I")
    while head := table.read(12 if layout.is_big else 8):
        tag, kind, count = struct.unpack(layout.order + ("HHQ" if layout.is_big else "HHI"), head)
        field = table.read(inline)
        if kind not in _FORMATS or not count:
            continue
        n_bytes = struct.calcsize(layout.order + _FORMATS[kind])
        if count * n_bytes > inline:
            file.seek(struct.unpack(layout.order + pointer, field)[0])
            field = file.read(min(count, _MAX_TEXT) if tag == _GDAL_METADATA else n_bytes)
        if tag == _GDAL_METADATA:
            yield tag, field
        else:
            yield tag, struct.unpack(layout.order + _FORMATS[kind], field[:n_bytes])[0]


def _block_bytes(tags: dict[int, int | bytes]) -> int:
    def number(tag: int, default: int) -> int:
        value = tags.get(tag, default)
        return value if isinstance(value, int) else default

    width, height = number(_WIDTH, 0), number(_HEIGHT, 0)
    if _TILE_WIDTH in tags:
        width, height = number(_TILE_WIDTH, 0), number(_TILE_HEIGHT, 0)
    elif (rows := number(_ROWS_PER_STRIP, height)) < height:
        height = rows
    elif height > _SPLIT_ROWS:
        height = 1
    samples = number(_SAMPLES, 1) if number(_PLANAR, 1) == 1 else 1
    return width * height * samples * number(_BITS, 8) // 8
