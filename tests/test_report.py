"""Reports of finished runs: what is read, what the page contains, and that nothing of a file becomes markup."""

import base64
import json
import re
import shutil
import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image

import geoseg
from geoseg.config import Config
from geoseg.errors import OutputError, RasterError, RunError
from geoseg.evaluate.evaluate import evaluate_classes
from geoseg.grid import GeoBox
from geoseg.raster.decimated import decimated_shape, read_decimated
from geoseg.raster.scene import open_scene
from geoseg.report import charts, report
from geoseg.report.class_table import ClassTable
from geoseg.report.content import gather
from geoseg.report.finished_run import Places, find_run
from geoseg.report.page import render
from geoseg.report.polygon_file import open_polygons
from geoseg.report.provenance import command, stage_times
from geoseg.report.rasterize import covered_pixels
from geoseg.report.region_sums import sum_regions
from geoseg.report.report import report_run
from geoseg.run.documents import parse_document, write_document

from .conftest import REPORTED_OPTIONS, fields, run_command, write_raster

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">&amp;\'"${7*7}{{7*7}}$\\frac'
_VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """The elements of a page: tags with their attributes, and the text of each script by its id."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.scripts, self.open = [], [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tag, attrs = self.open[-1] if self.open else ("", {})
        if tag == "script":
            self.scripts[attrs.get("id", "")] = data
        elif tag != "style":
            self.text.append(data)

    def of(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def data(self):
        return json.loads(self.scripts["data"])


def segment(scene, out, **options):
    return geoseg.segment_scene(scene, out, **REPORTED_OPTIONS, **options)


@pytest.fixture
def copied(reported, tmp_path):
    """Return a copy of that folder, to be changed."""
    folder = Path(shutil.copytree(reported, tmp_path / "run"))
    change_facts(folder, scene=str(folder / "scene.tif"))
    return folder


def change_facts(folder, **changes):
    path = folder / "labels.run" / "run.json"
    write_document(path, parse_document("run.json", path.read_bytes()) | changes, advice="")


def change_labels(path, assignment):
    """Change the table of a GeoPackage, whose triggers call functions of SpatiaLite."""
    with closing(sqlite3.connect(path)) as database, database:
        for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
            database.create_function(name, 1, lambda _: 0)
        database.execute(f"UPDATE labels SET {assignment}")


def content_of(folder, **places):
    return gather(find_run(folder / "labels.gpkg", Places(**places)), max_pixels=100_000)


def page_of(path):
    return Page(Path(path).read_text(encoding="utf-8"))


def without_times(path):
    """Return a page without the times; run.json has that of the stage report too."""
    text = re.sub(r"<h3>Stages</h3>.*?</table>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"<dt>Finished</dt><dd>[^<]*</dd>", "", text)


# --- what the page contains -----------------------------------------------------------------------------------------


def test_report_of_a_finished_run_is_that_of_the_run_itself(reported, tmp_path):
    made = report_run(reported / "labels.gpkg", tmp_path / "again.html")

    assert without_times(made) == without_times(reported / "report.html")


def test_page_forbids_every_address_and_refers_to_none(reported):
    page = page_of(reported / "report.html")

    (policy,) = [each["content"] for each in page.of("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    assert all(re.fullmatch(r"'sha256-[\w+/=]{44}'", rules[name]) for name in ("script-src", "style-src"))
    for _, attrs in page.elements:
        assert "style" not in attrs
        assert not [name for name in attrs if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            assert attrs.get(name, "#").startswith(("#", "data:")), attrs


def test_picture_of_the_classes_is_the_class_raster(reported):
    page, table = page_of(reported / "report.html"), content_of(reported).table

    (src,) = [each["src"] for each in page.of("img") if each.get("id") == "class-picture"]
    picture = Image.open(__import__("io").BytesIO(base64.b64decode(src.partition(",")[2])))
    with rasterio.open(reported / "classes.tif") as raster:
        classes = raster.read(1)
    assert np.array_equal(np.asarray(picture), classes)
    palette = np.array(picture.getpalette()).reshape(-1, 3)
    assert [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in palette[1 : len(table) + 1]] == list(table.colors)


def test_rows_of_the_picture_of_the_classes_are_not_filtered_as_the_script_expects(reported):
    page = page_of(reported / "report.html")
    (src,) = [each["src"] for each in page.of("img") if each.get("id") == "class-picture"]
    png, at, data = base64.b64decode(src.partition(",")[2]), 8, b""

    while at < len(png):
        size, kind = int.from_bytes(png[at : at + 4]), png[at + 4 : at + 8]
        data += png[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += 12 + size

    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(150, 171)
    assert not lines[:, 0].any()


def test_regions_under_each_pixel_have_the_columns_of_the_polygons(reported):
    page = page_of(reported / "report.html")
    data = page.data
    regions = np.frombuffer(zlib.decompress(base64.b64decode(page.scripts["regions-data"])), "<u2").reshape(150, 170)
    table = np.frombuffer(zlib.decompress(base64.b64decode(page.scripts["region-table"])), "<f4")
    table = dict(zip(data["columns"], table.reshape(len(data["columns"]), -1), strict=True))

    frame = pyogrio.read_dataframe(reported / "labels.gpkg", layer="labels").set_index("region")
    shown = frame.loc[table["region"].astype(int)]
    assert len(shown) == data["nRegions"] == regions.max()
    for name in ("pixels", "area", "confidence", "mean_1", "mean_4"):
        np.testing.assert_allclose(table[name], shown[name], rtol=1e-5)
    assert list(data["bands"].values()) == ["band 1: red", "band 2: green", "band 3: blue", "band 4: nir"]
    counts = np.bincount(regions.ravel())[1:]
    assert (np.abs(counts - table["pixels"]) <= 0.25 * table["pixels"] + 4).all()  # the borders are simplified


def test_class_table_has_the_statistics_of_the_pixels(reported):
    content = content_of(reported)

    with rasterio.open(reported / "classes.tif") as raster, rasterio.open(reported / "scene.tif") as scene:
        classes, pixels = raster.read(1), scene.read().astype(float)
    for row in range(len(content.table)):
        of_class = pixels[:, classes == row + 1]
        assert content.sums.pixels[row] == of_class.shape[1]
        np.testing.assert_allclose(content.sums.means[row], of_class.mean(axis=1), rtol=1e-6)
        np.testing.assert_allclose(content.sums.deviations[row], of_class.std(axis=1), rtol=1e-4, atol=1e-4)


def test_tree_has_every_level_down_to_two_classes(reported):
    data, document = page_of(reported / "report.html").data, json.loads((reported / "labels.classes.json").read_text())

    assert [[a + 1, b + 1] for a, b in data["merges"]] == [each["joins"] for each in document["merges"]]
    assert len(data["classes"]) - len(data["merges"]) == 2


def test_seams_and_boundaries_are_those_of_geoseg_evaluate(reported):
    borders = content_of(reported).borders

    scores = evaluate_classes(reported / "classes.tif", reported / "classes.tif", tile_size=64).boundaries
    assert borders.seam_ratio == pytest.approx(scores.seam_ratio)
    assert not borders.is_sample
    share_of_all = borders.density * (150 * 170 - 600) / (150 * 170)
    assert share_of_all == pytest.approx(scores.density, abs=0.003)  # there nodata counts as a class


def test_nodata_share_is_that_of_the_grid(reported):
    text = " ".join(" ".join(page_of(reported / "report.html").text).split())

    assert "Nodata 2.4 %" in text  # 600 of 25 500 pixels


def test_charts_have_their_data_in_tables_and_captions(reported):
    text = (reported / "report.html").read_text(encoding="utf-8")

    assert text.count('class="chart"') == 4
    assert text.count("as a table</summary>") == 3
    assert 'id="means-title"' in text


def test_every_control_has_a_name_for_a_screen_reader(reported):
    page = page_of(reported / "report.html")
    text = (reported / "report.html").read_text(encoding="utf-8")
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]

    assert len(ids) == len(set(ids))
    for attrs in page.of("img"):
        assert attrs["alt"]
    for attrs in page.of("input"):
        assert attrs["type"] == "radio" or f'for="{attrs["id"]}"' in text
    for _, attrs in page.elements:
        if attrs.get("role") in ("slider", "application", "region", "group"):
            assert attrs.get("aria-label") or attrs.get("aria-labelledby") in ids, attrs
        for name in ("aria-labelledby", "aria-describedby"):
            assert attrs.get(name, ids[0]) in ids


def test_page_is_the_same_each_time(reported):
    assert render(content_of(reported)) == render(content_of(reported))


# --- without some of the files --------------------------------------------------------------------------------------


def test_map_is_drawn_from_the_polygons_where_the_class_raster_is_gone(copied):
    with rasterio.open(copied / "classes.tif") as raster:
        classes = raster.read(1)
    (copied / "classes.tif").unlink()

    content = content_of(copied)

    assert (content.pictures.classes != classes).mean() < 0.02  # the borders are simplified
    assert content.borders.from_polygons
    assert content.borders.seam_ratio == pytest.approx(content_of(copied.parent / "run").borders.seam_ratio)
    assert any("classes.tif is gone" in note for note in content.notes)


def test_report_without_the_scene_states_it(copied):
    (copied / "scene.tif").rename(copied / "elsewhere.tif")
    page = Page(render(content_of(copied)))

    assert "The scene scene.tif is not found" in "".join(page.text)
    assert not [attrs for attrs in page.of("img") if attrs.get("id") == "scene"]
    assert not page.data["hasScene"]
    assert content_of(copied, scene=str(copied / "elsewhere.tif")).scene is not None


@pytest.mark.parametrize("content", [b"", b"II*\0 nothing", b"text"])
def test_damaged_scene_is_left_out_with_a_note(copied, content):
    (copied / "scene.tif").write_bytes(content)

    assert "so it is not shown" in content_of(copied).notes[0]


def test_scene_of_another_grid_is_left_out_with_a_note(copied):
    write_raster(copied / "scene.tif", fields((80, 90), 4))

    assert "has another grid" in content_of(copied).notes[0]


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"classes": 5}', '{"classes": [{"class": 1}], "merges": []}'])
def test_missing_or_damaged_class_document_leaves_the_numbers_of_the_classes(copied, text):
    path = copied / "labels.classes.json"
    path.unlink()
    if text is not None:
        path.write_text(text)

    content = content_of(copied)

    assert content.table.names[:2] == ("class 1", "class 2")
    assert content.table.colors == content_of(copied).table.colors
    assert not content.table.merges
    assert any("labels.classes.json" in note for note in content.notes)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".fgb", ".parquet"])
def test_other_formats_give_the_same_statistics_and_map(reported, tmp_path, suffix):
    segment(reported / "scene.tif", tmp_path / f"labels{suffix}")
    found = gather(find_run(tmp_path / f"labels{suffix}"), max_pixels=100_000)

    expected = content_of(reported)
    assert found.sums.pixels.tolist() == expected.sums.pixels.tolist()
    assert np.array_equal(found.pictures.regions > 0, expected.pictures.regions > 0)
    assert found.borders.from_polygons
    assert found.borders.density == pytest.approx(expected.borders.density, rel=0.1)


@pytest.mark.slow
def test_few_columns_give_a_report_without_what_they_have(reported, tmp_path):
    segment(reported / "scene.tif", tmp_path / "labels.gpkg", polygons__attributes=["mean_1"])
    text = render(gather(find_run(tmp_path / "labels.gpkg"), max_pixels=100_000))

    assert "so the sizes of the regions are unknown" in text
    assert Page(text).data["columns"] == ["class", "mean_1", "region"]


def test_outlines_of_labels_have_a_report_without_a_tree(make_raster, tmp_path):
    labels = np.kron(np.array([[-3, 7, 900], [7, -3, 7]]), np.ones((20, 20), int)).astype(np.int16)[None]
    geoseg.outline_labels(make_raster(labels, "labels.tif"), tmp_path / "out.gpkg", workers=0)

    text = report_run(tmp_path / "out.gpkg", tmp_path / "out.html").read_text(encoding="utf-8")

    assert "Outlines of" in text
    assert [each["name"] for each in Page(text).data["classes"]] == ["class -3", "class 7", "class 900"]
    assert "geoseg outline" in text
    assert 'id="tree"' not in text


def test_report_of_outlines_has_names_of_categories_and_the_values_as_scene(make_raster, tmp_path):
    pixels = np.kron(np.array([[1, 2], [2, 3]]), np.ones((20, 20), int)).astype(np.uint8)[None]
    labels, values = make_raster(pixels, "labels.tif"), make_raster(pixels * 60, "values.tif")
    names = "".join(f"<Category>{name}</Category>" for name in ("none", "water", "&lt;b&gt;road"))
    band = f'<PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames></PAMRasterBand>'
    (tmp_path / "labels.tif.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
    out, html = tmp_path / "out.gpkg", tmp_path / "beside.html"

    ended = run_command("outline", labels, "--values", values, "--out", out, "--workers", 0, "--report", html)

    assert ended.code == 0, ended.text
    data = page_of(html).data
    assert [each["name"] for each in data["classes"]] == ["water", "<b>road", "class 3"]
    assert data["hasScene"]
    assert "no class raster" not in html.read_text(encoding="utf-8")
    assert without_times(html) == without_times(report_run(out, tmp_path / "later.html"))


def test_more_labels_than_a_report_shows_are_found_before_they_are_outlined(make_raster, tmp_path):
    labels = make_raster(np.arange(256, dtype=np.uint16).reshape(1, 16, 16))
    out, html = tmp_path / "out.gpkg", tmp_path / "out.html"

    with pytest.raises(RasterError, match="has 256 labels; a report shows at most 255"):
        geoseg.outline_labels(labels, out, workers=0, report=html)

    assert not out.exists()
    assert geoseg.outline_labels(labels, out, workers=0, resume=True).n_regions == 256


def test_failed_tiles_are_on_the_map_and_in_a_table(copied):
    run = find_run(copied / "labels.gpkg")
    facts = {**run.facts, "failed": {"1": "cannot be read <b>there</b>", "999": "outside"}}

    page = Page(render(gather(replace(run, facts=facts), max_pixels=100_000)))

    assert page.data["failed"] == [{"tile": 1, "box": [64, 0, 170, 64]}] or page.data["failed"][0]["tile"] == 1
    assert "cannot be read <b>there</b>" in "".join(page.text)
    assert "1 tile failed" in "".join(page.text)


# --- text from files ------------------------------------------------------------------------------------------------


def test_html_in_names_of_files_bands_and_classes_is_text(tmp_path):
    name = "<img src=x onerror=alert(3)>&'$x$"
    folder = tmp_path / "<b onclick=alert(4)>"
    folder.mkdir()
    scene = write_raster(
        folder / f"{name}.tif", fields((90, 100), 3), names=(HOSTILE[:40], "</svg><script>", "b\x07\n")
    )
    segment(scene, folder / "labels.gpkg", class_raster=folder / "classes.tif")
    document = json.loads((folder / "labels.classes.json").read_text())
    document["classes"][0] |= {"name": HOSTILE, "color": "red;}</style><script>alert(5)</script>"}
    (folder / "labels.classes.json").write_text(json.dumps(document))
    change_labels(folder / "labels.gpkg", "color = '\"><script>alert(6)</script>' WHERE class = 2")

    page = Page(render(gather(find_run(folder / "labels.gpkg"), max_pixels=100_000)))

    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 4
    assert not {"b", "style"} & {tag for tag, attrs in page.elements if tag != "style" or attrs}
    assert not [attrs for _, attrs in page.elements if any(key.startswith("on") for key in attrs)]
    assert {attrs.get("id") for attrs in page.of("img")} == {"scene", "class-picture"}
    text = "".join(page.text)
    assert name in text
    assert "<script>alert(1)</script>" in text
    assert page.data["classes"][0]["name"].startswith("<script>alert(1)")
    assert "</script" not in page.scripts["data"]
    assert all(re.fullmatch("#[0-9a-f]{6}", each["color"]) for each in page.data["classes"])


def test_chart_keeps_markup_and_formulas_in_names_as_text():
    table = ClassTable(np.array([1, 2]), (HOSTILE, "$\\frac{"), ("#112233", "#445566"), [(0, 1)], [0.5])

    svg = charts.dendrogram(table)

    assert "<script" not in svg
    assert "&lt;script&gt;" in svg
    assert "$\\frac{" in svg
    assert "style=" not in svg


# --- size and memory ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_pictures_shrink_until_the_report_is_small_enough(reported, tmp_path, monkeypatch):
    largest = (reported / "report.html").stat().st_size - 4_000
    monkeypatch.setattr(report, "MAX_BYTES", largest)
    monkeypatch.setattr(report, "_MAX_PIXELS", 25_500)
    monkeypatch.setattr(report, "_LEAST_PIXELS", 2_000)
    made = report_run(reported / "labels.gpkg", tmp_path / "small.html")

    assert made.stat().st_size <= largest
    rows, cols = page_of(made).data["shape"]
    assert rows * cols < 150 * 170


def test_regions_beyond_the_limit_are_counted_but_not_on_the_map(reported):
    run = find_run(reported / "labels.gpkg")
    with open_polygons(run.polygons) as file:
        values = np.arange(1, 7)
        all_sums, every = sum_regions(file, values, [1, 2], most=10_000)
        sums, largest = sum_regions(file, values, [1, 2], most=5)

    assert every.smallest is None
    assert sums.regions.tolist() == all_sums.regions.tolist()
    assert len(largest.columns["region"]) == 5
    assert largest.smallest == np.sort(every.columns["pixels"])[-5]


@pytest.mark.slow
def test_region_that_was_split_into_several_polygons_counts_once(reported, tmp_path):
    segment(reported / "scene.tif", tmp_path / "labels.gpkg", max_vertices=40)
    found, expected = (content_of(folder).sums for folder in (tmp_path, reported))

    assert found.regions.tolist() == expected.regions.tolist()
    assert found.pixels.tolist() == expected.pixels.tolist()


def test_large_scene_is_measured_in_windows_that_are_spread_over_it(reported, monkeypatch):
    monkeypatch.setattr("geoseg.report.quality._WINDOW", (32, 64))
    monkeypatch.setattr("geoseg.report.quality._MAX_READ", 32 * 64 * 6)

    borders = content_of(reported).borders

    assert borders.is_sample
    assert 0 < borders.n_pixels <= 32 * 64 * 6


def test_decimated_scene_has_the_mean_of_its_pixels_and_no_damaged_part(tmp_path):
    pixels = np.zeros((1, 64, 64), np.uint8)
    pixels[0, :32, :32], pixels[0, :32, 32:], pixels[0, 32:] = 10, 200, 100
    scene = open_scene(write_raster(tmp_path / "a.tif", pixels, nodata=100))

    found, valid = read_decimated(scene, (0, 0, 0), (8, 8))

    assert np.allclose(found[:, :4, :3], 10)
    assert np.allclose(found[:, :4, 5:], 200)
    assert valid[:4].all()
    assert not valid[5:].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 10_000_000), (30_000, 7), (40_000, 40_000)])
def test_decimated_shape_is_bounded_and_not_empty(shape):
    rows, cols = decimated_shape(shape, 1_000_000)

    assert 1 <= rows <= shape[0]
    assert 1 <= cols <= shape[1]
    assert rows * cols <= 1_010_000


# --- polygons as pixels ---------------------------------------------------------------------------------------------


def as_raster(polygons, transform, shape):
    grid = np.zeros(shape, int)
    for pixels, owners in covered_pixels(np.array(polygons, object), transform, shape):
        grid.reshape(-1)[pixels] = owners + 1
    return grid


def test_polygons_have_the_pixels_that_rasterio_gives_them():
    draw = np.random.default_rng(2)
    polygons = shapely.buffer(shapely.points(draw.uniform(0, 40, (30, 2))), draw.uniform(0.3, 9, 30))
    polygons = [*polygons, shapely.box(5, 5, 30, 30) - shapely.box(10, 10, 20, 20)]
    transform = Affine(0.5, 0.1, 3, -0.05, 0.6, 2)

    grid = as_raster(polygons, ~transform, (60, 70))

    expected = rasterio.features.rasterize(zip(polygons, range(1, 32), strict=True), (60, 70), transform=transform)
    assert (grid != expected).mean() < 0.002  # points on an edge


def test_polygons_outside_empty_and_not_finite_have_no_pixels():
    far = [shapely.box(-1e12, -1e12, -1e11, -1e11), shapely.Polygon(), shapely.box(1e12, 0, 2e12, 5)]

    assert not as_raster([*far, shapely.Point(1, 1)], Affine.identity(), (5, 5)).any()
    assert as_raster([shapely.box(-1e9, -1e9, 1e9, 1e9)], Affine.identity(), (5, 5)).all()


def test_polygons_of_a_coverage_leave_no_pixel_out(reported):
    frame = pyogrio.read_dataframe(reported / "labels.gpkg", layer="labels")
    with rasterio.open(reported / "classes.tif") as raster:
        transform, classes = raster.transform, raster.read(1)

    assert np.array_equal(as_raster(frame.geometry.to_numpy(), ~transform, classes.shape) > 0, classes > 0)


def test_polygon_that_would_take_too_much_memory_is_refused(monkeypatch):
    monkeypatch.setattr("geoseg.report.rasterize._MAX_OF_ONE", 100)

    with pytest.raises(RasterError, match="expected at most 100"):
        as_raster([shapely.box(0, 0, 5, 200)], Affine.identity(), (300, 5))


# --- provenance -----------------------------------------------------------------------------------------------------


def test_command_repeats_the_run(reported):
    run = find_run(reported / "labels.gpkg")

    words = command(run).split()

    assert words[:2] == ["geoseg", "tile"]
    assert words[2:5] == [str(reported / "scene.tif"), "--out", "labels.gpkg"]
    assert words[5:7] == ["--class-raster", "classes.tif"]
    assert words[7:] == ["--config", "repeat.yaml"]


def test_configuration_of_the_command_gives_that_of_the_run(reported, tmp_path):
    from geoseg.config import load_config
    from geoseg.report.provenance import changed_yaml

    run = find_run(reported / "labels.gpkg")
    (tmp_path / "repeat.yaml").write_text(changed_yaml(run))

    assert load_config(tmp_path / "repeat.yaml") == run.config != Config()


def test_speed_of_a_stage_is_that_of_all_pixels(reported):
    run = find_run(reported / "labels.gpkg")
    facts = {
        **run.facts,
        "seconds": {"survey": 2.0, "write": 0.0},
        "grid": {**run.facts["grid"], "shape": [2000, 3000]},
    }

    times = stage_times(replace(run, facts=facts))

    assert [(each.name, each.seconds, each.speed) for each in times] == [
        ("survey", 2.0, 3.0), ("write", 0.0, None), ("all stages", 2.0, 3.0),
    ]  # fmt: skip


# --- the command, and existing files --------------------------------------------------------------------------------


def test_command_writes_a_report_and_prints_its_size(copied, capsys):
    ended = run_command("report", copied / "labels.gpkg", "--out", copied / "new.html")

    assert ended.code == 0, ended.text
    assert "new.html: 0." in capsys.readouterr().out
    assert (copied / "new.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("absent.gpkg", "--out", "r.html"), "there is no file"),
        (("scene.tif", "--out", "r.html"), "contains no run.json"),
        (("classes.tif", "--out", "r.html", "--run-dir", "labels.run"), "has no layer|cannot be read|no vector format"),
        (("labels.gpkg", "--out", "report.html"), "exists"),
        (("labels.gpkg", "--out", "r.pdf"), "it can end in .html"),
        (("labels.gpkg", "--out", "none/r.html"), "is not a folder"),
        (("labels.gpkg", "--out", "r.html", "--run-dir", "."), "contains no run.json"),
        (("labels.gpkg", "--out", "r.html", "--class-raster", "scene.tif"), "expected the class raster"),
        (("labels.gpkg", "--out", "r.html", "--class-raster", "absent.tif"), "no file"),
        (("other.gpkg", "--out", "r.html", "--run-dir", "labels.run"), "was not written by the run"),
    ],
)
def test_wrong_input_is_one_line_that_states_what_to_do(copied, monkeypatch, arguments, reason):
    monkeypatch.chdir(copied)
    shutil.copyfile("labels.gpkg", "other.gpkg")
    before = (copied / "report.html").read_bytes()

    ended = run_command("report", *arguments)

    assert ended.code == 1
    assert len(ended.lines) == 1, ended.text
    assert re.search(reason, ended.text)
    assert (copied / "report.html").read_bytes() == before
    assert not (copied / "r.html").exists()


def test_report_is_replaced_with_overwrite_only(copied):
    first = run_command("report", copied / "labels.gpkg", "--out", copied / "report.html")
    second = run_command("report", copied / "labels.gpkg", "--out", copied / "report.html", "--overwrite")

    assert (first.code, second.code) == (1, 0)


def test_changed_polygons_give_a_note(copied):
    change_labels(copied / "labels.gpkg", "confidence = 0.5")

    assert "labels.gpkg has changed since" in content_of(copied).notes[0]


def test_run_json_of_another_version_is_refused_in_one_line(copied):
    for broken in ({"grid": {}}, {"config": {"never": 1}}, {"tiles": None}, {"failed": 3}):
        change_facts(copied, **broken)

        with pytest.raises(RunError, match="not as this version of geoseg writes it"):
            find_run(copied / "labels.gpkg")


def test_report_of_a_run_is_published_as_the_other_outputs_are(make_raster, tmp_path):
    scene, out, html = make_raster(fields((80, 90))), tmp_path / "labels.gpkg", tmp_path / "r.html"
    html.write_text("mine")

    with pytest.raises(OutputError, match="exists"):
        segment(scene, out, report=html)
    assert not out.exists()
    segment(scene, out, report=html, overwrite=True)
    assert "<!DOCTYPE html>" in html.read_text(encoding="utf-8")
    report_before, polygons_before = html.stat().st_mtime_ns, out.stat().st_mtime_ns
    segment(scene, out, report=html, resume=True)  # finished: nothing is left to do

    assert (html.stat().st_mtime_ns, out.stat().st_mtime_ns) == (report_before, polygons_before)
    facts = json.loads((tmp_path / "labels.run" / "run.json").read_text(encoding="utf-8"))
    assert "../r.html" in facts["published"]
    assert facts["seconds"]["report"] > 0
    html.write_text("changed by hand")
    with pytest.raises(OutputError, match="has changed since the run"):
        segment(scene, out, report=html, resume=True)


def test_template_style_and_script_are_in_the_package():
    names = {each.name for each in files("geoseg.report").joinpath("assets").iterdir()}

    assert {"report.html.j2", "report.css", "report.js"} <= names


def test_grid_of_a_run_may_be_rotated(reported):
    run = find_run(reported / "labels.gpkg")

    assert isinstance(run.geobox, GeoBox)
    assert run.geobox.shape == (150, 170)


# --- regions that have been named -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def named(reported, tmp_path_factory):
    """Return a copy of that folder with regions that are named by the parity of their classes; read only."""
    folder = Path(shutil.copytree(reported, tmp_path_factory.mktemp("named") / "run"))
    change_facts(folder, scene=str(folder / "scene.tif"))
    frame = pyogrio.read_dataframe(folder / "labels.gpkg", layer="labels")
    cover = np.where(frame["class"] % 2, "water", HOSTILE)
    points = frame.assign(cover=cover, geometry=shapely.point_on_surface(frame.geometry))[["cover", "geometry"]]
    pyogrio.write_dataframe(points.iloc[::2], folder / "samples.gpkg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoseg.classify.forest.N_TREES", 20)
        patch.setattr("geoseg.classify.validation._N_TREES", 5)
        geoseg.classify_regions(
            folder / "labels.gpkg", folder / "named.gpkg", samples=folder / "samples.gpkg", field="cover"
        )
    return folder


@pytest.fixture
def changed_names(named, tmp_path):
    return Path(shutil.copytree(named, tmp_path / "run"))


def named_page(folder, **places):
    return Page(render(gather(find_run(folder / "named.gpkg", Places(**places)), max_pixels=100_000)))


def test_report_of_named_regions_counts_them_by_name(named):
    content = gather(find_run(named / "named.gpkg"), max_pixels=100_000)

    frame = pyogrio.read_dataframe(named / "named.gpkg", layer="labels")
    groups = frame.groupby("name")
    document = json.loads((named / "named.names.json").read_text(encoding="utf-8"))
    stored = [each["name"] for each in document["names"]]
    assert dict(zip(stored, content.sums.regions.tolist(), strict=True)) == groups.size().to_dict()
    assert dict(zip(stored, content.sums.pixels.tolist(), strict=True)) == groups["pixels"].sum().to_dict()
    expected = groups[["probability", "pixels"]].apply(lambda g: np.average(g["probability"], weights=g["pixels"]))
    np.testing.assert_allclose(content.sums.confidence, expected[stored], rtol=1e-6)
    assert list(content.table.colors) == [each["color"] for each in document["names"]]
    assert content.notes == ()


def test_map_of_named_regions_shows_name_probability_and_second_name(named):
    page = named_page(named)

    data = page.data
    size = len(data["columns"]), data["nRegions"]
    table = np.frombuffer(zlib.decompress(base64.b64decode(page.scripts["region-table"])), "<f4").reshape(size)
    shown = dict(zip(data["columns"], table, strict=True))
    frame = pyogrio.read_dataframe(named / "named.gpkg", layer="labels").set_index("region")
    frame = frame.loc[shown["region"].astype(int)]
    stored = [each["name"] for each in json.loads((named / "named.names.json").read_text(encoding="utf-8"))["names"]]
    assert [stored[int(i) - 1] for i in shown["class"]] == frame["name"].tolist()
    assert [stored[int(i) - 1] for i in shown["second"]] == frame["second"].tolist()
    np.testing.assert_allclose(shown["confidence"], frame["probability"], rtol=1e-6)
    assert data["words"] == {"one": "name", "many": "names", "sure": "probability"}


def test_report_of_named_regions_has_accuracy_and_both_commands_and_no_markup_of_names(named):
    page = named_page(named)

    document = json.loads((named / "named.names.json").read_text(encoding="utf-8"))
    text = " ".join(" ".join(page.text).split())
    cells = " ".join(str(number) for number in document["confusion"][0])
    assert f"{document['names'][0]['name'][:6]}" in text
    assert cells in text
    assert all(name in text for name in list(document["importance"])[:3])
    assert "geoseg tile" in text
    assert "geoseg classify labels.gpkg --samples samples.gpkg --field cover --out named.gpkg" in text
    assert len(page.of("script")) == 4  # none of a name
    assert not [attrs for attrs in page.of("img") if "onerror" in attrs]


def test_name_that_was_changed_by_hand_is_shown_with_a_note(changed_names):
    change_labels(changed_names / "named.gpkg", "name = 'lake' WHERE region <= 2")
    change_labels(changed_names / "named.gpkg", "name = NULL WHERE region = 3")

    content = gather(find_run(changed_names / "named.gpkg"), max_pixels=10_000)

    counts = dict(zip(content.table.names, content.sums.regions.tolist(), strict=True))
    assert (counts["lake"], counts["unknown"]) == (2, 1)
    assert any("named.gpkg has changed" in note for note in content.notes)


@pytest.mark.parametrize("text", ["", "{}", '{"format": 99}', '{"format": 1, "names": [], "confusion": []}'])
def test_damaged_document_of_names_is_refused(changed_names, text):
    (changed_names / "named.names.json").write_text(text)

    with pytest.raises(RunError, match="Name the regions again"):
        find_run(changed_names / "named.gpkg")


def test_document_of_names_that_are_gone_has_no_effect(changed_names):
    shutil.copy(changed_names / "named.names.json", changed_names / "labels.names.json")

    assert find_run(changed_names / "labels.gpkg").names is None


def test_class_raster_and_dissolved_regions_are_refused_for_a_report_by_name(changed_names):
    with pytest.raises(RunError, match="Leave out --class-raster"):
        find_run(changed_names / "named.gpkg", Places(class_raster=changed_names / "classes.tif"))
    path = changed_names / "named.names.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"dissolved": True}))
    with pytest.raises(RunError, match="without --dissolve"):
        find_run(changed_names / "named.gpkg")
