"""What a run tells while it works; the command line shows it, a script may ignore it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Somebody who is told how far a run is."""

    def begin(self, step: str, total: int, *, pixels: int) -> None:
        """Hear that a step begins: how many parts it has, and how many pixels of the scene they are in all."""

    def advance(self, done: int) -> None:
        """Hear how many parts of the step are done."""

    def note(self, text: str) -> None:
        """Hear something the user should know."""


class Silent:
    """Tells nobody."""

    def begin(self, step: str, total: int, *, pixels: int) -> None:
        """Say nothing."""

    def advance(self, done: int) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""
