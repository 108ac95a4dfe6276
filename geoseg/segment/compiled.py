"""Compilation with numba, whose cache on the disk is used where it can be and is never a reason to fail.

numba keeps compiled functions beside the package or in the home directory. Where neither is writable, it refuses to
compile at all; where the disk is full or a file of the cache is damaged, a call fails. Here the functions are compiled
again in each process instead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from numba import njit

_log = logging.getLogger(__name__)


class _TolerantCache:
    """Cache of numba that reads and writes what it can; all else is that of numba.

    Parameters
    ----------
    cache : numba.core.caching.FunctionCache
    """

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return a compiled function; None if it is absent, unreadable or damaged."""
        try:
            return self._cache.load_overload(signature, context)
        except Exception as err:  # a damaged pickle raises many kinds
            _log.debug("numba's cache cannot be read: %s: %s", type(err).__name__, err)
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Store a compiled function if that is possible."""
        try:
            self._cache.save_overload(signature, compiled)
        except OSError as err:
            _log.debug("numba's cache cannot be written: %s", err)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function with numba, cached on the disk where that is possible.

    Parameters
    ----------
    **options
        Options of ``numba.njit`` except ``cache``.

    Examples
    --------
    >>> @compiled(nogil=True)
    ... def double(number):
    ...     return 2 * number
    >>> double(4)
    8
    """

    def decorate(function: Callable[..., Any]) -> Any:
        # A wrapper for calls from C is made for each function by default, and takes a tenth of the time to compile.
        dispatcher: Any = njit(no_cfunc_wrapper=True, **options)(function)
        if not hasattr(dispatcher, "enable_caching"):  # NUMBA_DISABLE_JIT leaves the function as it is
            return dispatcher
        try:
            dispatcher.enable_caching()
        except RuntimeError as err:  # no folder is writable
            _log.debug("no cache for %s: %s", function.__name__, err)
        else:
            dispatcher._cache = _TolerantCache(dispatcher._cache)
        return dispatcher

    return decorate


def is_cached(function: Any) -> bool:
    """Return whether a function of `compiled` is stored on the disk for the next process."""
    return not hasattr(function, "stats") or function.stats.cache_path is not None
