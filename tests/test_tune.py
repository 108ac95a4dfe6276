"""Tuning: the trials, the chart, the lines of configuration, and what is refused."""

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import yaml
from PIL import Image

import geoseg
from geoseg.config import load_config
from geoseg.errors import ConfigError, OutputError, RasterError
from geoseg.evaluate.candidates import compare
from geoseg.grid import TileGrid
from geoseg.preview.choose_window import varied_windows
from geoseg.preview.tuning import Trial, Tuning
from geoseg.progress import StageStarted
from geoseg.raster.scene import open_scene
from geoseg.segment import backprop
from geoseg.steps.survey import survey_windows

from .conftest import fields, run_command, write_raster

KMEANS = {"method": "kmeans", "superpixels": {"min_size": 8}, "tiles": {"size": 96}, "classify": {"classes": 4}}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Return a scene of 150 × 170 pixels with square fields."""
    return write_raster(tmp_path_factory.mktemp("tune") / "scene.tif", fields())


@pytest.fixture(scope="module")
def tuned(scene, tmp_path_factory):
    """Return a tuning with two windows of 64 × 64 pixels, and its events."""
    events = []
    tuning = geoseg.tune_scene(
        scene,
        tmp_path_factory.mktemp("chart") / "tune.png",
        KMEANS,
        windows=2,
        size=64,
        scales=(16,),
        sizes=(8, 400),
        levels=(2,),
        progress=events.append,
    )
    return tuning, events


def test_every_combination_is_tried_once_with_the_present_values_among_them(tuned):
    tuning, events = tuned
    values = [(trial.scale, trial.min_pixels, trial.classes) for trial in tuning.trials]

    assert len(values) == len(set(values)) == 2 * 3 * 2
    assert (tuning.present.min_pixels, tuning.present.classes) == (64, 4)
    assert [event.stage for event in events if isinstance(event, StageStarted)] == ["survey", "tune"]
    assert len(tuning.windows) == 2


def test_normalised_scores_are_those_of_the_variances_and_morans(tuned):
    trials = tuned[0].trials

    expected = compare([trial.variance for trial in trials], [trial.moran for trial in trials])
    assert [trial.score for trial in trials] == expected


def test_fewer_classes_have_a_larger_variance(tuned):
    trials = {(trial.scale, trial.min_pixels, trial.classes): trial for trial in tuned[0].trials}

    assert all(trials[16, size, 2].variance > trials[16, size, 4].variance for size in (8, 64))


def test_lines_of_configuration_give_the_best_trial(tuned):
    tuning, _ = tuned
    best = tuning.best

    config = load_config(KMEANS | (yaml.safe_load(tuning.yaml) or {}))
    assert tuning.best.f == max(trial.f for trial in tuning.trials)
    assert config.polygons.min_pixels == best.min_pixels
    assert config.classify.classes == best.classes
    assert tuning.to_dict()["trials"][tuning.to_dict()["best"]]["score"]["f"] == best.f


def test_present_values_are_kept_if_none_is_better():
    trials = tuple(Trial(scale, 64, 16, 1, 1.0, 0.0, 0.0, None) for scale in (16.0, 32.0))

    assert Tuning("scene.tif", (), trials, 1, "scale", 1.0, 0.0, None).changes == {}


def test_chart_is_a_picture(tuned):
    with Image.open(tuned[0].path) as picture:
        assert len(np.unique(np.asarray(picture))) > 10


def test_network_is_trained_once_for_all_scales(scene, quick_config, monkeypatch):
    learn, calls = backprop.learn, []
    monkeypatch.setattr(backprop, "learn", lambda *given, **options: calls.append(1) or learn(*given, **options))

    tuning = geoseg.tune_scene(
        scene, None, quick_config, windows=1, size=64, scales=(16, 64), levels=(3,), device="cpu"
    )

    assert calls == [1]
    assert len({trial.scale for trial in tuning.trials}) == 3


def test_features_take_part_in_the_classes_of_every_scale(scene, tmp_path):
    features = write_raster(tmp_path / "features.tif", np.repeat(np.arange(170) // 43, 150).reshape(170, 150).T[None])
    options = {"windows": 1, "size": 96, "scales": (16,), "sizes": (8,), "levels": (4,)}

    plain, with_features = (
        geoseg.tune_scene(scene, config=KMEANS | given, **options, **raster)
        for given, raster in (
            ({}, {}),
            ({"classify": {"classes": 4, "feature_weight": 50}}, {"features": features}),
        )
    )

    for before, after in zip(plain.trials, with_features.trials, strict=True):
        assert after.variance > 2 * before.variance  # the features differ from the bands, which are scored


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--feature-weight", 2), "without --features"), (("--features", "none.tif"), "none.tif")],
)
def test_features_that_have_no_effect_or_are_missing_are_refused(scene, options, message):
    ended = run_command("tune", scene, *options)

    assert ended.code in (1, 2)
    assert message in ended.text


def test_windows_differ_in_content_and_do_not_overlap(tmp_path):
    tiles = np.array([[50, 50, 200, 50], [50, 120, 50, 50]], np.uint8)
    pixels = np.kron(tiles, np.ones((64, 64), np.uint8))[None]
    source = open_scene(write_raster(tmp_path / "scene.tif", pixels))
    survey = survey_windows(source, load_config({"learn": {"crop": 32, "windows": 32}}))

    windows = varied_windows(source, survey, TileGrid((128, 256), 64, 0), size=64, n=3, seed=0)

    assert sorted(int(pixels[0, window.row_off, window.col_off]) for window in windows) == [50, 120, 200]
    assert len(varied_windows(source, survey, TileGrid((128, 256), 64, 0), size=64, n=99, seed=0)) == 8


def test_command_prints_the_lines_and_writes_a_page_and_json(scene, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ("--method", "kmeans", "--window-size", 64, "--windows", 1, "--scales", 32, "--levels", "4,8")

    ended = run_command("tune", scene, "--out", "tune.html", "--json", "tune.json", *options)

    assert ended.code == 0
    assert "# geoseg tune:" in capsys.readouterr().out
    page = (tmp_path / "tune.html").read_text()
    assert "http-equiv" in page
    assert "# geoseg tune:" in page
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    assert ET.fromstring(svg).tag.endswith("svg")
    assert len(json.loads((tmp_path / "tune.json").read_text())["trials"]) == page.count("<tr>") - 1
    assert run_command("tune", scene, "--out", "tune.html", *options).code == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"windows": 0}, "windows is 0"),
        ({"size": 8}, "size is 8"),
        ({"levels": (1,)}, "levels are"),
        ({"levels": (99,)}, "46 clusters"),
        ({"scales": "16"}, "scales is"),
        ({"weight": 0}, "weight of F"),
        ({"sizes": range(400), "levels": (2, 4, 8)}, "combinations"),
        ({"window": 3}, "did you mean windows"),
    ],
)
def test_wrong_options_are_refused(scene, options, said):
    with pytest.raises(ConfigError, match=said):
        geoseg.tune_scene(scene, None, {"superpixels": {"scale": 32}}, **options)


def test_small_empty_and_constant_scenes_and_the_scene_as_chart_are_refused(scene, tmp_path):
    small = write_raster(tmp_path / "small.tif", fields((20, 90)))
    empty = write_raster(tmp_path / "empty.tif", np.zeros((1, 64, 64), np.uint8), nodata=0)
    constant = write_raster(tmp_path / "constant.tif", np.full((1, 64, 64), 9, np.uint8))

    with pytest.raises(RasterError, match="too small"):
        geoseg.tune_scene(small)
    with pytest.raises(RasterError, match="no valid pixel"):
        geoseg.tune_scene(empty)
    with pytest.raises(RasterError, match="constant"):
        geoseg.tune_scene(constant)
    with pytest.raises(OutputError, match="input"):
        geoseg.tune_scene(scene, scene)
