"""Render the content of a report as one HTML page that may load nothing: its security policy forbids all addresses."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from geoseg.errors import shorten
from geoseg.report import charts
from geoseg.report.class_document import is_of_labels
from geoseg.report.class_table import nodata_share
from geoseg.report.confusion import confusion_rows
from geoseg.report.content import Content
from geoseg.report.pictures import to_jpeg, to_png, to_zlib
from geoseg.report.provenance import CONFIG_NAME, changed_options, changed_yaml, command, stage_times
from geoseg.report.quality import least_confident
from geoseg.report.region_sums import CONFIDENCE_BINS

_ASSETS = "geoseg.report", "assets"
_MOST_FAILED = 200  # rows in the table of failed tiles


def render(content: Content) -> str:
    """Return a report as HTML text."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "area": area_text, "percent": percent, "short": shorten}
    script, style = Markup(_asset("report.js")), Markup(_asset("report.css"))  # files of the package
    template = environment.from_string(_asset("report.html.j2"))
    return template.render(
        policy=_policy(script, style), script=script, style=style, **_context(content), **_charts(content)
    )


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with at least so many significant digits, and spaces between thousands; None, NaN = unknown.

    Examples
    --------
    >>> number(1234567.8).split(), number(0.123456), number(None)
    (['1', '234', '568'], '0.1235', '-')
    """
    if value is None or not np.isfinite(value):
        return "-"
    if abs(value) < 1e15 and (float(value).is_integer() or abs(value) >= 10**digits):
        return f"{round(value):,}".replace(",", "\u202f")
    return f"{value:.{digits}g}"


def area_text(square_metres: float) -> str:
    """Return an area in m², ha or km².

    Examples
    --------
    >>> area_text(120), area_text(125_000), area_text(3_400_000)
    ('120 m²', '12.5 ha', '3.4 km²')
    """
    for size, unit in ((1e6, "km²"), (1e4, "ha")):
        if square_metres >= size:
            return f"{number(square_metres / size)} {unit}"
    return f"{number(square_metres)} m²"


def percent(share: float | None) -> str:
    """Return a share in percent."""
    return "-" if share is None or not np.isfinite(share) else f"{100 * share:.1f} %"


def _asset(name: str) -> str:
    package, folder = _ASSETS
    return files(package).joinpath(folder, name).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    """Return the content security policy, which allows pictures in the page, this script and this style."""
    script_hash, style_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)
    )
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _context(content: Content) -> dict[str, Any]:
    run, sums, table = content.run, content.sums, content.table
    facts, pixels = run.facts, int(sums.pixels.sum())
    return {
        "scene_name": shorten(str(facts["scene"]).replace("\\", "/").rpartition("/")[2], 100) or "scene",
        "of_labels": is_of_labels(facts),
        "kind": "Named regions" if run.names else "Outlines" if is_of_labels(facts) else "Segmentation",
        "word": _words(content),
        "names": run.names,
        "figures": {each.name: each for each in run.names.names} if run.names else {},
        "confusion": confusion_rows(run.names) if run.names else [],
        "n_regions": int(sums.regions.sum()),
        "shape": run.geobox.shape,
        "content": content,
        "classes": _class_rows(content),
        "has_pixels": pixels > 0,
        "has_area": bool(sums.area.any()) and bool(run.geobox.crs),
        "has_spread": any(name.startswith("std_") for name in content.columns),
        "steps": [
            (len(table) - i - 1, table.names[a], table.names[b], cost)
            for i, ((a, b), cost) in enumerate(zip(table.merges, table.costs, strict=True))
        ],
        "sizes": [(2**i, 2 ** (i + 1) - 1, int(n)) for i, n in enumerate(sums.sizes) if n],
        "confidences": [
            (i / CONFIDENCE_BINS, (i + 1) / CONFIDENCE_BINS, int(n)) for i, n in enumerate(sums.confidences)
        ],
        "has_confidence": bool(sums.confidences.any()),
        "nodata": nodata_share(sums, run.geobox.shape),
        "failed": content.failed[:_MOST_FAILED],
        "least": _least_rows(content),
        "inputs": [(shorten(name), dict(each)) for name, each in dict(facts.get("input", {})).items()],
        "versions": {shorten(name): shorten(text) for name, text in facts["versions"].items()},
        "crs": _crs_name(run.geobox.crs),
        "changed": {path: (_plain(value), _plain(default)) for path, (value, default) in changed_options(run).items()},
        "config_yaml": changed_yaml(run),
        "config_name": CONFIG_NAME,
        "command": command(run),
        "times": stage_times(run),
        "finished": shorten(facts.get("finished", "")),
        "pictures": _picture_texts(content),
        "data": _script_data(content),
    }


def _words(content: Content) -> dict[str, str]:
    """Return what the page calls a class, several of them, and how sure one is."""
    if content.run.names:
        return {"one": "name", "many": "names", "sure": "probability"}
    return {"one": "class", "many": "classes", "sure": "confidence"}


def _class_rows(content: Content) -> list[dict[str, Any]]:
    sums, table = content.sums, content.table
    total = max(int(sums.pixels.sum()), 1)
    return [
        {
            "value": int(table.values[row]),
            "name": table.names[row],
            "color": table.colors[row],
            "share": int(sums.pixels[row]) / total,
            "area": float(sums.area[row]),
            "pixels": int(sums.pixels[row]),
            "regions": int(sums.regions[row]),
            "confidence": float(sums.confidence[row]),
            "means": list(zip(sums.means[row].tolist(), sums.deviations[row].tolist(), strict=True)),
        }
        for row in range(len(table))
    ]


def _least_rows(content: Content) -> list[dict[str, Any]]:
    shown, table = content.pictures.shown, content.table
    rows = []
    for found in least_confident(content.pictures):
        row = found["row"] - 1
        place = int(table.rows_of(shown["class"][row : row + 1])[0]) - 1
        rows.append(
            found
            | {
                "region": int(shown["region"][row]),
                "name": table.names[place],
                "color": table.colors[place],
                "pixels": int(shown["pixels"][row]) if "pixels" in shown else None,
                "confidence": float(shown["confidence"][row]),
            }
        )
    return rows


def _charts(content: Content) -> dict[str, Markup]:
    table, sums = content.table, content.sums
    made = {"tree_chart": charts.dendrogram(table) if table.merges else ""}
    made["spectra_chart"] = charts.spectra(table, sums.means, content.bands) if content.bands else ""
    made["size_chart"] = charts.size_histogram(sums.sizes) if sums.sizes.any() else ""
    made["confidence_chart"] = (
        charts.confidence_histogram(sums.confidences, _words(content)["sure"]) if sums.confidences.any() else ""
    )
    ranked = content.run.names.importance if content.run.names else ()
    made["importance_chart"] = charts.importance(ranked) if ranked else ""
    return {name: Markup(svg) for name, svg in made.items()}  # written by an XML library


def _picture_texts(content: Content) -> dict[str, str]:
    """Return the pictures and the table of the regions in Base64."""
    pictures = content.pictures
    columns = [content.table.rows_of(pictures.shown["class"]).astype(float)]
    columns += [pictures.shown[name].astype(float) for name in _shown_columns(content)[1:]]
    table = np.array(columns, np.float32).reshape(len(columns), -1)
    return {
        "classes": _base64(to_png(pictures.classes, content.table.colors)),
        "scene": "" if content.scene is None else _base64(to_jpeg(content.scene)),
        "regions": _base64(to_zlib(pictures.regions)),
        "region_table": _base64(to_zlib(table)),
    }


def _script_data(content: Content) -> dict[str, Any]:
    table, pictures, run = content.table, content.pictures, content.run
    bands = dict(zip((f"mean_{band}" for band in content.sums.bands), content.bands, strict=True))
    return {
        "shape": pictures.shape,
        "words": _words(content),
        "classes": [
            {"name": name, "color": color, "pixels": int(n)}
            for name, color, n in zip(table.names, table.colors, content.sums.pixels.tolist(), strict=True)
        ],
        "merges": table.merges,
        "columns": _shown_columns(content),
        "bands": {name: bands[name] for name in _shown_columns(content) if name in bands},
        "nRegions": len(pictures.shown["region"]),
        "failed": [{"tile": tile.number, "box": _rounded(tile.box)} for tile in content.failed],
        "hasScene": content.scene is not None,
        "pixelsPerCell": run.geobox.shape[0] * run.geobox.shape[1] / (pictures.shape[0] * pictures.shape[1]),
    }


def _shown_columns(content: Content) -> list[str]:
    """Return the columns of the regions in the report, the class first."""
    return ["class", *(name for name in content.pictures.shown if name not in ("class", "region")), "region"]


def _rounded(box: tuple[float, ...]) -> list[float]:
    return [round(each, 2) for each in box]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _plain(value: Any) -> str:
    return shorten("none" if value is None else value)


def _crs_name(wkt: str) -> str:
    from pyproj import CRS  # here, because a report without a CRS does not need it
    from pyproj.exceptions import CRSError

    try:
        crs = CRS(wkt)
    except CRSError:
        return "unknown"
    code = crs.to_epsg()
    return shorten(crs.name) + (f" (EPSG:{code})" if code else "")
