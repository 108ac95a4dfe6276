"""Styles: colours that can be told apart, and what QGIS is told about them."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.color import rgb2lab

from geoseg.output.style import (
    MAX_CATEGORIES,
    Legend,
    border_scale,
    distinct,
    polygon_qml,
    raster_qml,
    region_qml,
    smallest_distance,
)

LEGEND = Legend.of_classes(np.array([[34, 85, 40], [200, 180, 90]], np.uint8), np.array([876, 124]))


def _gap(colors):
    lab = rgb2lab(colors)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return distances[~np.eye(len(colors), dtype=bool)].min()


@settings(max_examples=25, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(2, 40), st.just(3))))
def test_any_two_colours_end_ten_units_apart_and_twice_gives_the_same(colors):
    once = distinct(colors)

    assert _gap(once) >= 10
    np.testing.assert_array_equal(distinct(once), once)


def test_256_times_the_same_grey_become_256_colours():
    assert _gap(distinct(np.full((256, 3), 90, np.uint8))) >= 10


def test_colours_that_are_apart_already_stay():
    colors = np.array([[200, 0, 0], [0, 0, 200], [10, 120, 10], [240, 240, 240]], np.uint8)

    np.testing.assert_array_equal(distinct(colors), colors)


def test_greens_that_are_moved_apart_stay_green():
    colors = np.array([[60, 110, 50], [62, 110, 50], [60, 112, 50], [60, 110, 53]], np.uint8)

    moved = distinct(colors)

    lab = rgb2lab(moved)
    hue = np.degrees(np.arctan2(lab[:, 2], lab[:, 1]))
    assert moved[0].tolist() == [60, 110, 50]
    assert np.abs(hue - hue[0]).max() < 25


def test_more_colours_than_fit_are_still_given():
    assert distinct(np.full((2000, 3), 128, np.uint8)).shape == (2000, 3)


def test_no_colours_give_no_colours():
    assert distinct(np.empty((0, 3), np.uint8)).shape == (0, 3)


def test_legend_names_each_class_with_its_share():
    assert LEGEND.names == ("class 1 (87.6 %)", "class 2 (12.4 %)")
    assert LEGEND.hexes == ["#225528", "#c8b45a"]


def test_polygon_style_has_one_category_per_class_in_its_colour():
    root = ET.fromstring(polygon_qml(LEGEND, {"class": "Class"}))

    renderer = root.find("renderer-v2")
    categories = [(c.get("value"), c.get("label"), c.get("symbol")) for c in renderer.iter("category")]
    fills = {s.get("name"): s.find(".//Option[@name='color']").get("value") for s in renderer.iter("symbol")}
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class")
    assert categories == [("1", "class 1 (87.6 %)", "0"), ("2", "class 2 (12.4 %)", "1")]
    assert fills == {"0": "34,85,40,255", "1": "200,180,90,255"}


@pytest.mark.parametrize(("n", "kind"), [(MAX_CATEGORIES, "categorizedSymbol"), (MAX_CATEGORIES + 1, "singleSymbol")])
def test_too_many_classes_are_drawn_in_their_own_colour_without_a_legend(n, kind):
    legend = Legend(np.zeros((n, 3), np.uint8), tuple(str(i) for i in range(n)))

    qml = polygon_qml(legend, {})

    assert ET.fromstring(qml).find("renderer-v2").get("type") == kind
    assert ('value="&quot;color&quot;"' in qml) == (kind == "singleSymbol")


def test_names_with_signs_of_xml_come_through():
    legend = Legend(np.zeros((1, 3), np.uint8), ('<wet> & "dark"',))

    assert ET.fromstring(polygon_qml(legend, {})).find(".//category").get("label") == '<wet> & "dark"'
    assert ET.fromstring(raster_qml(legend)).find(".//paletteEntry").get("label") == '<wet> & "dark"'


def test_raster_style_gives_each_class_its_colour():
    entries = ET.fromstring(raster_qml(LEGEND)).iter("paletteEntry")

    assert [(e.get("value"), e.get("color")) for e in entries] == [("1", "#225528"), ("2", "#c8b45a")]


@given(arrays(np.uint8, st.tuples(st.integers(2, 12), st.just(3))))
def test_smallest_distance_is_that_of_the_two_most_alike_colours(colors):
    assert smallest_distance(colors) == pytest.approx(_gap(colors))


@pytest.mark.parametrize("n", [0, 1])
def test_one_colour_or_none_has_no_distance(n):
    assert smallest_distance(np.zeros((n, 3), np.uint8)) is None


def _defined(qml):
    """The expressions of each symbol, by property."""
    return [
        {one.get("name"): one.find("Option[@name='expression']").get("value") for one in properties}
        for properties in ET.fromstring(qml).iterfind(".//Option[@name='properties']")
    ]


def test_borders_have_the_colour_of_the_fill_beyond_their_scale():
    defined = _defined(polygon_qml(LEGEND, {}, borders=7142.9))

    assert defined == [
        {"outlineColor": "if(@map_scale > 7143, '34,85,40,255', '27,68,32,255')"},
        {"outlineColor": "if(@map_scale > 7143, '200,180,90,255', '160,144,72,255')"},
    ]
    assert _defined(polygon_qml(LEGEND, {})) == []


def test_borders_end_where_a_pixel_of_the_screen_spans_four_of_the_scene():
    assert border_scale(0.5) == pytest.approx(0.5 * 4 / 0.00028)
    assert border_scale(0) == 0  # unknown: always


def test_style_of_the_regions_takes_each_colour_from_the_number_of_the_region():
    (defined,) = _defined(region_qml({"region": "Region"}, borders=100))

    assert '"region"' in defined["fillColor"]
    assert (
        defined["outlineColor"] == f"if(@map_scale > 100, {defined['fillColor']}, darker({defined['fillColor']}, 125))"
    )
