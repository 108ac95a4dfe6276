"""What QGIS itself makes of the files, where it is installed (Debian: python3-qgis qgis-providers)."""

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
from geoseg.polygons.cog import write_class_raster
from geoseg.polygons.style import MAX_CATEGORIES, Legend, polygon_qml
from geoseg.polygons.write import FailedTile, Layer, label_fields, write_polygons

PYTHON = "/usr/bin/python3"  # of the system: QGIS comes with no other
COLORS = np.array([[34, 85, 40], [200, 180, 90], [60, 90, 170], [170, 60, 50]], np.uint8)
CLASSES = np.arange(16).reshape(4, 4) % 4 + 1
GEOBOX = GeoBox((4, 4), Affine(10, 0, 5e5, 0, -10, 5e6), CRS(32631).to_wkt())
FIELDS = label_fields(bands=[1], levels=[2], n_regions=16, n_classes=4)
LAYER = Layer("labels", "Ground of the scene", "Made from scene.tif", GEOBOX.crs, FIELDS)


@functools.cache
def _missing():
    """Why QGIS cannot be asked; empty where it can."""
    if not Path(PYTHON).exists():
        return f"{PYTHON} does not exist"
    asked = subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True, text=True, check=False)
    return asked.stderr.strip().rpartition("\n")[2]


@pytest.fixture
def qgis(tmp_path):
    """Ask QGIS about files."""
    if _missing():
        pytest.skip(f"QGIS cannot be asked: {_missing()}")

    def ask(*paths):
        command = [PYTHON, str(Path(__file__).with_name("qgis_probe.py")), *map(str, paths), str(tmp_path / "seen")]
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
        assert told.stdout, told.stderr
        return json.loads(told.stdout.splitlines()[-1])

    return ask


def _legend(n=4):
    return Legend.of_classes(np.resize(COLORS, (n, 3)), np.arange(1, n + 1))


def _write(path, legend):
    rows, cols = np.divmod(np.arange(16), 4)
    x, y = GEOBOX.transform @ (cols, rows)
    number = np.arange(1, 17)
    columns = {field.name: number.astype(float) for field in FIELDS}
    columns |= {"region": number, "class": CLASSES.ravel(), "pixels": number, "class_2": number % 2 + 1}
    columns |= {"color": np.array(legend.hexes)[CLASSES.ravel() - 1]}
    batch = LAYER.batch(columns, shapely.box(x, y - 10, x + 10, y))
    failed = [FailedTile(3, "out of memory", shapely.box(5e5, 5e6, 5e5 + 10, 5e6 + 10))]
    write_polygons(path, [batch], LAYER, style=polygon_qml(legend, LAYER.aliases), failed=failed)


def _expected():
    return np.array(_legend().hexes)[CLASSES - 1].tolist()


@pytest.mark.qgis
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


@pytest.mark.qgis
def test_qgis_draws_too_many_classes_in_their_own_colours(tmp_path, qgis):
    _write(tmp_path / "labels.gpkg", _legend(MAX_CATEGORIES + 4))
    source = f"{tmp_path / 'labels.gpkg'}|layername=labels"

    seen = qgis(source)[source]

    assert seen["renderer"] == "singleSymbol"
    assert seen["colors"] == _expected()


@pytest.mark.qgis
def test_qgis_draws_the_class_raster_with_its_names(tmp_path, qgis):
    path = tmp_path / "classes.tif"
    write_class_raster(path, GEOBOX, [(GEOBOX.window, CLASSES)], _legend())

    answer = qgis(path)

    seen = answer[str(path)]
    assert seen["renderer"] == "paletted"
    assert seen["legend"] == list(_legend().names)
    assert seen["colors"] == _expected()
    assert answer["warnings"] == []
