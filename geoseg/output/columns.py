"""Columns of polygon layers: names, types, descriptions, selection by the user, and batches of rows."""

from __future__ import annotations

import difflib
import fnmatch
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import shapely
from numpy.typing import NDArray

from geoseg.errors import ConfigError, OutputError
from geoseg.output.extra_columns import EXTRA_GROUPS, MAX_CLASSES, Field, extra_fields

LEVELS = (2, 4, 8, 16, 32, 64, 128)  # numbers of classes at which the class tree becomes columns
REQUIRED_COLUMNS = ("region", "class", "color")
_BASIC = ("pixels", "area", "perimeter")
GROUPS = {  # names of groups of columns → patterns, for `--attributes`
    "all": ("*",),
    "spectral": (*_BASIC, "compactness", "confidence", "ndvi_mean", "mean_*", "std_*", "min_*", "max_*", "class_*"),
    "basic": _BASIC,
    "mean": ("mean_*",),
    "std": ("std_*",),
    "min": ("min_*",),
    "max": ("max_*",),
    "levels": ("class_*",),
    **EXTRA_GROUPS,
}

_WKB = {b"ARROW:extension:name": b"geoarrow.wkb"}
_TYPE_IDS = {"Polygon": 3, "MultiPolygon": 6}  # of shapely and OGC
_INDICES = {
    "confidence": (
        "Confidence",
        "Mean membership of its pixels in the class, 0 to 1, from their distances to all classes in feature space; "
        "0 for pixels of smaller regions that were merged into it",
    ),
    "ndvi_mean": ("Mean NDVI", "Mean over the pixels of (NIR - red) / (NIR + red), -1 to 1"),
}
_STATISTICS = {"mean": "Mean", "std": "Standardizer deviation", "min": "Minimum", "max": "Maximum"}  # of each band


@dataclass(frozen=True)
class Layer:
    """Name, metadata and columns of a polygon layer.

    Parameters
    ----------
    name : str
        Such as `labels`.
    title, description : str
        Displayed by QGIS and ogrinfo.
    crs : str
        WKT; "" = none.
    fields : tuple of Field
        The columns in order, without the geometry. Without a CRS, areas and lengths are in pixels.
    geometry : {"Polygon", "MultiPolygon"}
    source : dict of str to str
        Where the polygons come from, such as the scene and the command; metadata of the layer.
    """

    name: str
    title: str
    description: str
    crs: str
    fields: tuple[Field, ...]
    geometry: str = "Polygon"
    source: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.crs:
            in_pixels = tuple(_IN_PIXELS.get(field.name, field) for field in self.fields)
            object.__setattr__(self, "fields", in_pixels)

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema: the columns and `geometry` (WKB)."""
        geometry = pa.field("geometry", pa.binary(), metadata=_WKB)
        return pa.schema([*(field.arrow for field in self.fields), geometry])

    @property
    def aliases(self) -> dict[str, str]:
        """Column → name displayed by QGIS."""
        return {field.name: field.alias for field in self.fields}

    def batch(
        self, columns: Mapping[str, NDArray[Any] | Sequence[Any]], polygons: NDArray[Any] | pa.Array
    ) -> pa.RecordBatch:
        """Return a batch of rows for `write_polygons`.

        Parameters
        ----------
        columns : dict of str to (n,) array
            One array per field; others are ignored. NaN = no value.
        polygons : (n,) array of shapely geometries or pyarrow.Array
            Polygons or multi-polygons in coordinates of the CRS; a pyarrow.Array holds WKB and is not checked.

        Returns
        -------
        pyarrow.RecordBatch

        Raises
        ------
        OutputError
            If a geometry is of another type, or a number does not fit its column.
        """
        if not isinstance(polygons, pa.Array):
            if (shapely.get_type_id(polygons) != _TYPE_IDS[self.geometry]).any():
                raise OutputError(
                    f"layer {self.name} takes only {self.geometry.lower()}s; this is a bug in geoseg, please report it."
                )
            polygons = pa.array(shapely.to_wkb(polygons), pa.binary())
        try:
            arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in self.fields]
        except pa.ArrowInvalid as err:
            raise OutputError(
                f"layer {self.name} cannot store these columns: {err}; this is a bug in geoseg, please report it."
            ) from err
        return pa.record_batch([*arrays, polygons], schema=self.schema)


def label_fields(
    *,
    bands: Sequence[int],
    levels: Sequence[int],
    n_regions: int,
    n_classes: int,
    indices: Sequence[str] = (),
    extra: Sequence[Field] = (),
) -> tuple[Field, ...]:
    """Return the columns of the layer `labels`.

    Parameters
    ----------
    bands : sequence of int
        Band numbers in the raster, from 1.
    levels : sequence of int
        Numbers of classes of the coarser levels of the class tree, such as (2, 4, 8).
    n_regions, n_classes : int
        The highest numbers; they determine the integer types.
    indices : sequence of str
        Columns that do not belong to a band, such as ("confidence", "ndvi_mean").
    extra : sequence of Field
        Further columns, which come last.

    Returns
    -------
    tuple of Field
    """
    region = pa.int32() if n_regions < 2**31 else pa.int64()
    class_ = _class_type(n_classes)
    return (
        Field("region", region, "Region", "Number of the region, from 1; the same as in the region raster", "never"),
        Field("class", class_, "Class", "Number of the class, from 1; the same as in the class raster", "never"),
        _COLOR,
        *_SHAPE,
        *(Field(name, pa.float64(), *_INDICES[name], "everywhere") for name in indices),
        *(_band_field(statistic, band) for statistic in _STATISTICS for band in bands),
        *(
            Field(
                f"class_{level}",
                class_,
                f"Class of {level}",
                f"Class at the level of the tree with {level} classes",
                "never",
            )
            for level in levels
        ),
        *extra,
    )


def known_fields(names: Iterable[str]) -> dict[str, Field]:
    """Return the columns of the layer `labels` that a file can have, by name.

    Parameters
    ----------
    names : iterable of str
        Columns of the file, from which the numbers of the bands follow.

    Examples
    --------
    >>> known_fields(["mean_7"])["mean_7"].alias
    'Mean of band 7'
    """
    numbers = {int(found[1]) for name in names if (found := re.fullmatch(r"(?:mean|std|min|max)_(\d+)", name))}
    extra = extra_fields(n_classes=MAX_CLASSES, levels=LEVELS)
    fields = label_fields(
        bands=sorted(numbers), levels=LEVELS, n_regions=1, n_classes=1, indices=list(_INDICES), extra=extra
    )
    return {field.name: field for field in fields}


def class_fields(*, bands: Sequence[int], n_classes: int) -> tuple[Field, ...]:
    """Return the columns of the layer `classes`.

    Parameters
    ----------
    bands : sequence of int
        Band numbers in the raster, from 1.
    n_classes : int

    Returns
    -------
    tuple of Field
    """
    return (
        Field("class", _class_type(n_classes), "Class", "Number of the class, from 1; the same as in the class raster"),
        Field("name", pa.string(), "Name", "Name of the class, as in the legend"),
        _COLOR,
        Field("regions", pa.int64(), "Regions", "Number of regions of the class"),
        _PIXELS,
        _AREA,
        Field("share", pa.float64(), "Share of the scene", "Share of the valid pixels, 0 to 1"),
        *(_band_field("mean", band) for band in bands),
    )


def select_fields(fields: Sequence[Field], attributes: Sequence[str]) -> tuple[Field, ...]:
    """Return the selected columns and `REQUIRED_COLUMNS`, in the order of `fields`.

    Parameters
    ----------
    fields : sequence of Field
    attributes : sequence of str
        Names, patterns such as mean_*, or names of `GROUPS`. Those of `EXTRA_GROUPS` alone are added to the columns of
        `spectral`.

    Returns
    -------
    tuple of Field

    Examples
    --------
    >>> fields = label_fields(bands=[1, 2], levels=[], n_regions=9, n_classes=3)
    >>> [field.name for field in select_fields(fields, ["area", "mean", "std_2"])]
    ['region', 'class', 'color', 'area', 'mean_1', 'mean_2', 'std_2']
    """
    patterns = [pattern for word in attributes for pattern in GROUPS.get(word, (word,))]
    if attributes and all(_is_extra(word) for word in attributes):
        patterns += GROUPS["spectral"]
    return tuple(field for field in fields if field.name in REQUIRED_COLUMNS or _matches(field.name, patterns))


def extra_groups(attributes: Sequence[str]) -> frozenset[str]:
    """Return the groups of `EXTRA_GROUPS` with a selected column, which have to be computed.

    Examples
    --------
    >>> sorted(extra_groups(["solidity", "context", "mean_*"]))
    ['context', 'shape']
    """
    return _extra_groups(tuple(attributes))


@functools.lru_cache(16)  # asked for every tile
def _extra_groups(attributes: tuple[str, ...]) -> frozenset[str]:
    fields = extra_fields(n_classes=MAX_CLASSES, levels=LEVELS)
    names = [field.name for field in select_fields(fields, attributes)]
    return frozenset(
        group for group, patterns in EXTRA_GROUPS.items() if any(_matches(name, patterns) for name in names)
    )


def with_objects(attributes: tuple[str, ...], levels: Sequence[int]) -> tuple[str, ...]:
    """Return a selection that also has the column of the objects of each level.

    Raises
    ------
    ConfigError
        If there is no such level.

    Examples
    --------
    >>> with_objects(("spectral", "object_4"), [8, 4])
    ('spectral', 'object_4', 'object_8')
    """
    for level in levels:
        if level not in LEVELS:
            raise ConfigError(f"there are no objects of {level} classes; choose among {', '.join(map(str, LEVELS))}.")
    fields = extra_fields(n_classes=0, levels=levels)
    known = {field.name for field in select_fields(fields, attributes)}
    return (*attributes, *(name for level in levels if (name := f"object_{level}") not in known))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


@functools.lru_cache(256)
def _is_extra(word: str) -> bool:
    """Return whether a name, a pattern or a group selects columns of `EXTRA_GROUPS` only."""
    bands = range(1, max(MAX_CLASSES, *LEVELS) + 1)  # numbers that columns of both kinds end in
    fields = label_fields(bands=bands, levels=LEVELS, n_regions=1, n_classes=1, indices=list(_INDICES))
    patterns = GROUPS.get(word, (word,))
    return any(_matches(field.name, patterns) for field in extra_fields(n_classes=MAX_CLASSES, levels=LEVELS)) and (
        not any(_matches(field.name, patterns) for field in fields)
    )


def check_attributes(
    attributes: Sequence[str], *, bands: Sequence[int], ndvi: bool, segmented: bool = True, votes: bool = True
) -> None:
    """Check that all selected columns exist.

    Parameters
    ----------
    attributes : sequence of str
        As in `select_fields`.
    bands : sequence of int
        Numbers of the bands that are used.
    ndvi : bool
        Whether the red and near-infrared bands are known.
    segmented : bool
        Whether the classes come from a segmentation and thus have a class tree and a confidence; False for existing
        labels.
    votes : bool
        Whether there is a network, which votes.

    Raises
    ------
    ConfigError
        If a name or pattern matches no column; the message gives the nearest name.
    """
    levels, indices = (LEVELS, list(_INDICES)) if segmented else ((), [])
    fields = label_fields(bands=bands, levels=levels, n_regions=1, n_classes=1, indices=indices)
    extra = extra_fields(n_classes=MAX_CLASSES if segmented else 0, levels=levels, lit=segmented)
    names = [field.name for field in (*fields, *extra)]
    absent = [group for group, patterns in EXTRA_GROUPS.items() if not any(_matches(name, patterns) for name in names)]
    for word in attributes:
        if word in absent:
            raise ConfigError(f"{word} is computed for scenes, not for labels. Leave it out of the attributes.")
    for word in attributes:
        if word not in GROUPS and not fnmatch.filter(names, word):
            near = max([*GROUPS, *names], key=lambda name: difflib.SequenceMatcher(None, word, name).ratio())
            raise ConfigError(
                f"there is no attribute {word!r}; the nearest one is {near}. Give names, patterns such as mean_*, or "
                f"{', '.join(GROUPS)}."
            )
        if word.startswith("votes") and not votes:
            raise ConfigError(f"{word} is of the network, and this method has none. Use method backprop, or omit it.")
        if word == "ndvi_mean" and not ndvi:
            raise ConfigError(
                "ndvi_mean needs the red and near-infrared bands, which the scene does not identify; give --red and "
                "--nir."
            )


def _class_type(n_classes: int) -> pa.DataType:
    return pa.int16() if n_classes < 2**15 else pa.int32()


def _band_field(statistic: str, band: int) -> Field:
    name = _STATISTICS[statistic]
    description = f"{name} of band {band}, in the units of the band"
    return Field(f"{statistic}_{band}", pa.float64(), f"{name} of band {band}", description, "everywhere")


_COLOR = Field(
    "color", pa.string(), "Colour of the class", "Mean colour of the class as #rrggbb, as in the legend", "never"
)
_PIXELS = Field("pixels", pa.int64(), "Pixels", "Number of pixels", "everywhere")
_AREA = Field("area", pa.float64(), "Area (m²)", "Area of the pixels in square metres", "everywhere")
_SHAPE = (
    _PIXELS,
    _AREA,
    Field(
        "perimeter",
        pa.float64(),
        "Perimeter along pixel edges (m)",
        "Length of the pixel edges around the region in metres",
        "everywhere",
    ),
    Field(
        "compactness",
        pa.float64(),
        "Compactness",
        "16 area / perimeter²: 1 = a square, near 0 = elongated or ragged",
        "everywhere",
    ),
)
_IN_PIXELS = {
    "area": Field("area", pa.float64(), "Area (px)", "Area in pixels, of a scene without a CRS", "everywhere"),
    "perimeter": Field(
        "perimeter",
        pa.float64(),
        "Perimeter along pixel edges (px)",
        "Number of pixel edges around the region",
        "everywhere",
    ),
}
