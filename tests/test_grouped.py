from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.segment.grouped import grouped_mean, grouped_sum

seeds = st.integers(0, 2**32 - 1)
N_GROUPS = 5


def rows(seed: int, n: int = 40) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Draw values of three columns, groups that all have rows, and weights."""
    draw = np.random.default_rng(seed)
    groups = draw.permutation(np.arange(n) % N_GROUPS)
    return draw.normal(0, 1, (n, 3)), groups, draw.uniform(0.1, 9, n)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_sums_are_those_of_adding_weighted_rows_one_after_the_other(seed: int) -> None:
    values, groups, weights = rows(seed)

    found = grouped_sum(values, groups, N_GROUPS, weights=weights)

    expected = np.zeros((N_GROUPS, 3))
    for value, group, weight in zip(values, groups, weights, strict=True):
        expected[group] += weight * value
    np.testing.assert_array_equal(found, expected)  # bit by bit: the order of additions is part of the result


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_means_are_weighted_averages(seed: int) -> None:
    values, groups, weights = rows(seed)

    found = grouped_mean(values, groups, N_GROUPS, weights=weights)

    for group in range(N_GROUPS):
        own = groups == group
        np.testing.assert_allclose(found[group], np.average(values[own], axis=0, weights=weights[own]))


@pytest.mark.parametrize("function", [grouped_sum, grouped_mean])
def test_without_weights_every_row_counts_once(function) -> None:
    values, groups, weights = rows(0)

    np.testing.assert_array_equal(
        function(values, groups, N_GROUPS), function(values, groups, N_GROUPS, weights=np.ones_like(weights))
    )


@pytest.mark.parametrize("function", [grouped_sum, grouped_mean])
def test_one_column_gives_one_value_per_group(function) -> None:
    values, groups, weights = rows(1)

    found = function(values[:, 1], groups, N_GROUPS, weights=weights)

    np.testing.assert_array_equal(found, function(values, groups, N_GROUPS, weights=weights)[:, 1])


@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_sum_of_no_rows_is_0(shape: tuple[int, ...]) -> None:
    sums = grouped_sum(np.zeros(shape), np.zeros(0, np.int64), N_GROUPS)

    np.testing.assert_array_equal(sums, np.zeros((N_GROUPS, *shape[1:])))


def test_sums_of_whole_numbers_are_exact_up_to_2_to_the_53() -> None:
    values = np.array([2**52, 2**52 - 1])

    assert int(grouped_sum(values, np.array([0, 0]), 1)[0]) == 2**53 - 1
