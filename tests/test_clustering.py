from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from geoseg.segment.clustering import divide, group, nearest

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


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 2))
def test_groups_of_two_kinds_are_cut_into_these(seed: int, n_kinds: int) -> None:
    draw = np.random.default_rng(seed)
    groups, kinds = draw.integers(0, 3, 90), draw.integers(0, n_kinds, 90)
    points = np.eye(4)[kinds] + draw.normal(0, 0.02, (90, 4))

    divided = divide(points, draw.uniform(1, 5, 90), groups)

    assert np.array_equal(np.unique(divided), np.arange(divided.max() + 1))
    of = np.stack([groups, kinds], axis=1)
    assert all(len(np.unique(of[divided == number], axis=0)) == 1 for number in range(divided.max() + 1))


@pytest.mark.parametrize("n_kinds", [3, 4])
def test_a_group_of_some_kinds_is_cut_into_these(n_kinds: int) -> None:
    draw = np.random.default_rng(n_kinds)
    kinds = draw.permutation(np.repeat(np.arange(n_kinds), [40, 30, 20, 10][:n_kinds]))
    points = np.eye(4)[kinds] + draw.normal(0, 0.02, (len(kinds), 4))

    divided = divide(points, np.ones(len(kinds)), np.zeros(len(kinds), np.int64))

    assert len(set(zip(kinds.tolist(), divided.tolist(), strict=True))) == n_kinds == divided.max() + 1


@pytest.mark.parametrize("n_features", [1, 2, 8])
def test_what_lies_around_one_middle_or_closely_together_is_not_cut(n_features: int) -> None:
    draw = np.random.default_rng(0)
    groups = draw.permutation(np.repeat([0, 1], 500))
    around = draw.normal(0, 1, (1000, n_features))
    close = 0.05 * draw.integers(0, 2, (1000, n_features))

    for points in (around, close):
        np.testing.assert_array_equal(divide(points, np.ones(1000), groups), groups)
