"""Which columns of a polygon layer describe a region, and so take part in its classification."""

from __future__ import annotations

import re

import pyarrow as pa

from geoseg.classify.named_layer import NAME_FIELDS
from geoseg.output.columns import known_fields

_NUMBERS = ("tile", "object", "fid", "ogc_fid")  # of layers of geoseg and of GDAL


def attribute_columns(schema: pa.Schema, *, in_one_scene: bool = True) -> tuple[str, ...]:
    """Return the numeric columns of a layer that are attributes of its regions, in their order.

    Of the columns of geoseg these are the ones that are declared as comparable. Columns of other origin are
    attributes.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the columns without geometry.
    in_one_scene : bool
        Whether regions are compared with others of their scene only; False leaves out what is not comparable between
        scenes.

    Examples
    --------
    >>> names = ["region", "class_4", "mean_1", "votes_1", "border_class_2", "slope"]
    >>> schema = pa.schema([(name, pa.float64()) for name in names])
    >>> attribute_columns(schema), attribute_columns(schema, in_one_scene=False)
    (('mean_1', 'votes_1', 'slope'), ('mean_1', 'slope'))
    """
    numeric = tuple(field.name for field in schema if _is_number(field.type))
    known = known_fields(name.lower() for name in numeric) | {field.name: field for field in NAME_FIELDS}
    left_out = {"never"} if in_one_scene else {"never", "scene"}
    return tuple(
        name
        for name in numeric
        if name.lower() not in _NUMBERS and not (name.lower() in known and known[name.lower()].comparable in left_out)
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
