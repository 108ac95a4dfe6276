import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from geoseg.config import Config, Learn, Tiles
from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.raster.scene import open_scene, read
from geoseg.segment.features import REACH, Stretch
from geoseg.segment.survey import Survey
from geoseg.steps.survey import read_crop, survey_windows

from .conftest import fields, write_raster
from .test_scene import area_file, damage, on_map

CONFIG = Config(learn=Learn(windows=9, crop=32))


def survey_of(path, config=CONFIG, **options):
    scene = open_scene(path, **options)
    return scene, survey_windows(scene, config)


def test_stretch_ranges_from_the_1st_to_the_99th_percentile_of_the_scene(make_raster):
    pixels = np.random.default_rng(0).integers(0, 10_000, (2, 100, 100)).astype(np.uint16)
    pixels[1] += 5000

    _, found = survey_of(make_raster(pixels))

    assert found.stretch.low == pytest.approx((100, 5100), abs=100)
    assert found.stretch.high == pytest.approx((9900, 14_900), abs=100)


def test_stretch_depends_on_valid_pixels_only(make_raster):
    pixels = np.random.default_rng(0).integers(100, 200, (1, 100, 100)).astype(np.int16)
    pixels[:, :, ::2] = -9999

    _, found = survey_of(make_raster(pixels, nodata=-9999))

    assert found.stretch.low[0] >= 100
    assert found.stretch.high[0] < 200


def test_stretch_of_a_nearly_constant_scene_includes_the_other_values(make_raster):
    pixels = np.zeros((1, 100, 100), np.uint16)
    pixels[0, 40:45, 40:45] = 5000

    _, found = survey_of(make_raster(pixels))

    assert found.stretch == Stretch((0.0,), (5000.0,))


def test_survey_of_a_constant_scene_gives_finite_input(make_raster):
    scene, found = survey_of(make_raster(np.full((3, 60, 60), 7, np.uint8)))

    bands, layers, _ = read_crop(scene, found.windows[0], found.stretch, "bands+texture")

    assert found.stretch.low == found.stretch.high == (7.0, 7.0, 7.0)
    assert np.isfinite(bands).all()
    assert np.isfinite(layers).all()
    assert min(found.standard.deviation) > 0


def test_windows_are_spread_over_the_whole_scene(make_raster):
    _, found = survey_of(make_raster(fields((200, 300))), Config(learn=Learn(windows=24, crop=32)))

    assert len(found.windows) == 24
    thirds = {(window.row_off * 2 // 170, window.col_off * 3 // 270) for window in found.windows}
    assert len(thirds) == 6


@given(rows=st.integers(1, 90), cols=st.integers(1, 90), seed=st.integers(0, 99))
def test_windows_are_inside_the_scene_however_small_it_is(tmp_path_factory, rows, cols, seed):
    path = write_raster(tmp_path_factory.mktemp("small") / "scene.tif", fields((rows, cols), 1, patch=5))

    _, found = survey_of(path, Config(seed=seed, learn=Learn(windows=5, crop=32)))

    for window in found.windows:
        assert window.shape == (min(rows, 32), min(cols, 32))
        assert window.intersection(Window(0, 0, cols, rows)) == window


def test_windows_are_in_the_area_of_interest(make_raster, tmp_path):
    area = area_file(tmp_path, [on_map(box(150, 20, 190, 60))])

    scene, found = survey_of(make_raster(fields((200, 300))), aoi=area)

    for window in found.windows:
        assert read(scene, window)[1].mean() >= 0.5
        assert 118 <= window.col_off <= 190


@pytest.mark.parametrize("tile_size", [64, 256])
def test_only_valid_pixels_of_a_scene_are_found_with_any_tile_size(make_raster, tile_size):
    pixels = np.zeros((1, 700, 900), np.uint8)
    pixels[0, 611:614, 802:805] = 9
    config = Config(learn=Learn(windows=2, crop=32), tiles=Tiles(size=tile_size, halo=16))

    scene, found = survey_of(make_raster(pixels, nodata=0), config)

    (window,) = found.windows
    assert read(scene, window)[1].sum() == 9


def test_scattered_valid_pixels_are_sampled_in_many_windows(make_raster):
    pixels = fields((400, 400), 1)
    islands = np.zeros((400, 400), bool)
    islands[::40] = islands[:, ::40] = True  # a grid of lines: 5 % of each window
    islands[:40, :40] = True  # and one completely valid window
    pixels[:, ~islands] = 0

    _, found = survey_of(make_raster(pixels, nodata=0), Config(learn=Learn(windows=20, crop=32)))

    assert len(found.windows) == 20


def test_scene_without_valid_pixels_is_refused(make_raster):
    with pytest.raises(RasterError, match="no valid pixels in the bands"):
        survey_of(make_raster(np.zeros((1, 50, 50), np.uint8), nodata=0))


def test_damaged_part_of_a_scene_is_skipped(make_raster):
    path = make_raster(fields((128, 128)), tiled=True, blockxsize=32, blockysize=32, compress="deflate")
    damage(path, 1, 1)

    scene, found = survey_of(path)

    for window in found.windows:
        read(scene, window)  # does not raise


def test_survey_does_not_depend_on_the_seed(make_raster):
    path = make_raster(fields((200, 200)))

    first, again, other = (survey_of(path, Config(seed=seed, learn=CONFIG.learn))[1] for seed in (1, 1, 2))

    assert first == again == other


def test_survey_is_restored_from_its_dict(make_raster):
    _, found = survey_of(make_raster(fields((80, 80))))

    assert Survey.from_dict(found.to_dict()) == found


@given(left=st.integers(0, 60), top=st.integers(0, 60), width=st.integers(1, 40), height=st.integers(1, 40))
def test_crop_equals_a_part_of_the_whole_scene(tmp_path_factory, left, top, width, height):
    path = tmp_path_factory.getbasetemp() / "whole.tif"
    if not path.exists():
        pixels = fields((100, 100))
        pixels[:, 30:50, 20:40] = 0
        write_raster(path, pixels, nodata=0)
    scene = open_scene(path)
    stretch, window = Stretch((0.0,) * 3, (255.0,) * 3), Window(left, top, width, height)

    bands, layers, valid = read_crop(scene, window, stretch, "bands+texture")

    all_bands, all_layers, all_valid = read_crop(scene, scene.geobox.window, stretch, "bands+texture")
    inner = window.within(scene.geobox.window)
    np.testing.assert_array_equal(valid, all_valid[inner])
    np.testing.assert_array_equal(bands, all_bands[:, *inner])
    np.testing.assert_allclose(layers, all_layers[:, *inner], atol=1e-4)
    assert REACH < 16
