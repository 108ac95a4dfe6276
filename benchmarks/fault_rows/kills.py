"""Processes that are killed or stopped."""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from contextlib import suppress

import psutil

from fault_rows.bench import STAGES, Bench, Row

_KILLS_OF_WORKERS = 20
_PLACES = (("--workers", 0), ("--threads", 3), ("--workers", 2))


def process_tree(bench: Bench, options: argparse.Namespace) -> Row:
    """Kill the run and all its processes at random moments of every stage, and resume."""
    row = Row(f"SIGKILL of the process tree at {options.kills} random moments, 0 and 2 workers, 3 threads; `--resume`")
    bench.reference()
    moments = dict.fromkeys(STAGES, 0)
    for i in range(options.kills):
        stage, place = STAGES[i % len(STAGES)], _PLACES[i // len(STAGES) % len(_PLACES)]
        bench.remove("killed")
        with bench.started(*bench.tile("killed", "--progress", "json", *place)) as process:
            bench.wait_for(process, stage)
            time.sleep(bench.random.random() * bench.seconds[stage])
        moments[stage] += 1
        for _ in range(2):  # the second time, the run is finished
            ended = bench.geoseg(*bench.tile("killed", "--resume", *place, "--progress", "none"))
        row.add(f"{stage}: {ended.text[-100:]}", survived=ended.code == 0, identical=bench.is_identical("killed"))
    row.notes.append(f"at least {min(moments.values())} in each stage")
    return row


def workers(bench: Bench, _options: argparse.Namespace) -> Row:
    """Kill random workers of one run again and again, also those that have just been started."""
    row = Row(f"SIGKILL of a random worker {_KILLS_OF_WORKERS} times in one run, also while they start")
    small = ("--tile-size", 64)  # many tiles, so that the run takes longer than the kills
    for name in ("serial", "workers"):
        bench.remove(name)
    bench.geoseg(*bench.tile("serial", *small, "--progress", "none"))
    with bench.started(*bench.tile("workers", *small, "--workers", 2, "--progress", "none")) as process:
        killed = 0
        while killed < _KILLS_OF_WORKERS and process.poll() is None:
            time.sleep(bench.random.choice((0.3, 2, 4, 6)))
            if (found := _workers_of(process.pid)) and process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    bench.random.choice(found).kill()
                    killed += 1
        ended = bench.end(process)
    if ended.code != 0:  # tiles whose workers were killed again and again have failed; nothing is lost
        row.notes.append(f"exit {ended.code} at first: {ended.text[-160:].strip()}")
        bench.geoseg(*bench.tile("workers", *small, "--resume", "--workers", 2, "--progress", "none"))
    identical = bench.result("workers") == bench.result("serial")
    row.add(ended.text[-200:], survived=ended.is_clean, identical=identical)
    row.notes.append(f"{killed} killed")
    return row


def stopped_worker(bench: Bench, _options: argparse.Namespace) -> Row:
    """Stop one worker for good while it computes."""
    row = Row("SIGSTOP of one worker, `--tile-timeout 20`")
    bench.remove("stopped")
    command = bench.tile("stopped", "--workers", 2, "--tile-timeout", 20, "--progress", "json")
    with bench.started(*command) as process:
        bench.wait_for(process, "segment")
        thread = threading.Thread(target=_stop_one, args=(process.pid,))
        thread.start()
        ended = bench.end(process)
        thread.join()
    if ended.code != 0:
        bench.geoseg(*bench.tile("stopped", "--resume", "--progress", "none"))
    row.add(ended.text[-200:], survived=ended.is_clean, identical=bench.is_identical("stopped"))
    return row


def _stop_one(pid: int) -> None:
    for _ in range(50):
        if found := _workers_of(pid):
            os.kill(found[0].pid, signal.SIGSTOP)
            return
        time.sleep(0.1)


def _workers_of(pid: int) -> list[psutil.Process]:
    """Return the worker processes of a run, without the helper of multiprocessing."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(_command_of(child))]
    return []


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
