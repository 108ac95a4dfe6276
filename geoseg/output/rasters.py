"""Classes and regions as Cloud-Optimized GeoTIFFs, on the grid of the scene."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from zlib import crc32

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import OutputError
from geoseg.grid import GeoBox, Window
from geoseg.output.files import Source, check_output, staged, writing
from geoseg.output.style import Legend, raster_qml

RASTER_SUFFIXES = (".tif", ".tiff")

Tiles = Iterable[tuple[Window, NDArray[np.integer]]]


def write_class_raster(path: Path, geobox: GeoBox, tiles: Tiles, legend: Legend, *, overwrite: bool = False) -> None:
    """Write the class of each pixel, with a palette; overviews show the most frequent class.

    Parameters
    ----------
    path : .tif; the QGIS style (.qml) and the names of the classes (.tif.aux.xml) come beside it
    geobox : of the scene
    tiles : windows that do not overlap, each with its (y, x) classes; 0 = no data, as where no window comes.
        Their own exceptions pass through
    legend : of the classes; more than 255 make the raster uint16 instead of uint8

    Raises
    ------
    ConfigError, OutputError
        As `check_output`; and where writing fails or what was written does not read back. Nothing is left behind then.
    """
    dtype = "uint8" if len(legend.names) <= 255 else "uint16"
    names = (f"{path.stem}.qml", f"{path.name}.aux.xml")
    check_output(path, overwrite=overwrite, suffixes=RASTER_SUFFIXES)
    source = Source(tiles)
    with staged(path, sidecars=names) as folder, writing(path, source):
        _write_cog(folder / path.name, geobox, source, dtype=dtype, overviews="mode", legend=legend)
        (folder / names[0]).write_text(raster_qml(legend), encoding="utf-8")
        (folder / names[1]).write_text(_category_names(legend), encoding="utf-8")


def write_region_raster(path: Path, geobox: GeoBox, tiles: Tiles, *, overwrite: bool = False) -> None:
    """Write the region number of each pixel as uint32; parameters and errors as in `write_class_raster`."""
    check_output(path, overwrite=overwrite, suffixes=RASTER_SUFFIXES)
    source = Source(tiles)
    with staged(path) as folder, writing(path, source):
        _write_cog(folder / path.name, geobox, source, dtype="uint32", overviews="nearest", legend=None)


def _write_cog(path: Path, geobox: GeoBox, tiles: Tiles, *, dtype: str, overviews: str, legend: Legend | None) -> None:
    """Write a plain GeoTIFF window by window, and from it the COG, which cannot be written in pieces."""
    plain = path.with_name("plain.tif")
    checksums = _write_plain(plain, geobox, tiles, dtype=dtype, legend=legend)
    rasterio.shutil.copy(
        plain,
        path,
        driver="COG",
        compress="DEFLATE",  # every reader knows it
        predictor="NO",  # differences of numbers that only name something compress worse
        overview_resampling=overviews,
        bigtiff="IF_SAFER",
        num_threads="ALL_CPUS",
    )
    plain.unlink()
    _verify(path, checksums)


def _write_plain(
    path: Path, geobox: GeoBox, tiles: Tiles, *, dtype: str, legend: Legend | None
) -> list[tuple[Window, int]]:
    """Write the windows as they come; return a checksum of each."""
    checksums = []
    with rasterio.open(path, "w", **_profile(geobox, dtype)) as raster:
        if legend is not None:
            colors = enumerate(legend.colors.tolist(), start=1)
            raster.write_colormap(1, {0: (0, 0, 0, 0)} | {i: (*color, 255) for i, color in colors})
        for window, values in tiles:
            exact = _as_type(values, dtype)
            raster.write(exact, 1, window=RasterioWindow(*window))
            checksums.append((window, crc32(exact.data)))
    return checksums


def _profile(geobox: GeoBox, dtype: str) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "height": geobox.shape[0],
        "width": geobox.shape[1],
        "count": 1,
        "dtype": dtype,
        "nodata": 0,
        "crs": geobox.crs,
        "transform": geobox.transform,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "zstd",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
    }


def _as_type(values: NDArray[np.integer], dtype: str) -> NDArray[np.integer]:
    """Convert without wrapping: a number that does not fit would become another class or region."""
    if values.size and (values.min() < 0 or values.max() > np.iinfo(dtype).max):
        raise OutputError(f"Numbers from {values.min()} to {values.max()} do not fit a raster of {dtype}.")
    return np.ascontiguousarray(values, dtype)


def _verify(path: Path, checksums: list[tuple[Window, int]]) -> None:
    """Read every window back: a full disk is not always reported, and what is missing reads as zeros."""
    with rasterio.open(path) as raster:
        for window, checksum in checksums:
            if crc32(raster.read(1, window=RasterioWindow(*window)).data) != checksum:
                raise OutputError(f"{path.name} does not hold what was written to it at {window}. Is the disk full?")


def _category_names(legend: Legend) -> str:
    """Write the names of the classes where GDAL looks for them; a GeoTIFF itself has no place for them."""
    root = ET.Element("PAMDataset")
    names = ET.SubElement(ET.SubElement(root, "PAMRasterBand", band="1"), "CategoryNames")
    for name in ("no data", *legend.names):
        ET.SubElement(names, "Category").text = name
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
