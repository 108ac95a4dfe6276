"""A look into a .vrt before GDAL follows it: a mosaic may lead to raster files on this machine, and nowhere else."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from geoseg.errors import RasterError

_DEEPEST = 8  # mosaics of mosaics
_SOURCES = ("SourceFilename", "SourceDataset", "DatasetFilename")
_ELSEWHERE = re.compile(r"\s*(/vsi|[a-z0-9+.-]{2,}://)", re.IGNORECASE)
# How files begin that hold their pixels themselves: TIFF and BigTIFF of both byte orders, JPEG 2000, JPEG, PNG, HFA.
_PIXELS = (
    b"II*\0", b"MM\0*", b"II+\0", b"MM\0+",
    b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"\xff\xd8\xff", b"\x89PNG", b"EHFA",
)  # fmt: skip
_VRT = b"<VRTDataset"
_HEAD = 1024  # bytes; where GDAL too looks for `_VRT`


def check_vrt(path: Path, *, depth: int = _DEEPEST) -> None:
    """Look whether a mosaic leads to local raster files only.

    Raises
    ------
    RasterError : it is no XML, or points to an address, to a file that is not there, or to one that could lead on
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as err:  # the last two: an unknown encoding
        raise RasterError(f"{path} is no readable VRT: {err}") from err
    for text in _texts(root):
        if _ELSEWHERE.match(text):
            raise RasterError(f"{path} points to {text.strip()}; a VRT may only point to files on this machine.")
    for node in (node for tag in _SOURCES for node in root.iter(tag)):
        name = (node.text or "").strip()
        near = node.get("relativeToVRT", node.get("relativetoVRT")) == "1"
        _check_member(path, path.parent / name if near else Path(name), name, depth)


def _texts(node: ElementTree.Element) -> Iterator[str]:
    """Yield all that stands in an element, without what only describes it."""
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
    except (OSError, ValueError) as err:  # ValueError: a name that no file can have
        raise RasterError(f"{path} points to {name:.200}, which is not there or cannot be read.") from err
    if _VRT in head:  # whatever the file is called
        if depth == 0:
            raise RasterError(f"{path} is a mosaic of mosaics, and more than {_DEEPEST} deep.")
        check_vrt(member, depth=depth - 1)
    elif not head.startswith(_PIXELS) and not _is_envi(member, head):
        raise RasterError(f"{path} points to {name}, which is no file of pixels that geoseg reads.")


def _is_envi(member: Path, head: bytes) -> bool:
    beside = (member.with_suffix(".hdr"), Path(f"{member}.hdr"))
    return not head.lstrip().startswith((b"<", b"{")) and any(path.is_file() for path in beside)
