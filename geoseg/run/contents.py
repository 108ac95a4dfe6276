"""Contents of the products of a run that no other module defines: one small dataclass of arrays each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from geoseg.segment.survey import Survey
from geoseg.vectorize.regions import Pieces

Arrays = Mapping[str, NDArray[Any]]
Content = TypeVar("Content")


@dataclass(frozen=True)
class SurveyDocument:
    """The survey of a scene."""

    survey: Survey

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the survey as the bytes of a JSON document."""
        return {"json": np.frombuffer(json.dumps(self.survey.to_dict()).encode(), np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> SurveyDocument:
        """Return the survey from the arrays of `to_arrays`."""
        return cls(Survey.from_dict(json.loads(arrays["json"].tobytes())))


@dataclass(frozen=True)
class NetworkWeights:
    """Weights of the scene network by parameter name, as `network.to_arrays` returns them."""

    arrays: dict[str, NDArray[Any]]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the weights by name."""
        return self.arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> NetworkWeights:
        """Return the weights from the arrays of `to_arrays`."""
        return cls(dict(arrays))


@dataclass(frozen=True)
class SuperpixelLabels:
    """Superpixels of one block over its read window.

    Parameters
    ----------
    labels : (y, x) int32
        From 0; -1 = nodata.
    in_core : (n,) bool
        Whether the block owns each superpixel, see `superpixels.BlockSuperpixels`.
    """

    labels: NDArray[np.int32]
    in_core: NDArray[np.bool_]


@dataclass(frozen=True)
class TileSuperpixels:
    """Superpixel of each pixel of a tile's core.

    Parameters
    ----------
    index : (y, x) int32
        Row of the tile's `Votes`; -1 = nodata.
    """

    index: NDArray[np.int32]


@dataclass(frozen=True)
class CodeAssignments:
    """Scene codes of the codes of one tile that was trained alone.

    Parameters
    ----------
    weights : (code, scene code) float64
        Each row sums to 1.
    """

    weights: NDArray[np.float64]


@dataclass(frozen=True)
class TilePieces:
    """4-connected pieces of one class inside the core of a tile.

    Parameters
    ----------
    index : (y, x) int32
        Piece of each pixel, from 1; 0 = nodata.
    table : Pieces
        One row per piece.
    classes : (superpixel + 1,) int64
        Class of each superpixel of the tile's `Votes`; the last is nodata. Empty for a raster of labels.
    confidence : (superpixel + 1,) float32
        Membership of each superpixel in its class, from 0 to 1. Empty for a raster of labels.
    """

    index: NDArray[np.int32]
    table: Pieces
    classes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    confidence: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name."""
        table = {f"table_{name}": array for name, array in self.table.to_arrays().items()}
        return {"index": self.index, "classes": self.classes, "confidence": self.confidence, **table}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> TilePieces:
        """Return the pieces from the arrays of `to_arrays`."""
        own = {name: array for name, array in arrays.items() if not name.startswith("table_")}
        table = {name.removeprefix("table_"): array for name, array in arrays.items() if name.startswith("table_")}
        return cls(table=Pieces.from_arrays(table), **own)


@dataclass(frozen=True)
class TileRegions:
    """Regions of the pieces of a tile and of the pixels around its core.

    Parameters
    ----------
    lookup : (piece + 1,) int64
        Region of each piece, from 1; 0 stays 0.
    classes : (piece + 1,) int32
        Class of the region of each piece.
    pixels : (piece + 1,) int64
        Pixels of that region in the whole scene.
    above, below : (width + 2,) int64
        Regions of the pixels above and below the core, with the corners; 0 = nodata or outside the scene.
    left, right : (height,) int64
        Regions of the pixels left and right of the core.
    """

    lookup: NDArray[np.int64]
    classes: NDArray[np.int32]
    pixels: NDArray[np.int64]
    above: NDArray[np.int64]
    below: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]


@dataclass(frozen=True)
class VertexCounts:
    """Vertices of the regions that reach a tile line, before simplification.

    Parameters
    ----------
    regions : (n,) int64
    vertices : (n,) int64
    """

    regions: NDArray[np.int64]
    vertices: NDArray[np.int64]


@dataclass(frozen=True)
class LabelMeans:
    """Mean values of the labels of a tile over the whole scene.

    Parameters
    ----------
    features : (label + 1, band) float64
        Row 0 is not used; NaN = no pixel of the label has a value.
    """

    features: NDArray[np.float64]


def pack(content: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays of a product's content by name: those of its `to_arrays`, or else its fields."""
    if hasattr(content, "to_arrays"):
        return dict(content.to_arrays())
    return {field.name: getattr(content, field.name) for field in fields(content)}


def unpack(kind: type[Content], arrays: Arrays) -> Content:
    """Return the content of type `kind` from the arrays of `pack`."""
    if hasattr(kind, "from_arrays"):
        content: Content = kind.from_arrays(dict(arrays))  # type: ignore[attr-defined]  # asked one line above
        return content
    return kind(**arrays)
