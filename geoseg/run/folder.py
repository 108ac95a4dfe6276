"""The run folder: the results of finished steps, each file complete or absent.

::

    RUN/
      manifest.json                     version, config and input to which the results belong
      lock                              held by the process that uses the folder
      run.json                          the report of the last run
      documents/NAME.json               small documents
      stages/STAGE.PRODUCT/000012/12345.arrays    one file per product and tile, 1000 tiles to a folder
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.errors import ConfigError, RunError
from geoseg.output.files import PARTIAL_SUFFIX, sync_folder, write_file, writing

_log = logging.getLogger(__name__)

_MAGIC = b"geoseg arrays 2\n"
_CODEC = pa.Codec("zstd", compression_level=1)  # the size of zlib in a third of the time
_DIGEST_SIZE = 16
_SUFFIX = ".arrays"
_MANIFEST = "manifest.json"
_KEYS_PER_FOLDER = 1000
_ADVICE = "Free space on the disk or make the folder writable and continue with --resume, or choose another --run-dir."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class RunFolder:
    """Folder with the results of a run.

    The lock of `open_run` is held until `close` or until the process ends. Pickling keeps the path only, so that a
    worker receives the folder without the lock.

    Parameters
    ----------
    path : Path
    lock : io.FileIO or None
        The locked file; None = not locked by this object.
    """

    path: Path
    lock: io.FileIO | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[type[RunFolder], tuple[Path]]:
        return RunFolder, (self.path,)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        if self.lock is not None:
            self.lock.close()

    def put(self, step: str, key: int | str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store the arrays of a step and tile.

        Parameters
        ----------
        step : str
        key : int or str
            Number of the tile, or a name.
        arrays : dict of str to array

        Raises
        ------
        OutputError
            If the file cannot be written; what was there before is unchanged.
        """
        path = self._file(step, key)
        body = _MAGIC + _pack(arrays)
        _write(path, body + _digest(path, body))

    def get(self, step: str, key: int | str) -> dict[str, NDArray[Any]]:
        """Return the arrays of a step and tile.

        Parameters
        ----------
        step : str
        key : int or str
            As in `put`.

        Returns
        -------
        dict of str to array

        Raises
        ------
        RunError
            If they are absent or damaged.
        """
        path = self._file(step, key)
        try:
            return _unpack(_read_checked(path))
        except (OSError, ValueError) as err:
            raise RunError(_damage_message(f"step {step!r} of tile {key}", path, err)) from err

    def has(self, step: str, key: int | str, *, verify: bool = False) -> bool:
        """Return whether a step of a tile is finished and, with `verify`, its file undamaged."""
        path = self._file(step, key)
        if not verify:
            return path.exists()
        with suppress(OSError, ValueError):
            _read_checked(path)
            return True
        return False

    def finished(self, step: str) -> set[int | str]:
        """Return the keys of the tiles for which a step is finished; damaged files are removed."""
        found: set[int | str] = set()
        for key, path in _stored(self.path / "stages" / _checked_name(step)):
            if self.has(step, key, verify=True):
                found.add(key)
            else:
                _log.warning("%s (step %s, tile %s) is damaged and will be computed again.", path, step, key)
                _remove(path)
        return found

    def put_json(self, name: str, document: object) -> None:
        """Store a small document as JSON."""
        _write(self._document(name), _to_json(document))

    def get_json(self, name: str) -> Any:
        """Return a document; RunError if it is absent or damaged."""
        return _read_json(self._document(name))

    def has_json(self, name: str) -> bool:
        """Return whether a document exists."""
        return self._document(name).exists()

    def remove(self, step: str, key: int | str) -> None:
        """Remove the result of a step for one tile, if there is one."""
        _remove(self._file(step, key))

    def remove_steps(self, *steps: str) -> None:
        """Remove the results of steps for all tiles."""
        for step in steps:
            _remove(self.path / "stages" / _checked_name(step))

    def clean(self) -> None:
        """Remove the results of all steps and the documents, but not the manifest and run.json."""
        _remove(self.path / "stages")
        _remove(self.path / "documents")

    def _file(self, step: str, key: int | str) -> Path:
        # `_checked_name` refuses negative numbers: a name does not start with "-".
        shard = "named" if isinstance(key, str) else f"{key // _KEYS_PER_FOLDER:06d}"
        return self.path / "stages" / _checked_name(step) / shard / f"{_checked_name(str(key))}{_SUFFIX}"

    def _document(self, name: str) -> Path:
        return self.path / "documents" / f"{_checked_name(name)}.json"


def open_run(path: str | Path, *, identity: Mapping[str, Any], resume: bool, overwrite: bool) -> RunFolder:
    """Open a run folder and lock it for this process.

    Parameters
    ----------
    path : str or Path
        Created if it does not exist.
    identity : dict
        Everything on which the results depend, as JSON values: version, config, input, grid.
    resume : bool
        Keep existing results if their identity is the same.
    overwrite : bool
        Remove existing results; other files in the folder are not changed.

    Returns
    -------
    RunFolder

    Raises
    ------
    ConfigError
        If both `resume` and `overwrite` are given.
    RunError
        If the path is not a run folder, another process uses it, it has results and neither `resume` nor `overwrite`
        is given, or the identity differs.
    OutputError
        If the folder is not writable.
    """
    if resume and overwrite:
        raise ConfigError("--resume keeps existing results and --overwrite removes them; give one of them.")
    path = Path(path)
    _check_is_run_folder(path)
    _make_folder(path)
    folder = RunFolder(path, _lock(path))
    try:
        _prepare(folder, identity, resume=resume, overwrite=overwrite)
    except BaseException:
        folder.close()
        raise
    return folder


def write_report(folder: RunFolder, report: Mapping[str, Any]) -> None:
    """Write the report of a run to run.json."""
    _write(folder.path / "run.json", _to_json(report))


def read_report(folder: RunFolder) -> Any:
    """Return the report of the last finished run; RunError if there is none."""
    return _read_json(folder.path / "run.json")


def _pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    # Concatenated npy records: an npz file is a zip archive, whose timestamps differ between runs.
    buffer = io.BytesIO()
    buffer.write(json.dumps(list(arrays)).encode() + b"\n")
    for array in arrays.values():
        np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
    content = buffer.getvalue()
    return len(content).to_bytes(8, "little") + _CODEC.compress(content, asbytes=True)


def _unpack(content: bytes) -> dict[str, NDArray[Any]]:
    size = int.from_bytes(content[:8], "little")
    buffer = io.BytesIO(_CODEC.decompress(memoryview(content)[8:], decompressed_size=size, asbytes=True))
    names = json.loads(buffer.readline())
    return {name: np.lib.format.read_array(buffer, allow_pickle=False) for name in names}


def _digest(path: Path, body: bytes) -> bytes:
    # Includes the path, so that a file copied to the place of another tile is detected.
    digest = hashlib.blake2b("/".join(path.parts[-3:]).encode(), digest_size=_DIGEST_SIZE)
    digest.update(body)
    return digest.digest()


def _read_checked(path: Path) -> bytes:
    """Return the compressed content of a file; ValueError if its checksum is wrong."""
    content = path.read_bytes()
    body, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if not body.startswith(_MAGIC) or digest != _digest(path, body):
        raise ValueError("its content does not match its checksum")
    return body[len(_MAGIC) :]


def _stored(folder: Path) -> Iterator[tuple[int | str, Path]]:
    for shard in sorted(folder.glob("*/")):
        for path in sorted(shard.glob(f"[!.]*{_SUFFIX}")):
            name = path.name.removesuffix(_SUFFIX)
            yield (name if shard.name == "named" else int(name)), path


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid name: use 1 to 100 letters, digits, '.', '_' and '-'.")
    return name


def _write(path: Path, content: bytes) -> None:
    _make_folder(path.parent)
    write_file(path, content, advice=_ADVICE)


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        with writing(path, advice=_ADVICE):
            path.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent)


def _remove(path: Path) -> None:
    with writing(path, advice=_ADVICE):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _check_is_run_folder(path: Path) -> None:
    if not path.exists() or (path / _MANIFEST).is_file():
        return
    entries = sorted(path.iterdir()) if path.is_dir() else [path]
    # A run interrupted before the manifest is written leaves its lock and possibly a partial manifest.
    foreign = [entry.name for entry in entries if entry.name != "lock" and not entry.name.endswith(PARTIAL_SUFFIX)]
    if foreign:
        raise RunError(
            f"{path} is not a run folder: it contains {foreign[0]} but no {_MANIFEST}; give --run-dir a new or empty "
            f"folder."
        )


def _lock(folder: Path) -> io.FileIO:
    with writing(folder, advice=_ADVICE):
        lock = io.FileIO(folder / "lock", "a+")
    try:
        import fcntl  # not available on every system

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        holder = os.pread(lock.fileno(), 200, 0).decode(errors="replace").strip()
        lock.close()
        raise RunError(
            f"another run uses {folder} ({holder or 'process unknown'}); wait for it, stop it, or choose another "
            f"--run-dir."
        ) from err
    except (ImportError, OSError) as err:  # for example a network file system without locks
        _log.warning("%s cannot be locked (%s); make sure that no other run uses it.", folder, err)
    with suppress(OSError):  # only used in messages
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return lock


def _prepare(folder: RunFolder, identity: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
    manifest = folder.path / _MANIFEST
    for partial in folder.path.rglob(f".*{PARTIAL_SUFFIX}"):
        partial.unlink(missing_ok=True)
    if manifest.exists() and not overwrite:
        if not resume:
            raise RunError(
                f"{folder.path} contains the results of an earlier run; continue it with --resume, or remove them with "
                f"--overwrite."
            )
        _check_identity(folder.path, _flattened(_read_json(manifest)), _flattened(json.loads(_to_json(identity))))
        return
    # The manifest is written last: after an interruption here, the folder is still recognised as a run folder.
    folder.clean()
    _remove(folder.path / "run.json")
    _write(manifest, _to_json(identity))


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


def _to_json(document: object) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False, default=_to_plain) + "\n").encode()


def _to_plain(value: object) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else os.fspath(value)  # type: ignore[call-overload]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as err:
        raise RunError(_damage_message(path.name, path, err)) from err


def _damage_message(what: str, path: Path, err: Exception) -> str:
    if isinstance(err, FileNotFoundError):
        return f"{what} is not finished: {path} does not exist; continue the run with --resume."
    advice = "start again with --overwrite" if path.name == _MANIFEST else f"delete {path} and continue with --resume"
    return f"{what} is damaged: {err}; {advice}."
