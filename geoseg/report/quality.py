"""Quality of a result without a reference: seams on tile lines, boundary density, and uncertain regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import rasterio.windows
from affine import Affine
from numpy.typing import NDArray

from geoseg.errors import RasterError, shorten
from geoseg.evaluate.boundaries import BESIDE, boundaries, count_seams, seam_ratio
from geoseg.grid import GeoBox, Window, windows_of
from geoseg.raster.dataset import opened
from geoseg.raster.unreadable import GDAL_ERRORS
from geoseg.report.class_table import ClassTable
from geoseg.report.finished_run import FinishedRun
from geoseg.report.pictures import Pictures, check_grid
from geoseg.report.polygon_file import PolygonFile
from geoseg.report.rasterize import covered_pixels

_WINDOW = (1024, 2048)  # (rows, cols)
_MAX_READ = 2**28  # px of the class raster; of larger ones windows spread over the scene are read
_MAX_DRAWN = 2**23  # px that are drawn from the polygons
_MIN_TILE = 2 * max(BESIDE) + 2  # px; as for `geoseg evaluate`
_LEAST_CONFIDENT = 12  # regions in the list
_MIN_VISIBLE = 6  # px of the picture that a region in the list has at least

Read = Callable[[Window], NDArray[np.integer]]


@dataclass(frozen=True)
class Borders:
    """Borders between classes at full resolution.

    Parameters
    ----------
    seam_ratio : float or None
        Density of borders on tile lines divided by that beside them; None = no tile line was read.
    density : float or None
        Share of the pixels with a class that are on a border; None = no pixel has a class.
    n_pixels : int
        Number of pixels that were read.
    is_sample : bool
        Whether windows spread over the scene were read instead of all pixels.
    from_polygons : bool
        Whether the polygons were drawn because there is no class raster.
    """

    seam_ratio: float | None
    density: float | None
    n_pixels: int
    is_sample: bool
    from_polygons: bool


def measure_borders(run: FinishedRun, file: PolygonFile, table: ClassTable) -> Borders:
    """Measure the borders between the classes of a run."""
    shape, tile_size = run.geobox.shape, run.config.tiles.size
    is_drawn = run.class_raster is None
    cores = _spread(shape, _MAX_DRAWN if is_drawn else _MAX_READ)
    n_edge = n_classified = 0
    seams = None
    with _classes(run, file, table) as read:
        for core in cores:
            outer = core.expanded(1, shape)
            classes, inner = read(outer), core.within(outer)
            n_edge += int(np.count_nonzero((boundaries(classes) & (classes > 0))[inner]))
            n_classified += int(np.count_nonzero(classes[inner]))
            if tile_size >= _MIN_TILE:
                counts = count_seams(classes, outer, core, shape, tile_size)
                seams = counts if seams is None else seams.plus(counts)
    n_read = sum(core.width * core.height for core in cores)
    return Borders(
        None if seams is None or not any(len(each) and each.any() for each in seams.classified) else seam_ratio(seams),
        n_edge / n_classified if n_classified else None,
        n_read,
        is_sample=n_read < shape[0] * shape[1],
        from_polygons=is_drawn,
    )


def least_confident(pictures: Pictures) -> list[dict[str, Any]]:
    """Return the regions with the lowest confidence among those that are visible in the picture, lowest first.

    Returns
    -------
    list of dict
        `row`, in `Pictures.shown` from 1; `box`, left, top, right and bottom in the picture.
    """
    confidence = pictures.shown.get("confidence")
    if confidence is None or not len(confidence):
        return []
    visible = np.bincount(pictures.regions.ravel(), minlength=len(confidence) + 1)[1:]
    order = np.argsort(np.where(np.isfinite(confidence), confidence, np.inf), kind="stable")
    order = order[(visible[order] >= _MIN_VISIBLE) & np.isfinite(confidence[order])][:_LEAST_CONFIDENT]
    found = []
    for position in order.tolist():
        rows, cols = np.nonzero(pictures.regions == position + 1)
        box = [int(cols.min()), int(rows.min()), int(cols.max()) + 1, int(rows.max()) + 1]
        found.append({"row": position + 1, "box": box})
    return found


def _spread(shape: tuple[int, int], max_pixels: int) -> list[Window]:
    """Return windows that cover a scene, or if it is larger than `max_pixels`, evenly spaced ones of them."""
    rows, cols = _WINDOW
    windows = list(windows_of(shape, _WINDOW))
    n_read = max(1, max_pixels // (rows * cols))
    if len(windows) <= n_read:
        return windows
    return [windows[i] for i in np.unique(np.linspace(0, len(windows) - 1, n_read).round().astype(int)).tolist()]


@contextmanager
def _classes(run: FinishedRun, file: PolygonFile, table: ClassTable) -> Iterator[Read]:
    """Yield a function that returns the classes of a window: rows of the table from 1; 0 = nodata."""
    if run.class_raster is None:
        yield partial(_drawn, file, table, run.geobox)
        return
    with opened(str(run.class_raster)) as src:
        check_grid(src, run.class_raster, run.geobox)
        yield partial(_read, src, table)


def _read(src: Any, table: ClassTable, window: Window) -> NDArray[np.integer]:
    try:
        return table.rows_of(src.read(1, window=rasterio.windows.Window(*window)))
    except GDAL_ERRORS as err:
        reason = shorten(err.__cause__ or err)
        raise RasterError(f"{src.name} cannot be read at {window}: {reason}. Is the file complete?") from err


def _drawn(file: PolygonFile, table: ClassTable, geobox: GeoBox, window: Window) -> NDArray[np.integer]:
    cropped = geobox.cropped(window)
    classes = np.zeros(window.width * window.height, np.int64)
    for rows in file.rows(["class", "geometry"], bounds=_bounds(cropped)):
        numbers = table.rows_of(rows["class"])
        for pixels, owners in covered_pixels(rows["geometry"], ~cropped.transform, window.shape):
            classes[pixels] = numbers[owners]
    return classes.reshape(window.shape)


def _bounds(geobox: GeoBox) -> tuple[float, float, float, float]:
    rows, cols = geobox.shape
    transform: Affine = geobox.transform
    x, y = np.asarray(transform @ (np.array([0.0, cols, 0.0, cols]), np.array([0.0, 0.0, rows, rows])))
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())
