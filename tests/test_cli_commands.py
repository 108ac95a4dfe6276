"""Commands: their options, options without effect, facts about a scene, and the generated reference."""

import io
import json
from pathlib import Path

import click
import pytest
from rich.console import Console

from geoseg.cli import progress_bars
from geoseg.cli.main import commands
from geoseg.cli.reference import reference
from geoseg.config import Config
from geoseg.progress import StageAdvanced, StageFinished, StageStarted

from .conftest import fields, run_command

ROOT = Path(__file__).parents[1]
VISIBLE = {name: command for name, command in commands.commands.items() if not command.hidden}
TILE = ("tile", "a.tif", "--out", "a.gpkg")
OUTLINE = ("outline", "a.tif", "--out", "a.gpkg")
PREVIEW = ("preview", "a.tif")


@pytest.mark.parametrize(
    ("command", "options", "refused"),
    [
        (TILE, ("--halo", 32), "--halo"),
        (TILE, ("--halo", 32, "--method", "kmeans"), "--halo"),
        (TILE, ("--dashboard", "-j", 0), "--dashboard"),
        (TILE, ("--dashboard", "--scheduler", "tcp://a:1"), "--dashboard"),
        (TILE, ("--dashboard", "--scheduler-file", "a.json"), "--dashboard"),
        (TILE, ("--red", 1, "--nir", 4, "--attributes", "basic"), "--red"),
        (TILE, ("--nir", 4, "--attributes", "mean"), "--nir"),
        (TILE, ("--json",), "--json"),
        (OUTLINE, ("--dashboard", "-j", 0), "--dashboard"),
        (PREVIEW, ("--steps", 8), "--steps"),
        (PREVIEW, ("--window", "0,0,64,64", "--window-size", 64), "--window-size"),
        (PREVIEW, ("--classes", 8, "--levels", "4,8"), "--classes"),
        (PREVIEW, ("--stage", "superpixels", "--classes", 8), "--classes"),
        (PREVIEW, ("--stage", "superpixels", "--levels", "4,8"), "--levels"),
        (PREVIEW, ("--stage", "superpixels", "--min-pixels", 9), "--min-pixels"),
        (PREVIEW, ("--stage", "scene", "--training", "scene"), "--training"),
        (PREVIEW, ("--stage", "scene", "--tile-steps", 9), "--tile-steps"),
        (PREVIEW, ("--stage", "scene", "--training", "tile", "--halo", 32), "--training"),
        (PREVIEW, ("--stage", "scene", "--method", "kmeans"), "--method"),
        (PREVIEW, ("--stage", "scene", "--superpixels", "slic"), "--superpixels"),
        (PREVIEW, ("--stage", "superpixels", "--device", "cuda"), "--device"),
        (PREVIEW, ("--stage", "scene", "--window", "0,0,64,64", "--seed", 3), "--seed"),
        (PREVIEW, ("--halo", 32), "--halo"),
        (PREVIEW, ("--window", "0,0,64,64", "--tile-size", 256), "--tile-size"),
        (("evaluate", "a.tif", "--reference", "b.tif"), ("--overwrite",), "--overwrite"),
        (("evaluate", "a.tif", "--reference", "b.tif"), ("--overwrite", "--json", "-"), "--overwrite"),
    ],
)
def test_option_without_effect_is_refused(command, options, refused):
    ended = run_command(*command, *options)

    assert ended.code == 2
    assert f"{refused} has no effect" in " ".join(ended.text.split())
    assert f"leave out {refused}." in " ".join(ended.text.split())


@pytest.mark.parametrize(
    ("command", "options", "reason"),
    [
        (TILE, ("--restretch",), "restretch applies to a scene that is segmented with a model"),
        (TILE, ("--method", "kmeans", "--tile-steps", 4), "tile_steps 4"),
        (TILE, ("--method", "rag", "--training", "tile"), "training tile"),
        (OUTLINE, ("--bands", "1"), "there are no values"),
    ],
)
def test_option_without_effect_is_refused_by_the_python_functions(command, options, reason):
    ended = run_command(*command, *options)

    assert ended.code == 1
    assert reason in ended.text


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (TILE, ("--halo", 32, "--tile-steps", 4)),
        (TILE, ("--red", 1, "--nir", 4, "--attributes", "basic,ndvi_mean")),
        (TILE, ("--red", 1, "--nir", 4)),
        (TILE, ("--seed", 3, "--method", "kmeans")),
        (PREVIEW, ("--tile-size", 256, "--min-pixels", 9, "--seed", 3)),
        (PREVIEW, ("--window", "0,0,64,64", "--tile-size", 256, "--tile-steps", 2)),
        (PREVIEW, ("--stage", "scene", "--animation", "a.gif", "--steps", 4, "--superpixels", "slic")),
    ],
)
def test_option_with_an_effect_is_accepted(command, options):
    ended = run_command(*command, *options)

    assert ended.code == 1
    assert "no file a.tif" in ended.text


@pytest.mark.parametrize("name", VISIBLE)
def test_every_option_has_a_help_text_that_is_a_sentence(name):
    for option in VISIBLE[name].params:
        if isinstance(option, click.Option) and not option.hidden:
            text = (option.help or "").partition("  [")[0].strip()
            assert text[:1].isupper(), option.name
            assert text.endswith("."), option.name
            assert " " in text, option.name


def test_defaults_in_the_help_texts_are_those_of_the_configuration():
    shown = {option.name: option.help for option in VISIBLE["tile"].params if isinstance(option, click.Option)}
    config = Config()

    for name, value in {
        "tile_size": config.tiles.size,
        "classes": config.classify.classes,
        "min_pixels": config.polygons.min_pixels,
        "seed": config.seed,
    }.items():
        assert shown[name].endswith(f"[default: {value}]")


def test_command_reference_in_the_documentation_is_current():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

    assert text == reference(), "run: python -m geoseg.cli.reference > docs/cli.md"


@pytest.fixture
def small_scene(make_raster):
    return make_raster(fields(), "scene.tif", nodata=0)


def test_info_shows_bands_survey_tiles_and_an_estimate_as_json(small_scene, quick_config, capsys):
    ended = run_command("info", small_scene, "--config", quick_config, *("-j", 2, "--bands", "3,1", "--json", "-q"))

    assert (ended.code, ended.text) == (0, "")
    facts = json.loads(capsys.readouterr().out)
    assert (facts["n_cols"], facts["n_rows"], facts["resolution"]) == (170, 150, pytest.approx(10, rel=0.01))
    assert [(band["number"], band["dtype"], band["nodata"]) for band in facts["bands"]] == [
        (3, "uint8", 0),
        (1, "uint8", 0),
    ]
    assert all(band["low"] < band["high"] for band in facts["bands"])
    assert facts["bands"][0]["treatment"] == "nodata where 0 in all bands"
    assert (facts["n_tiles"], facts["workers"], facts["valid_share"]) == (4, 2, 1.0)
    assert facts["disk_needed"] > 0
    assert facts["estimate"]["seconds"] > 0
    assert set(facts["superpixels"]) == {"method", "scale", "sigma", "min_size"}


def test_option_json_is_the_same_in_all_commands():
    found = {name: option for name, one in VISIBLE.items() for option in one.params if "--json" in option.opts}

    assert set(found) == {"tile", "classify", "tune", "info", "status", "evaluate"}
    assert {(option.metavar, option.is_flag, option.flag_value) for option in found.values()} == {
        ("[FILE]", False, "-")
    }


FACTS = ("--method", "kmeans", "-j", 0, "-q")


@pytest.mark.parametrize("place", [(), ("-",), ("facts.json",)], ids=["bare", "dash", "file"])
@pytest.mark.parametrize("command", ["info", "dry run"])
def test_json_goes_to_standard_output_or_to_a_file(command, place, small_scene, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    what = ("info", small_scene) if command == "info" else ("tile", small_scene, "--out", "a.gpkg", "--dry-run")

    assert run_command(*what, *FACTS, "--json", *place).code == 0

    printed = capsys.readouterr().out
    text = (tmp_path / "facts.json").read_text() if place == ("facts.json",) else printed
    assert json.loads(text)["n_cols"] == 170
    assert printed.startswith("scene " if place == ("facts.json",) else "{")


def test_json_file_is_replaced_only_with_overwrite(small_scene, tmp_path):
    existing = tmp_path / "facts.json"
    existing.write_text("{}")

    refused = run_command("info", small_scene, *FACTS, "--json", existing)
    assert (refused.code, existing.read_text()) == (1, "{}")
    assert "facts.json exists" in refused.text
    assert run_command("info", small_scene, *FACTS, "--json", existing, "--overwrite").code == 0
    assert json.loads(existing.read_text())["n_rows"] == 150
    assert run_command("info", small_scene, *FACTS, "--json", "--overwrite").code == 2


def test_scene_after_json_is_the_name_of_the_file(small_scene):
    before = small_scene.read_bytes()

    assert run_command("info", "--json", small_scene).code == 2  # no scene is left
    assert "it can end in .json" in run_command("info", small_scene, "--json", small_scene.with_name("b.tif")).text
    assert small_scene.read_bytes() == before


def test_dry_run_shows_the_facts_as_text_and_writes_nothing(small_scene, capsys):
    before = sorted(small_scene.parent.iterdir())

    ended = run_command(
        "tile", small_scene, "--out", small_scene.parent / "a.gpkg", *("--method", "kmeans", "--dry-run", "-j", 0)
    )

    assert ended.code == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"scene", "size", "resolution", "CRS", "band", "valid", "tiles", "disk", "memory", "time"} <= set(shown)
    assert sorted(small_scene.parent.iterdir()) == before


def test_dry_run_checks_what_the_run_checks(small_scene):
    (small_scene.parent / "a.gpkg").write_text("existing")

    ended = run_command("tile", small_scene, "--out", small_scene.parent / "a.gpkg", "--dry-run")

    assert ended.code == 1
    assert "exists" in ended.text


def test_unknown_stage_is_displayed_by_its_name():
    stream = io.StringIO()
    display = progress_bars.TextDisplay(Console(file=stream, width=80), None)
    display(StageStarted("polish", 2, 10))
    display(StageFinished("polish", 0.1))

    assert "polish" in stream.getvalue()


@pytest.mark.parametrize("is_notebook", [True, False])
def test_auto_display_shows_bars_in_a_notebook_and_plain_lines_elsewhere(is_notebook):
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_jupyter=False, force_terminal=is_notebook)

    with progress_bars.progress_display("auto", console=console) as progress:
        progress(StageStarted("segment", 4, 10**6))
        progress(StageAdvanced("segment", 4, 4))
        progress(StageFinished("segment", 1.0))

    assert "segment tiles" in stream.getvalue()
    assert ("━" in stream.getvalue()) == is_notebook


def test_seed_is_refused_with_a_model(tmp_path, small_scene, quick_config):
    model = tmp_path / "scene.geoseg"
    out = ("--out", tmp_path / "a.gpkg", "--config", quick_config, "--save-model", model)
    assert run_command("tile", small_scene, *out, "-j", 0, "--device", "cpu").code == 0

    ended = run_command("tile", small_scene, "--out", tmp_path / "b.gpkg", "--model", model, "--seed", 3)

    assert ended.code == 2
    assert "--seed has no effect with --model" in " ".join(ended.text.split())

    ended = run_command("info", small_scene, "--model", model, "-j", 0, "--device", "cpu")

    assert ended.code == 0
    assert "train the network" not in ended.text
