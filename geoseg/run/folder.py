"""The run folder: what every step has finished for a tile, complete or absent, never half.

::

    RUN/
      manifest.json                     the version, config and input this work belongs to
      lock                              held by the process that works here
      run.json                          the report of the last run
      documents/NAME.json               small documents
      steps/STEP/000012/12345.arrays    one file per step and tile, 1000 tiles to a folder
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
_CODEC = pa.Codec("zstd", compression_level=1)  # as small as zlib, in a third of its time
_DIGEST_SIZE = 16
_SUFFIX = ".arrays"
_MANIFEST = "manifest.json"
_KEYS_PER_FOLDER = 1000
_ADVICE = "Free space on the disk or make the folder writable and continue with --resume, or choose another --run-dir."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class RunFolder:
    """A folder with the finished work of a run; small to send to a worker, which gets it without the lock.

    The lock of `open_run` is held until `close`, or until this process ends in whatever way.
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
        """Let go of the lock, so that another run may work here."""
        if self.lock is not None:
            self.lock.close()

    def put(self, step: str, key: int | str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep the arrays of a finished step and tile whole, or raise OutputError and leave nothing."""
        path = self._file(step, key)
        body = _MAGIC + _pack(arrays)
        _write(path, body + _digest(path, body))

    def get(self, step: str, key: int | str) -> dict[str, NDArray[Any]]:
        """Return the arrays of a finished step and tile; RunError where they are absent or damaged."""
        path = self._file(step, key)
        try:
            return _unpack(_read_checked(path))
        except (OSError, ValueError) as err:
            raise RunError(_unusable(f"step {step!r} of tile {key}", path, err)) from err

    def has(self, step: str, key: int | str, *, verify: bool = False) -> bool:
        """Tell whether a step of a tile is finished; with `verify`, whether its file is undamaged as well."""
        path = self._file(step, key)
        if not verify:
            return path.exists()
        with suppress(OSError, ValueError):
            _read_checked(path)
            return True
        return False

    def finished(self, step: str) -> set[int | str]:
        """Return the keys of the tiles whose step is finished; files that turn out damaged are removed."""
        found: set[int | str] = set()
        for key, path in _stored(self.path / "steps" / _checked_name(step)):
            if self.has(step, key, verify=True):
                found.add(key)
            else:
                _log.warning("%s (step %s, tile %s) is damaged; it is made again.", path, step, key)
                _remove(path)
        return found

    def put_json(self, name: str, document: object) -> None:
        """Keep a small document, whole or not at all."""
        _write(self._document(name), _to_json(document))

    def get_json(self, name: str) -> Any:
        """Return a document as it comes out of JSON; RunError where it is absent or damaged."""
        return _read_json(self._document(name))

    def has_json(self, name: str) -> bool:
        """Tell whether a document is there."""
        return self._document(name).exists()

    def remove_steps(self, *steps: str) -> None:
        """Remove all tiles' work of the steps named."""
        for step in steps:
            _remove(self.path / "steps" / _checked_name(step))

    def clean(self) -> None:
        """Remove the work of all steps and the documents; the manifest and run.json stay."""
        _remove(self.path / "steps")
        _remove(self.path / "documents")

    def _file(self, step: str, key: int | str) -> Path:
        # The "-" of a number below 0 is no beginning of a name.
        shard = "named" if isinstance(key, str) else f"{key // _KEYS_PER_FOLDER:06d}"
        return self.path / "steps" / _checked_name(step) / shard / f"{_checked_name(str(key))}{_SUFFIX}"

    def _document(self, name: str) -> Path:
        return self.path / "documents" / f"{_checked_name(name)}.json"


def open_run(path: str | Path, *, identity: Mapping[str, Any], resume: bool, overwrite: bool) -> RunFolder:
    """Return the run folder at `path`, locked for this process: a new one, or one whose work goes on.

    RunError where it is no run folder, another process works in it, or its identity differs.

    Parameters
    ----------
    path : the folder; made where it is absent
    identity : what the work depends on, fit for JSON: version, config, input, grid
    resume : go on with the work that is there, if it has the same identity
    overwrite : remove the work that is there; files that geoseg did not make are left alone
    """
    if resume and overwrite:
        raise ConfigError("--resume keeps the work that is there and --overwrite removes it; give one of them.")
    path = Path(path)
    _refuse_foreign(path)
    _make_folder(path)
    folder = RunFolder(path, _lock(path))
    try:
        _take_over(folder, identity, resume=resume, overwrite=overwrite)
    except BaseException:
        folder.close()
        raise
    return folder


def write_report(folder: RunFolder, report: Mapping[str, Any]) -> None:
    """Write `report` to run.json of the folder, whole or not at all."""
    _write(folder.path / "run.json", _to_json(report))


def read_report(folder: RunFolder) -> Any:
    """Return the report of the last run that was finished here; RunError where there is none."""
    return _read_json(folder.path / "run.json")


def _pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    # NumPy's own npy records one after another: an npz is a zip file, whose timestamps differ from run to run.
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
    # The name goes in, so that a file copied to another tile's place is not taken for that tile's work.
    digest = hashlib.blake2b("/".join(path.parts[-3:]).encode(), digest_size=_DIGEST_SIZE)
    digest.update(body)
    return digest.digest()


def _read_checked(path: Path) -> bytes:
    """Return the compressed content of a file; ValueError where it is not what was written."""
    content = path.read_bytes()
    body, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if not body.startswith(_MAGIC) or digest != _digest(path, body):
        raise ValueError("its checksum is not that of its content")
    return body[len(_MAGIC) :]


def _stored(folder: Path) -> Iterator[tuple[int | str, Path]]:
    for shard in sorted(folder.glob("*/")):
        for path in sorted(shard.glob(f"[!.]*{_SUFFIX}")):
            name = path.name.removesuffix(_SUFFIX)
            yield (name if shard.name == "named" else int(name)), path


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a file: letters, digits, '.', '_' and '-', at most 100 of them.")
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


def _refuse_foreign(path: Path) -> None:
    if not path.exists() or (path / _MANIFEST).is_file():
        return
    entries = sorted(path.iterdir()) if path.is_dir() else [path]
    # A run that was broken off before its manifest leaves its lock, and perhaps a part of the manifest.
    foreign = [entry.name for entry in entries if entry.name != "lock" and not entry.name.endswith(PARTIAL_SUFFIX)]
    if foreign:
        raise RunError(
            f"{path} is no run folder (it has {foreign[0]} but no {_MANIFEST}), so it is left alone; give --run-dir "
            f"a new or an empty folder."
        )


def _lock(folder: Path) -> io.FileIO:
    with writing(folder, advice=_ADVICE):
        lock = io.FileIO(folder / "lock", "a+")
    try:
        import fcntl  # here, because not every system has it

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        holder = os.pread(lock.fileno(), 200, 0).decode(errors="replace").strip()
        lock.close()
        raise RunError(
            f"another run is working in {folder} ({holder or 'holder unknown'}); wait for it, stop it, or choose "
            f"another --run-dir."
        ) from err
    except (ImportError, OSError) as err:  # among them network file systems without locks
        _log.warning("%s cannot be locked (%s); take care that no other run works there.", folder, err)
    with suppress(OSError):  # who holds it is only there to be told
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return lock


def _take_over(folder: RunFolder, identity: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
    manifest = folder.path / _MANIFEST
    for partial in folder.path.rglob(f".*{PARTIAL_SUFFIX}"):
        partial.unlink(missing_ok=True)
    if manifest.exists() and not overwrite:
        if not resume:
            raise RunError(
                f"{folder.path} holds the work of an earlier run: --resume goes on with it, --overwrite removes it."
            )
        _refuse_other_identity(folder.path, _leaves(_read_json(manifest)), _leaves(json.loads(_to_json(identity))))
        return
    # The manifest goes last: a run that is broken off in here leaves a folder that can still be told as ours.
    folder.clean()
    _remove(folder.path / "run.json")
    _write(manifest, _to_json(identity))


def _refuse_other_identity(path: Path, old: dict[str, str], new: dict[str, str]) -> None:
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    if names:
        told = "; ".join(f"{name}: {old.get(name, 'absent'):.60} → {new.get(name, 'absent'):.60}" for name in names[:5])
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise RunError(
            f"the work in {path} was made differently ({told}{more}); run as before, use --overwrite to start anew, or "
            f"choose another --run-dir."
        )


def _leaves(document: Any, name: str = "") -> dict[str, str]:
    """Return {'config.polygons.min_pixels': '64', …}: values as JSON text, since NaN is not equal to itself."""
    if isinstance(document, dict) and document:
        parts: Any = document.items()
    elif isinstance(document, list) and any(isinstance(part, dict | list) for part in document):
        parts = enumerate(document)
    else:
        return {name: json.dumps(document, ensure_ascii=False)}
    return {key: text for part, value in parts for key, text in _leaves(value, f"{name}.{part}".lstrip(".")).items()}


def _to_json(document: object) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False, default=_plain) + "\n").encode()


def _plain(value: object) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else os.fspath(value)  # type: ignore[call-overload]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as err:
        raise RunError(_unusable(path.name, path, err)) from err


def _unusable(what: str, path: Path, err: Exception) -> str:
    if isinstance(err, FileNotFoundError):
        return f"{what} is not finished: there is no {path}; go on with --resume to have it made."
    advice = "start anew with --overwrite" if path.name == _MANIFEST else f"delete {path} and go on with --resume"
    return f"{what} is damaged: {err}; {advice}."
