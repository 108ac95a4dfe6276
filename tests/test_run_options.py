"""Options of the Python functions by name."""

from dataclasses import fields as fields_of
from pathlib import Path

import pytest

from geoseg.config import Config, load_config
from geoseg.errors import ConfigError
from geoseg.output.paths import Outputs
from geoseg.run.executors import ClusterOptions
from geoseg.run.options import config_of, settings
from geoseg.run.run_options import RunOptions

RUN = {
    "aoi": "area.gpkg",
    "features": "features.tif",
    "values": ("dem.tif:height", "crops.tif:crop:majority"),
    "model": "scene.geoseg",
    "restretch": True,
    "run_dir": "run",
    "resume": True,
    "overwrite": True,
    "keep": True,
    "device": "cpu",
    "max_failed": 5,
    "memory": "4GiB",
}
CLUSTER = {
    "workers": 2,
    "threads": 3,
    "scheduler": "tcp://host:8786",
    "scheduler_file": "scheduler.json",
    "dashboard": True,
    "memory_limit": "4GiB",
    "timeout": 5.0,
    "tile_timeout": 60.0,
    "cluster": "cluster.yaml",
}


def test_every_field_of_the_run_and_of_the_cluster_is_an_option():
    assert RUN.keys() == {field.name for field in fields_of(RunOptions)} - {"command"}  # the command line itself
    tls = {"tls_ca_file", "tls_cert", "tls_key"}  # only together; see test_tls
    assert CLUSTER.keys() | tls == {field.name for field in fields_of(ClusterOptions)}


@pytest.mark.parametrize(("name", "value"), RUN.items())
def test_option_of_the_run_is_set_there_and_nowhere_else(name, value):
    found = settings("labels.gpkg", {name: value})

    expected = Path(value) if name in ("aoi", "model", "run_dir") else value
    assert found.run == RunOptions(**{name: expected})
    assert (found.outputs, found.cluster, found.config_changes) == (
        Outputs(Path("labels.gpkg")),
        ClusterOptions(),
        {},
    )


@pytest.mark.parametrize(("name", "value"), CLUSTER.items())
def test_option_of_the_cluster_is_set_there_and_nowhere_else(name, value):
    found = settings("labels.gpkg", {name: value})

    assert found.cluster == ClusterOptions(**{name: value})
    assert (found.outputs, found.run, found.config_changes) == (Outputs(Path("labels.gpkg")), RunOptions(), {})


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("class_raster", "class_raster", "classes.tif"),
        ("region_raster", "region_raster", "regions.tif"),
        ("save_model", "model", "scene.geoseg"),
        ("class_layer", "class_layer", True),
    ],
)
def test_option_of_the_outputs_is_set_there(name, field, value):
    found = settings("labels.gpkg", {name: value})

    expected = value if value is True else Path(value)
    assert found.outputs == Outputs(Path("labels.gpkg"), **{field: expected})
    assert (found.run, found.cluster, found.config_changes) == (RunOptions(), ClusterOptions(), {})


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        ("seed", 3, "seed"),
        ("method", "rag", "method"),
        ("simplify", 2.0, "polygons__simplify"),
        ("min_pixels", 5, "polygons__min_pixels"),
        ("polygons__smooth", True, "polygons__smooth"),
        ("tiles__size", 128, "tiles__size"),
    ],
)
def test_config_value_is_found_by_its_name_or_with_its_section(name, value, path):
    found = settings("labels.gpkg", {name: value})

    assert found.config_changes == {path: value}
    load_config(None, **found.config_changes)


def test_every_config_value_can_be_given_with_its_section():
    for section, values in Config().to_dict().items():
        for name in values if isinstance(values, dict) else ():
            assert settings("a.gpkg", {f"{section}__{name}": 1}).config_changes == {f"{section}__{name}": 1}


def test_none_is_an_option_that_is_not_given():
    assert settings("a.gpkg", dict.fromkeys([*RUN, *CLUSTER, "class_raster", "seed"])) == settings("a.gpkg", {})


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("class_rastr", "class_raster"),
        ("sede", "seed"),
        ("overwite", "overwrite"),
        ("memory_limt", "memory_limit"),
        ("min_pixel", "min_pixels"),
    ],
)
def test_unknown_option_is_a_config_error_with_the_nearest_name(name, nearest):
    with pytest.raises(ConfigError, match=f"there is no option '{name}'; the nearest one is '{nearest}'"):
        settings("a.gpkg", {name: 1})


def test_unknown_value_of_a_section_is_a_config_error_of_the_config():
    with pytest.raises(ConfigError, match=r"there is no option polygons\.simplfy; .*simplify"):
        load_config(None, **settings("a.gpkg", {"polygons__simplfy": 1}).config_changes)


@pytest.mark.parametrize(
    "given",
    [
        *({name: 5} for name in ("aoi", "model", "run_dir", "class_raster", "save_model", "scheduler_file")),
        *({name: "yes"} for name in ("resume", "overwrite", "keep", "restretch", "class_layer", "dashboard")),
        {"workers": "two"},
        {"workers": 1.5},
        {"workers": -1},
        {"device": "gpu"},
        {"device": 0},
        {"memory_limit": []},
        {"timeout": "long"},
        {"tile_timeout": 0},
        {"tile_timeout": float("nan")},
        *({"max_failed": value} for value in ("5", -1, 1.5, float("nan"), True)),
        {"cluster": 5},
        {"scheduler": 8786},
    ],
    ids=str,
)
def test_value_of_another_type_is_a_config_error_that_names_the_option(given):
    with pytest.raises(ConfigError, match=next(iter(given))):
        settings("a.gpkg", given)


@pytest.mark.parametrize("out", [None, 5, [], b"a.gpkg", object])
def test_out_that_is_no_path_is_a_config_error(out):
    with pytest.raises(ConfigError, match=r"out is .*; expected a path"):
        settings(out, {})


def test_outputs_are_taken_as_they_are_and_exclude_options_of_the_outputs():
    outputs = Outputs(Path("a.gpkg"), class_raster=Path("a.tif"))

    assert settings(outputs, {"seed": 1}).outputs is outputs
    for name, value in {"region_raster": "b.tif", "save_model": "b.geoseg", "class_layer": False}.items():
        with pytest.raises(ConfigError, match="out is an Outputs already"):
            settings(outputs, {name: value})


def test_config_is_changed_and_none_are_the_defaults():
    assert config_of(None, {"seed": 3}) == load_config(seed=3)
    assert config_of({"seed": 1}, {"classify__classes": 5}) == load_config({"seed": 1}, classify__classes=5)
