import json
import subprocess
import sys

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Geod
from shapely import MultiPolygon, Point, Polygon, box

from geoseg.errors import ConfigError, RasterError
from geoseg.evaluate import evaluate as module
from geoseg.evaluate import reference
from geoseg.evaluate.evaluate import evaluate_classes

from .conftest import TRANSFORM, run_command
from .reference import evaluate as literal
from .test_scene import damage, on_map

SHAPE = (60, 80)


def patches(seed=0, shape=SHAPE, n=4, size=10, dtype=np.uint8):
    """Return (y, x) numbers from 0 to n - 1 in squares with an offset that depends on the seed."""
    draw = np.random.default_rng(seed)
    squares = draw.integers(0, n, (-(-shape[0] // size) + 1, -(-shape[1] // size) + 1))
    shifted = np.kron(squares, np.ones((size, size), int))[seed % size :, (3 * seed) % size :]
    return shifted[: shape[0], : shape[1]].astype(dtype)


@pytest.fixture
def pair(make_raster):
    """Return a class raster, its reference, and the pixels of both; both contain 0."""
    classes, labels = patches(1, n=6), patches(2)
    return make_raster(classes[None], "classes.tif"), make_raster(labels[None], "reference.tif"), classes, labels


@pytest.fixture
def polygons_file(tmp_path):
    """Return a function that writes polygons in pixels of the class raster: (shapes, "name.gpkg", crs=…, **columns)."""

    def write(shapes, name="reference.gpkg", crs="EPSG:32631", layer=None, **columns):
        frame = geopandas.GeoDataFrame(columns, geometry=[on_map(shape) for shape in shapes], crs="EPSG:32631")
        frame = frame.to_crs(crs)
        path = tmp_path / name
        if path.suffix == ".parquet":
            frame.to_parquet(path)
        else:
            frame.to_file(path, **({} if layer is None else {"layer": layer}))
        return path

    return write


def squares_of(labels):
    """Return one polygon for each run of equal labels in a row, and the label of each."""
    shapes, values = [], []
    for y, row in enumerate(labels):
        ends = [*(np.flatnonzero(np.diff(row)) + 1), len(row)]
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            if row[begin]:
                shapes.append(box(begin, y, end, y + 1))
                values.append(int(row[begin]))
    return shapes, values


def figures(evaluation):
    """Return all scores, without the file names and notes."""
    found = evaluation.to_dict()
    return {name: value for name, value in found.items() if name not in ("classes", "reference", "notes")}


# --- scores --------------------------------------------------------------------------------------------------


def test_scores_of_files_equal_those_of_a_loop_over_the_pixels(pair):
    classes_file, reference_file, classes, labels = pair

    found = evaluate_classes(classes_file, reference_file, tile_size=25)

    assert (found.agreement.oa, found.agreement.miou) == pytest.approx(literal.many_to_one(classes, labels))
    assert found.boundaries.recall == pytest.approx(literal.boundary_recall(classes, labels, 3))
    assert found.boundaries.precision == pytest.approx(literal.boundary_precision(classes, labels, 3))
    assert found.boundaries.density == pytest.approx(literal.boundary_density(classes))
    assert found.boundaries.seam_ratio == pytest.approx(literal.seam_ratio(classes, 25))
    assert found.agreement.unclassified == pytest.approx((classes[labels > 0] == 0).mean())
    assert (found.boundaries.tolerance, found.boundaries.tolerance_pixels) == (pytest.approx(30), 3)


@pytest.mark.parametrize("window", [(7, 80), (60, 13), (16, 16), pytest.param((1, 1), marks=pytest.mark.slow)])
def test_scores_do_not_depend_on_the_windows(pair, monkeypatch, window):
    whole = evaluate_classes(*pair[:2], tile_size=25)

    monkeypatch.setattr(module, "_WINDOW", window)

    assert evaluate_classes(*pair[:2], tile_size=25) == whole


def test_identical_rasters_agree_completely(pair):
    found = evaluate_classes(pair[1], pair[1]).to_dict()

    for name in ("oa", "miou", "oa_one_to_one", "miou_one_to_one", "nmi", "ari", "boundary_recall"):
        assert found[name] == pytest.approx(1), name
    assert (found["boundary_precision"], found["unclassified"], found["notes"]) == (1, 0, [])


def test_scores_do_not_depend_on_the_class_numbers(pair, make_raster):
    renamed = np.array([0, 900, 30, 7, 2, 650], np.uint16)[pair[2]]

    found, expected = evaluate_classes(make_raster(renamed[None], "renamed.tif"), pair[1]), evaluate_classes(*pair[:2])

    assert found.boundaries == expected.boundaries
    assert found.agreement.per_label[0].pixels == expected.agreement.per_label[0].pixels
    for name in ("oa", "miou", "oa_one_to_one", "nmi", "ari"):
        assert getattr(found.agreement, name) == pytest.approx(getattr(expected.agreement, name))


def test_shifted_boundary_matches_only_within_the_tolerance(make_raster):
    classes, labels = np.ones((2, *SHAPE), np.uint8)
    labels[:, 40:], classes[:, 45:] = 2, 2
    files = make_raster(classes[None], "classes.tif"), make_raster(labels[None], "reference.tif")

    found = {metres: evaluate_classes(*files, tolerance=metres).boundaries for metres in (0, 40, 49.9, 50, 300)}

    assert [found[metres].recall for metres in (0, 40, 49.9, 50, 300)] == [0, 0, 0, 1, 1]
    assert [found[metres].precision for metres in (40, 50)] == [0, 1]
    assert found[49.9].tolerance_pixels == 4


def test_tolerance_of_a_geographic_raster_is_measured_at_its_centre(make_raster):
    place = {"crs": "EPSG:4326", "transform": Affine(0.0001, 0, 7, 0, -0.0001, 60)}
    files = [make_raster(patches(seed)[None], f"{seed}.tif", **place) for seed in (1, 2)]

    default = evaluate_classes(*files).boundaries

    geod, (lon, lat) = Geod(ellps="WGS84"), (7.004, 59.997)
    sides = [geod.inv(lon, lat, lon + dx, lat + dy)[2] for dx, dy in ((0.0001, 0), (0, 0.0001))]
    assert default.tolerance == pytest.approx(3 * np.sqrt(np.prod(sides)), rel=1e-4)
    assert evaluate_classes(*files, tolerance=default.tolerance).boundaries == default


def test_undefined_scores_are_none(make_raster):
    same = make_raster(np.ones((1, *SHAPE), np.uint8))

    found = evaluate_classes(same, same).to_dict()

    assert (found["boundary_recall"], found["boundary_precision"], found["seam_ratio"]) == (None, None, None)
    assert found["boundary_density"] == 0
    assert "single label" in found["notes"][0]


def test_negative_numbers_and_nodata_are_neither_classes_nor_labels(make_raster):
    classes, labels = patches(1).astype(np.int16), patches(2)
    odd_classes, odd_labels = np.where(classes == 0, -5, classes).astype(np.int16), np.where(labels, labels, 255)

    labels_file = make_raster(odd_labels[None].astype(np.uint8), "b.tif", nodata=255)
    found = evaluate_classes(make_raster(odd_classes[None], "a.tif"), labels_file)

    expected = evaluate_classes(make_raster(classes[None], "c.tif"), make_raster(labels[None], "d.tif"))
    assert figures(found) == figures(expected)


def test_evaluation_prints_its_table_and_has_a_short_repr(pair):
    found = evaluate_classes(str(pair[0]), str(pair[1]))

    assert f"{found.agreement.compared} pixels with both" in str(found)
    assert "many-to-one" in str(found)
    assert "\n" not in repr(found)
    assert f"oa={found.agreement.oa:.4f}" in repr(found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": None},
        {"reference": 3},
        {"field": 3},
        {"layer": b"a"},
        {"tolerance": "3"},
        {"tolerance": float("inf")},
        {"tile_size": 512.0},
        {"tile_size": 19},
    ],
    ids=str,
)
def test_argument_of_the_wrong_type_or_range_is_a_config_error(pair, wrong):
    with pytest.raises(ConfigError, match=r"expected|too small"):
        evaluate_classes(**{"classes": pair[0], "reference": pair[1]} | wrong)


# --- reference on another grid ----------------------------------------------------------------------------------


def test_reference_of_half_the_resolution_equals_its_repeated_pixels(make_raster):
    classes, coarse = patches(1), patches(2, (30, 40), size=5)
    coarse_file = make_raster(coarse[None], "coarse.tif", transform=TRANSFORM @ Affine.scale(2))
    fine_file = make_raster(coarse.repeat(2, 0).repeat(2, 1)[None], "fine.tif")

    found = evaluate_classes(make_raster(classes[None], "classes.tif"), coarse_file)

    assert figures(found) == figures(evaluate_classes(make_raster(classes[None], "classes.tif"), fine_file))
    assert "another grid" in found.notes[0]


@pytest.mark.parametrize("nodata", [None, 9])
def test_reference_of_a_part_of_the_scene_is_compared_only_there(make_raster, nodata):
    classes, labels = patches(1), patches(2)
    part = make_raster(labels[None, 10:40, 20:70], "part.tif", transform=TRANSFORM @ Affine.translation(20, 10),
                       nodata=nodata)  # fmt: skip
    only_there = np.zeros_like(labels)
    only_there[10:40, 20:70] = labels[10:40, 20:70]

    found = evaluate_classes(make_raster(classes[None], "classes.tif"), part)

    assert figures(found) == figures(
        evaluate_classes(part.parent / "classes.tif", make_raster(only_there[None], "whole.tif"))
    )


def test_reference_in_another_crs_is_warped_to_the_classes(make_raster):
    labels = patches(2, size=20)
    classes_file = make_raster(labels[None], "classes.tif")
    with rasterio.open(classes_file) as src, rasterio.vrt.WarpedVRT(src, crs="EPSG:4326") as warped:
        turned = make_raster(warped.read(), "turned.tif", crs="EPSG:4326", transform=warped.transform)

    found = evaluate_classes(classes_file, turned)

    assert found.agreement.oa > 0.95
    assert found.boundaries.recall == 1
    assert found.agreement.per_label[0].label == 1


def test_masked_pixels_of_a_reference_on_another_grid_have_no_label(make_raster):
    labels = np.full((30, 40), 2, np.uint8)
    labels[:15] = 1
    shown = np.full((30, 40), 255, np.uint8)
    shown[:, 30:] = 0
    coarse = make_raster(labels[None], "coarse.tif", transform=TRANSFORM @ Affine.scale(2), mask=shown)

    found = evaluate_classes(make_raster(patches(1, n=6)[None] + 1, "classes.tif"), coarse)

    assert found.agreement.compared == 60 * 60


def test_rasters_without_a_crs_are_compared_pixel_by_pixel_with_a_note(pair, make_raster):
    bare = [make_raster(pixels[None], f"bare{i}.tif", crs=None) for i, pixels in enumerate(pair[2:])]

    found = evaluate_classes(*bare)

    assert found.agreement == evaluate_classes(*pair[:2]).agreement
    assert found.boundaries.tolerance is None
    assert "pixel by pixel" in found.notes[0]
    with pytest.raises(ConfigError, match="no CRS, so a tolerance in metres has no meaning"):
        evaluate_classes(*bare, tolerance=3)


def test_error_names_the_raster_without_a_crs(pair, make_raster):
    small = make_raster(pair[3][None, :9], "small.tif", crs=None)

    assert "-a_srs EPSG:<code> " + str(small) in refused(1, pair[0], "--reference", small)
    line = refused(1, small, "--reference", pair[0])
    assert "the class raster has no CRS" in line
    assert line.endswith("-a_srs EPSG:<code> CLASSES")


# --- polygons -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["reference.gpkg", "reference.geojson", "reference.fgb", "reference.shp", "reference.parquet"]
)
def test_polygons_have_the_scores_of_the_raster_they_were_made_from(pair, polygons_file, name):
    shapes, values = squares_of(pair[3])
    crs = "EPSG:32631"

    found = evaluate_classes(pair[0], polygons_file(shapes, name, crs, cover=values), field="cover")

    assert figures(found) == figures(evaluate_classes(*pair[:2]))


def test_text_values_are_labels_in_alphabetical_order(pair, polygons_file):
    shapes, values = squares_of(pair[3])
    words = [{1: "wood", 2: "meadow", 3: "Árbol"}[value] for value in values]

    found = evaluate_classes(pair[0], polygons_file(shapes, cover=words), field="cover").agreement

    expected = evaluate_classes(*pair[:2]).agreement
    assert [row.label for row in found.per_label] == ["meadow", "wood", "Árbol"]
    assert {row.label: row.pixels for row in found.per_label} == {
        word: row.pixels for word, row in zip(["wood", "meadow", "Árbol"], expected.per_label, strict=True)
    }
    assert (found.miou, found.ari) == pytest.approx((expected.miou, expected.ari))
    assert {row.label for row in found.per_class} <= {"meadow", "wood", "Árbol"}


def test_0_in_a_field_is_a_label_and_a_missing_value_is_not(pair, polygons_file):
    whole, left, right = box(0, 0, 80, 60), box(0, 0, 40, 60), box(40, 0, 60, 60)

    found = evaluate_classes(pair[0], polygons_file([left, right, whole.difference(left).difference(right)],
                                            kind=[0, 3, None]), field="kind").agreement  # fmt: skip

    assert [(row.label, row.pixels) for row in found.per_label] == [(0, 40 * 60), (3, 20 * 60)]


def test_without_a_field_inside_and_outside_are_the_labels(pair, polygons_file):
    found = evaluate_classes(
        pair[0], polygons_file([box(10, 10, 30, 20), MultiPolygon([box(50, 5, 60, 9), box(0, 0, 2, 2)])])
    )

    assert [(row.label, row.pixels) for row in found.agreement.per_label] == [("inside", 244), ("outside", 4556)]
    assert "no field was given" in found.notes[0]


def test_polygons_in_another_crs_are_reprojected(pair, polygons_file):
    shapes = [box(10.3, 10.2, 30.4, 20.3), Polygon([(42.2, 3.1), (73.7, 9.4), (51.3, 26.8)])]

    found = evaluate_classes(pair[0], polygons_file(shapes, "wgs84.gpkg", "EPSG:4326", kind=["a", "b"]), field="kind")

    expected = evaluate_classes(pair[0], polygons_file(shapes, "utm.gpkg", kind=["a", "b"]), field="kind")
    assert figures(found) == figures(expected)


def test_polygon_of_the_whole_world_covers_the_scene(pair, tmp_path):
    path = tmp_path / "world.gpkg"
    geopandas.GeoDataFrame({"kind": ["land"]}, geometry=[box(-180, -90, 180, 90)], crs="EPSG:4326").to_file(path)

    found = evaluate_classes(pair[0], path, field="kind")

    assert found.agreement.per_label[0].pixels == 60 * 80


@pytest.mark.parametrize("name", ["reference.gpkg", "reference.parquet"])
def test_last_polygon_is_on_top_in_every_window_and_batch(pair, polygons_file, monkeypatch, name):
    corners = np.random.default_rng(3).integers(0, 50, (60, 2))
    shapes = [box(x, y, x + 25, y + 9) for x, y in corners.tolist()]
    path = polygons_file(shapes, name, kind=[f"kind {i % 3}" for i in range(60)])
    top = np.zeros(SHAPE, int)
    for i, (x, y) in enumerate(corners):
        top[y : y + 9, x : x + 25] = i % 3 + 1

    monkeypatch.setattr(module, "_WINDOW", (16, 16))
    monkeypatch.setattr(reference, "_ROWS_PER_BATCH", 7)
    found = evaluate_classes(pair[0], path, field="kind").agreement

    assert [row.pixels for row in found.per_label] == np.bincount(top.ravel())[1:].tolist()


def test_layer_is_selected_by_name(pair, polygons_file):
    polygons_file([box(0, 0, 9, 9)], layer="first")
    path = polygons_file([box(0, 0, 20, 10)], layer="second", kind=["a"])

    found = evaluate_classes(pair[0], path, field="kind", layer="second").agreement

    assert found.per_label[0].pixels == 200
    with pytest.raises(RasterError, match=r"has the layers first, second\. Choose one with --layer"):
        evaluate_classes(pair[0], path)
    with pytest.raises(RasterError, match="no layer 'third'"):
        evaluate_classes(pair[0], path, layer="third")


# --- errors are one line -------------------------------------------------------------


def refused(code, *arguments):
    """Return the only line on standard error of a command that ends with exit code `code`."""
    ended = run_command("evaluate", *arguments)
    assert ended.code == code, ended.text
    (line,) = ended.lines
    return line


def test_reference_without_overlap_is_refused_with_both_extents(pair, make_raster, polygons_file):
    far = make_raster(pair[3][None], "far.tif", transform=Affine(10, 0, 900_000, 0, -10, 5_000_000))

    line = refused(1, pair[0], "--reference", far)

    assert "far.tif does not overlap the classes: it extends from (900000, 4999400)" in line
    assert "no polygon near the classes" in refused(
        1, pair[0], "--reference", polygons_file([box(900, 900, 910, 910)], "far.gpkg")
    )
    assert "does not overlap the classes" in refused(
        1, pair[0], "--reference", polygons_file([box(900, 900, 910, 910)], "far.parquet")
    )


def test_rasters_without_common_pixels_are_refused(pair, make_raster):
    empty = make_raster(np.zeros((1, *SHAPE), np.uint8), "empty.tif")
    halves = np.zeros((2, *SHAPE), np.uint8)
    halves[0, :30] = halves[1, 30:] = 1
    upper, lower = (make_raster(half[None], f"half{i}.tif") for i, half in enumerate(halves))

    assert "empty.tif has no label on the grid" in refused(1, pair[0], "--reference", empty)
    assert "empty.tif has no class, only 0 or nodata" in refused(1, empty, "--reference", pair[1])
    assert "has labels only where" in refused(1, upper, "--reference", lower)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.ones((1, 9, 9), np.float32), "has dtype float32"),
        (np.ones((3, 9, 9), np.uint8), "has 3 bands"),
        (np.ones((1, 9, 9), np.complex64), "has dtype complex64"),
    ],
)
def test_raster_that_holds_no_classes_is_refused_on_either_side(pair, make_raster, pixels, reason):
    odd = make_raster(pixels, "odd.tif")

    assert reason in refused(1, odd, "--reference", pair[1])
    assert reason in refused(1, pair[0], "--reference", odd)


def test_missing_and_unreadable_files_are_refused(pair, tmp_path):
    for name in ("text.tif", "text.gpkg", "text.geojson", "text.parquet", "text.shp"):
        (tmp_path / name).write_text("neither a raster nor polygons")

    assert "there is no file" in refused(1, tmp_path / "absent.tif", "--reference", pair[1])
    assert "there is no file" in refused(1, pair[0], "--reference", tmp_path / "absent.tif")
    assert "there is no file" in refused(1, pair[0], "--reference", tmp_path / "absent.gpkg")
    assert "cannot be opened as a raster" in refused(1, pair[0], "--reference", tmp_path / "text.tif")
    for suffix in ("gpkg", "geojson", "parquet", "shp"):
        assert "cannot be read" in refused(1, pair[0], "--reference", tmp_path / f"text.{suffix}")


def test_damaged_file_is_named(pair, make_raster):
    path = make_raster(pair[3][None], "damaged.tif", tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    damage(path, 1, 1)

    assert "damaged.tif cannot be read at" in refused(1, pair[0], "--reference", path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--tolerance", -1), "the tolerance is -1.0 m; expected a finite number of metres"),
        (("--tolerance", "nan"), "tolerance is nan m"),
        (("--tolerance", 1e6), "Give at most 2560 m"),
        (("--tile-size", 8), "the tile size is 8 px, which is too small"),
        (("--field", "cover"), "a raster has no field"),
        (("--json", "report.txt"), "it can end in .json"),
        (("--json", "absent/report.json"), "is not a folder"),
    ],
)
def test_invalid_option_is_refused_in_one_line(pair, options, reason):
    assert reason in refused(1, pair[0], "--reference", pair[1], *options)


def test_missing_field_and_geometry_are_named(pair, polygons_file, tmp_path):
    path = polygons_file([box(0, 0, 9, 9)], kind=["a"], age=[3])
    points = tmp_path / "points.gpkg"
    geopandas.GeoDataFrame(geometry=[Point(500_100, 4_999_900)], crs="EPSG:32631").to_file(points)

    assert "no field 'sort'; it has kind, age" in refused(1, pair[0], "--reference", path, "--field", "sort")
    assert "no polygon near the classes" in refused(1, pair[0], "--reference", points)


def test_polygons_without_a_crs_are_refused(pair, tmp_path):
    path = tmp_path / "bare.fgb"
    with pytest.warns(UserWarning, match="crs"):
        geopandas.GeoDataFrame(geometry=[on_map(box(0, 0, 9, 9))]).to_file(path)

    assert "bare.fgb has no CRS" in refused(1, pair[0], "--reference", path)


def test_reference_option_is_required(pair):
    assert run_command("evaluate", pair[0]).code == 2


# --- command --------------------------------------------------------------------------------------------------


def test_command_prints_an_aligned_table(pair, capsys):
    assert run_command("evaluate", *("--reference", pair[1]), pair[0]).code == 0

    lines = capsys.readouterr().out.splitlines()
    found = evaluate_classes(*pair[:2])
    assert lines[0] == f"{pair[0]} against {pair[1]}"
    assert f"5 classes, 3 labels, {found.agreement.compared} pixels with both" in lines[1]
    (accuracy,) = [line.split() for line in lines if line.startswith("accuracy")]
    assert accuracy[1:] == [f"{found.agreement.oa:.4f}", f"{found.agreement.oa_one_to_one:.4f}"]
    (recall,) = [line for line in lines if line.startswith("boundary recall")]
    assert f"{found.boundaries.recall:.4f}" in recall
    assert recall.endswith("within 30 m, 3 px")


def test_json_report_equals_to_dict(pair, tmp_path, capsys):
    report = tmp_path / "report.json"

    assert run_command("evaluate", pair[0], "--reference", pair[1], "--json", report).code == 0

    expected = evaluate_classes(*map(str, pair[:2])).to_dict()
    read = json.loads(report.read_text())
    assert read == json.loads(json.dumps(expected))
    assert {row["class"] for row in read["per_class"]} == {1, 2, 3, 4, 5}
    assert "many-to-one" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.tif", "reference.tif", "report.json"]


def test_json_is_the_only_text_on_standard_output(pair):
    done = subprocess.run(
        [sys.executable, "-m", "geoseg", "evaluate", pair[0], "--reference", pair[1], "--json", "-"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip

    assert json.loads(done.stdout)["n_classes"] == 5
    assert done.stderr == ""


def test_existing_report_is_replaced_only_with_overwrite(pair, tmp_path):
    report = tmp_path / "report.json"
    report.write_text("earlier")

    assert "report.json exists" in refused(1, pair[0], "--reference", pair[1], "--json", report)
    assert report.read_text() == "earlier"
    assert run_command("evaluate", pair[0], "--reference", pair[1], "--json", report, "--overwrite").code == 0
    assert json.loads(report.read_text())["n_reference"] == 3


def test_report_never_replaces_the_reference(pair, polygons_file):
    labels_file = polygons_file([box(0, 0, 9, 9)], "reference.geojson").rename(pair[0].parent / "reference.json")
    before = labels_file.read_bytes()

    line = refused(1, pair[0], "--reference", labels_file, "--json", labels_file, "--overwrite")

    assert "is a file that is read" in line
    assert labels_file.read_bytes() == before


def test_table_of_many_classes_shows_the_largest(make_raster, capsys):
    classes = np.arange(1, 201, dtype=np.uint16).repeat(24).reshape(1, 60, 80)
    classes[0, -1] = 1
    files = make_raster(classes, "classes.tif"), make_raster(patches(2)[None], "reference.tif")

    assert run_command("evaluate", files[0], "--reference", files[1]).code == 0

    shown = capsys.readouterr().out
    assert "smaller ones, which are in the JSON report" in shown
    assert len(shown.splitlines()) < 100
