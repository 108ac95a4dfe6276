import numpy as np
import pytest
import rasterio
from scipy import ndimage

import geoseg
from geoseg.cli.scene_info import scene_info, task_of
from geoseg.grid import TileGrid, Window
from geoseg.progress import Note
from geoseg.raster.block_mask import BlockMask
from geoseg.raster.collar import Collar, collar_notes
from geoseg.raster.collar_search import find_collar
from geoseg.raster.flood import flood, grow
from geoseg.raster.label_raster import LabelInput
from geoseg.raster.scene import open_scene
from geoseg.run.cluster_options import ClusterOptions
from geoseg.run.plan import open_configured

from .conftest import fields, run_command

SHAPE = (200, 240)
ROWS, COLS = np.indices(SHAPE)
TRIANGLES = (ROWS + COLS < 70) | (ROWS + COLS > 380)
STRIP = COLS >= 200
CONCAVE = (ROWS < 20) | ((COLS > 30) & (COLS < 50) & (ROWS < 150)) | ((ROWS > 130) & (ROWS < 150) & (COLS < 200))


def scene(n_bands=3, *, dtype=np.uint8):
    return fields(SHAPE, n_bands, dtype=dtype, noise=8)


def filled(where, value, pixels):
    return np.where(where, np.asarray(value, pixels.dtype).reshape(-1, 1, 1), pixels)


def collar_of(path):
    """Return the collar of a raster, and which of its pixels are in it."""
    opened = open_scene(path)
    collar = find_collar(opened)
    return collar, collar.within(opened.geobox.window)


@pytest.mark.parametrize("where", [TRIANGLES, STRIP, CONCAVE], ids=["triangles", "strip", "concave"])
@pytest.mark.parametrize(
    ("value", "n_bands", "dtype"),
    [
        (0, 3, np.uint8),
        (255, 3, np.uint8),
        (128, 3, np.uint8),
        (0, 1, np.uint8),
        (0, 4, np.uint16),
        (65535, 1, np.uint16),
        (-9999, 2, np.int16),
        (0, 2, np.float32),
        (-9999, 1, np.float32),
        ([255, 0, 255], 3, np.uint8),
    ],
    ids=str,
)
def test_collar_is_exactly_the_pixels_with_the_fill_value(make_raster, where, value, n_bands, dtype):
    path = make_raster(filled(where, value, scene(n_bands, dtype=dtype)), photometric="minisblack")

    collar, found = collar_of(path)

    np.testing.assert_array_equal(found, where)
    assert [fill.values for fill in collar.fills] == [((*np.broadcast_to(value, n_bands).astype(float),),)]
    assert collar.fills[0].n_pixels == where.sum()


def test_pixels_of_the_fill_value_inside_the_scene_stay_data(make_raster):
    inside = (ROWS > 90) & (ROWS < 110) & (COLS > 90) & (COLS < 130)

    _, found = collar_of(make_raster(filled(TRIANGLES | inside, 255, scene())))

    np.testing.assert_array_equal(found, TRIANGLES)


def test_data_inside_of_a_collar_stays_data(make_raster):
    island = (ROWS > 10) & (ROWS < 40) & (COLS > 210) & (COLS < 230)

    _, found = collar_of(make_raster(filled(STRIP & ~island, 0, scene())))

    np.testing.assert_array_equal(found, STRIP & ~island)


def test_two_collars_with_different_values_are_found_and_named(make_raster):
    path = make_raster(filled(STRIP, 255, filled(TRIANGLES, 0, scene())))

    collar, found = collar_of(path)

    np.testing.assert_array_equal(found, TRIANGLES | STRIP)
    assert sorted(fill.values[0][0] for fill in collar.fills) == [0, 255]
    assert len(collar_notes(collar, path)) == 2


def test_collar_inside_of_another_collar_is_found(make_raster):
    frame = (ROWS < 12) | (ROWS >= 188) | (COLS < 12) | (COLS >= 228)
    inner = (ROWS + COLS < 100) | (ROWS + COLS > 340)

    _, found = collar_of(make_raster(filled(frame, 255, filled(inner, 0, scene()))))

    np.testing.assert_array_equal(found, frame | inner)


def test_scene_that_is_a_narrow_strip_keeps_its_data(make_raster):
    data = (ROWS > 90) & (ROWS < 110)

    _, found = collar_of(make_raster(filled(~data, 0, scene())))

    np.testing.assert_array_equal(found, ~data)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("photometric", ["RGB", "YCbCr"])
def test_losses_of_jpeg_at_the_border_of_a_collar_belong_to_it(make_raster, value, photometric):
    pixels = filled(TRIANGLES, value, scene())
    path = make_raster(pixels, compress="jpeg", jpeg_quality=75, photometric=photometric)

    collar, found = collar_of(path)

    assert collar.fills[0].tolerance[0] > 0
    assert found[ndimage.binary_erosion(TRIANGLES, np.ones((3, 3)), iterations=16, border_value=1)].all()
    assert found[TRIANGLES].mean() > 0.8
    assert found[~ndimage.binary_dilation(TRIANGLES, iterations=2)].mean() < 0.001
    assert "lossy compression" in collar_notes(collar, path)[0]


def with_losses(pixels, where, *, reach=6):
    """Return uint16 pixels with a collar of 0 whose outer `reach` px have what is left by compression with losses."""
    ring = where & ndimage.binary_dilation(~where, iterations=reach)
    left = np.random.default_rng(0).integers(0, 400, pixels.shape)
    return np.where(ring, left, filled(where, 0, pixels)).astype(np.uint16)


def test_losses_in_integers_wider_than_bytes_belong_to_the_collar(make_raster):
    pixels = scene(4, dtype=np.uint16).astype(np.int64) * 40

    collar, found = collar_of(make_raster(with_losses(pixels, TRIANGLES)))

    assert collar.fills[0].tolerance[0] > 0
    assert found[TRIANGLES].mean() > 0.98
    assert not found[~TRIANGLES].any()


def test_dark_water_that_goes_on_beside_a_fill_value_stays_data(make_raster):
    water = np.random.default_rng(0).integers(60, 200, (4, *SHAPE))
    pixels = np.where(COLS < 120, water, scene(4, dtype=np.uint16).astype(np.int64) * 40)

    _, found = collar_of(make_raster(filled(TRIANGLES, 0, pixels).astype(np.uint16)))

    assert not found[~TRIANGLES].any()


@pytest.mark.parametrize("value", [0, 255])
def test_collar_with_noise_of_lossy_compression_everywhere_is_found(make_raster, value):
    noise = np.random.default_rng(0).integers(0, 4, (3, *SHAPE))
    pixels = np.where(TRIANGLES, np.abs(value - noise), scene()).astype(np.uint8)

    _, found = collar_of(make_raster(pixels))

    np.testing.assert_array_equal(found, TRIANGLES)


def smooth(sigma, seed=0):
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, SHAPE), sigma) * sigma


def sea():
    """An elevation model, whose sea has the value 0 exactly."""
    return np.maximum(ROWS + COLS - 150 + 5 * smooth(2), 0)[None].astype(np.float32)


def thematic():
    """A noisy land-cover raster with open water at one corner."""
    classes = np.digitize(smooth(3) + smooth(1, 1), np.linspace(-1.5, 1.5, 9)) + 20
    return np.where(ROWS + COLS < 120, 0, classes)[None].astype(np.uint8)


def mask():
    return np.where(smooth(8) > 0, 255, 0)[None].astype(np.uint8)


def snow():
    """Snow at one corner that saturates the camera."""
    return np.clip(scene() + np.clip(400 - 2.0 * (ROWS + COLS), 0, None), 1, 255).astype(np.uint8)


def one_band_of_zeros():
    pixels = scene(4)
    pixels[3, ROWS + COLS < 120] = 0
    return pixels


def roof():
    """A saturated roof at the edge, and one at a corner."""
    return filled(((ROWS < 20) & (abs(COLS - 100) < 20)) | ((ROWS > 180) & (COLS < 20)), 255, scene())


def constant():
    return np.full((3, *SHAPE), 255, np.uint8)


def map_with_margin():
    """A drawn map of flat colours with smoothed borders and a white margin."""
    land = ndimage.gaussian_filter(mask()[0].astype(float), 0.6)
    return filled(COLS < 60, 255, np.stack([land, 255 - land / 3, 100 + land / 2]).astype(np.uint8))


@pytest.mark.parametrize(
    "make",
    [sea, thematic, mask, snow, one_band_of_zeros, roof, constant, map_with_margin, scene],
    ids=lambda f: f.__name__,
)
def test_value_at_the_edge_that_is_no_fill_is_not_a_collar(make_raster, make):
    collar, found = collar_of(make_raster(make(), photometric="minisblack"))

    assert collar.fills == ()
    assert not found.any()


@pytest.mark.parametrize("kind", ["nodata", "mask", "nan"])
def test_collar_that_the_raster_declares_is_not_searched_for_again(make_raster, kind):
    pixels = filled(TRIANGLES, 0, scene()).astype(np.float32)
    if kind == "nan":
        pixels[:, TRIANGLES] = np.nan
    options = {"nodata": {"nodata": 0}, "mask": {"mask": ~TRIANGLES}, "nan": {}}[kind]

    assert collar_of(make_raster(pixels, **options))[0].fills == ()


def test_pixels_are_read_without_the_collar_whatever_the_window(make_raster):
    shape = (700, 1100)
    rows, cols = np.indices(shape)
    where = (rows * 3 + cols < 900) | (rows + cols > 1600) | ((abs(rows - 400) < 10) & (cols < 800))
    path = make_raster(filled(where, 0, fields(shape, 3, noise=8)))
    opened = open_scene(path)
    collar = find_collar(opened)

    for size in (97, 512, 1100):
        for tile in TileGrid(shape, size, 0):
            np.testing.assert_array_equal(collar.within(tile.core), where[tile.core.within(opened.geobox.window)])


@pytest.mark.parametrize("seed", range(3))
def test_flood_fill_by_blocks_is_that_of_the_whole_raster(seed):
    shape = (1100, 1300)
    candidates = np.random.default_rng(seed).random(shape) < 0.6  # pieces of all sizes
    whole = Window(0, 0, shape[1], shape[0])
    begin = Window(0, 0, 40, 1)

    found = flood(BlockMask.of_windows(shape, [begin]), lambda window: candidates[window.within(whole)])

    seeds = np.zeros(shape, bool)
    seeds[begin.within(whole)] = True
    expected = ndimage.binary_propagation(seeds & candidates, mask=candidates)
    np.testing.assert_array_equal(found.within(whole), expected)
    assert found.n_pixels == expected.sum()


def test_growth_by_blocks_is_that_of_the_whole_raster():
    shape = (600, 1100)
    whole = Window(0, 0, shape[1], shape[0])
    candidates = np.random.default_rng(0).random(shape) < 0.7
    begin = Window(490, 500, 22, 12)

    grown = grow(BlockMask.of_windows(shape, [begin]), lambda window: candidates[window.within(whole)], steps=9)

    seeds = np.zeros(shape, bool)
    seeds[begin.within(whole)] = True
    expected = ndimage.binary_dilation(seeds, np.ones((3, 3)), iterations=9, mask=candidates | seeds)
    np.testing.assert_array_equal(grown.within(whole), expected)


def test_stored_collar_is_the_same_when_it_is_read_back(make_raster):
    collar, _ = collar_of(make_raster(filled(TRIANGLES, 0, scene())))

    assert Collar.from_arrays(collar.to_arrays()) == collar


def test_collar_is_nodata_by_default_and_is_reported(make_raster, tmp_path):
    path = make_raster(filled(TRIANGLES, 255, scene()))
    events = []

    result = geoseg.segment_scene(path, tmp_path / "a.gpkg", method="kmeans", workers=0, progress=events.append)
    kept = geoseg.segment_scene(path, tmp_path / "b.gpkg", method="kmeans", workers=0, collar="keep")

    (note,) = [event.text for event in events if isinstance(event, Note) and "collar" in event.text]
    share = round(100 * TRIANGLES.mean())
    assert f"{share}% of the pixels" in note
    assert "255 in all bands" in note
    assert "--collar keep" in note
    assert result.polygons()["pixels"].sum() == (~TRIANGLES).sum()
    assert kept.polygons()["pixels"].sum() == TRIANGLES.size


def class_raster(path, folder, **options):
    folder.mkdir()
    geoseg.segment_scene(
        path, folder / "out.gpkg", class_raster=folder / "classes.tif", method="kmeans", workers=0, **options
    )
    with rasterio.open(folder / "classes.tif") as raster:
        return raster.read(1)


def test_class_raster_with_a_collar_does_not_depend_on_the_tile_size(make_raster, tmp_path):
    path = make_raster(filled(CONCAVE | STRIP, 0, scene()))

    small, large = (class_raster(path, tmp_path / str(size), tile_size=size) for size in (64, 512))

    np.testing.assert_array_equal(small, large)
    np.testing.assert_array_equal(small == 0, CONCAVE | STRIP)


@pytest.mark.slow
def test_declaring_a_collar_does_not_change_the_classes(make_raster, tmp_path):
    pixels = filled(TRIANGLES, 0, scene())

    found = class_raster(make_raster(pixels, "plain.tif"), tmp_path / "a")
    declared = class_raster(make_raster(pixels, "declared.tif", nodata=0), tmp_path / "b")

    np.testing.assert_array_equal(found, declared)


@pytest.mark.slow
def test_array_has_the_collar_of_a_file_with_the_same_pixels(make_raster, tmp_path):
    pixels = filled(TRIANGLES, 0, scene())

    in_file = class_raster(make_raster(pixels), tmp_path / "a")
    with rasterio.open(tmp_path / "scene.tif") as raster:
        place = {"transform": raster.transform, "crs": raster.crs.to_wkt()}
    in_memory = geoseg.segment_array(pixels, method="kmeans", **place)
    kept = geoseg.segment_array(pixels, method="kmeans", collar="keep", **place)

    np.testing.assert_array_equal(in_memory.classes, in_file)
    assert (kept.classes > 0).all()


@pytest.mark.slow
def test_run_in_parts_and_resumed_run_have_the_collar_of_one_run(make_raster, tmp_path):
    path = make_raster(filled(TRIANGLES, 0, scene()))
    expected = class_raster(path, tmp_path / "whole", tile_size=96)

    run = geoseg.plan_scene(path, tmp_path / "run", method="kmeans", tile_size=96)
    for part in (1, 2):
        geoseg.work_part(run.run_dir, part, 2, workers=0)
    geoseg.finish_run(run.run_dir, tmp_path / "parts.gpkg", class_raster=tmp_path / "parts.tif", workers=0)

    with rasterio.open(tmp_path / "parts.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), expected)


@pytest.mark.slow
def test_run_with_another_treatment_of_the_collar_is_not_resumed(make_raster, tmp_path):
    path = make_raster(filled(TRIANGLES, 0, scene()))
    options = {"method": "kmeans", "workers": 0, "keep": True}
    geoseg.segment_scene(path, tmp_path / "a.gpkg", **options)

    with pytest.raises(geoseg.RunError, match="collar"):
        geoseg.segment_scene(path, tmp_path / "a.gpkg", resume=True, collar="keep", **options)


def test_area_of_interest_in_the_collar_alone_is_an_error_that_names_the_collar(make_raster, tmp_path):
    import geopandas
    import shapely

    path = make_raster(filled(STRIP, 0, scene()))
    with rasterio.open(path) as raster:
        left, bottom = raster.transform @ (210, 150)
        right, top = raster.transform @ (230, 50)
        geopandas.GeoDataFrame(geometry=[shapely.box(left, bottom, right, top)], crs=raster.crs.to_wkt()).to_file(
            tmp_path / "area.gpkg"
        )

    ended = run_command(
        "tile",
        path,
        "--out",
        tmp_path / "a.gpkg",
        "--aoi",
        tmp_path / "area.gpkg",
        "--workers",
        0,
        "--method",
        "kmeans",
    )

    assert ended.code == 1
    assert "collar (0 in all bands)" in ended.text
    assert "--collar keep" in ended.text


def test_info_shows_the_collar(make_raster):
    path = make_raster(filled(TRIANGLES, 0, scene()))
    config = geoseg.load_config(method="kmeans")

    facts = scene_info(task_of(open_configured(str(path), config, aoi=None), config), cluster=ClusterOptions(workers=0))

    assert "undeclared collar of 0 in all bands" in facts.bands[0].treatment
    assert "undeclared collar" in facts.notes[0]
    assert facts.valid_share < 1


def test_values_in_the_collar_are_not_summed_over_labels(make_raster, tmp_path):
    labels = make_raster(np.ones((1, *SHAPE), np.uint8), "labels.tif")
    pixels = filled(STRIP, 0, scene())
    values = make_raster(pixels, "values.tif")

    found, kept = (
        geoseg.outline_labels(labels, tmp_path / f"{collar}.gpkg", values=values, collar=collar, workers=0)
        for collar in ("nodata", "keep")
    )

    assert found.polygons()["mean_1"][0] == pytest.approx(pixels[0, ~STRIP].mean())
    assert kept.polygons()["mean_1"][0] == pytest.approx(pixels[0].mean())
    with pytest.raises(geoseg.ConfigError, match="there are no values"):
        geoseg.outline_labels(LabelInput(str(labels)), tmp_path / "out.gpkg", collar="keep", workers=0)
