"""Save and load forests, which name the regions of other scenes.

A forest is a safetensors file, a format that holds arrays and text but no executable code: the arrays of the trees, and
one JSON document with the names and columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from geoseg import __version__
from geoseg.classify.forest import Forest
from geoseg.classify.region_table import feature_names
from geoseg.classify.trees import Trees
from geoseg.errors import ModelError, shorten
from geoseg.output.files import check_output, write_read_back
from geoseg.output.publication import Publication

FOREST_SUFFIXES = (".forest",)

_FORMAT = 1  # raise it when the arrays or the features change their meaning
_MAX_BYTES = 2**28
_DOCUMENT = "geoseg-forest"  # the only key of the metadata
_MAX_NAMES, _MAX_COLUMNS, _MAX_TEXT = 255, 4096, 200
_OF_TREES = ("roots", "attribute", "threshold", "left", "right", "shares")


def save_forest(path: Path, forest: Forest, *, overwrite: bool | Publication = False) -> None:
    """Write a forest and check that it reads back.

    Raises
    ------
    ConfigError
        If the suffix is not .forest.
    OutputError
        If the file cannot be written or does not read back. No file is left behind.
    """
    publication = check_output(path, overwrite=overwrite, suffixes=FOREST_SUFFIXES)
    document = {
        "format": _FORMAT,
        "geoseg": __version__,
        **{key: list(getattr(forest, key)) for key in ("names", "attributes", "levels")},
    }
    arrays = {name: np.ascontiguousarray(getattr(forest.trees, name)) for name in _OF_TREES}
    arrays |= {"medians": forest.medians, "sample_shares": forest.shares}
    text = json.dumps(document, ensure_ascii=False)
    write_read_back(path, safetensors.numpy.save(arrays, metadata={_DOCUMENT: text}), publication, load_forest)


def load_forest(path: Path) -> Forest:
    """Return the forest in a file of `save_forest`.

    Raises
    ------
    ModelError
        If the file does not exist, is damaged, or was written by an incompatible version of geoseg.
    """
    document, arrays = _read(path)
    if document.get("format") != _FORMAT:
        raise ModelError(
            f"{path} has format {shorten(document.get('format'), 40)}, but geoseg {__version__} reads format "
            f"{_FORMAT}. Train the forest again."
        )
    try:
        forest = _from_document(document, arrays)
        problem = _problem(forest)
    except (LookupError, TypeError, ValueError, AttributeError) as err:
        problem = shorten(err)
    if problem:
        raise ModelError(
            f"{path} is damaged or no forest of geoseg: {problem}. Copy the file again, or train it again."
        )
    return forest


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    advice = "Give a file of geoseg classify --save-model."
    if not path.is_file():
        raise ModelError(f"there is no file {path}. {advice}")
    if path.stat().st_size > _MAX_BYTES:
        raise ModelError(f"{path} has more than {_MAX_BYTES / 2**20:.0f} MiB. {advice}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            document = json.loads((file.metadata() or {}).get(_DOCUMENT, "null"))
            arrays = {name: file.get_tensor(name) for name in (*_OF_TREES, "medians", "sample_shares")}
    except (OSError, ValueError, TypeError, RecursionError, safetensors.SafetensorError) as err:
        raise ModelError(f"{path} cannot be read as a forest: {shorten(err)}. {advice}") from err
    if not isinstance(document, dict):
        raise ModelError(f"{path} is no forest of geoseg. {advice}")
    return document, arrays


def _from_document(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Forest:
    texts = {key: _texts(document[key]) for key in ("names", "attributes", "levels")}
    trees = Trees(**{name: arrays[name] for name in _OF_TREES})
    return Forest(**texts, medians=arrays["medians"], shares=arrays["sample_shares"], trees=trees)


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(each, str) and 0 < len(each) <= _MAX_TEXT for each in values):
        raise ValueError("its names or columns are no lists of text")
    if len(set(values)) < len(values):
        raise ValueError("its names or columns repeat")
    return tuple(values)


def _problem(forest: Forest) -> str:
    """Return what is wrong with a forest; "" = nothing."""
    n_names, n_attributes = len(forest.names), len(forest.attributes)
    if not (2 <= n_names <= _MAX_NAMES and 1 <= n_attributes <= _MAX_COLUMNS and len(forest.levels) <= _MAX_COLUMNS):
        return f"it has {n_names} names and {n_attributes} columns"
    if forest.medians.shape != (n_attributes,) or forest.medians.dtype != np.float32:
        return "its medians do not fit its columns"
    if not np.isfinite(forest.medians).all():
        return "its medians are no numbers"
    shares = forest.shares
    if (
        shares.shape != (n_names,)
        or shares.dtype != np.float64
        or not (shares >= 0).all()
        or abs(shares.sum() - 1) > 1e-6
    ):
        return "its shares do not fit its names"
    problem = forest.trees.problem(len(feature_names(forest.attributes, forest.levels)))
    if not problem and forest.trees.shares.shape[1] != n_names:
        return "the shares of its leaves do not fit its names"
    return problem
