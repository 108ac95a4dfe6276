"""The class document contains the classes and their tree."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2lab

from geoseg.errors import ConfigError, OutputError
from geoseg.output.class_document import Classes, class_document, class_levels, write_classes
from geoseg.output.columns import class_fields
from geoseg.output.style import Legend
from geoseg.segment.class_tree import Borders, ClassTree, grow_tree
from geoseg.vectorize.zonal_stats import ZonalSums

BANDS = (4, 2)
OF_REGIONS = np.array([1, 3, 1, 5, 2])  # class 4 has no region


def a_tree(n, seed=0):
    draw = np.random.default_rng(seed)
    return grow_tree(draw.random((n, 3)), draw.uniform(1, 9, n), Borders.none(n), adjacency_weight=0.0)


def some_classes():
    """Return five classes of five regions; the tree joins 2 and 5, then 1 and 3, then those with 2."""
    tree = ClassTree(5, np.array([[1, 4], [0, 2], [0, 1]]), np.array([0.01, 0.2, 0.3]))
    sums = ZonalSums(
        pixels=np.array([10, 4, 30, 0, 6]),
        area=np.array([90.0, 36.0, 270.0, 0.0, 54.0]),
        perimeter=np.zeros(5),
        mean=np.array([[100, 7], [50, 8], [200, 9], [0, 0], [3, 3]], float),
        scatter=np.zeros((5, 2)),
        low=np.zeros((5, 2), np.float32),
        high=np.zeros((5, 2), np.float32),
        counted=np.zeros((5, 0), np.int64),
        total=np.zeros((5, 0), np.int64),
    )
    colors = np.arange(15, dtype=np.uint8).reshape(5, 3)
    legend = Legend.of_classes(colors, np.array([40, 6, 4, 0, 0]))
    return Classes.of_regions(legend, tree, OF_REGIONS, sums, BANDS)


def leaves(node):
    return [node] if "children" not in node else [leaf for child in node["children"] for leaf in leaves(child)]


def nodes(node):
    return [node, *(inner for child in node.get("children", ()) for inner in nodes(child))]


def test_document_has_name_colour_pixels_area_and_means_of_each_class():
    document = class_document(some_classes(), {"scene": "a.tif"})

    assert document["scene"] == "a.tif"
    assert document["n_classes"] == 5
    first = document["classes"][0]
    assert (first["class"], first["name"], first["color"]) == (1, "class 1 (80.0 %)", "#000102")
    assert (first["pixels"], first["area"]) == (40, 360.0)
    assert (first["mean_4"], first["mean_2"]) == ((10 * 100 + 30 * 200) / 40, (10 * 7 + 30 * 9) / 40)
    assert [one["class"] for one in document["classes"]] == [1, 2, 3, 4, 5]


def test_document_contains_the_smallest_colour_distance():
    classes = some_classes()
    colors = np.array([[0, 0, 0], [255, 255, 255], [255, 255, 250], [255, 0, 0], [0, 0, 255]], np.uint8)

    document = class_document(replace(classes, legend=replace(classes.legend, colors=colors)), {})

    assert document["color_distance"] == pytest.approx(np.linalg.norm(np.diff(rgb2lab(colors[1:3]), axis=0)))


def test_columns_agree_with_the_document_and_have_shares():
    classes = some_classes()

    columns = classes.columns()

    document = class_document(classes, {})["classes"]
    for name in ("class", "name", "color", "regions", "pixels", "area"):
        assert columns[name].tolist() == [one[name] for one in document]
    assert columns["share"].tolist() == [0.8, 0.12, 0.08, 0, 0]
    assert columns["regions"].tolist() == [2, 1, 1, 0, 0]  # the region of class 5 is empty
    assert [field.name for field in class_fields(bands=BANDS, n_classes=5)] == list(columns)


@pytest.mark.parametrize("number", [4, 5])  # without a region, and with an empty region
def test_class_without_pixels_has_no_means(number):
    one = class_document(some_classes(), {})["classes"][number - 1]

    assert (one["pixels"], one["area"], one["mean_4"]) == (0, 0.0, None)


def test_classes_list_their_class_at_each_coarser_level():
    document = class_document(some_classes(), {})

    assert [one["class_4"] for one in document["classes"]] == [1, 2, 3, 4, 2]
    assert [one["class_2"] for one in document["classes"]] == [1, 1, 1, 2, 1]
    assert "class_8" not in document["classes"][0]


def test_merges_go_from_all_classes_to_two_with_sizes_and_costs():
    merges = class_document(some_classes(), {})["merges"]

    assert merges == [
        {"left": 4, "joins": [2, 5], "pixels": [6, 0], "cost": 0.01},
        {"left": 3, "joins": [1, 3], "pixels": [40, 4], "cost": 0.2},
        {"left": 2, "joins": [1, 2], "pixels": [44, 6], "cost": 0.3},
    ]


def test_nested_tree_agrees_with_the_merges():
    tree = class_document(some_classes(), {})["tree"]

    assert [leaf["class"] for leaf in leaves(tree)] == [1, 3, 2, 5, 4]
    assert tree["pixels"] == 50
    concatenate_arcs, alone = tree["children"]
    assert (concatenate_arcs["left"], concatenate_arcs["cost"], concatenate_arcs["pixels"]) == (2, 0.3, 50)
    assert alone["name"] == "class 4 (0.0 %)"


@given(st.integers(1, 40), st.integers(0, 99))
def test_nested_tree_has_every_class_and_every_merge_once(n, seed):
    classes = some_classes()
    colors = np.zeros((n, 3), np.uint8)
    pixels = np.random.default_rng(seed).integers(0, 99, n)
    known = {
        "area": pixels * 1.0,
        "regions": pixels,
        "means": np.zeros((n, 2)),
        "legend": Legend.of_classes(colors, pixels),
    }

    document = class_document(replace(classes, tree=a_tree(n, seed), pixels=pixels, **known), {})

    tree = document["tree"]
    assert sorted(leaf["class"] for leaf in leaves(tree)) == list(range(1, n + 1))
    assert all(node["pixels"] == sum(leaf["pixels"] for leaf in leaves(node)) for node in nodes(tree))
    steps = [node["left"] for node in nodes(tree) if "left" in node]
    assert sorted(steps, reverse=True) == [step["left"] for step in document["merges"]] == list(range(n - 1, 1, -1))


@pytest.mark.parametrize(
    ("n", "expected"), [(1, []), (2, []), (3, [2]), (16, [2, 4, 8]), (17, [2, 4, 8, 16]), (40, [2, 4, 8, 16, 32])]
)
def test_levels_are_the_powers_of_two_below_the_number_of_classes(n, expected):
    levels = class_levels(a_tree(n))

    assert list(levels) == expected
    assert all(coarser.max() == level and len(coarser) == n for level, coarser in levels.items())


# --- the file -------------------------------------------------------------------------------------------------------


def test_file_is_indented_json_in_utf8(tmp_path):
    path = tmp_path / "labels.classes.json"
    document = class_document(some_classes(), {"scene": "Grünland.tif"})

    write_classes(path, document)

    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == document
    assert "Grünland.tif" in text
    assert len(text.splitlines()) > 50
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_existing_file_is_replaced_only_with_overwrite(tmp_path):
    path = tmp_path / "labels.classes.json"
    path.write_text("mine")

    with pytest.raises(OutputError, match="exists"):
        write_classes(path, {})

    assert path.read_text() == "mine"
    write_classes(path, {"format": 1}, overwrite=True)
    assert json.loads(path.read_text()) == {"format": 1}


def test_document_that_is_not_json_leaves_the_existing_file_unchanged(tmp_path):
    path = tmp_path / "labels.classes.json"
    path.write_text("mine")

    with pytest.raises(ValueError, match="JSON"):
        write_classes(path, {"mean_1": float("nan")}, overwrite=True)  # not valid JSON

    assert path.read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_file_with_another_suffix_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in .*it can end in"):
        write_classes(tmp_path / "labels.txt", {})
