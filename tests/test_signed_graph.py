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
    def test_attractive_edges_alone_give_one_cluster_per_component(self) -> None:
        clusters, contracted, _ = contract(chain(np.full(9, 0.5)), 10)

        assert len(np.unique(clusters)) == 1
        assert not len(contracted.a)

    def test_repulsive_edge_outweighs_two_weaker_attractive_edges(self) -> None:
        clusters, contracted, _ = contract(edges_of((0, 1, 0.9), (1, 2, 0.8), (0, 2, -1.0)), 3)

        np.testing.assert_array_equal(clusters, [1, 1, 2])
        np.testing.assert_allclose(contracted.weight, [-0.2])

    def test_many_repulsive_edges_outweigh_one_strong_attractive_edge(self) -> None:
        """Two chains that repel each other in every tile, and one attractive edge between them."""
        rows = [(2 * t + side, 2 * t + 2 + side, 0.6) for t in range(50) for side in (0, 1)]
        differences = [(2 * t, 2 * t + 1, -0.4) for t in range(51)]

        clusters, _, _ = contract(edges_of(*rows, *differences, (50, 53, 0.59)), 102)

        assert not set(clusters[::2]) & set(clusters[1::2])

    def test_weights_of_parallel_edges_are_added(self) -> None:
        clusters, contracted, _ = contract(edges_of((0, 1, 0.5), (0, 1, -0.7)), 2)

        np.testing.assert_array_equal(clusters, [0, 1])
        np.testing.assert_allclose(contracted.weight, [-0.2])

    @settings(max_examples=30, deadline=None)
    @given(seeds, st.integers(2, 60), st.integers(0, 300))
    def test_no_attractive_edge_is_left_between_clusters(self, seed: int, n_nodes: int, n_edges: int) -> None:
        edges = drawn(seed, n_nodes, n_edges)

        clusters, contracted, _ = contract(edges, n_nodes)

        apart = clusters[edges.a] != clusters[edges.b]
        assert (contracted.weight <= 1e-9).all()
        assert (contracted.a < contracted.b).all()
        np.testing.assert_allclose(contracted.weight.sum(), edges.weight[apart].sum(), atol=1e-9)
        np.testing.assert_array_equal(clusters[clusters], clusters)  # a cluster is numbered by one of its nodes

    @pytest.mark.parametrize("max_contractions", [0, 1, 4])
    def test_at_most_max_contractions_are_made(self, max_contractions: int) -> None:
        clusters, _, _ = contract(chain(np.full(9, 0.5)), 10, max_contractions=max_contractions)

        assert len(np.unique(clusters)) == 10 - max_contractions

    def test_without_edges_every_node_is_a_cluster(self) -> None:
        clusters, _, n_visited = contract(no_edges(), 4)

        np.testing.assert_array_equal(clusters, [0, 1, 2, 3])
        assert n_visited == 0

    @pytest.mark.parametrize(
        "weights",
        [np.full(20_000, 0.5), np.linspace(0.1, 0.9, 20_000), np.linspace(0.9, 0.1, 20_000)],
        ids=["equal", "rising", "falling"],
    )
    def test_edges_of_a_long_chain_are_visited_few_times_whatever_the_order_of_its_weights(
        self, weights: np.ndarray
    ) -> None:
        _, _, n_visited = contract(chain(weights), len(weights) + 1)

        assert n_visited < 20 * len(weights)

    def test_hub_is_contracted_with_all_nodes_that_it_attracts_in_few_rounds_but_not_with_one_that_repels_these(
        self,
    ) -> None:
        n = 3000
        weights = np.random.default_rng(0).uniform(0.2, 0.9, n)
        star = Edges(np.zeros(n + 1, np.int64), np.arange(1, n + 2), np.append(weights, 0.1))
        last = np.full(n, n + 1)
        edges = Edges(
            np.append(star.a, np.arange(1, n + 1)), np.append(star.b, last), np.append(star.weight, np.full(n, -0.5))
        )

        clusters, _, n_visited = contract(edges, n + 2)

        assert (clusters[: n + 1] == clusters[0]).all()
        assert clusters[n + 1] != clusters[0]
        assert n_visited < 10 * len(edges.a)
