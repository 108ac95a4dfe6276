"""Outcome of a function for one tile, whether it returns or raises."""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

Context = TypeVar("Context")
TileFunction = Callable[[Context, int], object]


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
    """

    key: int
    result: Any | None = None
    error: str | None = None
    traceback: str | None = field(default=None, compare=False, repr=False)


def attempt(function: TileFunction[Context], context: Context, key: int) -> Outcome:
    """Return the outcome of ``function(context, key)``, whether it returns or raises."""
    try:
        return Outcome(key, function(context, key))
    except (Exception, SystemExit) as err:  # SystemExit would end a worker without an outcome
        return Outcome(key, None, one_line(err), traceback.format_exc())


def one_line(err: BaseException) -> str:
    r"""Return the type and message of an exception as one line of at most 400 characters.

    Examples
    --------
    >>> one_line(ValueError("several\n  lines")), one_line(MemoryError())
    ('ValueError: several lines', 'MemoryError')
    """
    return textwrap.shorten(f"{type(err).__name__}: {err}".removesuffix(": "), 400, placeholder=" …")
