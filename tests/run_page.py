"""Run the code blocks of a page, in order and in the current folder.

Blocks of Python share their names, as in a notebook. The `geoseg` that they find is the command line
with two values of its own: the network is trained for 4 steps, and where the page does not give the number of workers,
everything is computed in one process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from .command_server import write_client

QUICK_LEARN = {"windows": 8, "crop": 64, "batch": 2, "steps": 4, "warmup_fraction": 0.66}
WITH_WORKERS = ("tile", "outline", "finish")
CHOOSES_WORKERS = {"-j", "--workers", "--scheduler", "--scheduler-file", "--cluster"}


def main():
    """Run the blocks."""
    train_quickly()
    names = {"__name__": "__main__"}
    for block in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        sys.stderr.write(f"--- {block['language']}, line {block['line']}\n")
        if block["language"] == "python":
            exec(compile(block["text"], f"line {block['line']}", "exec"), names)
        else:
            subprocess.run(["bash", "-euo", "pipefail", "-c", block["text"]], check=True, stdin=subprocess.DEVNULL)


def run_geoseg():
    """Run the command line of geoseg."""
    from geoseg.__main__ import start

    train_quickly()
    if sys.argv[1:2] and sys.argv[1] in WITH_WORKERS and not CHOOSES_WORKERS & set(sys.argv):
        sys.argv += ["--workers", "0"]
    start()


def train_quickly():
    """Make the network train for a few steps, whatever a configuration gives as their number."""
    from geoseg.config import Learn

    fill = Learn.__init__
    Learn.__init__ = lambda self, *_, **__: fill(self, **QUICK_LEARN)


def write_command(folder, address):
    """Write an executable `geoseg` that is served at an address, and return the environment in which it is found."""
    folder.mkdir()
    write_client(folder / "geoseg", address, "tests.run_page:run_geoseg")
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    packages = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PATH": path, "PYTHONPATH": packages, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
