"""What layers hold: columns for people, only those that are wanted, and batches that fit them."""

import numpy as np
import pyarrow as pa
import pytest
import shapely
from pyproj import CRS

from geoseg.errors import ConfigError, OutputError
from geoseg.output.columns import ALWAYS, GROUPS, Layer, check_wanted, chosen, class_fields, label_fields

INDICES = ["confidence", "ndvi_mean"]
FIELDS = label_fields(bands=[1, 10], levels=[2, 4], n_regions=9, n_classes=5, indices=INDICES)
NAMES = [field.name for field in FIELDS]


def _names(*wanted):
    return [field.name for field in chosen(FIELDS, wanted)]


def test_every_column_has_a_name_for_people_and_says_what_it_means():
    fields = (*FIELDS, *class_fields(bands=[1], n_classes=5))

    assert all(field.alias and len(field.description) > 10 for field in fields)
    assert len({field.alias for field in FIELDS}) == len(FIELDS)


def test_all_means_every_column_in_the_order_of_the_layer():
    assert _names("all") == NAMES
    assert NAMES[:3] == list(ALWAYS)


def test_region_class_and_colour_are_there_whatever_is_wanted():
    assert _names() == list(ALWAYS)
    assert _names("area") == [*ALWAYS, "area"]


def test_groups_patterns_and_names_can_be_mixed_and_the_order_stays_that_of_the_layer():
    assert _names("levels", "*_10", "basic") == [
        *ALWAYS, "pixels", "area", "perimeter", "mean_10", "std_10", "min_10", "max_10", "class_2", "class_4",
    ]  # fmt: skip


def test_mean_is_the_bands_and_not_the_index_whose_name_ends_so():
    assert _names("mean") == [*ALWAYS, "mean_1", "mean_10"]


@pytest.mark.parametrize("word", [*GROUPS, *NAMES, "class_128", "m*_1", "region"])
def test_what_a_scene_can_have_is_accepted(word):
    check_wanted([word], bands=[1, 10], ndvi=True)


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("perimetre", "perimeter"),
        ("mean_3", "mean_1"),
        ("ndvi", "ndvi_mean"),
        ("Area", "area"),
        ("class_33", "class_32"),
    ],
)
def test_unknown_attribute_is_refused_with_the_nearest_one(word, nearest):
    with pytest.raises(ConfigError, match=f"no attribute '{word}'; the nearest one is {nearest}"):
        check_wanted(["basic", word], bands=[1, 10], ndvi=True)


def test_ndvi_that_is_wanted_by_name_needs_its_bands_but_all_does_not():
    check_wanted(["all"], bands=[1], ndvi=False)

    with pytest.raises(ConfigError, match="give --red and --nir"):
        check_wanted(["ndvi_mean"], bands=[1], ndvi=False)


def test_number_that_is_not_known_has_no_value():
    layer = Layer("labels", "", "", CRS(32631).to_wkt(), chosen(FIELDS, ["ndvi_mean"])[3:])

    batch = layer.batch({"ndvi_mean": np.array([0.5, np.nan])}, shapely.box([0, 1], 0, [1, 2], 1))

    assert batch["ndvi_mean"].to_pylist() == [0.5, None]


def test_numbers_get_the_smallest_type_that_holds_them():
    small = label_fields(bands=[1], levels=[], n_regions=2**31 - 1, n_classes=2**15 - 1)
    large = label_fields(bands=[1], levels=[], n_regions=2**31, n_classes=2**15)

    assert [field.type for field in small[:2]] == [pa.int32(), pa.int16()]
    assert [field.type for field in large[:2]] == [pa.int64(), pa.int32()]


def test_number_too_large_for_its_column_is_refused_instead_of_wrapping():
    layer = Layer("labels", "", "", CRS(32631).to_wkt(), FIELDS[1:2])

    with pytest.raises(OutputError, match="labels cannot hold"):
        layer.batch({"class": np.array([40_000])}, np.array([shapely.box(0, 0, 1, 1)]))


def test_layer_refuses_what_is_no_polygon():
    layer = Layer("labels", "", "", CRS(32631).to_wkt(), ())

    with pytest.raises(OutputError, match="polygons only"):
        layer.batch({}, np.array([shapely.Point(0, 0)]))
