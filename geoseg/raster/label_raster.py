"""Reading a raster of labels: whole numbers of any program, each of which stands for something."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio.windows
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags

from geoseg.errors import ConfigError, RasterError
from geoseg.grid import GeoBox, Window, same_corners, same_crs
from geoseg.raster.aoi import inside, read_aoi
from geoseg.raster.scene import Scene, geobox_of, opened, reading

NoData = int | Literal["file", "none"]
Colour = tuple[int, int, int]

_LARGEST = 2**63 - 1  # what the column of a polygon layer can hold
_LARGEST_FLOAT = 2**53  # beyond it, floats skip whole numbers
_SAMPLES = 8  # windows in each direction that are looked at for fractions, of …
_SAMPLE = 64  # … so many pixels in each direction
_NAMES_BYTES = 4_000_000  # of a file with category names; a larger one is no such file


@dataclass(frozen=True)
class LabelInput:
    """What is to be outlined.

    Parameters
    ----------
    labels : raster of whole numbers
    values : another raster on the same grid, whose mean and spread in each region are told; None = none
    band : which band of `labels` holds them, from 1; None = the only one that is not alpha
    nodata : the number that is no label, instead of what the file says: its nodata value, its mask, its alpha.
        "file" = as it says; "none" = every number is a label, and every pixel counts
    """

    labels: str
    values: str | None = None
    band: int | None = None
    nodata: NoData = "file"


@dataclass(frozen=True)
class LabelRaster:
    """A raster of labels: where it is, its grid, and which of its pixels count.

    Parameters
    ----------
    path : file or http(s) or s3 address
    geobox : GeoBox
    band : which band holds the labels, from 1
    dtype : of the band, as "uint8"
    nodata : as in `LabelInput`
    aoi : WKB in the CRS of the raster; pixels with their middle outside are no data; None = all
    files : every file the raster consists of
    palette : label → its colour, where the file has a palette
    names : label → what the file calls it, where it has names
    """

    path: str
    geobox: GeoBox
    band: int
    dtype: str
    nodata: NoData
    aoi: bytes | None
    files: tuple[str, ...]
    palette: dict[int, Colour] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    @property
    def grid(self) -> Scene:
        """The raster as a scene of no bands: a grid with an area of interest."""
        return Scene(self.path, self.geobox, (), (), (), (0, 0, 0), None, self.aoi, self.files)


def open_label_raster(source: LabelInput, *, aoi: str | Path | None = None) -> LabelRaster:
    """Look at a raster of labels and say how it would be read.

    Raises
    ------
    RasterError : not there, not readable, no place on the map, no whole numbers, or several bands of them
    """
    path = str(source.labels)
    _check_nodata(source.nodata)
    with opened(path, reload=True) as src:
        band = _choose_band(src, path, source.band)
        _check_type(src.dtypes[band - 1], path)
        geobox = geobox_of(src, path)
        files = tuple(src.files) or (path,)
        palette = _palette(src, band)
        dtype = src.dtypes[band - 1]
    area = None if aoi is None else read_aoi(Path(aoi), geobox)
    names = _category_names(files, band)
    labels = LabelRaster(path, geobox, band, dtype, source.nodata, area, files, palette, names)
    if dtype.startswith("float"):  # what a whole run would be for nothing
        for window in _sample(geobox.shape):
            read_labels(labels, window)
    return labels


def read_labels(labels: LabelRaster, window: Window) -> tuple[NDArray[np.integer[Any]], NDArray[np.bool_]]:
    """Read the labels of a window.

    Returns
    -------
    numbers : (y, x) int of the raster's own type, or int64 where that is uint64 or float; any number where not valid
    valid : (y, x) bool; False = no data, as the file says or `nodata`; outside the AOI; NaN

    Raises
    ------
    RasterError : the file is damaged there, or a label is no whole number, or too large for a column of a layer
    """
    part = rasterio.windows.Window(*window)
    with reading(labels.path, window) as handle:
        numbers = handle.read(labels.band, window=part)
        valid = _valid(handle, labels, numbers, part)
    if labels.aoi is not None:
        valid &= inside(labels.aoi, labels.geobox.cropped(window))
    return _whole(numbers, valid, labels.path, window), valid


def check_same_grid(values: Scene, labels: LabelRaster) -> None:
    """Look whether the values lie on the pixels of the labels.

    Raises
    ------
    RasterError : they do not; says what differs
    """
    one, other = values.geobox, labels.geobox
    if not same_crs(one.crs, other.crs):
        differs = "lies in another CRS than"
    elif one.shape != other.shape:
        differs = f"has {_size(one)} pixels, {_size(other)} are those of"
    elif not same_corners(one, other):
        corners = [tuple(round(value, 6) for value in tuple(box.transform)[:6]) for box in (one, other)]
        differs = f"has the transform {corners[0]}, and {corners[1]} is that of"
    else:
        return
    raise RasterError(
        f"{values.path} {differs} {labels.path}, and values must lie on the pixels of the labels. Warp them onto that "
        f"grid first: gdalwarp -t_srs, -te and -ts as gdalinfo {labels.path} tells them, or rio warp --like "
        f"{labels.path} {values.path} values.tif"
    )


def _size(geobox: GeoBox) -> str:
    return f"{geobox.shape[1]} x {geobox.shape[0]}"


def _check_nodata(nodata: NoData) -> None:
    if nodata not in ("file", "none") and not (isinstance(nodata, int) and -(2**63) <= nodata <= _LARGEST):
        raise ConfigError(f"nodata is {nodata!r}; give a whole number, or none where every number is a label.")


def _choose_band(src: Any, path: str, wanted: int | None) -> int:
    if wanted is not None:
        if wanted not in src.indexes:
            raise RasterError(f"{path} has bands 1 to {src.count}; there is no band {wanted}.")
        return wanted
    bands = [band for band in src.indexes if src.colorinterp[band - 1] != ColorInterp.alpha]
    if len(bands) != 1:
        raise RasterError(
            f"{path} has {len(bands)} bands, and labels are one band of whole numbers. Say which one holds them, with "
            "--band; pictures are for geoseg tile."
        )
    return int(bands[0])


def _check_type(dtype: str, path: str) -> None:
    if "complex" in dtype:
        raise RasterError(
            f"{path} holds complex numbers ({dtype}), and labels are whole ones. Take the raster that holds the labels."
        )


def _palette(src: Any, band: int) -> dict[int, Colour]:
    if src.colorinterp[band - 1] != ColorInterp.palette:
        return {}
    return {int(label): (red, green, blue) for label, (red, green, blue, _) in src.colormap(band).items()}


def _category_names(files: tuple[str, ...], band: int) -> dict[int, str]:
    """Return what the file beside the raster calls its labels; GDAL keeps names of a GeoTIFF there."""
    beside = [Path(file) for file in files if file.endswith(".aux.xml") and Path(file).is_file()]
    names: dict[int, str] = {}
    for path in beside:
        if path.stat().st_size > _NAMES_BYTES:
            continue
        try:
            root = ElementTree.parse(path).getroot()
        except (ElementTree.ParseError, OSError, ValueError, LookupError):  # only names would come from it
            continue
        for node in root.iterfind(f"PAMRasterBand[@band='{band}']/CategoryNames"):
            names |= {i: text for i, each in enumerate(node.iter("Category")) if (text := (each.text or "").strip())}
    return names


def _sample(shape: tuple[int, int]) -> Iterator[Window]:
    rows, cols = shape
    for top in np.linspace(0, max(rows - _SAMPLE, 0), _SAMPLES).astype(int):
        for left in np.linspace(0, max(cols - _SAMPLE, 0), _SAMPLES).astype(int):
            yield Window(int(left), int(top), min(_SAMPLE, cols), min(_SAMPLE, rows))


def _valid(handle: Any, labels: LabelRaster, numbers: NDArray[Any], part: Any) -> NDArray[np.bool_]:
    if labels.nodata == "none":
        return np.ones(numbers.shape, bool)
    if labels.nodata != "file":
        return np.asarray(numbers != labels.nodata)
    if MaskFlags.all_valid in handle.mask_flag_enums[labels.band - 1]:
        return np.ones(numbers.shape, bool)
    return np.asarray(handle.read_masks(labels.band, window=part) > 0)


def _whole(numbers: NDArray[Any], valid: NDArray[np.bool_], path: str, window: Window) -> NDArray[np.integer[Any]]:
    """Make whole numbers of floats that are whole, and of uint64; NaN becomes no data in `valid`."""
    if numbers.dtype.kind == "f":
        valid &= ~np.isnan(numbers)
        seen = numbers[valid]
        wrong = seen[(seen != np.rint(seen)) | (np.abs(seen) > _LARGEST_FLOAT)]
        if wrong.size:
            raise RasterError(
                f"{path} holds {wrong[0]:.6g} at {window}, and labels are whole numbers. Round or classify the values "
                "first; to find classes in measurements, take geoseg tile."
            )
        return np.where(valid, numbers, 0).astype(np.int64)
    if numbers.dtype == np.uint64:
        if (numbers[valid] > _LARGEST).any():
            raise RasterError(
                f"{path} holds {numbers[valid].max()} at {window}, and a polygon layer holds labels up to {_LARGEST}. "
                "Number the labels anew first."
            )
        return numbers.astype(np.int64)
    return numbers
