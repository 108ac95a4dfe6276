"""Memory that this process frees: it stays with it, so that the next array needs no pages from the kernel, or not."""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # M_TRIM_THRESHOLD and so on of malloc.h
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")  # the same, set by the user
_ARENA_VARIABLE = "MALLOC_ARENA_MAX"
_MANY_BYTES = 2_000_000_000  # fits an int


def keep_freed_memory() -> bool:
    """Set how glibc's malloc keeps memory, for the rest of the process, and return whether that succeeded.

    By default glibc gives large arrays back to the kernel, which has to clear the pages of the next one: a fifth of the
    processor time of training. And each thread has an arena of its own, of which other threads use nothing: with one
    arena two threads need a tenth less memory. Other C libraries have no such settings, and what the environment sets
    is left as it is.
    """
    if any(name in os.environ for name in _VARIABLES):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc; TypeError on Windows
        return False
    if _ARENA_VARIABLE not in os.environ:
        mallopt(_ARENA_MAX, 1)
    # In this order: a trim threshold alone would stop glibc from adjusting the other one to the sizes in use.
    return bool(mallopt(_MMAP_THRESHOLD, _MANY_BYTES)) and bool(mallopt(_TRIM_THRESHOLD, _MANY_BYTES))


def return_freed_memory() -> bool:
    """Give the memory that this process has freed back to the kernel, and return whether there was any.

    For the end of a stage: what it has freed would otherwise remain with the process, in pieces that later arrays do
    not fit into. Nothing is done with other C libraries than glibc.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return False
    return bool(trim(0))
