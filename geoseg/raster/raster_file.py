"""Check a raster file and the files beside it before GDAL opens them: they contain pixels, and refer to no others.

GDAL opens a mask (.msk), overviews (.ovr) and metadata (.aux.xml) beside a raster by their names, whatever they
contain: a mask that is a VRT may refer to any file or address.
"""

from __future__ import annotations

import os
import re
import struct
import xml.parsers.expat as expat
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from geoseg.errors import RasterError, shorten
from geoseg.raster.tiff_header import TIFF_SIGNATURES, check_block, check_references, check_tiff

HEAD = 1024  # bytes; GDAL searches as many for `VRT_ROOT`
VRT_ROOT = b"<VRTDataset"
# First bytes of formats that contain their pixels.
_SIGNATURES = (*TIFF_SIGNATURES, b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"\xff\xd8\xff", b"\x89PNG", b"EHFA")
# GDAL searches the head of a file for these roots, before it compares signatures.
_INDIRECT = re.compile(rb"<(vrtdataset|gdaltileindex|ogrvrt|gdal_wms|wms_|mrf_meta)", re.IGNORECASE)
_SIDE = re.compile(r"(.+)\.(ovr|msk|aux\.xml|aux)$", re.DOTALL)
# Georeferencing and metadata of other programs, which GDAL reads as a whole; they refer to nothing.
_TEXT = re.compile(
    r"(.+?)(_rpc|_metadata)?\.(tfw|tifw|tiffw|wld|[a-z]gw|tab|xml|imd|rpb|rpc|txt|hdr|prj|pvl|dim|eph)$", re.DOTALL
)
_MAX_TEXT = 64 * 2**20  # bytes
_INTERLACED = struct.Struct(">8s8xIIBBBBB")  # of the head of a PNG: width, height, bits, colours, and interlacing last
_ADDRESS = re.compile(r"\s*(/vsi|[a-z0-9+.-]{2,}://)", re.IGNORECASE)


@dataclass(frozen=True)
class Folders:
    """The names of the side files of folders, each of which is listed once.

    Parameters
    ----------
    listed : dict
        Folder → name of a raster in lower case → paths of the files beside it.
    """

    listed: dict[Path, dict[str, list[Path]]] = field(default_factory=dict)

    def beside(self, path: Path) -> list[Path]:
        """Return the masks, overviews and metadata of GDAL of a raster, those of its side files included."""
        stem = [each for each in self._named(path.parent, path.stem) if each.suffix.lower() == ".aux"]
        return [*self._named(path.parent, path.name), *stem]

    def texts_beside(self, path: Path) -> list[Path]:
        """Return the georeferencing and metadata of other programs beside a raster."""
        return self._named(path.parent, f"{path.stem}/")

    def _named(self, folder: Path, name: str) -> list[Path]:
        if folder not in self.listed:
            self.listed[folder] = _side_files(folder)
        return self.listed[folder].get(name.lower(), [])


def check_raster(path: Path, folders: Folders) -> list[Path]:
    """Check a raster file that is not a VRT, and its side files; return the side files.

    Parameters
    ----------
    path : Path
    folders : Folders

    Raises
    ------
    RasterError
        If a side file is not what its name means, or a header asks for too much memory or another file.
    """
    head = head_of(path)
    if head.startswith(TIFF_SIGNATURES):
        check_tiff(path)
    _check_png(path, head)
    sides = folders.beside(path)
    for side in sides:
        _check_side(path, side)
    for text in folders.texts_beside(path):
        _check_text(path, text)
    return sides


def contains_pixels(path: Path, head: bytes) -> bool:
    """Return whether a file has the signature of a format that contains its pixels, or is a raw file of ENVI."""
    if _INDIRECT.search(head):
        return False
    if head.startswith(_SIGNATURES):
        return True
    headers = (path.with_suffix(".hdr"), Path(f"{path}.hdr"))
    return not head.lstrip().startswith((b"<", b"{")) and any(header.is_file() for header in headers)


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file; OSError if it cannot be read, ValueError if its name is invalid."""
    if not path.is_file():  # a pipe would wait for ever
        raise FileNotFoundError(f"{path} is not a file")
    with path.open("rb") as file:
        return file.read(HEAD)


def is_address(text: str) -> bool:
    """Return whether text is an address, or a name that GDAL does not look for in the file system."""
    return bool(_ADDRESS.match(text))


def _side_files(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for name in os.listdir(folder):  # noqa: PTH208 # names suffice, and mosaics have 100 000 files
        base = name.lower()
        while match := _SIDE.match(base):  # scene.tif.msk.ovr belongs to scene.tif.msk and to scene.tif
            base = match[1]
            found[base].append(folder / name)
        if match := _TEXT.match(name.lower()):
            found[f"{match[1]}/"].append(folder / name)  # no name of a file
    return found


def _check_text(path: Path, side: Path) -> None:
    if not side.exists():  # a link to nothing
        return
    if not side.is_file() or side.stat().st_size > _MAX_TEXT:
        what = f"has {side.stat().st_size} bytes" if side.is_file() else "is no file"
        raise RasterError(
            f"{side.name} beside {path} {what}; expected a file of at most {_MAX_TEXT} bytes, because GDAL reads "
            "it with the raster. Move it elsewhere."
        )


def _check_png(path: Path, head: bytes) -> None:
    """Check the memory of an interlaced PNG, which GDAL reads as a whole."""
    if len(head) < _INTERLACED.size or not head.startswith(b"\x89PNG"):
        return
    _, width, height, bits, colours, _, _, interlacing = _INTERLACED.unpack_from(head)
    if interlacing:
        check_block(path, width * height * {2: 3, 4: 2, 6: 4}.get(colours, 1) * bits // 8)


def _check_side(path: Path, side: Path) -> None:
    try:
        head = head_of(side)
    except (OSError, ValueError) as err:
        raise _refused(path, side, "cannot be read") from err
    suffix = side.suffix.lower()
    if suffix == ".xml":
        _check_pam(path, side)
    elif _INDIRECT.search(head):
        raise _refused(path, side, "is a VRT or another file that refers to others")
    elif suffix in (".msk", ".ovr"):
        if not head.startswith(TIFF_SIGNATURES):
            raise _refused(path, side, "is no TIFF")
        check_tiff(side)


def _check_pam(path: Path, side: Path) -> None:
    """Check a file of GDAL's persistent auxiliary metadata."""
    if side.stat().st_size > _MAX_TEXT:
        raise _refused(path, side, f"has {side.stat().st_size} bytes; expected at most {_MAX_TEXT}")
    content = side.read_bytes()
    if _INDIRECT.search(content):
        raise _refused(path, side, "contains a VRT")
    check_references(side, content)
    open_elements: list[str] = []
    roots: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if not open_elements:
            roots.append(name)
        open_elements.append(name.lower())
        check_references(side, " ".join(attributes.values()).encode("utf-8", "replace"))

    def text(data: str) -> None:
        if open_elements[-1] in ("srs", "projection") and is_address(data):
            raise _refused(path, side, f"names {shorten(data, 80)}")

    def end(_name: str) -> None:
        open_elements.pop()

    try:
        parse_xml(content, start, end, text)
    except ValueError as err:
        raise _refused(path, side, f"is no XML of GDAL ({shorten(err, 80)})") from err
    if roots != ["PAMDataset"]:
        raise _refused(path, side, f"has the root {shorten(roots[0], 40)} instead of PAMDataset")


def parse_xml(
    content: bytes,
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    text: Callable[[str], None],
) -> None:
    """Parse XML without document types and entities, and call a function for each element and text.

    Parameters
    ----------
    content : bytes
    start, end, text : callable
        Called with (name, attributes), (name) and (data), as by `xml.parsers.expat`; names have their prefixes.

    Raises
    ------
    ValueError
        If it is not XML, or has a document type.
    """

    def refuse_document_type(*_: object) -> None:
        raise ValueError("it has a document type declaration")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = refuse_document_type
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError) as err:  # LookupError: an unknown encoding
        raise ValueError(str(err)) from err


def _refused(path: Path, side: Path, reason: str) -> RasterError:
    kind = "XML of GDAL without references" if side.suffix.lower() == ".xml" else "a TIFF"
    return RasterError(
        f"{side.name} beside {path} {reason}; expected {kind}, because GDAL reads it with the raster. Remove it or "
        "replace it by what its name means."
    )
