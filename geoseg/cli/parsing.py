"""Conversion of option values into the arguments of the Python functions, and exit codes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from geoseg.config import Config
    from geoseg.run.executors import ClusterOptions
    from geoseg.run.plan import RunOptions

EXIT_DONE, EXIT_FIXABLE, EXIT_USAGE, EXIT_TILES_FAILED = 0, 1, 2, 3

_CONFIG_KEYS = {  # option → path in the configuration, as `load_config` takes it
    "red": "red",
    "nir": "nir",
    "nodata_mode": "nodata_mode",
    "method": "method",
    "training": "training",
    "tile_steps": "tile_steps",
    "seed": "seed",
    "tile_size": "tiles__size",
    "halo": "tiles__halo",
    "superpixels": "superpixels__method",
    "classes": "classify__classes",
    "min_pixels": "polygons__min_pixels",
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
        polygons__attributes=words(options.get("attributes")),
        **changes,
    )


def run_options(options: Mapping[str, Any]) -> RunOptions:
    """Return the options of a run."""
    from geoseg.run.plan import RunOptions

    return RunOptions(**{name: options[name] for name in RunOptions.__dataclass_fields__ if name in options})


def cluster_options(options: Mapping[str, Any]) -> ClusterOptions:
    """Return where to compute."""
    from geoseg.run.executors import ClusterOptions

    names = ("workers", "scheduler", "scheduler_file", "dashboard")
    return ClusterOptions(**{name: options[name] for name in names})


def integers(text: str | None, name: str, example: str, *, n: int | None = None) -> list[int] | None:
    """Return the numbers of a list such as `example`; there must be `n` of them, None = any number."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(parts) != (n or len(parts)):
        raise click.BadParameter(f"{text!r} is not a list of numbers; write them as {example}.", param_hint=name)
    return [int(part) for part in parts]


def words(text: str | None) -> list[str] | None:
    """Return the words of a list separated by commas; None = not given."""
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def nodata_value(text: str) -> int | Literal["file", "none"]:
    """Return the nodata value of labels."""
    if text == "file":
        return "file"
    if text == "none":
        return "none"
    if not text.strip().removeprefix("-").isdecimal():
        message = f"{text!r} is not a label; write an integer such as 0, or none."
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
    logging.basicConfig(level=logging.WARNING, format="geoseg: %(message)s")
    logging.getLogger("geoseg").setLevel(level)


def _config_of_model(model: Path | None) -> dict[str, Any] | None:
    if model is None:
        return None
    from geoseg.output.model import load_model  # here, because a run without a model does not need it

    return load_model(model).config.to_dict()
