"""Clients of Dask clusters: workers on this machine, or a cluster that is already running."""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Client, LocalCluster
from distributed.security import Security
from distributed.system import MEMORY_LIMIT
from distributed.versions import VersionMismatchWarning

from geoseg.errors import ConfigError, GeosegError, shorten
from geoseg.output.system import inherited_mask
from geoseg.raster.regular_file import regular_file
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.dask_batches import INSTALL_SAME_VERSIONS, SAME_PACKAGES, is_loaded, release
from geoseg.run.dask_local import LocalWorkers
from geoseg.run.fork_server import fork_server
from geoseg.run.main_guard import MainModuleError, imported_by_workers
from geoseg.run.outcome import one_line
from geoseg.run.signals import deferred

_log = logging.getLogger(__name__)

_CLOSE_SECONDS = 5.0
# One thread each: the workers share the cores already, and sums of floats depend on the number of threads.
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
# Freed memory stays with the worker. With Dask's 65536 bytes every large array is mapped and cleared anew, which made
# two workers slower than one process (16 Mpx: 77 s against 37 s; with these values 33 s).
# One arena: what one thread frees, another one uses.
KEEP_FREED_MEMORY = {
    **dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), 2_000_000_000),
    "MALLOC_ARENA_MAX": 1,
}
_SPAWN_VARIABLES = (*ONE_THREAD, *KEEP_FREED_MEMORY, "PYTHONHASHSEED")  # all that is set for the workers
_WORKER_MODULES = ("distributed.nanny", "distributed.worker", "geoseg.run.dask_batches")  # and those of the stages
_LOCAL_CONFIG: dict[str, Any] = {
    "distributed.nanny.pre-spawn-environ.NUMBA_NUM_THREADS": 1,
    **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in KEEP_FREED_MEMORY.items()},
    "distributed.scheduler.allowed-failures": 0,  # DaskExecutor retries a tile whose worker died
    "distributed.scheduler.worker-ttl": None,  # a worker that computes for minutes is not dead
    # Other users of the machine can open these pages, which show call stacks and logs. The dashboard brings its own.
    **{f"distributed.{part}.http.routes": [] for part in ("scheduler", "worker", "nanny")},
    "distributed.deploy.lost-worker-timeout": "120s",  # a restart imports a lot, and the machine may be loaded
    # Pausing and spilling help against results that accumulate; ours are small, and a paused worker would never resume.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}


@contextmanager
def local_client(
    options: ClusterOptions, modules: Sequence[str] = ()
) -> Iterator[tuple[Any, LocalWorkers, Callable[[], None]]]:
    """Return a context manager with a client of new workers on this machine, one thread each, and their processes.

    The third value is a function that returns when the workers are ready. They import `modules` before.

    All connections use TLS with a key pair that exists in the memory of these processes only: a port on the loopback
    address is open to every user of the machine, and whoever may connect to a scheduler or worker can run code there.

    Raises
    ------
    ConfigError
        If the dashboard is asked for and bokeh is not installed.
    GeosegError
        By the function: if the workers do not start.
    """
    if options.dashboard and importlib.util.find_spec("bokeh") is None:
        raise ConfigError("--dashboard needs bokeh, which is not installed: pip install bokeh, or omit --dashboard.")
    with ExitStack() as stack:
        with local_settings(stack, modules) as settings:
            method = stack.enter_context(fork_server((*_WORKER_MODULES, *modules)))
            stack.enter_context(dask.config.set({"distributed.worker.multiprocessing-method": method}))
            n_workers = options.workers or dask.system.CPU_COUNT
            cluster = _start_cluster(options, n_workers)
            processes = LocalWorkers(cluster, n_workers)
            stack.callback(processes.close)
            stack.callback(close, cluster)
            stack.callback(processes.end_unready)
            processes.spawn(from_server=method == "forkserver")
            # By the address: a client of the cluster would wait for its workers.
            client = Client(cluster.scheduler_address, security=cluster.security, set_as_default=False)
            stack.callback(close, client)
        if options.dashboard:
            _log.info("Dask's dashboard: %s", cluster.dashboard_link)

        def wait_until_ready() -> None:
            with settings():
                _start(processes)

        yield client, processes, wait_until_ready


@contextmanager
def local_settings(
    stack: ExitStack, modules: Sequence[str] = ()
) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Return a context manager in which to start local workers: what they inherit, and no interruption meanwhile.

    Parameters
    ----------
    stack : ExitStack
        Receives the removal of the workers' scratch folder.
    modules : sequence of str
        Modules that the workers import when they start.

    Yields
    ------
    callable
        Returns a context manager with the same settings, in which lost workers can be replaced later.
    """
    scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="geoseg-", ignore_cleanup_errors=True))
    config = _LOCAL_CONFIG | {"temporary-directory": scratch, "distributed.worker.preload": list(modules)}

    @contextmanager
    def settings() -> Iterator[None]:
        with (
            deferred(),  # outermost: what is started is registered in the stack before a signal ends the run
            dask.config.set(config),
            preserved_environment(),
            _blocked_interrupts(),
        ):
            os.environ.update(dict.fromkeys(ONE_THREAD, "1"))  # takes precedence over Dask's own setting
            for name, value in KEEP_FREED_MEMORY.items():  # for a fork server; Dask sets them for each worker
                os.environ.setdefault(name, str(value))
            yield

    with settings():
        yield settings


def _start_cluster(options: ClusterOptions, n_workers: int) -> Any:
    """Return a local cluster that has no workers yet."""
    return LocalCluster(
        n_workers=0,
        threads_per_worker=1,
        memory_limit=options.memory_limit or MEMORY_LIMIT // n_workers,
        host="127.0.0.1",
        protocol="tls://",
        security=Security.temporary(),
        dashboard_address="127.0.0.1:8787" if options.dashboard else "127.0.0.1:0",
        scheduler_kwargs={"dashboard": options.dashboard},
        silence_logs=logging.CRITICAL,
    )


def _start(processes: LocalWorkers) -> None:
    try:
        processes.start()
    except RuntimeError as err:
        error = GeosegError if imported_by_workers() is None else MainModuleError
        raise error(
            f"the worker processes did not start ({one_line(err)}). A script must call geoseg under "
            '`if __name__ == "__main__":`; if it does, check the memory, or compute in this process with workers=0.'
        ) from err


@contextmanager
def remote_client(options: ClusterOptions) -> Iterator[Any]:
    """Return a context manager with a client of a running cluster, whose workers have the package versions of here.

    Raises
    ------
    ConfigError
        If there is no scheduler or no worker within the timeout, or versions differ.
    """
    address = options.scheduler or _read_address(Path(str(options.scheduler_file)), timeout=options.timeout)
    security = _security(options, address)
    with ExitStack() as stack:
        # In two steps, because a client that could not connect must be closed as well.
        client: Any = Client.__new__(Client)
        stack.callback(close, client)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", VersionMismatchWarning)  # check_workers_match reports it in one line
                client.__init__(address, timeout=options.timeout, set_as_default=False, security=security)
            client.wait_for_workers(1, timeout=options.timeout)
        except (OSError, ValueError) as err:
            raise ConfigError(f"no Dask scheduler with workers at {address} ({one_line(err)}); start both.") from err
        yield client


def _security(options: ClusterOptions, address: str) -> Security:
    """Return the certificates for a connection to a scheduler; warn if it is neither encrypted nor on this machine."""
    if options.certificates:
        if not address.startswith("tls://"):
            raise ConfigError(
                f"the scheduler is at {shorten(address)}, but certificates are given; expected an address such as "
                "tls://host:8786. Start the scheduler with the same certificates, or omit them."
            )
        ca_file, certificate, key = options.certificates
        names = {f"tls_{role}_{part}": value for role in ("client", "scheduler", "worker")
                 for part, value in (("cert", certificate), ("key", key))}  # fmt: skip
        return Security(tls_ca_file=ca_file, require_encryption=True, **names)
    if address.startswith("tls://"):  # of a scheduler file
        raise ConfigError(
            f"the scheduler is at {shorten(address)}; expected its certificates. Give --tls-ca-file, --tls-cert and "
            "--tls-key."
        )
    if not address.startswith(("wss://", "inproc://")) and not _is_loopback(address):
        _log.warning(
            "the connection to %s is not encrypted: whoever reaches that port can run code as you. Use tls:// with "
            "--tls-ca-file, --tls-cert and --tls-key.",
            shorten(address),
        )
    return Security()


def _is_loopback(address: str) -> bool:
    try:
        host = urlsplit(address if "://" in address else f"tcp://{address}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name of a host
        return False


def _read_address(path: Path, *, timeout: float) -> str:
    """Return the address in a scheduler file, which a batch job may be about to write."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return str(json.loads(regular_file(path).read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as err:
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"{path} has no address of a Dask scheduler ({one_line(err)}); check that the scheduler is running."
                ) from err
        time.sleep(0.1)


def check_workers_match(client: Any) -> None:
    """Check that all workers have the package versions of this process and can load geoseg.

    Raises
    ------
    ConfigError
        If one has not or cannot.
    """
    _check_versions(client)
    try:
        client.run(is_loaded)
    except Exception as err:
        raise ConfigError(f"the workers cannot load geoseg ({one_line(err)}); {INSTALL_SAME_VERSIONS}") from err


def _check_versions(client: Any) -> None:
    """Compare the package versions of the workers with those of this process.

    Not by ``get_versions(check=True)``: that warns with a table of several lines instead of raising, and takes torch
    2.4+cpu and 2.4+cu121, or Python 3.11.4 and 3.11.7, for different.
    """
    versions = client.get_versions(packages=SAME_PACKAGES[1:])
    here = versions["client"]["packages"]
    for worker, info in versions["workers"].items():
        there = info["packages"]
        pairs = {name: (release(name, there.get(name)), release(name, here.get(name))) for name in SAME_PACKAGES}
        differing = [f"{name} {found} (here {own})" for name, (found, own) in pairs.items() if found != own]
        if differing:
            text = ", ".join(differing)
            raise ConfigError(f"worker {worker} has {text}; {INSTALL_SAME_VERSIONS}")


@contextmanager
def preserved_environment() -> Iterator[None]:
    """Return a context manager that restores the environment variables that starting workers changes."""
    before = {name: os.environ[name] for name in _SPAWN_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        for name in _SPAWN_VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Block the signals that end a run until the end, and in workers that are started meanwhile for good.

    Ctrl-C in a terminal goes to all processes, and so does the SIGTERM of a batch system. This process handles it and
    ends the workers, which would only print tracebacks, or end before their tiles are finished.
    """
    # The tracker unblocks the other signals if it starts only then; it ignores them itself.
    with inherited_mask(resource_tracker.ensure_running):
        yield


@contextmanager
def quiet_dask() -> Iterator[None]:
    """Return a context manager that mutes the loggers of Dask and tornado: outcomes and errors report what matters."""
    names = ("distributed", "distributed.client", "distributed.gc", "bokeh", "tornado", "tornado.application")
    before = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    try:
        for logger in before:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


def close(closable: Any) -> None:
    """Close a client or a cluster, if it still exists."""
    with suppress(Exception):  # a worker or scheduler that is gone needs no closing
        closable.close(timeout=_CLOSE_SECONDS)
