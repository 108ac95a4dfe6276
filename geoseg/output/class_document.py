"""The classes as a document of their own: what each one is, and the tree that joins them.

It tells programs what the style and the columns of the polygons tell people, and it goes with formats that can hold
neither a style nor a tree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import OutputError
from geoseg.output.columns import LEVELS
from geoseg.output.polygons import check_output, staged, writing
from geoseg.output.style import Legend, smallest_distance
from geoseg.segment.class_tree import ClassTree
from geoseg.segment.grouped import grouped_sum
from geoseg.vectorize.zonal_stats import Sums

CLASSES_SUFFIXES = (".json",)

_FORMAT = 1  # to be raised when a name in the document vanishes or changes its meaning


@dataclass(frozen=True)
class Classes:
    """The classes of a scene: row i, and leaf i of the tree, is class i + 1.

    Parameters
    ----------
    legend : colours and names, as in the style
    tree : how the classes would go on being joined
    pixels : (class,) int64, of all its polygons; 0 where none is left
    area : (class,) float64, m²
    means : (class, band) float64, in the raster's own units; NaN where there are no pixels
    bands : the raster's own number of each band
    regions : (class,) int64, number of its regions
    """

    legend: Legend
    tree: ClassTree
    pixels: NDArray[np.int64]
    area: NDArray[np.float64]
    means: NDArray[np.float64]
    bands: Sequence[int]
    regions: NDArray[np.int64]

    @classmethod
    def of_regions(
        cls, legend: Legend, tree: ClassTree, classes: NDArray[np.integer], sums: Sums, bands: Sequence[int]
    ) -> Classes:
        """Add up regions to classes.

        Parameters
        ----------
        classes : (region,) int64, from 1
        sums : of the regions
        """
        rows, n = classes - 1, tree.n_clusters
        pixels = np.zeros(n, np.int64)
        np.add.at(pixels, rows, sums.pixels)
        totals = grouped_sum(sums.mean, rows, n, weights=sums.pixels)
        means = totals / np.where(pixels > 0, pixels, np.nan)[:, None]
        area = grouped_sum(sums.area, rows, n)
        n_regions = np.bincount(rows[sums.pixels > 0], minlength=n)
        return cls(legend, tree, pixels, area, means, bands, n_regions)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns of a layer of classes, one row for each, as `layers.class_fields` names them."""
        return {
            "class": np.arange(1, len(self.pixels) + 1),
            "name": np.array(self.legend.names),
            "color": np.array(self.legend.hexes),
            "regions": self.regions,
            "pixels": self.pixels,
            "area": self.area,
            "share": self.pixels / max(int(self.pixels.sum()), 1),
            **{f"mean_{band}": self.means[:, i] for i, band in enumerate(self.bands)},
        }


def levels_of(tree: ClassTree) -> dict[int, NDArray[np.int64]]:
    """Return the coarser class, from 1, of each class, by number of classes; no level is as fine as the tree.

    Examples
    --------
    >>> levels_of(ClassTree(4, np.array([[0, 2], [0, 1]]), np.array([0.1, 0.3])))
    {2: array([1, 1, 1, 2])}
    """
    return {n: tree.level(n) for n in LEVELS if n < tree.n_clusters}


def class_document(classes: Classes, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document, fit for JSON.

    Parameters
    ----------
    about : what else is known, as the name of the scene; comes first
    """
    parents = {f"class_{n}": coarser.tolist() for n, coarser in levels_of(classes.tree).items()}
    return {
        "format": _FORMAT,
        **about,
        "n_classes": classes.tree.n_clusters,
        "color_distance": smallest_distance(classes.legend.colors),
        "classes": [
            {
                "class": i + 1,
                "name": name,
                "color": color,
                "pixels": int(classes.pixels[i]),
                "area": float(classes.area[i]),
                "regions": int(classes.regions[i]),
                **{f"mean_{band}": _number(mean) for band, mean in zip(classes.bands, classes.means[i], strict=True)},
                **{level: of_class[i] for level, of_class in parents.items()},
            }
            for i, (name, color) in enumerate(zip(classes.legend.names, classes.legend.hexes, strict=True))
        ],
        "merges": _merges(classes),
        "tree": _nested(classes),
    }


def write_classes(path: Path, document: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Write the document, whole or not at all, and look whether it reads back.

    Raises
    ------
    ConfigError, OutputError : as `check_output`; and where what was written does not read back
    """
    check_output(path, overwrite=overwrite, suffixes=CLASSES_SUFFIXES)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with staged(path) as folder, writing(path):
        (folder / path.name).write_text(text, encoding="utf-8")
        if (folder / path.name).read_text(encoding="utf-8") != text:
            raise OutputError(f"{path} does not read back as it was written. Is the disk full?")


def _merges(classes: Classes) -> list[dict[str, Any]]:
    """Return the steps from all classes down to two; each says the two it joins by the lowest class in them."""
    pixels, steps = classes.pixels.copy(), []
    for i, ((a, b), cost) in enumerate(zip(classes.tree.merges.tolist(), classes.tree.costs.tolist(), strict=True)):
        sizes = [int(pixels[a]), int(pixels[b])]
        pixels[a] += pixels[b]
        left = classes.tree.n_clusters - i - 1
        steps.append({"left": left, "joins": [a + 1, b + 1], "pixels": sizes, "cost": cost})
    return steps


def _nested(classes: Classes) -> dict[str, Any]:
    """Return the tree as d3.hierarchy reads it: what has `children` was joined, what has none is a class."""
    nodes = {
        i: {"name": name, "class": i + 1, "pixels": int(classes.pixels[i])}
        for i, name in enumerate(classes.legend.names)
    }
    for (a, b), step in zip(classes.tree.merges.tolist(), _merges(classes), strict=True):
        pair = [nodes[a], nodes.pop(b)]
        nodes[a] = {"left": step["left"], "cost": step["cost"], "pixels": sum(step["pixels"]), "children": pair}
    return {"name": "scene", "pixels": int(classes.pixels.sum()), "children": list(nodes.values())}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
