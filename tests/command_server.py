"""A process that has imported geoseg and forks one for each command: python -m tests.command_server SOCKET

A command starts in milliseconds that way; importing torch and the other libraries, loading the compiled functions, and
removing all of that again at the end take seconds each time. `write_client` writes the program that sends a command to
the server: its arguments, folder, environment and open files. It passes signals on, and ends as the command ends.
"""

import atexit
import importlib
import json
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
IMPORTED = (
    "geoseg.cli.tile", "geoseg.pipeline", "geoseg.segment.backprop", "geopandas", "rich.progress", "sklearn.ensemble",
    "geoseg.report.report", "geoseg.preview.preview", "geoseg.cli.tune",
)  # fmt: skip

CLIENT = """\
#!{python} -IS
import json, os, signal, socket, sys

connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = json.dumps([{function!r}, sys.argv, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(connection, [len(request).to_bytes(8, "big")], [0, 1, 2])
connection.sendall(request)
process = int.from_bytes(connection.recv(8), "big")
for number in {signals}:
    signal.signal(number, lambda number, _: os.kill(process, number))
code = int.from_bytes(connection.recv(8), "big", signed=True)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def write_client(path, address, function):
    """Write an executable that runs a function, "module:name", in a process of the server."""
    numbers = tuple(map(int, SIGNALS))
    path.write_text(CLIENT.format(python=sys.executable, address=str(address), function=function, signals=numbers))
    path.chmod(0o755)


@contextmanager
def command_server():
    """Return a context manager in which a server runs, with the address of its socket."""
    with tempfile.TemporaryDirectory() as folder:  # of pytest would be too long a name for a socket
        address = Path(folder) / "commands"
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.command_server", address],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        )
        with server:
            assert server.stdout.readline() == b"ready\n"
            yield address


def main():
    """Serve commands until standard input ends."""
    for name in IMPORTED:
        importlib.import_module(name)
    load_compiled_functions()
    flush_nothing()
    assert threading.active_count() == 1, "a thread would be missing after a fork"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait for commands
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen()
    os.write(1, b"ready\n")
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            serve(connection)
            os._exit(0)
        connection.close()


def flush_nothing():
    """Let this process wait for no disk, as no test cuts the power: a run flushes a hundred files and folders."""
    os.fsync = check_handle
    sqlite3.connect = connect_without_flushing


def check_handle(handle):
    """Raise the error that `os.fsync` raises for a file that is not open."""
    os.fstat(handle)


def connect_without_flushing(*arguments, _connect=sqlite3.connect, **options):
    """Return a connection to a database that waits for no disk; an error of the file is raised where it is read."""
    database = _connect(*arguments, **options)
    with suppress(sqlite3.Error):
        database.execute("PRAGMA synchronous = OFF")
    return database


def load_compiled_functions():
    """Call them; not by a run with a network and tables, as torch and Arrow would start threads."""
    import numpy as np

    import geoseg
    from geoseg.steps.compile import compile_functions

    compile_functions()
    image = np.kron(np.random.default_rng(0).integers(1, 255, (3, 8, 8), np.uint8), np.ones((1, 16, 16), np.uint8))
    geoseg.segment_array(image, method="kmeans", classes=4)


def serve(connection):
    """Run a command in a process of its own and report how it ends; it is killed if its client is."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, files, _, _ = socket.recv_fds(connection, 8, 3)
    content = bytearray()
    while len(content) < int.from_bytes(length, "big"):
        content += connection.recv(2**16)
    process = os.fork()
    if process == 0:
        connection.close()
        run(*json.loads(content), files)
    for file in (*files, 0, 1, 2):
        os.close(file)  # a pipe ends with the command
    connection.send(process.to_bytes(8, "big"))
    ended = os.pidfd_open(process)
    while not select.select([ended], [], [], 0)[0]:
        if connection in select.select([ended, connection], [], [])[0]:
            os.kill(process, signal.SIGKILL)
            break
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    connection.send(code.to_bytes(8, "big", signed=True))


def run(function, arguments, folder, environment, files):
    """Run a function as if this process were its program, and end."""
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    module, _, name = function.partition(":")
    try:
        getattr(importlib.import_module(module), name)()
        code = 0
    except SystemExit as end:
        code = exit_code(end.code)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is to be removed from memory, which takes a second


def exit_code(value):
    """Return the exit code of a program that ends with sys.exit(value)."""
    if value is None or isinstance(value, int):
        return int(value or 0)
    sys.stderr.write(f"{value}\n")
    return 1


if __name__ == "__main__":
    main()
