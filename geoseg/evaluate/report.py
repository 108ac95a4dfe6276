"""Write an evaluation to a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from geoseg.evaluate.evaluation import Evaluation
from geoseg.evaluate.unsupervised import RegionEvaluation
from geoseg.output.files import check_output, write_file
from geoseg.output.input_files import check_no_input
from geoseg.output.names import check_output_name
from geoseg.output.publication import Publication


def to_json(evaluation: Evaluation | RegionEvaluation) -> str:
    """Return an evaluation as JSON text."""
    return json.dumps(evaluation.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)


def check_report(path: Path, inputs: Iterable[str], *, overwrite: bool | Publication) -> Publication:
    """Check that the JSON file can be written, before the work starts.

    Parameters
    ----------
    path : Path
        The file, .json.
    inputs : iterable of str
        The files that are read.
    overwrite : bool or Publication
        Whether an existing file may be replaced.

    Raises
    ------
    ConfigError
        If the name does not end in .json.
    OutputError
        If the file exists and may not be replaced, is an input or belongs to one, or its folder is not writable.
    """
    check_output_name(path)
    check_no_input([path], map(Path, inputs))
    return check_output(path, overwrite=overwrite, suffixes=(".json",))


def write_report(
    path: Path, evaluation: Evaluation | RegionEvaluation, *, overwrite: bool | Publication = False
) -> None:
    """Write an evaluation as JSON; the file appears under its name when it is complete.

    Parameters
    ----------
    path : Path
        The file, .json.
    evaluation : Evaluation or RegionEvaluation
    overwrite : bool or Publication
        Whether an existing file may be replaced.

    Raises
    ------
    ConfigError
        If the name does not end in .json.
    OutputError
        If the file cannot be written; see `check_report`.
    """
    publication = check_report(path, evaluation.files, overwrite=overwrite)
    publication.check([path])
    write_file(path, f"{to_json(evaluation)}\n".encode())
