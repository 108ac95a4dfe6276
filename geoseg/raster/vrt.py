"""Read a .vrt before GDAL does: it may refer to local raster files, and to nothing else.

GDAL is given the text that `read_vrt` returns instead of the file. It consists of the elements and attributes that are
listed here, exactly as they are spelt here: GDAL ignores their case, and knows others that run code or open addresses.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from geoseg.errors import RasterError, shorten
from geoseg.raster.raster_file import VRT_ROOT, Folders, check_raster, contains_pixels, head_of, is_address, parse_xml

_MAX_DEPTH = 8  # of mosaics of mosaics
_MAX_NESTED = 1000  # mosaics in a mosaic, counted as often as they are referred to
_MAX_BYTES = 256 * 2**20
_MAX_ELEMENT_DEPTH = 12
_MAX_KERNEL = 99  # px
_MAX_AVERAGED = 16  # source pixels per pixel and direction; GDAL reads them all at once
_RECTANGLE = ("xOff", "yOff", "xSize", "ySize")
_SOURCES = ("SimpleSource", "ComplexSource", "AveragedSource", "KernelFilteredSource")
_PLAIN = (  # elements without attributes
    *("GeoTransform", "BlockXSize", "BlockYSize", "MaskBand", "Description", "UnitType", "Offset", "Scale"),
    *("NoDataValue", "HideNoDataValue", "ColorInterp", "CategoryNames", "Category", "ColorTable", "SourceBand"),
    *("NODATA", "UseMaskBand", "ScaleOffset", "ScaleRatio", "LUT", "Exponent", "SrcMin", "SrcMax", "DstMin", "DstMax"),
    *("Clamp", "ColorTableComponent", "Size", "Coefs"),
)
_ELEMENTS: dict[str, tuple[str, ...]] = {  # element → its attributes
    "VRTDataset": ("rasterXSize", "rasterYSize"),
    "SRS": ("dataAxisToSRSAxisMapping", "coordinateEpoch"),
    "GCPList": ("Projection", "dataAxisToSRSAxisMapping"),
    "GCP": ("Id", "Info", "Pixel", "Line", "X", "Y", "Z", "GCPZ"),
    "VRTRasterBand": ("dataType", "band", "blockXSize", "blockYSize", "subClass"),
    "Entry": ("c1", "c2", "c3", "c4"),
    "SourceFilename": ("relativeToVRT", "relativetoVRT", "shared"),
    "SourceProperties": ("RasterXSize", "RasterYSize", "DataType", "BlockXSize", "BlockYSize"),
    "SrcRect": _RECTANGLE,
    "DstRect": _RECTANGLE,
    "Kernel": ("normalized",),
    **dict.fromkeys(_SOURCES, ("resampling", "name")),
    **dict.fromkeys(_PLAIN, ()),
}
# Not passed on, with all that is in them: pixels do not depend on them, and an overview is another file.
_OMITTED = ("Metadata", "Histograms", "GDALRasterAttributeTable", "OverviewList", "Overview")
_CRS = re.compile(r"\s*([A-Za-z]+:[A-Za-z0-9:.]+|\+proj=.*|[A-Z_]+[A-Z0-9_]*\s*[\[(].*)?\s*", re.DOTALL)


@dataclass(frozen=True)
class Mosaic:
    """A checked VRT.

    Parameters
    ----------
    xml : str
        What GDAL opens, with absolute paths; a mosaic in the mosaic is inside it.
    files : tuple of str
        The VRT and every file that it refers to, in mosaics in it as well, with their side files.
    """

    xml: str
    files: tuple[str, ...]


def read_vrt(path: Path) -> Mosaic:
    """Return a VRT as it is given to GDAL.

    Parameters
    ----------
    path : Path

    Raises
    ------
    RasterError
        If it is not XML, has elements or attributes that are not known, or refers to an address, a missing file, or a
        format that may refer to further files.
    """
    reading = _Reading(path)
    xml = _read(path, reading, _MAX_DEPTH)
    return Mosaic(xml, (str(path), *map(str, reading.members)))


@dataclass
class _Reading:
    """What has been read so far of a VRT and of those in it."""

    path: Path
    members: dict[Path, None] = field(default_factory=dict)  # checked files, in order
    folders: Folders = field(default_factory=Folders)
    n_nested: int = 0


def _read(path: Path, reading: _Reading, depth: int) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes; expected at most {_MAX_BYTES}")
        _check_no_mask_beside(path, reading.folders)
        writer = _Writer(path, reading, depth)
        parse_xml(path.read_bytes(), writer.start, writer.end, writer.text)
    except RasterError:
        raise
    except (OSError, ValueError) as err:
        raise RasterError(f"{path} is not a readable VRT: {shorten(err)}") from err
    return "".join(writer.parts)


def _check_no_mask_beside(path: Path, folders: Folders) -> None:
    """Refuse a mask of the mosaic as a whole: GDAL, which is given no file name, would not find it."""
    if masks := [each for each in folders.beside(path) if each.name.lower() == f"{path.name.lower()}.msk"]:
        raise RasterError(
            f"{masks[0]} is the mask of a VRT, which geoseg does not read; expected masks of its files, or a MaskBand. "
            f"Copy the pixels first: gdal_translate {path} mosaic.tif"
        )


class _Writer:
    """Writes the elements of a VRT that are passed on to GDAL."""

    def __init__(self, path: Path, reading: _Reading, depth: int) -> None:
        self.path, self.reading, self.depth = path, reading, depth
        self.parts: list[str] = []
        self.open: list[str] = []
        self.omitted = 0  # open elements inside an omitted one
        self.content = ""  # text of the innermost open element
        self.is_relative = False
        self.rectangles: dict[str, dict[str, str]] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self.omitted or name in _OMITTED:
            self.omitted += 1
            return
        self._check_element(name, attributes)
        self.open.append(name)
        self.content = ""
        if name == "SourceFilename":
            self.is_relative = "1" in (attributes.get("relativeToVRT"), attributes.get("relativetoVRT"))
            attributes = {"relativeToVRT": "0"} | ({"shared": attributes["shared"]} if "shared" in attributes else {})
        elif name in _SOURCES:
            self.rectangles = {}
        elif name in ("SrcRect", "DstRect"):
            self.rectangles[name] = attributes
        self.parts.append(f"<{name}{''.join(f' {key}={quoteattr(value)}' for key, value in attributes.items())}>")

    def text(self, data: str) -> None:
        if not self.omitted:
            self.content += data
            if self.open[-1] != "SourceFilename":
                self.parts.append(escape(data))

    def end(self, name: str) -> None:
        if self.omitted:
            self.omitted -= 1
            return
        self.open.pop()
        if name == "SourceFilename":
            self.parts.append(escape(_member(self.path, self.content, self.is_relative, self.reading, self.depth)))
        elif name == "SRS":
            self._check_crs(self.content)
        elif name == "Size" and not 0 <= _number(self.content) <= _MAX_KERNEL:
            raise self._refused(f"a kernel of {shorten(self.content, 20)} px", f"at most {_MAX_KERNEL} px")
        elif name == "AveragedSource":
            self._check_averaged()
        self.content = ""
        self.parts.append(f"</{name}>")

    def _check_element(self, name: str, attributes: dict[str, str]) -> None:
        if not self.open and name != "VRTDataset":
            raise ValueError(f"its root is {shorten(name, 60)} instead of VRTDataset")
        if name not in _ELEMENTS or len(self.open) > _MAX_ELEMENT_DEPTH:
            raise self._refused(f"the element {shorten(name, 60)}", "a mosaic of local files as gdalbuildvrt writes it")
        for key, value in attributes.items():
            if key not in _ELEMENTS[name] or (key == "subClass" and value != "VRTSourcedRasterBand"):
                raise self._refused(
                    f"the attribute {shorten(key, 60)}={shorten(value, 60)} of {name}",
                    "a mosaic of local files as gdalbuildvrt writes it",
                )
        if "Projection" in attributes:
            self._check_crs(attributes["Projection"])

    def _check_crs(self, crs: str) -> None:
        if is_address(crs) or not _CRS.fullmatch(crs):
            raise self._refused(f"the CRS {shorten(crs, 60)}", "WKT or a code such as EPSG:32633")

    def _check_averaged(self) -> None:
        for size in ("xSize", "ySize"):
            source, target = (_number(self.rectangles.get(name, {}).get(size)) for name in ("SrcRect", "DstRect"))
            if not 0 < source <= _MAX_AVERAGED * target:
                raise self._refused(
                    f"averages of {size} {source:g} over {target:g} pixels", f"at most {_MAX_AVERAGED} to 1"
                )

    def _refused(self, found: str, expected: str) -> RasterError:
        return RasterError(
            f"{self.path} has {found}; expected {expected}. Copy the pixels of a VRT that you trust to a GeoTIFF: "
            f"gdal_translate {self.path} mosaic.tif"
        )


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _member(path: Path, name: str, is_relative: bool, reading: _Reading, depth: int) -> str:
    """Check a file that a VRT refers to; return its absolute path, or the XML of a VRT in it."""
    name = name.strip()
    if is_address(name):
        raise RasterError(
            f"{path} points to {shorten(name)}; a VRT may only point to local files. Copy the file here first."
        )
    # As GDAL does, from the folder of the file that a link leads to.
    member = Path(os.path.abspath(Path(os.path.realpath(path)).parent / name if is_relative else name))  # noqa: PTH100
    try:
        head = head_of(member)
    except (OSError, ValueError) as err:  # ValueError: an invalid name
        raise RasterError(f"{path} points to {shorten(name)}, which does not exist or cannot be read.") from err
    if VRT_ROOT in head:  # whatever its name is
        reading.n_nested += 1
        if depth == 0 or reading.n_nested > _MAX_NESTED:
            raise RasterError(
                f"{path} is a mosaic of mosaics, more than {_MAX_DEPTH} levels deep or more than {_MAX_NESTED} "
                f"mosaics. Merge it first: gdal_translate {path} mosaic.tif"
            )
        reading.members[member] = None
        return _read(member, reading, depth - 1)
    if member not in reading.members:
        if not contains_pixels(member, head):
            raise RasterError(
                f"{path} points to {shorten(name)}, which is not a raster format that geoseg reads in a mosaic. "
                "Convert it to GeoTIFF first."
            )
        reading.members |= dict.fromkeys([member, *check_raster(member, reading.folders)])
    return str(member)
