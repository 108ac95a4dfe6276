"""Labels as classes, and how they look."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.grid import TileGrid, Window
from geoseg.output.label_style import hashed_colors, label_legend, mean_colors
from geoseg.vectorize.label_index import combine, features, labels_of_tables, number_labels, renumber_tables
from geoseg.vectorize.regions import pieces

SIDES = st.tuples(st.integers(1, 8), st.integers(1, 8))
NUMBERS = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))  # few of them, or far apart
MAPS = SIDES.flatmap(
    lambda shape: st.tuples(arrays(np.int64, shape, elements=NUMBERS), arrays(bool, shape, elements=st.booleans()))
)


@given(MAPS)
def test_numbers_stand_for_the_labels_in_their_order(drawn):
    labels, valid = drawn

    classes, values = number_labels(labels, valid)

    assert values.tolist() == sorted(set(labels[valid].tolist()))
    np.testing.assert_array_equal(classes > 0, valid)
    np.testing.assert_array_equal(values[classes[valid] - 1], labels[valid])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint32", "int32"])
def test_labels_from_end_to_end_of_a_type_are_numbered(dtype):
    ends = np.iinfo(dtype)
    labels = np.array([[ends.max, ends.min, 1]], dtype)

    classes, values = number_labels(labels, np.ones((1, 3), bool))

    assert values[classes[0] - 1].tolist() == [ends.max, ends.min, 1]


@given(MAPS, st.integers(1, 8))
def test_labels_of_all_tiles_are_numbered_as_those_of_the_whole(drawn, size):
    labels, valid = drawn
    tables = []
    for tile in TileGrid(labels.shape, size, 0):
        own = tile.core.within(Window(0, 0, labels.shape[1], labels.shape[0]))
        classes, values = number_labels(labels[own], valid[own])
        none = np.zeros((len(values) + 1, 0))
        _, table = pieces(classes, window=tile.core, scene_shape=labels.shape, min_pixels=0, features=none)
        tables.append(table.__class__(**{**vars(table), "classes": values[table.classes - 1]}))

    values = labels_of_tables(tables)
    found = list(renumber_tables(tables, values))

    assert values.tolist() == sorted(set(labels[valid].tolist()))
    for before, after in zip(tables, found, strict=True):
        np.testing.assert_array_equal(values[after.classes - 1], before.classes)


def test_features_are_the_mean_values_of_the_label_in_all_tiles_in_any_order():
    draw = np.random.default_rng(0)
    labels, known = draw.integers(-2, 5, (20, 30)) * 2**40, draw.random((20, 30)) > 0.2
    pixels = draw.integers(0, 60_000, (2, 20, 30)).astype(np.float32)
    known[labels == 2**40] = False
    parts = []
    for tile in TileGrid((20, 30), 7, 0):
        own = tile.core.within(Window(0, 0, 30, 20))
        parts.append(features(*number_labels(labels[own], known[own] | True), pixels[:, *own], known[own]))

    found = combine(parts)

    np.testing.assert_array_equal(found.means, combine(parts[::-1]).means)
    for value, mean in zip(found.values.tolist(), found.means, strict=True):
        inside = (labels == value) & known
        expected = pixels[:, inside].mean(axis=1, dtype=float) if inside.any() else [np.nan, np.nan]
        np.testing.assert_allclose(mean, expected)
    np.testing.assert_array_equal(found.of(found.values[[2, 0]])[1:], found.means[[2, 0]])


def test_colour_of_a_label_depends_on_its_number_alone_and_neighbours_differ():
    values = np.arange(-500, 500)

    colours = hashed_colors(values)

    np.testing.assert_array_equal(hashed_colors(values[::-1])[::-1], colours)
    assert len(np.unique(colours, axis=0)) > 990
    assert (np.abs(np.diff(colours.astype(int), axis=0)).sum(axis=1) > 30).mean() > 0.9


def test_labels_without_values_are_grey_and_the_others_stretched():
    means, pixels = np.array([[0.0, 0, 7], [1000.0, 1000, 7], [np.nan] * 3]), np.array([5, 5, 0])

    colours = mean_colors(means, pixels, np.array([500.0, 500, 0]))

    assert colours.tolist() == [[64, 64, 128], [191, 191, 128], [128, 128, 128]]  # one value has no spread
    assert mean_colors(means[2:], pixels[2:], np.zeros(3)).tolist() == [[128, 128, 128]]


def test_few_pixels_far_off_do_not_darken_all_others():
    means = np.array([[100.0] * 3, [140.0] * 3, [60_000.0] * 3])

    colours = mean_colors(means, np.array([10_000, 10_000, 1]), np.full(3, 25.0))

    assert colours[2].tolist() == [255] * 3
    assert colours[1, 0] - colours[0, 0] > 100


def test_palette_goes_over_other_colours_and_names_over_numbers():
    values, colours = np.array([-1, 7]), np.array([[9, 9, 9], [9, 9, 9]], np.uint8)

    legend = label_legend(values, colours, np.array([3, 1]), palette={7: (1, 2, 3)}, names={-1: "sea"})

    assert legend.hexes == ["#090909", "#010203"]
    assert legend.names == ("sea (75.0 %)", "class 7 (25.0 %)")
    assert legend.values.tolist() == [-1, 7]


def test_few_labels_of_one_colour_are_moved_apart_and_many_are_not():
    few, many = np.arange(3), np.arange(300)

    assert len(set(label_legend(few, np.zeros((3, 3), np.uint8), few, palette={}, names={}).hexes)) == 3
    assert len(set(label_legend(many, np.zeros((300, 3), np.uint8), many, palette={}, names={}).hexes)) == 1
