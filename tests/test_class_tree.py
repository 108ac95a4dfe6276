from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from geoseg.segment.class_tree import Borders, ClassTree, grow_tree
from tests.reference import class_tree as reference

seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 22)
lambdas = st.sampled_from([0.0, 1.0, 4.0])


def drawn(seed: int, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64], Borders]:
    """Draw clusters: features, weights, and borders of which some are 0."""
    draw = np.random.default_rng(seed)
    half = np.triu(draw.integers(0, 900, (n, n)) * (draw.random((n, n)) < 0.5), 1)
    length = (half + half.T).astype(float)
    contrast, patch_contact = (length * (share + share.T) for share in draw.random((2, n, n)))
    return draw.random((n, 3)), draw.uniform(0.1, 20, n), Borders(length, contrast, patch_contact)


@settings(max_examples=25, deadline=None)
@given(seeds, counts, lambdas)
def test_each_step_merges_the_pair_with_the_lowest_cost(seed: int, n: int, adjacency_weight: float) -> None:
    centroids, weights, borders = drawn(seed, n)
    pixels = np.random.default_rng(seed).uniform(0.1, 20, n) ** 2

    tree = grow_tree(centroids, weights, borders, adjacency_weight=adjacency_weight, pixels=pixels)

    expected = reference.merges(centroids, weights, borders, adjacency_weight=adjacency_weight, pixels=pixels)
    assert tree.n_clusters == n
    assert [tuple(pair) for pair in tree.merges.tolist()] == [tuple(sorted((min(a), min(b)))) for a, b in expected]


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(3, 40))
def test_without_borders_the_tree_is_that_of_wards_linkage_until_a_class_becomes_too_large(seed: int, n: int) -> None:
    centroids = np.random.default_rng(seed).random((n, 3))

    tree = grow_tree(centroids, np.ones(n), Borders.none(n), adjacency_weight=6.0)

    links = linkage(centroids, "ward")
    for k in range(n, 1, -1):
        expected = fcluster(links, k, "maxclust")
        if np.bincount(expected).max() > (0.5 + 0.5 / k) * n:
            break
        assert adjusted_rand_score(tree.level(k), expected) == 1.0


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(2, 30), st.floats(0, 3))
def test_no_class_exceeds_half_of_the_scene_and_an_equal_share_of_the_rest(seed: int, n: int, spread: float) -> None:
    """Unless a single cluster does."""
    centroids, weights, borders = drawn(seed, n)
    pixels = np.random.default_rng(seed).lognormal(sigma=spread, size=n)

    tree = grow_tree(centroids, weights, borders, adjacency_weight=6.0, pixels=pixels)

    for k in range(n, 1, -1):
        shares = np.bincount(tree.level(k), pixels)[1:] / pixels.sum()
        assert len(shares) == k
        assert shares.max() <= max(0.5 + 0.5 / k, pixels.max() / pixels.sum()) + 1e-9


@settings(max_examples=30, deadline=None)
@given(seeds, counts, lambdas)
def test_classes_of_a_coarser_level_are_unions_of_those_of_a_finer_level(
    seed: int, n: int, adjacency_weight: float
) -> None:
    tree = grow_tree(*drawn(seed, n), adjacency_weight=adjacency_weight)

    for finer, coarser in zip(range(n + 1, 2, -1), range(n, 1, -1), strict=True):
        pairs = set(zip(tree.level(finer).tolist(), tree.level(coarser).tolist(), strict=True))
        assert len(pairs) == tree.level(finer).max()


@settings(max_examples=30, deadline=None)
@given(seeds, counts, st.integers(2, 14))
def test_a_level_has_the_requested_number_of_classes_or_all_leaves(seed: int, n: int, n_classes: int) -> None:
    classes = grow_tree(*drawn(seed, n), adjacency_weight=1.0).level(n_classes)

    assert classes.shape == (n,)
    assert set(classes.tolist()) == set(range(1, min(n, n_classes) + 1))


@settings(max_examples=30, deadline=None)
@given(seeds, counts, st.integers(2, 14))
def test_classes_are_numbered_in_the_order_of_their_lowest_leaves(seed: int, n: int, n_classes: int) -> None:
    classes = grow_tree(*drawn(seed, n), adjacency_weight=1.0).level(n_classes).tolist()

    assert list(dict.fromkeys(classes)) == sorted(set(classes))


def stripes() -> tuple[NDArray[np.float64], NDArray[np.float64], Borders]:
    """Return alternating dark (0) and bright (1) stripes, a cluster (2) similar to the bright ones, and others."""
    centroids = np.array([[0.2], [0.6], [0.75], *([2.0 + i] for i in range(20))])
    length = np.zeros((23, 23))
    length[0, 1] = length[1, 0] = 90
    length[1, 3] = length[3, 1] = 10
    length[2, 3] = length[3, 2] = 30
    return centroids, np.ones(23), Borders(length, length * (centroids - centroids.T) ** 2, length / 50)


def shades() -> tuple[NDArray[np.float64], NDArray[np.float64], Borders]:
    """Return two shades of sand (0, 1) with a gradual transition, a road (2) through the second, and others."""
    centroids = np.array([[0.5], [0.62], [0.73], *([2.0 + i] for i in range(20))])
    length = np.zeros((23, 23))
    length[0, 1] = length[1, 0] = length[1, 2] = length[2, 1] = 5000
    contrast = length * 0.12**2
    contrast[0, 1] = contrast[1, 0] = 5000 * 0.02**2
    return centroids, np.ones(23), Borders(length, contrast, np.zeros((23, 23)))


def test_shades_with_a_gradual_transition_are_merged_before_clusters_with_contrast_at_their_border() -> None:
    centroids, weights, borders = shades()

    assert grow_tree(centroids, weights, borders, adjacency_weight=0.0).merges[0].tolist() == [0, 1]
    assert grow_tree(centroids, weights, Borders.none(23), adjacency_weight=0.0).merges[0].tolist() == [1, 2]


def test_the_contrast_of_a_very_short_border_has_little_effect() -> None:
    centroids, weights, borders = shades()
    touch = Borders(borders.length / 5000, borders.contrast / 5000, borders.patch_contact)

    assert grow_tree(centroids, weights, touch, adjacency_weight=0.0).merges[0].tolist() == [1, 2]


def test_alternating_stripes_are_merged_first_with_an_adjacency_weight() -> None:
    assert grow_tree(*stripes(), adjacency_weight=4.0).merges[0].tolist() == [0, 1]


def test_similar_features_are_merged_first_without_an_adjacency_weight() -> None:
    assert grow_tree(*stripes(), adjacency_weight=0.0).merges[0].tolist() == [1, 2]


def test_the_smallest_of_equally_distant_clusters_is_merged_first() -> None:
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])

    tree = grow_tree(corners, np.array([10.0, 10.0, 1.0]), Borders.none(3), adjacency_weight=0.0)

    assert 2 in tree.merges[0]


def test_adjacency_weight_has_no_effect_without_borders() -> None:
    centroids, weights, _ = drawn(4, 8)

    without_borders = grow_tree(centroids, weights, Borders.none(8), adjacency_weight=4.0)

    np.testing.assert_array_equal(
        without_borders.merges, grow_tree(centroids, weights, Borders.none(8), adjacency_weight=0.0).merges
    )


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_the_diagonal_of_the_borders_is_ignored(seed: int) -> None:
    centroids, weights, borders = drawn(seed, 8)
    diagonal = np.diag(np.random.default_rng(seed).integers(1, 1000, 8))
    inner = Borders(borders.length + diagonal, borders.contrast + diagonal, borders.patch_contact + diagonal)

    expected = grow_tree(centroids, weights, borders, adjacency_weight=2.0).merges
    np.testing.assert_array_equal(grow_tree(centroids, weights, inner, adjacency_weight=2.0).merges, expected)


def test_the_arguments_are_not_modified() -> None:
    centroids, weights, borders = drawn(5, 9)
    given_arrays = [centroids, weights, borders.length, borders.contrast, borders.patch_contact]
    kept = [array.copy() for array in given_arrays]

    grow_tree(centroids, weights, borders, adjacency_weight=2.0)

    for array, before in zip(given_arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_means_of_integer_centroids_are_not_rounded() -> None:
    centroids = np.array([[0], [1], [4], [8]])
    weights, borders = np.array([1.0, 2.0, 3.0, 4.0]), Borders.none(4)

    expected = grow_tree(centroids.astype(float), weights, borders, adjacency_weight=0.0).merges
    np.testing.assert_array_equal(grow_tree(centroids, weights, borders, adjacency_weight=0.0).merges, expected)


@pytest.mark.parametrize("n", [1, 2])
def test_a_tree_of_one_or_two_leaves_has_no_merges(n: int) -> None:
    tree = grow_tree(*drawn(0, n), adjacency_weight=2.0)

    assert tree.merges.shape == (0, 2)
    np.testing.assert_array_equal(tree.level(2), np.arange(1, n + 1))


def test_levels_follow_the_merges() -> None:
    tree = ClassTree(5, np.array([[1, 4], [0, 2], [0, 1]]), np.zeros(3))

    assert tree.level(5).tolist() == [1, 2, 3, 4, 5]
    assert tree.level(4).tolist() == [1, 2, 3, 4, 2]
    assert tree.level(3).tolist() == [1, 2, 1, 3, 2]
    assert tree.level(2).tolist() == [1, 1, 1, 2, 1]


# --- costs and the automatic number of classes ---------------------------------------------------


def within(centroids: NDArray[np.float64], weights: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """Return the scatter of the leaves around the means of their classes, summed leaf by leaf."""
    total = 0.0
    for one in np.unique(classes):
        own = classes == one
        middle = np.average(centroids[own], axis=0, weights=weights[own])
        total += sum(w * ((c - middle) ** 2).sum() for c, w in zip(centroids[own], weights[own], strict=True))
    return total


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(2, 22), lambdas)
def test_costs_up_to_a_level_sum_to_the_share_of_the_scatter_within_its_classes(
    seed: int, n: int, adjacency_weight: float
) -> None:
    centroids, weights, borders = drawn(seed, n)

    tree = grow_tree(centroids, weights, borders, adjacency_weight=adjacency_weight)

    whole = within(centroids, weights, np.ones(n, np.int64))
    shares = [within(centroids, weights, tree.level(left)) / whole for left in range(n - 1, 1, -1)]
    np.testing.assert_allclose(np.cumsum(tree.costs), shares)


def test_merging_identical_leaves_costs_0() -> None:
    tree = grow_tree(np.full((5, 3), 0.3), np.ones(5), Borders.none(5), adjacency_weight=0.0)

    np.testing.assert_array_equal(tree.costs, np.zeros(3))


@settings(max_examples=30, deadline=None)
@given(seeds, counts, st.integers(2, 14), st.integers(2, 14))
def test_levels_of_the_upper_part_are_levels_of_the_tree(seed: int, n: int, first: int, second: int) -> None:
    tree = grow_tree(*drawn(seed, n), adjacency_weight=1.0)

    rest = tree.above(first)

    assert rest.n_clusters == tree.level(first).max()
    assert len(rest.costs) == len(rest.merges) == max(rest.n_clusters - 2, 0)
    np.testing.assert_array_equal(rest.level(second)[tree.level(first) - 1], tree.level(min(first, second)))


def tree_of_copies(n_points: int, n_leaves: int = 40, *, noise: float = 0.002) -> ClassTree:
    """Return the tree of noisy copies of some equally distant points."""
    draw = np.random.default_rng(n_points)
    moments = np.eye(n_points)[np.arange(n_leaves) % n_points]
    moments = moments + draw.normal(0, noise, moments.shape)
    return grow_tree(moments, draw.uniform(1, 5, n_leaves), Borders.none(n_leaves), adjacency_weight=0.0)


@pytest.mark.parametrize("n_points", range(4, 17))
def test_auto_finds_the_number_of_equally_distant_points(n_points: int) -> None:
    assert tree_of_copies(n_points).auto_n_classes == n_points


@pytest.mark.parametrize(("n_points", "expected"), [(2, 4), (3, 4), (17, 16), (30, 16)])
def test_auto_is_between_4_and_16(n_points: int, expected: int) -> None:
    assert tree_of_copies(n_points).auto_n_classes == expected


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 40), lambdas)
def test_auto_is_the_smallest_number_that_explains_97_5_percent_of_the_variance_of_16(
    seed: int, n: int, adjacency_weight: float
) -> None:
    tree = grow_tree(*drawn(seed, n), adjacency_weight=adjacency_weight)

    def explained(left: int) -> float:
        return 1 - float(tree.costs[: max(n - left, 0)].sum())

    enough = [left for left in range(4, 17) if explained(left) >= 0.975 * explained(16)]
    assert tree.auto_n_classes == min(n, enough[0])


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_auto_keeps_all_of_up_to_four_leaves(n: int) -> None:
    assert grow_tree(*drawn(1, n), adjacency_weight=0.0).auto_n_classes == n
