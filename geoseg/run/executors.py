"""Executors: apply a function to every tile, in this process, in threads of it, or on Dask workers.

All executors accept the same top-level functions and yield the same outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Protocol

from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.main_guard import check_main_module
from geoseg.run.outcome import Batched, Context, Outcome, TileFunction, attempt_alone
from geoseg.run.signals import is_stopping
from geoseg.run.threads import Threads

__all__ = ["ClusterOptions", "Executor", "Outcome", "Serial", "open_executor"]


class Executor(Protocol):
    """Applies a function to tiles."""

    def run(
        self,
        function: TileFunction[Context] | Batched[Context],
        context: Context,
        keys: Sequence[int],
        *,
        note: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Outcome]:
        """Yield the outcome of ``function(context, key)`` for every key, in any order.

        After a signal (see `geoseg.run.signals`), the keys that are not yet started are left out.

        Parameters
        ----------
        function : callable
            A top-level function of a module that workers can import. One that is `Batched` runs in this process if the
            workers are on this machine: they would compete for the same device.
        context : object
            First argument of every call; small enough to be sent to the workers.
        keys : sequence of int
            Numbers of the tiles.
        note : callable
            Receives messages for the user, such as that nothing has moved for a minute.
        """


class Serial:
    """Executor that computes one tile after another in this process, or those of a `Batched` function together."""

    def run(
        self,
        function: TileFunction[Context] | Batched[Context],
        context: Context,
        keys: Sequence[int],
        *,
        note: Callable[[str], None] = lambda _: None,  # noqa: ARG002 # the tile in hand is known without it
    ) -> Iterator[Outcome]:
        """Yield the outcome of ``function(context, key)`` for every key, in the order of the keys unless batched."""
        if isinstance(function, Batched):
            return function.function(context, keys)
        return (attempt_alone(function, context, key) for key in keys if not is_stopping())


def check_workers(options: ClusterOptions) -> None:
    """Check, before anything is written, that local workers can import the main script.

    Raises
    ------
    ConfigError
        If they cannot, see `geoseg.run.main_guard`.
    """
    if options.is_local and options.workers != 0:
        check_main_module()


@contextmanager
def open_executor(options: ClusterOptions, *, modules: Sequence[str] = ()) -> Iterator[Executor]:
    """Return a context manager with the executor of the given options; its local workers end with the context.

    Local workers are started here, but not waited for before the first `run`, so that they import what they need while
    this process surveys the scene and trains.

    Parameters
    ----------
    options : ClusterOptions
    modules : sequence of str
        Modules that local workers import when they start.

    Raises
    ------
    ConfigError
        If a scheduler does not answer, its workers have other package versions, an option cannot be satisfied, or
        worker processes cannot import the main script (see `geoseg.run.main_guard`).
    GeosegError
        By the first `run`: if the local workers do not start.
    """
    if options.workers == 0:
        if options.n_threads == 1:
            yield Serial()
        else:
            with closing(Threads(options.n_threads)) as threads:
                yield threads
        return
    check_workers(options)
    from geoseg.run.dask_executor import open_dask_executor  # takes a second to import

    with open_dask_executor(options, modules=modules) as executor:
        yield executor
