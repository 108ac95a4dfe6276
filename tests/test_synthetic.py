from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geoseg.errors import ConfigError, OutputError
from geoseg.grid import Window
from geoseg.synthetic import scene
from geoseg.synthetic.scene import LAND_COVERS, SceneOptions, paint, write_scene

WHOLE = Window(0, 0, 192, 160)
KINDS = [
    SceneOptions(shape=WHOLE.shape),
    SceneOptions(shape=WHOLE.shape, seed=7, resolution=3.0, nir=True, dtype="uint16"),
    SceneOptions(shape=WHOLE.shape, seed=2, resolution=1.7, collar=True),
]


@st.composite
def windows(draw: st.DrawFn) -> Window:
    left, top = draw(st.integers(0, WHOLE.width - 1)), draw(st.integers(0, WHOLE.height - 1))
    return Window(left, top, draw(st.integers(1, WHOLE.width - left)), draw(st.integers(1, WHOLE.height - top)))


def overview(seed: int) -> NDArray[np.uint8]:
    """Return the land cover of a scene of 512 × 512 m in 256 × 256 pixels."""
    return paint(Window(0, 0, 256, 256), SceneOptions(seed=seed, resolution=2.0))[1]


@settings(max_examples=25, deadline=None)
@given(window=windows(), options=st.sampled_from(KINDS))
def test_window_equals_the_crop_of_the_whole_scene(window: Window, options: SceneOptions) -> None:
    pixels, land_cover = paint(WHOLE, options)
    rows, cols = window.within(WHOLE)

    part, part_cover = paint(window, options)

    assert part.tobytes() == pixels[:, rows, cols].tobytes()
    assert part_cover.tobytes() == land_cover[rows, cols].tobytes()


def test_landscape_does_not_depend_on_the_size_of_the_scene() -> None:
    small, large = SceneOptions(shape=(64, 64)), SceneOptions(shape=(90_000, 90_000))

    for one, other in zip(paint(Window(0, 0, 64, 64), small), paint(Window(0, 0, 64, 64), large), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_every_land_cover_has_a_minimum_share_of_a_scene_of_1024_pixels(seed: int) -> None:
    share = np.bincount(overview(seed).ravel(), minlength=len(LAND_COVERS) + 1) / 256**2

    assert share[0] == 0
    assert len(share) == len(LAND_COVERS) + 1
    least = dict.fromkeys(LAND_COVERS, 0.04) | {"water": 0.015, "road": 0.02, "roof": 0.02}
    assert {name: s for name, s in zip(LAND_COVERS, share[1:], strict=True) if s < least[name]} == {}
    assert share.max() < 0.4


def test_different_seeds_give_different_landscapes() -> None:
    assert (overview(1) != overview(2)).mean() > 0.5


def test_brightness_varies_over_the_scene() -> None:
    pixels, land_cover = paint(Window(0, 0, 400, 400), SceneOptions(resolution=5.0))
    grass = land_cover == 1 + LAND_COVERS.index("grass")

    parts = [np.s_[row : row + 100, col : col + 100] for row in range(0, 400, 100) for col in range(0, 400, 100)]
    levels = [np.median(pixels[1][part][grass[part]]) for part in parts]

    assert max(levels) > 1.1 * min(levels)


def test_shadows_have_the_land_cover_of_the_surface_they_fall_on() -> None:
    pixels, land_cover = paint(Window(0, 0, 1024, 1024), SceneOptions(seed=2))
    road = pixels.mean(axis=0)[land_cover == 1 + LAND_COVERS.index("road")]

    shaded = (road < 0.6 * np.median(road)).mean()

    assert 0.01 < shaded < 0.3


def test_roofs_are_white_red_or_grey() -> None:
    pixels, land_cover = paint(Window(0, 0, 512, 512), SceneOptions(seed=3, resolution=1.0))
    red, _, blue = pixels[:, land_cover == 1 + LAND_COVERS.index("roof")].astype(float)

    white, tiles = (red > 180) & (blue > 180), red > 1.4 * blue

    assert white.mean() > 0.1
    assert tiles.mean() > 0.1
    assert (white | tiles).mean() < 0.8


def test_ndvi_is_high_for_vegetation_and_negative_for_water() -> None:
    pixels, land_cover = paint(Window(0, 0, 256, 256), SceneOptions(resolution=2.0, nir=True, dtype="uint16"))
    index = (pixels[3] - pixels[0].astype(float)) / (pixels[3] + pixels[0].astype(float))
    median = {name: np.median(index[land_cover == number]) for number, name in enumerate(LAND_COVERS, start=1)}

    assert pixels.dtype == np.uint16
    assert 255 < pixels.max() <= 4095
    assert min(median["green crop"], median["woodland"]) > 0.25
    assert median["water"] < -0.1


def test_near_infrared_band_does_not_change_the_other_bands() -> None:
    options = SceneOptions()

    with_it, without = paint(WHOLE, replace(options, nir=True))[0], paint(WHOLE, options)[0]

    np.testing.assert_array_equal(with_it[:3], without)


def test_valid_pixels_are_never_zero() -> None:
    pixels, land_cover = paint(Window(0, 0, 256, 256), SceneOptions(resolution=2.0))

    assert pixels.min() >= 1
    assert land_cover.min() >= 1


def test_collar_is_irregular_and_is_nodata_in_pixels_and_land_cover() -> None:
    options = SceneOptions(shape=(300, 400), collar=True)
    pixels, land_cover = paint(Window(0, 0, 400, 300), options)
    empty = land_cover == 0

    np.testing.assert_array_equal(empty, (pixels == 0).all(axis=0))
    np.testing.assert_array_equal(empty, (pixels == 0).any(axis=0))
    assert 0.05 < empty.mean() < 0.3
    assert empty[:, [0, -1]].mean() > 0.6
    assert not empty[60:240, 80:320].any()
    left = empty.argmin(axis=1)[60:240]
    assert len(np.unique(np.diff(left))) > 2, "the edge of the collar is a straight line"


def test_files_contain_the_painted_pixels_on_the_same_grid(tmp_path: Path) -> None:
    options = SceneOptions(shape=(520, 1030), seed=5, resolution=0.8, nir=True, dtype="uint16")

    write_scene(tmp_path / "scene.tif", options, truth=tmp_path / "land_cover.tif")

    pixels, land_cover = paint(Window(0, 0, 1030, 520), options)
    with rasterio.open(tmp_path / "scene.tif") as scene, rasterio.open(tmp_path / "land_cover.tif") as covers:
        np.testing.assert_array_equal(scene.read(), pixels)
        np.testing.assert_array_equal(covers.read(1), land_cover)
        assert scene.transform == covers.transform
        assert scene.res == (0.8, 0.8)
        assert scene.crs == covers.crs == "EPSG:32631"
        assert scene.block_shapes == [(512, 512)] * 4
        assert scene.descriptions == ("red", "green", "blue", "nir")
        assert scene.colorinterp[:3] == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        assert ColorInterp.alpha not in scene.colorinterp
        assert scene.nodata is None
        assert covers.nodata == 0
        assert covers.tags(1)["6"] == "water"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["land_cover.tif", "scene.tif"]


def test_scene_with_a_collar_declares_its_nodata_value(tmp_path: Path) -> None:
    options = SceneOptions(shape=(80, 90), collar=True)

    write_scene(tmp_path / "scene.tif", options)

    with rasterio.open(tmp_path / "scene.tif") as scene:
        assert scene.nodata == 0
        np.testing.assert_array_equal(scene.dataset_mask() > 0, paint(Window(0, 0, 90, 80), options)[1] > 0)


def test_scene_is_painted_in_windows_of_at_most_one_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[Window] = []

    def watched(window: Window, options: SceneOptions) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        painted.append(window)
        return paint(window, options)

    monkeypatch.setattr(scene, "paint", watched)

    write_scene(tmp_path / "scene.tif", SceneOptions(shape=(600, 1100)))

    assert max(max(window.shape) for window in painted) == 512
    assert sum(window.width * window.height for window in painted) == 600 * 1100


@pytest.mark.parametrize("name", ["scene.tif", "land_cover.tif"])
def test_existing_file_is_not_overwritten(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("precious")

    with pytest.raises(OutputError, match=f"{name} exists"):
        write_scene(tmp_path / "scene.tif", SceneOptions(shape=(8, 8)), truth=tmp_path / "land_cover.tif")

    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_error_names_the_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no folder .*nowhere"):
        write_scene(tmp_path / "nowhere" / "scene.tif", SceneOptions(shape=(8, 8)))


def test_scene_and_land_cover_cannot_be_the_same_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="another name"):
        write_scene(tmp_path / "scene.tif", SceneOptions(shape=(8, 8)), truth=tmp_path / "." / "scene.tif")


@pytest.mark.parametrize(
    ("error", "seen"), [(OSError("No space left"), OutputError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_interrupted_writing_leaves_no_files(
    error: BaseException, seen: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(window: Window, options: SceneOptions) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if window.col_off > 0:
            raise error
        return paint(window, options)

    monkeypatch.setattr(scene, "paint", broken)

    with pytest.raises(seen):
        write_scene(tmp_path / "scene.tif", SceneOptions(shape=(8, 600)), truth=tmp_path / "land_cover.tif")

    assert list(tmp_path.iterdir()) == []


def test_scene_that_reads_back_differently_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = scene._write

    def lossy(paths: list[Path], options: SceneOptions) -> list[list[int]]:
        sums = write(paths, options)
        with rasterio.open(paths[0], "r+") as file:
            file.write(np.zeros((3, 8, 8), np.uint8))
        return sums

    monkeypatch.setattr(scene, "_write", lossy)

    with pytest.raises(OutputError, match="read back differ"):
        write_scene(tmp_path / "scene.tif", SceneOptions(shape=(8, 8)))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (0, 5)},
        {"shape": (5,)},
        {"shape": (5.5, 5)},
        {"dtype": "float32"},
        {"resolution": 0.0},
        {"resolution": float("nan")},
        {"seed": -1},
    ],
)
def test_invalid_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SceneOptions(**wrong)  # type: ignore[arg-type]
