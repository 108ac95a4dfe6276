"""How a result was made: the configuration that differs from the default, the speed of the stages, and the command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import yaml

from geoseg.config import Config
from geoseg.config_parser import flat_values
from geoseg.errors import shorten
from geoseg.report.class_document import is_of_labels
from geoseg.report.finished_run import FinishedRun

_INPUTS = {"aoi": "--aoi", "features": "--features", "model": "--model"}
_FILES = {"class_raster": "--class-raster", "region_raster": "--region-raster", "model": "--save-model"}
CONFIG_NAME = "repeat.yaml"


class StageTime(NamedTuple):
    """The time of a stage.

    Parameters
    ----------
    name : str
    seconds : float
    speed : float or None
        Mpx/s of the scene; None = too short to be measured.
    """

    name: str
    seconds: float
    speed: float | None


def stage_times(run: FinishedRun) -> list[StageTime]:
    """Return the time of each stage in the order in which they ran, and of all together."""
    rows, cols = run.geobox.shape
    megapixels = rows * cols / 1e6
    seconds = {str(name): float(time) for name, time in run.facts["seconds"].items()}
    seconds["all stages"] = sum(seconds.values())
    return [StageTime(name, time, megapixels / time if time >= 0.01 else None) for name, time in seconds.items()]


def changed_options(run: FinishedRun) -> dict[str, tuple[Any, Any]]:
    """Return the options that differ from the default, by path such as `polygons.simplify`: value and default."""
    values, defaults = flat_values(run.config.to_dict()), flat_values(Config().to_dict())
    if is_of_labels(run.facts):
        defaults |= {"polygons.min_pixels": 0, "polygons.simplify": 0.0}  # of `geoseg outline`
    if values["polygons.min_area"] is not None:
        del values["polygons.min_pixels"]  # it follows from the area
    return {path: (value, defaults[path]) for path, value in values.items() if value != defaults[path]}


def changed_yaml(run: FinishedRun) -> str:
    """Return the options that differ from the default as YAML; "" = none does, or the command has options for them."""
    nested: dict[str, Any] = {}
    for path, (value, _) in {} if is_of_labels(run.facts) else changed_options(run).items():
        section, _, name = path.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    return yaml.safe_dump(nested, sort_keys=False, default_flow_style=None, allow_unicode=True) if nested else ""


def command(run: FinishedRun) -> str:
    """Return the command that repeats a run, for a shell.

    A configuration that differs from the default is expected in the file `CONFIG_NAME`, see `changed_yaml`.
    """
    facts = run.facts
    is_outline = is_of_labels(facts)
    out = run.polygons.name if run.names is None else PurePosixPath(_path(run.names.polygons)).name
    words = ["geoseg", "outline" if is_outline else "tile", _path(facts["scene"]), "--out", out]
    for name, flag in _FILES.items():
        if facts.get("files", {}).get(name):
            words += [flag, PurePosixPath(_path(facts["files"][name])).name]
    if facts.get("class_layer"):
        words.append("--class-layer")
    if facts.get("levels"):
        words += ["--levels", ",".join(map(str, facts["levels"]))]
    words += _outline_words(run) if is_outline else ["--config", CONFIG_NAME] if changed_options(run) else []
    given: Mapping[str, Any] = facts.get("options", {})
    words += [word for name, flag in _INPUTS.items() if given.get(name) for word in (flag, _path(given[name]))]
    for raster in facts.get("value_rasters", []):
        end = ":majority" if raster["kind"] == "categories" else ""
        words += ["--values", f"{_path(raster['path'])}:{raster['name']}{end}"]
    if given.get("restretch"):
        words.append("--restretch")
    return shlex.join(shorten(word, 1000) for word in words)


def _outline_words(run: FinishedRun) -> list[str]:
    """Return the options of `geoseg outline`, which takes no configuration."""
    labels, values = run.facts["labels"], run.facts.get("values")
    words = ["--band", str(labels["band"])]
    if labels["nodata"] != "file":
        words += ["--nodata", str(labels["nodata"])]
    if values is not None:
        words += ["--values", _path(values)]
    for path, (value, _) in changed_options(run).items():
        flag = "--tile-size" if path == "tiles.size" else f"--{path.rpartition('.')[2].replace('_', '-')}"
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += [flag] if value is True else [flag, text]
    return words


def _path(path: object) -> str:
    return shorten(path, 1000)
