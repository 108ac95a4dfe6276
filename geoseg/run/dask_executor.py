"""Executor on Dask workers: batches of tiles, and new attempts for tiles whose worker died."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from distributed import KilledWorker, wait
from distributed.protocol import pickle

from geoseg.errors import ConfigError, GeosegError
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.dask_client import INSTALL_SAME_VERSIONS, local_client, preserved_environment, quiet_dask, remote_client
from geoseg.run.outcome import Context, Outcome, TileFunction, attempt, one_line
from geoseg.run.signals import is_stopping

_BATCH_SECONDS = 1.0  # per batch: rare enough for the scheduler (some ms each), often enough to show progress
_BATCH_KEYS = 100
_BATCHES_PER_SLOT = 2  # one that is computed and one that waits, so that no worker waits for the scheduler
_NO_WORKER_SECONDS = 60.0  # after so long without a worker, the run fails
_WAIT_SECONDS = 5.0


class DaskExecutor:
    """Executor on the workers of a Dask cluster.

    Tiles are sent in batches, a few per worker at a time, so that 100 000 tiles are no load for the scheduler. When a
    worker dies, each tile of its batch is tried again as the only task of the cluster: a tile whose worker dies then
    as well has failed, and the others finish.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, function: TileFunction[Context], context: Context, keys: Sequence[int]) -> Iterator[Outcome]:
        """Yield the outcome of ``function(context, key)`` for every key, in the order in which they finish.

        Raises
        ------
        ConfigError
            If the workers cannot load the function or the context.
        GeosegError
            If the scheduler or all workers are lost.
        """
        schedule = _Schedule(self._client, pickle.dumps((function, context)), deque(keys))
        with preserved_environment():  # a restarted worker needs the environment of a first one
            try:
                while not schedule.is_finished:
                    if is_stopping():
                        schedule.drop_waiting()
                    schedule.submit()
                    yield from schedule.collect()
            except GeosegError:
                raise
            except Exception as err:
                raise GeosegError(f"Dask failed ({one_line(err)}); repair it and continue with --resume.") from err
            finally:
                with suppress(Exception):  # an exception that led here is raised already
                    self._client.cancel(list(schedule.submitted), force=True)


@contextmanager
def open_dask_executor(options: ClusterOptions) -> Iterator[DaskExecutor]:
    """Return a context manager with an executor on local workers or on a running cluster.

    Raises
    ------
    ConfigError
        If the cluster cannot be used; see `geoseg.run.dask_client`.
    """
    connect = local_client if options.is_local else remote_client
    with quiet_dask(), connect(options) as client:
        if not options.is_local:
            _check_workers_load_geoseg(client)
        yield DaskExecutor(client)


def batch_size(n_waiting: int, n_slots: int, seconds_per_key: float | None) -> int:
    """Return the number of keys of the next batch.

    A batch is about a second of work, or one key as long as the duration is unknown, but never so large that other
    workers would be idle at the end.

    Parameters
    ----------
    n_waiting : int
        Keys that are not yet submitted.
    n_slots : int
        Keys that the cluster computes at the same time.
    seconds_per_key : float or None
        Duration of the latest keys; None if unknown.

    Examples
    --------
    >>> batch_size(8, 2, None), batch_size(100_000, 2, 0.001), batch_size(100_000, 2, 0.25), batch_size(20, 2, 0.001)
    (1, 100, 4, 5)
    """
    n_for_duration = 1 if seconds_per_key is None else _BATCH_SECONDS / max(seconds_per_key, 1e-9)
    n_fair_share = n_waiting // (n_slots * _BATCHES_PER_SLOT)
    return int(max(1, min(n_for_duration, n_fair_share, _BATCH_KEYS)))


@dataclass
class _Schedule:
    """State of one call of `DaskExecutor.run`: the keys that wait, are submitted, or must be retried.

    Parameters
    ----------
    client : distributed.Client
    payload : bytes
        The pickled function and context.
    waiting : deque of int
        Keys that are not yet submitted.
    retries : deque of int
        Keys of batches whose worker died. Each is retried alone, so that a second death has one possible cause.
    submitted : dict of Future to list of int
        The batches at the cluster.
    is_retrying : bool
        Whether the only submitted batch is a retry.
    seconds_per_key : float or None
        Duration of the latest keys.
    workers_seen : float
        Monotonic time at which the cluster last had a worker.
    """

    client: Any
    payload: bytes
    waiting: deque[int]
    retries: deque[int] = field(default_factory=deque)
    submitted: dict[Any, list[int]] = field(default_factory=dict)
    is_retrying: bool = False
    seconds_per_key: float | None = None
    workers_seen: float = field(default_factory=time.monotonic)

    @property
    def is_finished(self) -> bool:
        return not (self.waiting or self.retries or self.submitted)

    def submit(self) -> None:
        """Submit as many batches as the cluster should have."""
        n_slots = self._count_slots()
        if self.retries:
            if not self.submitted:
                self._submit_batch([self.retries.popleft()], is_retry=True)
            return
        while self.waiting and not self.is_retrying and len(self.submitted) < n_slots * _BATCHES_PER_SLOT:
            n_keys = batch_size(len(self.waiting), n_slots, self.seconds_per_key)
            self._submit_batch([self.waiting.popleft() for _ in range(n_keys)], is_retry=False)

    def drop_waiting(self) -> None:
        """Forget the keys that are not at the cluster."""
        self.waiting.clear()
        self.retries.clear()

    def collect(self) -> Iterator[Outcome]:
        """Wait for a batch, some seconds at most, and yield the outcomes of those that are done."""
        done: set[Any] = set()
        with suppress(TimeoutError), self.client.as_current():  # wait uses the current client
            done = wait(list(self.submitted), timeout=_WAIT_SECONDS, return_when="FIRST_COMPLETED").done
        for future in done:
            yield from self._finish_batch(self.submitted.pop(future), future)

    def _submit_batch(self, keys: list[int], *, is_retry: bool) -> None:
        self.submitted[self.client.submit(run_batch, self.payload, keys, pure=False)] = keys
        self.is_retrying = is_retry

    def _finish_batch(self, keys: list[int], future: Any) -> Iterator[Outcome]:
        was_retry, self.is_retrying = self.is_retrying, False
        try:
            outcomes, seconds = future.result()
        except ConfigError:
            raise
        except Exception as err:  # the worker died, or the results could not be sent
            if was_retry:
                yield _failure(keys[0], err)
            else:
                self.retries.extend(keys)
            return
        self.seconds_per_key = seconds / len(outcomes)
        self.waiting.extendleft(reversed(keys[len(outcomes) :]))  # those that the batch had no time for
        yield from outcomes

    def _count_slots(self) -> int:
        """Return how many keys the cluster computes at the same time, at least 1; workers join and leave."""
        n_slots = sum(self.client.nthreads().values())
        if n_slots:
            self.workers_seen = time.monotonic()
        elif time.monotonic() - self.workers_seen > _NO_WORKER_SECONDS:
            raise GeosegError(
                f"the Dask cluster has had no worker for {_NO_WORKER_SECONDS:.0f} s; "
                "start workers and continue with --resume."
            )
        return max(n_slots, 1)


def run_batch(payload: bytes, keys: list[int]) -> tuple[list[Outcome], float]:
    """Compute keys for about a second; runs on a worker.

    Parameters
    ----------
    payload : bytes
        The pickled function and context.
    keys : list of int

    Returns
    -------
    outcomes : list of Outcome
        Those of the first keys, at least one.
    seconds : float
        Duration.

    Raises
    ------
    ConfigError
        If the payload cannot be unpickled here.
    """
    begin = time.monotonic()
    try:
        function, context = pickle.loads(payload)
    except Exception as err:
        raise ConfigError(f"a worker cannot load its task ({one_line(err)}); {INSTALL_SAME_VERSIONS}") from err
    outcomes: list[Outcome] = []
    # Not all keys if they take longer than those before, as the tiles after an empty margin do.
    while not outcomes or (len(outcomes) < len(keys) and time.monotonic() - begin < _BATCH_SECONDS):
        outcomes.append(attempt(function, context, keys[len(outcomes)]))
    return outcomes, time.monotonic() - begin


def _failure(key: int, err: Exception) -> Outcome:
    """Return the outcome of a key whose retry failed without one."""
    died = "WorkerDied: the worker process ended while it computed this tile alone; out of memory, or a crash"
    text = died if isinstance(err, KilledWorker) else one_line(err)
    return Outcome(key, None, text, "".join(traceback.format_exception(err)))


def _check_workers_load_geoseg(client: Any) -> None:
    try:
        client.run(_is_loaded)
    except Exception as err:
        raise ConfigError(f"the workers cannot load geoseg ({one_line(err)}); {INSTALL_SAME_VERSIONS}") from err


def _is_loaded() -> bool:
    """Return True; pickled by name, so a worker that runs it has imported this module."""
    return True
