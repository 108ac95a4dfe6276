"""Check a .vrt before GDAL opens it: it may refer to local raster files, and to nothing else."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from geoseg.errors import RasterError

_MAX_DEPTH = 8  # of mosaics of mosaics
_SOURCES = ("SourceFilename", "SourceDataset", "DatasetFilename")
_NOT_LOCAL = re.compile(r"\s*(/vsi|[a-z0-9+.-]{2,}://)", re.IGNORECASE)
# First bytes of formats that contain their pixels: TIFF and BigTIFF of both byte orders, JPEG 2000, JPEG, PNG, HFA.
_SIGNATURES = (
    b"II*\0", b"MM\0*", b"II+\0", b"MM\0+",
    b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"\xff\xd8\xff", b"\x89PNG", b"EHFA",
)  # fmt: skip
_VRT = b"<VRTDataset"
_HEAD = 1024  # bytes; GDAL searches as many for `_VRT`


def check_vrt(path: Path, *, depth: int = _MAX_DEPTH) -> None:
    """Check that a mosaic refers to local raster files only.

    Parameters
    ----------
    path : Path
    depth : int
        How many levels of mosaics may follow.

    Raises
    ------
    RasterError
        If it is not XML, or refers to an address, a missing file, or a format that may refer to further files.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as err:  # the last two: an unknown encoding
        raise RasterError(f"{path} is not a readable VRT: {err}") from err
    for text in _texts(root):
        if _NOT_LOCAL.match(text):
            raise RasterError(
                f"{path} points to {text.strip()}; a VRT may only point to local files. Copy the file here first."
            )
    for node in (node for tag in _SOURCES for node in root.iter(tag)):
        name = (node.text or "").strip()
        relative = node.get("relativeToVRT", node.get("relativetoVRT")) == "1"
        _check_member(path, path.parent / name if relative else Path(name), name, depth)


def _texts(node: ElementTree.Element) -> Iterator[str]:
    """Yield the texts and attributes of an element, without metadata, which may contain URLs."""
    if node.tag in ("Metadata", "SRS"):
        return
    yield node.text or ""
    yield from node.attrib.values()
    for child in node:
        yield from _texts(child)


def _check_member(path: Path, member: Path, name: str, depth: int) -> None:
    try:
        with member.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError) as err:  # ValueError: an invalid name
        raise RasterError(f"{path} points to {name:.200}, which does not exist or cannot be read.") from err
    if _VRT in head:  # whatever its name is
        if depth == 0:
            raise RasterError(
                f"{path} is a mosaic of mosaics, more than {_MAX_DEPTH} levels deep. "
                f"Merge it first: gdal_translate {path} mosaic.tif"
            )
        check_vrt(member, depth=depth - 1)
    elif not head.startswith(_SIGNATURES) and not _is_envi(member, head):
        raise RasterError(
            f"{path} points to {name}, which is not a raster format that geoseg reads in a mosaic. "
            "Convert it to GeoTIFF first."
        )


def _is_envi(member: Path, head: bytes) -> bool:
    headers = (member.with_suffix(".hdr"), Path(f"{member}.hdr"))
    return not head.lstrip().startswith((b"<", b"{")) and any(path.is_file() for path in headers)
