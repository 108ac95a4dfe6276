"""Compilation with numba, whose cache on the disk is used where it can be and is never a reason to fail.

numba keeps compiled functions beside the package or in the home directory. Where neither is writable, it refuses to
compile at all; where the disk is full or a file of the cache is damaged, a call fails. Here the functions are compiled
again in each process instead. Processes that need the same function at the same time all compile it; with
`compile_once`, one compiles it and the others wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from geoseg.errors import ConfigError

try:
    from numba import njit
except ValueError as err:
    reason = str(err).rstrip(".")
    raise ConfigError(f"numba does not start: {reason}. Unset the environment variables NUMBA_*.") from err

Lock = Callable[[str], Callable[[], None]]  # takes the path of a file and waits; returns how to release it

_log = logging.getLogger(__name__)
_locks: list[Lock] = []  # at most one


class _TolerantCache:
    """Cache of numba that reads and writes what it can; all else is that of numba.

    Parameters
    ----------
    cache : numba.core.caching.FunctionCache
    name : str
        Name of the function, different from those of all others with the same folder.
    """

    def __init__(self, cache: Any, name: str) -> None:
        self._cache, self._name = cache, name
        self._release: Callable[[], None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return a compiled function; None if it is absent, unreadable or damaged.

        After None this process holds the lock of the function until `release`, if there are locks.
        """
        found = self._load(signature, context)
        if found is None and _locks and self._release is None:
            self._release = _locks[-1](f"{self._cache.cache_path}/{self._name}.lock")
            found = self._load(signature, context)  # another process may have stored it meanwhile
        return found

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Store a compiled function if that is possible."""
        try:
            self._cache.save_overload(signature, compiled)
        except OSError as err:
            _log.debug("numba's cache cannot be written: %s", err)

    def release(self) -> None:
        """Release the lock of the function if this process holds it."""
        if self._release is not None:
            self._release()
            self._release = None

    def is_empty(self) -> bool:
        """Return whether nothing is stored that was compiled from the present source."""
        try:
            return not self._cache._cache_file._load_index()
        except Exception as err:  # as in `_load`
            _log.debug("numba's cache cannot be read: %s: %s", type(err).__name__, err)
            return False

    def _load(self, signature: Any, context: Any) -> Any:
        try:
            return self._cache.load_overload(signature, context)
        except Exception as err:  # a damaged pickle raises many kinds
            _log.debug("numba's cache cannot be read: %s: %s", type(err).__name__, err)
            return None


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
            return _refused
        try:
            dispatcher.enable_caching()
        except RuntimeError as err:  # no folder is writable
            _log.debug("no cache for %s: %s", function.__name__, err)
        else:
            cache = dispatcher._cache = _TolerantCache(dispatcher._cache, _file_name(function))
            dispatcher.compile = _releasing(dispatcher.compile, cache)
        return dispatcher

    return decorate


def _refused(*_: Any, **__: Any) -> Any:
    """Raise an error: without compilation, integers overflow at other numbers, so the results would be others."""
    raise ConfigError(
        "the environment variable NUMBA_DISABLE_JIT is set, but geoseg needs compiled functions. Unset it."
    )


def internal(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function which only compiled functions call.

    It has no wrapper for calls from Python, which takes longer to compile than many a short function, and is stored as
    a part of its callers.

    Parameters
    ----------
    **options
        Options of ``numba.njit`` except ``cache``.
    """
    return njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)


def is_cached(function: Any) -> bool:
    """Return whether a function of `compiled` is stored on the disk for the next process."""
    return not hasattr(function, "stats") or function.stats.cache_path is not None


def needs_compilation(function: Any) -> bool:
    """Return whether a function of `compiled` will be stored on the disk when it is called, but is not yet."""
    return isinstance(getattr(function, "_cache", None), _TolerantCache) and bool(function._cache.is_empty())


def compile_once(lock: Lock) -> None:
    """Let this process wait for others that compile the function which it needs.

    Parameters
    ----------
    lock : callable
        Takes the path of a file, waits until no other process has its lock, and returns a function that releases it.
        Where no lock is possible, both do nothing.
    """
    _locks[:] = [lock]


def _file_name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__name__}-{function.__code__.co_firstlineno}"


def _releasing(compile_: Callable[[Any], Any], cache: _TolerantCache) -> Callable[[Any], Any]:
    def compile_and_release(signature: Any) -> Any:
        try:
            return compile_(signature)
        finally:
            cache.release()

    return compile_and_release
