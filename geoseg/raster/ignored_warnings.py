"""Ignore warnings of libraries in several threads."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.RLock()


@contextmanager
def ignored_warnings(category: type[Warning]) -> Iterator[None]:
    """Return a context manager in which warnings of a category are not shown.

    Python keeps its filters for the whole process. So only one thread is inside at a time: of two, one would restore
    the filters of the other.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield
