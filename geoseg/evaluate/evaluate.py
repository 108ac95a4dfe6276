"""Evaluate a class raster against a reference: accuracy, agreement, boundaries and seams.

Both are read window by window, so they may be larger than memory. The counts of the windows are added up, so no score
depends on the windows.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from pyproj.exceptions import CRSError

from geoseg.config_parser import shown
from geoseg.errors import ConfigError, RasterError
from geoseg.evaluate.boundaries import BESIDE, BoundaryCounts, SeamCounts, count_boundaries, count_seams, seam_ratio
from geoseg.evaluate.class_raster import Labels, check_path, open_labels
from geoseg.evaluate.evaluation import BoundaryScores, Evaluation
from geoseg.evaluate.reference import open_reference
from geoseg.evaluate.scores import Agreement, Contingency, agreement, count_pairs
from geoseg.grid import GeoBox, Window, windows_of
from geoseg.raster.pixel_size import pixel_size

__all__ = ["BoundaryScores", "Evaluation", "evaluate_classes"]

_TOLERANCE = 3  # px, the default
_MAX_TOLERANCE = 256  # px; a larger one would make the margin of the windows large
_MIN_TILE_SIZE = 2 * max(BESIDE) + 2  # px; else the positions beside one line overlap the next
_MAX_TILE_SIZE = 2**31 - 1  # px, of the sides of a raster
_WINDOW = (1024, 4096)  # (rows, cols)


def evaluate_classes(
    classes: str | Path,
    reference: str | Path,
    *,
    field: str | None = None,
    layer: str | None = None,
    tolerance: float | None = None,
    tile_size: int = 512,
) -> Evaluation:
    """Evaluate a class raster against a reference.

    Parameters
    ----------
    classes : str or Path
        Raster of integers; 0 and negative numbers are nodata.
    reference : str or Path
        Raster of labels, 0 = no label, warped to the grid of the classes if it has another one; or polygons.
    field : str or None
        Field of the polygons with a number or a word for each; None = the labels are "inside" and "outside".
    layer : str or None
        Layer of the polygons; None = the only one.
    tolerance : float or None
        Largest distance in metres between a boundary and that of the reference; None = 3 pixels.
    tile_size : int
        Pixels between the lines on which seams are measured; at least 20.

    Returns
    -------
    Evaluation
        `print` shows it as a table; `Evaluation.to_dict` returns all scores.

    Raises
    ------
    RasterError
        If one of the files cannot be read, they do not overlap, or no pixel has both a class and a label.
    ConfigError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(64, 96)), truth=folder / "land_cover.tif")
    >>> scores = evaluate_classes(folder / "land_cover.tif", folder / "land_cover.tif")
    >>> scores.agreement.oa, scores.boundaries.tolerance
    (1.0, 1.5)
    """
    _check_arguments({"classes": classes, "reference": reference}, {"field": field, "layer": layer}, tile_size)
    with open_labels(classes) as found:
        metres, steps = _tolerance(found.geobox, tolerance)
        with open_reference(reference, found.geobox, field=field, layer=layer) as labels:
            pairs, counts, seams = _count(found, labels, steps, tile_size)
            _check_compared(pairs, str(classes), str(reference))
            scores = agreement(pairs, labels.names)
            return Evaluation(
                classes=str(classes),
                reference=str(reference),
                agreement=scores,
                boundaries=BoundaryScores(
                    recall=_share(counts.reference_matched, counts.reference),
                    precision=_share(counts.boundary_matched, counts.boundary_labelled),
                    density=counts.boundary / counts.pixels,
                    tolerance=metres,
                    tolerance_pixels=steps,
                    seam_ratio=seam_ratio(seams),
                    tile_size=tile_size,
                ),
                notes=(*labels.notes, *_warnings(scores)),
            )


def _check_arguments(paths: dict[str, object], names: dict[str, object], tile_size: object) -> None:
    for name, value in paths.items():
        check_path(name, value)
    for name, value in names.items():
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{name} is {value!r}; expected the name of a {name}. Give a str or None.")
    if isinstance(tile_size, int) and tile_size > _MAX_TILE_SIZE:
        raise ConfigError(f"the tile size is {shown(tile_size)} px; expected at most {_MAX_TILE_SIZE} px.")
    if not isinstance(tile_size, int) or tile_size < _MIN_TILE_SIZE:
        raise ConfigError(
            f"the tile size is {shown(tile_size)} px, which is too small: seams are compared with positions up to "
            f"{max(BESIDE)} px beside them. Give at least {_MIN_TILE_SIZE}."
        )


def _tolerance(geobox: GeoBox, metres: float | None) -> tuple[float | None, int]:
    """Return the tolerance in metres (None without a CRS) and in pixels."""
    side = _pixel_side(geobox)
    if metres is None:
        return (None if side is None else _TOLERANCE * side), _TOLERANCE
    if not (isinstance(metres, int | float) and math.isfinite(metres) and metres >= 0):
        raise ConfigError(f"the tolerance is {metres} m; expected a finite number of metres. Give 0 or more.")
    if side is None:
        raise ConfigError("the class raster has no CRS, so a tolerance in metres has no meaning. Omit it to use 3 px.")
    steps = math.floor(min(metres / side + 1e-6, 1e15))  # 1.5 m are 3 px of 0.5 m, despite rounding of the quotient
    if steps > _MAX_TOLERANCE:
        raise ConfigError(
            f"the tolerance ({metres:g} m) is {steps} px of {side:.4g} m; expected at most {_MAX_TOLERANCE} px. Give "
            f"at most {_MAX_TOLERANCE * side:.4g} m."
        )
    return metres, steps


def _pixel_side(geobox: GeoBox) -> float | None:
    """Return the square root of the area (m²) of the central pixel; None if the CRS does not determine it."""
    if not geobox.crs:
        return None
    rows, cols = geobox.shape
    try:
        area = pixel_size(geobox.cropped(Window(cols // 2, rows // 2, 1, 1))).area.ravel()[0]
    except CRSError:
        return None
    return math.sqrt(area) or None


def _count(
    found: Labels, reference: Labels, tolerance: int, tile_size: int
) -> tuple[Contingency, BoundaryCounts, SeamCounts]:
    """Return the sums of the counts of all windows."""
    shape = found.geobox.shape
    pairs, counts, seams = None, np.zeros(len(BoundaryCounts._fields), np.int64), None
    for core in windows_of(shape, _WINDOW):
        read = core.expanded(tolerance + 1, shape)  # one more, because a boundary pixel is known by its neighbours
        inner = core.within(read)
        classes, labels = found.read(read), reference.read(read)
        of_window = count_pairs(classes[inner], labels[inner])
        pairs = of_window if pairs is None else pairs.plus(of_window)
        counts += count_boundaries(classes, labels, inner, tolerance)
        beside = count_seams(classes, read, core, shape, tile_size)
        seams = beside if seams is None else seams.plus(beside)
    if pairs is None or seams is None:
        raise RasterError("the class raster has no pixels; expected at least one. Give another raster.")
    return pairs, BoundaryCounts(*counts.tolist()), seams


def _check_compared(pairs: Contingency, classes: str, reference: str) -> None:
    class_numbers, label_numbers = pairs.pairs.T
    if not (class_numbers > 0).any():
        raise RasterError(f"{classes} has no class, only 0 or nodata. Give a class raster with numbers from 1.")
    if not (label_numbers > 0).any():
        raise RasterError(
            f"{reference} has no label on the grid of the classes, only 0 or nodata. Give a reference of the same area."
        )
    if not ((class_numbers > 0) & (label_numbers > 0)).any():
        raise RasterError(
            f"{reference} has labels only where {classes} is nodata, so no pixel can be compared. Give a reference of "
            "the same area."
        )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _warnings(scores: Agreement) -> tuple[str, ...]:
    if len(scores.per_label) > 1:
        return ()
    return ("the reference has a single label, so accuracy and agreement are not informative.",)
