import dataclasses
import math
import re

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from geoseg.config import Backprop, Classify, Config, Network, Superpixels, Tiles, load_config, named_configs
from geoseg.errors import ConfigError

SECTIONS = [field.name for field in dataclasses.fields(Config) if dataclasses.is_dataclass(field.default_factory)]


def write(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(source=None, **changes):
    """Return the error of a configuration that must be refused; it is one line."""
    with pytest.raises(ConfigError) as refused:
        load_config(source, **changes)
    text = str(refused.value)
    assert "\n" not in text
    return text


# --- the configurations that come with geoseg ----------------------------------------------------------------------


def test_default_yaml_equals_the_defaults_of_the_dataclasses():
    path = named_configs()["default"]

    assert load_config("default") == Config() == load_config()
    assert set(yaml.safe_load(path.read_text())) == set(Config().to_dict())  # every option is listed
    for section in SECTIONS:
        assert set(yaml.safe_load(path.read_text())[section]) == set(Config().to_dict()[section])


@pytest.mark.parametrize(
    "name", ["aerial", "default", "drone", "kanezaki2018", "kmeans", "landsat", "rag", "sentinel2", "yonv2019"]
)
def test_named_config_loads_and_gives_reasons_beside_its_values(name):
    assert isinstance(load_config(name), Config)
    lines = named_configs()[name].read_text(encoding="utf-8").splitlines()
    assert sum("#" in line for line in lines) >= 4


def test_kanezaki2018_is_the_table_of_the_article():
    config = load_config("kanezaki2018")

    assert (config.superpixels.method, config.superpixels.n_segments, config.superpixels.compactness) == (
        "slic",
        10_000,
        100.0,
    )
    assert config.network == Network((3, 3, 1), (100, 100, 100), "relu-bn", "bands")
    assert config.backprop == Backprop("sgd", 0.1, 0.9, max_steps=1000, min_labels=4, entropy_weight=0.0)
    assert (config.training, config.steps, config.classify.evidence) == ("tile", 1000, "votes")


def test_yonv2019_is_the_table_of_the_script():
    config = load_config("yonv2019")

    assert config.superpixels == Superpixels("felzenszwalb", scale=32.0, sigma=0.5, min_size=64)
    assert config.network == Network((3, 1, 3, 1), (64, 32, 64, 32), "bn-relu", "bands")
    assert config.backprop == Backprop("sgd", 0.05, 0.9, max_steps=128, min_labels=4, entropy_weight=0.0)
    assert (config.training, config.steps, config.classify.evidence) == ("tile", 128, "votes")


# --- what is accepted ------------------------------------------------------------------------------------------


def test_file_overrides_defaults_and_options_override_the_file(tmp_path):
    path = write(tmp_path, "seed: 5\ntiles:\n  size: 256\nbands: [4, 3]\n")

    config = load_config(path, tiles__halo=40, seed=7)

    assert config == Config(bands=(4, 3), seed=7, tiles=Tiles(256, 40))


def test_option_that_is_none_leaves_the_value_of_the_file(tmp_path):
    path = write(tmp_path, "seed: 5\n")

    assert load_config(path, seed=None, tiles__size=None) == Config(seed=5)


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "tiles:\n", "tiles: {}\n", "bands: []\n"])
def test_file_without_values_is_the_default(tmp_path, text):
    assert load_config(write(tmp_path, text)) == Config()


def test_option_sets_a_value_in_a_section_that_is_empty_in_the_file(tmp_path):
    path = write(tmp_path, "tiles:\n  # size: 1024\n")

    assert load_config(path, tiles__size=256).tiles.size == 256


@pytest.mark.parametrize(("text", "rate"), [("1e-3", 0.001), ("0.001", 0.001), ("1", 1.0), ("'0.5'", 0.5)])
def test_number_may_be_written_with_exponent_without_point_or_in_quotes(tmp_path, text, rate):
    path = write(tmp_path, f"backprop: {{learning_rate: {text}}}\n")

    assert load_config(path).backprop.learning_rate == rate


def test_clusters_rise_with_classes_unless_given():
    assert load_config(classify__classes=8).classify == Classify(classes=8)
    assert load_config(classify__classes=100).classify == Classify(classes=100, clusters=200)


def test_clusters_given_by_the_user_are_not_changed():
    assert "clusters (50)" in refusal(classify__classes=100, classify__clusters=50)


def test_auto_number_of_classes_is_kept(tmp_path):
    written = load_config(write(tmp_path, "classify: {classes: auto}"))

    assert written == load_config(classify__classes="auto") == Config(classify=Classify(classes="auto"))
    assert load_config(written.to_dict()) == written
    assert load_config(written.to_dict(), classify__classes=5).classify.classes == 5


def test_auto_overrides_a_number_and_does_not_change_the_clusters(tmp_path):
    path = write(tmp_path, "classify: {classes: 100}")

    assert load_config(path, classify__classes="auto").classify == Classify(classes="auto")
    assert load_config(None, classify__classes="auto", classify__clusters=7).classify.clusters == 7


@pytest.mark.parametrize("method", ["kmeans", "rag"])
def test_training_options_are_refused_with_a_method_that_trains_no_network(method):
    assert "training scene and tile_steps 2" in refusal(method=method, training="scene", tile_steps=2)
    assert "training tile" in refusal("yonv2019", method=method)
    with pytest.raises(ConfigError, match=f"method {method} trains no network, so tile_steps 0"):
        Config(method=method, tile_steps=0)


@pytest.mark.parametrize("method", ["kmeans", "rag"])
def test_written_defaults_are_accepted_with_a_method_that_trains_no_network(method, tmp_path):
    path = write(tmp_path, yaml.safe_dump(Config(method=method).to_dict()))

    assert load_config(path) == load_config("default", method=method) == load_config(method) == Config(method=method)


def test_tile_steps_depend_on_training():
    assert Config().steps == 0
    assert load_config(training="tile").steps == Config().backprop.max_steps
    assert load_config(tile_steps=5).steps == 5


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(64, 4096),
    rate=st.floats(1e-6, 10),
    bands=st.lists(st.integers(1, 500), unique=True, max_size=5),
)
def test_config_written_as_yaml_is_read_back_equal(tmp_path_factory, seed, size, rate, bands):
    config = load_config(seed=seed, tiles__size=size, backprop__learning_rate=rate, bands=bands)
    path = tmp_path_factory.mktemp("config") / "written.yaml"

    path.write_text(yaml.safe_dump(config.to_dict()))

    assert load_config(path) == config


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong", "right"),
    [
        ("sed: 1", "sed", "nearest one is seed"),
        ("size: 512", "size", "nearest one is tiles.size"),
        ("tiles: {siez: 1}", "tiles.siez", "tiles.size"),
        ("tile: {size: 1}", "tile", "tiles"),
        ("17: 1", "17", "nearest"),
        ("tiles: 512", "tiles is 512", "names with values"),
        ("tiles: [size]", "tiles is ['size']", "names with values"),
        ("tiles: {size: big}", "tiles.size is 'big'", "whole number"),
        ("tiles: {size: 512.5}", "tiles.size is 512.5", "whole number"),
        ("tiles: {size: true}", "tiles.size is True", "whole number"),
        ("tiles: {size: null}", "tiles.size is None", "whole number"),
        ("seed: [1]", "seed is [1]", "whole number"),
        ("polygons: {simplify: yes}", "polygons.simplify is True", "number"),
        ("polygons: {simplify: much}", "polygons.simplify is 'much'", "number"),
        ("superpixels: {method: watershed}", "superpixels.method is 'watershed'", "felzenszwalb, slic"),
        ("superpixels: {method: [slic]}", "superpixels.method is ['slic']", "felzenszwalb, slic"),
        ("training: None", "training is 'None'", "scene, tile"),
        ("bands: 3", "bands is 3", "list of whole numbers"),
        ("bands: [1, two]", "bands is [1, 'two']", "list of whole numbers"),
        ("network: {kernels: [true, 1, 3, 1]}", "network.kernels is [True, 1, 3, 1]", "list of whole numbers"),
        ("tiles: {size: 32}", "tiles.size is 32", "from 64"),
        ("tiles: {halo: -1}", "tiles.halo is -1", "from 0"),
        ("seed: -1", "seed is -1", "from 0"),
        ("seed: 4294967296", "seed is 4294967296", "to 4294967295"),
        ("tile_steps: -1", "tile_steps is -1", "from 0"),
        ("classify: {classes: 1}", "classify.classes is 1", "from 2 to 255"),
        ("classify: {classes: many}", "classify.classes is 'many'", "whole number or auto"),
        ("classify: {classes: null}", "classify.classes is None", "whole number"),
        ("classify: {classes: true}", "classify.classes is True", "whole number"),
        ("classify: {clusters: auto}", "classify.clusters is 'auto'", "whole number"),
        ("tile_steps: auto", "tile_steps is 'auto'", "whole number"),
        ("classify: {classes: 256}", "classify.classes is 256", "from 2 to 255"),
        ("superpixels: {compactness: 0}", "superpixels.compactness is 0.0", "from"),
        ("backprop: {momentum: 2}", "backprop.momentum is 2.0", "from 0 to 1"),
        ("backprop: {distillation_weight: 1.5}", "backprop.distillation_weight is 1.5", "from 0 to 1"),
        ("backprop: {learning_rate: 0}", "backprop.learning_rate is 0.0", "from"),
        ("backprop: {learning_rate: .nan}", "backprop.learning_rate is nan", "from"),
        ("backprop: {learning_rate: nan}", "backprop.learning_rate is nan", "from"),
        ("polygons: {smooth: 1}", "polygons.smooth is 1", "true or false"),
        ("polygons: {max_vertices: 3}", "polygons.max_vertices is 3", "from 4"),
        ("polygons: {max_vertices: few}", "polygons.max_vertices is 'few'", "whole number"),
        ("polygons: {simplify: .inf}", "polygons.simplify is inf", "from 0 to 1000000"),
        ("polygons: {simplify: -.inf}", "polygons.simplify is -inf", "from 0"),
        ("superpixels: {scale: 1" + 400 * "0" + "}", "superpixels.scale", "number"),
        ("network: {kernels: []}", "network.kernels has 0 layers", "one number for each layer"),
        ("network: {kernels: [3]}", "network.kernels has 1 layers and network.channels 4", "one number"),
        ("network: {kernels: [3, 2, 3, 1]}", "network.kernels is [3, 2, 3, 1]", "odd"),
        ("network: {channels: [64, 32, 64, 1]}", "network.channels is [64, 32, 64, 1]", "at least 2"),
        ("network: {channels: [64, 32, 64, 300]}", "network.channels is [64, 32, 64, 300]", "at most 256"),
        ("tiles: {size: 64, halo: 40}", "halo (40 px)", "try a halo of 8"),
        ("tiles: {halo: 1}", "halo (1 px) is too small", "try a halo of 32"),
        ("{training: tile, tile_steps: 0}", "tile_steps 0", "tile_steps 1 or more"),
        ("method: snake", "method is 'snake'", "backprop, kmeans, rag"),
        ("{method: kmeans, training: tile}", "training tile", "method backprop"),
        ("{method: rag, tile_steps: 3}", "tile_steps 3", "method backprop"),
        ("rag: {threshold: -0.1}", "rag.threshold is -0.1", "from 0"),
        ("bands: [1, 1]", "bands [1, 1]", "different"),
        ("bands: [0]", "bands [0]", "from 1"),
    ],
)
def test_wrong_value_is_named_with_what_is_expected(tmp_path, text, wrong, right):
    error = refusal(write(tmp_path, text))

    assert wrong in error
    assert right in error


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- a\n- b\n", "list"),
        ("just words\n", "str"),
        ("3\n", "int"),
        ("tiles: {size: 5", "not a readable YAML"),
        ("seed: 2001-99-99\n", "not a readable YAML"),
        ("seed: !!python/object/apply:os.getcwd []\n", "not a readable YAML"),
        ("[" * 5000, "not a readable YAML"),
    ],
)
def test_file_that_is_not_a_mapping_is_refused_by_name(tmp_path, text, reason):
    path = write(tmp_path, text)

    error = refusal(path)

    assert str(path) in error
    assert reason in error


def test_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")

    assert "not a readable YAML" in refusal(path)


def test_missing_config_is_refused_with_the_names_of_existing_ones(tmp_path):
    assert "drone" in refusal("dron")
    assert "drone" in refusal(tmp_path / "absent.yaml")
    assert "drone" in refusal(tmp_path)  # a folder


def test_option_does_not_replace_a_section_that_is_wrong_in_the_file(tmp_path):
    assert "tiles is 5" in refusal(write(tmp_path, "tiles: 5\n"), tiles__size=256)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: Config(tiles=Tiles(size=10)), "tiles.size is 10; it must be from 64 to 8192"),
        (lambda: Config(seed=math.nan), "seed is nan; expected a whole number"),
        (lambda: Config(seed="1"), "seed is '1'; expected a whole number"),
        (lambda: Config(tiles=None), "tiles is None; expected names with values"),
        (lambda: Config(tiles={"size": 64}), "tiles is {'size': 64}; expected names with values"),
        (lambda: Config(backprop=Backprop(learning_rate="0.5")), "backprop.learning_rate is '0.5'; expected a number"),
        (lambda: Config(bands=5), "bands is 5; expected a list of whole numbers"),
    ],
)
def test_config_constructed_in_python_is_checked_like_one_from_a_file(config, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        config()


# --- other sources ------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(64, 4096), classes=st.integers(2, 255))
def test_config_object_is_a_source_and_is_not_changed(seed, size, classes):
    config = load_config("drone", seed=seed, tiles__size=size)
    before = config.to_dict()

    changed = load_config(config, classify__classes=classes, classify__clusters=255)

    assert load_config(config) == config
    assert config.to_dict() == before
    expected = Classify(classes=classes, clusters=255)
    assert changed == dataclasses.replace(config, classify=expected)


def test_dict_is_a_source_and_is_not_changed():
    values = {"classify": {"classes": 40}, "tiles": Tiles(256)}

    config = load_config(values, classify__adjacency_weight=1, tiles__halo=16)

    assert config == Config(
        classify=Classify(classes=40, clusters=80, adjacency_weight=1.0), tiles=Tiles(size=256, halo=16)
    )
    assert values == {"classify": {"classes": 40}, "tiles": Tiles(256)}


def test_numpy_values_become_python_values():
    config = load_config(seed=np.uint8(3), bands=np.array([4, 2]), backprop__momentum=np.float32(0.5))

    assert config == Config(seed=3, bands=(4, 2), backprop=Backprop(momentum=0.5))
    assert all(type(value) is int for value in (config.seed, *config.bands))


def test_section_as_an_option_replaces_the_section_of_the_source():
    assert load_config("drone", superpixels={"scale": 5}).superpixels == Superpixels(scale=5.0)
    assert load_config("drone", superpixels=Superpixels(min_size=5)).superpixels == Superpixels(min_size=5)


@pytest.mark.parametrize("source", [5, ["drone"], True, b"drone", {1, 2}, object(), Config, np.zeros(3)])
def test_source_of_another_type_is_refused(source):
    assert "expected the name of a configuration, a YAML file, a dict or a Config" in refusal(source)


@pytest.mark.parametrize("source", ["", "x" * 300, "a\0b", "a\nb"])
def test_name_that_no_file_can_have_is_refused(source):
    refusal(source)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("classify__class", 4, "there is no option classify.class; the nearest one is classify.classes"),
        ("classes", 4, "there is no option classes; the nearest one is classify.classes"),
        ("tiles__size__x", 4, "there is no option tiles.size.x"),
        ("seed__x", None, "there is no option seed.x"),
        ("__", 4, "there is no option"),
        ("tiles.siez", 4, "nearest one is tiles.size"),
        ("tiles", 512, "tiles is 512; expected names with values"),
        ("tiles", [1], "tiles is [1]; expected names with values"),
        ("seed", object, "seed is <class 'object'>; expected a whole number"),
        pytest.param("seed", 10**5000, "seed is a number too long to show", id="seed-long"),
        ("bands", {1, 2}, "bands is {1, 2}; expected a list of whole numbers"),
        ("bands", np.zeros((300, 300)), "expected a list of whole numbers"),
        ("tile_steps", "x", "tile_steps is 'x'; expected a whole number or null"),
        ("classify__classes", {}, "classify.classes is {}; expected a whole number or auto"),
        ("method", 3, "method is 3; expected one of backprop, kmeans, rag"),
    ],
)
def test_wrong_option_in_python_is_named_with_what_is_expected(name, value, message):
    error = refusal("drone", **{name: value})

    assert message in error
    assert len(error) < 400


@pytest.mark.parametrize("values", [{"tiles.size": 64}, {"tiles": {"size.x": 1}}, {("a", "b"): 1}, {"a\nb": 1}])
def test_name_that_no_option_has_is_refused(values):
    assert "there is no option" in refusal(values)


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("prior: scene", "prior", "training"),
        ("harmonize: {classes: 8}", "harmonize", "classify"),
        ("classify: {fine_classes: 8}", "classify.fine_classes", "classify.clusters"),
        ("classify: {interleaving: 8}", "classify.interleaving", "classify.adjacency_weight"),
        ("backprop: {hold: 0.5}", "backprop.hold", "backprop.distillation_weight"),
        ("learn: {lead: 0.5}", "learn.lead", "learn.warmup_fraction"),
        ("classify: {evidence: votes+looks}", "classify.evidence votes+looks", "classify.evidence votes+features"),
        ("training: none", "training none", "training tile"),
    ],
)
def test_former_name_is_refused_with_the_new_one(tmp_path, text, old, new):
    assert f"{old} was renamed to {new}" in refusal(write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "new"),
    [("prior", "training"), ("harmonize__classes", "classify"), ("harmonize__fine_classes", "classify.clusters")],
)
def test_former_name_of_an_option_in_python_is_refused_with_the_new_one(name, new):
    assert f"was renamed to {new}" in refusal(**{name: 8})


@pytest.mark.parametrize(
    "text",
    ["seed: 1\nseed: 2\n", "tiles: {size: 96, halo: 8, size: 64}\n", "tiles: &t {size: 96, size: 64}\nlearn: *t\n"],
)
def test_name_that_a_file_has_twice_is_refused(tmp_path, text):
    path = tmp_path / "twice.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=r"'(seed|size)' twice \(line [12]\)"):
        load_config(path)
