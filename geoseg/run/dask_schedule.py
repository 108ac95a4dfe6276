"""Schedule of the keys of one stage on a Dask cluster: what waits, what is submitted, and what is tried again."""

from __future__ import annotations

import statistics
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from distributed import KilledWorker, wait

from geoseg.errors import ConfigError
from geoseg.run.dask_batches import BATCH_SECONDS, BATCHES_PER_SLOT, Batch, batch_size, installed_versions, run_batch
from geoseg.run.dask_workers import Workers
from geoseg.run.outcome import Kind, Outcome, one_line

FIRST_TILE_SECONDS = 6 * 3600.0  # time limit of a tile as long as none has finished
MIN_TILE_SECONDS = 600.0  # least time limit of a tile
MEDIANS_PER_TILE = 20  # time limit of a tile, in medians of the duration of those that have finished

_WAIT_SECONDS = 5.0
_RESULT_SECONDS = 30.0  # to receive a result, which is small
_QUIET_SECONDS = 60.0  # without a finished tile, until the first note; then twice as long each time
_DURATIONS = 1000  # of the latest batches
_SHOWN = 5
# Attempts of a key alone, after a first failure in a batch: another process may have been the cause of the first ones.
_ATTEMPTS_ALONE: dict[Kind, int] = {"worker died": 3, "timed out": 1, "memory": 1}


@dataclass
class Schedule:
    """State of one call of `DaskExecutor.run`.

    Parameters
    ----------
    client : distributed.Client
    workers : Workers
    payload : bytes
        The pickled function and context.
    waiting : deque of int
        Keys that are not yet submitted.
    note : callable
        Receives messages for the user.
    tile_timeout : float or None
        Time limit of a tile in seconds; None = derived from the median.
    retries : deque of int
        Keys whose worker died or hung. Each is retried alone, so that another death has one possible cause.
    attempts : Counter of int
        Attempts alone of each key.
    submitted : dict of Future to Batch
        The batches at the cluster, in the order of their submission.
    durations : deque of float
        Seconds per key of the latest batches.
    """

    client: Any
    workers: Workers
    payload: bytes
    waiting: deque[int]
    note: Callable[[str], None]
    tile_timeout: float | None = None
    retries: deque[int] = field(default_factory=deque)
    attempts: Counter[int] = field(default_factory=Counter)
    submitted: dict[Any, Batch] = field(default_factory=dict)
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=_DURATIONS))
    _moved: float = field(default_factory=time.monotonic)
    _checked: float = field(default_factory=time.monotonic)
    _quiet: float = field(default_factory=lambda: _QUIET_SECONDS)

    @property
    def is_finished(self) -> bool:
        """Whether every key has its outcome."""
        return not (self.waiting or self.retries or self.submitted)

    @property
    def time_limit(self) -> float:
        """Seconds after which a tile is taken to hang."""
        if self.tile_timeout is not None:
            return self.tile_timeout
        if not self.durations:
            return FIRST_TILE_SECONDS
        return max(MIN_TILE_SECONDS, MEDIANS_PER_TILE * statistics.median(self.durations))

    def submit(self) -> None:
        """Submit as many batches as the cluster should have."""
        n_slots = self.workers.count_slots()
        if self.retries:
            if not self.submitted:
                self._submit_batch(Batch([self.retries.popleft()], is_retry=True))
            return
        is_retrying = any(batch.is_retry for batch in self.submitted.values())
        while self.waiting and not is_retrying and len(self.submitted) < n_slots * BATCHES_PER_SLOT:
            latest = self.durations[-1] if self.durations else None
            n_keys = batch_size(len(self.waiting), n_slots, latest)
            self._submit_batch(Batch([self.waiting.popleft() for _ in range(n_keys)]))

    def collect(self) -> Iterator[Outcome]:
        """Wait for a batch, some seconds at most, and yield the outcomes of those that are done."""
        done: set[Any] = set()
        with suppress(TimeoutError), self.client.as_current():  # wait uses the current client
            done = wait(list(self.submitted), timeout=self._check_seconds, return_when="FIRST_COMPLETED").done
        for future in done:
            yield from self._finish_batch(self.submitted.pop(future), future)
        if time.monotonic() - self._checked > self._check_seconds:
            self._observe()
            yield from self._end_overdue()
            self._note_standstill()
            self._checked = time.monotonic()

    def drop_waiting(self) -> None:
        """Forget the keys that are not at the cluster."""
        self.waiting.clear()
        self.retries.clear()

    @property
    def _check_seconds(self) -> float:
        return min(_WAIT_SECONDS, self.time_limit / 4)

    def _submit_batch(self, batch: Batch) -> None:
        options = {"versions": installed_versions(), "is_alone": batch.is_retry}
        self.submitted[self.client.submit(run_batch, self.payload, batch.keys, **options, pure=False)] = batch

    def _finish_batch(self, batch: Batch, future: Any) -> Iterator[Outcome]:
        try:
            outcomes, seconds = future.result(timeout=min(_RESULT_SECONDS, self.time_limit))
        except ConfigError:
            raise
        except TimeoutError:  # the worker was stopped just after this batch
            lost = [batch]
            for address in self.workers.holders(future):
                self.note(f"the result of {_tiles(batch.keys)} does not arrive from {address}; the worker is restarted")
                lost += self._restart(address)
            for one in lost:
                yield from self._retry(one, _timed_out(one.keys[0], self.time_limit))
            return
        except Exception as err:  # the worker died, or the results could not be sent
            # A scheduler that was not started by geoseg may have tried it on several workers.
            yield from self._retry(batch, _failure(batch.keys[0], err), 1 + getattr(err, "allowed_failures", 0))
            return
        self._moved, self._quiet = time.monotonic(), _QUIET_SECONDS
        self.durations.append(seconds / len(outcomes))
        self.waiting.extendleft(reversed(batch.keys[len(outcomes) :]))  # those that the batch had no time for
        for outcome in outcomes:
            if outcome.kind == "memory" and not batch.is_retry:  # it may be enough for this tile alone
                self.retries.append(outcome.key)
            else:
                yield outcome

    def _retry(self, batch: Batch, failure: Outcome, n_attempts: int = 1) -> Iterator[Outcome]:
        """Try the keys of a batch again, each alone; yield the failure of a key that has been tried often enough."""
        if not batch.is_retry:
            self.retries.extend(batch.keys)
            return
        self.attempts[failure.key] += n_attempts
        if self.attempts[failure.key] < _ATTEMPTS_ALONE.get(failure.kind or "unexpected", 1):
            self.retries.append(failure.key)
        else:
            yield failure

    def _observe(self) -> None:
        """Record which batches are computed, and since when. A worker computes its tasks in order of submission."""
        now = time.monotonic()
        for address, tasks in self.workers.processing().items():
            own = [batch for future, batch in self.submitted.items() if future.key in set(tasks)]
            for batch in own[: self.workers.threads.get(address, 1)]:
                if batch.worker != address:
                    batch.worker, batch.started = address, now

    def _end_overdue(self) -> Iterator[Outcome]:
        """Restart the workers that have exceeded the time limit, and retry their keys."""
        limit, now = self.time_limit, time.monotonic()
        is_overdue = {
            batch.worker: batch.keys
            for batch in self.submitted.values()
            if batch.worker and batch.started is not None and now - batch.started > limit + BATCH_SECONDS
        }
        for address, keys in is_overdue.items():
            self.note(f"{_tiles(keys)} took longer than {limit:.0f} s on {address}; the worker is restarted")
            for batch in self._restart(address):
                yield from self._retry(batch, _timed_out(batch.keys[0], limit))

    def _restart(self, address: str) -> list[Batch]:
        """Restart a worker that hangs, and return the batches that it was computing; others wait again."""
        tasks = set(self.workers.processing().get(address, ()))
        futures = [future for future in self.submitted if future.key in tasks]
        batches = [self.submitted.pop(future) for future in futures]
        self.client.cancel(futures, force=True)
        self.workers.restart(address)
        for batch in batches:
            if batch.started is None:
                self.waiting.extendleft(reversed(batch.keys))
        return [batch for batch in batches if batch.started is not None]

    def _note_standstill(self) -> None:
        if time.monotonic() - self._moved < self._quiet or not self.submitted:
            return
        by_worker: dict[str, list[int]] = {}
        for batch in self.submitted.values():
            if batch.worker is not None:
                by_worker.setdefault(batch.worker, []).extend(batch.keys)
        places = [f"{_tiles(keys)} on {address}" for address, keys in sorted(by_worker.items())]
        more = [f"{len(places) - _SHOWN} more workers"] if len(places) > _SHOWN else []
        where = "; ".join(places[:_SHOWN] + more)
        if not where:
            where = "none yet" if self.workers.threads else "none, since no worker is connected"
        self.note(f"no tile has finished for {time.monotonic() - self._moved:.0f} s; in hand: {where}")
        self._quiet *= 2


def _tiles(keys: list[int]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{'tile' if len(keys) == 1 else 'tiles'} {', '.join(map(str, keys[:_SHOWN]))}{more}"


def _failure(key: int, err: Exception) -> Outcome:
    """Return the outcome of a key whose retry failed without one."""
    died = isinstance(err, KilledWorker)
    text = "WorkerDied: the worker process ended while it computed this tile alone; out of memory, or a crash"
    kind: Kind = "worker died" if died else "unexpected"
    return Outcome(key, None, text if died else one_line(err), "".join(traceback.format_exception(err)), kind)


def _timed_out(key: int, limit: float) -> Outcome:
    text = f"TimedOut: the tile did not finish within {limit:.0f} s, also alone; --tile-timeout gives it more time"
    return Outcome(key, None, text, kind="timed out")
