"""Options of the Python functions by name: which of them belong to the outputs, the run, the workers, the config."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from geoseg.config import Config, load_config
from geoseg.config_parser import shown
from geoseg.errors import ConfigError
from geoseg.output.paths import Outputs
from geoseg.run.executors import ClusterOptions
from geoseg.run.run_options import RunOptions

_OUTPUTS = {"class_raster": "class_raster", "region_raster": "region_raster", "save_model": "model", "report": "report"}
_COMMAND_NAMES = {"tile_size": "tiles__size", "superpixels": "superpixels__method"}
_PATHS = ("aoi", "model", "run_dir", "class_raster", "region_raster", "save_model", "report")
_FILES = ("features", "scheduler_file", "cluster", "tls_ca_file", "tls_cert", "tls_key")
_FLAGS = ("restretch", "resume", "overwrite", "keep", "dashboard", "class_layer")
_KINDS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(_FLAGS, (bool, "True or False")),
    **dict.fromkeys(("workers", "threads"), (Integral, "a whole number")),
    **dict.fromkeys(("timeout", "tile_timeout"), (Real, "a number of seconds")),
    "max_failed": (Real, "a number of tiles such as 20, or a share of them such as 0.05"),
    "scheduler": (str, "an address such as tcp://host:8786"),
    **dict.fromkeys(("memory_limit", "memory"), (str, "a size such as '4GiB'")),
}
_DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Settings:
    """What the keyword arguments of a function mean.

    Parameters
    ----------
    outputs : Outputs
    run : RunOptions
    cluster : ClusterOptions
    config_changes : dict
        Changes of the config, as `load_config` takes them.
    """

    outputs: Outputs
    run: RunOptions
    cluster: ClusterOptions
    config_changes: dict[str, Any]


def settings(out: str | Path | Outputs, options: Mapping[str, Any]) -> Settings:
    """Sort options by what they belong to.

    Parameters
    ----------
    out : str, Path or Outputs
        The polygon file, or all outputs.
    options : dict
        Names of fields of `RunOptions` and `ClusterOptions`; ``class_raster``, ``region_raster``, ``save_model``,
        ``report``, ``class_layer`` and ``levels``; names of config values such as ``seed`` or ``simplify``, or with
        their section as in ``polygons__simplify``. None = not given.

    Raises
    ------
    ConfigError
        If an option has none of these names, and the message names the nearest one; or if a value has the wrong type.
    """
    given = {name: value for name, value in options.items() if value is not None}
    _check_types(given)
    given |= {name: _path(name, given[name]) for name in _PATHS if name in given}
    given |= {name: source_path(name, given[name]) for name in _FILES if name in given}
    if "values" in given:
        given["values"] = values_texts(given["values"])
    run, cluster = ({f.name for f in fields(kind)} for kind in (RunOptions, ClusterOptions))
    config_names = _config_names()
    known = {*run, *cluster, *_OUTPUTS, "class_layer", "levels", *config_names}
    for name in given:
        if name not in known and "__" not in name:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ConfigError(f"there is no option {name!r}; the nearest one is {nearest!r}.")
    changes = {
        config_names.get(name, name): value for name, value in given.items() if name in config_names or "__" in name
    }
    return Settings(
        _outputs(out, given),
        RunOptions(**{name: value for name, value in given.items() if name in run}),
        ClusterOptions(**{name: value for name, value in given.items() if name in cluster}),
        changes,
    )


def array_settings(options: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the config changes and the device among the options of a function that takes an array.

    Raises
    ------
    ConfigError
        If an option is unknown, or concerns files or workers.
    """
    given = settings(Path("array.gpkg"), options)
    allowed = {*_config_names(), "device"}
    for name, value in options.items():
        if value is not None and name not in allowed and "__" not in name:
            raise ConfigError(f"option {name!r} concerns files or workers and has no effect on an array; omit it.")
    return given.config_changes, given.run.device


def config_of(config: Any, changes: Mapping[str, Any], model: Path | None = None) -> Config:
    """Return a config with changes; without a config that of the model, or else the defaults."""
    if config is None and model is not None:
        from geoseg.output.model import load_model  # here, because a run without a model does not need it

        config = load_model(model).config.to_dict()
    return load_config(config, **changes)


def source_path(name: str, value: Any) -> str:
    """Return the path of an input as str, in which addresses of GDAL such as ``/vsicurl/https://…`` are kept.

    Raises
    ------
    ConfigError
        If it is neither str nor Path, or is empty.
    """
    if not isinstance(value, str | Path) or value == "":
        raise ConfigError(f"{name} is {shown(value)}; expected a path, as str or Path.")
    return str(value)


def values_texts(values: Any) -> tuple[str, ...]:
    """Return rasters of values as they are written on the command line, from one or several of them."""
    several = values if isinstance(values, list | tuple) else [values]
    return tuple(source_path("values", value) for value in several)


def _check_types(given: Mapping[str, Any]) -> None:
    for name, (kind, expected) in _KINDS.items():
        if name in given and (
            not isinstance(given[name], kind) or (kind is not bool and isinstance(given[name], bool))
        ):
            raise ConfigError(f"{name} is {shown(given[name])}; expected {expected}.")
    if "device" in given and given["device"] not in _DEVICES:
        raise ConfigError(f"device is {shown(given['device'])}; expected one of {', '.join(_DEVICES)}.")


def _outputs(out: str | Path | Outputs, given: Mapping[str, Any]) -> Outputs:
    extra = {field: given[name] for name, field in _OUTPUTS.items() if name in given}
    if isinstance(out, Outputs):
        if extra or "class_layer" in given or "levels" in given:
            raise ConfigError("out is an Outputs already; give class_raster, region_raster and the like in it.")
        return out
    levels = _levels(given.get("levels", ()))
    return Outputs(_path("out", out), class_layer=given.get("class_layer", False), levels=levels, **extra)


def _levels(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(type(level) is int for level in value):
        raise ConfigError(f"levels is {shown(value)}; expected numbers of classes such as [8, 4].")
    return tuple(value)


def _path(name: str, value: Any) -> Path:
    return Path(source_path(name, value))


def _config_names() -> dict[str, str]:
    """Return the path of each config value by its own name, if only one section has it, and by the command's name."""
    top: dict[str, str] = {}
    sections: dict[str, list[str]] = {}
    for section, values in Config().to_dict().items():
        if isinstance(values, dict):
            for name in values:
                sections.setdefault(name, []).append(f"{section}__{name}")
        else:
            top[section] = section
    unique = {name: paths[0] for name, paths in sections.items() if len(paths) == 1}
    return unique | top | _COMMAND_NAMES
