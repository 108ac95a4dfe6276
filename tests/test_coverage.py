import numpy as np
import pytest
import rasterio
from affine import Affine

import geoseg
from geoseg.errors import RasterError
from geoseg.grid import GeoBox, Window
from geoseg.raster.array_scene import BandChoice, scene_of_array
from geoseg.raster.coverage import coverage_notes, measure_coverage
from geoseg.raster.scene import open_scene, read
from geoseg.steps.survey import fit_stretch

from .conftest import fields

SHAPE = (80, 96)
WHOLE = Window(0, 0, 96, 80)


def notes_on(path, **options):
    scene = open_scene(path, **options)
    return coverage_notes(scene, measure_coverage(scene))


def half_missing(dtype, nodata, n_bands=4):
    """Return pixels whose third band is nodata in the left half."""
    pixels = fields(SHAPE, n_bands).astype(dtype)
    pixels[2, :, :48] = nodata
    return pixels


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 0), ("uint16", 0), ("int16", -9999), ("float32", -9999.0)])
def test_share_of_pixels_that_are_nodata_in_some_bands_is_reported_for_every_data_type(make_raster, dtype, nodata):
    names = ["red", "green", "blue", "nir"]
    path = make_raster(half_missing(dtype, nodata), nodata=nodata, names=names, photometric="minisblack")

    kept, lost = (notes_on(path, nodata_mode=mode) for mode in ("all", "any"))

    for notes in (kept, lost):
        assert "50% of the pixels" in notes[0]
        assert "band 3 50%" in notes[0]
        assert "band 3 (50%)" in notes[1]
    assert "they are kept" in kept[0]
    assert "they are nodata" in lost[0]


def test_nothing_is_reported_for_an_ordinary_image(make_raster):
    pixels = fields(SHAPE, 3)
    pixels[:, :20] = 0

    assert notes_on(make_raster(pixels, nodata=0)) == []
    assert notes_on(make_raster(fields(SHAPE, 3))) == []


@pytest.mark.parametrize("nodata", [None, -9999])
def test_band_that_is_empty_or_has_one_value_is_named(make_raster, nodata):
    pixels = fields(SHAPE, 5, dtype=np.int16)
    pixels[[1, 4]] = -9999

    notes = notes_on(make_raster(pixels, nodata=nodata))

    assert "bands 2, 5 have nodata or a single value everywhere" in notes[-1]


def test_band_with_one_value_in_half_of_the_scene_is_named_without_a_nodata_value(make_raster):
    pixels = fields(SHAPE, 3)
    pixels[1, :40] = 0

    (note,) = notes_on(make_raster(pixels))

    assert "band 2 (50%)" in note


def test_dark_half_of_all_bands_is_not_reported(make_raster):
    pixels = fields(SHAPE, 3)
    pixels[:, :40] = 0

    assert notes_on(make_raster(pixels)) == []


def test_loss_of_saturated_pixels_is_reported(make_raster):
    pixels = fields(SHAPE, 3)
    pixels[:, :40, :48] = 255

    (note,) = notes_on(make_raster(pixels, nodata=255))

    assert "25% of the pixels" in note
    assert "255, the largest value of uint8" in note


def test_scene_whose_empty_band_leaves_no_valid_pixel_names_the_band(make_raster, tmp_path):
    pixels = fields(SHAPE, 3).astype(np.float32)
    pixels[1] = np.nan

    with pytest.raises(RasterError, match=r"band 2 has only nodata.*--bands"):
        geoseg.segment_scene(make_raster(pixels), tmp_path / "out.gpkg", method="kmeans", workers=0)


def test_stretch_does_not_depend_on_nodata_values_that_are_far_from_the_measurements(make_raster):
    pixels = half_missing(np.int16, -9999)
    path = make_raster(pixels, nodata=-9999)

    found = fit_stretch(open_scene(path), geoseg.load_config())

    assert found.low[2] > 0
    assert found.high[2] < 260


@pytest.mark.parametrize("mode", ["all", "any"])
def test_nodata_mode_of_an_array_is_that_of_a_file(make_raster, mode):
    pixels = half_missing(np.float32, -9999)
    in_file = open_scene(make_raster(pixels, nodata=-9999), nodata_mode=mode)

    in_memory = scene_of_array(pixels, in_file.geobox, nodata=-9999, choice=BandChoice(nodata_mode=mode))

    np.testing.assert_array_equal(read(in_memory, WHOLE)[1], read(in_file, WHOLE)[1])
    assert read(in_file, WHOLE)[1].mean() == (1 if mode == "all" else 0.5)


def test_nodata_mode_decides_which_pixels_of_an_array_are_segmented():
    pixels = np.ma.masked_equal(half_missing(np.int16, -9999), -9999)

    kept, lost = (geoseg.segment_array(pixels, method="kmeans", nodata_mode=mode) for mode in ("all", "any"))

    assert (kept.classes > 0).all()
    np.testing.assert_array_equal(lost.classes > 0, np.indices(SHAPE)[1] >= 48)


def test_extreme_nodata_value_in_one_band_causes_no_warning():
    pixels = half_missing(np.float32, np.finfo(np.float32).min)
    scene = scene_of_array(pixels, GeoBox(SHAPE, Affine.identity(), "EPSG:32631"), nodata=float(pixels.min()))

    stretch = fit_stretch(scene, geoseg.load_config())

    assert np.isfinite(stretch.apply(*read(scene, WHOLE))).all()


def test_bands_of_different_data_types_are_read_as_float(make_raster, tmp_path):
    bytes_, floats = fields(SHAPE, 1), fields(SHAPE, 1, seed=1).astype(np.float32) + 0.5
    floats[0, :10] = -9999
    make_raster(bytes_, "a.tif")
    make_raster(floats, "b.tif", nodata=-9999)
    with rasterio.open(tmp_path / "a.tif") as a:
        transform, crs = a.transform, a.crs.to_wkt()
    source = '<SimpleSource><SourceFilename relativeToVRT="1">{}</SourceFilename><SourceBand>1</SourceBand>'
    (tmp_path / "both.vrt").write_text(
        f'<VRTDataset rasterXSize="{SHAPE[1]}" rasterYSize="{SHAPE[0]}"><SRS>{crs}</SRS>'
        f"<GeoTransform>{', '.join(map(str, transform.to_gdal()))}</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1">{source.format("a.tif")}</SimpleSource></VRTRasterBand>'
        '<VRTRasterBand dataType="Float32" band="2"><NoDataValue>-9999</NoDataValue>'
        f"{source.format('b.tif')}</SimpleSource></VRTRasterBand></VRTDataset>"
    )

    scene = open_scene(tmp_path / "both.vrt", nodata_mode="any")
    pixels, valid = read(scene, WHOLE)

    np.testing.assert_array_equal(valid, floats[0] != -9999)
    np.testing.assert_array_equal(pixels[:, valid], np.concatenate([bytes_.astype(np.float32), floats])[:, valid])
    result = geoseg.segment_scene(tmp_path / "both.vrt", tmp_path / "out.gpkg", method="kmeans", workers=0)
    assert result.polygons()["pixels"].sum() == valid.size


def test_nodata_mode_without_values_is_refused(make_raster, tmp_path):
    with pytest.raises(geoseg.ConfigError, match="there are no values"):
        geoseg.outline_labels(make_raster(fields(SHAPE, 1)), tmp_path / "out.gpkg", nodata_mode="any", workers=0)


@pytest.mark.parametrize(("mode", "n_values"), [("all", 80 * 96), ("any", 80 * 48)])
def test_nodata_mode_decides_which_values_are_summed_over_labels(make_raster, tmp_path, mode, n_values):
    labels = make_raster(np.ones((1, *SHAPE), np.uint8), "labels.tif")
    values = np.ones((2, *SHAPE), np.int16)
    values[1, :, :48] = -9999
    values[0, :, :48] = 3
    path = make_raster(values, "values.tif", nodata=-9999)

    result = geoseg.outline_labels(labels, tmp_path / "out.gpkg", values=path, nodata_mode=mode, workers=0)

    half = 80 * 48
    expected = (half + 3 * (n_values - half)) / n_values
    assert result.polygons()["mean_1"].tolist() == [expected]
