import logging
import shutil

import numpy as np
import pytest
import rasterio
import rasterio.shutil

import geoseg
from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.raster.label_raster import LabelInput, open_label_raster
from geoseg.raster.scene import open_scene, read, read_tolerant

from .conftest import fields
from .test_scene import damage, mosaic

SHAPE = (256, 256)
WHOLE = Window(0, 0, 256, 256)
BLOCKS = {"tiled": True, "blockxsize": 64, "blockysize": 64}
JPEG = {"compress": "jpeg", "photometric": "ycbcr", **BLOCKS}


def cut_block(path, row, col):
    """Overwrite the second half of a block with bytes that a JPEG decoder takes for fill bytes."""
    with rasterio.open(path) as raster:
        offset = int(raster.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1))
        size = int(raster.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset + size // 2 : offset + size] = b"\xff" * (size - size // 2)
    path.write_bytes(content)


@pytest.fixture
def broken(make_raster):
    path = make_raster(fields(SHAPE), **JPEG)
    cut_block(path, 1, 2)
    return path


def test_jpeg_block_that_gdal_only_warns_about_cannot_be_read_however_often(broken):
    scene = open_scene(broken)

    for _ in range(3):  # GDAL keeps decoded blocks
        with pytest.raises(RasterError, match=r"cannot be read at .*JPEG"):
            read(scene, WHOLE)
    assert read(scene, Window(0, 0, 128, 256))[1].all()


def test_broken_jpeg_block_of_a_mosaic_cannot_be_read(broken):
    rasterio.shutil.copy(broken, broken.with_suffix(".vrt"), driver="VRT")
    scene = open_scene(broken.with_suffix(".vrt"))

    for _ in range(2):
        with pytest.raises(RasterError, match="cannot be read at"):
            read(scene, Window(130, 70, 20, 20))


def test_broken_jpeg_block_is_not_valid_where_it_is_not_required(broken):
    _, valid = read_tolerant(open_scene(broken), WHOLE, core=Window(0, 0, 64, 64))

    expected = np.ones(SHAPE, bool)
    expected[64:128, 128:192] = False
    np.testing.assert_array_equal(valid, expected)


def test_tile_with_a_broken_jpeg_block_fails_and_the_others_do_not(broken, tmp_path):
    result = geoseg.segment_scene(broken, tmp_path / "out.gpkg", method="kmeans", workers=0, tiles__size=64)

    assert list(result.failed) == [6]
    assert "JPEG" in result.failed[6]
    assert result.polygons()["pixels"].sum() == 256 * 256 - 64 * 64


def test_damage_is_found_whatever_logging_the_program_has(broken):
    logging.disable(logging.NOTSET)
    logger = logging.getLogger("rasterio._err")
    logger.disabled, level = True, logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with pytest.raises(RasterError, match="cannot be read"):
            read(open_scene(broken), WHOLE)
    finally:
        logger.setLevel(level)
        logger.disabled = False


def test_damage_is_not_logged_besides_being_an_error(broken, caplog):
    with caplog.at_level(logging.DEBUG, "rasterio._err"), pytest.raises(RasterError):
        read(open_scene(broken), WHOLE)

    assert not [record for record in caplog.records if "JPEG" in record.getMessage()]


@pytest.mark.parametrize(("driver", "name"), [("PNG", "scene.png"), ("ENVI", "scene.bil")])
@pytest.mark.parametrize("in_mosaic", [False, True])
def test_file_that_is_cut_off_is_refused_although_gdal_reads_it(make_raster, tmp_path, driver, name, in_mosaic):
    path = make_raster(fields(SHAPE), name, driver=driver)
    scene = mosaic(tmp_path, name) if in_mosaic else path
    open_scene(scene)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])

    with pytest.raises(RasterError, match="is cut off"):
        open_scene(scene)


def test_geotiff_beside_a_header_of_another_file_is_read(make_raster, tmp_path):
    make_raster(fields((300, 300)), "scene.bil", driver="ENVI")
    (tmp_path / "scene.bil").unlink()
    path = make_raster(fields(SHAPE), "scene.tif", compress="deflate")
    assert (tmp_path / "scene.hdr").is_file()

    assert read(open_scene(path), WHOLE)[1].all()


def mostly_damaged(make_raster, pixels):
    path = make_raster(pixels, compress="deflate", nodata=0, **BLOCKS)
    for row in range(4):
        for col in range(4):
            if (row, col) != (0, 0):
                damage(path, row, col)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_file_most_of_which_cannot_be_read_stops_in_one_line_that_says_so(make_raster, tmp_path, dtype):
    path = mostly_damaged(make_raster, fields(SHAPE, 1).astype(dtype))

    with pytest.raises(RasterError, match=r"cannot be read: \d+ of \d+ windows") as stopped:
        geoseg.segment_scene(path, tmp_path / "out.gpkg", method="kmeans", workers=0)
    with pytest.raises(RasterError, match="cannot be read"):
        open_label_raster(LabelInput(path))

    assert "\n" not in str(stopped.value)
    assert "no valid pixels" not in str(stopped.value)


def test_file_without_data_in_its_readable_part_is_not_said_to_have_none(make_raster, tmp_path):
    path = make_raster(np.zeros((1, 1024, 1024), np.uint8), compress="deflate", nodata=0, **BLOCKS)
    damage(path, 3, 4)

    with pytest.raises(RasterError, match="where it can be read"):
        geoseg.segment_scene(path, tmp_path / "out.gpkg", method="kmeans", workers=0)


def test_unreadable_values_stop_the_run(make_raster, tmp_path):
    labels = make_raster(np.ones((1, *SHAPE), np.uint8), "labels.tif")
    values = mostly_damaged(make_raster, fields(SHAPE, 1))

    with pytest.raises(RasterError, match="cannot be read"):
        geoseg.outline_labels(labels, tmp_path / "out.gpkg", values=shutil.copy(values, tmp_path / "v.tif"), workers=0)
