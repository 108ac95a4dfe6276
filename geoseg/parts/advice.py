"""Advice in the messages of commands that have neither --resume nor --overwrite of a run folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from geoseg.errors import GeosegError

_REPLACED = (
    (
        r"If its content is as before, continue with --resume",
        "If its content is as before, repeat geoseg plan --resume",
    ),
    (r"[Cc]ontinue (it |the run |that one |a run )?with --resume", "start the same command again"),
    (r"start again with --overwrite", "plan the run anew with geoseg plan --overwrite"),
    (r",? or choose another --run-dir", ""),
)


@contextmanager
def advice_for_parts() -> Iterator[None]:
    """Return a context manager that puts advice into errors which `geoseg work` and `geoseg finish` can follow.

    Raises
    ------
    GeosegError
        The error of the block, with another last part of its message.
    """
    try:
        yield
    except GeosegError as err:
        message = str(err)
        for pattern, advice in _REPLACED:
            message = re.sub(pattern, advice, message)
        raise type(err)(message) from err
