"""Executor on Dask workers: batches of tiles, and new attempts for tiles whose worker died or hung."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from distributed.protocol import pickle

from geoseg.errors import GeosegError
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.dask_client import check_workers_match, local_client, preserved_environment, quiet_dask, remote_client
from geoseg.run.dask_cluster import LOCAL_PATIENCE, started_client
from geoseg.run.dask_schedule import Schedule
from geoseg.run.dask_workers import Workers
from geoseg.run.outcome import Batched, Context, Outcome, TileFunction, one_line
from geoseg.run.signals import is_stopping

_REMOTE_PATIENCE = 300.0  # s without a worker after which the run fails


class DaskExecutor:
    """Executor on the workers of a Dask cluster.

    Tiles are sent in batches, a few per worker at a time, so that 200 000 tiles are no load for the scheduler. When a
    worker dies or hangs, each tile of its batch is tried again as the only task of the cluster: a tile whose worker
    always dies has failed, and the others finish.

    Parameters
    ----------
    client : distributed.Client
    workers : Workers
    tile_timeout : float or None
        As in `ClusterOptions`.
    wait_until_ready : callable
        Called before the first key.
    is_local : bool
        Whether the workers are those of this process. It computes batched functions itself then.
    """

    def __init__(
        self,
        client: Any,
        workers: Workers,
        *,
        tile_timeout: float | None = None,
        wait_until_ready: Callable[[], None] = lambda: None,
        is_local: bool = False,
    ) -> None:
        self._client, self._workers, self._tile_timeout = client, workers, tile_timeout
        self._wait_until_ready, self._is_ready, self._is_local = wait_until_ready, False, is_local

    def run(
        self,
        function: TileFunction[Context] | Batched[Context],
        context: Context,
        keys: Sequence[int],
        *,
        note: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Outcome]:
        """Yield the outcome of ``function(context, key)`` for every key, in the order in which they finish.

        Raises
        ------
        ConfigError
            If the workers cannot load the function or the context.
        GeosegError
            If the local workers do not start, or the scheduler or all workers are lost.
        """
        if self._is_local and isinstance(function, Batched):
            yield from function.function(context, keys)
            return
        payload = pickle.dumps((function, context))
        if keys and not self._is_ready:
            self._wait_until_ready()
            self._is_ready = True
        schedule = Schedule(self._client, self._workers, payload, deque(keys), note, self._tile_timeout)
        self._workers.begin()
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
def open_dask_executor(options: ClusterOptions, *, modules: Sequence[str] = ()) -> Iterator[DaskExecutor]:
    """Return a context manager with an executor on local workers or on a running cluster.

    Parameters
    ----------
    options : ClusterOptions
    modules : sequence of str
        Modules that local workers import when they start.

    Raises
    ------
    ConfigError
        If the cluster cannot be used; see `geoseg.run.dask_client`.
    """
    with quiet_dask():
        if options.is_local:
            with local_client(options, modules) as (client, processes, ready):
                workers = Workers(client, replace=processes.replace, patience=LOCAL_PATIENCE)
                yield DaskExecutor(
                    client, workers, tile_timeout=options.tile_timeout, wait_until_ready=ready, is_local=True
                )
        elif options.cluster is not None:
            with started_client(options) as (client, replace, patience):
                workers = Workers(client, replace=replace, patience=patience)
                yield DaskExecutor(client, workers, tile_timeout=options.tile_timeout)
        else:
            with remote_client(options) as client:
                check_workers_match(client)
                workers = Workers(client, patience=_REMOTE_PATIENCE)
                yield DaskExecutor(client, workers, tile_timeout=options.tile_timeout)
