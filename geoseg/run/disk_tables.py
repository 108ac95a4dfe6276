"""Tables on the disk: arrays with a row per superpixel or region, of which only the rows in use are in memory.

The rows are pages of files in the run folder that have no name, so that nothing is left of them when the arrays are
gone or the process is killed. What fits into `IN_MEMORY` bytes stays in memory.
"""

from __future__ import annotations

import logging
import mmap
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from geoseg.output.files import PARTIAL_SUFFIX, writing
from geoseg.output.system import reserve_space
from geoseg.run.folder import ADVICE, RunFolder
from geoseg.run.products import Folder
from geoseg.segment.table_storage import InMemory, TableStorage

_log = logging.getLogger(__name__)

IN_MEMORY = 2**25  # bytes of all arrays of a storage that stay in memory


def storage_of(folder: Folder) -> TableStorage:
    """Return a storage for the tables of a run: on the disk if its folder is."""
    return DiskTables(folder.path, IN_MEMORY) if isinstance(folder, RunFolder) else InMemory()


class DiskTables:
    """Storage of arrays, of which those beyond `in_memory` bytes are on the disk.

    Parameters
    ----------
    folder : Path
        An existing folder on a disk with enough space.
    in_memory : int
        Bytes of all arrays that are held in memory.

    Attributes
    ----------
    n_bytes : int
        Of all arrays so far that are on the disk.
    """

    def __init__(self, folder: Path, in_memory: int = IN_MEMORY) -> None:
        self.n_bytes = 0
        self._folder, self._left = folder, in_memory
        self._maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return a new array of zeros.

        Raises
        ------
        OutputError
            If the disk has not enough space.
        """
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size <= self._left:
            self._left -= size
            return np.zeros(shape, dtype)
        with writing(self._folder, advice=ADVICE), self._file() as file:
            reserve_space(file, size)  # a full disk would otherwise end the process when a row is written
            return self._mapped(file, shape, dtype)

    def concatenate(self, parts: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """Return the columns of several tables with the rows of all.

        Raises
        ------
        OutputError
            If the disk has not enough space.
        """
        waiting: list[Mapping[str, NDArray[Any]]] = []
        size = 0
        rest = iter(parts)
        for part in rest:
            waiting.append(part)
            size += sum(column.nbytes for column in part.values())
            if 2 * size > self._left:  # the parts and the array
                return self._appended(waiting, rest)
        self._left -= size
        return InMemory().concatenate(waiting)

    def release(self) -> None:
        """Release the memory of rows that were read or written."""
        for each in self._maps:
            with suppress(AttributeError, OSError):  # Windows takes such memory away by itself when it is short
                each.madvise(mmap.MADV_DONTNEED)

    def _appended(
        self, waiting: list[Mapping[str, NDArray[Any]]], rest: Iterable[Mapping[str, NDArray[Any]]]
    ) -> dict[str, NDArray[Any]]:
        """Write the columns of the tables in `waiting` and of the rest to one file each, and map them."""
        empty = {name: column[:0] for name, column in waiting[0].items()}
        n_rows = dict.fromkeys(empty, 0)
        with ExitStack() as stack:
            with writing(self._folder, advice=ADVICE):
                files = {name: stack.enter_context(self._file()) for name in empty}
            for part in chain(_emptied(waiting), rest):
                with writing(self._folder, advice=ADVICE):
                    for name, file in files.items():
                        file.write(np.ascontiguousarray(part[name], empty[name].dtype).data)
                        n_rows[name] += len(part[name])
            with writing(self._folder, advice=ADVICE):
                return {
                    name: self._mapped(file, (n_rows[name], *empty[name].shape[1:]), empty[name].dtype)
                    for name, file in files.items()
                }

    def _file(self) -> IO[bytes]:
        # The suffix is for systems on which an open file keeps its name: `RunFolder.remove_partial` removes it.
        return TemporaryFile(dir=self._folder, prefix=".tables-", suffix=PARTIAL_SUFFIX)

    def _mapped(self, file: IO[bytes], shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array whose rows are the pages of a file; it may be closed."""
        file.flush()
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if not size:
            return np.zeros(shape, dtype)
        try:
            pages = mmap.mmap(file.fileno(), size)
        except (OSError, ValueError) as err:  # not every file system has maps
            _log.debug("tables stay in memory: %s", err)
            file.seek(0)
            return np.ndarray(shape, dtype, bytearray(file.read()))
        self._maps.add(pages)
        self.n_bytes += size
        return np.ndarray(shape, dtype, pages)


def _emptied(tables: list[Mapping[str, NDArray[Any]]]) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Yield the tables of a list, and remove each from it."""
    while tables:
        yield tables.pop(0)
