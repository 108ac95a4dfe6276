"""Products of a run: what each stage stores, with the type of its content, and what it is computed from.

Everything that must be removed or computed again when a stage is repeated follows from this list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from numpy.typing import NDArray

from geoseg.raster.collar import Collar
from geoseg.run.contents import (
    CodeAssignments,
    LabelMeans,
    NetworkWeights,
    SuperpixelLabels,
    SurveyDocument,
    TilePieces,
    TileRegions,
    TileSuperpixels,
    VertexCounts,
    pack,
    unpack,
)
from geoseg.run.inputs import InputFiles
from geoseg.segment.class_model import ClassModel
from geoseg.segment.feature_reduction import FeatureReduction
from geoseg.segment.repeats import Repeats
from geoseg.segment.vote_components import VoteComponents
from geoseg.segment.votes import SuperpixelTable, Votes
from geoseg.vectorize.label_index import LabelFeatures
from geoseg.vectorize.outline import CoreOutlines
from geoseg.vectorize.tile_attributes import TileAttributes
from geoseg.vectorize.value_stats import ValueSums
from geoseg.vectorize.zonal_stats import ZonalSums

Content = TypeVar("Content")
Stage = Literal["survey", "superpixels", "learn", "segment", "classify", "label", "merge", "outline", "write", "report"]

SCENE = "scene"  # the key of a product that a scene has once


@dataclass(frozen=True, eq=False)
class Product(Generic[Content]):
    """Something that a stage stores once for the scene, for each block, or for each tile.

    Each is one object; two of them are never compared by content, because a hash would visit all that they depend on.

    Parameters
    ----------
    stage : Stage
        The stage that computes it.
    name : str
    content : type
        A dataclass of arrays, see `contents.pack`.
    depends_on : tuple of Product
        The products that it is computed from.
    """

    stage: Stage
    name: str
    content: type[Content]
    depends_on: tuple[Product[Any], ...] = ()

    @property
    def folder(self) -> str:
        """Name of the folder with its files."""
        return f"{self.stage}.{self.name}"


COLLAR = Product("survey", "collar", Collar)
SURVEY = Product("survey", "survey", SurveyDocument, (COLLAR,))
FEATURE_REDUCTION = Product("survey", "features", FeatureReduction, (SURVEY,))
NETWORK = Product("learn", "network", NetworkWeights, (SURVEY,))
SUPERPIXELS = Product("superpixels", "labels", SuperpixelLabels, (SURVEY,))
TILE_SUPERPIXELS = Product("segment", "superpixels", TileSuperpixels, (SUPERPIXELS,))
VOTES = Product("segment", "votes", Votes, (SUPERPIXELS, NETWORK, FEATURE_REDUCTION))
CODE_ASSIGNMENTS = Product("classify", "code_assignments", CodeAssignments, (VOTES,))
SUPERPIXEL_TABLE = Product("classify", "superpixel_table", SuperpixelTable, (SUPERPIXELS, VOTES, CODE_ASSIGNMENTS))
MERGED_TABLE = Product("classify", "merged_table", SuperpixelTable, (SUPERPIXEL_TABLE, SUPERPIXELS))
REPEATS = Product("classify", "repeats", Repeats, (SUPERPIXEL_TABLE, MERGED_TABLE))
CLASS_MODEL = Product("classify", "class_model", ClassModel, (SUPERPIXEL_TABLE, MERGED_TABLE))
# Only for a raster of labels:
LABEL_FEATURES = Product("label", "features", LabelFeatures)
LABEL_MEANS = Product("label", "means", LabelMeans, (LABEL_FEATURES,))
PIECES = Product(
    "label",
    "pieces",
    TilePieces,
    (TILE_SUPERPIXELS, VOTES, SUPERPIXEL_TABLE, MERGED_TABLE, REPEATS, CLASS_MODEL, LABEL_MEANS),
)
REGIONS = Product("merge", "regions", TileRegions, (CLASS_MODEL, LABEL_FEATURES, PIECES))
ZONAL_SUMS = Product("outline", "zonal_sums", ZonalSums, (TILE_SUPERPIXELS, PIECES, REGIONS))
VALUE_SUMS = Product("outline", "value_sums", ZonalSums, (PIECES, REGIONS))
VOTE_COMPONENTS = Product("outline", "vote_components", VoteComponents, (SUPERPIXEL_TABLE,))
ATTRIBUTES = Product(
    "outline",
    "attributes",
    TileAttributes,
    (SURVEY, TILE_SUPERPIXELS, VOTES, SUPERPIXEL_TABLE, VOTE_COMPONENTS, PIECES, REGIONS),
)
VALUES = Product("outline", "values", ValueSums, (PIECES, REGIONS))
VERTEX_COUNTS = Product("outline", "vertex_counts", VertexCounts, (PIECES, REGIONS))
OUTLINES = Product("outline", "outlines", CoreOutlines, (PIECES, REGIONS))

PRODUCTS: tuple[Product[Any], ...] = (
    COLLAR,
    SURVEY,
    FEATURE_REDUCTION,
    NETWORK,
    SUPERPIXELS,
    TILE_SUPERPIXELS,
    VOTES,
    CODE_ASSIGNMENTS,
    SUPERPIXEL_TABLE,
    MERGED_TABLE,
    REPEATS,
    CLASS_MODEL,
    LABEL_FEATURES,
    LABEL_MEANS,
    PIECES,
    REGIONS,
    ZONAL_SUMS,
    VALUE_SUMS,
    VOTE_COMPONENTS,
    ATTRIBUTES,
    VALUES,
    VERTEX_COUNTS,
    OUTLINES,
)


def dependents(product: Product[Any]) -> list[Product[Any]]:
    """Return the products that are computed from `product`, directly or not, in the order of the stages.

    Examples
    --------
    >>> [found.name for found in dependents(REGIONS)]
    ['zonal_sums', 'value_sums', 'attributes', 'values', 'vertex_counts', 'outlines']
    """
    stale = {product}
    for later in PRODUCTS:  # each product comes after those that it depends on
        if stale & set(later.depends_on):
            stale.add(later)
    return [found for found in PRODUCTS if found in stale and found is not product]


class Folder(Protocol):
    """Storage of arrays and small documents by name and key: a `RunFolder` on disk or a `MemoryFolder`."""

    def check_is_current(self) -> None:
        """Check that the folder still exists and belongs to this run; RunError if not."""

    def put(self, step: str, key: int | str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store arrays, complete or not at all."""

    def get(self, step: str, key: int | str) -> dict[str, NDArray[Any]]:
        """Return stored arrays; RunError where they are absent or damaged."""

    def has(self, step: str, key: int | str, *, verify: bool = False) -> bool:
        """Return whether arrays are stored; with `verify`, whether they are also undamaged."""

    def finished(self, step: str, keys: Iterable[int | str] | None = None) -> set[int | str]:
        """Return the keys of undamaged arrays, among `keys` or all; remove the damaged ones."""

    def remove(self, step: str, key: int | str) -> None:
        """Remove the arrays of one key, if there are any."""

    def remove_steps(self, *steps: str) -> None:
        """Remove the arrays of all keys."""

    def put_json(self, name: str, document: Mapping[str, Any]) -> None:
        """Store a document."""

    def get_json(self, name: str) -> dict[str, Any] | None:
        """Return a stored document, or None where it is absent or damaged."""


@dataclass(frozen=True)
class ProductStore:
    """The stored products of a run.

    Parameters
    ----------
    folder : Folder
        Where they are stored. Small enough to be sent to a worker.
    inputs : InputFiles
        The files from which they are computed. Nothing is stored after one of them has changed.
    """

    folder: Folder
    inputs: InputFiles = field(default_factory=InputFiles)

    def check(self) -> None:
        """Check that products can still be stored.

        Raises
        ------
        RunError
            If an input has changed since the run began, or the folder was removed or belongs to another run.
        """
        self.inputs.check()
        self.folder.check_is_current()

    def put(self, product: Product[Content], content: Content, key: int | str = SCENE) -> None:
        """Store the content of a product, complete or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        RunError
            If an input has changed since the run began.
        """
        self.inputs.check()
        self.folder.put(product.folder, key, pack(content))

    def get(self, product: Product[Content], key: int | str = SCENE) -> Content:
        """Return the content of a product.

        Raises
        ------
        RunError
            If it is absent or damaged.
        """
        return unpack(product.content, self.folder.get(product.folder, key))

    def has(self, product: Product[Any], key: int | str = SCENE, *, verify: bool = False) -> bool:
        """Return whether a product is stored; with `verify`, whether it is also undamaged."""
        return self.folder.has(product.folder, key, verify=verify)

    def finished(self, products: Iterable[Product[Any]], keys: Iterable[int | str] | None = None) -> set[int | str]:
        """Return the keys, among `keys` or all, for which all of `products` are stored and undamaged."""
        return set.intersection(*(self.folder.finished(product.folder, keys) for product in products))

    def remove(self, products: Iterable[Product[Any]], key: int | str) -> None:
        """Remove `products` of one key, where they are stored."""
        for product in products:
            self.folder.remove(product.folder, key)

    def settle(self, product: Product[Any], keys: Sequence[int]) -> None:
        """Record for which keys a product was computed; remove its dependents if an earlier run recorded others.

        A tile that failed in the earlier run may have succeeded now, or the other way round. What was computed from all
        tiles together is then stale.
        """
        name, document = f"{product.folder}.keys", {"keys": list(keys)}
        if self.folder.get_json(name) != document:
            self.folder.remove_steps(*(stale.folder for stale in dependents(product)))
            self.folder.put_json(name, document)
