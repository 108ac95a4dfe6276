"""Programs for the tests of the QGIS plugin, and whether processes run."""

import shlex
import subprocess
import sys
import time
from pathlib import Path

from .command_server import write_client

ROOT = Path(__file__).parents[1]


def make_program(path, text="#!/bin/sh\necho 'geoseg, version 9.9'\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def geoseg_program(folder):
    """Write a program that runs the geoseg of this checkout into a folder, and return its path."""
    text = f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m geoseg "$@"\n'
    return make_program(folder / "geoseg", text)


def served_program(folder, address):
    """Write a program that runs the geoseg of this checkout on a server of commands, and so starts at once."""
    folder.mkdir()
    write_client(folder / "geoseg", address, "geoseg.__main__:start")


def is_running(pid):
    """Return whether a process runs, at the end of 5 seconds in which it may end; a zombie does not run."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.1)
    return True


def is_running_after(pid, *, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_running(pid):
            return False
    return True


def children_of(pid):
    """Return the processes that descend from a process."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.splitlines())}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]
