"""Signals that end a run: SIGINT (Ctrl-C), SIGTERM and SIGHUP.

Only the command line installs handlers, see `stoppable`. Without them, Python's own apply: SIGINT raises
KeyboardInterrupt at once, and the others end the process.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from geoseg.output.system import STOP_SIGNALS

_CLEANUP_SECONDS = 10.0  # in which further signals do not interrupt the removal of temporary files
_HINT = b"\ngeoseg: stopping after the tiles in hand; once more stops at once\n"


class Stopped(KeyboardInterrupt):
    """A signal ended the run.

    Parameters
    ----------
    number : int
        Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _Handler:
    """Handler that raises `Stopped`, in `deferred` only for a second signal.

    Attributes
    ----------
    received : int or None
        Number of the first signal; None = there was none.
    is_deferring : bool
        Whether the first signal is only recorded.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.is_deferring = False
        self._raised: float | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Record a signal; raise `Stopped` unless it is deferred or the clean-up has just begun."""
        is_first = self.received is None
        self.received = self.received or number
        if is_first and self.is_deferring:
            with suppress(OSError):
                if os.isatty(2):
                    os.write(2, _HINT)  # print is not safe in a signal handler
        elif self._raised is None or time.monotonic() - self._raised > _CLEANUP_SECONDS:
            self.stop()

    def stop(self) -> None:
        """Raise `Stopped` if a signal was received."""
        if self.received is not None:
            self._raised = time.monotonic()
            raise Stopped(self.received)


@contextmanager
def stoppable() -> Iterator[None]:
    """Return a context manager in which SIGINT, SIGTERM and SIGHUP raise `Stopped`; at the end, all is as before.

    A signal that the parent process has set to be ignored, as nohup does, stays ignored. In other threads than the
    main one nothing changes.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        handler = _Handler()
        for number in STOP_SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def ignore_signals() -> None:
    """Ignore the signals that end a run from now on: a command that ends already need not be interrupted."""
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def deferred() -> Iterator[None]:
    """Return a context manager in which the first signal waits until the end; a second one raises `Stopped` at once.

    Without `stoppable` it does nothing. What runs inside asks `is_stopping` whether to end early.

    Raises
    ------
    Stopped
        At the end, or at the beginning, if a signal was received.
    """
    handler = _installed()
    if handler is None:
        yield
        return
    handler.stop()
    outer, handler.is_deferring = handler.is_deferring, True
    try:
        yield
    finally:
        handler.is_deferring = outer
    if not outer:
        handler.stop()


def is_stopping() -> bool:
    """Return whether a signal asks for the end of the run: no further tile is started then."""
    handler = _installed()
    return handler is not None and handler.received is not None


def _installed() -> _Handler | None:
    if threading.current_thread() is not threading.main_thread():
        return None
    handlers = (signal.getsignal(number) for number in STOP_SIGNALS)
    return next((handler for handler in handlers if isinstance(handler, _Handler)), None)
