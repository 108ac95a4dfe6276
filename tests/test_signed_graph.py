from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.segment.per_tile.signed_graph import Edges, contract

seeds = st.integers(0, 2**32 - 1)


def edges_of(*triples: tuple[int, int, float]) -> Edges:
    a, b, weight = zip(*triples, strict=True)
    return Edges(np.array(a, np.int64), np.array(b, np.int64), np.array(weight, float))


def no_edges() -> Edges:
    return Edges(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def drawn(seed: int, n_nodes: int, n_edges: int) -> Edges:
    draw = np.random.default_rng(seed)
    ends = np.sort(draw.integers(0, n_nodes, (n_edges, 2)), axis=1)
    ends = ends[ends[:, 0] < ends[:, 1]]
    return Edges(ends[:, 0], ends[:, 1], draw.normal(0, 1, len(ends)))


def chain(weights: np.ndarray) -> Edges:
    nodes = np.arange(len(weights))
    return Edges(nodes, nodes + 1, weights)


class TestContract:
    def test_what_only_attracts_becomes_one_group(self) -> None:
        groups, left, _ = contract(chain(np.full(9, 0.5)), 10)

        assert len(np.unique(groups)) == 1
        assert not len(left.a)

    def test_a_strong_difference_outweighs_two_weak_links(self) -> None:
        groups, left, _ = contract(edges_of((0, 1, 0.9), (1, 2, 0.8), (0, 2, -1.0)), 3)

        np.testing.assert_array_equal(groups, [1, 1, 2])
        np.testing.assert_allclose(left.weight, [-0.2])

    def test_what_many_say_outweighs_one_strong_link(self) -> None:
        """Two rows of codes, told apart by each tile; one code of the one looks like one of the other."""
        rows = [(2 * t + side, 2 * t + 2 + side, 0.6) for t in range(50) for side in (0, 1)]
        differences = [(2 * t, 2 * t + 1, -0.4) for t in range(51)]

        groups, _, _ = contract(edges_of(*rows, *differences, (50, 53, 0.59)), 102)

        assert not set(groups[::2]) & set(groups[1::2])

    def test_edges_of_the_same_nodes_add_up(self) -> None:
        groups, left, _ = contract(edges_of((0, 1, 0.5), (0, 1, -0.7)), 2)

        np.testing.assert_array_equal(groups, [0, 1])
        np.testing.assert_allclose(left.weight, [-0.2])

    @settings(max_examples=30, deadline=None)
    @given(seeds, st.integers(2, 60), st.integers(0, 300))
    def test_nothing_that_is_left_attracts(self, seed: int, n_nodes: int, n_edges: int) -> None:
        edges = drawn(seed, n_nodes, n_edges)

        groups, left, _ = contract(edges, n_nodes)

        apart = groups[edges.a] != groups[edges.b]
        assert (left.weight <= 1e-9).all()
        assert (left.a < left.b).all()
        np.testing.assert_allclose(left.weight.sum(), edges.weight[apart].sum(), atol=1e-9)
        np.testing.assert_array_equal(groups[groups], groups)  # a group has the name of one of its nodes

    @pytest.mark.parametrize("most", [0, 1, 4])
    def test_no_more_is_joined_than_asked(self, most: int) -> None:
        groups, _, _ = contract(chain(np.full(9, 0.5)), 10, most=most)

        assert len(np.unique(groups)) == 10 - most

    def test_no_edges_leave_every_node_alone(self) -> None:
        groups, _, n_looked_at = contract(no_edges(), 4)

        np.testing.assert_array_equal(groups, [0, 1, 2, 3])
        assert n_looked_at == 0

    @pytest.mark.parametrize(
        "weights",
        [np.full(20_000, 0.5), np.linspace(0.1, 0.9, 20_000), np.linspace(0.9, 0.1, 20_000)],
        ids=["equal", "rising", "falling"],
    )
    def test_a_long_chain_takes_few_looks_at_each_edge_however_its_weights_run(self, weights: np.ndarray) -> None:
        _, _, n_looked_at = contract(chain(weights), len(weights) + 1)

        assert n_looked_at < 20 * len(weights)

    def test_a_hub_takes_all_that_it_attracts_at_once_but_not_what_differs(self) -> None:
        n = 3000
        weights = np.random.default_rng(0).uniform(0.2, 0.9, n)
        star = Edges(np.zeros(n + 1, np.int64), np.arange(1, n + 2), np.append(weights, 0.1))
        last = np.full(n, n + 1)
        edges = Edges(
            np.append(star.a, np.arange(1, n + 1)), np.append(star.b, last), np.append(star.weight, np.full(n, -0.5))
        )

        groups, _, n_looked_at = contract(edges, n + 2)

        assert (groups[: n + 1] == groups[0]).all()
        assert groups[n + 1] != groups[0]
        assert n_looked_at < 10 * len(edges.a)
