import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from geoseg.evaluate.boundaries import boundaries, count_borders, count_seams, near, seam_ratio
from geoseg.grid import Window

from .reference import evaluate as literal

maps = arrays(np.uint8, (9, 11), elements=st.integers(0, 2))
EVERYTHING = (slice(None), slice(None))


def seams(classes, tile, lines=()):
    """Return the seam ratio, counted in windows that are cut at these rows and columns."""
    shape = classes.shape
    cuts = [sorted({0, *lines, length}) for length in shape]
    total = None
    for top, bottom in zip(cuts[0][:-1], cuts[0][1:], strict=True):
        for left, right in zip(cuts[1][:-1], cuts[1][1:], strict=True):
            core = Window(left, top, right - left, bottom - top)
            read = core.expanded(1, shape)
            part = count_seams(classes[read.within(Window(0, 0, shape[1], shape[0]))], read, core, shape, tile)
            total = part if total is None else total.plus(part)
    return seam_ratio(total)


@given(edge=arrays(bool, (9, 11)), reach=st.integers(1, 6))
def test_near_is_what_growing_by_the_four_neighbours_reaches(edge, reach):
    np.testing.assert_array_equal(near(edge, reach), ndimage.binary_dilation(edge, iterations=reach))


def test_reach_of_0_is_the_edge_itself():
    edge = np.eye(4, dtype=bool)

    np.testing.assert_array_equal(near(edge, 0), edge)


@given(classes=maps, labels=maps, reach=st.integers(0, 4))
def test_border_figures_are_those_of_going_through_the_pixels_as_they_are_worded(classes, labels, reach):
    counts = count_borders(classes, labels, EVERYTHING, reach)

    if counts.true_edge:
        assert counts.true_edge_found / counts.true_edge == literal.boundary_recall(classes, labels, reach)
    else:
        assert literal.boundary_recall(classes, labels, reach) is None
    if counts.edge_labelled:
        assert counts.edge_confirmed / counts.edge_labelled == literal.boundary_precision(classes, labels, reach)
    else:
        assert literal.boundary_precision(classes, labels, reach) is None
    assert counts.edge / counts.pixels == literal.boundary_density(classes)


@given(classes=maps, labels=maps, reach=st.integers(0, 3), row=st.integers(1, 8), col=st.integers(1, 10))
def test_borders_of_windows_with_their_margin_add_up_to_those_of_the_whole(classes, labels, reach, row, col):
    whole = Window(0, 0, 11, 9)
    cores = [Window(0, 0, col, row), Window(col, 0, 11 - col, row), Window(0, row, col, 9 - row),
             Window(col, row, 11 - col, 9 - row)]  # fmt: skip

    counts = []
    for core in cores:
        read = core.expanded(reach + 1, (9, 11))
        cut = read.within(whole)
        counts.append(count_borders(classes[cut], labels[cut], core.within(read), reach))

    np.testing.assert_array_equal(np.sum(counts, axis=0), count_borders(classes, labels, EVERYTHING, reach))


@given(
    classes=arrays(np.uint8, (48, 67), elements=st.integers(0, 2)),
    tile=st.integers(20, 40),
    lines=st.lists(st.integers(1, 47), max_size=3),
)
def test_seam_ratio_is_that_of_going_through_the_pixels_however_the_scene_is_cut(classes, tile, lines):
    expected = literal.seam_ratio(classes, tile)

    assert seams(classes, tile, lines) == (None if expected is None else pytest.approx(expected))


def test_seam_ratio_of_a_map_that_is_cut_on_the_line_is_high():
    classes = np.random.default_rng(0).integers(1, 3, (8, 8)).repeat(8, 0).repeat(8, 1)
    classes[:, 32:] += 2

    assert seams(classes, 32) > 3


def test_map_smaller_than_a_tile_has_no_seam_ratio():
    assert seams(np.ones((40, 40), np.uint8), 32) is None


def test_border_with_no_data_is_no_seam():
    classes = np.ones((70, 70), np.uint8)
    classes[:, 32:] = 0

    assert seams(classes, 32) == 0
    assert boundaries(classes).any()
