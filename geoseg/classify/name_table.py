"""Read a table with names, and maybe colours, of classes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from geoseg.classify.delimited import parse_rows, read_text
from geoseg.errors import RasterError, shorten

_MAX_BYTES = 2**20
_EXAMPLE = "3,water,#1f78b4"
_NAME = 80  # characters
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class ClassName:
    """Name of a class.

    Parameters
    ----------
    name : str
    color : str
        As #rrggbb; "" = that of the class.
    """

    name: str
    color: str = ""


def read_names(path: Path) -> dict[int, ClassName]:
    """Return the names of classes in a table of text.

    Parameters
    ----------
    path : Path
        CSV in UTF-8, separated by commas, semicolons or tabs. Its first line names the columns: `class`, `name` and
        maybe `color`, in any order; others are ignored.

    Raises
    ------
    RasterError
        If the file cannot be read, lacks a column, or has a line that is not valid.
    """
    return parse_names(read_text(path, "names", max_bytes=_MAX_BYTES), str(path))


def parse_names(text: str, source: str) -> dict[int, ClassName]:
    r"""Return the names of classes in the text of a table; `source` is the file that messages name.

    Examples
    --------
    >>> parse_names("class;name;color\n2;water;#0000ff\n", "names.csv")
    {2: ClassName(name='water', color='#0000ff')}
    """
    columns, rows = parse_rows(text, source, _EXAMPLE)
    if "class" not in columns or "name" not in columns:
        head = text.partition("\n")[0]
        raise RasterError(
            f"the first line of {source} is {shorten(head, 80)!r}; expected the names of the columns: class,name,color."
        )
    found: dict[int, ClassName] = {}
    for number, cells in rows:
        value, name = _row(cells, f"line {number} of {source}")
        if value in found:
            raise RasterError(f"{source} has two lines for class {value}; expected one. Remove the other.")
        found[value] = name
    if not found:
        raise RasterError(f"{source} has no lines with names; expected lines such as {_EXAMPLE}.")
    return found


def _row(cells: dict[str, str], place: str) -> tuple[int, ClassName]:
    value, name, color = cells.get("class", ""), shorten(cells.get("name", ""), _NAME), cells.get("color", "")
    if not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise RasterError(f"{place} has the class {shorten(value, 40)!r}; expected a whole number.")
    if not name:
        raise RasterError(f"{place} has no name for class {value}. Give one, or remove the line.")
    if color and not _COLOR.fullmatch(color):
        raise RasterError(f"{place} has the colour {shorten(color, 40)!r}; expected one such as #1f78b4.")
    return int(value), ClassName(name, color.lower())
