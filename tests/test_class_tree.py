from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.segment import class_tree
from geoseg.segment.class_tree import Borders, ClassTree, grow_tree
from tests.reference import class_tree as reference

seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 22)  # more and fewer than the 16 from which coherence counts more than detail
lambdas = st.sampled_from([0.0, 1.0, 4.0])


def drawn(seed: int, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64], Borders]:
    """Draw classes: looks, weights, and borders of which some are 0."""
    draw = np.random.default_rng(seed)
    half = np.triu(draw.integers(0, 900, (n, n)) * (draw.random((n, n)) < 0.5), 1)
    length = (half + half.T).astype(float)
    contrast, patchy = (length * (share + share.T) for share in draw.random((2, n, n)))
    return draw.random((n, 3)), draw.uniform(0.1, 20, n), Borders(length, contrast, patchy)


def schedule(adjacency_weight: float) -> Callable[[int], tuple[float, float, float]]:
    """Return the options of the reference: detail first, then a power of sizes that goes straight to two classes."""
    many, few = class_tree._SIZE_POWER

    def at(n_classes: int) -> tuple[float, float, float]:
        if n_classes > class_tree._COARSE:
            return class_tree._FINE_SIZE_POWER, adjacency_weight, class_tree._SHORT
        power = np.interp(n_classes, [2, class_tree._COARSE], [few, many])
        return float(power), class_tree._COHERENCE * adjacency_weight, class_tree._SHORT

    return at


@settings(max_examples=25, deadline=None)
@given(seeds, counts, lambdas)
def test_each_step_joins_the_cheapest_pair(seed: int, n: int, adjacency_weight: float) -> None:
    centres, weights, borders = drawn(seed, n)

    tree = grow_tree(centres, weights, borders, adjacency_weight=adjacency_weight)

    expected = reference.merges(centres, weights, borders, options_at=schedule(adjacency_weight))
    assert tree.n_clusters == n
    assert [tuple(pair) for pair in tree.merges.tolist()] == [tuple(sorted((min(a), min(b)))) for a, b in expected]


@settings(max_examples=30, deadline=None)
@given(seeds, counts, lambdas)
def test_every_class_of_a_coarser_level_is_a_union_of_finer_ones(seed: int, n: int, adjacency_weight: float) -> None:
    tree = grow_tree(*drawn(seed, n), adjacency_weight=adjacency_weight)

    for finer, coarser in zip(range(n + 1, 2, -1), range(n, 1, -1), strict=True):
        pairs = set(zip(tree.level(finer).tolist(), tree.level(coarser).tolist(), strict=True))
        assert len(pairs) == tree.level(finer).max()


@settings(max_examples=30, deadline=None)
@given(seeds, counts, st.integers(2, 14))
def test_a_level_has_as_many_classes_as_asked_or_all_there_are(seed: int, n: int, n_classes: int) -> None:
    classes = grow_tree(*drawn(seed, n), adjacency_weight=1.0).level(n_classes)

    assert classes.shape == (n,)
    assert set(classes.tolist()) == set(range(1, min(n, n_classes) + 1))


@settings(max_examples=30, deadline=None)
@given(seeds, counts, st.integers(2, 14))
def test_classes_are_numbered_in_the_order_of_their_lowest_leaves(seed: int, n: int, n_classes: int) -> None:
    classes = grow_tree(*drawn(seed, n), adjacency_weight=1.0).level(n_classes).tolist()

    assert list(dict.fromkeys(classes)) == sorted(set(classes))


def stripes() -> tuple[NDArray[np.float64], NDArray[np.float64], Borders]:
    """Black stripes (0) in orange fur (1), a brown log far off (2) that looks like the fur, grass (3) and much else."""
    centres = np.array([[0.2], [0.6], [0.75], *([2.0 + i] for i in range(20))])
    length = np.zeros((23, 23))
    length[0, 1] = length[1, 0] = 90
    length[1, 3] = length[3, 1] = 10
    length[2, 3] = length[3, 2] = 30
    return centres, np.ones(23), Borders(length, length * (centres - centres.T) ** 2, length / 50)


def shades() -> tuple[NDArray[np.float64], NDArray[np.float64], Borders]:
    """Two shades of sand (0, 1) that pass into each other, a road (2) that cuts through the second, and much else."""
    centres = np.array([[0.5], [0.62], [0.73], *([2.0 + i] for i in range(20))])
    length = np.zeros((23, 23))
    length[0, 1] = length[1, 0] = length[1, 2] = length[2, 1] = 5000
    contrast = length * 0.12**2
    contrast[0, 1] = contrast[1, 0] = 5000 * 0.02**2
    return centres, np.ones(23), Borders(length, contrast, np.zeros((23, 23)))


def test_shades_that_pass_into_each_other_are_joined_before_what_stands_out_at_its_border() -> None:
    centres, weights, borders = shades()

    assert grow_tree(centres, weights, borders, adjacency_weight=0.0).merges[0].tolist() == [0, 1]
    assert grow_tree(centres, weights, Borders.none(23), adjacency_weight=0.0).merges[0].tolist() == [1, 2]


def test_a_border_that_is_hardly_there_says_little() -> None:
    centres, weights, borders = shades()
    touch = Borders(borders.length / 5000, borders.contrast / 5000, borders.patchy)

    assert grow_tree(centres, weights, touch, adjacency_weight=0.0).merges[0].tolist() == [1, 2]


def test_stripes_join_the_fur_they_lie_in_when_interleaving_counts() -> None:
    assert grow_tree(*stripes(), adjacency_weight=4.0).merges[0].tolist() == [0, 1]


def test_fur_joins_what_looks_like_it_when_interleaving_does_not_count() -> None:
    assert grow_tree(*stripes(), adjacency_weight=0.0).merges[0].tolist() == [1, 2]


def test_what_is_small_is_joined_first_where_all_look_equally_different() -> None:
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])

    tree = grow_tree(corners, np.array([10.0, 10.0, 1.0]), Borders.none(3), adjacency_weight=0.0)

    assert 2 in tree.merges[0]


def test_looks_alone_decide_where_nothing_touches() -> None:
    centres, weights, _ = drawn(4, 8)

    lonely = grow_tree(centres, weights, Borders.none(8), adjacency_weight=4.0)

    np.testing.assert_array_equal(
        lonely.merges, grow_tree(centres, weights, Borders.none(8), adjacency_weight=0.0).merges
    )


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_what_stands_on_the_diagonal_of_the_borders_does_not_matter(seed: int) -> None:
    centres, weights, borders = drawn(seed, 8)
    diagonal = np.diag(np.random.default_rng(seed).integers(1, 1000, 8))
    inner = Borders(borders.length + diagonal, borders.contrast + diagonal, borders.patchy + diagonal)

    expected = grow_tree(centres, weights, borders, adjacency_weight=2.0).merges
    np.testing.assert_array_equal(grow_tree(centres, weights, inner, adjacency_weight=2.0).merges, expected)


def test_nothing_that_was_given_is_changed() -> None:
    centres, weights, borders = drawn(5, 9)
    given_arrays = [centres, weights, borders.length, borders.contrast, borders.patchy]
    kept = [array.copy() for array in given_arrays]

    grow_tree(centres, weights, borders, adjacency_weight=2.0)

    for array, before in zip(given_arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_looks_in_whole_numbers_are_not_rounded_on_the_way() -> None:
    centres = np.array([[0], [1], [4], [8]])
    weights, borders = np.array([1.0, 2.0, 3.0, 4.0]), Borders.none(4)

    expected = grow_tree(centres.astype(float), weights, borders, adjacency_weight=0.0).merges
    np.testing.assert_array_equal(grow_tree(centres, weights, borders, adjacency_weight=0.0).merges, expected)


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_leaves_stay_as_they_are(n: int) -> None:
    tree = grow_tree(*drawn(0, n), adjacency_weight=2.0)

    assert tree.merges.shape == (0, 2)
    np.testing.assert_array_equal(tree.level(2), np.arange(1, n + 1))


def test_a_tree_that_was_made_by_hand_can_be_cut() -> None:
    tree = ClassTree(5, np.array([[1, 4], [0, 2], [0, 1]]), np.zeros(3))

    assert tree.level(5).tolist() == [1, 2, 3, 4, 5]
    assert tree.level(4).tolist() == [1, 2, 3, 4, 2]
    assert tree.level(3).tolist() == [1, 2, 1, 3, 2]
    assert tree.level(2).tolist() == [1, 1, 1, 2, 1]


# --- the costs, and the number of classes that follows from them ----------------------------------------------------


def within(centres: NDArray[np.float64], weights: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """Return the spread of the leaves around the means of their classes, added up literally."""
    total = 0.0
    for one in np.unique(classes):
        own = classes == one
        middle = np.average(centres[own], axis=0, weights=weights[own])
        total += sum(w * ((c - middle) ** 2).sum() for c, w in zip(centres[own], weights[own], strict=True))
    return total


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(2, 22), lambdas)
def test_costs_up_to_a_level_are_the_share_of_the_spread_that_is_then_within_classes(
    seed: int, n: int, adjacency_weight: float
) -> None:
    centres, weights, borders = drawn(seed, n)

    tree = grow_tree(centres, weights, borders, adjacency_weight=adjacency_weight)

    whole = within(centres, weights, np.ones(n, np.int64))
    shares = [within(centres, weights, tree.level(left)) / whole for left in range(n - 1, 1, -1)]
    np.testing.assert_allclose(np.cumsum(tree.costs), shares)


def test_leaves_that_look_the_same_cost_nothing_to_join() -> None:
    tree = grow_tree(np.full((5, 3), 0.3), np.ones(5), Borders.none(5), adjacency_weight=0.0)

    np.testing.assert_array_equal(tree.costs, np.zeros(3))


@settings(max_examples=30, deadline=None)
@given(seeds, counts, st.integers(2, 14), st.integers(2, 14))
def test_rest_of_a_tree_cut_again_is_the_tree_cut_once(seed: int, n: int, first: int, second: int) -> None:
    tree = grow_tree(*drawn(seed, n), adjacency_weight=1.0)

    rest = tree.above(first)

    assert rest.n_clusters == tree.level(first).max()
    assert len(rest.costs) == len(rest.merges) == max(rest.n_clusters - 2, 0)
    np.testing.assert_array_equal(rest.level(second)[tree.level(first) - 1], tree.level(min(first, second)))


def grounds(n_grounds: int, n_leaves: int = 40, *, noise: float = 0.002) -> ClassTree:
    """Return the tree of leaves that look like one of some grounds, all of them equally different."""
    draw = np.random.default_rng(n_grounds)
    moments = np.eye(n_grounds)[np.arange(n_leaves) % n_grounds]
    moments = moments + draw.normal(0, noise, moments.shape)
    return grow_tree(moments, draw.uniform(1, 5, n_leaves), Borders.none(n_leaves), adjacency_weight=0.0)


@pytest.mark.parametrize("n_grounds", range(4, 17))
def test_number_of_classes_is_the_number_of_grounds_where_these_differ_alike(n_grounds: int) -> None:
    assert grounds(n_grounds).natural == n_grounds


@pytest.mark.parametrize(("n_grounds", "expected"), [(2, 4), (3, 4), (17, 16), (30, 16)])
def test_number_of_classes_lies_between_4_and_16(n_grounds: int, expected: int) -> None:
    assert grounds(n_grounds).natural == expected


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 40), lambdas)
def test_number_of_classes_is_the_fewest_that_keep_what_16_keep_but_for_a_fortieth(
    seed: int, n: int, adjacency_weight: float
) -> None:
    tree = grow_tree(*drawn(seed, n), adjacency_weight=adjacency_weight)

    def kept(left: int) -> float:
        return 1 - float(tree.costs[: max(n - left, 0)].sum())

    enough = [left for left in range(4, 17) if kept(left) >= 0.975 * kept(16)]
    assert tree.natural == min(n, enough[0])


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_leaves_are_all_kept(n: int) -> None:
    assert grow_tree(*drawn(1, n), adjacency_weight=0.0).natural == n
