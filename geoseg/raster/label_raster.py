"""Read a label raster of any program: integers, such as the classes or segments of pixels."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio.windows
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geoseg.errors import ConfigError, RasterError
from geoseg.grid import GeoBox, Window, same_corners, same_crs
from geoseg.raster.alpha import find_alpha, spread_windows
from geoseg.raster.aoi import inside, read_aoi
from geoseg.raster.coverage import check_readable, error_at_centre
from geoseg.raster.damage import DamageError
from geoseg.raster.dataset import files_of, geobox_of, opened, reading
from geoseg.raster.nodata import has_data
from geoseg.raster.scene import Scene

Nodata = int | Literal["file", "none"]
Colour = tuple[int, int, int]

_MAX_LABEL = 2**63 - 1  # an attribute of a polygon layer is int64
_MAX_FLOAT_LABEL = 2**53  # beyond it, float64 does not represent every integer
_N_WINDOWS = 8  # per direction, checked when a raster is opened
_WINDOW = 64  # px; their width and height
_MAX_NAMES_BYTES = 4_000_000  # of a file with category names; larger files are ignored


@dataclass(frozen=True)
class LabelInput:
    """The input of `geoseg.outline_labels`.

    Parameters
    ----------
    labels : str
        Raster of integers.
    values : str or None
        Raster on the same grid for zonal statistics. None = no statistics.
    band : int or None
        Band of `labels` to use, from 1. None = the only one that is not alpha.
    nodata : int, "file" or "none"
        Value of pixels that are not valid. "file" = by the nodata value, mask or alpha of the file. "none" = every
        value is a label and every pixel is valid. Unless it is "none", a pixel that is 0 in an alpha band is not valid.

    Examples
    --------
    >>> LabelInput("classes.tif", nodata=0).nodata
    0
    """

    labels: str
    values: str | None = None
    band: int | None = None
    nodata: Nodata = "file"


@dataclass(frozen=True)
class LabelRaster:
    """A raster of labels: its location, grid, and valid pixels.

    Parameters
    ----------
    path : str
        File, or http(s) or s3 address.
    geobox : GeoBox
    band : int
        Band with the labels, from 1.
    dtype : str
        Data type of the band, such as "uint8".
    nodata : int, "file" or "none"
        As in `LabelInput`.
    aoi : bytes or None
        Area of interest as WKB in the CRS of the raster. A pixel whose centre is outside is not valid. None = all.
    files : tuple of str
        Every file of the raster.
    palette : dict
        Label → (red, green, blue); empty where the file has no palette.
    names : dict
        Label → category name; empty where the file has none.
    alpha : tuple of int
        Numbers of the alpha bands; a pixel that is 0 in one of them is not valid.
    """

    path: str
    geobox: GeoBox
    band: int
    dtype: str
    nodata: Nodata
    aoi: bytes | None
    files: tuple[str, ...]
    palette: dict[int, Colour] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    alpha: tuple[int, ...] = ()

    @property
    def grid(self) -> Scene:
        """The raster as a scene without bands: a grid with an area of interest."""
        return Scene(self.path, self.geobox, (), (), (), (0, 0, 0), None, self.aoi, self.files)


def open_label_raster(source: LabelInput, *, aoi: str | Path | None = None, allow_no_crs: bool = False) -> LabelRaster:
    """Return the description of a label raster, after checking that it can be outlined.

    Parameters
    ----------
    source : LabelInput
    aoi : str, Path or None
        Vector file with polygons. Pixels outside are not valid.
    allow_no_crs : bool
        As in `dataset.geobox_of`.

    Raises
    ------
    RasterError
        If the file is missing, unreadable or not georeferenced, has no integers, or has several bands and none is
        given; or if more than half of a sample of windows cannot be read.
    ConfigError
        If `source.nodata` is not an integer, "file" or "none".
    """
    path = str(source.labels)
    _check_nodata(source.nodata)
    with opened(path, reload=True) as src:
        alpha = find_alpha(src).used
        band = _choose_band(src, path, source.band, alpha)
        _check_type(src.dtypes[band - 1], path)
        geobox = geobox_of(src, path, allow_no_crs=allow_no_crs)
        files = files_of(src, path)
        palette = _palette(src, band)
        dtype = src.dtypes[band - 1]
    area = None if aoi is None else read_aoi(Path(aoi), geobox)
    names = _category_names(files, band)
    applied = tuple(one for one in alpha if one != band and source.nodata != "none")
    labels = LabelRaster(path, geobox, band, dtype, source.nodata, area, files, palette, names, applied)
    _check_sample(labels)
    return labels


def read_labels(labels: LabelRaster, window: Window) -> tuple[NDArray[np.integer[Any]], NDArray[np.bool_]]:
    """Return the labels of a window and which of them are valid.

    Returns
    -------
    numbers : (y, x) int
        In the dtype of the raster, or int64 where that is uint64 or float. Arbitrary where not valid.
    valid : (y, x) bool
        False = nodata by `labels.nodata`, NaN, or outside the area of interest.

    Raises
    ------
    RasterError
        If the file is damaged there, or a label is not an integer or exceeds int64.
    """
    part = rasterio.windows.Window(*window)
    with reading(labels.path, window) as handle:
        numbers = handle.read(labels.band, window=part)
        valid = _valid(handle, labels, numbers, part)
    if labels.aoi is not None:
        valid &= inside(labels.aoi, labels.geobox.cropped(window))
    return _integers(numbers, valid, labels.path, window), valid


def check_same_grid(values: Scene, labels: LabelRaster) -> None:
    """Check that values are on the grid of the labels.

    Raises
    ------
    RasterError
        If the CRS, the size or the transform differ.
    """
    one, other = values.geobox, labels.geobox
    if not same_crs(one.crs, other.crs):
        difference = "has another CRS than"
    elif one.shape != other.shape:
        difference = f"has {_size(one)} pixels instead of the {_size(other)} of"
    elif not same_corners(one, other):
        corners = [tuple(round(value, 6) for value in tuple(box.transform)[:6]) for box in (one, other)]
        difference = f"has the transform {corners[0]} instead of the {corners[1]} of"
    else:
        return
    raise RasterError(
        f"{values.path} {difference} {labels.path}; values must be on the grid of the labels. Warp them to it first: "
        f"rio warp --like {labels.path} {values.path} values.tif, or gdalwarp with the -t_srs, -te and -ts that "
        f"gdalinfo {labels.path} gives"
    )


def _size(geobox: GeoBox) -> str:
    return f"{geobox.shape[1]} x {geobox.shape[0]}"


def _check_sample(labels: LabelRaster) -> None:
    """Find damage and fractional values now rather than in the middle of a run."""
    windows = list(spread_windows(labels.geobox.window, _N_WINDOWS, _WINDOW))
    errors: list[RasterError] = []
    for window in windows:
        try:
            read_labels(labels, window)
        except DamageError:
            errors += error_at_centre(lambda centre: read_labels(labels, centre), window)
    check_readable(labels.path, len(windows), errors)


def _check_nodata(nodata: Nodata) -> None:
    is_word = isinstance(nodata, str) and nodata in ("file", "none")
    if not is_word and not (isinstance(nodata, int) and -(2**63) <= nodata <= _MAX_LABEL):
        raise ConfigError(f"nodata is {nodata!r}; give an integer, or none if every value is a label.")


def _choose_band(src: Any, path: str, wanted: int | None, alpha: tuple[int, ...]) -> int:
    if wanted is not None:
        if not isinstance(wanted, int) or wanted not in src.indexes:
            raise RasterError(f"{path} has bands 1 to {src.count}; there is no band {wanted}. Choose among them.")
        return wanted
    bands = [band for band in src.indexes if band not in alpha]
    if len(bands) != 1:
        raise RasterError(
            f"{path} has {len(bands)} bands; expected one band of labels. Choose it with --band, or segment an image "
            "with geoseg tile."
        )
    return int(bands[0])


def _check_type(dtype: str, path: str) -> None:
    if "complex" in dtype:
        raise RasterError(f"{path} has complex numbers ({dtype}); expected integers. Give the raster of the labels.")


def _palette(src: Any, band: int) -> dict[int, Colour]:
    if src.colorinterp[band - 1] != ColorInterp.palette:
        return {}
    return {int(label): (red, green, blue) for label, (red, green, blue, _) in src.colormap(band).items()}


def _category_names(files: tuple[str, ...], band: int) -> dict[int, str]:
    """Return the category names in the .aux.xml file, where GDAL stores those of a GeoTIFF."""
    sidecars = [Path(file) for file in files if file.endswith(".aux.xml") and Path(file).is_file()]
    names: dict[int, str] = {}
    for path in sidecars:
        if path.stat().st_size > _MAX_NAMES_BYTES:
            continue
        try:
            root = ElementTree.parse(path).getroot()
        except (ElementTree.ParseError, OSError, ValueError, LookupError):  # labels without names are valid too
            continue
        for node in root.iterfind(f"PAMRasterBand[@band='{band}']/CategoryNames"):
            names |= {i: text for i, each in enumerate(node.iter("Category")) if (text := (each.text or "").strip())}
    return names


def _valid(handle: Any, labels: LabelRaster, numbers: NDArray[Any], part: Any) -> NDArray[np.bool_]:
    if labels.nodata == "file":
        return has_data(handle, (labels.band,), part, numbers[None], alpha=labels.alpha)[0].copy()
    valid = np.ones(numbers.shape, bool) if labels.nodata == "none" else np.asarray(numbers != labels.nodata)
    for band in labels.alpha:
        valid &= handle.read(band, window=part) > 0
    return valid


def _integers(numbers: NDArray[Any], valid: NDArray[np.bool_], path: str, window: Window) -> NDArray[np.integer[Any]]:
    """Return floats and uint64 as int64; set `valid` to False where NaN."""
    if numbers.dtype.kind == "f":
        valid &= ~np.isnan(numbers)
        found = numbers[valid]
        wrong = found[(found != np.rint(found)) | (np.abs(found) > _MAX_FLOAT_LABEL)]
        if wrong.size:
            raise RasterError(
                f"{path} has the value {wrong[0]:.6g} at {window}; expected integers. Round or classify the values "
                "first, or segment measurements with geoseg tile."
            )
        return np.where(valid, numbers, 0).astype(np.int64)
    if numbers.dtype == np.uint64:
        if (numbers[valid] > _MAX_LABEL).any():
            raise RasterError(
                f"{path} has the label {numbers[valid].max()} at {window}; the largest possible in a polygon layer is "
                f"{_MAX_LABEL}. Renumber the labels first."
            )
        return numbers.astype(np.int64)
    return numbers
