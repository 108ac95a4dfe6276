"""A process that has imported what workers need, and forks each of them: one that is spawned imports for seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from geoseg.output.system import can_fork, end_process


@contextmanager
def fork_server(modules: Sequence[str]) -> Iterator[str]:
    """Return a context manager in which a fork server runs, with the start method for multiprocessing.

    The server and the processes that it forks have the environment variables and the signal mask of the moment at which
    it starts. It ends with the context, as other processes of this program would inherit them too.

    Parameters
    ----------
    modules : sequence of str
        Imported by the server. They must start no threads.

    Yields
    ------
    {"forkserver", "spawn"}
        "spawn" where forking is not safe, where the program has a server of its own, or where none can start.
    """
    if not can_fork():
        yield "spawn"
        return
    from multiprocessing import forkserver  # not on all systems

    server: Any = forkserver._forkserver
    if server._forkserver_pid is not None:
        yield "spawn"
        return
    preload = server._preload_modules
    try:
        yield "forkserver" if _starts(server, modules) else "spawn"
    finally:
        if server._forkserver_pid is not None:
            end_process(server._forkserver_pid)  # it would wait for a process that does not end
            server._stop()
        server.set_forkserver_preload(preload)  # Dask changes it too


def _starts(server: Any, modules: Sequence[str]) -> bool:
    server.set_forkserver_preload(list(modules))
    try:
        server.ensure_running()
    except OSError:  # the name of the folder for temporary files may be too long for a socket
        return False
    return True
