"""Conversion of option values into the arguments of the Python functions, and exit codes."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from geoseg.config_parser import shown

if TYPE_CHECKING:
    from geoseg.config import Config
    from geoseg.output.paths import Outputs
    from geoseg.run.executors import ClusterOptions
    from geoseg.run.run_options import RunOptions

LOG_FORMAT = "geoseg: %(message)s"
EXIT_DONE, EXIT_FIXABLE, EXIT_USAGE, EXIT_TILES_FAILED = 0, 1, 2, 3

_MAX_DIGITS = 100
_CONFIG_KEYS = {  # option → path in the configuration, as `load_config` takes it
    "red": "red",
    "nir": "nir",
    "nodata_mode": "nodata_mode",
    "collar": "collar",
    "allow_no_crs": "allow_no_crs",
    "method": "method",
    "training": "training",
    "tile_steps": "tile_steps",
    "seed": "seed",
    "tile_size": "tiles__size",
    "halo": "tiles__halo",
    "superpixels": "superpixels__method",
    "classes": "classify__classes",
    "feature_weight": "classify__feature_weight",
    "min_pixels": "polygons__min_pixels",
    "min_area": "polygons__min_area",
    "simplify": "polygons__simplify",
    "smooth": "polygons__smooth",
    "max_vertices": "polygons__max_vertices",
}


def config_from(options: Mapping[str, Any]) -> Config:
    """Return the configuration that results from --config or --model and from the options with a configuration key."""
    from geoseg.config import load_config

    changes = {key: options[name] for name, key in _CONFIG_KEYS.items() if name in options}
    return load_config(
        options.get("config") or _config_of_model(options.get("model")),
        bands=integers(options.get("bands"), "--bands", "4,3,2"),
        rgb=integers(options.get("rgb"), "--rgb", "4,3,2", n=3),
        polygons__attributes=words(options.get("attributes")),
        **changes,
    )


def outputs_from(options: Mapping[str, Any]) -> Outputs:
    """Return the output files."""
    from geoseg.output.paths import Outputs

    return Outputs(
        options["out"],
        options["class_raster"],
        options["region_raster"],
        options["save_model"],
        options["class_layer"],
        report=options["report"],
        levels=tuple(integers(options["levels"], "--levels", "8,4") or ()),
    )


def run_options(options: Mapping[str, Any]) -> RunOptions:
    """Return the options of a run."""
    from geoseg.run.provenance import command_line
    from geoseg.run.run_options import RunOptions

    given = {name: options[name] for name in RunOptions.__dataclass_fields__ if name in options}
    return RunOptions(**given, command=command_line(sys.argv[1:]))


def cluster_options(options: Mapping[str, Any]) -> ClusterOptions:
    """Return where to compute."""
    from geoseg.run.executors import ClusterOptions

    return ClusterOptions(**{name: options[name] for name in ClusterOptions.__dataclass_fields__ if name in options})


def integers(text: str | None, name: str, example: str, *, n: int | None = None) -> list[int] | None:
    """Return the numbers of a list such as `example`; there must be `n` of them, None = any number."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(map(is_whole, parts)) or len(parts) != (n or len(parts)):
        kind = "a list of numbers" if n is None else f"a list of {n} numbers"
        raise click.BadParameter(f"{shown(text)} is not {kind}; write them as {example}.", param_hint=name)
    return [int(part) for part in parts]


def is_whole(text: str) -> bool:
    """Return whether a text is a number of decimal digits, and not so long that Python does not convert it."""
    return text.isdecimal() and len(text) <= _MAX_DIGITS


def part_of(text: str) -> tuple[int, int]:
    """Return the number of a part and the number of all, written as 3/100."""
    part, slash, n_parts = text.partition("/")
    if not slash or not is_whole(part.strip()) or not is_whole(n_parts.strip()):
        raise click.BadParameter(f"{shown(text)} is not a part; write its number and the number of all, as 3/100.")
    return int(part), int(n_parts)


def failed_tiles(text: str) -> int | float:
    """Return a number of tiles, or as float a share of them that is written as 5% or 0.05."""
    number = text.strip()
    if is_whole(number):
        return int(number)
    try:
        share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise click.BadParameter(f"{shown(text)} is neither a number of tiles such as 20 nor a share such as 5%.")
    return share


def words(text: str | None) -> list[str] | None:
    """Return the words of a list separated by commas; None = not given."""
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def nodata_value(text: str) -> int | Literal["file", "none"]:
    """Return the nodata value of labels."""
    if text == "file":
        return "file"
    if text == "none":
        return "none"
    if not is_whole(text.strip().removeprefix("-")):
        message = f"{shown(text)} is not a label; write an integer such as 0, or none."
        raise click.BadParameter(message, param_hint="--nodata")
    return int(text)


def display_mode(options: Mapping[str, Any]) -> str:
    """Return the display of --progress; --quiet means none and excludes every other choice."""
    if options["quiet"] and options["progress"] not in ("auto", "none"):
        raise click.UsageError(f"--quiet shows no progress, but --progress is {options['progress']}; leave out one.")
    if options["quiet"] and options["verbose"]:
        raise click.UsageError("--quiet shows errors only, so --verbose has no effect; leave out one.")
    return "none" if options["quiet"] else str(options["progress"])


def start_log(options: Mapping[str, Any]) -> None:
    """Set the level of log messages; call it inside the display, so that they do not interrupt the bars."""
    quiet = display_mode(options) == "none"
    level = logging.DEBUG if options["verbose"] else logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    logging.getLogger("geoseg").setLevel(level)


def _config_of_model(model: Path | None) -> dict[str, Any] | None:
    if model is None:
        return None
    from geoseg.output.model import load_model  # here, because a run without a model does not need it

    return load_model(model).config.to_dict()
