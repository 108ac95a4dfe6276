"""The layer of named regions: its columns, its rows and its style."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.output.columns import Layer
from geoseg.output.extra_columns import Field
from geoseg.report.polygon_file import PolygonFile

UNKNOWN = "unknown"

NAME_FIELDS = (
    Field("name", pa.string(), "Name", f"Most probable name, by a forest trained with samples; or {UNKNOWN}", "never"),
    Field("probability", pa.float32(), "Probability", "Probability of the most probable name, 0 to 1", "never"),
    Field(
        "second",
        pa.string(),
        "Second name",
        f"Second most probable name; of regions that are {UNKNOWN}, the most probable one",
        "never",
    ),
)
_GEOMETRY = "geometry"


@dataclass(frozen=True)
class Named:
    """Names of regions.

    Parameters
    ----------
    names : tuple of str
        The last one is `UNKNOWN`.
    first, second : (region,) int16
        Position in `names`.
    probability : (region,) float32
        Of the most probable name.
    """

    names: tuple[str, ...]
    first: NDArray[np.int16]
    second: NDArray[np.int16]
    probability: NDArray[np.float32]

    @classmethod
    def of(cls, names: Sequence[str], probabilities: NDArray[np.float32], min_probability: float) -> Named:
        """Return the two most probable names of each region; `UNKNOWN` below the least probability.

        Examples
        --------
        >>> named = Named.of(["road", "water"], np.array([[0.9, 0.1], [0.45, 0.55]], np.float32), 0.6)
        >>> [named.names[i] for i in named.first], [named.names[i] for i in named.second]
        (['road', 'unknown'], ['water', 'water'])
        """
        rows = np.arange(len(probabilities))
        best = probabilities.argmax(axis=1)
        probability = probabilities[rows, best]
        others = probabilities.copy()
        others[rows, best] = -1
        is_unknown = probability < min_probability
        first, second = np.where(is_unknown, len(names), best), np.where(is_unknown, best, others.argmax(axis=1))
        return cls((*names, UNKNOWN), first.astype(np.int16), second.astype(np.int16), probability)

    def columns(self, rows: slice | NDArray[np.int64]) -> list[pa.Array]:
        """Return the columns of `NAME_FIELDS` of some regions."""
        dictionary = pa.array(self.names, pa.string())
        return [
            dictionary.take(pa.array(self.first[rows])),
            pa.array(self.probability[rows]),
            dictionary.take(pa.array(self.second[rows])),
        ]


def named_layer(file: PolygonFile, title: str, description: str, added: Sequence[Field] = NAME_FIELDS) -> Layer:
    """Return the layer of a file, with columns added behind its own; columns of the same name are replaced."""
    names = {field.name for field in added}
    own = tuple(field_of(each) for each in file.schema() if each.name not in names)
    return Layer("labels", title, description, file.crs(), (*own, *added), file.geometry_type())


def field_of(field: pa.Field) -> Field:
    """Return a column of a file with the alias and description that it has there."""
    texts = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
    alias = texts.get("GDAL:OGR:alternative_name", texts.get("alias", field.name))
    return Field(field.name, field.type, alias, texts.get("GDAL:OGR:comment", texts.get("description", "")))


def with_columns(
    file: PolygonFile, layer: Layer, columns_of: Callable[[pa.RecordBatch, slice], Sequence[pa.Array]]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file with the last columns of a layer from a function, in the order of the file.

    Parameters
    ----------
    file : PolygonFile
    layer : Layer
        From `named_layer`.
    columns_of : callable
        Takes a batch and its rows among all; returns the added columns.
    """
    schema, first = layer.schema, 0
    for batch in file.batches([*file.columns, _GEOMETRY]):
        added = columns_of(batch, slice(first, first + batch.num_rows))
        kept = [batch.column(each.name) for each in layer.fields[: len(layer.fields) - len(added)]]
        geometry = pa.array(batch.column(_GEOMETRY).cast(pa.binary()))
        columns = [each.cast(field.type) for each, field in zip([*kept, *added], layer.fields, strict=True)]
        yield pa.record_batch([*columns, geometry], schema=schema)
        first += batch.num_rows
