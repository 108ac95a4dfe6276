"""Result of an evaluation: its scores, as a table to read and as a dict. Reads no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from geoseg.evaluate.scores import Agreement, ClassScore, LabelScore

_INDENT = len("normalised mutual information")
_MAX_ROWS = 60  # of a table; `Evaluation.to_dict` has all of them

Score = TypeVar("Score", LabelScore, ClassScore)


@dataclass(frozen=True)
class BoundaryScores:
    """Agreement of class boundaries with those of the reference.

    Parameters
    ----------
    recall : float or None
        Share of the labelled pixels on a boundary of the reference with a class boundary within the tolerance; None if
        the reference has no boundary.
    precision : float or None
        Share of the labelled pixels on a class boundary with a boundary of the reference within the tolerance; None if
        there is no such class boundary.
    density : float
        Share of all pixels that are on a class boundary.
    tolerance : float or None
        In metres; None if the rasters have no CRS.
    tolerance_pixels : int
        The same as a city-block distance in pixels.
    seam_ratio : float or None
        Boundary density on the lines of a tiling divided by that 5 to 9 px beside them. 1 = no visible seam; None if
        the raster is too small for a tile line.
    tile_size : int
        Pixels between the lines of that tiling.
    """

    recall: float | None
    precision: float | None
    density: float
    tolerance: float | None
    tolerance_pixels: int
    seam_ratio: float | None
    tile_size: int


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores of a class raster against a reference; `print` shows them as a table.

    Parameters
    ----------
    classes, reference : str
        The two files.
    agreement : Agreement
        Accuracy and agreement of the pixels.
    boundaries : BoundaryScores
        Agreement of the boundaries, and seams.
    notes : tuple of str
        Remarks on the reference, one sentence each.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from geoseg.evaluate.evaluate import evaluate_classes
    >>> from geoseg.synthetic.scene import SceneOptions, write_scene
    >>> folder = Path(mkdtemp())
    >>> write_scene(folder / "scene.tif", SceneOptions(shape=(96, 128)), truth=folder / "cover.tif")
    >>> evaluate_classes(folder / "cover.tif", folder / "cover.tif").agreement.oa
    1.0
    """

    classes: str
    reference: str
    agreement: Agreement
    boundaries: BoundaryScores
    notes: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are compared."""
        return self.classes, self.reference

    def to_dict(self) -> dict[str, Any]:
        """Return all scores as plain values for JSON; a score that is not defined is None."""
        found = asdict(self.agreement)
        tables = {name: list(found.pop(name)) for name in ("per_label", "per_class")}
        for row in tables["per_class"]:
            row["class"] = row.pop("number")
        boundaries = asdict(self.boundaries)
        return {
            "classes": self.classes,
            "reference": self.reference,
            "notes": list(self.notes),
            **found,
            **{f"boundary_{name}": boundaries.pop(name) for name in ("recall", "precision", "density")},
            **boundaries,
            **tables,
        }

    def __repr__(self) -> str:
        found, boundaries = self.agreement, self.boundaries
        scores = (
            ("oa", found.oa),
            ("miou", found.miou),
            ("nmi", found.nmi),
            ("boundary_recall", boundaries.recall),
            ("seam_ratio", boundaries.seam_ratio),
        )
        shown = ", ".join(f"{name}={'None' if value is None else f'{value:.4f}'}" for name, value in scores)
        return f"<Evaluation of {self.classes!r} against {self.reference!r}: {shown}>"

    def __str__(self) -> str:
        found = self.agreement
        lines = [
            f"{self.classes} against {self.reference}",
            f"{found.n_classes} classes, {found.n_reference} labels, {found.compared} pixels with both",
            "",
            *_score_lines(found, self.boundaries),
            "",
            *_table(
                ("label", "pixels", "IoU", "precision", "recall", "one-to-one", "classes"),
                [_label_row(score) for score in _largest(found.per_label)],
                left=(0, 6),
            ),
            *_omitted(found.per_label),
            "",
            *_table(
                ("class", "pixels", "label", "purity"),
                [_class_row(score) for score in _largest(found.per_class)],
                left=(2,),
            ),
            *_omitted(found.per_class),
            *(f"\nNote: {note}" for note in self.notes),
        ]
        return "\n".join(line.rstrip() for line in lines)


def _score_lines(found: Agreement, boundaries: BoundaryScores) -> list[str]:
    """Return the lines of the scores of the whole raster."""
    metres = "" if boundaries.tolerance is None else f"{boundaries.tolerance:.4g} m, "
    accuracy = [
        ("accuracy".ljust(_INDENT), _figure(found.oa), _figure(found.oa_one_to_one)),
        ("mean IoU", _figure(found.miou), _figure(found.miou_one_to_one)),
    ]
    figures = [
        ("normalised mutual information".ljust(_INDENT), _figure(found.nmi), ""),
        ("adjusted Rand index", _figure(found.ari), ""),
        ("boundary recall", _figure(boundaries.recall), f"within {metres}{boundaries.tolerance_pixels} px"),
        ("boundary precision", _figure(boundaries.precision), "likewise"),
        ("boundary density", _figure(boundaries.density), "of all pixels"),
        ("seam ratio", _figure(boundaries.seam_ratio), f"on lines every {boundaries.tile_size} px; 1 = no seam"),
        ("unclassified", _figure(found.unclassified), "of the labelled pixels"),
    ]
    return [
        *_table(("", "many-to-one", "one-to-one"), accuracy, left=(0,)),
        "",
        *_table(("", " " * len("many-to-one"), ""), figures, left=(0, 2))[1:],
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _label_row(score: LabelScore) -> tuple[str, ...]:
    single = "-" if score.one_to_one is None else str(score.one_to_one)
    figures = (_figure(score.iou), _figure(score.precision), _figure(score.recall))
    return str(score.label), str(score.pixels), *figures, single, ", ".join(map(str, score.classes)) or "-"


def _class_row(score: ClassScore) -> tuple[str, ...]:
    return str(score.number), str(score.pixels), "-" if score.label is None else str(score.label), _figure(score.purity)


def _largest(scores: Sequence[Score]) -> list[Score]:
    """Return the scores with the most pixels, in the given order."""
    smallest = sorted((score.pixels for score in scores), reverse=True)[:_MAX_ROWS][-1]
    return [score for score in scores if score.pixels >= smallest][:_MAX_ROWS]


def _omitted(scores: Sequence[LabelScore] | Sequence[ClassScore]) -> list[str]:
    more = len(scores) - _MAX_ROWS
    return [f"and {more} smaller ones, which are in the JSON report"] if more > 0 else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> list[str]:
    """Return aligned lines: the columns at the positions `left` to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if position in left else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *rows)
    ]
