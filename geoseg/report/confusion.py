"""Rows of the confusion matrix of a report."""

from __future__ import annotations

from dataclasses import dataclass

from geoseg.output.names_document import NamesDocument

_SHADES = 5


@dataclass(frozen=True)
class ConfusionRow:
    """The samples of one name.

    Parameters
    ----------
    name : str
    cells : list of (int, int)
        Samples that are found as each name, and the shade of the cell from 0 to `_SHADES` by their share in the row.
    recall : float or None
        Share of the samples that are found.
    """

    name: str
    cells: list[tuple[int, int]]
    recall: float | None


def confusion_rows(names: NamesDocument) -> list[ConfusionRow]:
    """Return a row for each name with samples.

    Examples
    --------
    >>> from geoseg.output.names_document import NameFigures
    >>> names = (NameFigures("road", "#808080", 4, 0.75), NameFigures("water", "#0000ff"))
    >>> confusion_rows(NamesDocument("a.gpkg", "", "", names, confusion=((3, 1), (0, 0))))[0].cells
    [(3, 4), (1, 1)]
    """
    rows = []
    for each, counts in zip(names.validated, names.confusion, strict=True):
        total = sum(counts)
        shades = [round(_SHADES * n / total) if total else 0 for n in counts]
        rows.append(ConfusionRow(each.name, list(zip(counts, shades, strict=True)), each.recall))
    return rows
