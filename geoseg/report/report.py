"""Make the report of a finished run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from geoseg.errors import ConfigError, OutputError
from geoseg.output.files import check_output, staged, writing
from geoseg.output.names import check_output_name
from geoseg.output.paths import REPORT_SUFFIXES, Outputs, class_document_path
from geoseg.output.publication import Publication
from geoseg.output.system import file_key
from geoseg.report.class_document import is_of_labels, read_classes
from geoseg.report.content import gather
from geoseg.report.finished_run import NO_CLASS_RASTER, FinishedRun, Places, find_run, pixels_of
from geoseg.report.page import render
from geoseg.run.lock import locked_outputs

MAX_BYTES = 8_000_000
_MAX_PIXELS = 1_600_000  # of each picture
_LEAST_PIXELS = 50_000


def report_run(polygons: str | Path, out: str | Path, *, places: Places | None = None, overwrite: bool = False) -> Path:
    """Write the report of a finished run as one HTML file.

    Parameters
    ----------
    polygons : str or Path
        The polygons that the run has written.
    out : str or Path
        The report, .html.
    places : Places or None
        Where the other files of the run are; None = where it left them.
    overwrite : bool
        Replace an existing report.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    RunError
        If the polygons are not those of a finished run.
    RasterError
        If the polygons or the class raster cannot be read.
    OutputError
        If the report exists and may not be replaced, is one of the files that are read, or cannot be written.
    """
    for name, value in (("polygons", polygons), ("out", out)):
        if not isinstance(value, str | os.PathLike) or not str(value):
            raise ConfigError(f"{name} is {value!r}; expected the path of a file. Give it as a str or a Path.")
    path = Path(out)
    check_output_name(path)
    run = find_run(Path(polygons), places)
    inputs = [run.polygons, run.class_raster, run.scene, class_document_path(run.polygons)]
    publication = _check_report(path, [Path(each) for each in inputs if each is not None], overwrite=overwrite)
    with locked_outputs([path]):
        write_report(path, run, publication)
    return path


def report_of(facts: Mapping[str, Any], outputs: Outputs) -> FinishedRun:
    """Return a run that has written its outputs, but not yet run.json.

    Parameters
    ----------
    facts : dict
        What run.json will contain.
    outputs : Outputs
    """
    of_labels = is_of_labels(facts)
    has_document = of_labels or outputs.class_file
    classes, note = read_classes(class_document_path(outputs.polygons), facts) if has_document else (None, "")
    notes = ("" if outputs.class_raster is not None or of_labels else NO_CLASS_RASTER, note)
    found = tuple(each for each in notes if each)
    return FinishedRun(facts, outputs.polygons, outputs.class_raster, classes, pixels_of(facts), found)


def write_report(path: Path, run: FinishedRun, publication: Publication) -> None:
    """Write a report that is smaller than `MAX_BYTES`; it appears under its name when it is complete.

    Raises
    ------
    RasterError
        If the polygons or the class raster cannot be read.
    OutputError
        If the report cannot be written.
    """
    max_pixels = _MAX_PIXELS
    page = render(gather(run, max_pixels=max_pixels)).encode("utf-8", "replace")
    while len(page) > MAX_BYTES and max_pixels > _LEAST_PIXELS:
        max_pixels //= 2
        page = render(gather(run, max_pixels=max_pixels)).encode("utf-8", "replace")
    with staged(path, publication) as folder, writing(path):
        (folder / path.name).write_bytes(page)


def _check_report(path: Path, inputs: Iterable[Path], *, overwrite: bool) -> Publication:
    if file_key(path) in {file_key(each) for each in inputs}:
        raise OutputError(f"{path} is a file of the run; give the report another name.")
    return check_output(path, overwrite=overwrite, suffixes=REPORT_SUFFIXES)
