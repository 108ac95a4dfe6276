"""The files that a run reads, and whether they have changed since it began."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from geoseg.errors import RunError


@dataclass(frozen=True)
class InputFiles:
    """Local files that a run reads, in the state in which it began to read them.

    A file whose size and times of change are the same has not been written to: the time `ctime` is kept by the system
    and cannot be set. Workers check this before they store what they have computed.

    Parameters
    ----------
    states : tuple of (str, int, int, int)
        Path, size in bytes, and `mtime` and `ctime` in nanoseconds of each file.
    """

    states: tuple[tuple[str, int, int, int], ...] = ()

    @classmethod
    def of(cls, paths: Iterable[str]) -> InputFiles:
        """Return the present state of files; addresses and files that do not exist are left out."""
        states = ((path, _state(path)) for path in dict.fromkeys(paths))
        return cls(tuple((path, *state) for path, state in states if state is not None))

    @property
    def paths(self) -> list[str]:
        """The paths of the files."""
        return [path for path, *_ in self.states]

    def check(self) -> None:
        """Check that no file has changed.

        Raises
        ------
        RunError
            If one has.
        """
        for path, *state in self.states:
            if _state(path) != tuple(state):
                raise RunError(
                    f"{path} was changed during the run, and nothing that was computed from it since is stored. If its "
                    f"content is as before, continue with --resume; otherwise start again with --overwrite."
                )


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 # Path costs more than the call, and a mosaic has thousands of files
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
