"""Write the classes of a scene and their class tree as a JSON document.

The document contains the legend, the statistics of each class and the tree, for programs and for formats that cannot
store styles.
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
from geoseg.output.files import check_output, staged, writing
from geoseg.output.publication import Publication
from geoseg.output.style import Legend, min_color_distance
from geoseg.segment.class_tree import ClassTree
from geoseg.segment.grouped import GroupedSums
from geoseg.segment.table_storage import batches
from geoseg.vectorize.zonal_stats import ZonalSums

CLASSES_SUFFIXES = (".json",)

_FORMAT = 1  # raise it when a key of the document is removed or changes its meaning


@dataclass(frozen=True)
class Classes:
    """Statistics of the classes of a scene; row i and leaf i of the tree are class i + 1.

    Parameters
    ----------
    legend : Legend
        Colours and names.
    tree : ClassTree
        How the classes merge into fewer classes.
    pixels : (class,) int64
        Pixels of all polygons of the class; 0 if it has none.
    area : (class,) float64
        Square metres.
    means : (class, band) float64
        In the units of the raster; NaN for classes without pixels.
    bands : sequence of int
        Band numbers in the raster, from 1.
    regions : (class,) int64
        Number of regions.
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
        cls, legend: Legend, tree: ClassTree, classes: NDArray[np.integer], sums: ZonalSums, bands: Sequence[int]
    ) -> Classes:
        """Sum the statistics of regions by class.

        Parameters
        ----------
        legend : Legend
        tree : ClassTree
        classes : (region,) int64
            Class of each region, from 1.
        sums : ZonalSums
            Statistics of the regions, which are read some at a time.
        bands : sequence of int
        """
        n = tree.n_clusters
        pixels, n_regions = np.zeros(n, np.int64), np.zeros(n, np.int64)
        totals, area = GroupedSums(n), GroupedSums(n)
        totals.add(sums.mean[:0], classes[:0])
        for some in batches(len(classes)):
            rows, part = classes[some] - 1, sums.rows(some)
            np.add.at(pixels, rows, part.pixels)
            n_regions += np.bincount(rows[part.pixels > 0], minlength=n)
            totals.add(part.mean, rows, weights=part.pixels)
            area.add(part.area, rows)
        means = totals.total / np.where(pixels > 0, pixels, np.nan)[:, None]
        return cls(legend, tree, pixels, area.total, means, bands, n_regions)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns of `columns.class_fields`, one row per class."""
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


def class_levels(tree: ClassTree) -> dict[int, NDArray[np.int64]]:
    """Return the coarser levels of a class tree, number of classes → (class,) class at that level, from 1.

    Parameters
    ----------
    tree : ClassTree

    Returns
    -------
    dict of int to (class,) int64
        Only levels with fewer classes than the tree.

    Examples
    --------
    >>> class_levels(ClassTree(4, np.array([[0, 2], [0, 1]]), np.array([0.1, 0.3])))
    {2: array([1, 1, 1, 2])}
    """
    return {n: tree.level(n) for n in LEVELS if n < tree.n_clusters}


def class_document(classes: Classes, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document as values that JSON can store.

    Parameters
    ----------
    classes : Classes
    about : dict
        Further entries, such as the name of the scene; they come first.

    Returns
    -------
    dict
    """
    parents = {f"class_{n}": coarser.tolist() for n, coarser in class_levels(classes.tree).items()}
    return {
        "format": _FORMAT,
        **about,
        "n_classes": classes.tree.n_clusters,
        "color_distance": min_color_distance(classes.legend.colors),
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


def write_classes(path: Path, document: Mapping[str, Any], *, overwrite: bool | Publication = False) -> None:
    """Write the document and check that it reads back.

    Parameters
    ----------
    path : Path
        Ends in .json.
    document : dict
    overwrite : bool or Publication

    Raises
    ------
    ConfigError
        If the suffix is not .json.
    OutputError
        If `check_output` fails, or the file cannot be written or does not read back. No file is left behind.
    """
    publication = check_output(path, overwrite=overwrite, suffixes=CLASSES_SUFFIXES)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with staged(path, publication) as folder, writing(path):
        (folder / path.name).write_text(text, encoding="utf-8")
        if (folder / path.name).read_text(encoding="utf-8") != text:
            raise OutputError(f"{path} does not read back as it was written. Is the disk full?")


def _merges(classes: Classes) -> list[dict[str, Any]]:
    """Return the merges from all classes down to two; each merged class is named by its lowest class number."""
    pixels, steps = classes.pixels.copy(), []
    for i, ((a, b), cost) in enumerate(zip(classes.tree.merges.tolist(), classes.tree.costs.tolist(), strict=True)):
        sizes = [int(pixels[a]), int(pixels[b])]
        pixels[a] += pixels[b]
        left = classes.tree.n_clusters - i - 1
        steps.append({"left": left, "joins": [a + 1, b + 1], "pixels": sizes, "cost": cost})
    return steps


def _nested(classes: Classes) -> dict[str, Any]:
    """Return the tree in the format of d3.hierarchy: nodes with `children` are merges, leaves are classes."""
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
