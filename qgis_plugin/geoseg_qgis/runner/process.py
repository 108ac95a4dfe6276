"""A process that is read line by line, can be cancelled, and does not survive this one."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Callable

_POLL = 0.1  # seconds between two checks of the Cancel button
_GRACE = 60.0  # seconds in which a cancelled process may end by itself
_MAX_LINES = 200  # kept of standard error
_MAX_OUTPUT = 1 << 20  # characters kept of standard output


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Parameters
    ----------
    code : int
        Exit code; negative = minus the number of the signal that killed it.
    output : str
        What it wrote to standard output.
    lines : tuple of str
        The last lines that it wrote to standard error.
    is_cancelled : bool
    """

    code: int
    output: str
    lines: tuple[str, ...]
    is_cancelled: bool


@dataclass(frozen=True)
class Control:
    """What happens while a process runs.

    Parameters
    ----------
    on_line : callable
        Takes every line of standard error.
    is_cancelled : callable
        Returns whether to end the process.
    stops_at_eof : bool
        Whether the process ends by itself when its standard input ends.
    grace : float
        Seconds in which it may do so.
    merges_output : bool
        Whether standard output is read as standard error is.
    """

    on_line: Callable[[str], None]
    is_cancelled: Callable[[], bool]
    stops_at_eof: bool = True
    grace: float = _GRACE
    merges_output: bool = False


def run_process(command: Sequence[str], environment: Mapping[str, str], control: Control) -> Ended:
    """Run a process to its end.

    The process has a pipe as its standard input, which nothing is written to. It ends when this process cancels, and
    also when this process is killed; geoseg then stops as at Ctrl-C.

    Parameters
    ----------
    command : sequence of str
        Program and arguments; no shell reads them.
    environment : mapping of str to str
    control : Control

    Raises
    ------
    OSError
        If the program cannot be started.
    """
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if control.merges_output else subprocess.PIPE,
        env=dict(environment),
        encoding="utf-8",
        errors="replace",
        **_own_group(),
    )
    try:
        return _follow(process, control)
    finally:  # after an exception of a callback, such as KeyboardInterrupt in qgis_process, too
        if process.poll() is None:
            _stop(process, control)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _follow(process: subprocess.Popen[str], control: Control) -> Ended:
    lines: list[str] = []
    output: list[str] = []
    waiting: queue.Queue[str] = queue.Queue()
    source = process.stdout if control.merges_output else process.stderr
    threads = [_reader(source, waiting.put)]
    if not control.merges_output:
        threads.append(_reader(process.stdout, output.append))

    def pass_on(line: str) -> None:
        lines.append(line.rstrip("\r\n"))
        del lines[:-_MAX_LINES]
        control.on_line(lines[-1])

    is_cancelled = False
    deadline = 0.0
    while process.poll() is None:
        if not is_cancelled and control.is_cancelled():
            is_cancelled, deadline = True, time.monotonic() + control.grace
            _ask_to_stop(process, control)
        if is_cancelled and time.monotonic() > deadline:
            kill_tree(process)
        try:
            pass_on(waiting.get(timeout=_POLL))
        except queue.Empty:
            continue
    for thread in threads:
        thread.join(timeout=2)
        if thread.is_alive():  # a process that it has started holds the pipe
            kill_tree(process)
            thread.join(timeout=2)
    while not waiting.empty():
        pass_on(waiting.get())
    return Ended(process.returncode, "".join(output)[:_MAX_OUTPUT], tuple(lines), is_cancelled)


def _stop(process: subprocess.Popen[str], control: Control) -> None:
    _ask_to_stop(process, control)
    try:
        process.wait(control.grace)
    except subprocess.TimeoutExpired:
        kill_tree(process)
        process.wait()


def _ask_to_stop(process: subprocess.Popen[str], control: Control) -> None:
    if control.stops_at_eof and process.stdin is not None:
        process.stdin.close()
    else:
        kill_tree(process, is_gentle=True)


def kill_tree(process: subprocess.Popen[str], *, is_gentle: bool = False) -> None:
    """End a process and those that it has started; gently: on POSIX by SIGTERM, which they may handle."""
    if sys.platform == "win32":
        command = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(command, capture_output=True, check=False, **_own_group())
        return
    try:
        os.killpg(process.pid, signal.SIGTERM if is_gentle else signal.SIGKILL)
    except ProcessLookupError:
        return


def _own_group() -> dict[str, Any]:
    """Return how to start a process so that it and what it starts can be ended together, and no console opens."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _reader(stream: IO[str] | None, take: Callable[[str], Any]) -> threading.Thread:
    def read() -> None:
        if stream is not None:
            for line in stream:
                take(line)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread
