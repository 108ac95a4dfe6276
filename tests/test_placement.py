"""Rasters whose pixels have no place: refused by every command, with the cause."""

import numpy as np
import pytest
from affine import Affine

import geoseg
from geoseg.errors import RasterError
from geoseg.grid import GeoBox
from geoseg.raster.placement import check_placement

from .conftest import fields, run_command, write_raster

NAN, INF = float("nan"), float("inf")
NOWHERE = {  # transform, CRS → in the message
    "NaN": (Affine(NAN, 0, 5e5, 0, -10, 5e6), "EPSG:32631", "finite"),
    "infinite": (Affine(10, 0, INF, 0, -10, 5e6), "EPSG:32631", "finite"),
    "huge pixels": (Affine(1e200, 0, 5e5, 0, -1e200, 5e6), "EPSG:32631", "finite"),
    "pixels that round to the same place": (Affine(1e-9, 0, 5e5, 0, -1e-9, 5e6), "EPSG:32631", "64 bits"),
    "metres as degrees": (Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:4326", "do not exist"),
    "metres as degrees with heights": (Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:4979", "do not exist"),
    "geocentric": (Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:4978", "geocentric"),
    "vertical": (Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:5703", "vertical"),
}
SOMEWHERE = {
    "pole": (Affine(0.01, 0, 10, 0, -0.01, 90.5), "EPSG:4326"),
    "across 180°": (Affine(0.01, 0, 179.5, 0, -0.01, 50), "EPSG:4326"),
    "0 to 360°": (Affine(2, 0, 0, 0, -1, 90), "EPSG:4326"),
    "with heights": (Affine(10, 0, 100_000, 0, -10, 500_000), "EPSG:7415"),
    "grads": (Affine(0.01, 0, 2, 0, -0.01, 99), "EPSG:4807"),
    "mirrored": (Affine(-10, 0, 5e5, 0, 10, 5e6), "EPSG:32631"),
    "pixels of a micrometre": (Affine(1e-6, 0, 1, 0, -1e-6, 1), "EPSG:32631"),
    "engineering": (Affine(10, 0, 5e5, 0, -10, 5e6), 'LOCAL_CS["x",UNIT["metre",1]]'),
}  # fmt: skip


@pytest.mark.parametrize("case", NOWHERE)
def test_raster_whose_pixels_have_no_place_is_refused(case):
    transform, crs, reason = NOWHERE[case]

    with pytest.raises(RasterError, match=reason):
        check_placement(GeoBox((150, 170), transform, crs), "a.tif")


@pytest.mark.parametrize("case", SOMEWHERE)
def test_raster_at_the_edge_of_a_crs_is_accepted(case):
    check_placement(GeoBox((150, 170), *SOMEWHERE[case]), "a.tif")


@pytest.mark.parametrize("case", ["NaN", "metres as degrees"])
def test_every_command_refuses_it_in_one_line(tmp_path, case):
    transform, crs, reason = NOWHERE[case]
    path = write_raster(tmp_path / "a.tif", fields(n_bands=1) // 60 + 1, transform=transform, crs=crs)
    good = write_raster(tmp_path / "b.tif", fields(n_bands=1) // 60 + 1)

    for arguments in (
        ("tile", path, "--out", tmp_path / "o.gpkg"),
        ("outline", path, "--out", tmp_path / "o.gpkg"),
        ("outline", good, "--values", f"{path}:v", "--out", tmp_path / "o.gpkg"),
        ("tile", good, "--features", path, "--out", tmp_path / "o.gpkg"),
        ("preview", path, "--out", tmp_path / "o.png"),
        ("tune", path),
        ("info", path),
        ("evaluate", path, "--reference", good),
        ("evaluate", good, "--reference", path),
        ("evaluate", good, "--unsupervised", path),
    ):
        ended = run_command(*arguments)
        assert ended.code == 1, arguments
        assert len(ended.lines) == 1
        assert reason in ended.text
        assert str(path) in ended.text
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.tif", "b.tif"]


def test_array_whose_pixels_have_no_place_is_refused():
    transform, crs, reason = NOWHERE["metres as degrees"]

    with pytest.raises(RasterError, match=reason):
        geoseg.segment_array(np.ones((3, 40, 40), np.uint8), transform=transform, crs=crs)
