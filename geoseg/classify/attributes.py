"""Which columns of a polygon layer describe a region, and so take part in its classification."""

from __future__ import annotations

import fnmatch
import re

import pyarrow as pa

NOT_ATTRIBUTES = (  # numbers and names of regions, classes and tiles
    *("region", "class", "class_*", "object_*", "tile", "fid", "ogc_fid"),
    *("color", "name", "probability", "second"),
)


def attribute_columns(schema: pa.Schema) -> tuple[str, ...]:
    """Return the numeric columns of a layer that are attributes of its regions, in their order.

    Every numeric column is one, except `NOT_ATTRIBUTES`.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the columns without geometry.

    Examples
    --------
    >>> fields = [("region", pa.int32()), ("class_4", pa.int16()), ("mean_1", pa.float64()), ("color", pa.string())]
    >>> attribute_columns(pa.schema([*fields, ("pixels", pa.int64())]))
    ('mean_1', 'pixels')
    """
    return tuple(
        field.name
        for field in schema
        if _is_number(field.type) and not any(fnmatch.fnmatchcase(field.name.lower(), each) for each in NOT_ATTRIBUTES)
    )


def level_columns(schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns of a layer with the class of a region at each level of the class tree.

    Examples
    --------
    >>> level_columns(pa.schema([("class", pa.int16()), ("class_8", pa.int16()), ("class_name", pa.string())]))
    ('class', 'class_8')
    """
    return tuple(
        field.name for field in schema if re.fullmatch(r"class(_\d+)?", field.name) and pa.types.is_integer(field.type)
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
