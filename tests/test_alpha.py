import dataclasses

import numpy as np
import pytest
from rasterio.enums import ColorInterp

import geoseg
from geoseg.grid import Window
from geoseg.raster.array_scene import BandChoice, scene_of_array
from geoseg.raster.label_raster import LabelInput, open_label_raster, read_labels
from geoseg.raster.scene import open_scene, read

from .conftest import fields

SHAPE = (90, 100)
WHOLE = Window(0, 0, 100, 90)
RED, GREEN, BLUE, ALPHA, OTHER = (
    ColorInterp.red,
    ColorInterp.green,
    ColorInterp.blue,
    ColorInterp.alpha,
    ColorInterp.undefined,
)
FLAGS = {
    "fourth": [RED, GREEN, BLUE, ALPHA],
    "fifth": [RED, GREEN, BLUE, OTHER, ALPHA],
    "sixth": [RED, GREEN, BLUE, OTHER, OTHER, ALPHA],
    "first": [ALPHA, RED, GREEN, BLUE],
}
by_place = pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)


def inside():
    """Return (y, x) bool, False in a corner."""
    rows, cols = np.indices(SHAPE)
    return rows + cols > 40


def with_alpha(flags, dtype="uint8"):
    """Return pixels whose alpha band is opaque inside; the other bands have data everywhere."""
    pixels = fields(SHAPE, len(flags), dtype=dtype)
    pixels[flags.index(ALPHA)] = np.where(inside(), np.iinfo(dtype).max, 0)
    return pixels


@by_place
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("nodata", [None, 255])
def test_alpha_band_at_any_position_hides_pixels_and_is_not_used(make_raster, flags, dtype, nodata):
    scene = open_scene(make_raster(with_alpha(flags, dtype), colours=flags, nodata=nodata))

    assert scene.bands == tuple(band for band, flag in enumerate(flags, start=1) if flag != ALPHA)
    np.testing.assert_array_equal(read(scene, WHOLE)[1], inside())
    assert scene.notes == ()


@by_place
def test_alpha_band_hides_pixels_of_chosen_bands_unless_it_is_chosen_too(make_raster, flags):
    path = make_raster(with_alpha(flags), colours=flags)
    alpha = flags.index(ALPHA) + 1

    np.testing.assert_array_equal(read(open_scene(path, bands=(2, 3) if alpha == 1 else (1, 2)), WHOLE)[1], inside())
    assert read(open_scene(path, bands=(3, alpha)), WHOLE)[1].all()


@by_place
def test_alpha_band_hides_labels_unless_every_value_is_a_label(make_raster, flags):
    path = make_raster(with_alpha(flags), colours=flags)

    for nodata, expected in (("file", inside()), (0, inside()), ("none", np.ones(SHAPE, bool))):
        labels = open_label_raster(LabelInput(path, band=flags.index(RED) + 1, nodata=nodata))
        np.testing.assert_array_equal(read_labels(labels, WHOLE)[1], expected)


@by_place
def test_regions_of_transparent_labels_are_not_outlined(make_raster, tmp_path, flags):
    pixels = with_alpha(flags)
    pixels[flags.index(RED)] = 7
    path = make_raster(pixels, colours=flags)
    labels = LabelInput(path, band=flags.index(RED) + 1)

    result = geoseg.outline_labels(labels, tmp_path / "out.gpkg", workers=0)

    assert result.polygons()["pixels"].sum() == inside().sum()


def test_band_that_is_named_alpha_is_alpha_in_files_and_in_arrays(make_raster):
    flags = [RED, GREEN, BLUE, OTHER, OTHER]
    pixels = with_alpha([*flags[:-1], ALPHA])
    names = ("red", "green", "blue", "nir", "Alpha")
    in_file = open_scene(make_raster(pixels, colours=flags, names=names))

    for scene in (in_file, scene_of_array(pixels, in_file.geobox, names=names)):
        assert scene.bands == (1, 2, 3, 4)
        np.testing.assert_array_equal(read(scene, WHOLE)[1], inside())
    chosen = scene_of_array(pixels, in_file.geobox, names=names, choice=BandChoice((1, 5)))
    assert read(chosen, WHOLE)[1].all()


def naip(names=()):
    """Return what `make_raster` takes for four bands whose fourth, near infrared, is flagged as alpha; 0 in water."""
    pixels = fields(SHAPE, 4)
    pixels[3, :, :30] = 0
    return pixels, {"colours": [RED, GREEN, BLUE, ALPHA], "names": names}


def test_near_infrared_that_is_flagged_as_alpha_is_a_band_and_its_zeros_are_data(make_raster):
    pixels, options = naip()

    scene = open_scene(make_raster(pixels, **options))

    assert scene.bands == (1, 2, 3, 4)
    assert (scene.vegetation.red, scene.vegetation.nir) == (0, 3)
    found, valid = read(scene, WHOLE)
    assert valid.all()
    np.testing.assert_array_equal(found, pixels)
    (note,) = scene.notes
    assert "band 4" in note
    assert "near infrared" in note


def test_near_infrared_that_is_flagged_as_alpha_hides_nothing_in_other_bands_or_labels(make_raster):
    pixels, options = naip()
    path = make_raster(pixels, **options)

    assert read(open_scene(path, bands=(1, 2)), WHOLE)[1].all()
    assert read_labels(open_label_raster(LabelInput(path, band=1)), WHOLE)[1].all()


def test_flagged_band_with_the_values_of_a_measurement_is_alpha_if_it_is_named_so(make_raster):
    pixels, options = naip(("r", "g", "b", "alpha"))

    scene = open_scene(make_raster(pixels, **options))

    assert scene.bands == (1, 2, 3)
    np.testing.assert_array_equal(read(scene, WHOLE)[1], pixels[3] > 0)


def test_alpha_band_with_soft_edges_is_alpha(make_raster):
    pixels = with_alpha(FLAGS["fourth"])
    rows, cols = np.indices(SHAPE)
    pixels[3] = np.clip((rows + cols - 40) * 8, 0, 255)

    scene = open_scene(make_raster(pixels, colours=FLAGS["fourth"]))

    assert scene.bands == (1, 2, 3)
    np.testing.assert_array_equal(read(scene, WHOLE)[1], inside())


def test_user_is_reported_of_a_mistaken_alpha_band_and_gets_ndvi(make_raster, tmp_path):
    pixels, options = naip()
    notes = []

    result = geoseg.segment_scene(
        make_raster(pixels, **options),
        tmp_path / "out.gpkg",
        method="kmeans",
        workers=0,
        progress=lambda event: notes.append(event.text) if isinstance(event, geoseg.Note) else None,
    )

    assert any("flagged as alpha" in note for note in notes)
    assert "ndvi_mean" in result.polygons().columns
    assert dataclasses.is_dataclass(result)
