import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from geoseg.evaluate.boundaries import boundaries, count_boundaries, count_seams, near, seam_ratio
from geoseg.grid import Window

from .reference import evaluate as literal

maps = arrays(np.uint8, (9, 11), elements=st.integers(0, 2))
EVERYTHING = (slice(None), slice(None))


def seams(classes, tile_size, lines=()):
    """Return the seam ratio, counted in windows whose limits are these rows and columns."""
    shape = classes.shape
    cuts = [sorted({0, *lines, length}) for length in shape]
    total = None
    for top, bottom in zip(cuts[0][:-1], cuts[0][1:], strict=True):
        for left, right in zip(cuts[1][:-1], cuts[1][1:], strict=True):
            core = Window(left, top, right - left, bottom - top)
            read = core.expanded(1, shape)
            part = count_seams(classes[read.within(Window(0, 0, shape[1], shape[0]))], read, core, shape, tile_size)
            total = part if total is None else total.plus(part)
    return seam_ratio(total)


@given(edge=arrays(bool, (9, 11)), distance=st.integers(1, 6))
def test_near_equals_repeated_dilation_by_the_four_neighbours(edge, distance):
    np.testing.assert_array_equal(near(edge, distance), ndimage.binary_dilation(edge, iterations=distance))


def test_distanceof_0_returns_the_edge_itself():
    edge = np.eye(4, dtype=bool)

    np.testing.assert_array_equal(near(edge, 0), edge)


@given(classes=maps, labels=maps, distance=st.integers(0, 4))
def test_boundary_scores_equal_those_of_a_loop_over_the_pixels(classes, labels, distance):
    counts = count_boundaries(classes, labels, EVERYTHING, distance)

    if counts.reference:
        assert counts.reference_matched / counts.reference == literal.boundary_recall(classes, labels, distance)
    else:
        assert literal.boundary_recall(classes, labels, distance) is None
    if counts.boundary_labelled:
        assert counts.boundary_matched / counts.boundary_labelled == literal.boundary_precision(
            classes, labels, distance
        )
    else:
        assert literal.boundary_precision(classes, labels, distance) is None
    assert counts.boundary / counts.pixels == literal.boundary_density(classes)


@given(classes=maps, labels=maps, distance=st.integers(0, 3), row=st.integers(1, 8), col=st.integers(1, 10))
def test_counts_of_windows_with_their_margin_add_up_to_those_of_the_whole(classes, labels, distance, row, col):
    whole = Window(0, 0, 11, 9)
    cores = [Window(0, 0, col, row), Window(col, 0, 11 - col, row), Window(0, row, col, 9 - row),
             Window(col, row, 11 - col, 9 - row)]  # fmt: skip

    counts = []
    for core in cores:
        read = core.expanded(distance + 1, (9, 11))
        cut = read.within(whole)
        counts.append(count_boundaries(classes[cut], labels[cut], core.within(read), distance))

    np.testing.assert_array_equal(np.sum(counts, axis=0), count_boundaries(classes, labels, EVERYTHING, distance))


@given(
    classes=arrays(np.uint8, (48, 67), elements=st.integers(0, 2)),
    tile_size=st.integers(20, 40),
    lines=st.lists(st.integers(1, 47), max_size=3),
)
def test_seam_ratio_equals_that_of_a_loop_over_the_pixels_for_any_windows(classes, tile_size, lines):
    expected = literal.seam_ratio(classes, tile_size)

    assert seams(classes, tile_size, lines) == (None if expected is None else pytest.approx(expected))


def test_seam_ratio_of_classes_that_change_on_the_tile_line_is_high():
    classes = np.random.default_rng(0).integers(1, 3, (8, 8)).repeat(8, 0).repeat(8, 1)
    classes[:, 32:] += 2

    assert seams(classes, 32) > 3


def test_raster_smaller_than_a_tile_has_no_seam_ratio():
    assert seams(np.ones((40, 40), np.uint8), 32) is None


def test_border_with_nodata_is_not_a_seam():
    classes = np.ones((70, 70), np.uint8)
    classes[:, 32:] = 0

    assert seams(classes, 32) == 0
    assert boundaries(classes).any()
