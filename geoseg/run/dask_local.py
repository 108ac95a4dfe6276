"""Local workers: start them, and replace those that are lost, also while they start."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from typing import Any

from distributed import Status

from geoseg.output.system import end_process

_START_SECONDS = 120.0  # a worker imports a lot, and the machine may be loaded
_PROCESS_NAME = "Dask Worker process"


class LocalWorkers:
    """The processes of a local cluster.

    A nanny restarts a worker that dies. It gives up, though, if the new one dies before it is ready, and waits without
    end for one that is stopped; both are replaced here.

    Parameters
    ----------
    cluster : distributed.LocalCluster
        Without workers at first.
    n_workers : int
    """

    def __init__(self, cluster: Any, n_workers: int) -> None:
        self._cluster, self._n_workers = cluster, n_workers
        self._missing: dict[int, float] = {}  # process → time since when it has not been registered
        self._n_lost = 0

    def spawn(self, *, from_server: bool) -> None:
        """Start the process of each worker; it need not be ready.

        Parameters
        ----------
        from_server : bool
            Whether a fork server starts them, which may still be importing. They have its environment then, so that
            this returns as soon as they are asked for; otherwise when they have the environment of this process.
        """
        begin = time.monotonic()
        self.replace()
        while not self._are_spawned(from_server) and time.monotonic() - begin < _START_SECONDS:
            time.sleep(0.01)
        self._cluster.sync(asyncio.sleep, 0)  # Dask changes the environment when it starts them: not after this

    def start(self) -> None:
        """Start all workers that are missing, and return when all are ready.

        Raises
        ------
        RuntimeError
            If several die one after the other before any is ready.
        """
        begin = time.monotonic()
        while self._n_ready() < self._n_workers and time.monotonic() - begin < _START_SECONDS:
            self.replace()
            if self._n_lost >= self._n_workers + 2:
                break
            time.sleep(0.05)
        if not self._n_ready():
            raise RuntimeError(f"{self._n_lost} processes ended before they were ready")

    def replace(self) -> None:
        """Start new workers for those whose nanny has given up; this does not wait until they are ready."""
        self._cluster.sync(self._replace)

    def end_unready(self) -> None:
        """End workers that are not ready yet: the cluster would wait for them before it closes."""
        if self._n_ready() < self._n_workers:
            self.close()

    def close(self) -> None:
        """End processes that the cluster has left behind, such as stopped ones."""
        for process in multiprocessing.active_children():
            if process.name.startswith(_PROCESS_NAME):
                process.kill()
                process.join(1)

    async def _replace(self) -> None:
        nannies = self._cluster.workers
        lost = [name for name, nanny in nannies.items() if nanny.status in (Status.closed, Status.failed)]
        for name in lost:
            del nannies[name]
        self._n_lost += len(lost)
        self._end_missing()
        if len(nannies) < self._n_workers:
            self._cluster.scale(self._n_workers)

    def _end_missing(self) -> None:
        """End processes that have not become ready for long, so that their nanny notices it."""
        registered = self._cluster.scheduler.workers
        missing = {nanny.pid for nanny in self._cluster.workers.values() if nanny.worker_address not in registered}
        now = time.monotonic()
        self._missing = {pid: self._missing.get(pid, now) for pid in missing if pid}
        for pid, since in self._missing.items():
            if now - since > _START_SECONDS:
                end_process(pid)

    def _are_spawned(self, from_server: bool) -> bool:
        nannies = list(self._cluster._created)  # `workers` has only those that are ready
        ended = (Status.closed, Status.failed)

        def is_spawned(nanny: Any) -> bool:
            is_asked_for = from_server and nanny.process is not None and nanny.process.process is not None
            return bool(is_asked_for or nanny.pid or nanny.status in ended)

        return len(nannies) == self._n_workers and all(map(is_spawned, nannies))

    def _n_ready(self) -> int:
        return len(self._cluster.scheduler.workers)
