"""What polygon layers hold: columns, what these mean, which of them are wanted, and batches of rows."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import shapely
from numpy.typing import NDArray

from geoseg.errors import ConfigError, OutputError

LEVELS = (2, 4, 8, 16, 32, 64, 128)  # numbers of classes at which the tree of classes becomes columns
ALWAYS = ("region", "class", "color")
GROUPS = {  # what one word of `--attributes` stands for
    "all": ("*",),
    "basic": ("pixels", "area", "perimeter"),
    "mean": ("mean_*",),
    "std": ("std_*",),
    "min": ("min_*",),
    "max": ("max_*",),
    "levels": ("class_*",),
}

_WKB = {b"ARROW:extension:name": b"geoarrow.wkb"}
_TYPES = {"Polygon": 3, "MultiPolygon": 6}  # shapely's and OGC's numbers
_INDICES = {
    "confidence": (
        "Confidence",
        "Mean share, 0 to 1, that the class has among all classes, by how near its pixels are to each; "
        "1 = nothing but this class, 0 for pixels that came from a region too small to stay",
    ),
    "ndvi_mean": ("Mean NDVI", "Mean over the pixels of (NIR - red) / (NIR + red), -1 to 1"),
}
_OF_BAND = {
    "mean": ("Mean", "Mean"),
    "std": ("Standard deviation", "Standard deviation"),
    "min": ("Least value", "Least value"),
    "max": ("Greatest value", "Greatest value"),
}


class Field(NamedTuple):
    """A column: its name in the file, its type, what QGIS calls it, and what it means."""

    name: str
    type: pa.DataType
    alias: str
    description: str = ""

    @property
    def arrow(self) -> pa.Field:
        """The column for Arrow, with names for people where GDAL and readers of Parquet look for them."""
        told = {"GDAL:OGR:alternative_name": self.alias, "GDAL:OGR:comment": self.description}
        return pa.field(self.name, self.type, metadata={key: text for key, text in told.items() if text})


@dataclass(frozen=True)
class Layer:
    """What a polygon file says about itself.

    Parameters
    ----------
    name : of the layer, as `labels`
    title, description : for people, shown by QGIS and ogrinfo
    crs : str, WKT
    fields : the columns in order, without the geometry
    geometry : "Polygon" or "MultiPolygon"
    """

    name: str
    title: str
    description: str
    crs: str
    fields: tuple[Field, ...]
    geometry: str = "Polygon"

    @property
    def schema(self) -> pa.Schema:
        """The columns and `geometry` (WKB)."""
        geometry = pa.field("geometry", pa.binary(), metadata=_WKB)
        return pa.schema([*(field.arrow for field in self.fields), geometry])

    @property
    def aliases(self) -> dict[str, str]:
        """What QGIS calls each column."""
        return {field.name: field.alias for field in self.fields}

    def batch(
        self, columns: Mapping[str, NDArray[Any] | Sequence[Any]], polygons: NDArray[Any] | pa.Array
    ) -> pa.RecordBatch:
        """Make one batch of rows for `write_polygons`.

        Parameters
        ----------
        columns : one (n,) array for each field; others are left out. NaN = no value
        polygons : (n,) shapely polygons or multi-polygons in coordinates of the CRS, or polygons as WKB already

        Raises
        ------
        OutputError
            Where something is no polygon, or a number does not fit its column.
        """
        if not isinstance(polygons, pa.Array):
            if (shapely.get_type_id(polygons) != _TYPES[self.geometry]).any():
                raise OutputError(
                    f"Layer {self.name} takes {self.geometry.lower()}s only; this is a fault of geoseg, please report "
                    f"it."
                )
            polygons = pa.array(shapely.to_wkb(polygons), pa.binary())
        try:
            arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in self.fields]
        except pa.ArrowInvalid as err:
            raise OutputError(f"Layer {self.name} cannot hold these columns: {err}") from err
        return pa.record_batch([*arrays, polygons], schema=self.schema)


def label_fields(
    *, bands: Sequence[int], levels: Sequence[int], n_regions: int, n_classes: int, indices: Sequence[str] = ()
) -> tuple[Field, ...]:
    """Return the columns of the layer `labels`.

    Parameters
    ----------
    bands : the raster's own number of each band
    levels : numbers of classes of the coarser levels of the class tree, as (2, 4, 8)
    n_regions, n_classes : the highest numbers, which decide about the types
    indices : what is known beside the bands, as ("confidence", "ndvi_mean")
    """
    region = pa.int32() if n_regions < 2**31 else pa.int64()
    class_ = _class_type(n_classes)
    return (
        Field("region", region, "Region", "Number of the region, from 1; the same as in the region raster"),
        Field("class", class_, "Class", "Number of its class, from 1; the same as in the class raster"),
        _COLOR,
        Field("pixels", pa.int64(), "Pixels", "Number of pixels"),
        Field("area", pa.float64(), "Area (m²)", "Area of the pixels in square metres"),
        Field(
            "perimeter", pa.float64(), "Perimeter along the pixels (m)", "Length of the pixel edges around it, metres"
        ),
        Field(
            "compactness", pa.float64(), "Compactness", "16 area / perimeter²: 1 = a square, near 0 = long or ragged"
        ),
        *(Field(name, pa.float64(), *_INDICES[name]) for name in indices),
        *(_of_band(family, band) for family in _OF_BAND for band in bands),
        *(
            Field(f"class_{level}", class_, f"Class of {level}", f"Its class where the tree has only {level} left")
            for level in levels
        ),
    )


def class_fields(*, bands: Sequence[int], n_classes: int) -> tuple[Field, ...]:
    """Return the columns of the layer `classes`; parameters as in `label_fields`."""
    return (
        Field("class", _class_type(n_classes), "Class", "Number of the class, from 1; the same as in the class raster"),
        Field("name", pa.string(), "Name", "Name of the class, as in the legend"),
        _COLOR,
        Field("regions", pa.int64(), "Regions", "Number of regions of the class"),
        Field("pixels", pa.int64(), "Pixels", "Number of pixels"),
        Field("area", pa.float64(), "Area (m²)", "Area of the pixels in square metres"),
        Field("share", pa.float64(), "Share of the scene", "Share of the pixels with data, 0 to 1"),
        *(_of_band("mean", band) for band in bands),
    )


def chosen(fields: Sequence[Field], wanted: Sequence[str]) -> tuple[Field, ...]:
    """Return the columns that are wanted, in their order; `ALWAYS` are among them.

    Parameters
    ----------
    wanted : names, patterns such as mean_*, or words of `GROUPS`

    Examples
    --------
    >>> fields = label_fields(bands=[1, 2], levels=[], n_regions=9, n_classes=3)
    >>> [field.name for field in chosen(fields, ["area", "mean", "std_2"])]
    ['region', 'class', 'color', 'area', 'mean_1', 'mean_2', 'std_2']
    """
    patterns = [pattern for word in wanted for pattern in GROUPS.get(word, (word,))]
    return tuple(
        field
        for field in fields
        if field.name in ALWAYS or any(fnmatch.fnmatchcase(field.name, pattern) for pattern in patterns)
    )


def check_wanted(wanted: Sequence[str], *, bands: Sequence[int], ndvi: bool, found: bool = True) -> None:
    """Look whether there can be all columns that are wanted.

    Parameters
    ----------
    wanted : as in `chosen`
    bands : the raster's own number of each band that is used
    ndvi : red and near infrared are known
    found : the classes are found, so they have a tree and a confidence; False = they are labels that were there

    Raises
    ------
    ConfigError : a word stands for nothing; says which one is nearest
    """
    levels, indices = (LEVELS, list(_INDICES)) if found else ((), [])
    fields = label_fields(bands=bands, levels=levels, n_regions=1, n_classes=1, indices=indices)
    names = [field.name for field in fields]
    for word in wanted:
        if word not in GROUPS and not fnmatch.filter(names, word):
            near = max([*GROUPS, *names], key=lambda name: difflib.SequenceMatcher(None, word, name).ratio())
            raise ConfigError(
                f"there is no attribute {word!r}; the nearest one is {near}. Names, patterns such as mean_*, and "
                f"{', '.join(GROUPS)} can be given."
            )
        if word == "ndvi_mean" and not ndvi:
            raise ConfigError(
                "ndvi_mean needs the red and the near infrared band, and the scene does not say which they are; give "
                "--red and --nir."
            )


def _class_type(n_classes: int) -> pa.DataType:
    return pa.int16() if n_classes < 2**15 else pa.int32()


def _of_band(family: str, band: int) -> Field:
    alias, text = _OF_BAND[family]
    return Field(
        f"{family}_{band}", pa.float64(), f"{alias} of band {band}", f"{text} of band {band}, in its own units"
    )


_COLOR = Field("color", pa.string(), "Colour of the class", "Mean colour of the class, #rrggbb, as in the legend")
