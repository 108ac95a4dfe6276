"""The end of a run when standard input ends, for programs that start geoseg.

A pipe to standard input ends when the other program closes it, and also when that program is killed. Unlike signals
it works on every system, without a console, and nothing is left running.
"""

from __future__ import annotations

import os
import signal
import threading
import time

import click

_INTERVAL = 15.0  # seconds to the next signal: the first one lets the tiles in hand finish


def _watch(_context: click.Context, _option: click.Parameter, value: bool) -> None:  # click's
    """Start to wait for the end of standard input, if that is asked for."""
    if not value:
        return
    own = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # worker processes inherit this: on Windows they would hang if they had the pipe as well
    os.close(null)
    threading.Thread(target=_interrupt_at_end, args=(own,), daemon=True).start()


def _interrupt_at_end(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except OSError:  # as good as its end
        pass
    while True:
        signal.raise_signal(signal.SIGINT)  # the handler runs in the main thread
        time.sleep(_INTERVAL)


STOP_AT_EOF = click.option(
    "--stop-at-eof",
    is_flag=True,
    expose_value=False,
    callback=_watch,
    help="Stop as at Ctrl-C when standard input ends; for programs that start geoseg.",
)
