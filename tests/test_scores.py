from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from geoseg.errors import RasterError
from geoseg.evaluate.scores import agreement, count_pairs

from .reference import evaluate as literal

SHAPE = (6, 7)
maps = arrays(np.uint8, SHAPE, elements=st.integers(0, 4))


def comparable(classes, labels):
    return ((classes > 0) & (labels > 0)).any()


def score(classes, labels, names=None):
    return agreement(count_pairs(classes, labels), names or {})


@given(classes=maps, labels=maps)
def test_scores_equal_those_of_a_loop_over_the_pixels(classes, labels):
    classes[0, 0] = labels[0, 0] = 1

    found = score(classes, labels)

    assert (found.oa, found.miou) == pytest.approx(literal.many_to_one(classes, labels))
    assert found.oa_one_to_one == pytest.approx(literal.one_to_one(classes, labels))
    assert found.unclassified == pytest.approx((classes[labels > 0] == 0).mean())
    assert (found.n_classes, found.n_reference) == (len(np.unique(classes[classes > 0])), len(set(labels[labels > 0])))


@given(classes=maps, labels=maps)
def test_nmi_and_ari_equal_those_of_scikit_learn(classes, labels):
    classes[0, 0] = labels[0, 0] = 1
    both = (classes > 0) & (labels > 0)

    found = score(classes, labels)

    assert found.ari == pytest.approx(adjusted_rand_score(labels[both], classes[both]), abs=1e-9)
    # With a single label and a single class, NMI is 0 here and 1 in scikit-learn.
    if len(np.unique(labels[both])) > 1 or len(np.unique(classes[both])) > 1:
        assert found.nmi == pytest.approx(normalized_mutual_info_score(labels[both], classes[both]), abs=1e-9)


@given(classes=maps, labels=maps)
def test_one_to_one_accuracy_is_at_most_the_many_to_one_accuracy(classes, labels):
    classes[0, 0] = labels[0, 0] = 1

    found = score(classes, labels)

    assert found.oa_one_to_one <= found.oa


@given(classes=maps, labels=maps, order=st.permutations([1, 2, 3, 4]))
def test_scores_do_not_depend_on_the_class_numbers(classes, labels, order):
    classes[0, 0] = labels[0, 0] = 1
    renamed = np.array([0, *(7 * number for number in order)])[classes]

    before, after = score(classes, labels), score(renamed, labels)

    for figure in ("oa", "miou", "oa_one_to_one", "nmi", "ari", "unclassified", "n_classes", "compared"):
        assert getattr(after, figure) == pytest.approx(getattr(before, figure))


@given(labels=maps)
def test_identical_rasters_agree_completely(labels):
    labels[0, :2] = 1, 2

    found = score(labels, labels)

    figures = (found.oa, found.miou, found.oa_one_to_one, found.miou_one_to_one, found.nmi, found.ari)
    assert figures == pytest.approx((1,) * 6)
    assert found.unclassified == 0
    assert all(row.purity == 1 and row.label == row.number for row in found.per_class)


@given(classes=maps, labels=maps, row=st.integers(0, 6), factor=st.sampled_from([1, 10**4, 10**6]))
def test_tables_of_two_halves_add_up_to_that_of_the_whole(classes, labels, row, factor):
    classes, labels = classes.astype(np.int64) * factor, labels.astype(np.int64) * factor

    added = count_pairs(classes[:row], labels[:row]).plus(count_pairs(classes[row:], labels[row:]))

    whole = count_pairs(classes, labels)
    np.testing.assert_array_equal(added.pairs, whole.pairs)
    np.testing.assert_array_equal(added.pixels, whole.pixels)


def test_label_scores_list_the_classes_assigned_to_each_label():
    classes = np.array([[1, 1, 1, 5, 5, 9, 0, 3]])
    labels = np.array([[1, 1, 2, 1, 1, 2, 4, 0]])

    found = score(classes, labels, {1: "field", 2: "wood", 4: "water"})

    field, wood, water = found.per_label
    assert (field.label, field.pixels, field.classes) == ("field", 4, (1, 5))
    assert (field.iou, field.precision, field.recall) == pytest.approx((4 / 5, 4 / 5, 1))
    assert (wood.classes, wood.recall, wood.one_to_one) == ((9,), 0.5, 9)
    assert (water.pixels, water.unclassified, water.iou, water.classes) == (1, 1, None, ())
    assert [(row.number, row.pixels, row.label) for row in found.per_class] == [
        (1, 3, "field"), (3, 1, None), (5, 2, "field"), (9, 1, "wood"),
    ]  # fmt: skip
    assert found.per_class[0].purity == pytest.approx(2 / 3)
    assert found.miou == pytest.approx((4 / 5 + 1 / 2) / 2)  # no pixel of the water is classified


def test_label_without_a_class_counts_with_an_iou_of_0():
    found = score(np.array([[1, 1, 1]]), np.array([[1, 1, 2]]))

    assert [row.iou for row in found.per_label] == pytest.approx([2 / 3, 0])
    assert found.per_label[1].precision is None
    assert found.miou == pytest.approx(1 / 3)


def test_counts_of_many_gigapixels_do_not_overflow():
    counts = count_pairs(np.array([[1, 2, 2]]), np.array([[1, 2, 1]]))
    large = type(counts)(counts.pairs, counts.pixels * 10**11)

    found = agreement(large, {})

    together, sides, everything = 3 * comb(10**11, 2), comb(2 * 10**11, 2) + comb(10**11, 2), comb(3 * 10**11, 2)
    expected = Fraction(sides**2, everything)
    assert found.oa == pytest.approx(2 / 3)
    assert found.ari == pytest.approx(float((together - expected) / (sides - expected)))


def test_region_numbers_are_refused_as_classes():
    numbers = np.arange(4000)[None]

    with pytest.raises(RasterError, match="4001 classes and 4001 labels, so these are numbers of regions or polygons"):
        count_pairs(numbers, numbers).plus(count_pairs(numbers + 1, numbers + 1))
