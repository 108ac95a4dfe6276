"""Columns of regions besides zonal statistics: shape, texture, context, objects; only those asked for are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import pyarrow as pa

N_VOTES = 4  # components of the votes
MAX_CLASSES = 32  # up to so many classes there are columns of the border per class

Comparable = Literal["everywhere", "scene", "never", ""]  # whose regions a column compares


class Field(NamedTuple):
    """A column.

    Parameters
    ----------
    name : str
        Name in the file.
    type : pyarrow.DataType
    alias : str
        Name displayed by QGIS.
    description : str
        Meaning and unit.
    comparable : {"everywhere", "scene", "never", ""}
        Whether two regions resemble each other if their values do: also those of different scenes, only those of one
        scene, or never, since the values are numbers that stand for classes or regions, or are tied to such numbers.
        Only columns that are comparable are attributes of a forest. "" = open, which `columns.label_fields` and
        `extra_fields` must not leave open.
    """

    name: str
    type: pa.DataType
    alias: str
    description: str = ""
    comparable: Comparable = ""

    @property
    def arrow(self) -> pa.Field:
        """Arrow field, with alias and description as metadata that GDAL reads."""
        metadata = {"GDAL:OGR:alternative_name": self.alias, "GDAL:OGR:comment": self.description}
        return pa.field(self.name, self.type, metadata={key: text for key, text in metadata.items() if text})


_SHAPE = {
    "elongation": ("Elongation", "1 - minor / major axis of the ellipse with the same second moments: 0 = round"),
    "orientation": ("Orientation (°)", "Direction of the major axis, degrees clockwise from grid north, 0 to 180"),
    "rectangularity": ("Rectangularity", "Area / area of the smallest rectangle around the region, 0 to 1"),
    "solidity": ("Solidity", "Area / area of the convex hull, 0 to 1"),
}
_TEXTURE = {
    "texture_contrast": ("Texture contrast", "Mean squared difference between the grey levels of adjacent pixels"),
    "texture_homogeneity": ("Texture homogeneity", "Mean of 1 / (1 + squared difference of grey levels), 0 to 1"),
    "texture_entropy": ("Texture entropy", "Entropy of the pairs of grey levels of adjacent pixels, natural logarithm"),
    "gradient": ("Gradient", "Mean difference in brightness between adjacent pixels of the region, 1 = the stretch"),
}
_BRIGHT_CONTEXT = {
    "border_contrast": (
        "Contrast at the border",
        "Mean absolute difference in brightness across the border to other regions, 1 = the stretch",
    ),
    "border_difference": (
        "Difference at the border",
        "Mean brightness inside minus outside along the border to other regions, 1 = the stretch",
    ),
}
_CONTEXT = {
    "neighbours": ("Neighbours", "Number of other regions that share a border with it"),
    "border_nodata": ("Border to nodata", "Share of the border to nodata or the outside of the scene, 0 to 1"),
    "nodata_distance": (
        "Distance to nodata (m)",
        "From the centre to nodata or the outside of the scene, in metres, in steps of 8 pixels or more",
    ),
}
_OF_SCENE = ("border_nodata", "nodata_distance")  # depend on where the scene ends
EXTRA_GROUPS = {  # names of groups → patterns, as `columns.GROUPS`
    "shape": tuple(_SHAPE),
    "texture": tuple(_TEXTURE),
    "context": (*_BRIGHT_CONTEXT, *_CONTEXT, "border_class_*"),
    "votes": ("votes_*",),
    "objects": ("object_*",),
}


def extra_fields(*, n_classes: int, levels: Sequence[int], n_regions: int = 1, lit: bool = True) -> tuple[Field, ...]:
    """Return the columns of all groups of `EXTRA_GROUPS`.

    Parameters
    ----------
    n_classes : int
        Classes that a border can be to; above `MAX_CLASSES` there is no column for each.
    levels : sequence of int
        Numbers of classes of the coarser levels of the class tree.
    n_regions : int
        Highest number of an object; determines the integer type.
    lit : bool
        Whether the brightness of pixels is known, as that of a scene is.
    """
    bright = _float_fields(_TEXTURE) if lit else ()
    context = _float_fields((_BRIGHT_CONTEXT if lit else {}) | _CONTEXT)
    objects = pa.int32() if n_regions < 2**31 else pa.int64()
    return (
        *_float_fields(_SHAPE),
        *bright,
        *(field._replace(type=pa.int32()) if field.name == "neighbours" else field for field in context),
        *(
            Field(
                f"border_class_{number}",
                pa.float64(),
                f"Border to class {number}",
                f"Share of the border to regions of class {number}, 0 to 1",
                "never",
            )
            for number in range(1, n_classes + 1 if n_classes <= MAX_CLASSES else 1)
        ),
        *(
            Field(
                f"votes_{number}",
                pa.float64(),
                f"Votes, component {number}",
                f"Mean of principal component {number} of the votes of the network in the scene",
                "scene",
            )
            for number in range(1, N_VOTES + 1 if lit else 1)
        ),
        *(
            Field(
                f"object_{level}",
                objects,
                f"Object of {level} classes",
                f"Number of the connected region of the same class_{level}, from 1",
                "never",
            )
            for level in levels
        ),
    )


def _float_fields(columns: Mapping[str, tuple[str, str]]) -> tuple[Field, ...]:
    return tuple(
        Field(name, pa.float64(), *texts, "scene" if name in _OF_SCENE else "everywhere")
        for name, texts in columns.items()
    )
