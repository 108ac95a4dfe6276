"""Colours of classes: which bands they show, how bright they are, and that they change nothing else."""

import json
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyogrio
import pytest
import rasterio
from PIL import Image

import geoseg
from geoseg.output.display import display_colors, display_exponent

from .conftest import TRANSFORM, run_command, write_raster

BANDS = 12  # of Sentinel-2, level 2A
CROP = [300, 350, 700, 400, 1100, 3200, 4000, 4200, 4300, 4300, 1900, 900]
WATER = [450, 620, 500, 330, 280, 220, 200, 180, 170, 150, 90, 60]
SOIL = [900, 1100, 1500, 2000, 2300, 2500, 2700, 2800, 2900, 2900, 3600, 3000]
CLOUD = [9000] * BANDS
CROP_ROW, WATER_ROW, SOIL_ROW = 16, 48, 80
QUICK = ("--method", "kmeans", "-j", 0, "-q")


def sentinel2(clouds=False):
    """Return an unnamed stack of reflectance: stripes of crop, water and soil, and optionally a cloud."""
    spectra = np.array([CROP, WATER, SOIL], float)
    pixels = np.repeat(np.repeat(spectra, 32, axis=0).T[:, :, None], 96, axis=2)  # (band, y, x)
    noise = np.random.default_rng(0).normal(1, 0.03, pixels.shape)
    if clouds:
        pixels[:, 40:56, 40:56] = np.array(CLOUD)[:, None, None]
    return (pixels * noise).astype(np.uint16)


@dataclass(frozen=True)
class Tiled:
    """The class raster of a scene, its palette and the colours of classes.json by class, with the folder."""

    folder: Path
    labels: np.ndarray
    palette: dict
    document: dict

    def color(self, row):
        """Return the (red, green, blue) of the class in a row."""
        return self.palette[int(self.labels[row, 8])][:3]


def tiled(folder, scene, *options):
    folder.mkdir(exist_ok=True)
    ended = run_command(
        "tile", scene, "--out", folder / "a.gpkg", "--class-raster", folder / "classes.tif", *QUICK, *options
    )
    assert ended.code == 0, ended.text
    with rasterio.open(folder / "classes.tif") as raster:
        labels, palette = raster.read(1), raster.colormap(1)
    document = json.loads((folder / "a.classes.json").read_text(encoding="utf-8"))
    return Tiled(folder, labels, palette, {entry["class"]: entry["color"] for entry in document["classes"]})


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", sentinel2())


@pytest.fixture(scope="module")
def usual(scene):
    """The scene with the usual order of the sensor."""
    return tiled(scene.parent / "usual", scene, "--config", "sentinel2", "--classes", 3)


def test_crop_is_green_and_water_blue_in_an_unnamed_stack_of_sentinel2(usual):
    crop, water = usual.color(CROP_ROW), usual.color(WATER_ROW)

    assert crop[1] > max(crop[0], crop[2])
    assert water[2] > water[0]


@pytest.mark.slow
def test_rgb_changes_the_colours_and_neither_classes_nor_regions(scene, usual, tmp_path):
    infrared = tiled(tmp_path, scene, "--config", "sentinel2", "--classes", 3, "--rgb", "8,4,3")

    np.testing.assert_array_equal(infrared.labels, usual.labels)
    crop = infrared.color(CROP_ROW)
    assert crop[0] > max(crop[1:])  # near infrared is shown as red
    assert crop != usual.color(CROP_ROW)


def test_palette_document_layer_and_style_have_the_same_colours(usual):
    table = pyogrio.read_dataframe(usual.folder / "a.gpkg", layer="labels", read_geometry=False)
    styles = pyogrio.read_dataframe(usual.folder / "a.gpkg", layer="layer_styles", read_geometry=False)
    qml = ET.fromstring(styles.loc[styles["useAsDefault"] == 1, "styleQML"].iloc[0].partition("\n")[2])

    fills = [prop.get("v") for prop in qml.iter("prop") if prop.get("k") == "color"]
    in_style = {_hex(int(value) for value in fill.split(",")[:3]) for fill in fills}
    in_palette = {k: _hex(usual.palette[k][:3]) for k in np.unique(usual.labels).tolist()}
    assert dict(zip(table["class"], table["color"], strict=True)) == usual.document == in_palette
    assert in_style == set(usual.document.values())


@pytest.mark.slow
def test_preview_of_a_class_has_the_colour_of_the_result(scene, usual, tmp_path):
    options = {"method": "kmeans", "superpixels": {"scale": 24, "sigma": 0, "min_size": 8}, "rgb": [4, 3, 2]}

    geoseg.preview_scene(scene, tmp_path / "p.png", options, classes=3, stage="classes")

    picture = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).reshape(-1, 3)
    assert set(usual.document.values()) <= {_hex(color) for color in np.unique(picture, axis=0).tolist()}


@pytest.mark.slow
def test_land_beside_clouds_is_not_black(make_raster, tmp_path):
    scene = make_raster(sentinel2(clouds=True))
    found = tiled(tmp_path, scene, "--config", "sentinel2", "--classes", 4)

    assert max(found.color(SOIL_ROW)) > 80  # soil: 0.2 of the stretch, which is 50


@pytest.mark.slow
def test_constant_bands_are_not_shown_unless_they_are_chosen():
    image = np.concatenate([np.full((2, 96, 96), -9999, np.int16), sentinel2().astype(np.int16)[:6]])
    options = {"transform": TRANSFORM, "crs": "EPSG:32631", "method": "kmeans", "classes": 3}

    guessed, same, chosen = (
        set(geoseg.segment_array(image, **options, **more).polygons()["color"])
        for more in ({}, {"rgb": (3, 4, 5)}, {"rgb": (1, 2, 3)})
    )

    assert guessed == same != chosen


def test_dark_scenes_are_brightened_and_others_are_not():
    dark, light = np.full((9, 3), 0.08), np.full((9, 3), 0.4)

    assert display_exponent(light) == 1
    assert display_colors(dark, display_exponent(dark)).mean() > 2 * display_colors(dark).mean()
    assert display_exponent(np.concatenate([dark, light]), np.array([1] * 9 + [99] * 9)) == 1


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.zeros((4, 3)), np.full((4, 3), 1e-9)])
def test_scenes_without_any_light_are_shown(values):
    assert 0.4 <= display_exponent(values) <= 1


def test_array_has_the_colours_of_its_rgb_bands():
    options = {"transform": TRANSFORM, "crs": "EPSG:32631", "method": "kmeans", "classes": 3}

    natural, usual, first = (
        set(geoseg.segment_array(sentinel2(), **options, **more).polygons()["color"])
        for more in ({"rgb": (4, 3, 2)}, {"config": {"sensor": "sentinel2"}}, {})
    )

    assert natural == usual != first


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--rgb", "4,3"), 2, "is not a list of 3 numbers; write them as 4,3,2."),
        (("--rgb", "4"), 2, "is not a list of 3 numbers"),
        (("--rgb", "red,green,blue"), 2, "is not a list of 3 numbers"),
        (("--rgb", "0,1,2"), 1, "rgb is [0, 1, 2]; expected the numbers of three bands from 1"),
        (("--rgb", "13,1,2"), 1, "--rgb 13 is not one of the bands in use (1, 2, 3"),
        (("--rgb", "4,3,2", "--bands", "1,2,3"), 1, "--rgb 4 is not one of the bands in use (1, 2, 3)"),
    ],
)
@pytest.mark.parametrize("command", ["tile", "preview", "plan", "info"])
def test_wrong_rgb_is_refused_in_one_line(scene, tmp_path, command, arguments, code, message):
    outputs = {"tile": ("--out", tmp_path / "a.gpkg"), "plan": ("--run-dir", tmp_path / "run")}

    ended = run_command(command, scene, *outputs.get(command, ()), *arguments)

    assert ended.code == code
    assert message in ended.text


def test_outline_has_the_colours_of_the_rgb_bands_of_the_values(make_raster, scene, tmp_path):
    out = tmp_path / "o.gpkg"
    labels = make_raster(np.repeat(np.arange(1, 4, dtype=np.uint8), 32)[None, :, None].repeat(96, axis=2), "labels.tif")

    ended = run_command("outline", labels, "--values", scene, "--rgb", "4,3,2", "--out", out, "-j", 0, "-q")

    assert (ended.code, ended.text) == (0, "")
    colors = pyogrio.read_dataframe(tmp_path / "o.gpkg", layer="labels", read_geometry=False).set_index("class")[
        "color"
    ]
    red, _, blue = (int(colors[2][i : i + 2], 16) for i in (1, 3, 5))
    assert blue > red  # water


def test_rgb_of_an_outline_without_values_is_refused(make_raster, tmp_path):
    labels = make_raster(np.ones((1, 8, 8), np.uint8))

    ended = run_command("outline", labels, "--out", tmp_path / "o.gpkg", "--rgb", "1,1,1")

    assert (ended.code, "--rgb has no effect without --values" in ended.text) == (2, True)
    with pytest.raises(geoseg.ConfigError, match="rgb selects bands of the values"):
        geoseg.outline_labels(labels, tmp_path / "o.gpkg", rgb=(1, 1, 1), workers=0)


def test_info_shows_the_bands_of_colours_and_ndvi(scene, capsys):
    ended = run_command("info", scene, "--config", "sentinel2", "--method", "kmeans", "--json", "-j", 0, "-q")

    assert ended.code == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["rgb"], facts["red_and_nir"]) == ([4, 3, 2], [4, 8])
    assert facts["rgb_rule"] == "by the usual order of the sensor"
    assert any("the usual order of 12 bands of Sentinel-2" in note for note in facts["notes"])


def _hex(color):
    return "#{:02x}{:02x}{:02x}".format(*color)
