"""Pictures of a run at a bounded number of pixels: the scene, the class of each pixel, and its region."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling

from geoseg.errors import RasterError, shorten
from geoseg.grid import GeoBox
from geoseg.output.display import display_colors, display_exponent
from geoseg.raster.dataset import opened
from geoseg.raster.decimated import read_decimated
from geoseg.raster.scene import Scene
from geoseg.raster.unreadable import GDAL_ERRORS
from geoseg.report.class_table import ClassTable
from geoseg.report.finished_run import FinishedRun
from geoseg.report.polygon_file import PolygonFile
from geoseg.report.rasterize import covered_pixels
from geoseg.report.region_sums import Regions
from geoseg.segment.features import Stretch

_JPEG_QUALITY = 82
_PERCENTILES = (2, 98)


@dataclass(frozen=True)
class Pictures:
    """Pictures of a run on one grid of pixels.

    Parameters
    ----------
    classes : (y, x) uint8
        Row of the class in the `ClassTable`, from 1; 0 = nodata.
    regions : (y, x) uint16
        Row of the region in `shown`, from 1; 0 = nodata, or not among them.
    shown : dict of str to (region,) array
        Columns of the regions that the picture shows, in the order in which they appear.
    """

    classes: NDArray[np.uint8]
    regions: NDArray[np.uint16]
    shown: dict[str, NDArray[Any]]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, cols = self.classes.shape
        return rows, cols


def draw_pictures(
    run: FinishedRun, file: PolygonFile, table: ClassTable, regions: Regions, shape: tuple[int, int]
) -> Pictures:
    """Return the pictures of classes and regions.

    Parameters
    ----------
    run : FinishedRun
    file : PolygonFile
    table : ClassTable
    regions : Regions
        Those that may be shown, fewer than 2**16.
    shape : tuple of int
        (rows, cols) of the pictures.

    Raises
    ------
    RasterError
        If the class raster or the polygons are damaged, or the raster has another grid than the scene.
    """
    classes = np.zeros(shape, np.uint8)
    is_drawn = run.class_raster is None
    if run.class_raster is not None:
        classes = read_classes(run.class_raster, run.geobox, table, shape)
    rows = np.zeros(shape[0] * shape[1], np.uint16)
    numbers = regions.columns["region"]
    least = None if is_drawn or regions.smallest is None else ("pixels", regions.smallest)
    to_grid = grid_transform(run.geobox, shape)
    for batch in file.rows(["region", "class", "geometry"], least=least):
        row_of = np.searchsorted(numbers, batch["region"])
        row_of = np.where(np.isin(batch["region"], numbers), row_of + 1, 0)
        class_of = table.rows_of(batch["class"])
        for pixels, owners in covered_pixels(batch["geometry"], to_grid, shape):
            rows[pixels] = row_of[owners]
            if is_drawn:
                classes.reshape(-1)[pixels] = class_of[owners]
    return Pictures(classes, *_renumbered(rows.reshape(shape), regions))


def grid_transform(geobox: GeoBox, shape: tuple[int, int]) -> Affine:
    """Return the transform from the CRS of a scene to (col, row) of a picture of the scene."""
    return Affine.scale(shape[1] / geobox.shape[1], shape[0] / geobox.shape[0]) @ ~geobox.transform


def read_classes(path: Any, geobox: GeoBox, table: ClassTable, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the most frequent class of the pixels of each cell of a picture, as rows of the table from 1; 0 = nodata.

    Raises
    ------
    RasterError
        If the raster is damaged or is not on the grid of the scene.
    """
    with opened(str(path)) as src:
        check_grid(src, path, geobox)
        try:
            found = src.read(1, out_shape=shape, resampling=Resampling.mode)
        except GDAL_ERRORS as err:
            raise RasterError(f"{path} cannot be read: {shorten(err.__cause__ or err)}. Is the file complete?") from err
    return table.rows_of(found).astype(np.uint8)


def check_grid(src: Any, path: Any, geobox: GeoBox) -> None:
    """Check that an open class raster is on the grid of the scene."""
    if src.shape != geobox.shape or src.count != 1 or np.dtype(src.dtypes[0]).kind not in "ui":
        raise RasterError(
            f"{path} has {src.count} bands of {src.dtypes[0]} and {src.shape[0]} x {src.shape[1]} pixels; expected the "
            f"class raster of the run, one band of integers and {geobox.shape[0]} x {geobox.shape[1]} pixels. Give "
            f"another one, or none: the map is then drawn from the polygons."
        )


def draw_scene(scene: Scene, shown: tuple[int, int, int], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the picture of a scene, (y, x, 4) uint8: red, green, blue and opacity.

    Parameters
    ----------
    scene : Scene
    shown : (int, int, int)
        Positions of the bands in red, green and blue.
    valid : (y, x) bool
        Pixels by which the stretch is fitted, as far as they have data.
    """
    pixels, known = read_decimated(scene, shown, (valid.shape[0], valid.shape[1]))
    fitted = known & valid if (known & valid).any() else known
    if not fitted.any():
        return np.zeros((*valid.shape, 4), np.uint8)
    low, high = np.percentile(pixels[:, fitted], _PERCENTILES, axis=1)
    bands = Stretch(tuple(low.tolist()), tuple(high.tolist())).apply(pixels, known)
    colors = np.moveaxis(bands, 0, -1)
    opacity = np.where(known, 255, 0).astype(np.uint8)
    return np.dstack([display_colors(colors, display_exponent(colors[fitted])), opacity])


def to_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture (y, x, 4) as JPEG, grey where it is transparent."""
    colors = np.where(picture[..., 3:] > 0, picture[..., :3], np.uint8(128))
    buffer = io.BytesIO()
    Image.fromarray(colors).save(buffer, format="JPEG", quality=_JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def to_png(classes: NDArray[np.uint8], colors: tuple[str, ...]) -> bytes:
    """Return the classes as a PNG with a palette, 8 bits per pixel, whose rows are not filtered.

    The script of the report reads the numbers of the classes from it. Pillow writes fewer bits for small palettes.
    """
    rows, cols = classes.shape
    lines = np.zeros((rows, cols + 1), np.uint8)  # each begins with its filter: 0 = none
    lines[:, 1:] = classes
    palette = bytes([128, 128, 128]) + b"".join(bytes.fromhex(color[1:]) for color in colors)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", cols, rows, 8, 3, 0, 0, 0),
        b"PLTE": palette,
        b"tRNS": b"\0",  # nodata
        b"IDAT": zlib.compress(lines.tobytes()),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


def to_zlib(numbers: NDArray[Any]) -> bytes:
    """Return the bytes of an array in little-endian order, compressed."""
    return zlib.compress(np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<")).tobytes())


def _renumbered(rows: NDArray[np.uint16], regions: Regions) -> tuple[NDArray[np.uint16], dict[str, NDArray[Any]]]:
    """Return the picture with regions numbered in the order of their first pixels, which compresses best."""
    present, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    order = order[present[order] > 0]
    number = np.zeros(len(present), np.uint16)
    number[order] = np.arange(1, len(order) + 1)
    chosen = present[order].astype(np.int64) - 1
    columns = {name: column[chosen] for name, column in regions.columns.items()}
    return number[inverse].reshape(rows.shape), columns
