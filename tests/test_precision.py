"""Values that float32 rounds: named, because classes and statistics lack the differences that are lost."""

from types import SimpleNamespace

import numpy as np
import pytest

from geoseg.raster.precision import precision_notes

from .conftest import fields, run_command, write_raster

KMEANS = ("--method", "kmeans", "--workers", 0)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "is_noted"),
    [
        ("int32", 2**30, 2**30 + 200, True),
        ("uint32", 2**30, 2**30 + 60_000, False),
        ("int64", 2**62, 2**62, True),
        ("int64", -(2**40) - 50, -(2**40), True),
        ("float64", 1e9, 1e9 + 200, True),
        ("float64", 1000.0, 1000.001, True),
        ("float64", 0.5, 0.5, False),  # constant
        ("float64", 0.0, 1e300, False),
        ("int32", 0, 2**30, False),
        ("float32", 2**30, 2**30 + 200, False),  # has no more digits itself
        ("uint16", 65_000, 65_001, False),
    ],
)
def test_note_is_on_bands_whose_differences_are_rounded_away(dtype, low, high, is_noted):
    scene = SimpleNamespace(path="a.tif", bands=(3,), dtypes=(dtype,))

    assert bool(precision_notes(scene, [low], [high])) == is_noted


def test_run_names_the_band_that_is_rounded(tmp_path):
    path = write_raster(tmp_path / "a.tif", fields((60, 70), 2).astype(np.int32) + np.array([[[2**30]], [[0]]]))

    ended = run_command("tile", path, "--out", tmp_path / "o.gpkg", *KMEANS)

    assert ended.code == 0, ended.text
    assert "band 1 of" in ended.text
    assert "steps of 128 only" in " ".join(ended.text.split())
    assert "band 2 of" not in ended.text


def test_values_that_float32_lacks_are_named_where_nothing_is_left(tmp_path):
    path = write_raster(tmp_path / "a.tif", fields((60, 70), 1).astype(np.float64) * 1e300)

    ended = run_command("tile", path, "--out", tmp_path / "o.gpkg", *KMEANS)

    assert ended.code == 1
    assert "values beyond 3.4e38 count as nodata" in ended.lines[-1]
