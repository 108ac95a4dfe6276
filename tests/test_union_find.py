from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from geoseg.segment.union_find import find, union

N = 20
links = st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)), max_size=40)


@settings(max_examples=50, deadline=None)
@given(links)
def test_two_elements_have_one_root_exactly_if_a_path_of_links_connects_them(pairs: list[tuple[int, int]]) -> None:
    parent = np.arange(N)

    for a, b in pairs:
        union(parent, a, b)

    a, b = np.array(pairs, np.int64).reshape(-1, 2).T
    component = connected_components(sparse.coo_array((np.ones(len(a)), (a, b)), shape=(N, N)), directed=False)[1]
    roots = np.array([find(parent, i) for i in range(N)])
    np.testing.assert_array_equal(roots[:, None] == roots, component[:, None] == component)


@settings(max_examples=50, deadline=None)
@given(links)
def test_root_of_the_first_element_remains_the_root_of_the_union(pairs: list[tuple[int, int]]) -> None:
    parent = np.arange(N)

    for a, b in pairs:
        before = find(parent, a)
        assert union(parent, a, b) == before == find(parent, a) == find(parent, b)
