"""The size of a run and the time at which it began, in its folder from then until its products are removed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from geoseg.run.products import Folder

SIZE = "size"  # name of the document


def record_size(folder: Folder, tiles: Sequence[int], blocks: Sequence[int]) -> None:
    """Record how many tiles and blocks a run has, and that it begins now."""
    folder.put_json(SIZE, {"tiles": len(tiles), "blocks": len(blocks), "begin": time.time()})


def begin_of(folder: Folder) -> float | None:
    """Return the time at which the run began, in seconds since 1970; None = not yet, or its products are removed."""
    begin: float | None = (folder.get_json(SIZE) or {}).get("begin")
    return begin
