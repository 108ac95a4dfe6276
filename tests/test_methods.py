"""End-to-end tests of the methods without a network, kmeans and rag."""

import numpy as np
import pytest
import rasterio

from geoseg.config import load_config
from geoseg.output.paths import Outputs
from geoseg.pipeline import run_scene
from geoseg.run.executors import ClusterOptions
from geoseg.segment import superpixels
from geoseg.steps import classify, segment, vectorize

from .conftest import fields, output_of, rest_slow, run_command

pytestmark = pytest.mark.parametrize("method", rest_slow(["kmeans", "rag"]))

SHAPE = (200, 230)


@pytest.fixture
def small_blocks(monkeypatch):
    """Make blocks of superpixels so small that a test scene has many."""
    monkeypatch.setattr(superpixels, "BLOCK", 80)
    monkeypatch.setattr(superpixels, "BLOCK_MARGIN", 24)


@pytest.fixture
def command(tmp_path, quick_config):
    """Run `geoseg tile` and return its exit code and output."""

    def run(scene, method, *options, workers=0):
        return run_command(
            "tile", scene, "--out", tmp_path / "labels.gpkg", "--class-raster", tmp_path / "classes.tif", "--config",
            quick_config, "--workers", workers, "--method", method, *options,
        )  # fmt: skip

    return run


@pytest.fixture
def classes_of(command, tmp_path):
    """Run `geoseg tile` and return the class raster."""

    def run(scene, method, *options, **places):
        ended = command(scene, method, *options, **places)
        assert ended.code == 0, ended.text
        with rasterio.open(tmp_path / "classes.tif") as raster:
            return raster.read(1)

    return run


def kinds(shape, seed=0, patch=40):
    """Return which of the four colours of `fields` each pixel has, 4 = near the border of a field."""
    drawn = np.random.default_rng(seed).integers(0, 4, (-(-shape[0] // patch), -(-shape[1] // patch)))
    inner = np.pad(np.ones((patch - 16, patch - 16), int), 8)
    tiled = np.where(np.tile(inner, drawn.shape) > 0, np.kron(drawn, np.ones((patch, patch), int)), 4)
    return tiled[: shape[0], : shape[1]]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("n_bands", "dtype"), rest_slow([(3, "uint8"), (1, "uint8"), (4, "uint16"), (2, "float32")]))
def test_each_colour_is_a_class_with_any_number_of_bands(make_raster, classes_of, method, n_bands, dtype):
    scene = make_raster(fields(SHAPE, n_bands, dtype=dtype))

    classes = classes_of(scene, method, "--classes", 4)

    names = [np.bincount(classes[kinds(SHAPE) == kind], minlength=5) for kind in range(4)]
    assert all(counts.max() > 0.95 * counts.sum() for counts in names)
    assert sorted(int(counts.argmax()) for counts in names) == [1, 2, 3, 4]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("n_classes", rest_slow([3, 2, 40]))
def test_there_are_at_most_as_many_classes_as_requested(make_raster, classes_of, method, n_classes):
    classes = classes_of(make_raster(fields(SHAPE)), method, "--classes", n_classes)

    assert 2 <= len(np.unique(classes)) <= n_classes


@pytest.mark.usefixtures("small_blocks")
def test_exactly_the_valid_pixels_have_a_class(make_raster, classes_of, method):
    pixels = fields(SHAPE)
    pixels[:, 60:130, 70:180] = 0  # a whole block and parts of others
    pixels[:, :, :9] = 0

    classes = classes_of(make_raster(pixels, nodata=0), method)

    np.testing.assert_array_equal(classes > 0, pixels[0] > 0)


@pytest.mark.usefixtures("small_blocks")
def test_constant_scene_is_one_class(make_raster, classes_of, method):
    assert len(np.unique(classes_of(make_raster(np.full((3, *SHAPE), 77, np.uint8)), method))) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (2, 3)])
def test_scenes_of_few_pixels_or_one_line_are_accepted(make_raster, classes_of, method, shape):
    assert classes_of(make_raster(fields(shape, 1)), method).all()


def test_coarser_classes_are_written(make_raster, tmp_path, classes_of, method):
    import geopandas

    classes_of(make_raster(fields(SHAPE)), method, "--classes", 12)

    layer = geopandas.read_file(tmp_path / "labels.gpkg", layer="labels")
    for column, most in (("class_2", 2), ("class_4", 4), ("class_8", 8)):
        assert 2 <= layer[column].nunique() <= most
        assert (layer.groupby("class")[column].nunique() == 1).all()


@pytest.mark.slow
def test_two_workers_write_the_same_bytes_as_one_process(tmp_path, make_raster, classes_of, method):
    scene = make_raster(fields(SHAPE))
    classes_of(scene, method)
    serial = (tmp_path / "classes.tif").read_bytes()

    classes_of(scene, method, "--overwrite", workers=2)

    assert (tmp_path / "classes.tif").read_bytes() == serial


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("module", "function"),
    rest_slow(
        [
            (classify, "merge_block"),
            (segment, "segment_block"),
            (segment, "segment_tile"),
            (classify, "gather_block"),
            (classify, "find_classes"),
            (vectorize, "label_tile"),
            (vectorize, "outline_tile"),
        ],
        quick=2,
    ),
)
def test_interrupted_run_resumes_to_the_same_result(
    make_raster, command, classes_of, monkeypatch, method, module, function
):
    if (method, function) == ("kmeans", "merge_block"):
        pytest.skip("kmeans merges nothing")
    scene = make_raster(fields(SHAPE))
    uninterrupted = classes_of(scene, method)
    whole, calls = getattr(module, function), []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2 or function == "find_classes":  # which is called once
            raise KeyboardInterrupt
        return whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, function, interrupted)
        assert command(scene, method, "--overwrite").code == 130

    np.testing.assert_array_equal(classes_of(scene, method, "--resume"), uninterrupted)


@pytest.mark.usefixtures("small_blocks")
def test_failed_tile_is_completed_by_resume(tmp_path, make_raster, command, classes_of, monkeypatch, method):
    scene = make_raster(fields(SHAPE))
    uninterrupted = classes_of(scene, method)
    real = segment.segment_tile

    def failing(job, number):
        if number == 1:
            raise OSError("disk failure")
        real(job, number)

    with monkeypatch.context() as patch:
        patch.setattr(segment, "segment_tile", failing)
        assert command(scene, method, "--overwrite").code == 3
    with rasterio.open(tmp_path / "classes.tif") as raster:
        holed = raster.read(1)

    missing = np.zeros(SHAPE, bool)
    missing[:96, 96:192] = True
    np.testing.assert_array_equal(holed == 0, missing)
    np.testing.assert_array_equal(classes_of(scene, method, "--resume"), uninterrupted)


def test_options_of_the_backprop_method_are_refused(make_raster, command, tmp_path, method):
    scene = make_raster(fields((40, 40)))

    for option in (("--training", "scene"), ("--tile-steps", 0), ("--device", "cuda")):
        ended = command(scene, method, *option)
        assert ended.code == 1
        assert len(ended.lines) == 1
        assert f"method {method}" in ended.text
    assert not (tmp_path / "labels.run").exists()


def test_options_that_need_a_network_are_refused(make_raster, command, tmp_path, method):
    scene = make_raster(fields((40, 40)))

    kept = command(scene, method, "--save-model", tmp_path / "kept.geoseg")
    shown = run_command(
        "preview", scene, "--out", tmp_path / "a.png", "--method", method, "--animation", tmp_path / "a.gif"
    )

    for ended in (kept, shown):
        assert ended.code == 1
        assert len(ended.lines) == 1
        assert f"method {method} has no" in ended.text
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".run", ".gpkg", ".png", ".gif")]


def test_torch_is_not_imported(make_raster, tmp_path, method):
    scene = make_raster(fields((64, 64)))
    program = (
        "import sys; from geoseg.cli import main as cli\n"
        f"sys.argv = ['geoseg', 'tile', {str(scene)!r}, '--out', {str(tmp_path / 'a.gpkg')!r}, '--workers', '0', "
        f"'--method', {method!r}, '-q']\n"
        "try: cli.main()\n"
        "except SystemExit as end: print('ENDED', end.code, 'torch' in sys.modules)"
    )

    assert "ENDED 0 False" in output_of(program)


def test_result_does_not_depend_on_the_options_of_the_network(make_raster, tmp_path, method):
    scene = make_raster(fields(SHAPE))
    found = []
    for name, learn in (("few", {"learn__steps": 1}), ("many", {"learn__steps": 999, "network__inputs": "bands"})):
        outputs = Outputs(tmp_path / f"{name}.gpkg", tmp_path / f"{name}.tif")
        run_scene(str(scene), outputs, load_config(method=method, **learn), cluster=ClusterOptions(workers=0))
        found.append(outputs.class_raster.read_bytes())

    assert found[0] == found[1]
