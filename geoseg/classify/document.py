"""Write the document beside named regions."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoseg.classify.result import Classification
from geoseg.output.class_document import write_classes
from geoseg.output.names_document import names_document, names_document_path
from geoseg.output.publication import Publication, file_digest

Colors = Mapping[str, tuple[int, int, int]]


def write_document(
    result: Classification, colors: Colors, labels: Path, given: Mapping[str, Any], publication: Publication
) -> None:
    """Write figures, colours and origin of named regions, for reports.

    Parameters
    ----------
    result : Classification
    colors : dict of str to (int, int, int)
        Of each name that has regions.
    labels : Path
        The polygons whose regions were named.
    given : dict
        Options of `classify_regions` by name, as far as they are not the default.
    publication : Publication
    """
    figures = result.to_dict()
    figures["names"] = [each | {"color": _hex(colors.get(each["name"]))} for each in figures["names"]]
    document = names_document(
        figures
        | {"polygons": labels.name, "suggestions": None if result.suggestions is None else result.suggestions.name},
        polygons_digest=file_digest(labels),
        digest=file_digest(result.path),
        dissolved=bool(given.get("dissolve")),
        command=command(labels, result.path, given),
    )
    write_classes(names_document_path(result.path), document, overwrite=publication)


def command(labels: Path, out: Path, given: Mapping[str, Any]) -> str:
    """Return the command that names the regions again, with the names of the files but not their folders.

    Examples
    --------
    >>> command(Path("a/labels.gpkg"), Path("b.gpkg"), {"samples": (Path("s.gpkg"),), "dissolve": True})
    'geoseg classify labels.gpkg --samples s.gpkg --dissolve --out b.gpkg'
    """
    words = ["geoseg", "classify", labels.name]
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')}"
        for each in value if isinstance(value, tuple) else (value,):
            words += [flag] if each is True else [flag, each.name if isinstance(each, Path) else str(each)]
    return shlex.join([*words, "--out", out.name])


def _hex(color: tuple[int, int, int] | None) -> str:
    return "" if color is None else "#{:02x}{:02x}{:02x}".format(*color)
