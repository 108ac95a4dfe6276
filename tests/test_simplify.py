from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from numpy.typing import NDArray

from geoseg.vectorize.simplify import Shaping
from tests.tilings import SCENES, SHAPINGS, assert_coverage, assert_equal, drawn, regions_of, winding


def n_vertices(polygons: NDArray[np.object_]) -> int:
    return int(shapely.get_num_coordinates(polygons).sum())


def turning(polygon: shapely.Polygon) -> float:
    """Return by how many degrees the shell turns at its sharpest corner."""
    steps = np.diff(shapely.get_coordinates(shapely.get_exterior_ring(polygon)), axis=0)
    angles = np.arctan2(steps[:, 1], steps[:, 0])
    turns = np.diff(np.append(angles, angles[0]))
    return float(np.degrees(np.abs((turns + np.pi) % (2 * np.pi) - np.pi)).max())


def disc(radius: float, size: int) -> NDArray[np.int64]:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.where(np.hypot(y, x) < radius, 2, 1)


@settings(max_examples=200)
@given(SCENES, SHAPINGS)
def test_whatever_is_done_to_borders_leaves_a_coverage_of_the_exact_area_that_has_lost_nothing(
    regions: NDArray[np.int64], shaping: Shaping
) -> None:
    polygons, numbers = drawn(regions, shaping=shaping)

    assert_coverage(polygons, (regions > 0).sum())
    np.testing.assert_array_equal(numbers, np.arange(1, regions.max() + 1))


@settings(max_examples=100)
@given(SCENES, SHAPINGS)
def test_no_region_gets_smaller_than_the_least_size(regions: NDArray[np.int64], shaping: Shaping) -> None:
    polygons, _ = drawn(regions, shaping=shaping)

    pixels = np.bincount(regions.ravel())[1:]
    least = np.maximum(np.minimum(pixels, shaping.min_pixels), pixels / 2)
    assert (shapely.area(polygons) >= least - 1e-6).all()


@settings(max_examples=100)
@given(SCENES, SHAPINGS)
def test_border_to_no_data_does_not_move(regions: NDArray[np.int64], shaping: Shaping) -> None:
    polygons, _ = drawn(regions, shaping=shaping)

    data, expected = (shapely.coverage_union_all(some) for some in (polygons, drawn(regions)[0]))
    assert shapely.equals(data, expected)


@settings(max_examples=100)
@given(SCENES, SHAPINGS)
def test_smooth_polygons_rasterised_give_the_regions_back(regions: NDArray[np.int64], shaping: Shaping) -> None:
    polygons, numbers = drawn(regions, shaping=Shaping(shaping.tolerance, True, shaping.min_pixels))

    shapes = zip(polygons, numbers, strict=True)
    back = rasterio.features.rasterize(shapes, regions.shape, dtype=np.int32) if len(numbers) else 0 * regions
    np.testing.assert_array_equal(back, regions)


@settings(max_examples=40)
@given(SCENES)
def test_smooth_regions_keep_their_area(regions: NDArray[np.int64]) -> None:
    polygons, _ = drawn(regions, shaping=Shaping(smooth=True))

    np.testing.assert_allclose(shapely.area(polygons), np.bincount(regions.ravel())[1:], atol=1e-6)


def test_simplifying_takes_more_than_half_of_the_vertices_of_winding_borders() -> None:
    regions = regions_of(winding((96, 96), 5, 4, 0) + 1)
    raw, _ = drawn(regions)

    fewer, _ = drawn(regions, shaping=Shaping(1.0))
    fewest, _ = drawn(regions, shaping=Shaping(3.0))

    assert n_vertices(fewer) < 0.5 * n_vertices(raw)
    assert n_vertices(fewest) < 0.8 * n_vertices(fewer)


@pytest.mark.parametrize("tolerance", [1.0, 2.0, 3.0])
def test_simplified_borders_lie_within_the_tolerance(tolerance: float) -> None:
    regions = regions_of(winding((96, 96), 5, 2, 1) + 1)
    raw, fewer = (shapely.boundary(drawn(regions, shaping=Shaping(t))[0]) for t in (0.0, tolerance))

    moved = shapely.hausdorff_distance(raw, fewer, densify=0.1)
    assert 0.8 * tolerance < moved.max() <= tolerance + 1e-9


def test_smooth_borders_are_simplified_within_a_quarter_of_the_tolerance() -> None:
    regions = regions_of(winding((96, 96), 5, 2, 1) + 1)
    smooth, fewer = (shapely.boundary(drawn(regions, shaping=Shaping(t, smooth=True))[0]) for t in (0.0, 1.0))

    moved = shapely.hausdorff_distance(smooth, fewer, densify=0.1)
    assert 0.2 < moved.max() <= 0.25 + 1e-9


def test_tolerance_decides_which_corner_goes() -> None:
    regions = np.repeat([[1, 1, 1, 2, 2, 2]], 9, axis=0)
    regions[4, 3] = 1  # a bump; its corners lie 0.707 px beside the straight line past them

    assert n_vertices(drawn(regions, shaping=Shaping(0.70))[0]) == 18
    assert n_vertices(drawn(regions, shaping=Shaping(0.71))[0]) < 18


def test_nothing_to_do_leaves_every_vertex() -> None:
    regions = regions_of(winding((40, 40), 4, 1, 3))

    assert_equal(drawn(regions, shaping=Shaping(0.0))[0], drawn(regions)[0])


@pytest.mark.parametrize("regions", [np.arange(1, 26).reshape(5, 5), regions_of(np.eye(5, dtype=np.int64) + 1)])
@pytest.mark.parametrize("smooth", [False, True])
def test_regions_of_one_pixel_do_not_vanish_under_a_large_tolerance(regions: NDArray[np.int64], smooth: bool) -> None:
    polygons, numbers = drawn(regions, shaping=Shaping(100.0, smooth=smooth))

    assert len(numbers) == regions.max()
    assert_coverage(polygons, 25)


def test_two_borders_between_the_same_nodes_do_not_fall_together() -> None:
    lens = np.ones((6, 12), np.int64)
    lens[3:] = 2
    lens[2:4, 3:9] = 3

    polygons, _ = drawn(lens, shaping=Shaping(100.0))

    assert_coverage(polygons, 72)
    assert polygons[2].area >= 6


@pytest.mark.parametrize("radius", [3.2, 5.1, 6.7])
def test_island_keeps_half_of_its_size_under_a_large_tolerance(radius: float) -> None:
    regions = disc(radius, 16)

    polygons, _ = drawn(regions, shaping=Shaping(100.0))

    assert_coverage(polygons, 256)
    assert (regions == 2).sum() / 2 <= polygons[1].area
    assert n_vertices(polygons) < n_vertices(drawn(regions)[0])


def test_smooth_disc_is_round_where_its_staircase_was_not() -> None:
    raw, smooth = (drawn(disc(12.3, 40), shaping=Shaping(smooth=smooth))[0][1] for smooth in (False, True))

    centre = shapely.Point(20, 20)
    away = [shapely.get_coordinates(shapely.get_exterior_ring(some)) for some in (raw, smooth)]
    spread = [np.ptp(shapely.distance(shapely.points(points), centre)) for points in away]
    assert turning(raw) == 90
    assert turning(smooth) < 25
    assert spread[1] < 0.5 * spread[0]
    assert smooth.area == pytest.approx(raw.area)


def test_smooth_border_of_any_slope_is_nearly_straight() -> None:
    y, x = np.mgrid[:60, :60]
    for slope in (0.1, 0.35, 1.0, 2.6):
        regions = np.where(y - 20 < slope * (x - 30), 2, 1)

        polygons, _ = drawn(regions_of(regions), shaping=Shaping(smooth=True))

        shared = shapely.get_coordinates(shapely.segmentize(shapely.intersection(*shapely.boundary(polygons)), 1))
        inner = shared[(np.abs(shared - 30) < 18).all(axis=1)]
        beside = (inner[:, 1] - 20 - slope * (inner[:, 0] - 30)) / np.hypot(1, slope)
        assert len(inner) > 3
        assert np.ptp(beside) < 0.5


def test_smooth_borders_have_fewer_vertices_the_larger_the_tolerance() -> None:
    regions = regions_of(winding((96, 96), 5, 4, 0) + 1)

    counts = [n_vertices(drawn(regions, shaping=Shaping(t, smooth=True))[0]) for t in (0.0, 0.5, 1.0, 2.0)]

    assert counts == sorted(counts, reverse=True)
    assert counts[2] < 0.7 * n_vertices(drawn(regions)[0])


def test_shaping_finds_nothing_on_a_scene_without_borders() -> None:
    polygons, _ = drawn(np.ones((5, 7), np.int64), shaping=Shaping(3.0, smooth=True))

    assert polygons[0].equals(shapely.box(0, 0, 7, 5))
    assert shapely.get_num_coordinates(polygons[0]) == 5
