"""Polygons as flat arrays, against shapely."""

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.grid import Window
from geoseg.polygons.outline import outline
from geoseg.polygons.ragged import Ragged

SIDES = st.tuples(st.integers(1, 12), st.integers(1, 12))
MAPS = SIDES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 3)))


def polygons_of(classes):
    return outline(np.pad(classes, 1))[0]


@given(MAPS)
def test_polygons_taken_apart_and_put_together_are_the_same(classes):
    polygons = polygons_of(classes)

    back = Ragged.from_arrays(Ragged.of(polygons).to_arrays()).polygons()

    assert shapely.equals_identical(back, polygons).all()


@given(MAPS)
def test_well_known_binary_is_that_of_shapely(classes):
    polygons = polygons_of(classes)

    found = Ragged.of(polygons).to_wkb().to_pylist()

    assert found == shapely.to_wkb(polygons, byte_order=1).tolist()


@given(MAPS, st.data())
def test_chosen_polygons_are_those_and_no_others(classes, data):
    polygons = polygons_of(classes)
    which = np.array(data.draw(st.lists(st.booleans(), min_size=len(polygons), max_size=len(polygons))), bool)

    found = Ragged.of(polygons).chosen(which).polygons()

    assert shapely.equals_identical(found, polygons[which]).all()
    assert len(found) == which.sum()


@given(MAPS)
def test_polygon_touches_a_side_where_its_bounds_do(classes):
    polygons = polygons_of(classes)
    rows, cols = classes.shape

    found = Ragged.of(polygons).touching(Window(0, 0, cols, rows))

    left, top, right, bottom = shapely.bounds(polygons).reshape(-1, 4).T
    np.testing.assert_array_equal(found, (left == 0) | (top == 0) | (right == cols) | (bottom == rows))
