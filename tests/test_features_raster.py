"""A features raster takes part in the classes of a scene and in nothing else."""

import json
import types

import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import map_coordinates

import geoseg
from geoseg.errors import ConfigError, ModelError, OutputError, RasterError, RunError
from geoseg.grid import Window
from geoseg.parts.finish import finish_run
from geoseg.parts.plan import plan_scene
from geoseg.parts.work import work_part
from geoseg.preview.preview import preview_scene
from geoseg.progress import Note
from geoseg.raster import features_raster
from geoseg.raster.features_raster import open_features, parts_of, to_cells
from geoseg.raster.scene import open_scene
from geoseg.segment.feature_reduction import MAX_COMPONENTS, fit_reduction
from geoseg.segment.interpolation import interpolate

from .conftest import QUICK, TRANSFORM, rest_slow, run_command, write_raster
from .test_cli import only_line
from .test_preview import GAP, SIDE

SHAPE = (200, 260)
STRIDE = 8  # px
OFFSET = Affine(STRIDE, 0, -21.5, 0, STRIDE, -13.25)  # cells that begin within pixels, outside the scene
NODATA = -9999.0
PLAIN = {"classes": 2, "min_pixels": 1, "simplify": 0, "superpixels__min_size": 12}
PLAIN |= {"learn__windows": 8, "learn__crop": 64}
METHODS = {"backprop": {"method": "backprop", "learn__steps": 12}, "kmeans": {}, "rag": {"method": "rag"}}


def land_cover(rows, cols):
    """Return which of two covers is at a place, given in pixels of the scene; they meet in a wave."""
    return (cols + 30 * np.sin(rows / 35) > SHAPE[1] / 2).astype(int)


def truth():
    rows, cols = np.indices(SHAPE) + 0.5
    return land_cover(rows, cols)


def one_colour(seed=0):
    """Return an image in which the two covers have the same colour and the same texture."""
    return np.random.default_rng(seed).normal(120, 10, (3, *SHAPE)).clip(1, 254).astype(np.uint8)


def embeddings(n_bands=5, *, transform=OFFSET, shape=(30, 40), seed=1):
    """Return embeddings (band, y, x) float32 of the covers, on cells that `transform` places in pixels of the scene."""
    draw = np.random.default_rng(seed)
    rows, cols = np.indices(shape) + 0.5
    cols, rows = transform @ (cols, rows)
    of_cover = draw.normal(0, 1, (2, n_bands)) * np.geomspace(0.01, 300, n_bands)  # in different units
    noise = draw.normal(0, 0.1, (n_bands, *shape)) * np.geomspace(0.01, 300, n_bands)[:, None, None]
    return (of_cover[land_cover(rows, cols)].transpose(2, 0, 1) + noise).astype(np.float32)


def write_features(path, values, *, transform=OFFSET, **profile):
    return write_raster(path, values, transform=TRANSFORM @ transform, **profile)


def classes_in(path):
    with rasterio.open(path) as raster:
        return raster.read(1)


def agreement(classes, cover):
    """Return the share of pixels whose class has one cover only, at best, if each class is one of them."""
    counts = np.array([np.bincount(cover[classes == one], minlength=2) for one in np.unique(classes[classes > 0])])
    return counts.max(axis=1).sum() / counts.sum()


@pytest.fixture
def classes_of(tmp_path):
    """Segment a scene and return the class raster: classes_of(scene, features=…, **options)."""

    def run(scene, *, out="labels", **options):
        given = PLAIN | {"method": "kmeans", "workers": 0, "device": "cpu", "overwrite": True} | options
        geoseg.segment_scene(scene, tmp_path / f"{out}.gpkg", class_raster=tmp_path / f"{out}.tif", **given)
        return classes_in(tmp_path / f"{out}.tif")

    return run


@pytest.fixture
def scene(make_raster):
    return make_raster(one_colour())


@pytest.fixture
def features(tmp_path):
    return write_features(tmp_path / "features.tif", embeddings())


# --- what features do ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", rest_slow(METHODS, quick=2))
def test_classes_follow_features_where_colour_and_texture_are_the_same(scene, features, classes_of, method):
    with_features = classes_of(scene, features=features, **METHODS[method])
    without = classes_of(scene, **METHODS[method])

    assert agreement(with_features, truth()) > 0.95
    assert agreement(without, truth()) < 0.7


@pytest.mark.slow
def test_small_weight_leaves_the_classes_to_the_scene(make_raster, features, classes_of):
    pixels = one_colour()
    pixels[:, : SHAPE[0] // 2] //= 2
    upper = np.broadcast_to((np.arange(SHAPE[0]) < SHAPE[0] // 2)[:, None], SHAPE).astype(int)
    scene = make_raster(pixels)

    assert agreement(classes_of(scene, features=features, feature_weight=0.05), upper) > 0.95
    assert agreement(classes_of(scene, features=features, feature_weight=20.0), truth()) > 0.95


@pytest.mark.slow
def test_two_hundred_bands_are_reduced_and_separate_the_covers(scene, tmp_path, classes_of):
    features = write_features(tmp_path / "features.tif", embeddings(200))

    assert agreement(classes_of(scene, features=features), truth()) > 0.95


def test_statistics_and_colours_are_those_of_the_scene(scene, features, tmp_path, classes_of):
    classes = classes_of(scene, features=features)

    found = pyogrio.read_dataframe(tmp_path / "labels.gpkg", layer="labels")
    image = one_colour()
    assert [name for name in found.columns if name.startswith("mean_")] == ["mean_1", "mean_2", "mean_3"]
    for one in np.unique(classes):
        rows = found[found["class"] == one]
        mean = np.average(rows["mean_1"], weights=rows["pixels"])
        assert mean == pytest.approx(image[0][classes == one].mean(), abs=1e-3)


# --- grids and tiles ----------------------------------------------------------------------------------------------

GRIDS = {
    "rotated": Affine.translation(-60, 60) @ Affine.rotation(-30) @ Affine.scale(STRIDE),
    "coarse": OFFSET,
    "same": Affine.identity(),
    "fine": Affine(0.5, 0, -3, 0, 0.5, -2),
    "mirrored": Affine(-STRIDE, 0, 285, 0, STRIDE, -13.25),
}
CELLS = {"coarse": (30, 40), "same": SHAPE, "fine": (420, 540), "mirrored": (30, 40), "rotated": (50, 60)}


@pytest.mark.parametrize("grid", rest_slow(GRIDS))
def test_tile_size_does_not_change_a_pixel(scene, tmp_path, classes_of, grid, monkeypatch):
    monkeypatch.setattr(features_raster, "_MAX_BYTES", 2**17)  # so that a tile is read in parts
    values = embeddings(3, transform=GRIDS[grid], shape=CELLS[grid])
    features = write_features(tmp_path / "features.tif", values, transform=GRIDS[grid])

    whole = classes_of(scene, features=features, tile_size=1024, classes=6)
    tiled = [classes_of(scene, features=features, tile_size=size, classes=6) for size in (64, 100, 256)]

    assert len(np.unique(whole)) == 6
    assert all(classes.tobytes() == whole.tobytes() for classes in tiled)
    assert agreement(whole, truth()) > 0.9


@given(st.integers(0, 40), st.integers(0, 50), st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_window_has_the_interpolated_values_of_the_whole(top, left, height, width, seed):
    draw = np.random.default_rng(seed)
    transform = Affine.translation(*draw.uniform(-3, 3, 2)) @ Affine.rotation(draw.uniform(-90, 90)) @ Affine.scale(0.3)
    values, known = draw.normal(size=(2, 24, 24)), draw.random((24, 24)) > 0.2
    cells = Window(0, 0, 24, 24)
    window = Window(left, top, width, height)

    whole = interpolate(values, known, cells, transform, Window(0, 0, 80, 70))
    part = interpolate(values, known, cells, transform, window)

    assert part.tobytes() == whole[:, *window.within(Window(0, 0, 80, 70))].tobytes()


def test_interpolation_is_bilinear_between_cell_centres():
    values = np.random.default_rng(3).normal(size=(1, 12, 15))
    shape, transform = (40, 50), Affine(0.3, 0, 0.1, 0, 0.28, 0.2)

    found = interpolate(values, np.ones((12, 15), bool), Window(0, 0, 15, 12), transform, Window(0, 0, 50, 40))

    rows, cols = np.indices(shape) + 0.5
    u, v = transform @ (cols, rows)
    expected = map_coordinates(values[0], [v - 0.5, u - 0.5], order=1, mode="nearest")
    inside = (u < 15) & (v < 12)
    assert found[1].tolist() == inside.tolist()
    np.testing.assert_allclose(found[0][inside], expected[inside], atol=1e-5)
    assert not found[0][~inside].any()


def test_equal_grids_give_the_values_of_the_cells(scene, tmp_path):
    values = embeddings(2, transform=Affine.identity(), shape=SHAPE)
    opened = open_scene(scene)
    features = open_features(str(write_features(tmp_path / "same.tif", values, transform=Affine.identity())), opened)
    transform = to_cells(features, opened.geobox)

    found = interpolate(
        values.astype(float), np.ones(SHAPE, bool), opened.geobox.window, transform, opened.geobox.window
    )

    assert np.array_equal(found[:2], values)


def test_parts_of_a_window_cover_it_once_and_fit_into_memory(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(features_raster, "_MAX_BYTES", 2**14)
    opened = open_scene(scene)
    features = open_features(str(write_features(tmp_path / "features.tif", embeddings(9))), opened)
    window = Window(40, 30, 120, 100)

    parts = list(parts_of(features, opened.geobox, window))

    covered = np.zeros(SHAPE, int)
    for part, _ in parts:
        covered[part.within(opened.geobox.window)] += 1
    assert len(parts) > 1
    assert covered[window.within(opened.geobox.window)].tolist() == np.ones(window.shape, int).tolist()
    assert covered.sum() == window.width * window.height
    assert all(cells.width * cells.height * 9 * 4 <= 2**14 for _, cells in parts)


# --- cells without a value ----------------------------------------------------------------------------------------


def two_colours():
    """Return an image whose lower half is brighter."""
    pixels = one_colour()
    pixels[:, : SHAPE[0] // 2] //= 2
    return pixels


def lower():
    return np.broadcast_to((np.arange(SHAPE[0]) >= SHAPE[0] // 2)[:, None], SHAPE)


def gap():
    """Return the cells without a value: those of the right third of the scene."""
    _, cols = np.indices((30, 40)) + 0.5
    return STRIDE * cols - 21.5 > 180


@pytest.mark.parametrize("kind", rest_slow(["outside", "nan", "nodata"]))
def test_superpixels_without_features_get_the_classes_of_their_colours(make_raster, tmp_path, classes_of, kind):
    values = embeddings()
    if kind == "outside":
        features = write_features(tmp_path / "features.tif", values[:, :, :25])
    else:
        values[:, gap()] = np.nan if kind == "nan" else NODATA
        features = write_features(tmp_path / "features.tif", values, nodata=NODATA)
    notes = []

    classes = classes_of(
        make_raster(two_colours()), features=features, classes=4, progress=lambda event: notes.append(event)
    )

    right = np.indices(SHAPE)[1] > 195
    assert agreement(np.where(right, 0, classes), truth()) > 0.95  # four kinds: two colours, two covers
    assert agreement(np.where(right, classes, 0), lower().astype(int)) > 0.95
    assert set(np.unique(classes[right])) <= set(np.unique(classes[~right]))
    texts = [event.text for event in notes if isinstance(event, Note)]
    assert any("features.tif has no value in" in text and "by the bands of the scene alone" in text for text in texts)


@pytest.mark.slow
def test_nodata_in_some_bands_only_counts_as_their_mean(scene, tmp_path, classes_of):
    values = embeddings()
    values[4, gap()] = NODATA

    classes = classes_of(scene, features=write_features(tmp_path / "features.tif", values, nodata=NODATA))

    assert agreement(classes, truth()) > 0.95


def test_features_without_any_value_are_refused(scene, tmp_path, classes_of):
    features = write_features(tmp_path / "features.tif", np.full((2, 30, 40), np.nan, np.float32))

    with pytest.raises(RasterError, match="no value in the valid pixels"):
        classes_of(scene, features=features)


def test_features_of_one_value_change_nothing_and_are_noted(scene, tmp_path, classes_of):
    features = write_features(tmp_path / "features.tif", np.full((2, 30, 40), 7, np.float32))
    notes = []

    classes = classes_of(scene, features=features, progress=notes.append)

    assert np.array_equal(classes, classes_of(scene))
    assert any(isinstance(event, Note) and "has one value everywhere" in event.text for event in notes)


# --- the reduction ------------------------------------------------------------------------------------------------


def test_reduction_keeps_most_of_the_variance_in_few_components():
    draw = np.random.default_rng(0)
    values = draw.normal(size=(500, 3)) @ draw.normal(size=(3, 200)) + draw.normal(0, 0.05, (500, 200))
    known = np.ones(values.shape, bool)

    reduction = fit_reduction(values.astype(np.float32), known)

    stretched = np.clip((values - reduction.low) / (reduction.high - reduction.low), -0.5, 1.5)
    found = reduction.apply(values.T[:, :, None].astype(np.float32), known.T[:, :, None])[:, :, 0].T
    assert len(reduction.components) == 3
    assert found.var(axis=0).sum() > 0.95 * stretched.var(axis=0).sum()
    np.testing.assert_allclose(reduction.components @ reduction.components.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(found, (stretched - reduction.mean) @ reduction.components.T, atol=1e-5)


def test_reduction_has_at_most_sixteen_components():
    values = np.random.default_rng(0).normal(size=(400, 64)).astype(np.float32)

    assert len(fit_reduction(values, np.ones(values.shape, bool)).components) == MAX_COMPONENTS == 16


# --- what is refused ----------------------------------------------------------------------------------------------


def test_features_in_another_crs_are_refused_with_what_to_do(geoseg_tile, scene, tmp_path):
    features = write_features(tmp_path / "features.tif", embeddings(), crs="EPSG:32632")

    line = only_line(geoseg_tile(scene, "--features", features))

    assert "has another CRS" in line
    assert "gdalwarp" in line


def test_features_of_another_place_are_refused(geoseg_tile, scene, tmp_path):
    features = write_features(tmp_path / "features.tif", embeddings(), transform=Affine.translation(90_000, 0))

    assert "do not overlap" in only_line(geoseg_tile(scene, "--features", features))


def test_features_that_refer_to_an_address_are_refused(geoseg_tile, scene, tmp_path):
    source = "<SourceFilename>/vsicurl/http://127.0.0.1:9/a.tif</SourceFilename><SourceBand>1</SourceBand>"
    (tmp_path / "features.vrt").write_text(
        '<VRTDataset rasterXSize="40" rasterYSize="30"><SRS>EPSG:32631</SRS>'
        "<GeoTransform>500000, 80, 0, 5000000, 0, -80</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource>{source}</SimpleSource></VRTRasterBand></VRTDataset>'
    )

    assert "/vsicurl" in only_line(geoseg_tile(scene, "--features", tmp_path / "features.vrt"))


def test_features_that_do_not_exist_are_refused(geoseg_tile, scene, tmp_path):
    assert "absent.tif" in only_line(geoseg_tile(scene, "--features", tmp_path / "absent.tif"))


def test_options_without_effect_are_refused(geoseg_tile, scene, features, tmp_path):
    votes = geoseg_tile(scene, "--features", features, "--config", "yonv2019")

    assert "--feature-weight has no effect without --features" in geoseg_tile(scene, "--feature-weight", 2).text
    assert "features have no effect" in only_line(votes)
    with pytest.raises(ConfigError, match="there is no raster of features"):
        geoseg.segment_scene(scene, tmp_path / "labels.gpkg", feature_weight=2.0)
    with pytest.raises(ConfigError, match="a raster of features has no effect here"):
        geoseg.outline_labels(scene, tmp_path / "labels.gpkg", features=features)


def test_output_never_replaces_the_features(geoseg_tile, scene, features):
    before = features.read_bytes()

    ended = geoseg_tile(scene, "--features", features, "--class-raster", features, "--overwrite", "--method", "kmeans")

    assert "features.tif" in only_line(ended)
    assert features.read_bytes() == before


# --- commands that segment a part of the scene --------------------------------------------------------------------

WINDOW = Window(82, 40, 96, 96)  # of both covers
PREVIEWED = {"method": "kmeans", "superpixels": {"min_size": 12}, "polygons": {"min_pixels": 1}}
PREVIEWED |= {"learn": {"windows": 8, "crop": 64}}


def covers_shown(path):
    """Return the share of the pixels of a preview of `WINDOW`, with one panel, whose class has one cover only."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))[GAP : GAP + SIDE, GAP : GAP + SIDE].astype(int)
    colours = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)[1].reshape(SIDE, SIDE) + 1
    return agreement(colours[2::5, 2::5], truth()[WINDOW.within(Window(0, 0, *SHAPE[::-1]))])


def test_preview_shows_the_classes_with_features(scene, features, tmp_path):
    def shown(name, **options):
        options = {"window": WINDOW, "classes": 2, "stage": "classes", "device": "cpu"} | options
        preview_scene(scene, tmp_path / name, PREVIEWED, **options)
        return covers_shown(tmp_path / name)

    assert shown("with.png", features=features) > 0.9
    assert shown("without.png") < 0.75


def test_preview_refuses_features_as_tile_does(scene, features, tmp_path):
    def refused(*options):
        return run_command("preview", scene, "--out", tmp_path / "preview.png", *options)

    ended = refused("--features", features, "--stage", "superpixels")
    other_crs = write_features(tmp_path / "other.tif", embeddings(), crs="EPSG:32632")

    assert "--features has no effect with --stage scene or superpixels" in ended.text
    assert "--feature-weight has no effect without --features" in refused("--feature-weight", 2).text
    assert "has another CRS than" in only_line(refused("--features", other_crs))
    with pytest.raises(OutputError, match="is an input of the preview"):
        preview_scene(scene, tmp_path / "features.tif", features=features)
    assert not (tmp_path / "preview.png").exists()


def test_info_estimates_a_run_with_features(scene, features, tmp_path, capsys):
    run_command("info", scene, "--features", features, "--method", "kmeans", "--json", "-q")
    absent = run_command("info", scene, "--features", tmp_path / "absent.tif")

    assert json.loads(capsys.readouterr().out)["estimate"]["seconds"] > 0
    assert "absent.tif" in only_line(absent)


# --- runs ---------------------------------------------------------------------------------------------------------


def test_run_is_resumed_with_the_same_features_only(scene, features, tmp_path):
    def run(**options):
        given = PLAIN | {"method": "kmeans", "workers": 0, "keep": True} | options
        return geoseg.segment_scene(scene, tmp_path / "labels.gpkg", **given)

    run(features=features)

    assert run(features=features, resume=True).n_classes == 2
    with pytest.raises(RunError, match="another input or configuration"):
        run(resume=True)
    write_features(features, embeddings(seed=5))
    with pytest.raises(RunError, match=r"features\.tif"):
        run(features=features, resume=True)


def test_report_names_the_features(scene, features, tmp_path, classes_of):
    classes_of(scene, features=features)

    report = (tmp_path / "labels.run" / "run.json").read_text(encoding="utf-8")
    assert '"raster": "features.tif"' in report


@pytest.mark.slow
def test_run_in_parts_gives_the_classes_of_one_run(scene, features, tmp_path, classes_of):
    options = PLAIN | {"method": "kmeans", "tile_size": 100}
    whole = classes_of(scene, features=features, **options)

    run = plan_scene(scene, tmp_path / "run", features=features, **options)
    work_part(run.run_dir, 1, 2)
    work_part(run.run_dir, 2, 2)
    finish_run(run.run_dir, tmp_path / "parts.gpkg", class_raster=tmp_path / "parts.tif", workers=0)

    assert np.array_equal(classes_in(tmp_path / "parts.tif"), whole)


@pytest.mark.slow
def test_part_is_refused_after_the_features_have_changed(scene, features, tmp_path):
    run = plan_scene(scene, tmp_path / "run", features=features, method="kmeans")
    write_features(features, embeddings(seed=5))

    with pytest.raises(RunError, match=r"features\.tif was changed after the run was planned"):
        work_part(run.run_dir, 1, 2)


# --- models -------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / "quick.yaml"
    path.write_text(QUICK)
    return path


@pytest.mark.slow
def test_model_gives_the_same_classes_and_needs_features_of_the_same_kind(scene, features, tmp_path, classes_of, quick):
    model = tmp_path / "town.geoseg"
    trained = classes_of(scene, features=features, config=quick, method="backprop", save_model=model, out="trained")
    others = write_features(tmp_path / "others.tif", embeddings(4))

    def applied(**options):
        return geoseg.segment_scene(
            scene, tmp_path / "again.gpkg", class_raster=tmp_path / "again.tif", model=model, workers=0, **options
        )

    applied(features=features)
    assert np.array_equal(classes_in(tmp_path / "again.tif"), trained)
    with pytest.raises(ModelError, match="uses a raster of features with 5 bands"):
        applied(overwrite=True)
    with pytest.raises(ModelError, match="has 4 bands"):
        applied(features=others, overwrite=True)


@pytest.mark.slow
def test_model_without_features_refuses_them(scene, features, tmp_path, classes_of, quick):
    model = tmp_path / "town.geoseg"
    classes_of(scene, config=quick, method="backprop", save_model=model)

    with pytest.raises(ModelError, match="uses no features"):
        geoseg.segment_scene(scene, tmp_path / "again.gpkg", model=model, features=features, workers=0)


# --- arrays -------------------------------------------------------------------------------------------------------


def test_array_with_features_gives_the_classes_of_files(make_raster, tmp_path, classes_of):
    image, transform = one_colour()[:, :, :256], Affine.scale(STRIDE)
    values = embeddings(transform=transform, shape=(25, 32))
    expected = classes_of(
        make_raster(image), features=write_features(tmp_path / "features.tif", values, transform=transform)
    )
    options = PLAIN | {"method": "kmeans", "transform": TRANSFORM, "crs": "EPSG:32631"}

    as_array = geoseg.segment_array(image, features=values, **options)
    rio = types.SimpleNamespace(
        crs=rasterio.CRS.from_epsg(32631), nodata=None, encoded_nodata=None, transform=lambda: TRANSFORM @ transform
    )
    data_array = types.SimpleNamespace(values=values, dims=("band", "y", "x"), attrs={}, rio=rio)
    placed = geoseg.segment_array(image, features=data_array, **options)

    assert np.array_equal(as_array.classes, expected)
    assert np.array_equal(placed.classes, expected)
    with pytest.raises(RasterError, match="expected as many cells"):
        geoseg.segment_array(image, features=values[:, :-1], **options)


@pytest.mark.slow
def test_model_of_an_array_with_features_predicts_with_features(quick):
    image = one_colour()[:, :128, :128]
    values = embeddings(transform=Affine.translation(70, 0) @ Affine.scale(STRIDE), shape=(16, 16))
    segmentation = geoseg.segment_array(image, features=values, config=quick, device="cpu")

    again = segmentation.model.predict(image, features=values, device="cpu")

    assert np.array_equal(again.classes, segmentation.classes)
    with pytest.raises(ModelError, match="uses a raster of features"):
        segmentation.model.predict(image, device="cpu")
