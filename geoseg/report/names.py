"""Regions that `geoseg classify` has named: the document beside them, and their names in place of classes."""

from __future__ import annotations

from pathlib import Path

from geoseg.errors import RunError, shorten
from geoseg.output.names_document import NAME_COLUMNS, NamesDocument, names_document_path, read_names_document
from geoseg.output.publication import file_digest
from geoseg.report.class_document import ClassDocument
from geoseg.report.polygon_file import open_polygons


def find_names(polygons: Path) -> tuple[NamesDocument | None, str]:
    """Return the document of named regions, and a note if these have changed; None = the polygons have no names.

    Raises
    ------
    RunError
        If the document is damaged, or the regions are dissolved.
    RasterError
        If the polygons cannot be read.
    """
    path = names_document_path(polygons)
    try:
        document = read_names_document(path)
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError) as err:
        raise RunError(
            f"{path} cannot be read: {shorten(err)}. Name the regions again with geoseg classify --overwrite."
        ) from err
    if document.digest != file_digest(polygons):
        with open_polygons(polygons) as file:
            if not set(NAME_COLUMNS) <= set(file.columns):
                return None, ""  # other polygons have been written to a file of the same name
        return document, f"{polygons.name} has changed since geoseg classify wrote it; it is shown as it is now."
    if document.dissolved:
        raise RunError(
            f"{polygons} has unions of regions, without the columns of the regions. Name the regions without "
            f"--dissolve, and make the report of the result."
        )
    return document, ""


def classes_of(document: NamesDocument) -> ClassDocument:
    """Return the names as numbered classes without a tree."""
    names = {i: (each.name, each.color) for i, each in enumerate(document.names, start=1)}
    return ClassDocument(names, [])
