from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geoseg.segment.blockwise import dense_index

PER_BLOCK = 1 << 20


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 5000), min_size=1, max_size=5), st.sampled_from([0, 0.3, 1]))
def test_dense_index_is_the_inverse_of_numpy_unique(seed, blocks, nodata):
    draw = np.random.default_rng(seed)
    numbers = draw.choice(blocks, (7, 9)) * PER_BLOCK + draw.integers(0, 12, (7, 9))
    numbers[draw.random(numbers.shape) < nodata] = -1

    seen, index = dense_index(numbers, PER_BLOCK)

    expected, inverse = np.unique(numbers[numbers >= 0], return_inverse=True)
    assert np.array_equal(seen, expected)
    assert np.array_equal(index[numbers >= 0], inverse)
    assert (index[numbers < 0] == -1).all()
