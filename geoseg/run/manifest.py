"""The manifest of a run folder: whether the folder is ours, which run it belongs to, and opening it."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg.errors import ConfigError, RunError
from geoseg.output.files import PARTIAL_SUFFIX, writing
from geoseg.run.documents import parse_document, plain_values, write_document
from geoseg.run.folder import ADVICE, RUN_ID, RunFolder, make_folder, read_content, read_run_id, write_run_id
from geoseg.run.lock import lock_file

_FORMAT = "geoseg run 3"
_MANIFEST = "manifest.json"
_REPORT = "run.json"
_PLAN = "plan.json"  # not among the documents, which are removed when a run is finished


def open_run(path: str | Path, *, identity: Mapping[str, Any], resume: bool, overwrite: bool) -> RunFolder:
    """Open a run folder and lock it for this process.

    Parameters
    ----------
    path : str or Path
        Created if it does not exist.
    identity : dict
        Everything on which the results depend, as JSON values: versions, config, input, grid.
    resume : bool
        Keep existing results if their identity is the same.
    overwrite : bool
        Remove existing results; files in the folder that geoseg did not write are not changed.

    Returns
    -------
    RunFolder

    Raises
    ------
    ConfigError
        If both `resume` and `overwrite` are given.
    RunError
        If the path is not a run folder, another process uses it, it has results and neither `resume` nor `overwrite`
        is given, its manifest is damaged, or the identity differs.
    OutputError
        If the folder is not writable.
    """
    if resume and overwrite:
        raise ConfigError("--resume keeps existing results and --overwrite removes them; give one of them.")
    path = Path(path)
    _check_is_run_folder(path)
    make_folder(path)
    lock = lock_file(path / "lock", what=str(path), advice="wait for it, stop it, or choose another --run-dir.")
    try:
        return _opened(path, lock, plain_values(identity), resume=resume, overwrite=overwrite)
    except BaseException:
        lock.close()
        raise


def planned_folder(path: str | Path) -> RunFolder:
    """Return the folder of a planned run without its lock, for reading.

    Raises
    ------
    RunError
        If it is not the folder of a run.
    """
    path = Path(path)
    _check_is_run_folder(path)
    if not (path / _MANIFEST).is_file():
        raise RunError(f"{path} is not the folder of a planned run. Plan one first: geoseg plan SCENE --run-dir {path}")
    return RunFolder(path, _read_manifest(path)["run"])


def open_part(path: str | Path, *, shared: bool = True) -> RunFolder:
    """Open the folder of a planned run; by default together with other processes, each with a part of the tiles.

    Raises
    ------
    RunError
        If it is not the folder of a run, or a process uses it that does not share it.
    OutputError
        If the folder is not writable.
    """
    folder = planned_folder(path)  # before a file named lock in it is written to
    lock = lock_file(folder.path / "lock", what=str(path), advice="wait for it, or stop it.", shared=shared)
    try:
        return replace(planned_folder(path), lock=lock)  # again: now no other run can start in it
    except BaseException:
        lock.close()
        raise


def read_identity(path: Path) -> dict[str, Any]:
    """Return the identity of the run in a folder.

    Raises
    ------
    RunError
        If there is none, or the manifest is damaged.
    """
    identity: dict[str, Any] = _read_manifest(path)["identity"]
    return identity


def check_identity(path: Path, identity: Mapping[str, Any]) -> None:
    """Check entries of an identity against those of the run in a folder.

    Raises
    ------
    RunError
        If one differs, or the manifest is damaged.
    """
    old, new = read_identity(path), plain_values(identity)
    _check_identity(path, _flattened({name: old.get(name) for name in new}), _flattened(new))


def write_plan(folder: RunFolder, plan: Mapping[str, Any]) -> None:
    """Write the plan of a run that is computed in parts."""
    folder.check_is_current()
    write_document(folder.path / _PLAN, dict(plan) | {"run": folder.run_id}, advice=ADVICE)


def read_plan(folder: RunFolder) -> dict[str, Any] | None:
    """Return the plan of the run in a folder; None if it has none, or that of another run.

    Raises
    ------
    RunError
        If it is damaged.
    """
    path = folder.path / _PLAN
    content = read_content(path)
    if content is None:
        return None
    try:
        plan = parse_document(path.name, content)
    except ValueError as err:
        raise RunError(f"{path} is damaged: {err}; plan the run again with geoseg plan --resume.") from err
    return plan if plan.pop("run", None) == folder.run_id else None


def write_report(folder: RunFolder, report: Mapping[str, Any]) -> None:
    """Write the report of a run to run.json."""
    write_document(folder.path / _REPORT, report, advice=ADVICE)


def has_report(folder: RunFolder) -> bool:
    """Return whether a run has finished here."""
    return (folder.path / _REPORT).is_file()


def read_report(folder: RunFolder) -> dict[str, Any]:
    """Return the report of the last finished run.

    Raises
    ------
    RunError
        If there is none, or it is damaged.
    """
    path = folder.path / _REPORT
    content = read_content(path)
    if content is None:
        raise RunError(f"the run in {folder.path} is not finished; continue it with --resume.")
    try:
        return parse_document(path.name, content)
    except ValueError as err:
        raise RunError(f"{path} is damaged: {err}; delete it and continue with --resume.") from err


def _opened(path: Path, lock: io.FileIO, identity: dict[str, Any], *, resume: bool, overwrite: bool) -> RunFolder:
    if not overwrite and (path / _MANIFEST).exists():
        if not resume:
            raise RunError(
                f"{path} contains the results of an earlier run; continue it with --resume, or remove them with "
                f"--overwrite."
            )
        manifest = _read_manifest(path)
        _check_identity(path, _flattened(manifest["identity"]), _flattened(identity))
        folder = RunFolder(path, manifest["run"], lock)
        if read_run_id(path) != folder.run_id:
            write_run_id(folder)
        folder.remove_partial()
        return folder
    # The manifest goes first and comes last: after an interruption here, the folder has no results and is still ours.
    with writing(path, advice=ADVICE):
        for name in (_MANIFEST, _REPORT, _PLAN):
            (path / name).unlink(missing_ok=True)
    folder = RunFolder(path, secrets.token_hex(16), lock)
    write_run_id(folder)
    folder.clean()
    folder.remove_partial()
    write_document(path / _MANIFEST, {"format": _FORMAT, "run": folder.run_id, "identity": identity}, advice=ADVICE)
    return folder


def _check_is_run_folder(path: Path) -> None:
    if not path.exists():
        return
    entries = sorted(path.iterdir()) if path.is_dir() else [path]
    # A run that was stopped while it prepared the folder has left its lock and possibly a partial file.
    foreign = [entry.name for entry in entries if entry.name != "lock" and not entry.name.endswith(PARTIAL_SUFFIX)]
    if foreign and not (read_run_id(path) or _is_manifest(path / _MANIFEST)):
        found = f"it contains {foreign[0]}, and no {RUN_ID} and no intact {_MANIFEST} of geoseg"
        raise RunError(f"{path} is not a run folder: {found}. Choose a new or empty folder for --run-dir.")


def _is_manifest(path: Path) -> bool:
    with suppress(ValueError):
        return parse_document(path.name, read_content(path) or b"").get("format") == _FORMAT
    return False


def _read_manifest(path: Path) -> dict[str, Any]:
    content = read_content(path / _MANIFEST) or b""
    try:
        manifest = parse_document(_MANIFEST, content)
        if manifest["format"] != _FORMAT:
            raise ValueError(f"its format is {manifest['format']!r:.60}, not {_FORMAT!r}")
    except (ValueError, KeyError) as err:
        raise RunError(
            f"{path / _MANIFEST} is damaged or of another version of geoseg: {err}; start again with --overwrite, or "
            f"choose another --run-dir."
        ) from err
    return manifest


def _check_identity(path: Path, old: dict[str, str], new: dict[str, str]) -> None:
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    if names:
        differences = "; ".join(
            f"{name}: {old.get(name, 'absent'):.60} → {new.get(name, 'absent'):.60}" for name in names[:5]
        )
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise RunError(
            f"the results in {path} belong to another input or configuration ({differences}{more}); give the same as "
            f"before, start again with --overwrite, or choose another --run-dir."
        )


def _flattened(document: Any, name: str = "") -> dict[str, str]:
    """Return {'config.polygons.min_pixels': '64', …}; values are JSON texts, because NaN is not equal to itself."""
    if isinstance(document, dict) and document:
        parts: Any = document.items()
    elif isinstance(document, list) and any(isinstance(part, dict | list) for part in document):
        parts = enumerate(document)
    else:
        return {name: json.dumps(document, ensure_ascii=False)}
    return {key: text for part, value in parts for key, text in _flattened(value, f"{name}.{part}".lstrip(".")).items()}
