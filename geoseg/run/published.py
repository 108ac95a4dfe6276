"""Which existing files a run may replace: those it has written itself, and with --overwrite those that were there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg.errors import OutputError
from geoseg.output.geopackage import other_tables
from geoseg.output.input_files import files_beside
from geoseg.output.paths import Outputs
from geoseg.output.publication import FileState, Publication, file_digest
from geoseg.run.folder import RunFolder, read_run_id
from geoseg.run.inputs import InputFiles
from geoseg.run.manifest import has_report, read_report

_DOCUMENT = "outputs"  # exists from the start of a run until its products are removed


@dataclass(frozen=True)
class OutputRecord:
    """Record in a run folder of the files that its run has published and of those that it may replace.

    Paths are relative to the run folder, so that it can be moved together with the outputs.

    Parameters
    ----------
    folder : RunFolder
    """

    folder: RunFolder

    @property
    def is_open(self) -> bool:
        """Whether the run has begun and its products are not yet removed."""
        return self.folder.get_json(_DOCUMENT) is not None

    def published(self) -> dict[Path, str]:
        """Return the digest of each file that the run has published, by its path."""
        document = self.folder.get_json(_DOCUMENT)
        if document is None and read_run_id(self.folder.path) and has_report(self.folder):
            document = read_report(self.folder)
        return {self._path(name): digest for name, digest in (document or {}).get("published", {}).items()}

    def begin(self, replaceable: Mapping[Path, FileState], inputs: InputFiles) -> Publication:
        """Return the publication of the outputs, and record what it may replace, for the case of an interruption.

        Parameters
        ----------
        replaceable : dict of Path to FileState
            From `replaceable`.
        inputs : InputFiles
            Nothing is published after one of them has changed.
        """
        published = {} if not self.is_open else self.published()
        states = {self._name(path): asdict(state) for path, state in replaceable.items()}

        def record(digests: Mapping[Path, str]) -> None:
            inputs.check()
            published.update({_full(path): digest for path, digest in digests.items()})
            self.folder.put_json(_DOCUMENT, {"replaceable": states, "published": self.names_of(published)})

        record({})
        return Publication(dict(replaceable), record)

    def names_of(self, digests: Mapping[Path, str]) -> dict[str, str]:
        """Return the digests by path relative to the run folder, as they are stored."""
        return {self._name(path): digest for path, digest in digests.items()}

    def replaceable(
        self, outputs: Outputs, inputs: Iterable[Path], *, resume: bool, overwrite: bool
    ) -> dict[Path, FileState]:
        """Return the existing output files that may be replaced.

        Parameters
        ----------
        outputs : Outputs
        inputs : iterable of Path
            The files that the run reads.
        resume : bool
            Whether files that the interrupted run has published, or was allowed to replace, may be replaced.
        overwrite : bool
            Whether all may be replaced, except those that belong to an input.

        Raises
        ------
        OutputError
            If a file exists that may not be replaced.
        """
        found = {path: state for path in outputs.files if (state := FileState.of(path)) is not None}
        beside_inputs = {path for source in inputs for path in files_beside(source)}
        is_beside = {path: path.resolve() in beside_inputs for path in found}
        published = self.published() if resume or any(is_beside.values()) else {}
        allowed = self._allowed() if resume else {}
        for path, state in found.items():
            full = _full(path)
            is_own = full in published and _is_file_with(path, published[full])
            if is_beside[path] and not is_own:
                raise OutputError(
                    f"{path} belongs to an input, and an output of that name would replace it. Choose another name "
                    f"for the output."
                )
            if not (overwrite or (resume and (is_own or state == allowed.get(full)))):
                raise OutputError(_refusal(path, self.folder.path, is_changed=resume and full in published))
        other_tables(outputs.polygons)
        return found

    def is_complete(self, outputs: Outputs) -> bool:
        """Return whether the run is finished and has written all of `outputs`, and they are unchanged."""
        if self.is_open or not has_report(self.folder):
            return False
        published = self.published()
        digests = {path: published.get(_full(path)) for path in outputs.paths}
        complete = all(digest and _is_file_with(path, digest) for path, digest in digests.items())
        if not complete or not (outputs.class_layer or outputs.levels):
            return complete
        report = read_report(self.folder)
        has_levels = set(outputs.levels) <= set(report.get("levels", []))
        return has_levels and (not outputs.class_layer or bool(report.get("class_layer")))

    def _allowed(self) -> dict[Path, FileState]:
        document = self.folder.get_json(_DOCUMENT) or {}
        states: dict[str, Any] = document.get("replaceable", {})
        return {self._path(name): FileState(**state) for name, state in states.items()}

    def _name(self, path: Path) -> str:
        return os.path.relpath(_full(path), self.folder.path.resolve())

    def _path(self, name: str) -> Path:
        return Path(os.path.normpath(self.folder.path.resolve() / name))


def _full(path: Path) -> Path:
    """Return an absolute path without links in the names of its folders; the file itself may be a link."""
    return path.parent.resolve() / path.name


def _is_file_with(path: Path, digest: str) -> bool:
    try:
        return file_digest(path) == digest
    except FileNotFoundError:
        return False
    except OSError as err:
        raise OutputError(f"{path} cannot be read: {err.strerror or err}. Repair it, or choose another name.") from err


def _refusal(path: Path, run_dir: Path, *, is_changed: bool) -> str:
    if is_changed:
        return (
            f"{path} has changed since the run in {run_dir} wrote it, and is not replaced. Move it away to have it "
            f"written again, or start again with --overwrite."
        )
    return f"{path} exists. Choose another name, or replace it with --overwrite."
