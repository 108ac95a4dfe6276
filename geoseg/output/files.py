"""Check output paths and write files atomically: a file appears under its name when it is complete, or not at all.

Everything that geoseg writes passes through this module: `write_file` for content that is in memory, `staged` for files
that a library writes. Both write beside the target, flush to the disk and rename.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

import pyarrow as pa

from geoseg.errors import ConfigError, ModelError, OutputError
from geoseg.output.failure import write_failure
from geoseg.output.names import check_driver, check_output_name
from geoseg.output.publication import FileState, Publication
from geoseg.output.system import flush_file, flush_folder, replace_file
from geoseg.raster.unreadable import GDAL_ERRORS

PARTIAL_SUFFIX = ".geoseg-part"  # of unfinished files, and of the folders of `staged`

_ADVICE = "Is the disk full, or the folder write-protected?"

Item = TypeVar("Item")


class Source(Generic[Item]):
    """Iterable that remembers the exception of its items, because GDAL swallows it.

    Parameters
    ----------
    items : iterable
        What is written to a file, such as record batches.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = items
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[Item]:
        try:
            yield from self.items
        except GeneratorExit:
            raise  # the writer has stopped reading; not an error of the items
        except BaseException as error:
            self.error = error
            raise


def check_output(
    path: Path, *, overwrite: bool | Publication, suffixes: Sequence[str], sidecars: Sequence[Path] = ()
) -> Publication:
    """Check that a file can be written, before the work starts, and return how it is to be published.

    Parameters
    ----------
    path : Path
        The output file.
    overwrite : bool or Publication
        Whether existing files may be replaced; a publication states which.
    suffixes : sequence of str
        The allowed suffixes, in lower case with the dot.
    sidecars : sequence of Path
        Files that belong to the output and are replaced or removed with it.

    Raises
    ------
    ConfigError
        If the name ends in none of `suffixes`.
    OutputError
        If the file or a sidecar exists and may not be replaced, is open in another program, or its folder is not
        writable.
    """
    check_output_name(path)
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"{path} ends in {path.suffix or 'no suffix'!r}; it can end in {', '.join(suffixes)}.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file in it, such as {path / ('out' + suffixes[0])}.")
    publication = overwrite if isinstance(overwrite, Publication) else Publication()
    if overwrite is True:
        publication = Publication.over([path, *sidecars])
    elif not isinstance(overwrite, Publication):
        _check_is_free(path, sidecars)
    # SQLite would replay the journal of the old file into the new one.
    if journals := [str(path) + end for end in ("-wal", "-journal") if Path(str(path) + end).exists()]:
        raise OutputError(
            f"{journals[0]} exists, so {path} is open in another program, such as QGIS; close it there first."
        )
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent} is not a folder, so {path.name} cannot be written to it. Create it first.")
    with writing(path), TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        check_driver(Path(folder) / path.name)  # permissions alone do not show whether a file system is read-only
    return publication


def _check_is_free(path: Path, sidecars: Sequence[Path]) -> None:
    if FileState.of(path) is not None:
        raise OutputError(f"{path} exists. Choose another name, or replace it with --overwrite.")
    if existing := [file for file in sidecars if FileState.of(file) is not None]:
        raise OutputError(
            f"{existing[0]} exists and would be replaced together with {path.name}, to which it belongs by its name. "
            f"Choose another name, or replace both with --overwrite."
        )


@contextmanager
def writing(path: Path, source: Source[Any] | None = None, *, advice: str = _ADVICE) -> Iterator[None]:
    """Convert the errors of libraries that write files to an `OutputError`.

    Parameters
    ----------
    path : Path
        The file or folder that the message names.
    source : Source or None
        The items that are written; an exception of theirs is raised unchanged.
    advice : str
        The last sentence of the message.

    Raises
    ------
    OutputError
        If the file cannot be written; the message gives the reason of the library.
    """
    try:
        yield
    except (OSError, RuntimeError, sqlite3.Error, pa.ArrowException, *GDAL_ERRORS) as err:  # pyogrio: RuntimeError
        if source is not None and source.error is not None:
            raise source.error from None  # raised by the rows, not by writing them
        raise OutputError(f"{path} could not be written: {write_failure(err, path)}. {advice}") from err


def write_file(path: Path, content: bytes, *, advice: str = _ADVICE) -> None:
    """Write a file atomically.

    Several processes may write the same file at the same time: the last one to finish replaces the others.

    Parameters
    ----------
    path : Path
        The file, replaced if it exists.
    content : bytes
    advice : str
        As in `writing`.

    Raises
    ------
    OutputError
        If the file cannot be written. What was there before is unchanged.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    with writing(path, advice=advice):
        try:
            with partial.open("xb") as file:
                file.write(content)
            flush_file(partial)  # before the rename: otherwise a power failure can leave a name without content
            replace_file(partial, path)
            flush_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def staged(path: Path, publication: Publication, *, sidecars: Sequence[Path] = ()) -> Iterator[Path]:
    """Yield a folder beside `path` whose files are published in the folder of `path` at the end.

    If the block raises, the folder is removed and nothing else changes. The caller holds a lock on `path`, see
    `geoseg.run.lock.locked_outputs`: the folder of another process that writes the same file would be removed.

    Parameters
    ----------
    path : Path
        The output file; the block writes a file of the same name to the folder.
    publication : Publication
        From `check_output`.
    sidecars : sequence of Path
        Files that belong to the output; existing ones that are not written anew are removed.

    Raises
    ------
    OutputError
        If the files cannot be written, or one would be replaced that may not be.
    """
    # Always the same, so that killed runs leave at most one; nobody else has folders of this name.
    folder = path.parent / f".{path.name}{PARTIAL_SUFFIX}"
    try:
        with writing(path):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        yield folder
        with writing(path):
            names = sorted((file.name for file in folder.iterdir()), key=lambda name: name == path.name)  # `path` last
            files = {folder / name: path.parent / name for name in names}
            for file in files:
                flush_file(file)
            publication.publish(files, [file for file in sidecars if file.name not in names])
            flush_folder(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_read_back(path: Path, content: bytes, publication: Publication, read: Callable[[Path], object]) -> None:
    """Write a file that appears under its name only if it can be read.

    Parameters
    ----------
    path : Path
    content : bytes
    publication : Publication
    read : callable
        Reads the file, and raises `ModelError` if it is damaged.

    Raises
    ------
    OutputError
        If the file cannot be written or does not read back. No file is left behind.
    """
    with staged(path, publication) as folder:
        with writing(path):
            (folder / path.name).write_bytes(content)
        try:
            read(folder / path.name)
        except ModelError as err:
            raise OutputError(f"{path} does not read back as it was written: {err} Is the disk full?") from err
