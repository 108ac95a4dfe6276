"""Workers are forked from a process that has imported what they need, where that is safe."""

import os
import sys
import time
from multiprocessing import forkserver, get_context

import pytest

from geoseg.output import system
from geoseg.run.fork_server import fork_server

pytestmark = pytest.mark.skipif(not system.can_fork(), reason="processes that have loaded libraries cannot fork here")


def imported(queue, name):
    queue.put((name in sys.modules, os.environ.get("OF_THE_MOMENT"), os.getppid()))


def state_of_a_process(name):
    context = get_context("forkserver")
    queue = context.SimpleQueue()
    process = context.Process(target=imported, args=(queue, name))
    process.start()
    state = queue.get()
    process.join(60)
    return state


def server_of_the_program():
    return forkserver._forkserver._forkserver_pid


def test_processes_have_the_modules_and_the_environment_of_the_server_which_ends(monkeypatch):
    monkeypatch.setenv("OF_THE_MOMENT", "yes")

    with fork_server(("wave",)) as method:
        server = server_of_the_program()
        monkeypatch.delenv("OF_THE_MOMENT")
        state = state_of_a_process("wave")

    assert method == "forkserver"
    assert state == (True, "yes", server)
    assert not system.is_running(server)
    assert server_of_the_program() is None


def test_server_ends_although_a_process_has_not():
    context = get_context("forkserver")
    with fork_server(()):
        server = server_of_the_program()
        process = context.Process(target=time.sleep, args=(600,), daemon=True)
        process.start()
    try:
        assert not system.is_running(server)
    finally:
        process.kill()


def test_server_of_the_program_is_left_alone():
    forkserver.ensure_running()
    server = server_of_the_program()
    try:
        with fork_server(("wave",)) as method:
            assert method == "spawn"
        assert server_of_the_program() == server
        assert system.is_running(server)
    finally:
        forkserver._forkserver._stop()


def test_modules_that_the_program_would_import_in_its_server_are_kept():
    forkserver.set_forkserver_preload(["chunk_of_the_program"])
    try:
        with fork_server(()):
            pass
        assert forkserver._forkserver._preload_modules == ["chunk_of_the_program"]
    finally:
        forkserver.set_forkserver_preload(["__main__"])


@pytest.mark.parametrize("reason", ["not Linux", "no socket"])
def test_processes_are_spawned_where_no_server_can_run(reason, monkeypatch):
    if reason == "not Linux":
        monkeypatch.setattr(sys, "platform", "darwin")
    else:
        monkeypatch.setattr(forkserver.connection, "arbitrary_address", lambda _: "/" + "long" * 50)

    with fork_server(()) as method:
        assert method == "spawn"
        assert server_of_the_program() is None
