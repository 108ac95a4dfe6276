"""Scores of regions without a reference: against whole arrays and dense matrices, and what is refused."""

import json

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from geoseg import evaluate_regions
from geoseg.errors import ConfigError, RasterError
from geoseg.evaluate import unsupervised
from geoseg.evaluate.candidates import compare
from geoseg.evaluate.region_scores import region_scores
from geoseg.evaluate.region_sums import RegionSums
from geoseg.grid import Window

from .conftest import run_command, write_raster


def tiled(labels, values, side, *, connected):
    """Return the table of regions, read in square windows."""
    sums = RegionSums(labels.shape, connected=connected)
    rows, cols = labels.shape
    for row in range(0, rows, side):
        for col in range(0, cols, side):
            part = labels[row : row + side, col : col + side]
            window = Window(col, row, part.shape[1], part.shape[0])
            sums.add(window, part, values[:, row : row + side, col : col + side])
    return sums.table()


def regions_of(labels, *, connected):
    """Return the region of each pixel of a whole array, from 1, by scipy."""
    if not connected:
        return labels
    found, n = np.zeros(labels.shape, int), 0
    for number in np.unique(labels[labels > 0]):
        parts, m = ndimage.label(labels == number)
        found[parts > 0] = parts[parts > 0] + n
        n += m
    return found


def oracle(regions, band):
    """Return the variance within regions and Moran's I with a dense matrix of weights."""
    numbers = np.unique(regions[regions > 0])
    inside = [band[regions == number] for number in numbers]
    variance = sum(pixels.size * pixels.var() for pixels in inside) / sum(pixels.size for pixels in inside)
    weights = np.zeros((len(numbers), len(numbers)))
    for shift in ((0, 1), (1, 0)):
        one = regions[: regions.shape[0] - shift[0], : regions.shape[1] - shift[1]]
        other = regions[shift[0] :, shift[1] :]
        for a, b in zip(one.ravel(), other.ravel(), strict=True):
            if a != b and a > 0 and b > 0:
                i, j = np.searchsorted(numbers, (a, b))
                weights[i, j] = weights[j, i] = 1
    z = np.array([pixels.mean() for pixels in inside])
    z -= z.mean()
    if not weights.any() or z @ z < 1e-12:
        return len(numbers), variance, None
    return len(numbers), variance, len(z) * (z @ weights @ z) / (weights.sum() * (z @ z))


@given(seed=st.integers(0, 1000), side=st.integers(1, 9), connected=st.booleans())
def test_scores_equal_those_of_the_whole_array_whatever_the_windows(seed, side, connected):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, (random.integers(1, 9), random.integers(1, 9)))
    labels[0, 0] = 1
    values = random.normal(1000, 5, (2, *labels.shape))

    scores = region_scores(tiled(labels, values, side, connected=connected))

    for i, band in enumerate(values):
        n, variance, moran = oracle(regions_of(labels, connected=connected), band)
        assert scores.regions == n
        assert scores.variances[i] == pytest.approx(variance, rel=1e-9, abs=1e-9)
        assert scores.totals[i] == pytest.approx(band[labels > 0].var(), rel=1e-9, abs=1e-9)
        assert scores.morans[i] == (None if moran is None else pytest.approx(moran, rel=1e-6, abs=1e-9))


def test_alternating_rows_have_negative_and_a_gradient_positive_autocorrelation():
    labels = np.repeat(np.arange(1, 9), 3)[:, None] * np.ones((1, 4), int)

    alternating = region_scores(tiled(labels, (labels % 2)[None].astype(float), 5, connected=True))
    gradient = region_scores(tiled(labels, labels[None].astype(float), 5, connected=True))

    assert alternating.moran < -0.9
    assert gradient.moran > 0.5
    assert gradient.variance == 0


def test_weight_of_f_prefers_the_finer_or_the_coarser_segmentation():
    variances, morans = [1, 2, 4, 6, 7], [0.9, 0.7, 0.4, 0.2, 0.1]

    def best(weight):
        return max(range(5), key=lambda i: compare(variances, morans, weight=weight)[i].f)

    assert best(4) == 1
    assert best(0.25) == 3


def test_normalised_scores_of_equal_segmentations_are_one():
    assert [found.espindola for found in compare([2, 2], [0.5, 0.5])] == [2, 2]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with a scene of 40 × 60 pixels, and rasters of coarse and fine labels and of one region."""
    folder = tmp_path_factory.mktemp("regions")
    rows, cols = np.mgrid[:40, :60]
    coarse, fine = 1 + cols // 20 % 2, 1 + (rows // 5 + (cols + 3) // 5) % 2
    scene = np.random.default_rng(0).normal(coarse * 50, 3, (2, 40, 60)).astype(np.float32)
    scene[:, :3] = -1
    write_raster(folder / "scene.tif", scene, nodata=-1)
    for name, labels in (("coarse", coarse), ("fine", fine), ("one", np.ones_like(coarse))):
        write_raster(folder / f"{name}.tif", labels[None].astype(np.uint8), nodata=0)
    return folder


def test_windows_of_a_file_do_not_change_its_scores(files, monkeypatch):
    whole = evaluate_regions(files / "fine.tif", files / "scene.tif")
    monkeypatch.setattr(unsupervised, "_WINDOW", (7, 11))

    parts = evaluate_regions(files / "fine.tif", files / "scene.tif")

    assert parts.scores[0].to_dict() == {
        name: pytest.approx(value) if isinstance(value, float) else value
        for name, value in whole.scores[0].to_dict().items()
        if name != "bands"
    } | {"bands": [pytest.approx(band) for band in whole.scores[0].to_dict()["bands"]]}


def test_pixels_without_data_in_the_scene_do_not_count(files):
    assert evaluate_regions(files / "one.tif", files / "scene.tif").scores[0].pixels == 37 * 60


def test_command_compares_rasters_and_writes_json(files, tmp_path, capsys):
    names = [files / "coarse.tif", files / "fine.tif", files / "one.tif"]
    ended = run_command("evaluate", *names, "--unsupervised", files / "scene.tif", "--json", tmp_path / "scores.json")
    document = json.loads((tmp_path / "scores.json").read_text())

    assert ended.code == 0
    assert "Moran's I" in capsys.readouterr().out
    coarse, fine, one = document["rasters"]
    assert coarse["variance"] < 10 < fine["variance"]
    assert coarse["regions"] == 3
    assert coarse["normalised"]["variance"] == 1
    assert one["moran"] is None
    assert one["normalised"] is None
    assert "not defined" in document["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("coarse.tif", "fine.tif", "--reference", "one.tif"), "one class raster"),
        (("coarse.tif",), "--reference"),
        (("coarse.tif", "--reference", "one.tif", "--unsupervised", "scene.tif"), "leave out one"),
        (("coarse.tif", "--reference", "one.tif", "--numbered"), "no effect without --unsupervised"),
        (("coarse.tif", "--unsupervised", "scene.tif", "--tolerance", "3"), "no effect with --unsupervised"),
    ],
)
def test_command_refuses_what_has_no_effect(files, monkeypatch, arguments, said):
    monkeypatch.chdir(files)

    ended = run_command("evaluate", *arguments)

    assert ended.code == 2
    assert said in ended.text


def test_labels_on_another_grid_constant_scenes_and_wrong_weights_are_refused(files, tmp_path):
    write_raster(tmp_path / "small.tif", np.ones((1, 9, 9), np.uint8))
    with rasterio.open(files / "scene.tif") as src:
        constant = np.full(src.shape, 7, np.uint8)
    write_raster(tmp_path / "constant.tif", constant[None])

    with pytest.raises(RasterError, match="not on the grid"):
        evaluate_regions(tmp_path / "small.tif", files / "scene.tif")
    with pytest.raises(RasterError, match="constant"):
        evaluate_regions(files / "fine.tif", tmp_path / "constant.tif")
    with pytest.raises(ConfigError, match="weight"):
        evaluate_regions(files / "fine.tif", files / "scene.tif", weight=0)
