"""The classes of a run: names, colours, tree and statistics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RasterError, shorten
from geoseg.output.label_style import hashed_colors
from geoseg.report.finished_run import FinishedRun
from geoseg.report.polygon_file import PolygonFile
from geoseg.report.region_sums import ClassSums

MAX_CLASSES = 255  # the map has one byte per pixel, and 0 is nodata
_NAME = 60  # characters
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class ClassTable:
    """The classes of a run; row i is class i of `values`, and leaf i of the tree.

    Parameters
    ----------
    values : (class,) int64
        Numbers of the classes, ascending.
    names : tuple of str
        Without their share, such as "class 3".
    colors : tuple of str
        As `#rrggbb`.
    merges : list of (int, int)
        Each step of the tree merges the classes that contain these leaves, from 0. Empty = no tree.
    costs : list of float
        Of each step.
    """

    values: NDArray[np.int64]
    names: tuple[str, ...]
    colors: tuple[str, ...]
    merges: list[tuple[int, int]]
    costs: list[float]

    def __len__(self) -> int:
        return len(self.values)

    def rows_of(self, classes: NDArray[Any]) -> NDArray[np.int64]:
        """Return the row of each class, from 1; 0 for numbers that are not in the table."""
        if classes.dtype in (np.uint8, np.uint16):  # of class rasters: every number once
            return self.rows_of(np.arange(np.iinfo(classes.dtype).max + 1))[classes]
        numbers = classes.astype(np.int64)
        position = np.minimum(np.searchsorted(self.values, numbers), len(self.values) - 1)
        return np.where(self.values[position] == numbers, position + 1, 0)


def class_table(run: FinishedRun, file: PolygonFile, values: NDArray[np.int64]) -> ClassTable:
    """Return the classes of a run.

    Parameters
    ----------
    run : FinishedRun
    file : PolygonFile
    values : (class,) int64
        Numbers of the classes that have polygons, ascending.

    Raises
    ------
    RasterError
        If there are more classes than a report can show.
    """
    known = dict({} if run.classes is None else run.classes.classes)
    known |= {i: (name, "") for i, name in enumerate(file.names, start=1) if i not in known}
    is_numbered = bool(known) and set(known) == set(range(1, len(known) + 1))
    if is_numbered:
        values = np.union1d(values, np.arange(1, len(known) + 1))
    if len(values) > MAX_CLASSES:
        raise RasterError(
            f"{file.path} has {len(values)} classes; a report shows at most {MAX_CLASSES}. Make a report of a result "
            f"with fewer classes."
        )
    colors = _colors(file, values)
    names = tuple(_without_share(known[value][0]) if value in known else f"class {value}" for value in values.tolist())
    colors |= {value: color for value, (_, color) in known.items() if _COLOR.fullmatch(color)}
    merges = [] if run.classes is None or not is_numbered or len(values) != len(known) else run.classes.merges
    pairs = [(min(a, b) - 1, max(a, b) - 1) for a, b, _ in merges]
    if not _is_tree(pairs, len(values)):
        pairs = []
    costs = [cost for _, _, cost in merges] if pairs else []
    return ClassTable(values, names, tuple(colors[value] for value in values.tolist()), pairs, costs)


def nodata_share(sums: ClassSums, shape: tuple[int, int]) -> float | None:
    """Return the share of the pixels of a scene that have no class; None = the sizes of the regions are unknown."""
    pixels = int(sums.pixels.sum())
    return None if pixels == 0 else max(0.0, 1 - pixels / (shape[0] * shape[1]))


def _is_tree(merges: Sequence[tuple[int, int]], n_leaves: int) -> bool:
    """Return whether each step merges two classes that are left."""
    left = set(range(n_leaves))
    for a, b in merges:
        if not (a < b and {a, b} <= left):
            return False
        left.remove(b)
    return True


def _without_share(name: str) -> str:
    return shorten(re.sub(r" \(\d+\.\d %\)$", "", name), _NAME) or "class"


def _colors(file: PolygonFile, values: NDArray[np.int64]) -> dict[int, str]:
    """Return the colour of each class in the polygons; one that depends on the number where there is none."""
    made = hashed_colors(values).tolist()
    colors = {value: f"#{r:02x}{g:02x}{b:02x}" for value, (r, g, b) in zip(values.tolist(), made, strict=True)}
    if "color" not in file.columns:
        return colors
    for rows in file.rows(["class", "color"]):
        numbers, first = np.unique(rows["class"].astype(np.int64), return_index=True)
        of_class = zip(numbers.tolist(), rows["color"][first].tolist(), strict=True)
        colors |= {value: color for value, color in of_class if isinstance(color, str) and _COLOR.fullmatch(color)}
    return colors
