"""Polygons as flat arrays, against shapely."""

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.vectorize.outline import outline

SIDES = st.tuples(st.integers(1, 12), st.integers(1, 12))
MAPS = SIDES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 3)))


def polygons_of(classes):
    return outline(np.pad(classes, 1)).polygons


@given(MAPS)
def test_well_known_binary_is_that_of_shapely(classes):
    polygons = polygons_of(classes)

    found = polygons.to_wkb().to_pylist()

    assert found == shapely.to_wkb(polygons.shapes(), byte_order=1).tolist()


@given(MAPS, st.integers(1, 5), st.integers(1, 1000))
def test_polygons_come_out_of_splitting_complete_and_in_their_order(classes, n_rows, n_bytes):
    polygons = polygons_of(classes)

    some = list(polygons.split(n_rows, n_bytes))

    wkb = [one.to_wkb() for one in some]
    assert [row for array in wkb for row in array.to_pylist()] == polygons.to_wkb().to_pylist()
    assert [number for one in some for number in one.owners] == polygons.owners.tolist()
    assert all(1 <= len(one.owners) <= n_rows for one in some)
    assert all(
        len(one.owners) == 1 or sum(map(len, array.to_pylist())) <= n_bytes
        for one, array in zip(some, wkb, strict=True)
    )
