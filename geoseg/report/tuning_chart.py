"""Chart of a tuning: variance within regions against Moran's I, and F against the size of regions."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from geoseg.report.charts import page_svg

_COLORS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#b8a800", "#d95f02", "#7f7f7f")
_MARKERS = {"best": ("*", "#c00000", 200), "present values": ("s", "#000000", 60)}
_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Parameters for {title}</title>
<style>
body {{ font-family: sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; }}
svg {{ width: 100%; height: auto; }}
td, th {{ padding: 0.2em 1em; text-align: right; }}
pre {{ background: #f2f2f2; padding: 1em; }}
</style>
<h1>Parameters for {title}</h1>
{chart}
<pre>{lines}</pre>
<table>
{rows}
</table>
</html>
"""


class Point(NamedTuple):
    """Scores of one combination of parameters."""

    scale: float
    mean_pixels: float
    variance: float
    moran: float
    f: float


def svg(points: Sequence[Point], marks: Mapping[str, Point], scale_name: str) -> str:
    """Return the chart as an SVG element of a page.

    Parameters
    ----------
    points : sequence of Point
    marks : mapping of {"best", "present values"} to Point
    scale_name : str
        Name of the superpixel option.
    """
    buffer = io.StringIO()
    with _settings():
        canvas: Any = FigureCanvasSVG(_figure(points, marks, scale_name))
        canvas.print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return page_svg(buffer.getvalue(), "tuning")


def write_png(path: Path, points: Sequence[Point], marks: Mapping[str, Point], scale_name: str) -> None:
    """Write the chart as a PNG; the parameters are those of `svg`."""
    with _settings():
        figure = _figure(points, marks, scale_name)
        figure.patch.set_facecolor("white")
        canvas: Any = FigureCanvasAgg(figure)
        canvas.print_png(path, metadata={"Software": None})


def page(title: str, chart: str, table: Sequence[Sequence[str]], lines: str) -> str:
    """Return a page that loads nothing: the chart, the lines of configuration and the table, whose head is first."""
    rows = []
    for i, row in enumerate(table):
        tag = "td" if i else "th"
        rows.append(f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in row)}</tr>")
    return _PAGE.format(title=html.escape(title), chart=chart, lines=html.escape(lines), rows="\n".join(rows))


def _settings() -> Any:
    """Return a context with the settings of matplotlib itself, not those of a matplotlibrc."""
    changes: Any = {"svg.fonttype": "none", "svg.hashsalt": "tuning", "font.size": 9}
    return mpl.rc_context({**mpl.rcParamsDefault, **changes, "backend": mpl.rcParams["backend"]})


def _figure(points: Sequence[Point], marks: Mapping[str, Point], scale_name: str) -> Figure:
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _scatter(left, points, marks, [(point.moran, point.variance) for point in points], ("moran", "variance"))
    left.set_xlabel("Moran's I between regions")
    left.set_ylabel("variance within regions, in units of the stretch")
    _scatter(right, points, marks, [(point.mean_pixels, point.f) for point in points], ("mean_pixels", "f"))
    right.set_xscale("log", base=2)
    right.xaxis.set_major_formatter(ScalarFormatter())
    right.set_xlabel("mean pixels of a region")
    right.set_ylabel("F")
    left.legend(title=scale_name, frameon=False)
    return figure


def _scatter(
    axes: Axes,
    points: Sequence[Point],
    marks: Mapping[str, Point],
    places: Sequence[tuple[float, float]],
    names: tuple[str, str],
) -> None:
    for i, scale in enumerate(sorted({point.scale for point in points})):
        own = [place for place, point in zip(places, points, strict=True) if point.scale == scale]
        axes.scatter(
            [x for x, _ in own], [y for _, y in own], s=22, color=_COLORS[i % len(_COLORS)], label=f"{scale:.4g}"
        )
    for name, point in marks.items():
        marker, color, size = _MARKERS[name]
        x, y = (getattr(point, each) for each in names)
        axes.scatter(x, y, s=size, marker=marker, facecolors="none", edgecolors=color, linewidths=1.4, label=name)
