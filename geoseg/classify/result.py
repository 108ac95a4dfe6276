"""What a classification returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg import __version__


@dataclass(frozen=True)
class NameScore:
    """Regions and accuracy of one name.

    Parameters
    ----------
    name : str
    samples : int
        Samples in regions.
    regions : int
    share : float
        Share of the area of all regions, 0 to 1.
    recall, precision, iou : float or None
        Of the samples in the cross-validation: share of those of this name that are found, share of those that are
        found as this name that have it, intersection over union. None = not known.
    """

    name: str
    samples: int
    regions: int
    share: float
    recall: float | None = None
    precision: float | None = None
    iou: float | None = None


@dataclass(frozen=True)
class Classification:
    """Result of `geoseg.classify_regions`.

    Parameters
    ----------
    path : Path
        The named regions.
    n_regions : int
        Regions in the file.
    scores : tuple of NameScore
        One per name, in the order of the names.
    accuracy, miou : float or None
        Share of the samples whose name is found, and mean intersection over union, in the cross-validation by spatial
        blocks. None = there was none.
    confusion : list of list of int
        Samples by their name (row) and the name that is found (column); empty = no cross-validation.
    importance : tuple of (str, float)
        Columns and their share in the decisions of the forest, from the largest.
    curve : tuple of (float, float)
        Mean number of samples per name, and mean intersection over union with so many.
    advice : str
        Of which name more samples would help most; "" = not known.
    suggestions : Path or None
        The layer of regions to name next.
    notes : tuple of str
        What should be known about the samples.

    Examples
    --------
    >>> result = Classification(Path("named.gpkg"), 3, (NameScore("road", 2, 3, 1.0),))
    >>> str(result)
    'named.gpkg: 3 regions of 1 names'
    """

    path: Path
    n_regions: int
    scores: tuple[NameScore, ...]
    accuracy: float | None = None
    miou: float | None = None
    confusion: tuple[tuple[int, ...], ...] = ()
    importance: tuple[tuple[str, float], ...] = ()
    curve: tuple[tuple[float, float], ...] = ()
    advice: str = ""
    suggestions: Path | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        found = sum(score.regions > 0 for score in self.scores)
        return f"{self.path}: {self.n_regions} regions of {found} names"

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as values that JSON can store."""
        return {
            "geoseg": __version__,
            "polygons": str(self.path),
            "n_regions": self.n_regions,
            "names": [vars(score) for score in self.scores],
            "accuracy": self.accuracy,
            "miou": self.miou,
            "confusion": [list(row) for row in self.confusion],
            "importance": dict(self.importance),
            "curve": [{"samples_per_name": round(n, 1), "miou": value} for n, value in self.curve],
            "advice": self.advice,
            "suggestions": None if self.suggestions is None else str(self.suggestions),
            "notes": list(self.notes),
        }


def scores_of(confusion: NDArray[np.float64], name: int) -> tuple[float | None, float | None, float | None]:
    """Return recall, precision and IoU of a name; None where they are not defined.

    Examples
    --------
    >>> scores_of(np.array([[3.0, 1.0], [0.0, 4.0]]), 0)
    (0.75, 1.0, 0.75)
    """
    hits, own, found = confusion[name, name], confusion[name].sum(), confusion[:, name].sum()
    return _ratio(hits, own), _ratio(hits, found), _ratio(hits, own + found - hits)


def _ratio(above: float, below: float) -> float | None:
    return float(above / below) if below > 0 else None
