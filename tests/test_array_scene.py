"""Scenes in memory are read like files with the same pixels."""

import dataclasses

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from geoseg.config import Config
from geoseg.errors import RasterError
from geoseg.grid import GeoBox, Window
from geoseg.raster.array_scene import BandChoice, scene_of_array
from geoseg.raster.band_roles import BandRoles
from geoseg.raster.scene import open_scene, read, read_tolerant, touches
from geoseg.steps.survey import survey_windows

from .conftest import TRANSFORM, fields, write_raster

SHAPE = (13, 17)
GEOBOX = GeoBox(SHAPE, TRANSFORM, "EPSG:32631")
WHOLE = GEOBOX.window
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]


def random_image(dtype, n_bands, seed):
    """Return (band, y, x) values from all over the range of a dtype, some of them 0, not finite or too large."""
    draw = np.random.default_rng(seed)
    shape = (n_bands, *SHAPE)
    if np.dtype(dtype).kind == "f":
        values = draw.normal(0, 1, shape) * 10.0 ** draw.integers(-3, 40, shape)
        values = np.where(draw.random(shape) < 0.1, draw.choice([np.nan, np.inf, -np.inf, 0], shape), values)
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    limits = np.iinfo(dtype)
    values = draw.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return np.where(draw.random(shape) < 0.3, 0, values).astype(dtype)


def assert_read_alike(one, other, window, core):
    for function, options in ((read, {}), (read_tolerant, {"core": core})):
        for of_one, of_other in zip(function(one, window, **options), function(other, window, **options), strict=True):
            assert of_one.dtype == of_other.dtype
            np.testing.assert_array_equal(of_one, of_other)
    assert touches(one, window) == touches(other, window)


def described(scene):
    return dataclasses.replace(scene, path="", files=(), source=None)


# --- the same as a file -------------------------------------------------------------------------------------------


@given(data=st.data())
def test_array_is_read_as_a_geotiff_with_the_same_pixels_is(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "same.tif"
    n_bands = data.draw(st.integers(1, 5))
    image = random_image(data.draw(st.sampled_from(DTYPES)), n_bands, data.draw(st.integers(0, 2**32)))
    nodata = data.draw(st.sampled_from([None, 0]))
    mask = data.draw(st.sampled_from([None, np.random.default_rng(n_bands).random(SHAPE) < 0.8]))
    mask = None if nodata is not None else mask  # GDAL ignores a mask beside a nodata value
    names = data.draw(st.sampled_from([(), ("", "nir", "", "red", "x"), ("b08", "B04", "blue", "green", "red")]))
    names = names[:n_bands]
    numbers = st.lists(st.integers(1, n_bands), min_size=1, unique=True)
    bands = tuple(data.draw(st.one_of(st.just([]), numbers)))
    left, top = data.draw(st.integers(0, SHAPE[1] - 1)), data.draw(st.integers(0, SHAPE[0] - 1))
    window = Window(left, top, data.draw(st.integers(1, SHAPE[1] - left)), data.draw(st.integers(1, SHAPE[0] - top)))
    plain = [ColorInterp.gray, *[ColorInterp.undefined] * (n_bands - 1)]
    write_raster(path, image, mask=mask, names=names, nodata=nodata, colours=plain, photometric="minisblack")

    in_memory = scene_of_array(
        image, open_scene(path).geobox, valid=mask, nodata=nodata, names=names, choice=BandChoice(bands)
    )

    in_file = open_scene(path, bands=bands)
    assert described(in_memory) == described(in_file)
    assert_read_alike(in_memory, in_file, window, window.expanded(-1, SHAPE))


def test_area_of_interest_applies_to_an_array_as_to_a_file(make_raster):
    image = random_image("uint8", 3, 0)
    in_file = open_scene(make_raster(image))
    x, y = TRANSFORM @ (5, 5)
    area = shapely.to_wkb(shapely.box(x, y - 40, x + 60, y))

    scenes = [dataclasses.replace(scene, aoi=area) for scene in (scene_of_array(image, in_file.geobox), in_file)]

    assert_read_alike(*scenes, WHOLE, WHOLE)
    assert_read_alike(*scenes, Window(0, 0, 3, 3), None)
    assert not touches(scenes[0], Window(0, 0, 3, 3))


def test_survey_of_an_array_equals_that_of_a_file(make_raster):
    image = fields((150, 170))
    in_file = open_scene(make_raster(image))

    assert survey_windows(scene_of_array(image, in_file.geobox), Config()) == survey_windows(in_file, Config())


def test_bands_for_ndvi_are_those_chosen(make_raster):
    image = random_image("uint16", 4, 1)
    in_file = open_scene(make_raster(image), bands=(4, 2), roles=BandRoles(red=2, nir=4))

    scene = scene_of_array(image, in_file.geobox, choice=BandChoice((4, 2), BandRoles(red=2, nir=4)))

    assert scene.vegetation == in_file.vegetation


# --- what an array may be -----------------------------------------------------------------------------------------


def test_one_band_needs_no_band_axis():
    image = random_image("int16", 1, 2)

    np.testing.assert_array_equal(read(scene_of_array(image[0], GEOBOX), WHOLE)[0], image)


def test_bool_is_read_as_0_and_1():
    image = random_image("uint8", 2, 3) > 100

    pixels, valid = read(scene_of_array(image, GEOBOX), WHOLE)

    np.testing.assert_array_equal(pixels, image)
    assert valid.all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize(("mode", "expected"), [("all", np.any), ("any", np.all)], ids=["all", "any"])
def test_masked_array_is_valid_by_the_nodata_mode_whatever_the_data_type(dtype, mode, expected):
    mask = np.random.default_rng(4).random((2, *SHAPE)) < 0.5
    image = np.ma.MaskedArray(np.ones((2, *SHAPE), dtype), mask)

    pixels, valid = read(scene_of_array(image, GEOBOX, choice=BandChoice(nodata_mode=mode)), WHOLE)

    np.testing.assert_array_equal(valid, expected(~mask, axis=0))
    assert type(pixels) is np.ndarray


def test_reading_leaves_image_and_valid_as_they_are():
    image, valid = random_image("float64", 2, 5), np.random.default_rng(5).random(SHAPE) < 0.5
    before = image.copy(), valid.copy()

    pixels, found = read(scene_of_array(image, GEOBOX, valid=valid), WHOLE)
    pixels[:], found[:] = 7, True

    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(valid, before[1])


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((*SHAPE, 3)), {}, r"np\.moveaxis"),
        (np.zeros((0, *SHAPE)), {}, "at least one band"),
        (np.zeros(5), {}, r"shape \(5,\); expected \(band, 13, 17\)"),
        (np.zeros((1, *SHAPE), complex), {}, r"np\.abs"),
        (np.full((1, *SHAPE), "a"), {}, "dtype <U1; expected integers"),
        (None, {}, "shape"),
        (np.zeros((2, *SHAPE)), {"names": ("red",)}, "2 bands and 1 names"),
        (np.zeros((2, *SHAPE)), {"choice": BandChoice((3,))}, "bands 1 to 2; there is no band 3"),
        (np.zeros((2, *SHAPE)), {"choice": BandChoice(roles=BandRoles(red=1))}, "the array does not name its nir band"),
        (np.zeros((2, *SHAPE)), {"valid": np.ones((2, *SHAPE), bool)}, r"valid has the shape \(2, 13, 17\)"),
        (np.zeros((2, *SHAPE)), {"valid": np.ones(SHAPE)}, "dtype float64; expected"),
    ],
)
def test_array_that_cannot_be_segmented_is_refused_with_the_reason(image, options, message):
    with pytest.raises(RasterError, match=message):
        scene_of_array(image, GEOBOX, **options)
