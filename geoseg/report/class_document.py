"""Read what a report needs of the class document of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.errors import shorten
from geoseg.raster.regular_file import regular_file

MAX_DOCUMENT = 64 * 2**20  # bytes


@dataclass(frozen=True)
class ClassDocument:
    """What a report needs of the class document of a run.

    Parameters
    ----------
    classes : dict of int to (str, str)
        Class → its name and colour; "" = the colour is in the polygons.
    merges : list of (int, int, float)
        Steps of the class tree: the two classes that are merged, each named by its lowest class, and the cost.
    """

    classes: Mapping[int, tuple[str, str]]
    merges: list[tuple[int, int, float]]


def is_of_labels(facts: Mapping[str, Any]) -> bool:
    """Return whether a run has outlined labels."""
    return "labels" in facts


def read_classes(path: Path, facts: Mapping[str, Any]) -> tuple[ClassDocument | None, str]:
    """Return the class document of a run, and a note if it is missing or damaged.

    A run on labels has none, but the names of the categories.
    """
    if is_of_labels(facts):
        names = {int(label): (str(name), "") for label, name in dict(facts.get("categories", {})).items()}
        return ClassDocument(names, []), ""
    try:
        if regular_file(path).stat().st_size > MAX_DOCUMENT:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
        classes = {int(each["class"]): (str(each["name"]), str(each["color"])) for each in document["classes"]}
        merges = [(int(each["joins"][0]), int(each["joins"][1]), float(each["cost"])) for each in document["merges"]]
    except FileNotFoundError:
        return None, f"{path.name} is missing, so the names of the classes and their tree are not shown."
    except (OSError, ValueError, KeyError, IndexError, TypeError, RecursionError) as err:
        return None, f"{path.name} cannot be read ({shorten(err)}), so the names of the classes are not shown."
    return ClassDocument(classes, merges), ""
