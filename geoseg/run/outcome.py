"""Outcome of a function for one tile, whether it returns or raises, and what kind of failure an exception is."""

from __future__ import annotations

import errno
import gc
import os
import re
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, ParamSpec, TypeVar

from geoseg.errors import GeosegError

Context = TypeVar("Context")
TileFunction = Callable[[Context, int], object]
Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")
Kind = Literal[
    "data",  # an error of geoseg about this tile
    "unexpected",  # any other exception
    "environment",  # the disk, the system or a permission: it concerns every tile
    "transient",  # a network or a server that may answer later
    "memory",
    "device memory",  # of a GPU
    "worker died",
    "timed out",
]

PAUSES = (1.0, 4.0, 15.0)  # s before each new attempt after a transient failure

_TRANSIENT = {
    *(errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED),
    *(errno.ECONNABORTED, errno.EPIPE, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ESTALE),
}
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Free space on the disk"),
    errno.EFBIG: "Raise the limit of the file size (ulimit -f)",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Raise the limit of open files (ulimit -n)"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Give yourself the permission"),
    errno.EROFS: "Make the file system writable",
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "Put the file or folder back"),
}
_OTHER_ADVICE = "Repair the disk or its connection"
# Libraries in C, such as GDAL and SQLite, report a number of the system by its text only.
_BY_TEXT = {
    os.strerror(number): number
    for number in (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EDQUOT, errno.EROFS, errno.EFBIG)
} | {"database or disk is full": errno.ENOSPC, "disk I/O error": errno.EIO}
_NO_MEMORY = re.compile("can't allocate memory|out of memory|std::bad_alloc", re.IGNORECASE)
_NO_DEVICE_MEMORY = re.compile("(CUDA|HIP|MPS).*out of memory|_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation")


@dataclass(frozen=True)
class Outcome:
    """Result of a function for one tile.

    Parameters
    ----------
    key : int
        Number of the tile.
    result : object, optional
        Return value of the function. None if it failed.
    error : str, optional
        Type and message of the exception, in one line. None if there was none.
    traceback : str, optional
        Traceback of the exception, for the log. Outcomes are compared without it.
    kind : Kind, optional
        What kind of failure it is. None if the function returned.
    """

    key: int
    result: Any | None = None
    error: str | None = None
    traceback: str | None = field(default=None, compare=False, repr=False)
    kind: Kind | None = None


@dataclass(frozen=True)
class Batched(Generic[Context]):
    """A function that computes several tiles together, for a device that is faster so.

    Parameters
    ----------
    function : callable
        A top-level function of the context and the keys. It yields the outcome of each key, in any order; after a
        signal (see `geoseg.run.signals`) it leaves out those that are not yet started.
    """

    function: Callable[[Context, Sequence[int]], Iterator[Outcome]]


def attempt(function: TileFunction[Context], context: Context, key: int) -> Outcome:
    """Return the outcome of ``function(context, key)``, whether it returns or raises.

    After a transient failure it is called again, see `patiently`.
    """
    try:
        return Outcome(key, patiently(function, context, key))
    except (Exception, SystemExit) as err:  # SystemExit would end a worker without an outcome
        kind = failure_kind(err)
        text = one_line(err) if kind != "environment" else f"{one_line(err)}{_advice(err)}"
        return Outcome(key, None, text, traceback.format_exc(), kind)


def attempt_alone(function: TileFunction[Context], context: Context, key: int) -> Outcome:
    """Return the outcome as `attempt` does, but try once more where memory was short: now nothing else needs any."""
    outcome = attempt(function, context, key)
    if outcome.kind == "memory":
        gc.collect()
        outcome = attempt(function, context, key)
    return outcome


def patiently(
    function: Callable[Arguments, Returned], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Returned:
    """Call a function, and again after each of `PAUSES` as long as its failure is transient.

    Raises
    ------
    Exception
        That of the last call.

    Examples
    --------
    >>> patiently(max, 2, 3)
    3
    """
    for pause in PAUSES:
        try:
            return function(*arguments, **options)
        except Exception as err:
            if failure_kind(err) != "transient":
                raise
        time.sleep(pause)
    return function(*arguments, **options)


def failure_kind(err: BaseException) -> Kind:
    """Return what kind of failure an exception is, from its type and from the exceptions that caused it.

    An `OSError` with a number of the system is never a matter of the data: it is transient or concerns all tiles.

    Examples
    --------
    >>> failure_kind(ValueError("no pixels")), failure_kind(OSError(28, "No space left on device"))
    ('unexpected', 'environment')
    >>> failure_kind(TimeoutError()), failure_kind(MemoryError())
    ('transient', 'memory')
    """
    for one in _causes(err):
        if _is_device_memory(one):
            return "device memory"
        if _is_memory(one):
            return "memory"
        if isinstance(one, TimeoutError | ConnectionError | InterruptedError | BlockingIOError):
            return "transient"
    number = _system_error(err)
    if number is not None:
        return "transient" if number in _TRANSIENT else "environment"
    return "data" if isinstance(err, GeosegError) else "unexpected"


def one_line(err: BaseException) -> str:
    r"""Return the type and message of an exception as one line of at most 400 characters.

    Examples
    --------
    >>> one_line(ValueError("several\n  lines")), one_line(MemoryError())
    ('ValueError: several lines', 'MemoryError')
    """
    return textwrap.shorten(f"{type(err).__name__}: {err}".removesuffix(": "), 400, placeholder=" …")


def _causes(err: BaseException) -> Iterator[BaseException]:
    """Yield an exception, then what caused it."""
    seen: set[int] = set()
    one: BaseException | None = err
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _system_error(err: BaseException) -> int | None:
    """Return the number by which the system reports a failure, such as ENOSPC; None = it was not the system."""
    for one in _causes(err):
        if isinstance(one, OSError) and one.errno is not None:
            return one.errno
    text = " ".join(str(one) for one in _causes(err))
    return next((number for words, number in _BY_TEXT.items() if words in text), None)


def _is_device_memory(err: BaseException) -> bool:
    is_torch = type(err).__name__ == "OutOfMemoryError" and type(err).__module__.startswith("torch")
    return is_torch or (isinstance(err, RuntimeError) and bool(_NO_DEVICE_MEMORY.search(str(err))))


def _is_memory(err: BaseException) -> bool:
    if isinstance(err, MemoryError) or (isinstance(err, OSError) and err.errno == errno.ENOMEM):
        return True
    is_foreign = not isinstance(err, GeosegError)
    return is_foreign and isinstance(err, RuntimeError | OSError) and bool(_NO_MEMORY.search(str(err)))


def _advice(err: BaseException) -> str:
    """Return what to do about a failure of the environment, to be appended to its message."""
    if "--resume" in str(err):
        return ""
    number = _system_error(err)
    advice = _OTHER_ADVICE if number is None else _ADVICE.get(number, _OTHER_ADVICE)
    return f"{'' if str(err).rstrip().endswith('.') else '.'} {advice} and continue with --resume."
