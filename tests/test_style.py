"""Colours have a minimum distance; QGIS styles contain the colours and names of the legend."""

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
    min_color_distance,
    polygon_qml,
    raster_qml,
    region_qml,
    separate_colors,
)

LEGEND = Legend.of_classes(np.array([[34, 85, 40], [200, 180, 90]], np.uint8), np.array([876, 124]))


def _gap(colors):
    lab = rgb2lab(colors)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return distances[~np.eye(len(colors), dtype=bool)].min()


@settings(max_examples=25, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(2, 40), st.just(3))))
def test_separated_colours_are_ten_units_apart_and_stay_when_separated_again(colors):
    once = separate_colors(colors)

    assert _gap(once) >= 10
    np.testing.assert_array_equal(separate_colors(once), once)


def test_256_equal_greys_become_256_colours():
    assert _gap(separate_colors(np.full((256, 3), 90, np.uint8))) >= 10


def test_different_colours_are_not_changed():
    colors = np.array([[200, 0, 0], [0, 0, 200], [10, 120, 10], [240, 240, 240]], np.uint8)

    np.testing.assert_array_equal(separate_colors(colors), colors)


def test_separated_greens_stay_green():
    colors = np.array([[60, 110, 50], [62, 110, 50], [60, 112, 50], [60, 110, 53]], np.uint8)

    separated = separate_colors(colors)

    lab = rgb2lab(separated)
    hue = np.degrees(np.arctan2(lab[:, 2], lab[:, 1]))
    assert separated[0].tolist() == [60, 110, 50]
    assert np.abs(hue - hue[0]).max() < 25


def test_separated_brown_does_not_become_its_complementary_colour():
    colors = np.array([[128, 116, 108]] * 4, np.uint8)  # of low chroma, near grey

    separated = separate_colors(colors)

    assert (separated[:, 0] >= separated[:, 2]).all()  # not bluish


def test_more_colours_than_can_be_separated_are_returned():
    assert separate_colors(np.full((2000, 3), 128, np.uint8)).shape == (2000, 3)


def test_empty_array_of_colours_stays_empty():
    assert separate_colors(np.empty((0, 3), np.uint8)).shape == (0, 3)


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
def test_style_of_too_many_classes_has_no_categories(n, kind):
    legend = Legend(np.zeros((n, 3), np.uint8), tuple(str(i) for i in range(n)))

    qml = polygon_qml(legend, {})

    assert ET.fromstring(qml).find("renderer-v2").get("type") == kind
    assert ('value="&quot;color&quot;"' in qml) == (kind == "singleSymbol")


def test_names_with_xml_characters_are_escaped():
    legend = Legend(np.zeros((1, 3), np.uint8), ('<wet> & "dark"',))

    assert ET.fromstring(polygon_qml(legend, {})).find(".//category").get("label") == '<wet> & "dark"'
    assert ET.fromstring(raster_qml(legend)).find(".//paletteEntry").get("label") == '<wet> & "dark"'


def test_raster_style_has_the_colour_of_each_class():
    entries = ET.fromstring(raster_qml(LEGEND)).iter("paletteEntry")

    assert [(e.get("value"), e.get("color")) for e in entries] == [("1", "#225528"), ("2", "#c8b45a")]


@given(arrays(np.uint8, st.tuples(st.integers(2, 12), st.just(3))))
def test_min_color_distance_is_the_distance_of_the_two_most_similar_colours(colors):
    assert min_color_distance(colors) == pytest.approx(_gap(colors))


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_colours_have_no_distance(n):
    assert min_color_distance(np.zeros((n, 3), np.uint8)) is None


def _defined(qml):
    """Return the expressions of each symbol, by property."""
    return [
        {one.get("name"): one.find("Option[@name='expression']").get("value") for one in properties}
        for properties in ET.fromstring(qml).iterfind(".//Option[@name='properties']")
    ]


def test_borders_have_the_fill_colour_at_smaller_scales():
    defined = _defined(polygon_qml(LEGEND, {}, borders=7142.9))

    assert defined == [
        {"outlineColor": "if(@map_scale > 7143, '34,85,40,255', '27,68,32,255')"},
        {"outlineColor": "if(@map_scale > 7143, '200,180,90,255', '160,144,72,255')"},
    ]
    assert _defined(polygon_qml(LEGEND, {})) == []


def test_border_scale_is_where_a_screen_pixel_covers_four_pixels_of_the_scene():
    assert border_scale(0.5) == pytest.approx(0.5 * 4 / 0.00028)
    assert border_scale(0) == 0  # unknown resolution: at every scale


def test_region_style_computes_the_colour_from_the_region_number():
    (defined,) = _defined(region_qml({"region": "Region"}, borders=100))

    assert '"region"' in defined["fillColor"]
    assert (
        defined["outlineColor"] == f"if(@map_scale > 100, {defined['fillColor']}, darker({defined['fillColor']}, 125))"
    )
