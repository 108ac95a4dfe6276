"""The run folder: the results of finished steps, each file complete or absent.

::

    RUN/
      manifest.json                     version, config and input to which the results belong
      run-id                            marks the folder as one of geoseg; changes when a run starts anew
      lock                              held by the process that uses the folder
      run.json                          the report of the last run
      plan.json                         what the parts of a planned run need to know
      documents/NAME.json               small documents
      stages/STAGE.PRODUCT/000012/12345.arrays    one file per product and tile, 1000 tiles to a folder
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.errors import RunError
from geoseg.output.files import PARTIAL_SUFFIX, write_file, writing
from geoseg.output.system import flush_folder
from geoseg.raster.regular_file import opened_state, regular_file
from geoseg.run.content_cache import CONTENTS
from geoseg.run.documents import parse_document, write_document

_log = logging.getLogger(__name__)

_MAGIC = b"geoseg arrays 3\n"
_CODEC = pa.Codec("zstd", compression_level=1)  # the size of zlib in a third of the time
_KINDS = "biufUS"  # of the dtypes of arrays: what is the same in every process
_DIGEST_SIZE = 16
_SUFFIX = ".arrays"
_KEYS_PER_FOLDER = 1000
ADVICE = "Free space on the disk or make the folder writable and continue with --resume, or choose another --run-dir."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Files that geoseg writes into folders of a run; all others may be those of a user.
_PARTIAL = rf"\..*{re.escape(PARTIAL_SUFFIX)}"
_OWN_DOCUMENT = re.compile(rf"((outputs|size|failed|part)(-.+)?|[a-z_]+\.[a-z_]+\.keys)\.json|{_PARTIAL}")
_OWN_ARRAYS = re.compile(rf"(([0-9]+|named)/)([^/]+{re.escape(_SUFFIX)}|{_PARTIAL})")
_RUN_ID = re.compile(r"geoseg run ([0-9a-f]{32})\n")

RUN_ID = "run-id"  # name of the file that marks a run folder


@dataclass(frozen=True)
class RunFolder:
    """Folder with the results of a run.

    The lock of `manifest.open_run` is held until `close` or until the process ends. Pickling omits it, so that a worker
    receives the folder without the lock.

    Parameters
    ----------
    path : Path
    run_id : str
        Of the run to which the results belong. It is part of each checksum, and a worker of an earlier run that is
        still alive can store nothing. "" = not checked.
    lock : io.FileIO or None
        The locked file; None = not locked by this object.
    """

    path: Path
    run_id: str = ""
    lock: io.FileIO | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[type[RunFolder], tuple[Path, str]]:
        return RunFolder, (self.path, self.run_id)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        if self.lock is not None:
            self.lock.close()

    def check_is_current(self) -> None:
        """Check that the folder still exists and belongs to this run.

        Raises
        ------
        RunError
            If not.
        """
        if self.run_id and read_run_id(self.path) != self.run_id:
            raise RunError(
                f"the run folder {self.path} was removed, or another run has started in it; nothing is stored in it "
                f"any more. Check which run is meant to use it, and continue that one with --resume."
            )

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
        RunError
            If another run has started in the folder since.
        """
        path = self._file(step, key)
        body = _MAGIC + _pack(arrays)
        content = body + self._digest(path, body)
        self.check_is_current()
        make_folder(path.parent)
        write_file(path, content, advice=ADVICE)

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
            If they are absent, damaged, or cannot be read.
        """
        path = self._file(step, key)
        state = opened_state(path)  # before it is read: if it is replaced meanwhile, this state does not occur again
        body = CONTENTS.get((path, self.run_id, state))
        if body is None:
            body = self._read(path, f"step {step!r} of tile {key}")
            if state:
                CONTENTS.add((path, self.run_id, state), body)
        return _arrays_of(body)

    def has(self, step: str, key: int | str, *, verify: bool = False) -> bool:
        """Return whether a step of a tile is finished and, with `verify`, its file undamaged."""
        path = self._file(step, key)
        if not verify:
            return path.exists()
        content = read_content(path)
        with suppress(ValueError):
            return content is not None and bool(self._checked(path, content))
        return False

    def finished(self, step: str, keys: Iterable[int | str] | None = None) -> set[int | str]:
        """Return the keys for which a step is finished, among `keys` or all; damaged files are removed."""
        stored = _stored(self.path / "stages" / _checked_name(step))
        if keys is not None:
            stored = ((key, path) for key in keys if (path := self._file(step, key)).exists())
        found: set[int | str] = set()
        for key, path in stored:
            if self.has(step, key, verify=True):
                found.add(key)
            else:
                _log.warning("%s (step %s, tile %s) is damaged and will be computed again.", path, step, key)
                _unlink(path)
        return found

    def put_json(self, name: str, document: Mapping[str, Any]) -> None:
        """Store a small document as JSON, with a checksum."""
        path = self._document(name)
        self.check_is_current()
        make_folder(path.parent)
        write_document(path, document, advice=ADVICE)

    def get_json(self, name: str) -> dict[str, Any] | None:
        """Return a document, or None if it is absent or damaged: what it records is then not known."""
        path = self._document(name)
        content = read_content(path)
        if content is None:
            return None
        try:
            return parse_document(path.name, content)
        except ValueError as err:
            _log.warning("%s is damaged (%s) and will be made again.", path, err)
            return None

    def remove_json(self, name: str) -> None:
        """Remove a document, if it exists."""
        _unlink(self._document(name))

    def remove(self, step: str, key: int | str) -> None:
        """Remove the result of a step for one tile, if there is one."""
        _unlink(self._file(step, key))

    def remove_steps(self, *steps: str) -> None:
        """Remove the results of steps for all tiles."""
        for step in steps:
            _remove_own(self.path / "stages" / _checked_name(step), _OWN_ARRAYS)

    def clean(self) -> None:
        """Remove the documents and the results of all steps, but not the manifest, the report and foreign files."""
        # First the documents: without them, a report means that the run is finished.
        _remove_own(self.path / "documents", _OWN_DOCUMENT)
        stages = self.path / "stages"
        for step in sorted(stages.iterdir()) if stages.is_dir() else ():
            _remove_own(step, _OWN_ARRAYS)
        _remove_empty(stages)

    def remove_partial(self) -> None:
        """Remove unfinished files that a killed process has left."""
        for folder in (self.path, self.path / "documents", *(self.path / "stages").glob("*/*/")):
            for partial in folder.glob(f".*{PARTIAL_SUFFIX}"):
                _unlink(partial)

    def _read(self, path: Path, what: str) -> bytes:
        """Return the content of a file of arrays, decompressed; `what` is its name in messages."""
        content = read_content(path)
        if content is None:
            raise RunError(f"{what} is not finished: {path} does not exist; continue the run with --resume.")
        try:
            return _decompressed(self._checked(path, content))
        except ValueError as err:
            raise RunError(f"{what} is damaged: {err}; delete {path} and continue with --resume.") from err

    def _digest(self, path: Path, body: bytes) -> bytes:
        # Includes the path, so that a file copied to the place of another tile is detected.
        digest = hashlib.blake2b("/".join(path.parts[-3:]).encode(), digest_size=_DIGEST_SIZE, key=self.run_id.encode())
        digest.update(body)
        return digest.digest()

    def _checked(self, path: Path, content: bytes) -> bytes:
        """Return the compressed part of the content of a file; ValueError if its checksum is wrong."""
        body, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
        if not body.startswith(_MAGIC) or digest != self._digest(path, body):
            raise ValueError("its content does not match its checksum")
        return body[len(_MAGIC) :]

    def _file(self, step: str, key: int | str) -> Path:
        # `_checked_name` refuses negative numbers: a name does not start with "-".
        shard = "named" if isinstance(key, str) else f"{key // _KEYS_PER_FOLDER:06d}"
        return self.path / "stages" / _checked_name(step) / shard / f"{_checked_name(str(key))}{_SUFFIX}"

    def _document(self, name: str) -> Path:
        return self.path / "documents" / f"{_checked_name(name)}.json"


def _pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    # A line of JSON and the bytes of the arrays. Parsing the header of each array in numpy's own format takes longer
    # than decompressing a small one, and an npz file is a zip archive, whose timestamps differ between runs.
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    if unknown := [name for name, array in ordered.items() if array.dtype.kind not in _KINDS]:
        raise ValueError(f"array {unknown[0]} has the dtype {ordered[unknown[0]].dtype}; expected numbers or text")
    header = [(name, array.dtype.str, array.shape) for name, array in ordered.items()]
    content = b"".join([json.dumps(header).encode(), b"\n", *(array.tobytes() for array in ordered.values())])
    return len(content).to_bytes(8, "little") + _CODEC.compress(content, asbytes=True)


def _decompressed(content: bytes) -> bytes:
    size = int.from_bytes(content[:8], "little")
    body: bytes = _CODEC.decompress(memoryview(content)[8:], decompressed_size=size, asbytes=True)
    return body


def _arrays_of(body: bytes) -> dict[str, NDArray[Any]]:
    begin = body.index(b"\n") + 1
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype, shape in json.loads(body[:begin]):
        arrays[name] = np.ndarray(shape, dtype, body, begin).copy()  # aligned, and may be written to
        begin += arrays[name].nbytes
    return arrays


def _stored(folder: Path) -> Iterator[tuple[int | str, Path]]:
    for shard in sorted(folder.glob("*/")):
        for path in sorted(shard.glob(f"[!.]*{_SUFFIX}")):
            name = path.name.removesuffix(_SUFFIX)
            if shard.name == "named":
                yield name, path
            elif name.isdecimal():  # otherwise it is not one of ours
                yield int(name), path


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid name: use 1 to 100 letters, digits, '.', '_' and '-'.")
    return name


def read_run_id(path: Path) -> str:
    """Return the id of the run to which a folder belongs; "" if it has none."""
    found = _RUN_ID.fullmatch((read_content(path / RUN_ID) or b"").decode("ascii", errors="replace"))
    return found[1] if found else ""


def read_content(path: Path) -> bytes | None:
    """Return the content of a file, or None if it does not exist.

    Raises
    ------
    RunError
        If it cannot be read: it is then neither absent nor damaged.
    """
    try:
        return regular_file(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as err:
        is_limit = err.errno in (errno.EMFILE, errno.ENFILE)
        advice = "raise the limit of open files with ulimit -n" if is_limit else "repair it"
        raise RunError(f"{path} cannot be read: {err.strerror or err}; {advice} and continue with --resume.") from err


def write_run_id(folder: RunFolder) -> None:
    """Mark a folder as belonging to a run."""
    write_file(folder.path / RUN_ID, f"geoseg run {folder.run_id}\n".encode(), advice=ADVICE)


def make_folder(path: Path) -> None:
    """Create a folder and its parents where they do not exist.

    Raises
    ------
    OutputError
        If it cannot be created.
    """
    if not path.is_dir():
        with writing(path, advice=ADVICE):
            path.mkdir(parents=True, exist_ok=True)
        flush_folder(path.parent)


def _unlink(path: Path) -> None:
    with writing(path, advice=ADVICE):
        path.unlink(missing_ok=True)


def _remove_own(folder: Path, names: re.Pattern[str]) -> None:
    """Remove the files below a folder whose relative paths match, and the folders that are empty then."""
    for parent, _, files in os.walk(folder, topdown=False):
        for each in files:
            path = Path(parent, each)
            if names.fullmatch(path.relative_to(folder).as_posix()):
                _unlink(path)
        _remove_empty(Path(parent))


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # it has other files
        folder.rmdir()
