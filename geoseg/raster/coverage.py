"""Which bands have data where: what a sample of windows shows, and what the user should know about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.raster.alpha import spread_windows
from geoseg.raster.collar import collar_notes, fill_names
from geoseg.raster.damage import DamageError
from geoseg.raster.nodata import percent
from geoseg.raster.scene import Scene, read_bands

_N_WINDOWS = 8  # per direction
_WINDOW = 64  # px; their width and height
_MAX_VALUES = 4_000_000  # of all bands together, that are kept in memory
_DEAD = 0.4  # share of the pixels in which a band has one value while others vary, from which the band is named
FLAT = 0.75  # share of equal neighbours from which a raster is no image; in photographs it is below 0.3
_MAX_FLAT_VALUES = 256
_MOST_NAMED = 8  # bands in one note


@dataclass(frozen=True)
class Coverage:
    """Shares of the pixels of a sample of windows; except for `saturated`, of those with data in a band.

    Parameters
    ----------
    saturated : float
        Nodata because all bands have the nodata value and this is the largest value of their data type.
    partial : float
        Nodata in some bands only.
    without_data : (band,) float64
        Nodata in this band, but not in all.
    constant : (band,) float64
        With the most frequent value of this band, while another band has another value than its most frequent one.
    is_constant : (band,) bool
        Whether all values of the band are the same, or it has none.
    is_flat : bool
        Whether the pixels have few different values and mostly the same as their neighbours: a mask or a thematic
        raster, not an image.
    """

    saturated: float
    partial: float
    without_data: NDArray[np.float64]
    constant: NDArray[np.float64]
    is_constant: NDArray[np.bool_]
    is_flat: bool


def extent_of(scene: Scene) -> Window:
    """Return the window that holds the area of interest, or the whole scene."""
    whole = scene.geobox.window
    if scene.aoi is None:
        return whole
    to_pixels = ~scene.geobox.transform
    coords = shapely.get_coordinates(shapely.from_wkb(scene.aoi))
    cols, rows = np.array([to_pixels @ tuple(xy) for xy in coords]).T
    left, top = int(np.floor(cols.min())), int(np.floor(rows.min()))
    extent = Window(left, top, int(np.ceil(cols.max())) - left, int(np.ceil(rows.max())) - top)
    return extent.intersection(whole) or whole


def measure_coverage(scene: Scene) -> Coverage | None:
    """Return the coverage of a scene in windows that are spread over it; None where they are not valid.

    Raises
    ------
    RasterError
        If more than half of the windows cannot be read.
    """
    sample = list(_sample(scene, []))
    if not any(part.known.shape[1] for part in sample):
        return None
    values = np.concatenate([part.values for part in sample], axis=1)
    known = np.concatenate([part.known for part in sample], axis=1)
    return Coverage(
        float(np.mean([part.saturated for part in sample])),
        float((~known.all(axis=0)).mean()),
        (~known).mean(axis=1),
        *_constant(values, known),
        _is_flat(values, sum(part.n_equal for part in sample), sum(part.n_neighbours for part in sample)),
    )


def coverage_notes(scene: Scene, found: Coverage | None) -> list[str]:
    """Return what the user should know of the bands of a scene, in whole sentences without a full stop.

    Parameters
    ----------
    scene : Scene
    found : Coverage or None
        As `measure_coverage` returns it.
    """
    notes = [*scene.notes, *(collar_notes(scene.collar, scene.path) if scene.collar is not None else ())]
    if found is None:
        return notes
    return [
        *notes,
        *_partial_notes(scene, found),
        *_constant_notes(scene, found),
        *_saturation_notes(scene, found),
    ]


def no_valid_pixels(scene: Scene, errors: list[RasterError]) -> str:
    """Return the error message for a scene without a valid pixel, which names the bands that are empty.

    Parameters
    ----------
    scene : Scene
    errors : list of RasterError
        Of windows that could not be read.

    Raises
    ------
    RasterError
        If more than half of a sample of windows cannot be read.
    """
    found = measure_coverage(scene)
    if errors:
        return (
            f"{scene.path} has no valid pixels where it can be read, and parts of it cannot be read; the first error: "
            f"{errors[0]}. Copy or download the file again."
        )
    empty = [] if found is None else [str(b) for b, n in zip(scene.bands, found.without_data, strict=True) if n == 1]
    if empty and len(empty) < len(scene.bands):
        return (
            f"{scene.path} has no pixel with data in all of the bands {list(scene.bands)}: {_bands(empty)} only "
            "nodata. Leave out what is empty with --bands."
        )
    if scene.collar is not None and scene.collar.fills:
        return (
            f"{scene.path} has no valid pixels outside of its undeclared collar ({fill_names(scene.collar)}), so there "
            "is nothing to segment. Keep the collar with --collar keep, or check the area of interest."
        )
    return (
        f"{scene.path} has no valid pixels in the bands {list(scene.bands)}, so there is nothing to segment. "
        f"Check its nodata value and the area of interest{_beyond_float32(scene)}."
    )


def _beyond_float32(scene: Scene) -> str:
    """Return what a message adds for types with numbers that float32 lacks."""
    return "; values beyond 3.4e38 count as nodata" if "float64" in scene.dtypes else ""


def error_at_centre(read: Callable[[Window], object], window: Window) -> list[RasterError]:
    """Return the error of reading one pixel of a damaged window, which may fail because of one of many blocks.

    Parameters
    ----------
    read : callable
        Reads a window.
    window : Window
    """
    try:
        read(Window(window.col_off + window.width // 2, window.row_off + window.height // 2, 1, 1))
    except DamageError as err:
        return [err]
    return []


def check_readable(path: str, n_windows: int, errors: list[RasterError]) -> None:
    """Check that at least half of the windows of a sample could be read.

    Parameters
    ----------
    path : str
    n_windows : int
    errors : list of RasterError
        Of those whose centre cannot be read.

    Raises
    ------
    RasterError
        If more than half of the windows failed.
    """
    if 2 * len(errors) > n_windows:
        raise RasterError(
            f"{path} cannot be read: {len(errors)} of {n_windows} windows of a sample are damaged; the first error: "
            f"{str(errors[0])[:300]}. Copy or download the file again."
        )


def equal_neighbours(pixels: NDArray[np.float32], shown: NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many pairs of adjacent pixels have equal values in all bands, and how many pairs there are.

    Parameters
    ----------
    pixels : (band, y, x) float32
    shown : (y, x) bool
        False = the pixel is in no pair.
    """
    equal = [(pixels[:, 1:] == pixels[:, :-1]).all(axis=0), (pixels[:, :, 1:] == pixels[:, :, :-1]).all(axis=0)]
    pairs = [shown[1:] & shown[:-1], shown[:, 1:] & shown[:, :-1]]
    return sum(int((a & b).sum()) for a, b in zip(equal, pairs, strict=True)), sum(int(b.sum()) for b in pairs)


class _Part(NamedTuple):
    """Sample of one window: (band, pixel) values of the pixels with data, where each band has data, and counts."""

    values: NDArray[np.float32]
    known: NDArray[np.bool_]
    saturated: float
    n_equal: int
    n_neighbours: int


def _sample(scene: Scene, errors: list[RasterError]) -> Iterator[_Part]:
    """Yield the sample of each window that can be read; `errors` gets the errors of the others."""
    windows = list(spread_windows(extent_of(scene), _N_WINDOWS, _WINDOW))
    at_centres: list[RasterError] = []
    largest = _largest_nodata(scene)
    most = max(_MAX_VALUES // (len(scene.bands) * len(windows)), 1)  # pixels of a window
    for window in windows:
        try:
            pixels, known = read_bands(scene, window)
        except RasterError as err:
            errors.append(err)
            at_centres += error_at_centre(lambda centre: read_bands(scene, centre), window)
            continue
        known = known & np.isfinite(pixels)
        shown = np.asarray(known.any(axis=0))
        step = max(1, -(-int(shown.sum()) // most))
        saturated = (pixels == largest[:, None, None]).all(axis=0)
        yield _Part(
            pixels[:, shown][:, ::step],
            known[:, shown][:, ::step],
            float((saturated & ~shown).mean()),
            *equal_neighbours(pixels, shown),
        )
    check_readable(scene.path, len(windows), at_centres)


def _is_flat(values: NDArray[np.float32], n_equal: int, n_neighbours: int) -> bool:
    if n_equal < FLAT * n_neighbours:
        return False
    return len(np.unique(values, axis=1).T) <= _MAX_FLAT_VALUES


def _largest_nodata(scene: Scene) -> NDArray[np.float32]:
    """Return the nodata value of each band where it is the largest value of an unsigned data type, else NaN."""
    kinds = [np.dtype(name) for name in scene.dtypes]
    return np.array(
        [
            value if value is not None and kind.kind == "u" and value == np.iinfo(kind).max else np.nan
            for kind, value in zip(kinds, scene.nodata or (None,) * len(kinds), strict=True)
        ],
        np.float32,
    )


def _constant(values: NDArray[np.float32], known: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the fields `constant` and `is_constant` of the coverage."""
    usual = np.zeros(values.shape, bool)
    is_constant = np.zeros(len(values), bool)
    for band, (row, has_data) in enumerate(zip(values, known, strict=True)):
        found, counts = np.unique(row[has_data], return_counts=True)
        is_constant[band] = len(found) < 2
        if len(found):
            usual[band] = has_data & (row == found[counts.argmax()])
    others_vary = usual.sum(axis=0)[None] - usual < known.sum(axis=0)[None] - known
    return (usual & others_vary).mean(axis=1), is_constant


def _partial_notes(scene: Scene, found: Coverage) -> Iterator[str]:
    if not found.partial:
        return
    by_band = [
        f"band {band} {percent(share)}" for band, share in zip(scene.bands, found.without_data, strict=True) if share
    ]
    shown = ", ".join(by_band[:_MOST_NAMED]) + (
        f" and {len(by_band) - _MOST_NAMED} more bands" if len(by_band) > _MOST_NAMED else ""
    )
    yield (
        f"{percent(found.partial)} of the pixels of {scene.path} are nodata in some bands only ({shown}); "
        + (
            "they are nodata (--nodata-mode any); --nodata-mode all keeps them, except where a value is not finite"
            if scene.nodata_mode == "any"
            else "they are kept with the values as stored, except where one is not finite; --nodata-mode any makes "
            "them nodata"
        )
    )


def _constant_notes(scene: Scene, found: Coverage) -> Iterator[str]:
    """Yield notes on bands that are empty, and on bands that have one value in a large part of the scene."""
    empty = [band for band, alone in zip(scene.bands, found.is_constant, strict=True) if alone]
    shares = np.maximum(found.constant, found.without_data)
    dead = [
        f"{band} ({percent(share)})"
        for band, share in zip(scene.bands, shares, strict=True)
        if share >= _DEAD and band not in empty
    ]
    if empty:
        yield f"{scene.path}: {_bands(list(map(str, empty)))} nodata or a single value everywhere"
    if dead:
        yield f"{scene.path}: {_bands(dead)} nodata or a single value in a large part of the scene"


def _saturation_notes(scene: Scene, found: Coverage) -> Iterator[str]:
    if found.saturated:
        yield (
            f"{percent(found.saturated)} of the pixels of {scene.path} are nodata because they have "
            f"{scene.nodata[0]:g}, the largest value of {scene.dtypes[0]}, in all bands; saturated pixels such as "
            f"white roofs are lost with them. If so, remove the nodata value: gdal_edit.py -unsetnodata {scene.path}"
        )


def _bands(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    start, end = ("band ", " has") if len(names) == 1 else ("bands ", " have")
    return start + ", ".join(names[:_MOST_NAMED]) + more + end
