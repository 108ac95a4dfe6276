"""Driver of the stages: applies functions to tiles and blocks, reports progress, records failures and times."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from geoseg.errors import TileError
from geoseg.progress import ProgressCallback, StageReporter, ignore
from geoseg.run.allocator import return_freed_memory
from geoseg.run.executors import Executor, Serial
from geoseg.run.failures import FailureLimit
from geoseg.run.outcome import Batched
from geoseg.run.products import Product, ProductStore, Stage
from geoseg.run.signals import deferred
from geoseg.segment.compiled import is_cached
from geoseg.segment.union_find import find

log = logging.getLogger(__name__)

FAILURES = "failed"  # begin of the names of the documents with failed tiles
_MAX_RECORDED = 1000  # of them; the report of the run lists all

TileFunction = Callable[[Any, int], object]


class Stages:
    """Stages of one run.

    Parameters
    ----------
    store : ProductStore
    tiles, blocks : sequence of int
        Numbers of the tiles and of the blocks to process, ascending.
    n_pixels : int
        Pixels of the scene, for the speed that is displayed.
    executor : Executor
        Where the functions run; by default in this process.
    progress : ProgressCallback

    Attributes
    ----------
    tiles : list of int
        The tiles that have not failed, ascending.
    failed : dict of int to str
        Tile number → one line with the error.
    seconds : dict of str to float
        Stage → wall time.
    """

    def __init__(
        self,
        store: ProductStore,
        tiles: Sequence[int],
        blocks: Sequence[int] = (),
        *,
        n_pixels: int,
        executor: Executor | None = None,
        progress: ProgressCallback = ignore,
    ) -> None:
        self.tiles, self.blocks = list(tiles), list(blocks)
        self.failed: dict[int, str] = {}
        self.seconds: dict[str, float] = {}
        self.reporter = StageReporter(progress)
        self._store, self._executor, self._n_pixels = store, executor or Serial(), n_pixels
        self._limit = FailureLimit(None, len(self.tiles))
        self._part: str | None = None
        self._check: Callable[[], None] = lambda: None
        self._recorded: dict[str, dict[str, str]] = {}
        self._name, self._done, self._total = "", 0, 0

    @contextmanager
    def stage(self, name: Stage, total: int) -> Iterator[None]:
        """Report a stage of `total` parts and record its time."""
        start, self._name, self._done, self._total = time.monotonic(), name, 0, total
        self.reporter.begin(name, total, pixels=self._n_pixels)
        yield
        if self._done < total:  # an earlier run has done the rest, or fewer parts were needed
            self.advance(total - self._done)
        self._store.inputs.check()
        return_freed_memory()
        self.reporter.finish()
        self.seconds[name] = round(self.seconds.get(name, 0) + time.monotonic() - start, 3)

    @contextmanager
    def checked(self, check: Callable[[], None]) -> Iterator[None]:
        """Return a context manager in which `check` is called after every tile and block: it may raise an error."""
        self._check, before = check, self._check
        try:
            yield
        finally:
            self._check = before

    def limit_failures(self, most: int | float | None) -> None:
        """Set how many tiles may fail before the run stops, as `RunOptions.max_failed` does."""
        self._limit = FailureLimit(most, len(self.tiles))

    def compute_part(self, name: str) -> None:
        """Compute the given tiles and blocks as a part of a run: what depends on all tiles is left as it is."""
        self._part = name

    def note_missing_cache(self) -> None:
        """Report that compiled functions cannot be stored, if that is so."""
        if not is_cached(find):
            self.reporter.note(
                "no folder for numba's cache is writable, so every process compiles its functions anew, which takes a "
                "minute; set NUMBA_CACHE_DIR to a writable folder"
            )

    def advance(self, n: int = 1) -> None:
        """Report that `n` more parts of the stage are finished."""
        self._done = min(self._done + n, self._total)  # parts that are read again are finished once
        self.reporter.advance(self._done)

    def each_block(self, function: TileFunction, job: Any, *, makes: Sequence[Product[Any]]) -> None:
        """Apply a function to every block for which one of the products `makes` is missing.

        The tiles of a block that fails will fail in a later stage and are listed then.

        Raises
        ------
        TileError
            If every block failed.
        GeosegError
            If a failure concerns all blocks, see `failures.FailureLimit`.
        """
        failed = dict(self._apply(function, job, self.blocks, makes))
        for number, error in failed.items():
            self.reporter.note(f"block {number} of superpixels failed: {error}")
        if failed and len(failed) == len(self.blocks):
            raise TileError(f"every block of superpixels failed; the first error: {next(iter(failed.values()))}")
        self._settle(makes, [number for number in self.blocks if number not in failed])

    def each_tile(self, function: TileFunction | Batched[Any], job: Any, *, makes: Sequence[Product[Any]]) -> None:
        """Apply a function to every tile for which one of the products `makes` is missing.

        Raises
        ------
        TileError
            If no tile is left that has not failed.
        GeosegError
            If a failure concerns all tiles or too many tiles have failed, see `failures.FailureLimit`.
        """
        for number, error in self._apply(function, job, self.tiles, makes):
            self.failed[number] = error
            self.reporter.note(f"tile {number} failed: {error}")
            self._record_failure(makes[-1], number, error)
            self._limit.check_number(self.failed)
        self.tiles = [number for number in self.tiles if number not in self.failed]
        if not self.tiles:
            raise TileError(f"every tile failed; the first error: {next(iter(self.failed.values()))}")
        self._settle(makes, self.tiles)

    def _apply(
        self, function: TileFunction | Batched[Any], job: Any, keys: Sequence[int], makes: Sequence[Product[Any]]
    ) -> Iterator[tuple[int, str]]:
        """Yield the key and the error of each failure; what is stored for that key is removed."""
        finished = self._store.finished(makes, keys)
        todo = [key for key in keys if key not in finished]
        self.advance(len(keys) - len(todo))
        self._limit.begin(self._name)
        with deferred():  # a signal lets the tiles in hand finish
            for outcome in self._executor.run(function, job, todo, note=self._note):
                self._check()
                self._limit.check_cause(outcome)
                self.advance()
                if outcome.error is not None:
                    self._store.check()  # if that fails, the tile is not to blame
                    log.debug("%s of %d: %s", makes[0].folder, outcome.key, outcome.traceback)
                    self._store.remove(makes, outcome.key)  # some may be stored, and later stages would use them
                    yield outcome.key, outcome.error

    def _note(self, text: str) -> None:
        self.reporter.note(f"{self._name}: {text}")

    def _settle(self, products: Sequence[Product[Any]], keys: Sequence[int]) -> None:
        for product in products if self._part is None else ():
            self._store.settle(product, keys)

    def _record_failure(self, product: Product[Any], number: int, error: str) -> None:
        """Store the failures so far, for those who ask for the status of the run."""
        if len(self._recorded) < _MAX_RECORDED:
            self._recorded[str(number)] = {"product": product.folder, "error": error}
            name = FAILURES if self._part is None else f"{FAILURES}-{self._part}"
            self._store.folder.put_json(name, {"failed": self._recorded})
