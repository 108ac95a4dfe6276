"""What a run does to a scene: the options that decide the result, and nothing else.

A configuration is a tree of frozen dataclasses. A YAML file gives those values that differ from the defaults below;
the named ones (``--config drone``) lie in the folder ``configs`` and say the reason beside each value.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from geoseg.errors import ConfigError


@dataclass(frozen=True)
class Tiles:
    """How the scene is cut for the work."""

    size: int = 512  # pixels; 0.4 GiB on a worker, and small enough for an even load
    halo: int = 32  # pixels on each side on which neighbouring tiles both vote


@dataclass(frozen=True)
class Superpixels:
    """Felzenszwalb and Huttenlocher (2004) or SLIC (Achanta 2012), on the stretched bands."""

    method: Literal["felzenszwalb", "slic"] = "felzenszwalb"
    scale: float = 32.0  # felzenszwalb: larger joins more; in units of 1/255 of the stretch, as in scikit-image
    sigma: float = 0.5  # px; smoothing before felzenszwalb
    min_size: int = 32  # px; felzenszwalb joins smaller ones
    n_segments: int = 10_000  # slic: per tile of 512 × 512 pixels
    compactness: float = 100.0  # slic: weight of nearness against likeness


@dataclass(frozen=True)
class Network:
    """The layers of the network; the last one has no ReLU, and its channels are the codes."""

    kernels: tuple[int, ...] = (3, 1, 3, 1)
    channels: tuple[int, ...] = (64, 32, 64, 32)
    order: Literal["bn-relu", "relu-bn"] = "bn-relu"  # Yonv (2019); Kanezaki (2018) has relu-bn
    inputs: Literal["bands", "bands+texture"] = "bands+texture"

    @property
    def reach(self) -> int:
        """Pixels on each side that decide a pixel's code."""
        return sum(kernel // 2 for kernel in self.kernels)


@dataclass(frozen=True)
class Backprop:
    """The optimiser of the method, and when it stops."""

    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    max_steps: int = 128  # on a tile without a scene network
    min_labels: int = 4  # stop when fewer labels than this are left ...
    entropy_weight: float = 3.0  # of the entropy of the mean prediction: the term against collapse; 0 = none


@dataclass(frozen=True)
class Learn:
    """How the scene network is learned."""

    windows: int = 64  # crops drawn from all over the scene
    crop: int = 128  # px; fits the processor's cache
    batch: int = 4  # crops per step
    steps: int = 96


@dataclass(frozen=True)
class Harmonize:
    """How codes become classes of the scene."""

    classes: int = 16  # at most
    fine_classes: int = 40  # before they are joined in the tree of classes
    evidence: Literal["votes", "votes+looks"] = "votes+looks"  # votes alone is what the articles do
    interleaving: float = 2.0  # how much a long common border brings classes together in the tree


@dataclass(frozen=True)
class Polygons:
    """How classes become polygons."""

    min_pixels: int = 64  # smaller regions go to the neighbour with the longest common border
    simplify: float = 1.0  # px; tolerance of the borders' simplification, 0 = every pixel corner


@dataclass(frozen=True)
class Config:
    """Everything that decides what comes out for a scene.

    Parameters
    ----------
    bands : numbers of the bands to use, from 1; empty = all but alpha
    prior : "scene" = all tiles start from one network learned from all over the scene, "none" = each from nothing
    tile_steps : steps of backprop on each tile; None = 0 with a scene network, ``backprop.max_steps`` without
    seed : of every random draw
    """

    bands: tuple[int, ...] = ()
    prior: Literal["scene", "none"] = "scene"
    tile_steps: int | None = None
    seed: int = 0
    tiles: Tiles = field(default_factory=Tiles)
    superpixels: Superpixels = field(default_factory=Superpixels)
    network: Network = field(default_factory=Network)
    backprop: Backprop = field(default_factory=Backprop)
    learn: Learn = field(default_factory=Learn)
    harmonize: Harmonize = field(default_factory=Harmonize)
    polygons: Polygons = field(default_factory=Polygons)

    @property
    def steps(self) -> int:
        """Steps of backprop on each tile."""
        if self.tile_steps is not None:
            return self.tile_steps
        return 0 if self.prior == "scene" else self.backprop.max_steps

    def to_dict(self) -> dict[str, Any]:
        """Return the values as plain dicts, lists and numbers."""
        return typing.cast(dict[str, Any], _plain(dataclasses.asdict(self)))


def load_config(source: str | Path | None = None, **changes: Any) -> Config:
    """Return a checked configuration.

    Parameters
    ----------
    source : the name of a configuration that comes with geoseg, a YAML file, or None for the defaults
    **changes : values that differ, by field name (``seed=1``) or by path with a double underscore
        (``harmonize__classes=8``); None leaves a value as it is

    Raises
    ------
    ConfigError : an unknown name, file or key, or a value out of range; says what would be right

    Examples
    --------
    >>> load_config("yonv2019", seed=7).prior
    'none'
    """
    values = _read(source) if source is not None else {}
    for path, value in changes.items():
        if value is not None:
            *sections, name = path.split("__")
            inner = values
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[name] = value
    config: Config = _build(Config, values, "")
    _check(config)
    return config


def named_configs() -> dict[str, Path]:
    """Return the configurations that come with geoseg, by name."""
    package = Path(__file__).parent
    folder = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _read(source: str | Path) -> dict[str, Any]:
    named = named_configs()
    path = named.get(str(source), Path(source))
    if not path.is_file():
        raise ConfigError(f"there is no config {str(source)!r}: give a YAML file or one of {', '.join(named)}.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as err:
        raise ConfigError(f"{path} is no readable YAML file: {' '.join(str(err).split())}") from err
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; expected names with values, such as 'seed: 1'.")
    return values


def _build(kind: type[Any], values: object, path: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{path[:-1]} is {values!r}; expected names with values below it.")
    hints = typing.get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(str(name), hints, n=1, cutoff=0.0)
            raise ConfigError(f"there is no option {path}{name}; the nearest one is {path}{near[0]}.")
        arguments[name] = _convert(hints[name], value, f"{path}{name}")
    return kind(**arguments)


def _convert(hint: Any, value: object, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type[Any], hint), value, f"{path}.")
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in options:
            raise ConfigError(f"{path} is {value!r}; expected one of {', '.join(map(str, options))}.")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple) or not all(isinstance(item, options[0]) for item in value):
            raise ConfigError(f"{path} is {value!r}; expected a list of {options[0].__name__}.")
        return tuple(value)
    if origin is types.UnionType:
        return None if value is None else _convert(options[0], value, path)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or isinstance(value, bool):
        raise ConfigError(f"{path} is {value!r}; expected {hint.__name__}.")
    return value


def _check(config: Config) -> None:
    least = {
        "tiles.size": 64, "tiles.halo": 0, "superpixels.scale": 0, "superpixels.sigma": 0, "superpixels.min_size": 1,
        "superpixels.n_segments": 1, "superpixels.compactness": 0, "backprop.max_steps": 1, "backprop.min_labels": 1,
        "backprop.learning_rate": 0, "backprop.momentum": 0, "backprop.entropy_weight": 0, "learn.windows": 1,
        "learn.crop": 32, "learn.batch": 1, "learn.steps": 1, "harmonize.classes": 2, "harmonize.fine_classes": 2,
        "harmonize.interleaving": 0, "polygons.min_pixels": 0, "polygons.simplify": 0, "seed": 0,
    }  # fmt: skip
    values = config.to_dict()
    for path, bound in least.items():
        section, _, name = path.rpartition(".")
        value = (values[section] if section else values)[name]
        if not bound <= value < 2**53:
            raise ConfigError(f"{path} is {value}; it must be at least {bound} and finite.")
    if config.harmonize.classes > 255:
        raise ConfigError(f"classes is {config.harmonize.classes}; at most 255 can be told apart.")
    if config.steps < 0:
        raise ConfigError(f"tile_steps is {config.steps}; it must be 0 or more.")
    if config.tiles.halo * 2 > config.tiles.size:
        raise ConfigError(
            f"halo ({config.tiles.halo} px) must be at most half of the tile ({config.tiles.size} px); "
            f"try a halo of {config.tiles.size // 8}."
        )
    if config.tiles.halo < config.network.reach:
        raise ConfigError(
            f"halo ({config.tiles.halo} px) is too small: the network looks {config.network.reach} px around a pixel; "
            f"try a halo of {max(config.tiles.size // 16, config.network.reach)}."
        )
    layers = config.network
    if not layers.kernels or len(layers.kernels) != len(layers.channels):
        raise ConfigError(f"network.kernels has {len(layers.kernels)} layers and channels {len(layers.channels)}.")
    if any(kernel < 1 or kernel % 2 == 0 for kernel in layers.kernels) or min(layers.channels) < 2:
        raise ConfigError("network.kernels must be odd and network.channels at least 2.")
    if config.prior == "none" and config.steps == 0:
        raise ConfigError("prior none with tile_steps 0 would leave random classes; give tile_steps 1 or more.")
    if len(set(config.bands)) != len(config.bands) or any(band < 1 for band in config.bands):
        raise ConfigError(f"bands {list(config.bands)} must be different numbers from 1.")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value
