"""All stages, from a raster to polygons, on small scenes."""

import json
from collections import Counter

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from sklearn.metrics import adjusted_rand_score

from geoseg.config import load_config
from geoseg.output.paths import Outputs
from geoseg.pipeline import run_scene
from geoseg.progress import StageAdvanced, ignore
from geoseg.run.executors import ClusterOptions
from geoseg.run.run_options import RunOptions
from geoseg.segment import superpixels
from geoseg.steps import classify, learn, survey, vectorize
from geoseg.steps import segment as segment_step
from geoseg.synthetic.scene import SceneOptions, write_scene

from .conftest import fields, rest_slow, run_command, write_raster
from .test_scene import damage

SHAPE = (260, 300)
PIXEL_AREA = 4.0  # m², of the landscape


@pytest.fixture(scope="session")
def landscape(tmp_path_factory):
    """A synthetic scene of 300 × 260 pixels with an irregular margin of nodata."""
    folder = tmp_path_factory.mktemp("landscape")
    write_scene(folder / "scene.tif", SceneOptions(shape=SHAPE, seed=4, resolution=2.0, collar=True))
    return folder / "scene.tif"


@pytest.fixture(scope="session")
def serial(tmp_path_factory, landscape, quick_config):
    """The folder with the results of the command in one process, at simplify 0."""
    return command(tmp_path_factory.mktemp("serial"), landscape, quick_config, "--workers", 0)


def command(folder, scene, config, *options):
    """Run the command with all three outputs in `folder`."""
    ended = run_command(
        "tile", scene, "--out", folder / "labels.gpkg", "--class-raster", folder / "classes.tif", "--region-raster",
        folder / "regions.tif", "--config", config, "--device", "cpu", "--classes", 12, *options,
    )  # fmt: skip
    assert ended.code == 0, ended.text
    return folder


@pytest.fixture
def segment(tmp_path, quick_config):
    """Segment a scene from Python: segment(scene, **changes of the configuration) → (Result, polygons, classes)."""

    def run(scene, options=None, progress=ignore, **changes):
        outputs = Outputs(tmp_path / "labels.gpkg", tmp_path / "classes.tif")
        result = run_scene(
            str(scene),
            outputs,
            load_config(quick_config, **changes),
            options=options or RunOptions(device="cpu"),
            cluster=ClusterOptions(workers=0),
            progress=progress,
        )
        return result, labels(tmp_path), band(tmp_path / "classes.tif")

    return run


def labels(folder):
    return pyogrio.read_dataframe(folder / "labels.gpkg", layer="labels")


def band(path, number=1):
    with rasterio.open(path) as raster:
        return raster.read(number)


def valid_of(scene):
    with rasterio.open(scene) as raster:
        return raster.dataset_mask() > 0


def rasterised(layer, column, like):
    """Return the column's values where the polygons are, on the grid of a raster."""
    with rasterio.open(like) as raster:
        shapes = zip(layer.geometry, layer[column], strict=True)
        return rasterio.features.rasterize(shapes, raster.shape, transform=raster.transform, dtype="int32")


# --- the outputs ---------------------------------------------------------------------------------------------------


def test_valid_pixels_and_only_these_have_a_class(landscape, serial):
    classes, regions = band(serial / "classes.tif"), band(serial / "regions.tif")

    np.testing.assert_array_equal(classes > 0, valid_of(landscape))
    np.testing.assert_array_equal(regions > 0, valid_of(landscape))
    assert len(np.unique(classes)) > 3


def test_rasterised_polygons_are_the_class_raster_and_the_region_raster(serial):
    layer = labels(serial)

    np.testing.assert_array_equal(rasterised(layer, "class", serial / "classes.tif"), band(serial / "classes.tif"))
    np.testing.assert_array_equal(rasterised(layer, "region", serial / "regions.tif"), band(serial / "regions.tif"))


def test_polygons_are_a_coverage_of_the_valid_pixels(landscape, serial):
    layer = labels(serial)

    assert shapely.is_valid(layer.geometry).all()
    assert shapely.coverage_is_valid(layer.geometry.to_numpy())
    assert shapely.area(layer.geometry).sum() == pytest.approx(valid_of(landscape).sum() * PIXEL_AREA, rel=1e-12)
    assert layer["area"].to_numpy() == pytest.approx(shapely.area(layer.geometry))


def test_attributes_are_those_of_the_pixels_of_the_region(landscape, serial):
    layer, regions = labels(serial), band(serial / "regions.tif")

    assert sorted(layer["region"]) == list(range(1, len(layer) + 1))
    np.testing.assert_array_equal(
        layer.sort_values("region")["pixels"], np.bincount(regions.ravel(), minlength=len(layer) + 1)[1:]
    )
    classes, green = band(serial / "classes.tif"), band(landscape, 2)
    for _, row in layer.sample(20, random_state=0).iterrows():
        inside = regions == row["region"]
        assert row["mean_2"] == pytest.approx(green[inside].mean(), rel=1e-5)
        assert row["std_2"] == pytest.approx(green[inside].std(), rel=1e-5, abs=1e-5)
        assert (classes[inside] == row["class"]).all()


def test_regions_are_connected_pieces_of_one_class_and_not_below_the_minimum(serial):
    layer = labels(serial)

    assert layer["pixels"].min() >= 12
    assert (shapely.get_type_id(layer.geometry) == shapely.GeometryType.POLYGON).all()
    pairs = layer.sindex.query(layer.geometry, predicate="touches")
    shared = shapely.length(
        shapely.intersection(layer.geometry.to_numpy()[pairs[0]], layer.geometry.to_numpy()[pairs[1]])
    )
    same = layer["class"].to_numpy()[pairs[0]] == layer["class"].to_numpy()[pairs[1]]
    assert not (same & (shared > 0)).any()  # two neighbours of one class would be one region, also over a tile line


def test_coarser_classes_consist_of_whole_classes(serial):
    layer = labels(serial)

    for column, most in (("class_2", 2), ("class_4", 4), ("class_8", 8)):
        assert (layer.groupby("class")[column].nunique() == 1).all()
        assert layer[column].nunique() <= most
    assert (layer.groupby("class_8")["class_4"].nunique() == 1).all()
    assert (layer.groupby("class_4")["class_2"].nunique() == 1).all()


def classes_of(folder):
    return json.loads((folder / "labels.classes.json").read_text(encoding="utf-8"))


def check_classes(folder):
    """Check that the class document agrees with the polygons and the class raster."""
    document, layer, pixels = classes_of(folder), labels(folder), band(folder / "classes.tif")
    counts = np.bincount(pixels.ravel(), minlength=document["n_classes"] + 1)[1:]
    assert [one["pixels"] for one in document["classes"]] == counts.tolist()
    levels = [name for name in layer.columns if name.startswith("class_")]
    for one in document["classes"]:
        own = layer[layer["class"] == one["class"]]
        assert one["pixels"] == own["pixels"].sum()
        assert one["area"] == pytest.approx(own["area"].sum())
        assert [name for name in one if name.startswith("class_")] == levels
        if len(own):
            assert one["mean_1"] == pytest.approx(np.average(own["mean_1"], weights=own["pixels"]))
            assert {one["color"]} == set(own["color"])
            assert all({one[level]} == set(own[level]) for level in levels)
    assert document["tree"]["pixels"] == layer["pixels"].sum()
    return document, layer


def test_class_document_agrees_with_the_polygons_and_their_style(landscape, serial):
    document, _ = check_classes(serial)

    assert (document["scene"], document["asked"]) == ("scene.tif", 12)
    assert document["n_classes"] == len(document["classes"]) == 12
    assert len(document["merges"]) == 10
    qml = pyogrio.read_dataframe(serial / "labels.gpkg", layer="layer_styles")["styleQML"][0]
    assert all(one["name"] in qml for one in document["classes"])
    with rasterio.open(landscape) as raster:
        green, classes = raster.read(2), band(serial / "classes.tif")
    for one in document["classes"]:
        if one["pixels"]:
            assert one["mean_2"] == pytest.approx(green[classes == one["class"]].mean(), rel=1e-5)


@pytest.mark.slow
def test_forty_classes_have_coarser_classes_at_every_power_of_two(landscape, segment, tmp_path):
    segment(landscape, classify__classes=40)

    document, layer = check_classes(tmp_path)
    assert document["n_classes"] == 40
    for level in (2, 4, 8, 16, 32):
        assert layer.groupby("class")[f"class_{level}"].nunique().max() == 1
        assert len({one[f"class_{level}"] for one in document["classes"]}) == level


@pytest.mark.slow
@pytest.mark.parametrize("method", rest_slow(["kmeans", "backprop"]))
def test_auto_chooses_the_number_of_classes_and_a_run_with_that_number_is_equal(landscape, segment, tmp_path, method):
    segment(landscape, classify__classes="auto", method=method)

    document, _ = check_classes(tmp_path)
    report = json.loads((tmp_path / "labels.run" / "run.json").read_text())
    assert document["asked"] == report["config"]["classify"]["classes"] == "auto"
    assert 4 <= document["n_classes"] == report["tree"]["auto"] <= 16
    first = (tmp_path / "classes.tif").read_bytes()
    options = RunOptions(device="cpu", overwrite=True)
    segment(
        landscape, options, classify__classes=document["n_classes"] if method == "backprop" else "auto", method=method
    )
    assert (tmp_path / "classes.tif").read_bytes() == first


@pytest.mark.slow
def test_auto_separates_two_surfaces_of_different_brightness(segment, make_raster):
    pixels = np.full((3, 150, 170), 60, np.uint8)
    pixels[:, :, 80:] = 180

    result, _, classes = segment(make_raster(pixels), classify__classes="auto")

    assert result.n_classes >= 2
    assert classes[75, 10] != classes[75, 160]


@pytest.mark.slow
def test_two_workers_write_the_same_bytes_as_one_process(tmp_path, landscape, quick_config, serial):
    parallel = command(tmp_path, landscape, quick_config, "--workers", 2)

    for name in ("classes.tif", "regions.tif"):
        assert (parallel / name).read_bytes() == (serial / name).read_bytes()
    documents = [json.loads((folder / "labels.classes.json").read_bytes()) for folder in (parallel, serial)]
    commands = [document["source"].pop("command") for document in documents]
    assert documents[0] == documents[1]
    assert commands[0] == commands[1].replace("--workers 0", "--workers 2")
    assert labels(parallel).equals(labels(serial))


@pytest.mark.slow
def test_two_workers_list_the_same_failed_tile_as_one_process(tmp_path, quick_config):
    scene = write_raster(tmp_path / "scene.tif", fields(), tiled=True, blockxsize=32, blockysize=32, compress="deflate")
    damage(scene, 4, 4)
    failed = []
    for workers in (0, 2):
        ended = run_command(
            "tile", scene, "--out", tmp_path / "labels.gpkg", "--config", quick_config, "--workers", workers,
            "--device", "cpu", "--overwrite",
        )  # fmt: skip
        assert ended.code == 3
        failed.append(pyogrio.read_dataframe(tmp_path / "labels.gpkg", layer="failed_tiles"))

    assert failed[0].equals(failed[1])


def test_second_run_writes_the_same_bytes(tmp_path, landscape, quick_config, serial):
    again = command(tmp_path, landscape, quick_config, "--workers", 0)

    for name in ("classes.tif", "regions.tif", "labels.classes.json"):
        assert (again / name).read_bytes() == (serial / name).read_bytes()


@pytest.mark.slow
def test_simplified_polygons_keep_the_area_and_the_coverage(landscape, segment):
    result, layer, _ = segment(landscape, polygons__simplify=2.0, classify__classes=12)

    assert len(layer) == result.n_regions > 100
    assert shapely.coverage_is_valid(layer.geometry.to_numpy())
    assert shapely.area(layer.geometry).sum() == pytest.approx(valid_of(landscape).sum() * PIXEL_AREA, rel=1e-12)


def test_smooth_polygons_keep_the_coverage_and_rasterise_to_the_class_raster(landscape, tmp_path, quick_config):
    command(tmp_path, landscape, quick_config, "--workers", 0, "--smooth", "--simplify", 1)
    layer = labels(tmp_path)

    on_lattice = shapely.get_coordinates(layer.geometry) % 2 == 0  # of pixels of 2 m
    assert on_lattice.all(axis=1).mean() < 0.5
    assert shapely.coverage_is_valid(layer.geometry.to_numpy())
    np.testing.assert_array_equal(rasterised(layer, "region", tmp_path / "regions.tif"), band(tmp_path / "regions.tif"))


@pytest.mark.parametrize("smooth", rest_slow([True, False]))
def test_tile_size_does_not_move_a_vertex(landscape, segment, smooth):
    changes = {"method": "kmeans", "polygons__simplify": 1.0, "polygons__smooth": smooth}
    _, whole, _ = segment(landscape, tiles__size=512, **changes)

    _, tiled, _ = segment(landscape, RunOptions(overwrite=True), tiles__size=96, **changes)

    for column in ("region", "class", "pixels"):
        assert tiled.sort_values("region")[column].tolist() == whole.sort_values("region")[column].tolist()
    ours, theirs = (shapely.normalize(layer.sort_values("region").geometry.to_numpy()) for layer in (tiled, whole))
    assert shapely.equals_exact(ours, theirs).all()


@pytest.mark.slow
def test_parts_of_a_split_region_have_its_number_and_attributes(landscape, segment):
    result, layer, _ = segment(landscape, polygons__max_vertices=60, classify__classes=12)

    parts = layer.groupby("region")
    assert len(layer) > result.n_regions == len(parts)
    assert (parts.nunique().drop(columns="geometry", errors="ignore") <= 1).all().all()
    assert shapely.coverage_is_valid(layer.geometry.to_numpy())
    areas = layer.geometry.area.groupby(layer["region"]).sum()
    np.testing.assert_allclose(areas, parts["pixels"].first() * PIXEL_AREA)


@pytest.mark.slow
def test_large_region_that_is_not_split_is_noted(landscape, tmp_path, quick_config, monkeypatch):
    monkeypatch.setattr("geoseg.steps.vectorize._LARGE", 100)
    options = ("--out", tmp_path / "labels.gpkg", "--config", quick_config, "--workers", 0, "--device", "cpu")

    whole = run_command("tile", landscape, *options).text
    split = run_command("tile", landscape, *options, "--max-vertices", 5000, "--overwrite").text

    assert "--max-vertices 100 would split it" in whole
    assert "would split it" not in split


# --- resuming -------------------------------------------------------------------------------------------------------

STEPS = {  # function → how often it is called for four tiles and four blocks
    (survey, "survey_windows"): 1,
    (learn, "train_network"): 1,
    (segment_step, "segment_block"): 4,
    (segment_step, "segment_tile"): 4,
    (classify, "gather_block"): 4,
    (classify, "find_classes"): 1,
    (vectorize, "label_tile"): 4,
    (vectorize, "merge_pieces"): 1,
    (vectorize, "outline_tile"): 4,
}
STEP_IDS = [name for _, name in STEPS]


class Calls:
    """Counts the calls of all steps; one of them can fail.

    `started` and `done` have the number of calls by function name, `keys` those of the last arguments, the tiles.
    """

    def __init__(self, monkeypatch):
        self.started, self.done, self.keys = Counter(), Counter(), {}
        self.fail = None  # (function name, which call, error)
        for module, name in STEPS:
            monkeypatch.setattr(module, name, self._counted(name, getattr(module, name)))

    def _counted(self, name, function):
        def counted(*arguments):
            self.started[name] += 1
            if self.fail is not None and self.fail[:2] == (name, self.started[name]):
                raise self.fail[2]
            result = function(*arguments)
            self.done[name] += 1
            self.keys.setdefault(name, []).append(arguments[-1])
            return result

        return counted

    def restart(self):
        """Forget all calls, and let no further call fail."""
        done = self.done
        self.started, self.done, self.keys, self.fail = Counter(), Counter(), {}, None
        return done


@pytest.fixture
def four_tiles(monkeypatch, make_raster):
    """A scene of four tiles and four blocks of superpixels."""
    monkeypatch.setattr(superpixels, "BLOCK", 96)
    monkeypatch.setattr(superpixels, "BLOCK_MARGIN", 32)
    return make_raster(fields((180, 180)))


@pytest.fixture
def whole(tmp_path, four_tiles, segment):
    """The classes and the polygons of a run that was not interrupted; its files are removed."""
    _, layer, _ = segment(four_tiles, RunOptions(device="cpu", run_dir=tmp_path / "whole"))
    classes = (tmp_path / "classes.tif").read_bytes()
    for path in tmp_path.glob("*.*"):
        if path != four_tiles and path.is_file():
            path.unlink()
    return classes, layer


def assert_same(tmp_path, whole):
    assert (tmp_path / "classes.tif").read_bytes() == whole[0]
    assert labels(tmp_path).equals(whole[1])


def test_uninterrupted_run_calls_each_step_once_for_each_tile_or_block(four_tiles, segment, monkeypatch):
    calls = Calls(monkeypatch)

    segment(four_tiles)

    assert calls.started == calls.done == {name: n for (_, name), n in STEPS.items()}


@pytest.mark.parametrize("step", rest_slow(STEP_IDS))
def test_resumed_run_repeats_nothing_that_was_finished(tmp_path, four_tiles, segment, whole, monkeypatch, step):
    total = {name: n for (_, name), n in STEPS.items()}
    calls = Calls(monkeypatch)
    calls.fail = (step, min(2, total[step]), KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        segment(four_tiles)
    assert not (tmp_path / "labels.gpkg").exists()
    before = calls.restart()
    events = []

    segment(four_tiles, RunOptions(device="cpu", resume=True), progress=events.append)

    total["merge_pieces"] += before["merge_pieces"]  # the regions of the scene are in memory only
    assert before + calls.started == total
    assert_same(tmp_path, whole)
    first = {}
    for event in events:
        if isinstance(event, StageAdvanced):
            first.setdefault(event.stage, event.done)
    tile_stages = {"superpixels": "segment_block", "segment": "segment_tile", "label": "label_tile"}
    assert {stage: first[stage] for stage in tile_stages} == {
        stage: before[name] for stage, name in tile_stages.items()
    }


@pytest.mark.slow
def test_resumed_run_computes_only_the_failed_tile_and_what_depends_on_it(
    tmp_path, four_tiles, segment, whole, monkeypatch
):
    calls = Calls(monkeypatch)
    calls.fail = ("segment_tile", 3, OSError("disk failure"))
    result, _, _ = segment(four_tiles)
    assert list(result.failed) == [2]
    calls.restart()

    result, _, _ = segment(four_tiles, RunOptions(device="cpu", resume=True))

    assert result.failed == {}
    assert calls.keys["segment_tile"] == [2]
    assert calls.started.keys().isdisjoint({"survey_windows", "train_network", "segment_block"})
    assert calls.done["gather_block"] == calls.done["label_tile"] == 4  # the classes are those of all tiles
    assert_same(tmp_path, whole)


def test_finished_run_that_is_resumed_calls_no_step(tmp_path, four_tiles, segment, whole, monkeypatch):
    segment(four_tiles)
    calls = Calls(monkeypatch)

    segment(four_tiles, RunOptions(device="cpu", resume=True))

    assert calls.started == {}
    assert_same(tmp_path, whole)


# --- scenes of all kinds --------------------------------------------------------------------------------------------


def check(layer, classes, valid, pixel_area=100.0):
    """Check polygons and classes: they cover the valid pixels and no others."""
    np.testing.assert_array_equal(classes > 0, valid)
    assert shapely.is_valid(layer.geometry).all()
    assert shapely.area(layer.geometry).sum() == pytest.approx(valid.sum() * pixel_area, rel=1e-9)
    assert layer["pixels"].sum() == valid.sum()
    assert set(layer["class"]) == set(np.unique(classes[valid]))


@pytest.mark.slow
def test_networks_of_single_tiles_give_a_coverage(segment, make_raster):
    scene = make_raster(fields())

    result, layer, classes = segment(scene, training="tile", tile_steps=6)

    check(layer, classes, np.ones((150, 170), bool))
    assert result.n_classes >= 2


def test_scene_smaller_than_a_tile_is_one_tile(segment, make_raster):
    _, layer, classes = segment(make_raster(fields((33, 47), patch=12)))

    check(layer, classes, np.ones((33, 47), bool))


@pytest.mark.parametrize(
    "shape",
    [(1, 200), (2, 3), *(pytest.param(shape, marks=pytest.mark.slow) for shape in [(1, 1), (200, 1), (5, 130)])],
)
def test_scene_of_a_few_pixels_or_one_line_is_segmented(segment, make_raster, shape):
    _, layer, classes = segment(make_raster(fields(shape, 1, patch=40)))

    check(layer, classes, np.ones(shape, bool))


@pytest.mark.parametrize(
    ("n_bands", "dtype"),
    rest_slow([(2, "int16"), (8, "uint16"), (1, "uint8"), (4, "float32"), (1, "float64")]),
)
def test_scene_of_any_number_of_bands_of_any_type_is_segmented(segment, make_raster, n_bands, dtype):
    scene = make_raster(fields(n_bands=n_bands, dtype=dtype))

    _, layer, classes = segment(scene, classify__classes=4)

    check(layer, classes, np.ones((150, 170), bool))
    assert {f"mean_{number}" for number in range(1, n_bands + 1)} <= set(layer.columns)
    truth = np.kron(np.random.default_rng(0).integers(0, 4, (4, 5)), np.ones((40, 40), int))[:150, :170]
    inner = np.kron(np.ones((4, 5), int), np.pad(np.ones((24, 24), int), 8))[:150, :170] > 0
    for kind in range(4):
        counts = np.bincount(classes[(truth == kind) & inner])
        assert counts.max() > 0.9 * counts.sum()  # the fields differ widely, so each kind is one class


def test_scene_of_one_value_is_one_class_and_one_region(segment, make_raster):
    result, layer, classes = segment(make_raster(np.full((3, 150, 170), 7, np.uint8)))

    check(layer, classes, np.ones((150, 170), bool))
    assert (result.n_regions, result.n_classes) == (1, 1)
    assert layer["mean_1"].tolist() == [7.0]


def test_scene_of_one_value_is_one_class_also_with_networks_of_single_tiles(segment, make_raster):
    result, _, _ = segment(make_raster(np.full((3, 150, 170), 7, np.uint8)), training="tile", tile_steps=3)

    assert (result.n_regions, result.n_classes) == (1, 1)


def test_nodata_hole_stays_a_hole(segment, make_raster):
    pixels = fields()
    pixels[:, 50:110, 70:130] = 0  # over the place where four tiles meet

    _, layer, classes = segment(make_raster(pixels, nodata=0))

    check(layer, classes, pixels[0] > 0)


@pytest.mark.parametrize("training", rest_slow(["scene", "tile"]))
def test_tile_without_valid_pixels_does_not_fail(segment, make_raster, training):
    pixels = fields((200, 300))
    pixels[:, :, 100:200] = 0  # a whole column of tiles

    result, layer, classes = segment(make_raster(pixels, nodata=0), tiles__size=64, training=training, tile_steps=2)

    assert not result.failed
    check(layer, classes, pixels[0] > 0)


def test_only_the_area_of_interest_is_segmented_and_only_its_tiles_are_processed(segment, make_raster, tmp_path):
    to_map = Affine(10, 0, 500_000, 0, -10, 5_000_000)
    area = shapely.Polygon([to_map @ at for at in ((10.3, 10.1), (90.2, 21.7), (79.4, 70.6), (19.9, 88.3))])
    geopandas.GeoSeries([area], crs="EPSG:32631").to_crs(4326).to_file(tmp_path / "area.geojson")
    options = RunOptions(device="cpu", aoi=tmp_path / "area.geojson", keep=True)

    result, layer, classes = segment(make_raster(fields((300, 300))), options)

    rows, cols = np.indices((300, 300)) + 0.5
    check(layer, classes, shapely.contains_xy(area, *(to_map @ (cols, rows))))
    assert not result.failed
    assert len(list((tmp_path / "labels.run" / "stages" / "segment.votes").rglob("*.arrays"))) == 1  # of 9 tiles


@pytest.mark.parametrize("training", rest_slow(["scene", "tile"]))
def test_single_valid_pixel_is_one_region(segment, make_raster, training):
    pixels = np.zeros((3, 150, 170), np.uint8)
    pixels[:, 120, 130] = 9

    result, layer, classes = segment(make_raster(pixels, nodata=0), training=training, tile_steps=2)

    check(layer, classes, pixels[0] > 0)
    assert result.n_regions == 1


@pytest.mark.slow
def test_valid_pixels_that_touch_only_at_corners_are_separate_regions(segment, make_raster):
    rows, cols = np.indices((60, 60))
    pixels = np.where((rows + cols) % 2, fields((60, 60), patch=20), 0).astype(np.uint8)

    _, layer, classes = segment(make_raster(pixels, nodata=0))

    check(layer, classes, pixels[0] > 0)
    assert len(layer) == 1800


@pytest.mark.parametrize(
    "transform",
    [
        pytest.param(Affine(10, 0, 500_000, 0, 10, 5_000_000), id="south-up"),
        pytest.param(Affine(-10, 0, 500_000, 0, -10, 5_000_000), id="mirrored", marks=pytest.mark.slow),
        pytest.param(Affine.translation(500_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(10, -10), id="turned"),
        pytest.param(
            Affine.translation(500_000, 5_000_000) @ Affine.shear(20, 0) @ Affine.scale(10, -10),
            id="sheared",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_polygons_of_a_grid_in_any_direction_agree_with_the_class_raster(segment, make_raster, transform):
    _, layer, classes = segment(make_raster(fields(), transform=transform))

    check(layer, classes, np.ones((150, 170), bool), abs(transform.determinant))
    points = layer.representative_point()
    cols, rows = ~transform @ (points.x.to_numpy(), points.y.to_numpy())
    found = classes[np.floor(rows).astype(int), np.floor(cols).astype(int)]
    np.testing.assert_array_equal(found, layer["class"])


def test_scene_in_degrees_has_areas_in_square_metres(segment, make_raster):
    _, layer, classes = segment(make_raster(fields(), transform=Affine(1e-4, 0, 8, 0, -1e-4, 47), crs="EPSG:4326"))

    check(layer, classes, np.ones((150, 170), bool), 1e-8)
    assert layer["area"].sum() == pytest.approx(150 * 170 * 11.12 * 7.59, rel=0.01)  # m per 1e-4° at 47° north


@pytest.mark.slow
def test_mosaic_gives_the_same_map_as_one_file(segment, make_raster, tmp_path):
    pixels = fields()
    whole = make_raster(pixels)
    _, _, expected = segment(whole, RunOptions(device="cpu", run_dir=tmp_path / "first"))
    left = make_raster(pixels[:, :, :100], "left.tif")
    right = make_raster(pixels[:, :, 100:], "right.tif", transform=Affine(10, 0, 501_000, 0, -10, 5_000_000))
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{number}">'
        + "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{path.name}</SourceFilename>'
            f'<SourceBand>{number}</SourceBand><SrcRect xOff="0" yOff="0" xSize="{width}" ySize="150"/>'
            f'<DstRect xOff="{col}" yOff="0" xSize="{width}" ySize="150"/></SimpleSource>'
            for path, col, width in ((left, 0, 100), (right, 100, 70))
        )
        + "</VRTRasterBand>"
        for number in (1, 2, 3)
    )
    mosaic = tmp_path / "mosaic.vrt"
    mosaic.write_text(
        '<VRTDataset rasterXSize="170" rasterYSize="150"><SRS>EPSG:32631</SRS>'
        f"<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )

    _, _, found = segment(mosaic, RunOptions(device="cpu", run_dir=tmp_path / "second", overwrite=True))

    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_backprop_separates_noise_from_the_same_values_sorted(tmp_path):
    """The articles' texture pair: equal mean and variance, so that the colour alone cannot separate the halves."""
    noise = np.random.default_rng(0).integers(0, 256, (192, 192), np.uint8)
    scene = tmp_path / "pair.tif"
    write_raster(scene, np.concatenate([noise, np.sort(noise, axis=1)], axis=1)[None])
    config = load_config(classify__classes=2, learn__windows=32, learn__steps=48)

    outputs = Outputs(tmp_path / "pair.gpkg", class_raster=tmp_path / "classes.tif")
    run_scene(str(scene), outputs, config, cluster=ClusterOptions(workers=0))

    with rasterio.open(outputs.class_raster) as raster:
        classes = raster.read(1)
    truth = np.indices(classes.shape)[1] >= 192
    assert adjusted_rand_score(truth.ravel(), classes.ravel()) >= 0.95
