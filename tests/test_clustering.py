from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from geoseg.segment import clustering
from geoseg.segment.clustering import kmeans, nearest, split_multimodal

seeds = st.integers(0, 2**32 - 1)


def five_clusters(seed: int, n: int = 60) -> np.ndarray:
    """Draw points of five well separated clusters, one of them small."""
    draw = np.random.default_rng(seed)
    means = np.array([[0, 0], [10, 0], [0, 10], [10, 10], [5, 20]], float)
    sizes = [n, n, n, n, 4]
    return np.concatenate([mean + draw.normal(0, 0.4, (size, 2)) for mean, size in zip(means, sizes, strict=True)])


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_every_cluster_is_found_including_the_small_one(seed: int) -> None:
    points = five_clusters(seed)

    found = nearest(points, kmeans(points, np.ones(len(points)), 5))

    assert [len(set(found[rows])) for rows in (slice(60), slice(60, 120), slice(120, 180), slice(180, 240))] == [1] * 4
    assert len(set(found)) == 5


def scatter(points: np.ndarray, centroids: np.ndarray) -> float:
    """Return the mean squared distance to the nearest centre."""
    return float(((points - centroids[nearest(points, centroids)]) ** 2).sum(axis=1).mean())


def test_distortion_is_at_most_3_percent_above_the_best_of_five_random_initialisations() -> None:
    points = np.random.default_rng(3).gamma(2.0, size=(4000, 4))

    ours = scatter(points, kmeans(points, np.ones(len(points)), 24))

    random = KMeans(24, n_init=5, random_state=0).fit(points).cluster_centers_
    assert ours <= 1.03 * scatter(points, random)


@pytest.mark.parametrize("lost", [0, 3], ids=["all-kept", "clusters-without-points"])
@pytest.mark.parametrize("seed", range(3))
def test_centroids_are_those_of_scikit_learn_from_the_same_beginning(seed: int, lost: int) -> None:
    draw = np.random.default_rng(seed)
    points = draw.normal(size=(500, 3)) + 4 * draw.normal(size=(9, 3))[draw.integers(0, 9, 500)]
    weights = draw.random(500) + 0.1
    initial = points[:12].copy()
    initial[:lost] += 1000

    found = clustering._lloyd(points, weights, initial)

    expected = KMeans(12, init=initial, n_init=1, max_iter=100).fit(points, sample_weight=weights).cluster_centers_
    np.testing.assert_allclose(found, expected, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_centroids_do_not_depend_on_the_order_of_the_points(seed: int) -> None:
    points = five_clusters(seed)
    order = np.random.default_rng(seed).permutation(len(points))

    one, other = kmeans(points, np.ones(len(points)), 7), kmeans(points[order], np.ones(len(points)), 7)

    np.testing.assert_allclose(one[np.lexsort(one.T)], other[np.lexsort(other.T)], atol=1e-9)


@pytest.mark.parametrize("n_clusters", [1, 3, 50])
def test_there_are_no_more_clusters_than_distinct_points(n_clusters: int) -> None:
    points = np.repeat([[0.0, 1.0], [2.0, 2.0], [5.0, 1.0]], 10, axis=0)

    assert len(kmeans(points, np.ones(30), n_clusters)) == min(n_clusters, 3)


def test_one_point_many_times_is_one_cluster() -> None:
    assert kmeans(np.full((9, 2), 0.1), np.ones(9), 4).tolist() == [[0.1, 0.1]]


def test_centroid_is_the_weighted_mean() -> None:
    points = np.array([[0.0], [1.0], [100.0]])

    assert kmeans(points, np.array([3.0, 1.0, 1.0]), 2)[0].tolist() == [0.25]


def test_ties_go_to_the_first_centroid() -> None:
    assert nearest(np.array([[1.0]]), np.array([[0.0], [2.0]])).tolist() == [0]


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 2))
def test_bimodal_clusters_are_split_into_their_modes(seed: int, n_modes: int) -> None:
    draw = np.random.default_rng(seed)
    clusters, modes = draw.integers(0, 3, 90), draw.integers(0, n_modes, 90)
    points = np.eye(4)[modes] + draw.normal(0, 0.02, (90, 4))

    split = split_multimodal(points.__getitem__, draw.uniform(1, 5, 90), clusters)

    assert np.array_equal(np.unique(split), np.arange(split.max() + 1))
    of = np.stack([clusters, modes], axis=1)
    assert all(len(np.unique(of[split == number], axis=0)) == 1 for number in range(split.max() + 1))


@pytest.mark.parametrize("n_modes", [3, 4])
def test_a_cluster_of_three_or_four_modes_is_split_into_these(n_modes: int) -> None:
    draw = np.random.default_rng(n_modes)
    modes = draw.permutation(np.repeat(np.arange(n_modes), [40, 30, 20, 10][:n_modes]))
    points = np.eye(4)[modes] + draw.normal(0, 0.02, (len(modes), 4))

    split = split_multimodal(points.__getitem__, np.ones(len(modes)), np.zeros(len(modes), np.int64))

    assert len(set(zip(modes.tolist(), split.tolist(), strict=True))) == n_modes == split.max() + 1


@pytest.mark.parametrize("n_features", [1, 2, 8])
def test_unimodal_clusters_and_clusters_of_low_variance_are_not_split(n_features: int) -> None:
    draw = np.random.default_rng(0)
    clusters = draw.permutation(np.repeat([0, 1], 500))
    unimodal = draw.normal(0, 1, (1000, n_features))
    narrow = 0.05 * draw.integers(0, 2, (1000, n_features))

    for points in (unimodal, narrow):
        np.testing.assert_array_equal(split_multimodal(points.__getitem__, np.ones(1000), clusters), clusters)
