"""Score the regions of label rasters without a reference, by the scene that they were made from.

Labels and scene are read window by window. What is held grows with the number of regions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.config_parser import shown
from geoseg.errors import ConfigError, RasterError
from geoseg.evaluate.candidates import Candidate, compare
from geoseg.evaluate.class_raster import Labels, check_path, open_labels
from geoseg.evaluate.region_scores import RegionScores, region_scores
from geoseg.evaluate.region_sums import RegionSums
from geoseg.grid import same_corners, same_crs, windows_of
from geoseg.raster.scene import Scene, open_scene, read

_WINDOW = (512, 2048)  # (rows, cols)
_SAME_PIXELS = 0.99  # of the most pixels in regions; normalised scores of rasters with fewer are not comparable


@dataclass(frozen=True, repr=False)
class RegionEvaluation:
    """Scores of label rasters without a reference; `print` shows them as a table.

    Parameters
    ----------
    scene : str
    labels : tuple of str
        The label rasters.
    scores : tuple of RegionScores
        Of each raster.
    candidates : tuple of (Candidate or None)
        Normalised scores of each raster among all; None = it is the only one, or a score of it is not defined.
    weight : float
        The weight a of F.
    notes : tuple of str
        Remarks, one sentence each.

    Examples
    --------
    >>> scores = RegionScores(2, 4, 1, variances=(0.5,), totals=(4.5,), morans=(-1.0,))
    >>> RegionEvaluation("scene.tif", ("labels.tif",), (scores,), (None,), weight=1.0, notes=())
    <RegionEvaluation of labels.tif by scene.tif>
    """

    scene: str
    labels: tuple[str, ...]
    scores: tuple[RegionScores, ...]
    candidates: tuple[Candidate | None, ...]
    weight: float
    notes: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are compared."""
        return (*self.labels, self.scene)

    def to_dict(self) -> dict[str, Any]:
        """Return all scores as plain values for JSON; a score that is not defined is None."""
        rasters = []
        for name, scores, found in zip(self.labels, self.scores, self.candidates, strict=True):
            normalised = None if found is None else vars(found)
            rasters.append({"labels": name, **scores.to_dict(), "normalised": normalised})
        return {"scene": self.scene, "weight": self.weight, "notes": list(self.notes), "rasters": rasters}

    def __repr__(self) -> str:
        return f"<RegionEvaluation of {', '.join(self.labels)} by {self.scene}>"

    def __str__(self) -> str:
        head: tuple[str, ...] = ("labels", "regions", "mean px", "variance", "share", "Moran's I", "Espindola", "F")
        rows = [head]
        for name, scores, found in zip(self.labels, self.scores, self.candidates, strict=True):
            sizes = (str(scores.regions), f"{scores.mean_pixels:.1f}", f"{scores.variance:.5g}")
            normalised = (None, None) if found is None else (found.espindola, found.f)
            rows.append((name, *sizes, *map(_figure, (scores.share, scores.moran, *normalised))))
        lines = [f"Regions by the pixels of {self.scene}, without a reference", "", *_aligned(rows)]
        if len(self.labels) == 1:
            lines += ["", *_aligned([("band", "variance", "of all", "Moran's I"), *_band_rows(self.scores[0])])]
        return "\n".join((*lines, *(f"\nNote: {note}" for note in self.notes)))


def evaluate_regions(
    labels: str | Path | Sequence[str | Path],
    scene: str | Path,
    *,
    connected: bool = True,
    bands: Sequence[int] = (),
    weight: float = 1.0,
) -> RegionEvaluation:
    """Score the regions of label rasters without a reference.

    Parameters
    ----------
    labels : str, Path or sequence of them
        Rasters of integers on the grid of the scene: classes or segments; 0 and negative numbers are nodata.
    scene : str or Path
        The raster that regions should divide into homogeneous parts which differ from their neighbours.
    connected : bool
        True = regions are 4-connected pixels of one number; False = each number is one region.
    bands : sequence of int
        Bands of the scene, from 1; empty = all except alpha.
    weight : float
        The weight a of F: above 1 the variance counts more, below 1 Moran's I does.

    Returns
    -------
    RegionEvaluation
        Of each raster the variance within regions and Moran's I between neighbours. Of several also Espindola's sum
        and Johnson's F, which are relative to the rasters given. See `region_scores` and `compare` for the formulas.

    Raises
    ------
    RasterError
        If a file cannot be read, the grids differ, no pixel has both a label and data, or the scene is constant there.
    ConfigError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(64, 96)), truth=folder / "land_cover.tif")
    >>> found = evaluate_regions(folder / "land_cover.tif", folder / "scene.tif")
    >>> found.scores[0].pixels, 0 < found.scores[0].share < 1, found.candidates
    (6144, True, (None,))
    """
    paths = [labels] if isinstance(labels, str | os.PathLike) else list(labels)
    _check_arguments(paths, scene, weight)
    scores = [_scores(path, scene, connected=connected, bands=tuple(bands)) for path in paths]
    return RegionEvaluation(
        scene=str(scene),
        labels=tuple(map(str, paths)),
        scores=tuple(scores),
        candidates=tuple(compare([each.share for each in scores], [each.moran for each in scores], weight=weight)),
        weight=float(weight),
        notes=tuple(_notes(scores)),
    )


def _check_arguments(labels: list[str | Path], scene: object, weight: object) -> None:
    if not labels:
        raise ConfigError("there are no labels; give at least one raster.")
    for name, value in (*(("labels", path) for path in labels), ("scene", scene)):
        check_path(name, value)
    check_weight(weight)


def check_weight(weight: object) -> None:
    """Check the weight of F.

    Raises
    ------
    ConfigError
        If it is not a number from 0.01 to 100.
    """
    if not isinstance(weight, int | float) or not 0.01 <= weight <= 100:
        raise ConfigError(f"the weight of F is {shown(weight)}; give a number from 0.01 to 100, such as 1.")


def _scores(path: str | Path, scene: str | Path, *, connected: bool, bands: tuple[int, ...]) -> RegionScores:
    with open_labels(path) as found:
        source = open_scene(scene, bands=bands, allow_no_crs=not found.geobox.crs)
        _check_grid(path, found, source)
        sums = RegionSums(found.geobox.shape, connected=connected)
        for window in windows_of(found.geobox.shape, _WINDOW):
            numbers = found.read(window)
            pixels, valid = read(source, window)
            sums.add(window, np.where(valid, numbers, 0), pixels)
    table = sums.table()
    if not len(table.pixels):
        raise RasterError(f"{path} has no label where {scene} has data. Give labels of the same area, from 1.")
    scores = region_scores(table)
    if scores.share is None:
        raise RasterError(
            f"every band of {scene} is constant where {path} has labels, so regions cannot be scored. Give the scene "
            "that was segmented."
        )
    return scores


def _check_grid(path: str | Path, labels: Labels, scene: Scene) -> None:
    one, other = labels.geobox, scene.geobox
    same = one.shape == other.shape and (not one.crs or same_crs(one.crs, other.crs))
    if same and (same_corners(one, other) or not one.crs):
        return
    raise RasterError(
        f"{path} is not on the grid of {scene.path}: {one.shape} and {other.shape} (rows, cols). Warp it first: "
        f"rio warp --like {scene.path} --resampling nearest {path} labels.tif"
    )


def _notes(scores: Sequence[RegionScores]) -> Iterator[str]:
    most = max(each.pixels for each in scores)
    if min(each.pixels for each in scores) < _SAME_PIXELS * most:
        yield "the rasters do not label the same pixels, so their scores are not fully comparable."
    if any(each.moran is None for each in scores):
        yield "Moran's I is not defined for regions without neighbours or with equal means."


def _band_rows(scores: RegionScores) -> list[tuple[str, ...]]:
    bands = zip(scores.variances, scores.totals, scores.morans, strict=True)
    return [
        (str(number), f"{within:.5g}", f"{total:.5g}", _figure(moran))
        for number, (within, total, moran) in enumerate(bands, start=1)
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return lines
