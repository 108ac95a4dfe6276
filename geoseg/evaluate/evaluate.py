"""Score a class raster against a reference: accuracy, agreement beyond chance, borders and seams.

Both are read window by window, so they may be far larger than memory; counts add up, and no figure depends on how the
scene was cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyproj.exceptions import CRSError

from geoseg.errors import ConfigError, RasterError
from geoseg.evaluate.boundaries import BESIDE, BorderCounts, SeamCounts, count_borders, count_seams, seam_ratio
from geoseg.evaluate.class_raster import Labels, open_labels
from geoseg.evaluate.reference import open_reference
from geoseg.evaluate.scores import Agreement, Contingency, agreement, count_pairs
from geoseg.grid import GeoBox, Window
from geoseg.raster.pixel_size import pixel_size

__all__ = ["Borders", "Evaluation", "evaluate"]

_REACH = 3  # px; how far a border may lie from the true one where nobody says
_WIDEST_REACH = 256  # px; a wider margin would make the windows large
_WINDOW = (1024, 4096)  # (rows, cols)


@dataclass(frozen=True)
class Borders:
    """How well the borders lie.

    Parameters
    ----------
    recall : share of the labelled pixels on a border of the reference with a class border within the tolerance
    precision : share of the labelled pixels on a class border with a border of the reference within the tolerance
    density : share of all pixels that lie on a class border
    tolerance : m; None where the rasters have no CRS
    tolerance_pixels : the same in whole steps from pixel to pixel, right, left, up and down
    seam_ratio : border density on the lines of a tiling over that 5 to 9 px beside them; 1 = not to be seen, None = the
        raster is too small for a line
    tile : pixels between the lines of that tiling
    """

    recall: float | None
    precision: float | None
    density: float
    tolerance: float | None
    tolerance_pixels: int
    seam_ratio: float | None
    tile: int


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation has found.

    Parameters
    ----------
    classes, reference : the two files
    agreement, borders : the figures
    notes : what one must know about the reference, a sentence each
    """

    classes: str
    reference: str
    agreement: Agreement
    borders: Borders
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as it goes into JSON; None where a figure cannot be told."""
        found = asdict(self.agreement)
        tables = {name: list(found.pop(name)) for name in ("per_label", "per_class")}
        for row in tables["per_class"]:
            row["class"] = row.pop("number")
        borders = asdict(self.borders)
        return {
            "classes": self.classes,
            "reference": self.reference,
            "notes": list(self.notes),
            **found,
            **{f"boundary_{name}": borders.pop(name) for name in ("recall", "precision", "density")},
            **borders,
            **tables,
        }


def evaluate(
    classes: str | Path,
    reference: str | Path,
    *,
    field: str | None = None,
    layer: str | None = None,
    tolerance: float | None = None,
    tile: int = 512,
) -> Evaluation:
    """Score a class raster against a reference.

    Parameters
    ----------
    classes : raster of whole numbers; 0 = no data
    reference : raster of labels, 0 = no label, warped where its grid is another; or polygons
    field, layer : of the polygons; without a field, inside and outside are the labels
    tolerance : m between a border and the true one; None = 3 pixels
    tile : pixels between the lines on which seams are looked for

    Raises
    ------
    RasterError : one of them cannot be read, they do not lie over each other, or nothing can be compared
    ConfigError : a tolerance or a tile that has no meaning
    """
    _check_tile(tile)
    with open_labels(classes) as found:
        metres, reach = _reach(found.geobox, tolerance)
        with open_reference(reference, found.geobox, field=field, layer=layer) as truth:
            pairs, borders, seams = _count(found, truth, reach, tile)
            _check_compared(pairs, str(classes), str(reference))
            figures = agreement(pairs, truth.names)
            return Evaluation(
                classes=str(classes),
                reference=str(reference),
                agreement=figures,
                borders=Borders(
                    recall=_share(borders.true_edge_found, borders.true_edge),
                    precision=_share(borders.edge_confirmed, borders.edge_labelled),
                    density=borders.edge / borders.pixels,
                    tolerance=metres,
                    tolerance_pixels=reach,
                    seam_ratio=seam_ratio(seams),
                    tile=tile,
                ),
                notes=(*truth.notes, *_warnings(figures)),
            )


def _check_tile(tile: int) -> None:
    least = 2 * max(BESIDE) + 2
    if tile < least:
        raise ConfigError(
            f"tile ({tile} px) is too small: seams are compared with what lies up to {max(BESIDE)} px beside them. "
            f"Take at least {least}."
        )


def _reach(geobox: GeoBox, tolerance: float | None) -> tuple[float | None, int]:
    """Return the tolerance in metres and in steps from pixel to pixel."""
    side = _pixel_side(geobox)
    if tolerance is None:
        return (None if side is None else _REACH * side), _REACH
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError(f"tolerance is {tolerance} m; give metres from 0.")
    if side is None:
        raise ConfigError(
            "the class raster has no CRS, so a tolerance in metres has no meaning. Leave it out for 3 px."
        )
    steps = math.floor(tolerance / side + 1e-6)  # 1.5 m are 3 px of 0.5 m, however the division is rounded
    if steps > _WIDEST_REACH:
        raise ConfigError(
            f"tolerance ({tolerance:g} m) is {steps} px of {side:.4g} m, and a border that far away says nothing; give "
            f"at most {_WIDEST_REACH * side:.4g} m."
        )
    return tolerance, steps


def _pixel_side(geobox: GeoBox) -> float | None:
    """Return the side in metres of a square as large as the pixel in the middle; None where that cannot be told."""
    if not geobox.crs:
        return None
    rows, cols = geobox.shape
    try:
        area = pixel_size(geobox.cropped(Window(cols // 2, rows // 2, 1, 1))).area.ravel()[0]
    except CRSError:
        return None
    return math.sqrt(area) or None


def _count(found: Labels, truth: Labels, reach: int, tile: int) -> tuple[Contingency, BorderCounts, SeamCounts]:
    """Add up what the windows have."""
    shape = found.geobox.shape
    pairs, borders, seams = None, np.zeros(len(BorderCounts._fields), np.int64), None
    for core in _windows(shape):
        read = core.expanded(reach + 1, shape)  # one more, because a pixel on a border is known by its neighbours
        inner = core.within(read)
        classes, labels = found.read(read), truth.read(read)
        of_window = count_pairs(classes[inner], labels[inner])
        pairs = of_window if pairs is None else pairs.plus(of_window)
        borders += count_borders(classes, labels, inner, reach)
        beside = count_seams(classes, read, core, shape, tile)
        seams = beside if seams is None else seams.plus(beside)
    if pairs is None or seams is None:
        raise RasterError("the class raster has no pixels. Give one that has.")
    return pairs, BorderCounts(*borders.tolist()), seams


def _windows(shape: tuple[int, int]) -> Iterator[Window]:
    for row in range(0, shape[0], _WINDOW[0]):
        for col in range(0, shape[1], _WINDOW[1]):
            yield Window(col, row, min(_WINDOW[1], shape[1] - col), min(_WINDOW[0], shape[0] - row))


def _check_compared(pairs: Contingency, classes: str, reference: str) -> None:
    numbers_class, numbers_label = pairs.pairs.T
    if not (numbers_class > 0).any():
        raise RasterError(f"{classes} has no class anywhere, only 0 or no data. Give a class raster with classes.")
    if not (numbers_label > 0).any():
        raise RasterError(
            f"{reference} has no label on the grid of the classes, only 0 or no data. Give a reference of the same "
            "place."
        )
    if not ((numbers_class > 0) & (numbers_label > 0)).any():
        raise RasterError(
            f"{reference} has labels only where {classes} has no data, so nothing can be compared. Give a reference of "
            "the same place."
        )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _warnings(figures: Agreement) -> tuple[str, ...]:
    if len(figures.per_label) > 1:
        return ()
    return ("the reference has a single label, so accuracy and agreement say nothing.",)
