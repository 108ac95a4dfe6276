"""Tiles on a whole scene: the tile size does not change the classes, and tile lines do not show."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from geoseg.config import Config, load_config
from geoseg.output.paths import Outputs
from geoseg.pipeline import run_scene
from geoseg.run.executors import ClusterOptions
from geoseg.run.job import Job
from geoseg.run.report import Result
from geoseg.segment import superpixels
from geoseg.steps import segment as segment_step
from geoseg.synthetic.scene import SceneOptions, write_scene

from .conftest import rest_slow

SIZE = 400  # px, of the scene
LINES = {128: [128, 256], 256: [256]}  # between tiles of each size; a thin last one is joined to the one before
QUICK: dict[str, Any] = {"learn__steps": 16, "learn__windows": 12, "learn__crop": 64}

pytestmark = pytest.mark.xdist_group("seams")  # they share class rasters

Segment = Callable[..., NDArray[np.uint8]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seams")


@pytest.fixture(scope="module")
def scene(folder: Path) -> Path:
    write_scene(folder / "scene.tif", SceneOptions(shape=(SIZE, SIZE), seed=3))
    return folder / "scene.tif"


@pytest.fixture(scope="module")
def collared(folder: Path) -> Path:
    write_scene(folder / "collared.tif", SceneOptions(shape=(SIZE, SIZE), seed=3, collar=True))
    return folder / "collared.tif"


@pytest.fixture(scope="module")
def segment(scene: Path) -> Segment:
    """Return the class raster of the scene; each configuration is computed once."""

    @cache
    def of(tile_size: int, **options: Any) -> NDArray[np.uint8]:
        name = "_".join(map(str, [tile_size, *options.values()]))
        return classes(scene, load_config(tiles__size=tile_size, **QUICK, **options), scene.parent / name)[0]

    return of


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scene have many blocks of superpixels."""
    monkeypatch.setattr(superpixels, "BLOCK", 128)
    monkeypatch.setattr(superpixels, "BLOCK_MARGIN", 32)


def classes(scene: Path, config: Config, stem: Path) -> tuple[NDArray[np.uint8], Result]:
    outputs = Outputs(stem.with_suffix(".gpkg"), stem.with_suffix(".tif"))
    result = run_scene(str(scene), outputs, config, cluster=ClusterOptions(workers=0))
    with rasterio.open(outputs.class_raster) as file:
        return file.read(1), result


def border_share(class_map: NDArray[np.uint8], lines: list[int]) -> float:
    """Return on how much of these columns and rows the class changes from the pixel before to this one."""
    down = [class_map[:, line - 1] != class_map[:, line] for line in lines]
    across = [class_map[line - 1] != class_map[line] for line in lines]
    return float(np.mean([*down, *across]))


class TestSceneNetwork:
    @pytest.mark.parametrize("tile_size", rest_slow([256, 128]))
    def test_the_tile_size_does_not_matter(self, segment: Segment, tile_size: int) -> None:
        whole = segment(512, tile_steps=0)

        assert len(np.unique(whole)) >= 8
        assert (segment(tile_size, tile_steps=0) != whole).mean() <= 0.005

    @pytest.mark.parametrize("tile_size", rest_slow([256, 128]))
    def test_no_more_borders_lie_on_tile_lines_than_without_tiles(self, segment: Segment, tile_size: int) -> None:
        tiled = border_share(segment(tile_size, tile_steps=0), LINES[tile_size])

        assert tiled <= 1.10 * border_share(segment(512, tile_steps=0), LINES[tile_size])

    @pytest.mark.slow
    def test_the_halo_does_not_matter(self, segment: Segment) -> None:
        whole = segment(512, tile_steps=0)

        assert (segment(128, tile_steps=0, tiles__halo=8) != whole).mean() <= 0.005

    @pytest.mark.usefixtures("small_blocks")
    @pytest.mark.parametrize("tile_size", rest_slow([150, 110]))
    @pytest.mark.slow
    def test_tile_lines_and_block_lines_may_lie_anywhere(self, collared: Path, tmp_path: Path, tile_size: int) -> None:
        whole, _ = classes(collared, load_config(tiles__size=512, **QUICK), tmp_path / "whole")

        tiled, result = classes(collared, load_config(tiles__size=tile_size, **QUICK), tmp_path / "tiled")

        assert result.failed == {}
        assert (tiled != whole).mean() <= 0.005


@pytest.mark.slow
class TestStepsOnTiles:
    @pytest.mark.parametrize(
        "options", [{"tile_steps": 4}, {"training": "tile", "tile_steps": 8}], ids=["scene", "tile"]
    )
    def test_borders_are_not_more_frequent_on_tile_lines(self, segment: Segment, options: dict[str, Any]) -> None:
        tiled = segment(128, **options)

        everywhere = np.mean([border_share(tiled, [line]) for line in range(1, SIZE)])
        assert border_share(tiled, LINES[128]) <= 1.5 * everywhere  # cutting at the line gave 12 to 22 times as many

    def test_full_distillation_keeps_the_classes_of_the_scene_network(self, segment: Segment) -> None:
        held = segment(128, tile_steps=4, backprop__distillation_weight=1.0)

        assert (held != segment(128, tile_steps=0)).mean() <= 0.005
        assert (held != segment(128, tile_steps=4)).mean() > 0.005  # at a lower weight they follow the tile


class TestMethodsWithoutNetwork:
    @pytest.mark.usefixtures("small_blocks")
    @pytest.mark.parametrize("method", rest_slow(["kmeans", "rag"]))
    @pytest.mark.parametrize("name", rest_slow(["collared", "scene"]))
    def test_tiles_of_any_size_give_the_same_classes_pixel_by_pixel(
        self, request: pytest.FixtureRequest, tmp_path: Path, method: str, name: str
    ) -> None:
        path = request.getfixturevalue(name)
        whole, _ = classes(path, load_config(method=method, tiles__size=512), tmp_path / "whole")

        tiled, result = classes(path, load_config(method=method, tiles__size=128), tmp_path / "tiled")

        assert result.failed == {}
        assert len(np.unique(whole)) >= 8
        np.testing.assert_array_equal(tiled, whole)

    @pytest.mark.parametrize("threshold", rest_slow([0.08, 0.16]))
    def test_regions_merged_by_block_do_not_end_at_block_lines(
        self, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threshold: float
    ) -> None:
        monkeypatch.setattr(superpixels, "BLOCK", 128)
        config = load_config(method="rag", rag__threshold=threshold)

        blocks, _ = classes(scene, config, tmp_path / "blocks")

        lines = [128, 256]
        beside = [line + step for line in lines for step in range(-40, 41) if abs(step) >= 3]
        assert border_share(blocks, lines) <= 1.25 * border_share(blocks, beside)


class TestFailedTile:
    def test_leaves_the_other_tiles_unchanged(
        self, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(segment_step, "segment_tile", all_but(8))  # the last one

        class_map, result = classes(scene, load_config(tiles__size=150, **QUICK), tmp_path / "holed")

        assert set(result.failed) == {8}
        missing = np.zeros_like(class_map, bool)
        missing[300:, 300:] = True
        np.testing.assert_array_equal(class_map == 0, missing)


def all_but(failing: int) -> Callable[[Job, int], None]:
    real = segment_step.segment_tile

    def segment_tile(job: Job, number: int) -> None:
        if number == failing:
            raise OSError("the disk failed")
        real(job, number)

    return segment_tile
