"""The number of threads of torch, the same for all that is computed at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_THREADS = 1  # floating point sums depend on the number of threads, and results must be reproducible


class _Fixed:
    """The threads of Python that are inside of `fixed_threads`, and the number to restore."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside, self._before = 0, _THREADS

    def enter(self) -> None:
        """Set the number."""
        with self._lock:
            if not self._n_inside:
                self._before = torch.get_num_threads()
            self._n_inside += 1
            torch.set_num_threads(_THREADS)  # each time: some of torch's libraries have a number for each thread

    def leave(self) -> None:
        """Restore the number, if no other thread is inside: other libraries have one number for the process."""
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                torch.set_num_threads(self._before)


_FIXED = _Fixed()


@contextmanager
def fixed_threads() -> Iterator[None]:
    """Set the number of torch's threads, and restore it when the last thread of Python has left."""
    _FIXED.enter()
    try:
        yield
    finally:
        _FIXED.leave()
