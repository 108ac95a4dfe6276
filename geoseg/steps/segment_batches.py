"""Segment stage on a GPU: batches of tiles, while threads read the next tiles and store the last ones."""

from __future__ import annotations

import gc
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.run.job import Job
from geoseg.run.outcome import Outcome, attempt
from geoseg.run.resources import n_preparing_threads
from geoseg.run.signals import is_stopping
from geoseg.segment.context import cells_of_pixels
from geoseg.steps.prepared_tile import (
    PreparedTile,
    initial_network,
    prepare_tile,
    store_shares,
    store_votes,
    wide_window,
)

if TYPE_CHECKING:
    from geoseg.segment.tile_batches import CodeSums, CountedTile, Result, TileBatches

_log = logging.getLogger(__name__)


def segment_together(job: Job, numbers: Sequence[int], *, size: int | None = None) -> Iterator[Outcome]:
    """Compute and store the votes of tiles as `segment.segment_tile` does, in batches on the device of the job.

    Parameters
    ----------
    job : Job
        Its method is backprop.
    numbers : sequence of int
        Tiles.
    size : int or None
        Largest number of tiles of a batch; None = by the free memory of the device.

    Yields
    ------
    Outcome
        Of each tile, when it is stored or has failed. A failure concerns one tile: where a batch fails, its tiles are
        computed one by one. A tile that lacks memory is tried again at the end, when no other is in hand.
    """
    from geoseg.segment.tile_batches import batch_size  # here, because torch takes seconds to import

    if not numbers:
        return
    shapes = {number: wide_window(job, job.tiles.tile(number)).shape for number in numbers}
    if size is None:
        size = batch_size(max(height * width for height, width in shapes.values()), job.config, job.device)
    n_threads = n_preparing_threads()
    with ThreadPoolExecutor(n_threads, "tile") as pool:
        line = _Line(job, pool, deque(batches_of_one_shape(shapes, size)), size, n_threads + size)
        try:
            yield from line.outcomes()
        finally:
            pool.shutdown(cancel_futures=True)
    for number in line.without_memory:
        gc.collect()
        yield attempt(_segment_alone, job, number)


def batches_of_one_shape(shapes: dict[int, tuple[int, int]], size: int) -> Iterator[list[int]]:
    """Yield batches of at most `size` tiles of the same shape, each as soon as it is full.

    They depend on the tiles alone and not on which are read first, so that a run can be repeated.

    Parameters
    ----------
    shapes : dict of int to (rows, cols)
        Of each tile.
    size : int

    Examples
    --------
    >>> list(batches_of_one_shape({0: (4, 4), 1: (4, 3), 2: (4, 4), 3: (4, 4)}, 2))
    [[0, 2], [1], [3]]
    """
    open_batches: dict[tuple[int, int], list[int]] = {}
    for number, shape in shapes.items():
        batch = open_batches.setdefault(shape, [])
        batch.append(number)
        if len(batch) == size:
            yield open_batches.pop(shape)
    yield from sorted(open_batches.values())


@dataclass
class _Batch:
    """Tiles that are computed together.

    Parameters
    ----------
    tiles : list of PreparedTile
    result : callable or None
        Waits for their sums; None = they are to be computed one by one.
    """

    tiles: list[PreparedTile]
    result: Result | None


@dataclass
class _Line:
    """Tiles on their way: read by threads, computed by the device, stored by threads.

    Parameters
    ----------
    job : Job
    pool : ThreadPoolExecutor
    waiting : deque of list of int
        Tiles of the batches that are not yet begun.
    size : int
        Largest number of tiles of a batch.
    most_in_hand : int
        Number of tiles that may be read ahead of the device, and of those that may wait to be stored: what bounds the
        memory.

    Attributes
    ----------
    without_memory : list of int
        Tiles that lacked memory.
    """

    job: Job
    pool: ThreadPoolExecutor
    waiting: deque[list[int]]
    size: int
    most_in_hand: int
    without_memory: list[int] = field(default_factory=list)
    _ahead: deque[list[Future[Outcome]]] = field(default_factory=deque)
    _storing: deque[Future[Outcome]] = field(default_factory=deque)
    _device: TileBatches | None = None

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcome of each tile but those that lacked memory."""
        computing: _Batch | None = None
        self._read_ahead()
        while self._ahead or computing:
            prepared = [future.result() for future in self._next_read()]
            self._read_ahead()
            # The next batch is started before the last one is awaited, so that the device is not idle.
            tiles: list[Any] = [outcome.result for outcome in prepared if outcome.error is None]
            started = self._start(tiles)
            for outcome in prepared:
                if outcome.error is not None:
                    yield from self._settled(outcome)
            if computing is not None:
                yield from self._store(computing)
            computing = started
            yield from self._stored(self.most_in_hand)
        yield from self._stored(0)

    def _read_ahead(self) -> None:
        """Begin to read as many tiles as may be in hand; none after a signal."""
        if is_stopping():
            self.waiting.clear()
        n_ahead = sum(map(len, self._ahead))
        while self.waiting and (not self._ahead or n_ahead + len(self.waiting[0]) <= self.most_in_hand):
            batch = self.waiting.popleft()
            self._ahead.append([self.pool.submit(attempt, prepare_tile, self.job, number) for number in batch])
            n_ahead += len(batch)

    def _next_read(self) -> list[Future[Outcome]]:
        """Return the next batch; after a signal without tiles that no thread has begun to read."""
        batch = self._ahead.popleft() if self._ahead else []
        return [future for future in batch if not (is_stopping() and future.cancel())]

    def _start(self, tiles: list[PreparedTile]) -> _Batch | None:
        """Start to compute a batch; None = there is nothing to compute."""
        for tile in tiles:
            if tile.image is None:
                self._submit(tile, None)
        seen = [tile for tile in tiles if tile.image is not None]
        return _Batch(seen, self._attempt(seen)) if seen else None

    def _attempt(self, tiles: list[PreparedTile]) -> Result | None:
        try:
            return self._batches(tiles[0]).start([_counted(self.job, tile) for tile in tiles])
        except Exception as err:
            _log.debug("a batch of tiles failed, so they are computed one by one: %s", err)
            return None

    def _store(self, batch: _Batch) -> Iterator[Outcome]:
        """Wait for a batch and begin to store its tiles; yield the outcomes of those that cannot be computed."""
        sums: list[CodeSums] | None = None
        if batch.result is not None:
            try:
                sums = batch.result()
            except Exception as err:
                _log.debug("a batch of tiles failed, so they are computed one by one: %s", err)
        for i, tile in enumerate(batch.tiles):
            if sums is not None:
                self._submit(tile, sums[i])
                continue
            outcome = attempt(self._compute_alone, tile, tile.tile.number)
            if outcome.error is None:
                self._submit(tile, outcome.result)
            else:
                yield from self._settled(outcome)

    def _compute_alone(self, tile: PreparedTile, _number: int) -> CodeSums:
        return self._batches(tile).start([_counted(self.job, tile)])()[0]

    def _batches(self, tile: PreparedTile) -> TileBatches:
        self._device = self._device or _new_batches(self.job, tile, self.size)
        return self._device

    def _submit(self, tile: PreparedTile, sums: CodeSums | None) -> None:
        self._storing.append(self.pool.submit(attempt, _store, (self.job, tile, sums), tile.tile.number))

    def _stored(self, most: int) -> Iterator[Outcome]:
        """Yield the outcomes of tiles that are stored, waiting for all but `most`."""
        while self._storing and (len(self._storing) > most or self._storing[0].done()):
            yield from self._settled(self._storing.popleft().result())

    def _settled(self, outcome: Outcome) -> Iterator[Outcome]:
        if outcome.kind == "memory":
            self.without_memory.append(outcome.key)
        else:
            yield outcome


def _segment_alone(job: Job, number: int) -> None:
    """Segment one tile in this thread."""
    prepared = prepare_tile(job, number)
    sums = None
    if prepared.image is not None:
        sums = _new_batches(job, prepared, 1).start([_counted(job, prepared)])()[0]
    _store((job, prepared, sums), number)


def _new_batches(job: Job, tile: PreparedTile, size: int) -> TileBatches:
    from geoseg.segment.tile_batches import TileBatches  # here, because torch takes seconds to import

    n_channels = 0 if tile.image is None else len(tile.image.channels)
    return TileBatches(initial_network(job, n_channels), job.config, job.device, size=size)


def _counted(job: Job, tile: PreparedTile) -> CountedTile:
    from geoseg.segment.tile_batches import CountedTile  # here, because torch takes seconds to import

    if tile.image is None:
        raise ValueError("a tile without valid pixels has no codes")
    cells = cells_of_pixels(tile.tile.core) if job.config.uses_context else None
    return CountedTile(tile.image, job.tiles.feather(tile.tile), tile.core, cells)


def _store(found: tuple[Job, PreparedTile, CodeSums | None], _number: int) -> None:
    """Store the votes of a tile, given the sums of its codes; None = no pixel is valid."""
    job, tile, sums = found
    nothing = np.zeros((*tile.index.shape, 1), np.uint8)
    if sums is None:
        store_shares(job, tile, nothing.repeat(job.config.network.channels[-1], axis=2))
        return
    cells = None
    if sums.cells is not None:
        cells = np.concatenate([sums.cells, tile.sum_cells(nothing)[..., 1:]], axis=2)  # then moments and pixels
    store_votes(job, tile, sums.votes, cells)
