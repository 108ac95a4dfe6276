"""Write class and region rasters as Cloud Optimized GeoTIFFs on the grid of the scene."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from zlib import crc32

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import OutputError
from geoseg.grid import GeoBox, Window
from geoseg.output.files import Source, check_output, staged, writing
from geoseg.output.publication import Publication
from geoseg.output.style import Legend, raster_qml

RASTER_SUFFIXES = (".tif", ".tiff")

Tiles = Iterable[tuple[Window, NDArray[np.integer]]]


def write_class_raster(
    path: Path, geobox: GeoBox, tiles: Tiles, legend: Legend, *, overwrite: bool | Publication = False
) -> None:
    """Write the class of each pixel, with a palette; overviews contain the most frequent class.

    Parameters
    ----------
    path : Path
        Ends in .tif. The QGIS style (.qml) and the class names (.tif.aux.xml) are written beside it.
    geobox : GeoBox
        Grid of the scene.
    tiles : iterable of (Window, (y, x) int array)
        Classes of windows that do not overlap; 0 = nodata. Pixels outside all windows are nodata. Exceptions raised by
        the iterable are not converted.
    legend : Legend
        Of the classes. With up to 255 classes the raster is uint8, otherwise uint16.
    overwrite : bool or Publication

    Raises
    ------
    ConfigError
        If the suffix is not supported.
    OutputError
        If `check_output` fails, the file cannot be written, or it does not read back. No file is left behind.
    """
    dtype = "uint8" if len(legend.names) <= 255 else "uint16"
    sidecars = raster_sidecars(path, has_style=True)
    publication = check_output(path, overwrite=overwrite, suffixes=RASTER_SUFFIXES, sidecars=sidecars)
    source = Source(tiles)
    with staged(path, publication, sidecars=sidecars) as folder, writing(path, source):
        _write_cog(folder / path.name, geobox, source, dtype=dtype, overviews="mode", legend=legend)
        (folder / f"{path.stem}.qml").write_text(raster_qml(legend), encoding="utf-8")
        (folder / f"{path.name}.aux.xml").write_text(_category_names(legend), encoding="utf-8")


def write_region_raster(path: Path, geobox: GeoBox, tiles: Tiles, *, overwrite: bool | Publication = False) -> None:
    """Write the region number of each pixel as uint32; overviews contain the nearest pixel.

    Parameters
    ----------
    path : Path
        Ends in .tif.
    geobox : GeoBox
    tiles : iterable of (Window, (y, x) int array)
        As in `write_class_raster`.
    overwrite : bool or Publication

    Raises
    ------
    ConfigError, OutputError
        As in `write_class_raster`.
    """
    sidecars = raster_sidecars(path, has_style=False)
    publication = check_output(path, overwrite=overwrite, suffixes=RASTER_SUFFIXES, sidecars=sidecars)
    source = Source(tiles)
    with staged(path, publication, sidecars=sidecars) as folder, writing(path, source):
        _write_cog(folder / path.name, geobox, source, dtype="uint32", overviews="nearest", legend=None)


def raster_sidecars(path: Path, *, has_style: bool) -> list[Path]:
    """Return the paths of the files beside a raster that GDAL and QGIS read with it.

    Parameters
    ----------
    path : Path
        The raster.
    has_style : bool
        Whether the raster is written with a style.
    """
    style = [path.with_suffix(".qml")] if has_style else []
    return [*style, *(path.with_name(path.name + end) for end in (".aux.xml", ".ovr", ".msk"))]


def _write_cog(path: Path, geobox: GeoBox, tiles: Tiles, *, dtype: str, overviews: str, legend: Legend | None) -> None:
    """Write a GeoTIFF window by window and convert it to a COG, which cannot be written window by window."""
    plain = path.with_name("plain.tif")
    checksums = _write_plain(plain, geobox, tiles, dtype=dtype, legend=legend)
    rasterio.shutil.copy(
        plain,
        path,
        driver="COG",
        compress="DEFLATE",  # supported by every reader
        predictor="NO",  # differences of class numbers compress worse
        overview_resampling=overviews,
        bigtiff="IF_SAFER",
        num_threads="ALL_CPUS",
    )
    plain.unlink()
    _verify(path, checksums)


def _write_plain(
    path: Path, geobox: GeoBox, tiles: Tiles, *, dtype: str, legend: Legend | None
) -> list[tuple[Window, int]]:
    """Write the windows in their order; return a checksum of each."""
    checksums = []
    with _created(path, _profile(geobox, dtype)) as raster:
        if legend is not None:
            colors = enumerate(legend.colors.tolist(), start=1)
            raster.write_colormap(1, {0: (0, 0, 0, 0)} | {i: (*color, 255) for i, color in colors})
        for window, values in tiles:
            exact = _as_type(values, dtype)
            raster.write(exact, 1, window=RasterioWindow(*window))
            checksums.append((window, crc32(exact.data)))
    return checksums


def _created(path: Path, profile: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # of pixel coordinates, which GeoTIFF does store
        return rasterio.open(path, "w", **profile)


def _profile(geobox: GeoBox, dtype: str) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "height": geobox.shape[0],
        "width": geobox.shape[1],
        "count": 1,
        "dtype": dtype,
        "nodata": 0,
        "crs": geobox.crs or None,
        "transform": geobox.transform,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "zstd",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
    }


def _as_type(values: NDArray[np.integer], dtype: str) -> NDArray[np.integer]:
    """Convert to an integer dtype; an OutputError if a number does not fit, instead of an overflow."""
    if values.size and (values.min() < 0 or values.max() > np.iinfo(dtype).max):
        raise OutputError(
            f"numbers from {values.min()} to {values.max()} do not fit a raster of {dtype}; this is a bug in "
            f"geoseg, please report it."
        )
    return np.ascontiguousarray(values, dtype)


def _verify(path: Path, checksums: list[tuple[Window, int]]) -> None:
    """Read every window back: GDAL does not always report a full disk, and missing blocks read as zeros."""
    with rasterio.open(path) as raster:
        for window, checksum in checksums:
            if crc32(raster.read(1, window=RasterioWindow(*window)).data) != checksum:
                raise OutputError(f"{path.name} does not contain what was written to {window}. Is the disk full?")


def _category_names(legend: Legend) -> str:
    """Return the class names as GDAL's auxiliary metadata (PAM); a GeoTIFF itself cannot store them."""
    root = ET.Element("PAMDataset")
    names = ET.SubElement(ET.SubElement(root, "PAMRasterBand", band="1"), "CategoryNames")
    for name in ("nodata", *legend.names):
        ET.SubElement(names, "Category").text = name
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
