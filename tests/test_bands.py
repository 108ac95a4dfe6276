"""The bands of NDVI, and NDVI itself."""

import re

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from geoseg.config import load_config
from geoseg.errors import ConfigError, RasterError
from geoseg.raster.band_roles import BandRoles
from geoseg.raster.bands import VegetationBands, ndvi
from geoseg.raster.scene import open_scene

FLAT = np.full((4, 8, 8), 9, np.uint16)
RED, GREEN, BLUE, NIR = ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.nir


@pytest.mark.parametrize(
    ("made", "options", "expected"),
    [
        ({"names": ["blue", "Green", "RED", "NIR"]}, {}, (2, 3)),
        ({"names": ["near infrared", "red", "", ""]}, {}, (1, 0)),
        ({"names": ["B02", "B03", "B04", "B08"]}, {}, (2, 3)),
        ({"names": ["red", "green", "blue", "B08"]}, {}, None),  # names of two conventions: B08 may be any band
        ({"names": ["B2", "B3", "B4", "B5"]}, {}, None),  # red and near infrared of some Landsat satellites only
        ({"colours": [BLUE, GREEN, RED, NIR]}, {}, (2, 3)),
        ({"colours": [RED, GREEN, BLUE, ColorInterp.undefined]}, {}, None),
        ({"colours": [RED, GREEN, BLUE, ColorInterp.undefined]}, {"nir": 4}, (0, 3)),
        ({}, {"red": 1, "nir": 4}, (0, 3)),
        ({"names": ["blue", "green", "red", "nir"]}, {"red": 1}, (0, 3)),
        ({"names": ["blue", "green", "red", "nir"]}, {"bands": (4, 3)}, (1, 0)),
        ({"names": ["blue", "green", "red", "nir"]}, {"bands": (1, 3)}, None),
        ({}, {}, None),
    ],
)
def test_red_and_near_infrared_are_those_given_or_else_those_named_in_the_raster(make_raster, made, options, expected):
    roles = BandRoles(red=options.get("red"), nir=options.get("nir"))

    found = open_scene(make_raster(FLAT, **made), bands=options.get("bands", ()), roles=roles).vegetation

    assert found == (None if expected is None else VegetationBands(*expected))


def test_scale_and_offset_of_the_two_bands_are_kept(make_raster):
    path = make_raster(FLAT, names=["blue", "green", "red", "nir"])
    with rasterio.open(path, "r+") as raster:
        raster.scales, raster.offsets = (1, 1, 0.5, 0.25), (0, 0, -0.2, 3)

    assert open_scene(path).vegetation == VegetationBands(2, 3, (0.5, 0.25), (-0.2, 3))


@pytest.mark.parametrize(
    ("options", "bands", "message"),
    [
        ({"nir": 4}, (), "does not name its red band (nir is band 4); give --red too"),
        ({"red": 2}, (), "does not name its nir band (red is band 2); give --nir too"),
        ({"red": 1, "nir": 5}, (), "--nir 5 is not one of the bands in use (1, 2, 3, 4)"),
        ({"red": 1, "nir": 4}, (1, 2), "--nir 4 is not one of the bands in use (1, 2);"),
    ],
)
def test_one_of_the_two_bands_alone_is_refused_and_the_other_one_named(make_raster, options, bands, message):
    with pytest.raises(RasterError, match=re.escape(message)):
        open_scene(make_raster(FLAT), bands=bands, roles=BandRoles(**options))


def test_red_and_nir_cannot_be_the_same_band():
    with pytest.raises(ConfigError, match="both band 3"):
        load_config(red=3, nir=3)


@given(st.integers(0, 999))
def test_ndvi_follows_the_formula_and_is_from_minus_1_to_1_or_nan(seed):
    pixels = np.random.default_rng(seed).integers(-3, 9, (3, 6, 7)).astype(np.float32)

    found = ndvi(pixels, VegetationBands(red=2, nir=0))

    for red, nir, value in zip(pixels[2].ravel(), pixels[0].ravel(), found.ravel(), strict=True):
        if red + nir <= 0:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(min(max((nir - red) / (nir + red), -1), 1))


def test_ndvi_depends_on_the_offset_of_a_band_and_not_on_a_scale_of_both():
    pixels = np.array([[[3000.0]], [[5000.0]]], np.float32)

    plain, scaled, shifted = (
        ndvi(pixels, VegetationBands(0, 1, scales, offsets))[0, 0]
        for scales, offsets in (((1, 1), (0, 0)), ((1e-4, 1e-4), (0, 0)), ((1, 1), (-1000, -1000)))
    )

    assert plain == pytest.approx(scaled) == pytest.approx(0.25)
    assert shifted == pytest.approx(2000 / 6000)
