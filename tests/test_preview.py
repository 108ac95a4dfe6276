"""Previews: what they show, which window they choose, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageSequence
from shapely.geometry import box

from geoseg.config import load_config
from geoseg.errors import ConfigError, OutputError, RasterError
from geoseg.grid import TileGrid, Window
from geoseg.output.paths import Outputs
from geoseg.pipeline import run_scene
from geoseg.preview import panels
from geoseg.preview.choose_window import most_varied
from geoseg.preview.panels import Panel
from geoseg.preview.preview import preview_scene
from geoseg.raster.scene import open_scene
from geoseg.run.executors import ClusterOptions
from geoseg.run.run_options import RunOptions
from geoseg.segment import backprop
from geoseg.segment.network import new_network, to_arrays
from geoseg.segment.patch import Patch
from geoseg.steps.survey import survey_windows

from .conftest import fields, rest_slow, run_command, write_raster

SIDE = 480  # px, of a window of 96 enlarged five times
GAP = 12  # px, around each panel


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """Return a scene of 150 × 170 pixels with square fields and a nodata rectangle."""
    pixels = fields()
    pixels[:, 60:80, 100:130] = 0
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", pixels, nodata=0)


@pytest.fixture(scope="session")
def quick(quick_config):
    """Return a configuration with tiles of 96 px."""
    return load_config(quick_config)


@pytest.fixture(scope="session")
def drawn(scene, quick, tmp_path_factory):
    """Return a preview of a window of 96 × 96 pixels with all panels, and an animation of 9 steps."""
    folder = tmp_path_factory.mktemp("drawn")
    options = {
        "window": Window(64, 32, 96, 96),
        "classes": (2, 4),
        "animation": folder / "steps.gif",
        "steps": 9,
        "device": "cpu",
    }
    return preview_scene(scene, folder / "preview.png", quick, **options)


def pixels_of(path):
    """Return the (y, x, 3) pixels of a picture file."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def frames_of(path):
    """Return the (frame, y, x, 3) pixels of an animation."""
    with Image.open(path) as film:
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)])


def panels_of(path, n, side=SIDE):
    """Return the pictures of a sheet of `n` panels."""
    whole = pixels_of(path)
    return [whole[GAP : GAP + side, GAP + i * (side + GAP) :][:, :side] for i in range(n)]


def colors_of(picture):
    """Return the set of colours in a picture."""
    return set(map(tuple, picture.reshape(-1, 3).tolist()))


def half_varied(make_raster, *, left):
    """Write a scene of 96 × 384 pixels: fields on one half, uniform with noise on the other."""
    flat = np.random.default_rng(0).normal(120, 2, (3, 96, 192))
    halves = [fields((96, 192), patch=12), flat] if left else [flat, fields((96, 192), patch=12)]
    return make_raster(np.concatenate(halves, axis=2).astype(np.uint8), f"left_{left}.tif")


def test_all_panels_are_side_by_side_in_one_picture(drawn):
    height, width, _ = pixels_of(drawn.paths[0]).shape

    assert width == GAP + 4 * (SIDE + GAP)
    assert SIDE + GAP < height < SIDE + 6 * GAP
    assert len({picture.tobytes() for picture in panels_of(drawn.paths[0], 4)}) == 4


def test_scene_panel_has_the_stretch_of_the_whole_scene(drawn, scene, quick):
    picture = panels_of(drawn.paths[0], 1)[0][2::5, 2::5].astype(float)
    opened = open_scene(scene)
    stretch = survey_windows(opened, quick).stretch
    pixels = fields()[:, 32:128, 64:160].astype(float)
    low, high = (np.array(end)[:, None, None] for end in (stretch.low, stretch.high))

    expected = np.moveaxis(np.clip((pixels - low) / (high - low), 0, 1) * 255, 0, -1)
    data = np.ones((96, 96), bool)
    data[28:48, 36:66] = False

    assert np.abs(picture - expected)[data].max() <= 1


def test_nodata_is_hatched_in_every_panel(drawn):
    holes = [picture[150:230, 190:320] for picture in panels_of(drawn.paths[0], 4)]

    assert all(hole.std(axis=-1).max() == 0 for hole in holes)
    assert all(colors_of(hole) == colors_of(holes[0]) and len(colors_of(hole)) == 2 for hole in holes)


def test_superpixel_panel_is_the_scene_with_thin_lines(drawn):
    natural, outlined = panels_of(drawn.paths[0], 2)

    changed = (natural != outlined).any(axis=-1)

    assert 0.01 < changed.mean() < 0.3


@pytest.mark.parametrize(("level", "n"), [(2, 2), (3, 4)])
def test_class_panel_has_one_colour_per_class(drawn, level, n):
    picture = panels_of(drawn.paths[0], 4)[level]

    assert len(colors_of(picture)) == n + 2  # nodata has two


def test_classes_of_a_whole_scene_equal_those_of_geoseg_tile(make_raster, quick, tmp_path):
    scene = make_raster(fields((90, 90), patch=10))
    small = replace(quick.polygons, min_pixels=150)  # a field has 100
    config = replace(quick, classify=replace(quick.classify, classes=4), polygons=small)
    outputs = Outputs(tmp_path / "labels.gpkg", tmp_path / "classes.tif")
    run_scene(str(scene), outputs, config, options=RunOptions(device="cpu"), cluster=ClusterOptions(workers=0))
    options = {"classes": (4,), "stage": "classes", "device": "cpu"}
    preview_scene(scene, tmp_path / "preview.png", config, **options)

    shown = panels_of(tmp_path / "preview.png", 1, side=450)[0][2::5, 2::5]
    tiled = pixels_of(tmp_path / "classes.tif")

    np.testing.assert_array_equal(shown, tiled)


def test_animation_has_frames_after_1_2_4_8_steps_and_at_the_end(drawn):
    frames = frames_of(drawn.paths[1])

    assert len(frames) == 5
    assert len({frame.tobytes() for frame in frames}) == 5
    first, fourth = frames[0, GAP : GAP + SIDE], frames[3, GAP : GAP + SIDE]  # without the captions
    assert (first != fourth).any()


@pytest.mark.parametrize(("steps", "expected"), [(1, [1]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])])
def test_frames_have_the_expected_steps(scene, quick, tmp_path, monkeypatch, steps, expected):
    captions = []

    def watched(frames):
        captions.append(frames[0].caption)
        return sheet(frames)

    sheet = panels.sheet
    monkeypatch.setattr(panels, "sheet", watched)
    options = {
        "window": Window(0, 0, 64, 64),
        "stage": "scene",
        "animation": tmp_path / "a.gif",
        "steps": steps,
        "device": "cpu",
    }

    preview_scene(scene, tmp_path / "a.png", quick, **options)

    assert [int(caption.split()[1].rstrip(":")) for caption in captions[1:]] == expected


@pytest.mark.slow
def test_longer_animation_starts_with_the_frames_of_the_shorter_one(scene, quick, tmp_path):
    for steps in (4, 6):
        options = {
            "window": Window(0, 0, 64, 64),
            "stage": "scene",
            "animation": tmp_path / f"{steps}.gif",
            "steps": steps,
            "device": "cpu",
        }
        preview_scene(scene, tmp_path / f"{steps}.png", quick, **options)

    np.testing.assert_array_equal(frames_of(tmp_path / "4.gif"), frames_of(tmp_path / "6.gif")[:3])


def test_observing_the_training_does_not_change_the_network(quick):
    draw = np.random.default_rng(0)
    patch = Patch(
        draw.normal(size=(3, 32, 32)).astype(np.float32), np.arange(1024, dtype=np.int32).reshape(32, 32) // 9
    )
    start = new_network(3, quick.network, seed=0)
    seen = []

    def watch(step, network):
        seen.append((step, backprop.labels(network, patch)))

    alone = backprop.train(start, patch, quick.backprop, steps=3)
    watched = backprop.train(start, patch, quick.backprop, steps=3, callback=watch)

    for name, values in to_arrays(alone).items():
        np.testing.assert_array_equal(to_arrays(watched)[name], values)
    assert [step for step, _ in seen] == [1, 2, 3]
    np.testing.assert_array_equal(seen[-1][1], backprop.labels(alone, patch))
    superpixels = patch.superpixels.ravel()
    assert all(len(np.unique(seen[-1][1].ravel()[superpixels == i])) == 1 for i in range(superpixels.max() + 1))


def test_animation_that_stops_early_ends_with_its_last_state(scene, quick, tmp_path):
    config = replace(quick, backprop=replace(quick.backprop, min_labels=1000))
    options = {"window": Window(0, 0, 64, 64), "stage": "scene", "animation": tmp_path / "a.gif", "device": "cpu"}

    preview_scene(scene, tmp_path / "a.png", config, **options)

    assert len(frames_of(tmp_path / "a.gif")) == 1


@pytest.mark.parametrize(("stage", "n"), [("scene", 1), ("superpixels", 1), ("classes", 2)])
def test_stage_shows_only_its_own_panels(drawn, scene, quick, tmp_path, stage, n):
    options = {"window": Window(64, 32, 96, 96), "classes": (2, 4), "stage": stage, "device": "cpu"}

    preview_scene(scene, tmp_path / "a.png", quick, **options)

    places = {"scene": [0], "superpixels": [1], "classes": [2, 3]}[stage]
    every = panels_of(drawn.paths[0], 4)
    assert pixels_of(tmp_path / "a.png").shape[1] == GAP + n * (SIDE + GAP)
    np.testing.assert_array_equal(panels_of(tmp_path / "a.png", n), [every[i] for i in places])


def test_preview_is_deterministic(scene, quick, tmp_path):
    options = {"size": 80, "device": "cpu"}

    made = [preview_scene(scene, tmp_path / name, quick, **options) for name in ("a.png", "b.png")]

    assert made[0].window == made[1].window
    assert made[0].window.shape == (80, 80)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("left", [True, False])
def test_varied_land_is_preferred_to_uniform_land(make_raster, quick, left):
    scene = open_scene(half_varied(make_raster, left=left))
    grid = TileGrid(scene.geobox.shape, 96, 16)

    window = most_varied(scene, survey_windows(scene, quick), grid, size=64, seed=0)

    assert (window.col_end <= 192) if left else (window.col_off >= 192)


def test_valid_pixels_are_preferred_to_varied_ones(make_raster, quick):
    pixels = np.concatenate([fields((96, 192), patch=12), np.full((3, 96, 192), 120, np.uint8)], axis=2)
    pixels[:, :, :192:3] = 0
    scene = open_scene(make_raster(pixels, nodata=0))

    window = most_varied(scene, survey_windows(scene, quick), TileGrid(scene.geobox.shape, 96, 16), size=64, seed=0)

    assert window.col_off >= 192


def test_most_varied_window_is_within_one_tile_if_it_fits(make_raster, quick):
    scene = open_scene(make_raster(fields((300, 300))))
    found = survey_windows(scene, quick)
    grid = TileGrid(scene.geobox.shape, 96, 16)

    sizes = {size: most_varied(scene, found, grid, size=size, seed=0) for size in (64, 96, 128)}

    assert len(grid.touching(sizes[64])) == len(grid.touching(sizes[96])) == 1
    assert all(window.shape == (size, size) for size, window in sizes.items())


def test_scene_smaller_than_the_window_is_shown_as_a_whole(make_raster, quick, tmp_path):
    scene = make_raster(fields((40, 70), patch=10))

    made = preview_scene(scene, tmp_path / "a.png", quick, device="cpu")

    assert made.window == Window(0, 0, 70, 40)
    assert pixels_of(tmp_path / "a.png").shape[1] == GAP + 4 * (7 * 70 + GAP)  # scene, superpixels, 4 and 5 classes


@pytest.mark.parametrize("n_bands", rest_slow([1, 2, 4]))
def test_scenes_with_any_number_of_bands_are_shown(make_raster, quick, tmp_path, n_bands):
    scene = make_raster(fields((96, 96), n_bands))

    preview_scene(scene, tmp_path / "a.png", quick, device="cpu")

    natural, _, classes = panels_of(tmp_path / "a.png", 3)
    assert (np.ptp(natural, axis=-1).max() == 0) == (n_bands == 1)
    assert len(colors_of(classes)) > 1


def test_classes_are_fitted_to_the_window_alone(make_raster, quick, tmp_path):
    pixels = fields((96, 96), patch=12)
    pixels[:, 24:72, 24:72] = 120
    pixels[:, 24:72, 48:72] = 135
    options = {"window": Window(24, 24, 48, 48), "classes": (2,), "stage": "classes", "device": "cpu"}

    preview_scene(make_raster(pixels), tmp_path / "a.png", quick, **options)

    shown = panels_of(tmp_path / "a.png", 1)[0][5::10, 5::10]
    assert len(colors_of(shown)) == 2
    assert len(colors_of(shown[8:40, 4:20])) == len(colors_of(shown[8:40, 28:44])) == 1


@pytest.mark.slow
def test_training_per_tile_is_shown_across_a_tile_line(scene, quick, tmp_path):
    config = replace(quick, training="tile", tile_steps=3)
    options = {"window": Window(64, 32, 80, 80), "classes": (3,), "stage": "classes", "device": "cpu"}

    preview_scene(scene, tmp_path / "a.png", config, **options)

    assert len(colors_of(panels_of(tmp_path / "a.png", 1)[0])) == 3 + 2


def test_captions_give_the_number_of_classes_shown(make_raster, quick, tmp_path, monkeypatch):
    captions = []

    def watched(made):
        captions.extend(panel.caption for panel in made)
        return sheet(made)

    sheet = panels.sheet
    monkeypatch.setattr(panels, "sheet", watched)
    pixels = np.full((3, 64, 64), 50, np.uint8)
    pixels[:, :, 32:] = 200
    config = replace(quick, superpixels=replace(quick.superpixels, sigma=0.0))

    preview_scene(make_raster(pixels), tmp_path / "a.png", config, classes=(2, 8), device="cpu")

    assert captions == ["scene", "superpixels (2)", "2 classes", "2 of 8 classes"]


def test_caption_wider_than_its_picture_fits():
    narrow = np.zeros((40, 10, 3), np.uint8)

    made = np.asarray(panels.sheet([Panel(narrow, "superpixels (12345)")] * 2)).min(axis=-1)

    caption = made[40 + GAP :] < 250
    assert made.shape[1] > 200
    assert not caption[:, :GAP].any()
    assert not caption[:, -GAP:].any()
    assert not caption[:, made.shape[1] // 2 - 3 : made.shape[1] // 2 + 3].any()


@pytest.mark.parametrize("brightness", [0, 90, 160, 255])
def test_lines_are_visible_at_any_brightness(brightness):
    numbers = np.repeat([[0, 1]], 30, axis=1) * np.ones((60, 1), int)
    picture = np.full((60, 60, 3), brightness, np.uint8)

    lined = panels.outlined(picture, numbers).astype(float)

    assert np.abs(lined[:, 29] - brightness).max(axis=-1).min() > 80
    assert (lined[:, 30:] == brightness).all()


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (Window(100, 100, 96, 96), "extends beyond the scene, which has 170 columns and 150 rows"),
        (Window(-1, 0, 64, 64), "extends beyond the scene"),
        (Window(0, 0, 64, 8), "too small"),
        (Window(0, 0, 4000, 64), "too large"),
    ],
)
def test_invalid_window_is_refused(scene, quick, tmp_path, window, message):
    with pytest.raises(ConfigError, match=message):
        preview_scene(scene, tmp_path / "a.png", quick, window=window, device="cpu")

    assert list(tmp_path.iterdir()) == []


def test_window_without_data_is_refused(make_raster, quick, tmp_path):
    pixels = fields()
    pixels[:, :64, :64] = 0
    scene = make_raster(pixels, nodata=0)

    with pytest.raises(RasterError, match="no valid pixel in the window 0,0,50,50"):
        preview_scene(scene, tmp_path / "a.png", quick, window=Window(0, 0, 50, 50), device="cpu")


def test_preview_is_limited_to_the_area_of_interest(scene, quick, tmp_path):
    import geopandas

    area = tmp_path / "area.gpkg"
    geopandas.GeoSeries([box(500_000, 4_998_500, 500_900, 5_000_000)], crs="EPSG:32631").to_file(area)

    made = preview_scene(scene, tmp_path / "a.png", quick, size=96, stage="scene", aoi=area, device="cpu")

    assert made.window.col_off < 90
    assert made.window.col_end <= 96


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 8},
        {"size": 5000},
        {"size": "large"},
        {"classes": (1,)},
        {"classes": (300,)},
        {"classes": "many"},
        {"classes": (2.5,)},
        {"steps": 0, "animation": "a.gif"},
        {"steps": 4},
        {"stage": "outline"},
        {"device": "gpu"},
        {"window": (0, 0, 64)},
        {"animation": 1},
        {"aoi": 2},
        {"out": 3},
        {"scene": None},
        {"config": 7},
    ],
    ids=str,
)
def test_option_of_the_wrong_type_or_range_is_a_config_error(scene, tmp_path, wrong):
    with pytest.raises(ConfigError, match=r"give|choose"):
        preview_scene(**{"scene": scene, "out": tmp_path / "a.png"} | wrong)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "nearest"), [("windows", "window"), ("class", "classes"), ("overwrit", "overwrite")])
def test_unknown_option_names_the_nearest(scene, name, nearest):
    with pytest.raises(ConfigError, match=f"no option '{name}'; the nearest one is '{nearest}'"):
        preview_scene(scene, **{name: 1})


def test_window_may_be_a_tuple_and_paths_may_be_str(scene, quick_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    made = preview_scene(str(scene), config=str(quick_config), window=(0, 0, 64, 64), stage="scene", device="cpu")

    assert made.paths[0].name == "scene_preview.png"
    assert (tmp_path / "scene_preview.png").is_file()
    assert made.window == Window(0, 0, 64, 64)
    assert repr(made).startswith("<Preview of window 0,0,64,64 in ")
    assert made._repr_png_() == (tmp_path / "scene_preview.png").read_bytes()


@pytest.mark.parametrize("as_dict", [True, False])
def test_largest_level_is_the_number_of_classes_of_the_configuration(make_raster, quick, tmp_path, as_dict):
    scene = make_raster(fields((90, 90), patch=10))
    few = replace(quick, classify=replace(quick.classify, classes=2))
    config = few.to_dict() if as_dict else few

    for name, levels in (("a.png", (3, 5)), ("b.png", (5,))):
        preview_scene(scene, tmp_path / name, config, classes=levels, stage="classes", device="cpu")

    np.testing.assert_array_equal(
        panels_of(tmp_path / "a.png", 2, side=450)[1], panels_of(tmp_path / "b.png", 1, side=450)[0]
    )


@pytest.mark.parametrize("name", ["preview.png", "steps.gif"])
def test_existing_picture_is_replaced_only_with_overwrite(scene, quick, tmp_path, name):
    (tmp_path / name).write_text("precious")
    options = {
        "window": Window(0, 0, 64, 64),
        "stage": "scene",
        "animation": tmp_path / "steps.gif",
        "steps": 1,
        "device": "cpu",
    }

    with pytest.raises(OutputError, match=f"{name} exists"):
        preview_scene(scene, tmp_path / "preview.png", quick, **options)

    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"
    preview_scene(scene, tmp_path / "preview.png", quick, **options, overwrite=True)
    assert pixels_of(tmp_path / name).shape[1] > 400


def test_scene_is_never_replaced_by_its_preview(tmp_path, quick):
    scene = write_raster(tmp_path / "scene.png", fields(), driver="PNG")
    before = scene.read_bytes()

    with pytest.raises(OutputError, match="another name"):
        preview_scene(scene, scene, quick, overwrite=True, device="cpu")

    assert scene.read_bytes() == before


def test_picture_must_be_a_png_and_an_animation_a_gif(scene, quick, tmp_path):
    with pytest.raises(ConfigError, match=r"\.png"):
        preview_scene(scene, tmp_path / "a.jpg", quick)
    with pytest.raises(ConfigError, match=r"\.gif"):
        preview_scene(scene, tmp_path / "a.png", quick, animation=tmp_path / "a.mp4")


def test_command_writes_to_the_current_folder_and_prints_the_path(scene, quick_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    ended = run_command(
        "preview", scene, "--config", quick_config, "--window-size", 96, "--levels", "2,3", "--device", "cpu"
    )

    assert ended.code == 0
    assert [file.name for file in tmp_path.iterdir()] == ["scene_preview.png"]
    assert ended.lines[-1].endswith("s: scene_preview.png")
    assert ",96,96 in" in ended.lines[-1]


def test_command_with_auto_classes_shows_4_to_16(scene, quick_config, tmp_path, monkeypatch):
    captions = []

    def watched(made):
        captions.extend(panel.caption for panel in made)
        return sheet(made)

    sheet = panels.sheet
    monkeypatch.setattr(panels, "sheet", watched)

    ended = run_command(
        *("preview", scene, "--config", quick_config, "--stage", "classes", "--classes", "auto"),
        *("--window", "10,20,96,96", "--out", tmp_path / "a.png", "--device", "cpu"),
    )

    assert ended.code == 0
    numbers = [int(caption.removesuffix(" classes").rpartition(" ")[2]) for caption in captions]
    assert numbers == sorted({level for level in (4, 8) if level < numbers[-1]} | {numbers[-1]})
    assert 4 <= numbers[-1] <= 16


def test_command_shows_only_superpixels(scene, quick_config, tmp_path):
    out = tmp_path / "a.png"

    ended = run_command(
        *("preview", scene, "--config", quick_config, "--stage", "superpixels"),
        *("--window", "10,20,96,96", "--out", out, "--device", "cpu"),
    )

    assert ended.code == 0
    assert "learn" not in ended.text
    assert pixels_of(out).shape[1] == SIDE + 2 * GAP
    assert "window 10,20,96,96" in ended.lines[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--window", "1,2,3"), 2, "0,0,512,512"),
        (("--levels", "four"), 2, "4,8,16"),
        (("--classes", "1"), 1, "classes"),
        (("--window", "0,0,2000,2000"), 1, "extends beyond"),
        (("--window-size", "3"), 1, "size"),
    ],
)
def test_command_refuses_invalid_options_in_one_line(scene, tmp_path, arguments, code, message):
    ended = run_command("preview", scene, "--out", tmp_path / "a.png", *arguments)

    assert ended.code == code
    assert message in ended.lines[-1]
    assert list(tmp_path.iterdir()) == []
