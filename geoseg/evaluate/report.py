"""Write an evaluation to a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from geoseg.errors import OutputError
from geoseg.evaluate.evaluation import Evaluation
from geoseg.evaluate.unsupervised import RegionEvaluation
from geoseg.output.files import check_output, staged, writing
from geoseg.output.names import check_output_name
from geoseg.output.publication import Publication
from geoseg.output.system import file_key


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
        The files that are compared.
    overwrite : bool or Publication
        Whether an existing file may be replaced.

    Raises
    ------
    ConfigError
        If the name does not end in .json.
    OutputError
        If the file exists and may not be replaced, is one of the inputs, or its folder is not writable.
    """
    check_output_name(path)
    if file_key(path) in {file_key(Path(name)) for name in inputs}:
        raise OutputError(f"{path} is one of the files that are compared; give the report another name.")
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
    with staged(path, publication) as folder, writing(path):
        (folder / path.name).write_text(to_json(evaluation) + "\n", encoding="utf-8")
