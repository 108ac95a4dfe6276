"""Publication of complete files under their final names, which replaces only files that may be replaced."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from geoseg.errors import OutputError
from geoseg.output.system import NO_HARD_LINKS, replace_file

_SQLITE = b"SQLite format 3\0"
# Opening a GeoPackage in QGIS changes these bytes of its header: journal mode, and counters of changes.
_SQLITE_COUNTERS = ((18, 20), (24, 28), (92, 100))


@dataclass(frozen=True)
class FileState:
    """State of a file; a file that is written anew or changed has another one.

    Parameters
    ----------
    size : int
        Bytes.
    mtime_ns : int
        Time of the last change, in nanoseconds.
    inode : int
    """

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """Return the state of a file or of a broken link; None where nothing has this name."""
        for status in (path.stat, path.lstat):
            try:
                found = status()
            except (FileNotFoundError, NotADirectoryError):
                continue
            return cls(found.st_size, found.st_mtime_ns, found.st_ino)
        return None


def _ignore(_digests: Mapping[Path, str]) -> None:
    pass


@dataclass(frozen=True)
class Publication:
    """How complete files get their final names.

    Parameters
    ----------
    replaceable : dict of Path to FileState
        The existing files that may be replaced, in the state in which they were checked.
    record : callable
        Receives the digest of each file by its final path, before any file gets its name.
    """

    replaceable: Mapping[Path, FileState] = field(default_factory=dict)
    record: Callable[[Mapping[Path, str]], None] = _ignore

    @classmethod
    def over(cls, paths: Iterable[Path]) -> Publication:
        """Return a publication that may replace the files that exist now among `paths`."""
        states = {path: FileState.of(path) for path in paths}
        return cls({path: state for path, state in states.items() if state is not None})

    def check(self, paths: Iterable[Path]) -> None:
        """Check that no file would be replaced that was not there, or was another one, when the outputs were checked.

        Raises
        ------
        OutputError
            If one would be.
        """
        for path in paths:
            state = FileState.of(path)
            if state is not None and state != self.replaceable.get(path):
                happened = "was changed" if path in self.replaceable else "has appeared"
                raise OutputError(
                    f"{path} {happened} since the outputs were checked, and is not replaced. Move it away, and repeat "
                    f"the command; continue a run with --resume."
                )

    def publish(self, files: Mapping[Path, Path], stale: Iterable[Path] = ()) -> None:
        """Give complete files their final names, in order, and remove files that belonged to those they replace.

        Parameters
        ----------
        files : dict of Path to Path
            Where each file is → its final path.
        stale : iterable of Path
            Files that belong to the outputs and were not written anew; removed where they may be replaced.

        Raises
        ------
        OutputError
            If a file would be replaced that may not be.
        OSError
            If a file cannot be renamed.
        """
        stale = list(stale)
        self.check([*files.values(), *stale])
        self.record({target: file_digest(file) for file, target in files.items()})
        for file, target in files.items():
            if target in self.replaceable:
                replace_file(file, target)
            else:
                self._rename(file, target)
        for path in stale:
            path.unlink(missing_ok=True)

    def _rename(self, file: Path, target: Path) -> None:
        """Rename a file to a name that must not exist, without a moment between looking and renaming."""
        try:
            os.link(file, target)
        except FileExistsError:
            self.check([target])
            raise
        except OSError as err:  # the file system has no hard links
            if err.errno not in NO_HARD_LINKS:
                raise
            self.check([target])
            replace_file(file, target)
        else:
            file.unlink()


def file_digest(path: Path) -> str:
    """Return a digest of the content of a file that opening it in another program does not change.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        head = bytearray(file.read(100))
        if head.startswith(_SQLITE):
            for begin, end in _SQLITE_COUNTERS:
                head[begin:end] = bytes(end - begin)
        digest.update(head)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
