"""An evaluation as a table to read, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from geoseg.errors import OutputError
from geoseg.evaluate.evaluate import Evaluation
from geoseg.evaluate.scores import ClassScore, LabelScore
from geoseg.output.files import check_output, write_file

_INDENT = len("normalised mutual information")
_MOST_ROWS = 60  # of a table; JSON has them all

Score = TypeVar("Score", LabelScore, ClassScore)


def scoreboard(evaluation: Evaluation) -> str:
    """Return an evaluation as aligned lines of text."""
    found, borders = evaluation.agreement, evaluation.borders
    metres = "" if borders.tolerance is None else f"{borders.tolerance:.4g} m, "
    accuracy = [
        ("accuracy".ljust(_INDENT), _figure(found.oa), _figure(found.oa_one_to_one)),
        ("mean IoU", _figure(found.miou), _figure(found.miou_one_to_one)),
    ]
    figures = [
        ("normalised mutual information".ljust(_INDENT), _figure(found.nmi), ""),
        ("adjusted Rand index", _figure(found.ari), ""),
        ("boundary recall", _figure(borders.recall), f"within {metres}{borders.tolerance_pixels} px"),
        ("boundary precision", _figure(borders.precision), "likewise"),
        ("boundary density", _figure(borders.density), "of all pixels"),
        ("seam ratio", _figure(borders.seam_ratio), f"on lines every {borders.tile} px; 1 = no seam"),
        ("unclassified", _figure(found.unclassified), "of the labelled pixels"),
    ]
    lines = [
        f"{evaluation.classes} against {evaluation.reference}",
        f"{found.n_classes} classes, {found.n_reference} labels, {found.compared} pixels with both",
        "",
        *_table(("", "many-to-one", "one-to-one"), accuracy, left=(0,)),
        "",
        *_table(("", " " * len("many-to-one"), ""), figures, left=(0, 2))[1:],
        "",
        *_table(
            ("label", "pixels", "IoU", "precision", "recall", "one-to-one", "classes"),
            [_label_row(score) for score in _largest(found.per_label)],
            left=(0, 6),
        ),
        *_left_out(found.per_label),
        "",
        *_table(
            ("class", "pixels", "label", "purity"),
            [_class_row(score) for score in _largest(found.per_class)],
            left=(2,),
        ),
        *_left_out(found.per_class),
        *(f"\nNote: {note}" for note in evaluation.notes),
    ]
    return "\n".join(line.rstrip() for line in lines)


def to_json(evaluation: Evaluation) -> str:
    """Return everything that an evaluation has found as JSON."""
    return json.dumps(evaluation.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def check_report(path: Path, inputs: Iterable[str], *, overwrite: bool) -> None:
    """Look whether a JSON file can be written, before the work starts.

    Raises
    ------
    ConfigError, OutputError : it cannot, or is one of the files `inputs`
    """
    if path.resolve() in {Path(name).resolve() for name in inputs}:
        raise OutputError(f"{path} is one of the files to be compared; give the report another name.")
    check_output(path, overwrite=overwrite, suffixes=(".json",))


def write_report(path: Path, evaluation: Evaluation, *, overwrite: bool = False) -> None:
    """Write an evaluation as JSON; complete under its name, or not there at all.

    Raises
    ------
    ConfigError, OutputError : it cannot be written
    """
    check_report(path, (evaluation.classes, evaluation.reference), overwrite=overwrite)
    write_file(path, (to_json(evaluation) + "\n").encode())


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _label_row(score: LabelScore) -> tuple[str, ...]:
    single = "-" if score.one_to_one is None else str(score.one_to_one)
    figures = (_figure(score.iou), _figure(score.precision), _figure(score.recall))
    return str(score.label), str(score.pixels), *figures, single, ", ".join(map(str, score.classes)) or "-"


def _class_row(score: ClassScore) -> tuple[str, ...]:
    return str(score.number), str(score.pixels), "-" if score.label is None else str(score.label), _figure(score.purity)


def _largest(scores: Sequence[Score]) -> list[Score]:
    """Return the scores with the most pixels, in their own order."""
    smallest = sorted((score.pixels for score in scores), reverse=True)[:_MOST_ROWS][-1]
    return [score for score in scores if score.pixels >= smallest][:_MOST_ROWS]


def _left_out(scores: Sequence[LabelScore] | Sequence[ClassScore]) -> list[str]:
    more = len(scores) - _MOST_ROWS
    return [f"and {more} smaller ones, which --json has"] if more > 0 else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> list[str]:
    """Align the columns: to the left those at the positions `left`, to the right the others."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if position in left else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *rows)
    ]
