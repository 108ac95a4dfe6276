from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from geoseg.segment.grouping import group, nearest

seeds = st.integers(0, 2**32 - 1)


def clouds(seed: int, n: int = 60) -> np.ndarray:
    """Draw points in five clouds, one of them small."""
    draw = np.random.default_rng(seed)
    middles = np.array([[0, 0], [10, 0], [0, 10], [10, 10], [5, 20]], float)
    sizes = [n, n, n, n, 4]
    return np.concatenate(
        [middle + draw.normal(0, 0.4, (size, 2)) for middle, size in zip(middles, sizes, strict=True)]
    )


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_every_cloud_is_a_group_also_the_small_one(seed: int) -> None:
    points = clouds(seed)

    found = nearest(points, group(points, np.ones(len(points)), 5))

    assert [len(set(found[rows])) for rows in (slice(60), slice(60, 120), slice(120, 180), slice(180, 240))] == [1] * 4
    assert len(set(found)) == 5


def scatter(points: np.ndarray, centres: np.ndarray) -> float:
    """Return the mean squared distance to the nearest centre."""
    return float(((points - centres[nearest(points, centres)]) ** 2).sum(axis=1).mean())


def test_groups_are_as_close_as_those_of_the_best_of_five_random_starts() -> None:
    points = np.random.default_rng(3).gamma(2.0, size=(4000, 4))

    ours = scatter(points, group(points, np.ones(len(points)), 24))

    random = KMeans(24, n_init=5, random_state=0).fit(points).cluster_centers_
    assert ours <= 1.03 * scatter(points, random)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_the_order_of_the_points_decides_nothing(seed: int) -> None:
    points = clouds(seed)
    mixed = np.random.default_rng(seed).permutation(len(points))

    one, other = group(points, np.ones(len(points)), 7), group(points[mixed], np.ones(len(points)), 7)

    np.testing.assert_allclose(one[np.lexsort(one.T)], other[np.lexsort(other.T)], atol=1e-9)


@pytest.mark.parametrize("n_groups", [1, 3, 50])
def test_there_are_no_more_groups_than_different_points(n_groups: int) -> None:
    points = np.repeat([[0.0, 1.0], [2.0, 2.0], [5.0, 1.0]], 10, axis=0)

    assert len(group(points, np.ones(30), n_groups)) == min(n_groups, 3)


def test_one_point_many_times_is_one_group() -> None:
    assert group(np.full((9, 2), 0.1), np.ones(9), 4).tolist() == [[0.1, 0.1]]


def test_heavy_points_draw_the_mean_of_their_group() -> None:
    points = np.array([[0.0], [1.0], [100.0]])

    assert group(points, np.array([3.0, 1.0, 1.0]), 2)[0].tolist() == [0.25]


def test_ties_go_to_the_first_centre() -> None:
    assert nearest(np.array([[1.0]]), np.array([[0.0], [2.0]])).tolist() == [0]
