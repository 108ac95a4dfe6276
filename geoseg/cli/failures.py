"""One line for each error that is not a `GeosegError`: what failed, and what to do."""

from __future__ import annotations

import errno
import re
import textwrap
from pathlib import Path

from geoseg.errors import ConfigError
from geoseg.output.system import address_space_limit

_MIN_ADDRESS_SPACE = 1 << 30  # bytes, for the libraries alone
_MAX_LENGTH = 1000  # of a line; errors of libraries can be pages long
_NO_MEMORY = re.compile("out of memory|allocate memory|cannot allocate|bad_alloc|start new thread|failed to map", re.I)
_ADVICE = {
    errno.ENOSPC: "Free space on the disk.",
    errno.EDQUOT: "Free space on the disk, or raise the quota.",
    errno.EMFILE: "Raise the limit of open files with ulimit -n, or use fewer --workers.",
    errno.ENFILE: "Raise the limit of open files with ulimit -n, or use fewer --workers.",
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.EIO: "Check the disk.",
}
_MEMORY_ADVICE = "Free memory or raise its limit (ulimit -v), use fewer --workers, or a smaller --tile-size."


def check_memory_limit() -> None:
    """Check that the limit of the address space suffices to import the libraries.

    With less, OpenBLAS tries for ever to allocate its buffers, and no signal but SIGKILL ends it.

    Raises
    ------
    MemoryError
        If it does not.
    """
    limit = address_space_limit()
    if limit is not None and limit < _MIN_ADDRESS_SPACE:
        raise MemoryError(f"the limit of the address space is {limit >> 20} MiB; expected {_MIN_ADDRESS_SPACE >> 20}")


def check_current_folder() -> None:
    """Check that the current folder exists, to which relative names refer.

    Raises
    ------
    ConfigError
        If it does not.
    """
    try:
        Path.cwd()
    except OSError as err:
        raise ConfigError(
            f"the current folder does not exist any more ({err.strerror}). Change to another one first."
        ) from err


def explain(err: BaseException) -> str:
    """Return one line that states what failed and what to do.

    Parameters
    ----------
    err : BaseException

    Examples
    --------
    >>> explain(OSError(28, "No space left on device", "a.tif"))
    'No space left on device: a.tif. Free space on the disk.'
    >>> explain(KeyError("x"))
    "unexpected KeyError: 'x'. This is a bug in geoseg: please report it, with the traceback that -v shows."
    """
    text = _shortened(str(err))
    if is_memory_error(err):
        return f"there is not enough memory{f' ({text})' if text else ''}. {_MEMORY_ADVICE}"
    if isinstance(err, ImportError):
        return f"a package cannot be imported ({text}). Install geoseg again with all that it needs: pip install geoseg"
    if isinstance(err, ValueError) and re.search("null (byte|character)", text):
        return f"a file name contains a NUL character ({text}). Give the name of a file."
    if isinstance(err, UnicodeError):
        return f"a text or file name cannot be converted ({text}). Expected UTF-8; rename the file, or convert it."
    if isinstance(err, RecursionError):
        return f"an input is nested too deeply ({text}). Simplify the file."
    if isinstance(err, OSError):
        what = f"{err.strerror}: {_shortened(str(err.filename))}" if err.strerror and err.filename else text
        advice = _ADVICE.get(err.errno or 0, "Check the name, the permissions and the disk.")
        return f"{what or type(err).__name__}. {advice}"
    what = f"{type(err).__name__}: {text}" if text else type(err).__name__
    return f"unexpected {what}. This is a bug in geoseg: please report it, with the traceback that -v shows."


def is_memory_error(err: BaseException) -> bool:
    """Return whether an error, or one that led to it, is a lack of memory, which libraries report in many ways."""
    while True:
        if isinstance(err, MemoryError) or _NO_MEMORY.search(str(err)) or _errno(err) == errno.ENOMEM:
            return True
        earlier = err.__cause__ or err.__context__
        if earlier is None:
            return False
        err = earlier


def printable(text: str) -> str:
    r"""Return a text as one line of limited length, in which control characters are escaped.

    Examples
    --------
    >>> printable("a\nb \x1b[2J \udcff")
    'a b \\x1b[2J \\udcff'
    """
    line = re.sub(r"\s*[\r\n]+\s*", " ", text.strip())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= _MAX_LENGTH else f"{line[:_MAX_LENGTH]} …"


def _errno(err: BaseException) -> int | None:
    return err.errno if isinstance(err, OSError) else None


def _shortened(text: str) -> str:
    line = printable(text)
    return textwrap.shorten(line, 300, placeholder=" …") if len(line) > 300 and " " in line[:300] else line[:300]
