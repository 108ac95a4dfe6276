"""QGIS opens and draws the output files; skipped where it is not installed (Debian: python3-qgis qgis-providers)."""

import functools
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from geoseg.grid import GeoBox
from geoseg.output.columns import Layer, class_fields, label_fields
from geoseg.output.polygons import Dissolved, Extras, FailedTile, write_polygons
from geoseg.output.rasters import write_class_raster
from geoseg.output.style import MAX_CATEGORIES, Legend, min_color_distance, polygon_qml, region_qml

pytestmark = [pytest.mark.qgis, pytest.mark.slow]

PYTHON = "/usr/bin/python3"  # of the system, for which the QGIS package is built
COLORS = np.array([[34, 85, 40], [200, 180, 90], [60, 90, 170], [170, 60, 50]], np.uint8)
CLASSES = np.arange(16).reshape(4, 4) % 4 + 1
GEOBOX = GeoBox((4, 4), Affine(10, 0, 5e5, 0, -10, 5e6), CRS(32631).to_wkt())
FIELDS = label_fields(bands=[1], levels=[2], n_regions=16, n_classes=4, indices=["confidence", "ndvi_mean"])
LAYER = Layer("labels", "Segmentation of scene.tif", "Made from scene.tif", GEOBOX.crs, FIELDS)


@functools.cache
def _missing():
    """Return why QGIS is not available; "" if it is."""
    if not Path(PYTHON).exists():
        return f"{PYTHON} does not exist"
    completed = subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True, text=True, check=False)
    return completed.stderr.strip().rpartition("\n")[2]


@pytest.fixture
def qgis(tmp_path):
    """Return a function that opens files in QGIS and returns what QGIS reports."""
    if _missing():
        pytest.skip(f"QGIS is not available: {_missing()}")

    def probe(*paths):
        command = [PYTHON, str(Path(__file__).with_name("qgis_probe.py")), *map(str, paths), str(tmp_path / "picture")]
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
        completed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
        assert completed.stdout, completed.stderr
        return json.loads(completed.stdout.splitlines()[-1])

    return probe


def _legend(n=4):
    return Legend.of_classes(np.resize(COLORS, (n, 3)), np.arange(1, n + 1))


def _write(path, legend, *, classes=CLASSES, borders=0, dissolved=None):
    rows, cols = np.divmod(np.arange(16), 4)
    x, y = GEOBOX.transform @ (cols, rows)
    number = np.arange(1, 17)
    columns = {field.name: number.astype(float) for field in FIELDS}
    columns |= {"region": number, "class": classes.ravel(), "pixels": number, "class_2": number % 2 + 1}
    columns |= {"color": np.array(legend.hexes)[classes.ravel() - 1]}
    batch = LAYER.batch(columns, shapely.box(x, y - 10, x + 10, y))
    extras = Extras(
        styles={"regions": region_qml(LAYER.aliases, borders=borders)},
        failed=[FailedTile(3, "out of memory", shapely.box(5e5, 5e6, 5e5 + 10, 5e6 + 10))],
        dissolved=dissolved,
    )
    write_polygons(path, [batch], LAYER, style=polygon_qml(legend, LAYER.aliases, borders=borders), extras=extras)


def _gap(hexes):
    """Return the smallest CIELAB distance between two colours."""
    return min_color_distance(np.array([[int(one[i : i + 2], 16) for i in (1, 3, 5)] for one in hexes], np.uint8))


def _expected():
    return np.array(_legend().hexes)[CLASSES - 1].tolist()


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb"])
def test_qgis_draws_polygons_in_the_colours_of_their_classes(tmp_path, qgis, suffix):
    path = tmp_path / f"labels{suffix}"
    _write(path, _legend())
    source = f"{path}|layername=labels"

    answer = qgis(source)

    seen = answer[source]
    assert seen["renderer"] == "categorizedSymbol"
    assert seen["legend"] == list(_legend().names)
    assert {name: alias for name, alias in seen["aliases"].items() if name != "fid"} == LAYER.aliases
    assert (seen["n"], seen["crs"], seen["geometry"], seen["index"]) == (16, "EPSG:32631", 3, True)
    assert seen["colors"] == _expected()
    assert answer["warnings"] == []


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb"])
def test_region_style_can_be_applied_and_draws_every_region_in_its_own_colour(tmp_path, qgis, suffix):
    path = tmp_path / f"labels{suffix}"
    _write(path, _legend())
    source = f"{path}|layername=labels"

    answer = qgis(source)

    styles = answer[source]["styles"]
    assert list(styles) == (["classes", "regions"] if suffix == ".gpkg" else ["regions"])
    assert all(style["applied"] for style in styles.values())
    assert styles["regions"]["renderer"] == "singleSymbol"
    drawn = [color for row in styles["regions"]["colors"] for color in row]
    assert len(set(drawn)) == 16
    assert not {"#ff00ff", "#808080"} & set(drawn)  # the background, and the colour if the expression fails
    assert _gap(drawn) > 3
    assert answer["warnings"] == []


def test_borders_are_drawn_only_at_large_scales(tmp_path, qgis):
    path = tmp_path / "labels.gpkg"
    _write(
        path, _legend(), classes=np.ones_like(CLASSES), borders=200
    )  # the pictures have the scales 1 : 344 and 1 : 126
    source = f"{path}|layername=labels"

    seen = qgis(source)[source]

    assert seen["far"] == [_legend().hexes[0]]
    darker = [color for color in seen["near"] if color != _legend().hexes[0]]
    assert darker
    assert max(_gap([color, _legend().hexes[0]]) for color in darker) < 15
    assert seen["colors"] == [[_legend().hexes[0]] * 4] * 4


def test_qgis_draws_the_dissolved_layer_in_the_colours_of_the_classes(tmp_path, qgis):
    layer = Layer("classes", "Classes", "", GEOBOX.crs, class_fields(bands=[1], n_classes=4), "MultiPolygon")
    number = np.arange(1, 5)
    columns = {field.name: number.astype(float) for field in layer.fields} | {"class": number, "regions": number}
    columns |= {"name": np.array(_legend().names), "color": np.array(_legend().hexes), "pixels": number}
    dissolved = Dissolved(layer, columns, polygon_qml(_legend(), layer.aliases))
    _write(tmp_path / "labels.gpkg", _legend(), dissolved=dissolved)
    labels, classes = (f"{tmp_path / 'labels.gpkg'}|layername={name}" for name in ("labels", "classes"))

    answer = qgis(labels, classes)

    seen = answer[classes]
    assert (seen["n"], seen["crs"], seen["geometry"], seen["index"]) == (4, "EPSG:32631", 6, True)
    assert (seen["renderer"], seen["legend"]) == ("categorizedSymbol", list(_legend().names))
    assert {name: alias for name, alias in seen["aliases"].items() if name != "fid"} == layer.aliases
    assert seen["colors"] == answer[labels]["colors"] == _expected()
    assert (list(seen["styles"]), list(answer[labels]["styles"])) == (["classes"], ["classes", "regions"])
    assert answer["warnings"] == []


def test_qgis_draws_too_many_classes_in_the_colours_of_the_column(tmp_path, qgis):
    _write(tmp_path / "labels.gpkg", _legend(MAX_CATEGORIES + 4))
    source = f"{tmp_path / 'labels.gpkg'}|layername=labels"

    seen = qgis(source)[source]

    assert seen["renderer"] == "singleSymbol"
    assert seen["colors"] == _expected()


def test_qgis_draws_the_class_raster_with_its_names(tmp_path, qgis):
    path = tmp_path / "classes.tif"
    write_class_raster(path, GEOBOX, [(GEOBOX.window, CLASSES)], _legend())

    answer = qgis(path)

    seen = answer[str(path)]
    assert seen["renderer"] == "paletted"
    assert seen["legend"] == list(_legend().names)
    assert seen["colors"] == _expected()
    assert answer["warnings"] == []
