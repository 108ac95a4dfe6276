"""A model segments other scenes into the same classes; what does not fit it is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import safetensors
import safetensors.numpy
from affine import Affine

from geoseg.config import load_config
from geoseg.errors import ConfigError, ModelError, OutputError
from geoseg.output.model import Model, Origin, checksum, load_model, save_model
from geoseg.output.model_checks import check_config, check_fits
from geoseg.output.paths import Outputs
from geoseg.pipeline import run_scene
from geoseg.raster.scene import open_scene
from geoseg.run.executors import ClusterOptions
from geoseg.run.run_options import RunOptions
from geoseg.segment.class_model import ClassModel
from geoseg.segment.class_tree import ClassTree
from geoseg.segment.features import Standardizer, Stretch
from geoseg.segment.predictors import CentroidPredictor
from geoseg.segment.projection import Projection
from geoseg.segment.superpixels import SuperpixelParameters
from geoseg.segment.survey import Survey
from geoseg.steps import segment, vectorize
from geoseg.synthetic.scene import SceneOptions, write_scene

from .conftest import fields, rest_slow, run_command, write_raster
from .test_cli import failing_at, only_line
from .test_scene import damage

NAMES = ("red", "green", "blue")
FLAT = np.zeros((3, 64, 64), np.uint8)


def a_model(seed=0, **origin):
    """Return an untrained model of three named bands, 10 m pixels and five clusters."""
    draw = np.random.default_rng(seed)
    chosen = {"classify__classes": 4, "classify__clusters": 6, "classify__context": "clusters"}
    config = load_config(None, network__kernels=[3], network__channels=[4], **chosen)
    class_model = ClassModel(
        predictor=CentroidPredictor(draw.random((5, 2 * (4 + 3 + 1))), 3),  # votes and features, own and around
        tree=ClassTree(5, np.array([[0, 2], [0, 1], [3, 4]]), np.array([0.01, 0.1, 0.3])),
        moments=draw.random((5, 4)),
        weights=draw.random(5),
        n_bands=3,
        auto_n_classes=4,
    )
    survey = Survey(
        Stretch((0.0,) * 3, (1 / 3, 2.0, 255.0)), Standardizer((0.1,) * 6, (1.0,) * 6), (), SuperpixelParameters()
    )
    weights = {"layers.0.weight": draw.random((4, 6, 3, 3)).astype(np.float32)}
    weights |= {"layers.0.bias": np.zeros(4, np.float32), "layers.1.num_batches_tracked": np.array(7)}
    weights |= {
        f"layers.1.{name}": np.ones(4, np.float32) for name in ("weight", "bias", "running_mean", "running_var")
    }
    trained = Origin("trained.tif", (1, 2, 3), NAMES, ("uint8",) * 3, (0, 1, 2), 10.0)
    return Model(config, survey, weights, class_model, replace(trained, **origin))


def a_projecting_model():
    """Return a model whose network sees two components of the six channels."""
    model = a_model()
    survey = replace(model.survey, projection=Projection(((0.5,) * 6, (0.25,) * 6)))
    first = model.network["layers.0.weight"][:, :2]
    return replace(model, survey=survey, network=model.network | {"layers.0.weight": first})


def classes(path):
    with rasterio.open(path) as raster:
        return raster.read(1)


def tile(folder, scene, *options, config=None):
    """Run the command; write polygons and class raster to `folder`."""
    given = () if config is None else ("--config", config)
    return run_command(
        "tile", scene, "--out", folder / "labels.gpkg", "--class-raster", folder / "classes.tif", *given,
        "--workers", 0, "--device", "cpu", *options,
    )  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory, quick_config):
    """Folder of a run that has saved its model, with scene.tif, city.geoseg and classes.tif."""
    folder = tmp_path_factory.mktemp("trained")
    scene = write_raster(folder / "scene.tif", fields())
    assert tile(folder, scene, "--save-model", folder / "city.geoseg", config=quick_config).code == 0
    return folder


@pytest.fixture(scope="session")
def other_scene(tmp_path_factory):
    """The same fields, shifted: other places, the same colours."""
    pixels = np.roll(fields(), 60, axis=(1, 2))
    return write_raster(tmp_path_factory.mktemp("other") / "other.tif", pixels)


@pytest.fixture(scope="session")
def landscapes(tmp_path_factory, quick_config):
    """Two landscapes with known land cover, each with a model and, in a folder named by its number, its own classes."""
    folder = tmp_path_factory.mktemp("landscapes")
    for seed in (1, 2):
        scene, out = folder / f"{seed}.tif", folder / f"{seed}"
        out.mkdir()
        options = SceneOptions(shape=(360, 400), seed=seed, resolution=2.0)
        write_scene(scene, options, truth=folder / f"truth{seed}.tif")
        kept = ("--save-model", folder / f"{seed}.geoseg")
        assert tile(out, scene, "--classes", 14, *kept, config=quick_config).code == 0
    return folder


def land_cover_of_classes(landscapes, number):
    """Return the most frequent land cover of each class, from the landscape itself."""
    found, truth = classes(landscapes / f"{number}" / "classes.tif"), classes(landscapes / f"truth{number}.tif")
    table = np.zeros((found.max() + 1, truth.max() + 1), int)
    np.add.at(table, (found, truth), 1)
    return table.argmax(axis=1)


# --- the file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [a_model, a_projecting_model])
def test_saved_model_reads_back_unchanged(tmp_path, made):
    model = made()

    save_model(tmp_path / "a.geoseg", model)
    found = load_model(tmp_path / "a.geoseg")

    assert (found.config, found.survey, found.origin) == (model.config, model.survey, model.origin)
    for read, saved in (
        (found.network, model.network),
        (found.class_model.to_arrays(), model.class_model.to_arrays()),
    ):
        assert read.keys() == saved.keys()
        for name, array in read.items():
            np.testing.assert_array_equal(array, saved[name], strict=True)
    assert found.digest == model.digest


def test_equal_models_give_equal_bytes_and_different_models_different_digests(tmp_path):
    for name in "ab":
        save_model(tmp_path / f"{name}.geoseg", a_model())

    assert (tmp_path / "a.geoseg").read_bytes() == (tmp_path / "b.geoseg").read_bytes()
    others = [a_model(seed=1), a_model(names=("a", "b", "c")), a_model(resolution=5.0)]
    assert len({model.digest for model in (a_model(), *others)}) == 4


def test_file_is_a_safetensors_file_with_json_and_no_pickle(trained):
    path = trained / "city.geoseg"

    with safetensors.safe_open(path, framework="numpy") as file:
        document = json.loads(file.metadata()["geoseg"])
        names = set(file.keys())

    assert {"format", "geoseg", "config", "stretch", "standard", "superpixels", "origin", "digest"} == set(document)
    assert document["origin"] | {"resolution": 0} == {
        "scene": "scene.tif", "bands": [1, 2, 3], "names": ["", "", ""], "dtypes": ["uint8"] * 3,
        "red_green_blue": [0, 1, 2], "resolution": 0,
    }  # fmt: skip
    assert document["origin"]["resolution"] == pytest.approx(10)
    assert {"class_model.centroids", "class_model.merges", "network.layers.0.weight"} <= names
    size = int.from_bytes(path.read_bytes()[:8], "little")
    json.loads(path.read_bytes()[8 : 8 + size])  # the header; all that follows are numbers


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros((2, 5), np.float32), "projection of the channels"),
        (np.zeros((0, 6), np.float32), "projection of the channels"),
        (np.zeros((7, 6), np.float32), "projection of the channels"),
        (np.zeros((3, 6), np.float32), "layers.0.weight"),
        (np.full((2, 6), np.nan, np.float32), "not finite"),
        (np.zeros((2, 6), np.int64), "projection: int64"),
        (np.zeros(6, np.float32), "projection: float32"),
    ],
)
def test_model_with_a_projection_that_does_not_fit_is_refused(tmp_path, weights, message):
    path = tmp_path / "a.geoseg"
    save_model(path, a_projecting_model())

    rewritten(path, lambda _: None, lambda arrays: arrays.update({"projection.weights": weights}))

    with pytest.raises(ModelError, match=message):
        load_model(path)


def test_existing_file_is_replaced_by_a_model_only_with_overwrite(tmp_path):
    path = tmp_path / "a.geoseg"
    path.write_text("years of work")

    with pytest.raises(OutputError, match="exists"):
        save_model(path, a_model())

    assert path.read_text() == "years of work"
    save_model(path, a_model(), overwrite=True)
    assert load_model(path).digest == a_model().digest
    assert [path.name for path in tmp_path.iterdir()] == ["a.geoseg"]


def test_model_that_does_not_read_back_leaves_no_file(tmp_path):
    invalid = replace(a_model(), survey=replace(a_model().survey, stretch=Stretch((0.0,), (1.0,))))

    with pytest.raises(OutputError, match="does not read back"):
        save_model(tmp_path / "a.geoseg", invalid)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.999])
def test_truncated_model_is_refused(tmp_path, share):
    path = tmp_path / "a.geoseg"
    save_model(path, a_model())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    with pytest.raises(ModelError, match="is not a model or is damaged"):
        load_model(path)


def test_model_with_a_flipped_bit_is_refused(tmp_path):
    path = tmp_path / "a.geoseg"
    save_model(path, a_model())
    whole = path.read_bytes()
    padding = whole[: 8 + int.from_bytes(whole[:8], "little")].rstrip(b" ")

    unseen = []
    for at in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 7
        path.write_bytes(damaged)
        try:
            load_model(path)
        except ModelError:
            continue
        unseen.append(at)

    assert all(at >= len(padding) and whole[at] == ord(" ") for at in unseen)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"\xff" * 4000, b"{}" * 100])
def test_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "a.geoseg"
    path.write_bytes(content)

    with pytest.raises(ModelError, match="is not a model or is damaged"):
        load_model(path)


def test_arrays_of_another_program_are_refused(tmp_path):
    path = tmp_path / "a.geoseg"

    for metadata in (None, {"format": "pt"}, {"geoseg": "[]"}):
        path.write_bytes(safetensors.numpy.save({"weight": np.zeros(3)}, metadata=metadata))
        with pytest.raises(ModelError, match="is not a geoseg model"):
            load_model(path)


def test_missing_model_and_folder_are_refused(tmp_path):
    for path in (tmp_path / "absent.geoseg", tmp_path):
        with pytest.raises(ModelError, match="there is no model file"):
            load_model(path)


def rewritten(path, change, change_arrays=None):
    """Apply changes to the document and the arrays of the model in `path`; write it with the checksum that fits."""
    with safetensors.safe_open(path, framework="numpy") as file:
        document = json.loads(file.metadata()["geoseg"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # it is not a mapping
    change(document)
    if change_arrays is not None:
        change_arrays(arrays)
    document.pop("digest")
    document["digest"] = checksum(document, arrays)
    path.write_bytes(safetensors.numpy.save(arrays, metadata={"geoseg": json.dumps(document)}))


def damaged(array, value):
    """Return a change of the arrays: one value of the one with this name."""

    def change(arrays):
        arrays[array] = arrays[array].copy()
        arrays[array].reshape(-1)[0] = value

    return change


def replaced(array, value):
    """Return a change of the arrays: another one with this name."""

    def change(arrays):
        arrays[array] = value

    return change


HOSTILE_ARRAYS = {  # what is wrong → change of the arrays
    **{
        f"{value} in {name}": damaged(name, value)
        for value in (np.nan, np.inf)
        for name in ("network.layers.0.weight", "network.layers.1.running_mean", "class_model.centroids",
                     "class_model.moments", "class_model.weights", "class_model.costs")
    },
    "negative variance": damaged("network.layers.1.running_var", -1),
    "leaf that does not exist": damaged("class_model.merges", -5),
    "leaf that is merged twice": replaced("class_model.merges", np.array([[0, 2], [0, 2], [3, 4]])),
    "leaf beyond the clusters": replaced("class_model.merges", np.array([[0, 2], [0, 1], [3, 2**40]])),
    "leaf that is merged with itself": replaced("class_model.merges", np.array([[0, 2], [1, 1], [3, 4]])),
    "fractional leaf": replaced("class_model.merges", np.array([[0, 2.5], [0, 1], [3, 4]])),
    "tree of three columns": replaced("class_model.merges", np.zeros((3, 3), np.int64)),
    "more costs than steps": replaced("class_model.costs", np.zeros(9)),
    "no clusters": replaced("class_model.moments", np.zeros((0, 4))),
    "million clusters": replaced("class_model.moments", np.zeros((1_000_000, 4))),
    "centroids of other clusters": replaced("class_model.centroids", np.zeros((2, 8))),
    "centroids in another space": replaced("class_model.centroids", np.zeros((5, 3))),
    "weights of other clusters": replaced("class_model.weights", np.ones(2)),
    "negative weight": damaged("class_model.weights", -1),
    "no automatic classes": replaced("class_model.auto_n_classes", np.array(-4)),
    "many automatic classes": replaced("class_model.auto_n_classes", np.array(2**40)),
    "bands among the moments": replaced("class_model.n_bands", np.array(2**40)),
    "list of numbers of bands": replaced("class_model.n_bands", np.array([3, 3])),
    "kernel of another size": replaced("network.layers.0.weight", np.zeros((4, 6, 5, 5), np.float32)),
    "layer too many": replaced("network.layers.3.weight", np.zeros((4, 4, 1, 1), np.float32)),
    "complex weights": replaced("network.layers.0.bias", np.zeros(4, np.complex64)),
    "logical weights": replaced("network.layers.0.bias", np.zeros(4, bool)),
}  # fmt: skip
HOSTILE_DOCUMENTS = {  # what is wrong → change of the document
    "nan in the stretch": lambda document: document["stretch"].update(low=[float("nan")] * 3),
    "words in the stretch": lambda document: document["stretch"].update(high=["a", "b", "c"]),
    "infinite deviation": lambda document: document["standard"].update(deviation=[float("inf")] * 6),
    "million superpixels per pixel": lambda document: document["superpixels"].update(n_segments=10**15),
    "unknown superpixels": lambda document: document["superpixels"].update(method="x" * 10_000),
    "huge network": lambda document: document["config"]["network"].update(kernels=[999_999], channels=[200]),
    "huge tiles": lambda document: document["config"]["tiles"].update(size=10**12),
    "bands without dtypes": lambda document: document["origin"].update(dtypes=[]),
    "dtype of objects": lambda document: document["origin"].update(dtypes=["O"] * 3),
    "display of other bands": lambda document: document["origin"].update(red_green_blue=[0, 1, 99]),
    "negative band": lambda document: document["origin"].update(bands=[-1, 2, 3]),
    "scene that is no name": lambda document: document["origin"].update(scene={"a": 1}),
    "long version": lambda document: document.update(geoseg="x" * 100_000, format=[9] * 1000),
    "config that is a list": lambda document: document.update(config=[1, 2]),
    "origin that is a word": lambda document: document.update(origin="x"),
    "stretch that is null": lambda document: document.update(stretch=None),
}


@pytest.mark.parametrize("hostile", [*HOSTILE_ARRAYS, *HOSTILE_DOCUMENTS])
def test_model_with_numbers_that_make_no_sense_is_refused_in_one_line(tmp_path, hostile):
    path = tmp_path / "a.geoseg"
    save_model(path, a_model())
    unchanged = HOSTILE_DOCUMENTS.get(hostile, lambda _: None)
    rewritten(path, unchanged, HOSTILE_ARRAYS.get(hostile))

    with pytest.raises(ModelError) as caught:
        load_model(path)

    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_model_of_gigabytes_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "a.geoseg").open("wb") as file:
        file.truncate(2**34)  # no block of it is on the disk

    with pytest.raises(ModelError, match=r"has 16\.0 GiB; expected at most 1 GiB"):
        load_model(tmp_path / "a.geoseg")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda document: document.update(format=99, geoseg="9.1"), "geoseg 9.1 in format 99.*reads format 4"),
        (lambda document: document["config"].update(depth=3), "there is no option depth"),
        (lambda document: document["config"]["learn"].update(steps="many"), "learn.steps is 'many'"),
        (lambda document: document["stretch"].update(low=[0.0]), "bands of the stretch: 1, expected 3"),
        (lambda document: document.pop("standard"), "standard"),
        (lambda document: document["origin"].update(colour=1), "colour"),
        (
            lambda document: document["config"]["network"].update(channels=[5]),
            r"layers\.0\.weight of the network has the shape \(4, 6, 3, 3\), expected \(5, 6, 3, 3\)",
        ),
    ],
)
def test_model_of_an_incompatible_version_is_refused_with_the_reason(tmp_path, change, reason):
    path = tmp_path / "a.geoseg"
    save_model(path, a_model())
    rewritten(path, change)

    with pytest.raises(ModelError, match=reason) as caught:
        load_model(path)

    assert "train the model again" in str(caught.value)


# --- which scenes and configurations fit --------------------------------------------------------------------------


def test_scene_with_the_same_bands_fits_without_a_warning(make_raster, caplog):
    scene = open_scene(make_raster(FLAT, names=NAMES, photometric="RGB"))

    check_fits(a_model(), scene)
    check_fits(a_model(names=("Red", "Green", "Blue")), scene)
    check_fits(a_model(names=("", "", "")), scene)

    assert not caplog.records


@pytest.mark.parametrize(
    ("pixels", "names", "bands", "reason"),
    [
        (FLAT[:1], None, (), "it has 1 band, the model 3"),
        (np.zeros((5, 64, 64), np.uint8), None, (), "it has 5 bands, the model 3"),
        (FLAT.astype(np.uint16), None, (), "band 1 is uint16, in the model uint8; band 2 is uint16"),
        (FLAT.astype(np.float32), NAMES, (), "band 3 is float32, in the model uint8"),
        (FLAT, NAMES[::-1], (), "its bands are blue, green, red, in the model red, green, blue"),
        (FLAT, ("nir", "red", "green"), (), "its bands are nir, red, green"),
        (FLAT, NAMES, (3, 2, 1), "its bands are blue, green, red"),
        (FLAT, None, (3, 2, 1), "its bands 3, 2, 1 have no names"),
        (FLAT.astype(np.uint16), NAMES[::-1], (), "uint16.*its bands are blue"),
    ],
)
def test_scene_with_other_bands_is_refused_with_all_differences(make_raster, pixels, names, bands, reason):
    scene = open_scene(make_raster(pixels, names=names), bands=bands)

    with pytest.raises(ModelError, match=reason) as caught:
        check_fits(a_model(), scene)

    for part in ("scene.tif does not fit", "trained.tif", "--bands"):
        assert part in str(caught.value)


def test_bands_in_another_order_fit_if_their_names_match(make_raster):
    check_fits(a_model(), open_scene(make_raster(FLAT, names=NAMES[::-1]), bands=(3, 2, 1)))


def test_float64_scene_fits_a_model_of_float32(make_raster):
    check_fits(a_model(dtypes=("float32",) * 3), open_scene(make_raster(FLAT.astype(np.float64))))


def test_band_names_without_a_match_give_a_warning_with_both_lists(make_raster, caplog):
    check_fits(a_model(), open_scene(make_raster(FLAT, names=("B4", "B3", "B2"))))

    assert "B4, B3, B2" in caplog.text
    assert "red, green, blue" in caplog.text


@pytest.mark.parametrize(("size", "warned"), [(4.9, True), (5.1, False), (19.0, False), (21.0, True)])
def test_pixel_size_that_differs_by_more_than_a_factor_of_two_gives_a_warning(make_raster, caplog, size, warned):
    scene = open_scene(make_raster(FLAT, transform=Affine(size, 0, 500_000, 0, -size, 5_000_000)))

    check_fits(a_model(), scene)

    assert ("classes may have a different meaning" in caplog.text) == warned
    assert not warned or (f"{size:.3g} m" in caplog.text and "10 m" in caplog.text)


def test_pixel_size_in_degrees_is_compared_in_metres(make_raster, caplog):
    scene = open_scene(make_raster(FLAT, transform=Affine(9e-5, 0, 8, 0, -9e-5, 1), crs="EPSG:4326"))

    check_fits(a_model(), scene)  # 10 m at the equator

    assert not caplog.records


def test_other_display_bands_give_a_warning(make_raster, caplog):
    check_fits(a_model(red_green_blue=(2, 1, 0), names=("", "", "")), open_scene(make_raster(FLAT)))

    assert "bands 3, 2, 1" in caplog.text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training": "tile"}, "training is tile, in the model scene"),
        ({"superpixels__method": "slic"}, "superpixels.method is slic, in the model felzenszwalb"),
        ({"network__channels": [8]}, r"network.channels is \[8\], in the model \[4\]"),
        ({"classify__evidence": "votes"}, "classify.evidence is votes"),
        ({"classify__clusters": 9, "learn__steps": 3}, "learn.steps is 3, in the model 48; classify.clusters"),
        ({"classify__classes": 6}, "class tree of the model trained on trained.tif has 5 clusters; use at most 5"),
    ],
)
def test_option_that_the_model_fixes_is_refused(changes, reason):
    model = a_model()

    with pytest.raises(ConfigError, match=reason):
        check_config(model, load_config(model.config.to_dict(), **changes))


def test_option_that_does_not_depend_on_the_model_may_differ():
    model = a_model()
    free = {
        "seed": 4, "tiles__size": 96, "tiles__halo": 8, "polygons__min_pixels": 9, "polygons__simplify": 0,
        "tile_steps": 3, "backprop__distillation_weight": 0.9, "classify__classes": 2, "bands": [3, 2, 1],
    }  # fmt: skip

    check_config(model, load_config(model.config.to_dict(), **free))

    assert model.config == a_model().config  # not modified by the changes


# --- runs with a model ------------------------------------------------------------------------------------------------


def test_model_gives_its_training_scene_the_same_class_raster(tmp_path, trained):
    ended = tile(tmp_path, trained / "scene.tif", "--model", trained / "city.geoseg")

    assert ended.code == 0, ended.text
    assert "learn the network" not in ended.text
    assert (tmp_path / "classes.tif").read_bytes() == (trained / "classes.tif").read_bytes()
    report = json.loads((tmp_path / "labels.run" / "run.json").read_text())
    assert report["model"] == {
        "scene": "scene.tif", "digest": load_model(trained / "city.geoseg").digest, "restretch": False,
    }  # fmt: skip


def test_restretch_of_the_training_scene_changes_nothing(tmp_path, trained):
    assert tile(tmp_path, trained / "scene.tif", "--model", trained / "city.geoseg", "--restretch").code == 0

    assert (tmp_path / "classes.tif").read_bytes() == (trained / "classes.tif").read_bytes()


def test_shifted_fields_get_the_same_classes(tmp_path, trained, other_scene):
    assert tile(tmp_path, other_scene, "--model", trained / "city.geoseg").code == 0

    first, second = classes(trained / "classes.tif"), classes(tmp_path / "classes.tif")
    assert (np.roll(first, 60, axis=(0, 1)) == second).mean() > 0.97  # except near the edges of the shifted scene


@pytest.mark.parametrize(("first", "second"), rest_slow([(1, 2), (2, 1)], quick=0))
def test_land_cover_keeps_its_class_from_one_landscape_to_another(tmp_path, landscapes, first, second):
    table_of = land_cover_of_classes(landscapes, first)

    assert tile(tmp_path, landscapes / f"{second}.tif", "--model", landscapes / f"{first}.geoseg").code == 0

    truth = classes(landscapes / f"truth{second}.tif")
    accuracy = (table_of[classes(tmp_path / "classes.tif")] == truth).mean()
    unrelated = (table_of[classes(landscapes / f"{second}" / "classes.tif")] == truth).mean()
    assert accuracy > 0.6
    assert accuracy > np.bincount(truth.ravel()).max() / truth.size + 0.3  # than one class for all pixels
    assert accuracy > unrelated + 0.3  # than classes trained on the second landscape


@pytest.mark.slow
def test_restretch_restores_the_classes_of_a_darker_landscape(tmp_path, landscapes):
    with rasterio.open(landscapes / "1.tif") as raster:
        profile, pixels = raster.profile, raster.read()
    dark = tmp_path / "dark.tif"
    with rasterio.open(dark, "w", **profile) as raster:
        raster.write((pixels * 0.6 + 10).astype(np.uint8))

    accuracies = []
    for options in ((), ("--restretch",)):
        assert tile(tmp_path, dark, "--model", landscapes / "1.geoseg", *options, "--overwrite").code == 0
        found = land_cover_of_classes(landscapes, 1)[classes(tmp_path / "classes.tif")]
        accuracies.append((found == classes(landscapes / "truth1.tif")).mean())

    assert accuracies[1] > 0.65
    assert accuracies[1] > accuracies[0] + 0.2


def test_fewer_classes_can_be_asked_of_a_model(tmp_path, trained, other_scene):
    assert tile(tmp_path, other_scene, "--model", trained / "city.geoseg", "--classes", 3).code == 0

    assert len(np.unique(classes(tmp_path / "classes.tif"))) <= 3


def test_tiles_can_be_trained_further_from_the_network_of_a_model(tmp_path, trained, other_scene):
    ended = tile(tmp_path, other_scene, "--model", trained / "city.geoseg", "--tile-steps", 2)

    assert ended.code == 0, ended.text
    assert (classes(tmp_path / "classes.tif") > 0).all()


@pytest.mark.slow
def test_two_workers_and_none_write_the_same_bytes_with_a_model(tmp_path, trained, other_scene):
    found = []
    for workers in (0, 2):
        options = ("--model", trained / "city.geoseg", "--workers", workers, "--overwrite")
        assert tile(tmp_path, other_scene, *options).code == 0
        found.append((tmp_path / "classes.tif").read_bytes())

    assert found[0] == found[1]


def test_model_is_used_and_saved_from_python(tmp_path, trained, other_scene):
    again = tmp_path / "again.geoseg"

    result = run_scene(
        str(other_scene),
        Outputs(tmp_path / "labels.gpkg", model=again),
        options=RunOptions(model=trained / "city.geoseg", device="cpu"),
        cluster=ClusterOptions(workers=0),
    )

    assert result.outputs.model == again
    first, second = load_model(trained / "city.geoseg"), load_model(again)
    assert first.config == second.config
    np.testing.assert_array_equal(first.class_model.predictor.centroids, second.class_model.predictor.centroids)
    assert second.origin.scene == "other.tif"


@pytest.mark.slow
def test_model_stores_the_automatic_number_of_classes_and_allows_others(tmp_path, quick_config):
    scene = write_raster(tmp_path / "scene.tif", fields(noise=25))
    model = tmp_path / "auto.geoseg"
    assert tile(tmp_path, scene, "--classes", "auto", "--save-model", model, config=quick_config).code == 0
    chosen, first = classes(tmp_path / "classes.tif").max(), (tmp_path / "classes.tif").read_bytes()
    kept = load_model(model)

    assert (kept.config.classify.classes, kept.class_model.auto_n_classes) == ("auto", chosen)
    assert len(kept.class_model.tree.costs) == len(kept.class_model.tree.merges) > 0
    for options in ((), ("--classes", "auto"), ("--classes", chosen)):
        assert tile(tmp_path, scene, "--model", model, *options, "--overwrite").code == 0
        assert (tmp_path / "classes.tif").read_bytes() == first
    assert tile(tmp_path, scene, "--model", model, "--classes", 3, "--overwrite").code == 0
    assert classes(tmp_path / "classes.tif").max() == 3
    document = json.loads((tmp_path / "labels.classes.json").read_text())
    assert (document["asked"], document["n_classes"]) == (3, 3)


def test_auto_works_with_a_model_of_a_fixed_number_of_classes(tmp_path, trained, other_scene):
    chosen = load_model(trained / "city.geoseg").class_model.auto_n_classes

    assert tile(tmp_path, other_scene, "--model", trained / "city.geoseg", "--classes", "auto").code == 0

    assert json.loads((tmp_path / "labels.classes.json").read_text())["n_classes"] == chosen


def test_auto_never_exceeds_the_clusters_of_a_model():
    model = a_model()
    auto = replace(model, config=load_config(model.config.to_dict(), classify__classes="auto"))

    check_config(model, auto.config)
    with pytest.raises(ConfigError, match="use at most 5"):
        check_config(auto, load_config(model.config.to_dict(), classify__classes=6))


def test_damaged_tile_is_nodata_in_a_run_with_a_model(tmp_path, trained, make_raster):
    scene = make_raster(fields(), "damaged.tif", tiled=True, blockxsize=32, blockysize=32, compress="deflate")
    damage(scene, 4, 4)

    ended = tile(tmp_path, scene, "--model", trained / "city.geoseg")

    assert ended.code == 3
    assert (classes(tmp_path / "classes.tif")[96:, 96:] == 0).all()


@pytest.mark.parametrize(("module", "function"), [(segment, "segment_tile"), (vectorize, "label_tile")])
def test_failed_tile_gets_the_classes_of_the_model_on_resume(
    tmp_path, trained, other_scene, monkeypatch, module, function
):
    model = ("--model", trained / "city.geoseg")
    assert tile(tmp_path, other_scene, *model).code == 0
    uninterrupted = (tmp_path / "classes.tif").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(module, function, failing_at(2, getattr(module, function)))
        assert tile(tmp_path, other_scene, *model, "--overwrite").code == 3

    assert tile(tmp_path, other_scene, *model, "--resume").code == 0

    assert (tmp_path / "classes.tif").read_bytes() == uninterrupted


def test_run_is_not_resumed_with_another_model(tmp_path, trained, other_scene, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    second = tmp_path / "second.geoseg"
    model = load_model(trained / "city.geoseg")
    save_model(second, replace(model, class_model=replace(model.class_model, weights=model.class_model.weights + 1)))
    with monkeypatch.context() as patch:
        patch.setattr(vectorize, "label_tile", interrupt)
        assert tile(tmp_path, other_scene, "--model", trained / "city.geoseg").code == 130

    line = only_line(tile(tmp_path, other_scene, "--model", second, "--resume"))
    assert "model.digest" in line
    assert "model.restretch: false → true" in only_line(
        tile(tmp_path, other_scene, "--model", trained / "city.geoseg", "--restretch", "--resume")
    )
    assert tile(tmp_path, other_scene, "--model", trained / "city.geoseg", "--resume").code == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--training", "tile"), "training is tile, in the model scene"),
        (("--superpixels", "slic"), "superpixels.method is slic"),
        (("--config", "kanezaki2018"), "Leave them out, or train a new model"),
        (("--bands", "3,2,1"), "its bands 3, 2, 1 have no names"),
        (("--bands", "1,2"), "it has 2 bands, the model 3"),
        (("--classes", 50), "50"),
        (("--save-model", "model.gpkg"), "it can end in .geoseg"),
    ],
)
def test_option_that_contradicts_the_model_is_refused_in_one_line(tmp_path, trained, other_scene, options, reason):
    assert reason in only_line(tile(tmp_path, other_scene, "--model", trained / "city.geoseg", *options))
    assert not list(tmp_path.iterdir())


def test_damaged_model_is_refused_in_one_line_before_the_work(tmp_path, trained, other_scene):
    folder = tmp_path / "out"
    folder.mkdir()
    damaged = tmp_path / "damaged.geoseg"
    damaged.write_bytes((trained / "city.geoseg").read_bytes()[:-100])

    assert "damaged.geoseg is not a model or is damaged" in only_line(tile(folder, other_scene, "--model", damaged))
    assert not list(folder.iterdir())


def test_scene_of_another_dtype_is_refused_in_one_line(tmp_path, trained, make_raster):
    scene = make_raster(fields(dtype=np.uint16))

    line = only_line(tile(tmp_path, scene, "--model", trained / "city.geoseg"))

    assert "scene.tif does not fit the model, which was trained on scene.tif: band 1 is uint16" in line


def test_model_in_use_is_never_overwritten(tmp_path, trained, other_scene):
    before = (trained / "city.geoseg").read_bytes()
    model = ("--model", trained / "city.geoseg")

    line = only_line(tile(tmp_path, other_scene, *model, "--save-model", trained / "city.geoseg", "--overwrite"))

    assert "is the model that is used" in line
    assert (trained / "city.geoseg").read_bytes() == before


def test_existing_model_is_not_replaced_without_overwrite(tmp_path, other_scene, quick_config):
    kept = tmp_path / "kept.geoseg"
    kept.write_text("years of work")

    assert f"{kept} exists" in only_line(tile(tmp_path, other_scene, "--save-model", kept, config=quick_config))
    assert kept.read_text() == "years of work"


def test_existing_model_is_replaced_with_overwrite(tmp_path, other_scene, trained):
    kept = tmp_path / "kept.geoseg"
    kept.write_text("to be replaced")
    options = ("--model", trained / "city.geoseg", "--save-model", kept)

    assert tile(tmp_path, other_scene, *options, "--overwrite").code == 0

    assert load_model(kept).origin.scene == "other.tif"
    assert "is finished: nothing is left to do" in tile(tmp_path, other_scene, *options, "--resume").text


def test_training_per_tile_saves_no_model(tmp_path, other_scene, quick_config):
    options = ("--training", "tile", "--tile-steps", 2, "--save-model", tmp_path / "kept.geoseg")

    assert "training tile has no network of the scene" in only_line(
        tile(tmp_path, other_scene, *options, config=quick_config)
    )


def test_restretch_without_a_model_is_refused(tmp_path, other_scene):
    assert "Give --model too" in only_line(tile(tmp_path, other_scene, "--restretch"))
