"""The document beside regions that `geoseg classify` has named: their origin, colours and accuracy, for reports."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.errors import shorten
from geoseg.raster.regular_file import regular_file

NAME_COLUMNS = ("name", "probability", "second")
NAMES_SUFFIXES = (".json",)
_FORMAT = 1  # raise it when a key of the document is removed or changes its meaning
_MAX_BYTES = 16 * 2**20
_MAX_NAMES, _MAX_COLUMNS = 256, 2000


@dataclass(frozen=True)
class NameFigures:
    """A name with its colour and accuracy.

    Parameters
    ----------
    name : str
    color : str
        As `#rrggbb`; "" = the name has no region.
    samples : int
    recall, precision, iou : float or None
        In the cross-validation; None = not known.
    """

    name: str
    color: str
    samples: int = 0
    recall: float | None = None
    precision: float | None = None
    iou: float | None = None


@dataclass(frozen=True)
class NamesDocument:
    """What is known about named regions.

    Parameters
    ----------
    polygons : str
        Name of the file whose regions were named.
    polygons_digest, digest : str
        Of that file, and of the named one.
    names : tuple of NameFigures
        Without a name that no region and no sample has.
    dissolved : bool
        Whether adjacent regions of one name are united.
    command : str
        The command that repeats it.
    accuracy, miou : float or None
        None = there was no cross-validation.
    confusion : tuple of tuple of int
        Samples by their name (row) and the name that is found (column), in the order of `names`; empty = not known.
    importance : tuple of (str, float)
        Columns and their share in the decisions, from the largest.
    curve : tuple of (float, float)
        Samples per name, and mean intersection over union with so many.
    advice : str
    notes : tuple of str
    """

    polygons: str
    polygons_digest: str
    digest: str
    names: tuple[NameFigures, ...]
    dissolved: bool = False
    command: str = ""
    accuracy: float | None = None
    miou: float | None = None
    confusion: tuple[tuple[int, ...], ...] = ()
    importance: tuple[tuple[str, float], ...] = ()
    curve: tuple[tuple[float, float], ...] = ()
    advice: str = ""
    notes: tuple[str, ...] = ()

    @property
    def validated(self) -> tuple[NameFigures, ...]:
        """The names in the rows of `confusion`."""
        return self.names[: len(self.confusion)]


def names_document_path(polygons: Path) -> Path:
    """Return the path of the document that belongs to named regions.

    Examples
    --------
    >>> names_document_path(Path("named.gpkg")).name
    'named.names.json'
    """
    return polygons.parent / f"{polygons.stem}.names.json"


def names_document(figures: Mapping[str, Any], **about: Any) -> dict[str, Any]:
    """Return the document as values that JSON can store.

    Parameters
    ----------
    figures : dict
        Of the classification, with the colour of each name.
    **about
        ``polygons``, ``polygons_digest``, ``digest``, ``dissolved``, ``command``.
    """
    return {"format": _FORMAT, **about, **figures}


def read_names_document(path: Path) -> NamesDocument:
    """Read the document of named regions.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is not one of this version.
    """
    with regular_file(path).open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES} bytes")
    try:
        found = json.loads(content.decode())
        if found["format"] != _FORMAT:
            raise ValueError(f"it has the format {shorten(found['format'], 20)}; expected {_FORMAT}")
        return _parsed(found)
    except (KeyError, IndexError, TypeError, AttributeError, RecursionError, OverflowError) as err:
        raise ValueError(f"{type(err).__name__} {shorten(err, 60)}") from err


def _parsed(found: dict[str, Any]) -> NamesDocument:
    names = tuple(_figures(each) for each in found["names"])
    confusion = tuple(tuple(int(number) for number in row) for row in found["confusion"])
    if not 0 < len(names) <= _MAX_NAMES or len({each.name for each in names}) < len(names):
        raise ValueError(f"it has {len(names)} names; expected 1 to {_MAX_NAMES} different ones")
    if len(confusion) > len(names) or any(len(row) != len(confusion) for row in confusion):
        raise ValueError("its confusion matrix does not fit the names")
    importance = [(str(name), _known(share)) for name, share in dict(found["importance"]).items()]
    return NamesDocument(
        polygons=str(found["polygons"]),
        polygons_digest=str(found["polygons_digest"]),
        digest=str(found["digest"]),
        names=names,
        dissolved=bool(found["dissolved"]),
        command=str(found["command"]),
        accuracy=_number(found["accuracy"]),
        miou=_number(found["miou"]),
        confusion=confusion,
        importance=tuple(importance[:_MAX_COLUMNS]),
        curve=tuple((_known(each["samples_per_name"]), _known(each["miou"])) for each in found["curve"]),
        advice=str(found["advice"]),
        notes=tuple(str(note) for note in found["notes"]),
    )


def _figures(each: Mapping[str, Any]) -> NameFigures:
    of_samples = (_number(each[key]) for key in ("recall", "precision", "iou"))
    return NameFigures(str(each["name"]), str(each["color"]), int(each["samples"]), *of_samples)


def _number(value: Any) -> float | None:
    return None if value is None else _known(value)


def _known(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{shorten(value, 20)} is no number")
    return number
