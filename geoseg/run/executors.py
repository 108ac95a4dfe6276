"""The steps that are done tile by tile: in this process, or on Dask's workers.

Both executors take the same top-level function and yield the same outcomes. Workers are new processes that import the
caller's main module, as multiprocessing's do: a script that opens an executor at its top level needs the usual
``if __name__ == "__main__":``; the command line and notebooks need nothing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import signal
import tempfile
import textwrap
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Protocol, TypeVar

from geoseg.errors import ConfigError, GeosegError

_log = logging.getLogger(__name__)

Context = TypeVar("Context")
TileFunction = Callable[[Context, int], object]

_BATCH_SECONDS = 1.0  # work per batch: rare enough for the scheduler (some ms each), often enough to show progress
_BATCH_KEYS = 100
_BATCHES_PER_SLOT = 2  # one that is computed and one that waits, so that no worker waits for the scheduler
_LONELY_SECONDS = 60.0  # without a worker for so long, none will come
_WAIT_SECONDS = 5.0
# One thread each: workers share the cores already, and sums of floats depend on the number of threads.
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
# Freed memory stays with the worker. With Dask's 65536 bytes every large array is mapped and cleared anew, which made
# two workers slower than one process (16 Mpx: 77 s against 37 s; with these values 33 s).
_KEEP_FREED_MEMORY = dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), 2_000_000_000)
_SPAWN_VARIABLES = (*_ONE_THREAD, *_KEEP_FREED_MEMORY, "PYTHONHASHSEED")  # all that is set for the workers
_LOCAL_CONFIG = {
    "distributed.nanny.pre-spawn-environ.NUMBA_NUM_THREADS": 1,
    **{f"distributed.nanny.pre-spawn-environ.{name}": n_bytes for name, n_bytes in _KEEP_FREED_MEMORY.items()},
    "distributed.scheduler.allowed-failures": 0,  # whose worker dies is tried again alone; see Cluster
    "distributed.scheduler.worker-ttl": None,  # a worker that is busy for minutes is not dead
    "distributed.deploy.lost-worker-timeout": "120s",  # a restart imports a lot, and the machine may be loaded
    # Pausing and spilling help against results that pile up; ours are small, and a paused worker would wait for ever.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}
_INSTALL_ALIKE = "install the same versions of geoseg and its packages on all machines."
# What must be the same on all machines, for tasks to arrive and results to be the same.
_SAME_PACKAGES = "geoseg dask distributed numpy scipy scikit-image scikit-learn numba torch rasterio shapely"


@dataclass(frozen=True)
class ClusterOptions:
    """Where the tiles are computed.

    Parameters
    ----------
    workers : processes on this machine; None as many as it has cores, 0 none: all is done in this process
    scheduler : address of a Dask scheduler that runs already, as tcp://host:8786, or …
    scheduler_file : … the file that it wrote its address to
    dashboard : show Dask's dashboard on this machine's own address (local workers only)
    memory_limit : of one local worker, as "4GiB"; one that needs more is ended; None: a worker's share of the memory
    timeout : seconds to wait for a scheduler, and for its first worker
    """

    workers: int | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    dashboard: bool = False
    memory_limit: str | None = None
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"workers ({self.workers}) must be 0 (all in this process) or more.")
        places = (self.workers, self.scheduler, self.scheduler_file)
        if sum(place is not None for place in places) > 1:
            raise ConfigError("--workers, --scheduler and --scheduler-file are three places to work; give one of them.")


@dataclass(frozen=True)
class Outcome:
    """What became of one tile: the function's result, or, in one line, the type and text of what went wrong."""

    key: int
    result: Any | None = None
    error: str | None = None
    traceback: str | None = field(default=None, compare=False, repr=False)  # for the log; depends on the executor


class Executor(Protocol):
    """A place where a function is applied to tiles."""

    def run(self, function: TileFunction[Context], context: Context, keys: Sequence[int]) -> Iterator[Outcome]:
        """Yield the outcome of ``function(context, key)`` for every key, as they get ready.

        The function is a top-level one of a module that workers can import; context and results are small.
        """


class Serial:
    """One tile after another in this process."""

    def run(self, function: TileFunction[Context], context: Context, keys: Sequence[int]) -> Iterator[Outcome]:
        """Yield the outcomes in the order of the keys."""
        return (_attempt(function, context, key) for key in keys)


class Cluster:
    """Workers of a Dask cluster.

    Tiles travel in batches, a few per worker at a time, so that 100 000 tiles are no load for the scheduler. When a
    worker dies, the tiles that it had are tried again one by one with nothing else under way: a tile whose worker
    dies then as well is the one that failed, and the others finish.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, function: TileFunction[Context], context: Context, keys: Sequence[int]) -> Iterator[Outcome]:
        """Yield the outcomes in the order in which they get ready."""
        from distributed.protocol import pickle

        work = _Work(self._client, pickle.dumps((function, context)), deque(keys))
        with _environment_kept():  # a worker that is started again needs what a first one needs
            try:
                while work.waiting or work.suspects or work.under_way:
                    work.submit()
                    yield from work.collect()
            except GeosegError:
                raise
            except Exception as err:
                raise GeosegError(f"Dask failed ({_one_line(err)}); repair it and go on with --resume.") from err
            finally:
                with suppress(Exception):  # whatever brought us here is told already
                    self._client.cancel(list(work.under_way), force=True)


@contextmanager
def open_executor(options: ClusterOptions) -> Iterator[Executor]:
    """Open the executor that the options ask for, or raise ConfigError; close it with its workers at the end."""
    if options.workers == 0:
        yield Serial()
        return
    opened = _local_client if options.scheduler is None and options.scheduler_file is None else _remote_client
    with _quiet(), opened(options) as client:
        yield Cluster(client)


def batch_size(n_waiting: int, n_slots: int, seconds_per_key: float | None) -> int:
    """Return how many keys the next batch should have.

    Enough for a second of work, 1 where nothing is known, but never so many that workers would be idle at the end.

    Examples
    --------
    >>> batch_size(8, 2, None), batch_size(100_000, 2, 0.001), batch_size(100_000, 2, 0.25), batch_size(20, 2, 0.001)
    (1, 100, 4, 5)
    """
    n_worthwhile = 1 if seconds_per_key is None else _BATCH_SECONDS / max(seconds_per_key, 1e-9)
    n_fair = n_waiting // (n_slots * _BATCHES_PER_SLOT)
    return int(max(1, min(n_worthwhile, n_fair, _BATCH_KEYS)))


@dataclass
class _Work:
    """What is left of one call of `Cluster.run`: tiles that wait, batches under way, tiles whose worker died."""

    client: Any
    payload: bytes
    waiting: deque[int]
    suspects: deque[int] = field(default_factory=deque)
    under_way: dict[Any, list[int]] = field(default_factory=dict)  # future → its keys
    alone: bool = False  # the only batch under way is a suspect: if its worker dies now, it is to blame
    seconds_per_key: float | None = None
    workers_seen: float = field(default_factory=time.monotonic)

    def submit(self) -> None:
        n_slots = self._count_slots()
        if self.suspects and not self.under_way:
            self._submit([self.suspects.popleft()], alone=True)
        while (
            self.waiting and not self.suspects and not self.alone and len(self.under_way) < n_slots * _BATCHES_PER_SLOT
        ):
            n_keys = batch_size(len(self.waiting), n_slots, self.seconds_per_key)
            self._submit([self.waiting.popleft() for _ in range(n_keys)], alone=False)

    def collect(self) -> Iterator[Outcome]:
        from distributed import wait

        done: set[Any] = set()
        with suppress(TimeoutError), self.client.as_current():  # wait looks for a current client
            done = wait(list(self.under_way), timeout=_WAIT_SECONDS, return_when="FIRST_COMPLETED").done
        for future in done:
            yield from self._settle(self.under_way.pop(future), future)

    def _submit(self, keys: list[int], *, alone: bool) -> None:
        self.under_way[self.client.submit(_run_batch, self.payload, keys, pure=False)] = keys
        self.alone = alone

    def _settle(self, keys: list[int], future: Any) -> Iterator[Outcome]:
        was_alone, self.alone = self.alone, False
        try:
            outcomes, seconds = future.result()
        except ConfigError:
            raise
        except Exception as err:  # the worker died, or the results could not travel
            if was_alone:
                yield _failure(keys[0], err)
            else:
                self.suspects.extend(keys)
            return
        self.seconds_per_key = seconds / len(outcomes)
        self.waiting.extendleft(reversed(keys[len(outcomes) :]))  # there was no time for them
        yield from outcomes

    def _count_slots(self) -> int:
        """Return how many tiles can be computed at a time, at least 1; workers come and go."""
        n_slots = sum(self.client.nthreads().values())
        if n_slots:
            self.workers_seen = time.monotonic()
        elif time.monotonic() - self.workers_seen > _LONELY_SECONDS:
            raise GeosegError(f"Dask has no workers since {_LONELY_SECONDS:.0f} s; start some, go on with --resume.")
        return max(n_slots, 1)


@contextmanager
def _local_client(options: ClusterOptions) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    if options.dashboard and importlib.util.find_spec("bokeh") is None:
        raise ConfigError("--dashboard needs bokeh, which is not installed: pip install bokeh, or leave it out.")
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="geoseg-", ignore_cleanup_errors=True))
        with (
            dask.config.set(_LOCAL_CONFIG | {"temporary-directory": scratch}),
            _environment_kept(),
            _interrupts_held_back(),
        ):
            os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))  # stronger than Dask's own setting
            cluster = LocalCluster(
                n_workers=options.workers or dask.system.CPU_COUNT,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:8787" if options.dashboard else "127.0.0.1:0",
                scheduler_kwargs={"dashboard": options.dashboard},
                silence_logs=logging.CRITICAL,
                **({} if options.memory_limit is None else {"memory_limit": options.memory_limit}),
            )
            stack.callback(_close, cluster)
            client = Client(cluster, set_as_default=False)
            stack.callback(_close, client)
        if options.dashboard:
            _log.info("Dask's dashboard: %s", cluster.dashboard_link)
        yield client


@contextmanager
def _remote_client(options: ClusterOptions) -> Iterator[Any]:
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    address = options.scheduler or _address_in(Path(str(options.scheduler_file)), timeout=options.timeout)
    with ExitStack() as stack:
        # In two steps, because a client that could not connect must be closed as well.
        client: Any = Client.__new__(Client)
        stack.callback(_close, client)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", VersionMismatchWarning)  # _refuse_other_versions says it in one line
                client.__init__(address, timeout=options.timeout, set_as_default=False)
            client.wait_for_workers(1, timeout=options.timeout)
        except (OSError, ValueError) as err:
            raise ConfigError(f"no Dask scheduler with workers at {address} ({_one_line(err)}); start both.") from err
        _refuse_other_versions(client)
        yield client


def _address_in(path: Path, *, timeout: float) -> str:
    deadline = time.monotonic() + timeout
    while True:  # a batch job may start the scheduler at the same moment
        try:
            return str(json.loads(path.read_text())["address"])
        except (OSError, ValueError, KeyError, TypeError) as err:
            if time.monotonic() > deadline:
                raise ConfigError(f"{path} names no Dask scheduler ({_one_line(err)}); is it running?") from err
        time.sleep(0.1)


def _refuse_other_versions(client: Any) -> None:
    try:
        elsewhere = client.run(_installed)
    except Exception as err:
        raise ConfigError(f"the workers cannot load geoseg ({_one_line(err)}); {_INSTALL_ALIKE}") from err
    here = _installed()
    for worker, there in elsewhere.items():
        names = sorted({name for name, _ in here.items() ^ there.items()})
        if names:
            told = ", ".join(f"{name} {there.get(name, 'absent')} (here {here.get(name, 'absent')})" for name in names)
            raise ConfigError(f"worker {worker} has {told}; {_INSTALL_ALIKE}")


def _installed() -> dict[str, str]:
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in _SAME_PACKAGES.split():
        with suppress(importlib.metadata.PackageNotFoundError):
            # Without the local part: torch 2.4+cpu here and 2.4+cu121 on the workers is as it should be.
            found[package] = importlib.metadata.version(package).partition("+")[0]
    return found


def _run_batch(payload: bytes, keys: list[int]) -> tuple[list[Outcome], float]:
    from distributed.protocol import pickle

    begin = time.monotonic()
    try:
        function, context = pickle.loads(payload)
    except Exception as err:
        raise ConfigError(f"a worker cannot load what it shall do ({_one_line(err)}); {_INSTALL_ALIKE}") from err
    outcomes: list[Outcome] = []
    # Not all of them when they are slower than those before, as behind an empty margin.
    while not outcomes or (len(outcomes) < len(keys) and time.monotonic() - begin < _BATCH_SECONDS):
        outcomes.append(_attempt(function, context, keys[len(outcomes)]))
    return outcomes, time.monotonic() - begin


def _attempt(function: TileFunction[Context], context: Context, key: int) -> Outcome:
    try:
        return Outcome(key, function(context, key))
    except (Exception, SystemExit) as err:  # SystemExit would end a worker and be lost in this process
        return Outcome(key, None, _one_line(err), traceback.format_exc())


def _failure(key: int, err: Exception) -> Outcome:
    from distributed import KilledWorker

    died = "WorkerDied: its process ended while it worked on this tile alone: short of memory, or a crash"
    text = died if isinstance(err, KilledWorker) else _one_line(err)
    return Outcome(key, None, text, "".join(traceback.format_exception(err)))


def _one_line(err: BaseException) -> str:
    return textwrap.shorten(f"{type(err).__name__}: {err}".removesuffix(": "), 400, placeholder=" …")


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Undo at the end what starting workers does to this process's environment: it may use all its threads."""
    before = {name: os.environ[name] for name in _SPAWN_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        for name in _SPAWN_VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Keep Ctrl-C from the workers for good, since they inherit this, and from this process until they are there.

    The terminal sends it to all processes; this one answers it and ends the workers, which would only print tracebacks.
    """
    with ExitStack() as stack:
        if os.name == "posix":
            resource_tracker.ensure_running()  # which, where it starts only now, lets them through again
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's and tornado's own notes off the terminal: what matters is in the outcomes and errors."""
    import distributed  # noqa: F401  its import sets the levels

    names = ("distributed", "distributed.client", "distributed.gc", "bokeh", "tornado", "tornado.application")
    before = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    try:
        for logger in before:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


def _close(closable: Any) -> None:
    with suppress(Exception):  # nothing is lost by a worker or a scheduler that cannot say goodbye
        closable.close(timeout=_WAIT_SECONDS)
