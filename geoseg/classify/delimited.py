"""Rows of a table of text, separated by commas, semicolons or tabs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from geoseg.errors import RasterError, shorten
from geoseg.raster.regular_file import regular_file

Row = dict[str, str]


def read_text(path: Path, what: str, *, max_bytes: int) -> str:
    """Return the text of a table.

    Parameters
    ----------
    path : Path
    what : str
        What the file has, for messages, such as "names".
    max_bytes : int

    Raises
    ------
    RasterError
        If the file is missing, too large, or not in UTF-8.
    """
    try:
        size = regular_file(path).stat().st_size
        if size > max_bytes:
            raise RasterError(f"{path} has {size} bytes; expected at most {max_bytes} of a table of {what}.")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise RasterError(f"the {what} {path} cannot be read: {shorten(err)}. Expected a CSV file in UTF-8.") from err


def parse_rows(text: str, source: str, example: str) -> tuple[list[str], list[tuple[int, Row]]]:
    r"""Return the columns of a table in lower case, and its rows with the numbers of their lines.

    Parameters
    ----------
    text : str
        The first line has the names of the columns.
    source : str
        The file that messages name.
    example : str
        A line as it is expected.

    Raises
    ------
    RasterError
        If it is no table.

    Examples
    --------
    >>> parse_rows("X;y\n\n1;2\n", "a.csv", "1,2")
    (['x', 'y'], [(3, {'x': '1', 'y': '2'})])
    """
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=head.count), strict=True)
    rows: list[tuple[int, Row]] = []
    try:
        columns = [each.strip().lower() for each in next(reader, [])]
        for cells in reader:
            row = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
            if any(row.values()):
                rows.append((reader.line_num, row))
    except csv.Error as err:
        raise RasterError(f"{source} is no table: {shorten(err)}. Expected lines such as {example}.") from err
    return columns, rows
