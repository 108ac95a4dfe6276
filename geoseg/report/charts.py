"""Charts of a report as SVG that a page can contain: spectra, histograms, and the class tree as a dendrogram."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geoseg.errors import shorten
from geoseg.report.class_table import ClassTable
from geoseg.report.region_sums import CONFIDENCE_BINS

_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_INK = "#123456"  # drawn in the colour of the text of the page
_BAR = "#3b6ea5"
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # names from files may contain $
    "font.size": 9,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "path.simplify": False,
}
_MAX_NAMES = 40  # names at the leaves of a dendrogram, and bands on an axis
_MAX_RANKED, _MAX_NAME = 15, 40  # columns by importance, and characters of their names


def spectra(table: ClassTable, means: NDArray[np.float64], bands: Sequence[str]) -> str:
    """Return the mean of each class in each band as lines.

    Parameters
    ----------
    table : ClassTable
    means : (class, band) float64
        NaN = unknown.
    bands : sequence of str
        Names of the bands.
    """
    with _drawing("spectra", (6.4, 3.4)) as (axes, finish):
        position = np.arange(len(bands))
        for row, (name, color) in enumerate(zip(table.names, table.colors, strict=True)):
            axes.plot(
                position, means[row], color=_INK, marker="o", markersize=4.5, linewidth=2.6
            )  # visible on any page
            axes.plot(position, means[row], color=color, marker="o", markersize=3.5, linewidth=1.6, label=name)
        step = -(-len(bands) // _MAX_NAMES)
        axes.set_xticks(position[::step], list(bands[::step]), rotation=30 if len(bands) > 4 else 0)
        axes.set_ylabel("mean, in the units of the band")
        return finish()


def size_histogram(counts: NDArray[np.int64]) -> str:
    """Return the number of regions by their size.

    Parameters
    ----------
    counts : (bin,) int64
        Bin i has 2**i to 2**(i + 1) - 1 pixels.
    """
    with _drawing("sizes", (4.6, 2.8)) as (axes, finish):
        first, last = _range(counts)
        axes.bar(np.arange(first, last), counts[first:last], width=0.9, align="edge", color=_BAR)
        ticks = np.arange(first, last + 1, max(1, -(-(last - first) // 7)))
        axes.set_xticks(ticks, [short_number(2.0**i) for i in ticks.tolist()])
        axes.set_xlabel("pixels of a region, logarithmic")
        axes.set_ylabel("regions")
        return finish()


def confidence_histogram(counts: NDArray[np.int64], name: str) -> str:
    """Return the number of regions by their confidence, in equal steps from 0 to 1."""
    with _drawing("confidence", (4.6, 2.8)) as (axes, finish):
        step = 1 / CONFIDENCE_BINS
        axes.bar(np.arange(CONFIDENCE_BINS) * step, counts, width=0.9 * step, align="edge", color=_BAR)
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"{name} of a region")
        axes.set_ylabel("regions")
        return finish()


def importance(ranked: Sequence[tuple[str, float]]) -> str:
    """Return the share of columns in the decisions, the largest at the top."""
    shown = ranked[:_MAX_RANKED]
    with _drawing("importance", (6.4, 0.24 * len(shown) + 0.7)) as (axes, finish):
        axes.barh(range(len(shown)), [share for _, share in shown], height=0.8, color=_BAR)
        axes.set_yticks(range(len(shown)), [shorten(name, _MAX_NAME) for name, _ in shown])
        axes.invert_yaxis()
        axes.set_xlabel("share in the decisions of the forest")
        return finish()


def dendrogram(table: ClassTable) -> str:
    """Return the class tree: its leaves are the classes, and the height of a merge is the sum of the costs up to it."""
    n_leaves = len(table)
    with _drawing("tree", (6.4, max(1.6, 0.24 * n_leaves + 0.7))) as (axes, finish):
        leaves = leaf_order(n_leaves, table.merges)
        place = {leaf: (float(i), 0.0) for i, leaf in enumerate(leaves)}  # y and height of each class that is left
        heights = np.cumsum(table.costs).tolist()
        for (a, b), height in zip(table.merges, heights, strict=True):
            (y_a, x_a), (y_b, x_b) = place[a], place.pop(b)
            axes.plot([x_a, height, height, x_b], [y_a, y_a, y_b, y_b], color=_INK, linewidth=1)
            place[a] = ((y_a + y_b) / 2, height)
        axes.scatter(
            np.zeros(n_leaves),
            range(n_leaves),
            color=[table.colors[leaf] for leaf in leaves],
            s=40,
            zorder=3,
            edgecolors=_INK,
        )
        axes.set_yticks(range(n_leaves), [table.names[leaf] for leaf in leaves])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("share of the scatter between the clusters that is lost by merging")
        return finish()


def leaf_order(n_leaves: int, merges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the leaves of a tree in an order in which no two branches cross.

    Examples
    --------
    >>> leaf_order(4, [(0, 2), (0, 1)])
    [0, 2, 1, 3]
    """
    groups = {leaf: [leaf] for leaf in range(n_leaves)}
    for a, b in merges:
        groups[a] += groups.pop(b)
    return [leaf for group in groups.values() for leaf in group]


def short_number(value: float) -> str:
    """Return a number with a prefix of the SI.

    Examples
    --------
    >>> short_number(512), short_number(8192), short_number(2**21)
    ('512', '8.2 k', '2.1 M')
    """
    for size, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{prefix}" if value >= 100 * size else f"{value / size:.2g}{prefix}"
    return f"{value:.3g}"


def _range(counts: NDArray[np.int64]) -> tuple[int, int]:
    used = np.flatnonzero(counts)
    return (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)


@contextmanager
def _drawing(name: str, size: tuple[float, float]) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """Yield axes, and a function that returns what was drawn on them."""
    with mpl.rc_context():
        mpl.rcdefaults()  # not the settings of a matplotlibrc in the current folder
        for key, value in (_SETTINGS | {"svg.hashsalt": name}).items():
            mpl.rcParams[key] = value
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        yield axes, lambda: _to_svg(figure, name)


def _to_svg(figure: Figure, name: str) -> str:
    buffer = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return page_svg(buffer.getvalue(), name)


def page_svg(text: str, name: str) -> str:
    """Return an SVG of matplotlib as an element of a page whose security policy forbids styles in attributes.

    Parameters
    ----------
    text : str
    name : str
        Begin of the identifiers, which must differ within the page.
    """
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _LINK)
    root = ET.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        for rule in element.attrib.pop("style", "").split(";"):
            key, _, value = rule.partition(":")
            if value and key.strip() not in ("font", "font-family"):
                element.set(key.strip(), value.strip())
        for key, value in element.attrib.items():
            element.set(key, _renamed(value.replace(_INK, "currentColor"), name))
        if "id" in element.attrib:
            element.set("id", f"{name}-{element.get('id')}")
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("aria-hidden", "true")  # its data are in a table
    root.set("class", "chart")
    return ET.tostring(root, encoding="unicode")


def _renamed(value: str, name: str) -> str:
    """Return a reference to an identifier with the begin of the identifiers."""
    return re.sub(r"^(url\(#|#)(?![0-9a-fA-F]{6}$)", rf"\g<1>{name}-", value)
