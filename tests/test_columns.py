"""Columns of layers: aliases, selection by the user, and batches that fit the types."""

import numpy as np
import pyarrow as pa
import pytest
import shapely
from pyproj import CRS

from geoseg.errors import ConfigError, OutputError
from geoseg.output.columns import (
    GROUPS,
    REQUIRED_COLUMNS,
    Layer,
    check_attributes,
    class_fields,
    label_fields,
    select_fields,
)

INDICES = ["confidence", "ndvi_mean"]
FIELDS = label_fields(bands=[1, 10], levels=[2, 4], n_regions=9, n_classes=5, indices=INDICES)
NAMES = [field.name for field in FIELDS]


def _names(*attributes):
    return [field.name for field in select_fields(FIELDS, attributes)]


def test_every_column_has_a_unique_alias_and_a_description():
    fields = (*FIELDS, *class_fields(bands=[1], n_classes=5))

    assert all(field.alias and len(field.description) > 10 for field in fields)
    assert len({field.alias for field in FIELDS}) == len(FIELDS)


def test_all_selects_every_column_in_the_order_of_the_layer():
    assert _names("all") == NAMES
    assert NAMES[:3] == list(REQUIRED_COLUMNS)


def test_region_class_and_color_are_always_selected():
    assert _names() == list(REQUIRED_COLUMNS)
    assert _names("area") == [*REQUIRED_COLUMNS, "area"]


def test_groups_patterns_and_names_can_be_mixed_and_keep_the_order_of_the_layer():
    assert _names("levels", "*_10", "basic") == [
        *REQUIRED_COLUMNS, "pixels", "area", "perimeter", "mean_10", "std_10", "min_10", "max_10", "class_2", "class_4",
    ]  # fmt: skip


def test_group_mean_selects_the_means_of_bands_and_not_the_mean_ndvi():
    assert _names("mean") == [*REQUIRED_COLUMNS, "mean_1", "mean_10"]


@pytest.mark.parametrize("word", [*GROUPS, *NAMES, "class_128", "m*_1", "region"])
def test_existing_names_patterns_and_groups_are_accepted(word):
    check_attributes([word], bands=[1, 10], ndvi=True)


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
        check_attributes(["basic", word], bands=[1, 10], ndvi=True)


def test_ndvi_needs_its_bands_if_it_is_given_by_name_but_not_as_part_of_all():
    check_attributes(["all"], bands=[1], ndvi=False)

    with pytest.raises(ConfigError, match="give --red and --nir"):
        check_attributes(["ndvi_mean"], bands=[1], ndvi=False)


def test_nan_is_stored_as_no_value():
    layer = Layer("labels", "", "", CRS(32631).to_wkt(), select_fields(FIELDS, ["ndvi_mean"])[3:])

    batch = layer.batch({"ndvi_mean": np.array([0.5, np.nan])}, shapely.box([0, 1], 0, [1, 2], 1))

    assert batch["ndvi_mean"].to_pylist() == [0.5, None]


def test_region_and_class_get_the_smallest_sufficient_type():
    small = label_fields(bands=[1], levels=[], n_regions=2**31 - 1, n_classes=2**15 - 1)
    large = label_fields(bands=[1], levels=[], n_regions=2**31, n_classes=2**15)

    assert [field.type for field in small[:2]] == [pa.int32(), pa.int16()]
    assert [field.type for field in large[:2]] == [pa.int64(), pa.int32()]


def test_number_too_large_for_its_column_is_refused():
    layer = Layer("labels", "", "", CRS(32631).to_wkt(), FIELDS[1:2])

    with pytest.raises(OutputError, match="labels cannot store"):
        layer.batch({"class": np.array([40_000])}, np.array([shapely.box(0, 0, 1, 1)]))


def test_layer_refuses_geometries_other_than_polygons():
    layer = Layer("labels", "", "", CRS(32631).to_wkt(), ())

    with pytest.raises(OutputError, match="only polygons"):
        layer.batch({}, np.array([shapely.Point(0, 0)]))
