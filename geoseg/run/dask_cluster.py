"""Clusters that geoseg starts from a cluster file: jobs of a batch system, or one process per GPU."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from distributed import Client
from distributed.security import Security

from geoseg.errors import ConfigError, GeosegError
from geoseg.run.cluster_file import ClusterFile, read_cluster_file
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.dask_client import KEEP_FREED_MEMORY, ONE_THREAD, close, local_settings
from geoseg.run.dask_local import LocalWorkers
from geoseg.run.outcome import one_line

_log = logging.getLogger(__name__)

LOCAL_PATIENCE = 180.0  # s without a worker after which the run fails

_RESUBMIT_SECONDS = 30.0  # between two checks for jobs that have ended


@contextmanager
def started_client(options: ClusterOptions) -> Iterator[tuple[Any, Callable[[], None], float]]:
    """Return a context manager with a client of the cluster that a file describes; the cluster ends with it.

    Yields
    ------
    client : distributed.Client
    replace : callable
        Starts new workers for those that are lost.
    patience : float
        Seconds without a worker after which the run fails. Infinite for jobs: they may wait in a queue.

    Raises
    ------
    ConfigError
        If the file is wrong, or its class is not installed or does not accept its arguments.
    """
    file = read_cluster_file(str(options.cluster))
    with ExitStack() as stack:
        with local_settings(stack):
            cluster = _start(file)
            if file.type.is_batch:
                stack.callback(close, cluster)
                jobs = _Jobs(cluster, int(file.workers or 1))
                jobs.submit()
                replace, patience = jobs.replace, float("inf")
            else:
                workers = LocalWorkers(cluster, len(cluster.worker_spec))
                stack.callback(workers.close)
                stack.callback(close, cluster)
                replace, patience = workers.replace, LOCAL_PATIENCE
            client = Client(cluster, set_as_default=False)
            stack.callback(close, client)
        yield client, replace, patience


def _start(file: ClusterFile) -> Any:
    kind = file.load_class()
    try:
        return kind(**(_batch_arguments(file) if file.type.is_batch else _local_arguments(file)))
    except (TypeError, ValueError, OSError, RuntimeError) as err:
        raise ConfigError(
            f"{file.path}: {file.type.name} does not start ({one_line(err)}); correct its keyword arguments."
        ) from err


class _Jobs:
    """The jobs of a batch system. One that has ended, for example at its time limit, is submitted anew."""

    def __init__(self, cluster: Any, n_jobs: int) -> None:
        self._cluster, self._n_jobs = cluster, n_jobs
        self._submitted = time.monotonic()

    def submit(self) -> None:
        """Submit the jobs.

        Raises
        ------
        GeosegError
            If the batch system refuses them.
        """
        try:
            self._cluster.scale(jobs=self._n_jobs)
        except Exception as err:
            raise GeosegError(f"the batch system does not take the jobs ({one_line(err)}); correct it.") from err

    def replace(self) -> None:
        """Submit those that have ended, at most every half minute."""
        if time.monotonic() - self._submitted > _RESUBMIT_SECONDS:
            self._submitted = time.monotonic()
            with suppress(Exception):  # the batch system may answer later
                self._cluster.scale(jobs=self._n_jobs)


def _batch_arguments(file: ClusterFile) -> dict[str, Any]:
    """Return the arguments of a class of dask-jobqueue: one thread per worker, as many workers as cores."""
    cores = file.arguments.get("cores", 1)
    variables: dict[str, Any] = dict.fromkeys(ONE_THREAD, 1) | KEEP_FREED_MEMORY
    # Pages with call stacks and logs, open to the network.
    variables |= {f"DASK_DISTRIBUTED__{part}__HTTP__ROUTES": "[]" for part in ("WORKER", "NANNY")}
    prologue = [f"export {name}={value}" for name, value in variables.items()]
    own = file.arguments.get("job_script_prologue") or []
    if not file.arguments.get("security"):
        _log.warning(
            "%s does not ask for encryption: whoever reaches the scheduler's port can run code as you. Add protocol: "
            "tls://, security: true and shared_temp_directory: FOLDER.",
            file.path,
        )
    return {"cores": cores, "processes": cores} | file.arguments | {"job_script_prologue": [*prologue, *own]}


def _local_arguments(file: ClusterFile) -> dict[str, Any]:
    """Return the arguments of a class for this machine: one thread per process, and of cuda one process per GPU."""
    defaults: dict[str, Any] = {
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "protocol": "tls://",
        "security": Security.temporary(),
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.CRITICAL,
    }
    n_workers = {} if file.workers is None else {"n_workers": file.workers}
    return defaults | n_workers | file.arguments
