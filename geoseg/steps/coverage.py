"""The polygons of a run, from the outlines that its tiles have left in the run folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from geoseg.steps.vectorize import MapJob, shaping_of
from geoseg.vectorize.mosaic import Mosaic
from geoseg.vectorize.outline import CoreOutlines
from geoseg.vectorize.regions import Regions
from geoseg.vectorize.rings import Polygons
from geoseg.vectorize.split_large import RegionCuts, cut_large_regions

_GIANT = 1_000_000  # vertices; such a polygon takes a GIS seconds to draw, and some hundred MB to make


def parts_of_run(job: MapJob, tiles: Sequence[int]) -> tuple[RegionCuts, str | None]:
    """Say how giant regions are cut; and what a user should know who has not asked for it, None = nothing."""
    tables = (job.run.get("vertices", tile) for tile in tiles)
    counts = ((tile, table["regions"], table["vertices"]) for tile, table in zip(tiles, tables, strict=True))
    most = job.config.polygons.max_vertices
    parts, largest = cut_large_regions(counts, job.tiles, most)
    if most is not None or largest <= _GIANT:
        return parts, None
    return parts, (
        f"the largest region has {largest} vertices before its border is simplified; --max-vertices {_GIANT} would cut "
        "it into parts"
    )


def polygons_of_run(job: MapJob, tiles: Sequence[int], regions: Regions, parts: RegionCuts) -> Iterator[Polygons]:
    """Yield the polygons of all regions; `owners` are region numbers.

    No more is held than what touches the row of tiles that is read, and the regions that go on below it.
    """
    inside: list[Polygons] = []

    def outlines() -> Iterator[tuple[int, CoreOutlines]]:
        for tile in tiles:
            found = CoreOutlines.from_arrays(job.run.get("outlines", tile))
            inside.append(found.polygons)
            yield tile, found

    pixels = np.concatenate([np.ones(1, np.int64), regions.pixels])
    for across in Mosaic(job.tiles, pixels, shaping_of(job.config), parts).polygons(outlines()):
        yield from inside
        inside.clear()
        yield across
