"""Everything that a report shows, gathered from the files of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import GeosegError, RasterError, shorten
from geoseg.grid import same_corners
from geoseg.output.display import display_bands
from geoseg.raster.decimated import decimated_shape
from geoseg.raster.scene import Scene
from geoseg.report.class_table import ClassTable, class_table
from geoseg.report.finished_run import FinishedRun
from geoseg.report.pictures import Pictures, draw_pictures, draw_scene
from geoseg.report.polygon_file import PolygonFile, open_polygons
from geoseg.report.quality import Borders, measure_borders
from geoseg.report.region_sums import ClassSums, class_values, sum_regions
from geoseg.run.job import tile_grid
from geoseg.run.plan import open_configured
from geoseg.segment.features import Stretch

_MAX_REGIONS = 50_000  # of which the map shows more than the class; less than 2**16
_BAND = 40  # characters of the description of a band


@dataclass(frozen=True)
class FailedTile:
    """A tile that failed.

    Parameters
    ----------
    number : int
    message : str
    box : tuple of float
        Left, top, right and bottom in the pictures.
    """

    number: int
    message: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Content:
    """Everything that a report shows.

    Parameters
    ----------
    run : FinishedRun
    table : ClassTable
    sums : ClassSums
    columns : tuple of str
        Of the polygons.
    bands : tuple of str
        Names of the bands that have means.
    borders : Borders
    pictures : Pictures
    scene : (y, x, 4) uint8 or None
        Picture of the scene.
    failed : tuple of FailedTile
    notes : tuple of str
        What the reader should know, one sentence each.
    """

    run: FinishedRun
    table: ClassTable
    sums: ClassSums
    columns: tuple[str, ...]
    bands: tuple[str, ...]
    borders: Borders
    pictures: Pictures
    scene: NDArray[np.uint8] | None
    failed: tuple[FailedTile, ...]
    notes: tuple[str, ...]


def gather(run: FinishedRun, *, max_pixels: int) -> Content:
    """Read the files of a run.

    Parameters
    ----------
    run : FinishedRun
    max_pixels : int
        Of each picture, about.

    Raises
    ------
    RasterError
        If the polygons or the class raster cannot be read, or there are too many classes.
    """
    with open_polygons(run.polygons) as opened:
        file = opened if run.names is None else opened.by_name([each.name for each in run.names.names])
        values, numbers = class_values(file), _band_numbers(file)
        if not len(values):
            raise RasterError(f"{run.polygons} has no polygons, so there is nothing to report. Check the run.")
        table = class_table(run, file, values)
        sums, regions = sum_regions(file, table.values, numbers, most=_MAX_REGIONS)
        shape = decimated_shape(run.geobox.shape, max_pixels)
        pictures = draw_pictures(run, file, table, regions, shape)
        borders, columns = measure_borders(run, file, table), file.columns
    scene, note = _open_scene(run)
    picture, names = None, [""] * len(numbers)
    if scene is not None:
        described = dict(zip(scene.bands, scene.names, strict=True))
        names = [described.get(number, "") for number in numbers]
        picture = draw_scene(scene, display_bands(scene, _stretch_of(sums, scene)), pictures.classes > 0)
    bands = tuple(_band_name(number, name) for number, name in zip(numbers, names, strict=True))
    notes = (*run.notes, *([note] if note else []))
    return Content(run, table, sums, columns, bands, borders, pictures, picture, _failed_tiles(run, shape), notes)


def _band_numbers(file: PolygonFile) -> list[int]:
    found = (re.fullmatch(r"mean_([1-9]\d{0,8})", name) for name in file.columns)
    return sorted(int(match[1]) for match in found if match)


def _band_name(number: int, description: str) -> str:
    return f"band {number}: {shorten(description, _BAND)}" if description else f"band {number}"


def _open_scene(run: FinishedRun) -> tuple[Scene | None, str]:
    """Return the scene, and a note if it cannot be shown."""
    if run.scene is None:
        return None, ""
    try:
        scene = open_configured(run.scene, run.config, aoi=None)
    except GeosegError as err:
        return None, f"The scene cannot be read, so it is not shown: {shorten(err)}"
    if scene.geobox.shape != run.geobox.shape or not same_corners(scene.geobox, run.geobox):
        return None, f"The scene {shorten(run.scene, 80)} has another grid than the result, so it is not shown."
    return scene, ""


def _stretch_of(sums: ClassSums, scene: Scene) -> Stretch:
    """Return the range of the means of the classes as a stretch of the scene; a band without means varies."""
    low, high = {}, {}
    for band, means in zip(sums.bands, sums.means.T, strict=True):
        known = means[np.isfinite(means)]
        low[band], high[band] = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    is_flat = all(low[band] == high[band] for band in low)
    return Stretch(
        tuple(low.get(band, 0.0) for band in scene.bands),
        tuple(high.get(band, 1.0) + (1.0 if is_flat else 0.0) for band in scene.bands),
    )


def _failed_tiles(run: FinishedRun, shape: tuple[int, int]) -> tuple[FailedTile, ...]:
    grid = tile_grid(run.geobox.shape, run.config)
    down, across = shape[0] / run.geobox.shape[0], shape[1] / run.geobox.shape[1]
    found = []
    for number, message in sorted((int(key), str(text)) for key, text in run.facts["failed"].items()):
        if 0 <= number < len(grid):
            core = grid.tile(number).core
            box = (core.col_off * across, core.row_off * down, core.col_end * across, core.row_end * down)
            found.append(FailedTile(number, shorten(message, 400), box))
    return tuple(found)
