"""Scenes for the tests of outlines, and the way from region numbers to polygons, in tiles of any size."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import shapely
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.measure import label

from geoseg.grid import TileGrid
from geoseg.vectorize.mosaic import Mosaic
from geoseg.vectorize.outline import CoreOutlines, outline
from geoseg.vectorize.simplify import Shaping
from geoseg.vectorize.split_large import cut_large_regions

WHOLE = 10_000  # a tile size that no scene of a test reaches


def winding(shape: tuple[int, int], n_classes: int, sigma: float, seed: int) -> NDArray[np.int64]:
    """Return a map of classes from 0 with long, winding borders."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    ranks = field.ravel().argsort().argsort().reshape(shape)
    return np.asarray(ranks * n_classes // field.size, np.int64)


def regions_of(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the connected regions, 0 = no data."""
    return np.asarray(label(classes, connectivity=1, background=0), np.int64)


SMALL = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, 3))  # these shrink to something one can read
)
WINDING = st.builds(
    winding,
    st.tuples(st.integers(8, 48), st.integers(8, 48)),
    st.integers(2, 6),
    st.sampled_from([0.7, 1.2, 2.0, 3.0]),
    st.integers(0, 2**32 - 1),
)
SCENES = st.one_of(SMALL, WINDING).map(regions_of)
SIZES = st.integers(2, 24)
SHAPINGS = st.builds(
    Shaping, st.sampled_from([0.0, 0.5, 1.0, 1.5, 3.0, 8.0]), st.booleans(), st.sampled_from([0.0, 4.0, 12.0])
)


def drawn(
    regions: NDArray[np.int64],
    size: int = WHOLE,
    shaping: Shaping | None = None,
    *,
    most: int | None = None,
    failed: Collection[int] = (),
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the polygons of a scene that is cut into tiles, and their region numbers, ascending.

    A region is a connected set of pixels with one number; `most` vertices in a part, None = no region is cut.
    """
    grid, pixels = TileGrid(regions.shape, size, 0), np.maximum(np.bincount(regions.ravel()), 1)
    shaping = shaping or Shaping()
    tiles = []
    for tile in grid:
        if tile.number in failed:
            continue
        core = tile.core
        framed = np.pad(regions, 1)[core.row_off : core.row_end + 2, core.col_off : core.col_end + 2]
        offset = (core.col_off, core.row_off)
        found = outline(framed, pixels=pixels[framed[1:-1, 1:-1]], shaping=shaping, offset=offset)
        tiles.append((tile.number, CoreOutlines.from_arrays(found.to_arrays())))
    parts, _ = cut_large_regions(
        ((number, found.regions[1:], found.vertices[1:]) for number, found in tiles), grid, most
    )
    groups = [found.polygons for _, found in tiles] + list(Mosaic(grid, pixels, shaping, parts).polygons(tiles))
    polygons = np.concatenate([group.shapes() for group in groups])
    numbers = np.concatenate([group.owners for group in groups])
    order = np.argsort(numbers, kind="stable")
    return polygons[order], numbers[order]


def assert_coverage(polygons: NDArray[np.object_], n_pixels: int) -> None:
    """Check that polygons are valid, and together a valid coverage of so many pixels."""
    assert (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON).all()
    assert shapely.is_valid(polygons).all()
    assert (shapely.area(polygons) > 0).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons)).all()
    assert shapely.coverage_is_valid(polygons)
    assert abs(shapely.area(polygons).sum() - n_pixels) < 1e-6


def assert_equal(polygons: NDArray[np.object_], others: NDArray[np.object_]) -> None:
    """Check that polygons have the same vertices, to the last bit; rings may begin anywhere."""
    assert len(polygons) == len(others)
    assert shapely.equals_exact(shapely.normalize(polygons), shapely.normalize(others)).all()
