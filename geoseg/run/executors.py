"""Executors: apply a function to every tile, in this process or on Dask workers.

Both executors accept the same top-level functions and yield the same outcomes.
"""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from geoseg.errors import ConfigError
from geoseg.run.main_guard import check_main_module

Context = TypeVar("Context")
TileFunction = Callable[[Context, int], object]


@dataclass(frozen=True)
class ClusterOptions:
    """Where the tiles are computed.

    Parameters
    ----------
    workers : int, optional
        Number of worker processes on this machine. 0 computes in this process; None starts one worker per core.
    scheduler : str, optional
        Address of a running Dask scheduler, such as ``tcp://host:8786``. Excludes `workers`.
    scheduler_file : str, optional
        File with the address of a running Dask scheduler. Excludes `workers` and `scheduler`.
    dashboard : bool
        Serve Dask's dashboard on this machine's loopback address. Local workers only.
    memory_limit : str, optional
        Memory of one local worker, such as ``"4GiB"``; a worker that exceeds it is restarted. None divides the memory
        of the machine by the number of workers.
    timeout : float
        Seconds to wait for a scheduler and its first worker.

    Raises
    ------
    ConfigError
        If `workers` is negative, or more than one of `workers`, `scheduler` and `scheduler_file` is given.
    """

    workers: int | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    dashboard: bool = False
    memory_limit: str | None = None
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"workers ({self.workers}) must be 0 (compute in this process) or more.")
        if sum(place is not None for place in (self.workers, self.scheduler, self.scheduler_file)) > 1:
            raise ConfigError("--workers, --scheduler and --scheduler-file exclude each other; give one of them.")

    @property
    def is_local(self) -> bool:
        """True if the workers are processes that geoseg starts on this machine."""
        return self.scheduler is None and self.scheduler_file is None and self.workers != 0


@dataclass(frozen=True)
class Outcome:
    """Result of a function for one tile.

    Parameters
    ----------
    key : int
        Number of the tile.
    result : object, optional
        Return value of the function. None if it failed.
    error : str, optional
        Type and message of the exception, in one line. None if there was none.
    traceback : str, optional
        Traceback of the exception, for the log. Outcomes are compared without it.
    """

    key: int
    result: Any | None = None
    error: str | None = None
    traceback: str | None = field(default=None, compare=False, repr=False)


class Executor(Protocol):
    """Applies a function to tiles."""

    def run(self, function: TileFunction[Context], context: Context, keys: Sequence[int]) -> Iterator[Outcome]:
        """Yield the outcome of ``function(context, key)`` for every key, in any order.

        Parameters
        ----------
        function : callable
            A top-level function of a module that workers can import.
        context : object
            First argument of every call; small enough to be sent to the workers.
        keys : sequence of int
            Numbers of the tiles.
        """


class Serial:
    """Executor that computes one tile after another in this process."""

    def run(self, function: TileFunction[Context], context: Context, keys: Sequence[int]) -> Iterator[Outcome]:
        """Yield the outcome of ``function(context, key)`` for every key, in the order of the keys."""
        return (attempt(function, context, key) for key in keys)


@contextmanager
def open_executor(options: ClusterOptions) -> Iterator[Executor]:
    """Return a context manager with the executor of the given options; its local workers end with the context.

    Raises
    ------
    ConfigError
        If a scheduler does not answer, its workers have other package versions, an option cannot be satisfied, or
        worker processes cannot import the main script (see `geoseg.run.main_guard`).
    GeosegError
        If the local workers do not start.
    """
    if options.workers == 0:
        yield Serial()
        return
    if options.is_local:
        check_main_module()
    from geoseg.run.dask_executor import open_dask_executor  # takes a second to import

    with open_dask_executor(options) as executor:
        yield executor


def attempt(function: TileFunction[Context], context: Context, key: int) -> Outcome:
    """Return the outcome of ``function(context, key)``, whether it returns or raises."""
    try:
        return Outcome(key, function(context, key))
    except (Exception, SystemExit) as err:  # SystemExit would end a worker without an outcome
        return Outcome(key, None, one_line(err), traceback.format_exc())


def one_line(err: BaseException) -> str:
    r"""Return the type and message of an exception as one line of at most 400 characters.

    Examples
    --------
    >>> one_line(ValueError("several\n  lines")), one_line(MemoryError())
    ('ValueError: several lines', 'MemoryError')
    """
    return textwrap.shorten(f"{type(err).__name__}: {err}".removesuffix(": "), 400, placeholder=" …")
