"""Points with names in a table of text, at the coordinates in its columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.classify.delimited import Row, parse_rows, read_text
from geoseg.errors import RasterError, shorten

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
_MAX_BYTES = 256 * 2**20
_DEGREES = "EPSG:4326"
_LONGITUDE, _LATITUDE = ("lon", "longitude", "long", "lng"), ("lat", "latitude")
_X, _Y = ("x", "easting"), ("y", "northing")
_LIMITS = {"lon": 360.0, "lat": 90.0}  # degrees
_EXAMPLE = "12.5,41.9,water"


@dataclass(frozen=True)
class SampleTable:
    """Points with values.

    Parameters
    ----------
    shapes : (n,) array of shapely.Point
        None = no coordinates.
    values : list of str
        Of the field; "" = none.
    crs : str
        Of the points.
    """

    shapes: NDArray[Any]
    values: list[str]
    crs: str


def read_table(path: Path, regions_crs: str, *, field: str, crs: str | None) -> SampleTable:
    """Return the points of a table of text in UTF-8, separated by commas, semicolons or tabs.

    Parameters
    ----------
    path : Path
        Its first line names the columns, in any case and order: `lon` and `lat` in degrees, or `x` and `y`.
    regions_crs : str
        CRS of `x` and `y` without `crs`.
    field : str
        Column with the names.
    crs : str or None
        None = that of the regions for `x` and `y`, EPSG:4326 for `lon` and `lat`, which are taken if both are there.

    Raises
    ------
    RasterError
        If the file cannot be read, lacks a column, or has a coordinate that is no number.
    """
    text = read_text(path, "samples", max_bytes=_MAX_BYTES)
    return parse_table(text, str(path), (regions_crs, crs), field=field)


def parse_table(text: str, source: str, crs: tuple[str, str | None], *, field: str) -> SampleTable:
    r"""Return the points in the text of a table; `source` is the file that messages name, `crs` as in `read_table`.

    Examples
    --------
    >>> table = parse_table("lat;lon;cover\n41.9;12.5;water\n", "a.csv", ("EPSG:32633", None), field="cover")
    >>> table.shapes[0].x, table.values, table.crs
    (12.5, ['water'], 'EPSG:4326')
    """
    columns, rows = parse_rows(text, source, _EXAMPLE)
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise RasterError(f"{source} has two columns {shorten(twice, 40)!r}; expected one of each name. Rename one.")
    if field.lower() not in columns:
        found = shorten(", ".join(columns), 120) or "no columns"
        raise RasterError(f"{source} has no field {field!r}; it has {found}. Choose one of them with --field.")
    across, up, is_degrees = _coordinate_columns(columns, source)
    numbers = [(_number(row, across, number, source), _number(row, up, number, source)) for number, row in rows]
    if is_degrees and crs[1] is None:
        _check_degrees(numbers, [number for number, _ in rows], source)
    xy = np.array(numbers, np.float64).reshape(-1, 2)
    shapes = np.full(len(rows), None, object)
    known = np.isfinite(xy).all(axis=1)
    shapes[known] = shapely.points(xy[known])
    return SampleTable(
        shapes, [row.get(field.lower(), "") for _, row in rows], crs[1] or (_DEGREES if is_degrees else crs[0])
    )


def _coordinate_columns(columns: list[str], source: str) -> tuple[str, str, bool]:
    """Return the columns of the coordinates, and whether they are longitude and latitude."""
    for across, up, is_degrees in ((_LONGITUDE, _LATITUDE, True), (_X, _Y, False)):
        pair = [next((name for name in names if name in columns), None) for names in (across, up)]
        if pair[0] is not None and pair[1] is not None:
            return pair[0], pair[1], is_degrees
    raise RasterError(
        f"{source} has the columns {shorten(', '.join(columns), 80)}; expected the place of each sample in lon and "
        f"lat (degrees) or in x and y (CRS of the regions, or --crs). Rename two columns."
    )


def _number(row: Row, name: str, line: int, source: str) -> float:
    """Return a coordinate; NaN = none."""
    text = row.get(name, "")
    try:
        number = math.inf if "_" in text else float(text or "nan")
    except ValueError:
        number = math.inf
    if math.isinf(number):
        advice = " Write decimals with a point." if "," in text else ""
        raise RasterError(
            f"line {line} of {source} has {shorten(text, 40)!r} as {name}; expected a number.{advice}"
        ) from None
    return number


def _check_degrees(numbers: list[tuple[float, float]], lines: list[int], source: str) -> None:
    for line, pair in zip(lines, numbers, strict=True):
        for (name, limit), value in zip(_LIMITS.items(), pair, strict=True):
            if abs(value) > limit:
                raise RasterError(
                    f"line {line} of {source} has {value:g} as {name}; expected degrees from {-limit:g} to {limit:g}. "
                    f"Give the CRS of the coordinates with --crs, or call the columns x and y."
                )
