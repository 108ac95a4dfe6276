"""When failures of tiles end a run: a cause that concerns every tile, or more failed tiles than are accepted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from geoseg.errors import ConfigError, GeosegError
from geoseg.run.outcome import Kind, Outcome

_SAME_IN_A_ROW = 10
# Failures that are known to be of one tile, such as damaged pixels, do not count: much of a file may be damaged.
_MAY_BE_COMMON: tuple[Kind, ...] = ("unexpected", "transient", "memory", "device memory", "worker died", "timed out")


def check_max_failed(most: int | float | None) -> None:
    """Check the largest number or share of failed tiles.

    Raises
    ------
    ConfigError
        If it is neither a number of tiles nor a share of them.
    """
    if most is None:
        return
    is_number = isinstance(most, int) and not isinstance(most, bool) and most >= 0
    if not (is_number or (isinstance(most, float) and 0 <= most <= 1)):
        raise ConfigError(
            f"max_failed is {str(most)[:50]}; expected a number of tiles such as 20, or a share of them such as 5% "
            "(0.05 in Python)."
        )


@dataclass
class FailureLimit:
    """Rules by which failures of tiles end a run; nothing is published then, and ``--resume`` continues.

    1. A failure of the environment, such as a full disk, ends it at once.
    2. More failed tiles than `most` end it.
    3. Where `most` is None, ten tiles in a row with the same error end it: the cause is taken to be common. Damaged
       pixels are exempt.

    Parameters
    ----------
    most : int, float or None
        Largest number of failed tiles, or as float their largest share of all; None = the third rule instead.
    n_tiles : int
        Number of all tiles.
    """

    most: int | float | None
    n_tiles: int
    _stage: str = ""
    _pattern: str = ""
    _in_a_row: int = field(default=0)

    def begin(self, stage: str) -> None:
        """Start to count for a stage."""
        self._stage, self._pattern, self._in_a_row = stage, "", 0

    def check_cause(self, outcome: Outcome) -> None:
        """Check that a failure concerns one tile only.

        Raises
        ------
        GeosegError
            If it concerns all tiles.
        """
        if outcome.kind == "environment":
            raise GeosegError(f"stage {self._stage} stopped at tile {outcome.key}, nothing is written: {outcome.error}")
        if outcome.error is None or outcome.kind not in _MAY_BE_COMMON:
            self._in_a_row = 0
            return
        pattern = re.sub(r"\d+", "#", outcome.error)
        self._in_a_row = self._in_a_row + 1 if pattern == self._pattern else 1
        self._pattern = pattern
        if self.most is None and self._in_a_row >= _SAME_IN_A_ROW:
            raise GeosegError(
                f"stage {self._stage} stopped, nothing is written: {_SAME_IN_A_ROW} tiles in a row failed in the same "
                f"way, so the cause is taken to be common to all ({outcome.error}). Repair it and continue with "
                f"--resume, or accept such tiles with --max-failed 100%."
            )

    def check_number(self, failed: Mapping[int, str]) -> None:
        """Check that not too many tiles have failed.

        Parameters
        ----------
        failed : dict of int to str
            Tile number → error.

        Raises
        ------
        GeosegError
            If there are more than `most`.
        """
        if self.most is None:
            return
        most = self.most if isinstance(self.most, int) else math.floor(self.most * self.n_tiles + 1e-9)
        if len(failed) > most:
            number, error = list(failed.items())[-1]
            raise GeosegError(
                f"stage {self._stage} stopped, nothing is written: {len(failed)} of {self.n_tiles} tiles have failed "
                f"and --max-failed allows {most}; the latest is tile {number} ({error}). Repair the cause and continue "
                f"with --resume, or allow more."
            )
