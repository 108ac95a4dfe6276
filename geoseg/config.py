"""What a run does to a scene: the options that decide the result, and nothing else.

A configuration is a tree of frozen dataclasses. A YAML file gives those values that differ from the defaults below;
the named ones (``--config drone``) lie in the folder ``configs`` and say the reason beside each value.
"""

from __future__ import annotations

import copy
import dataclasses
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from geoseg.config_parser import build
from geoseg.errors import ConfigError

_FINITE = float(2**53)  # beyond it, not every whole number is a float
_MOST_CODES = 256  # they are kept as uint8
_RANGES: dict[str, tuple[float, float]] = {  # the least and the most that make sense
    "tile_steps": (0, _FINITE),
    "red": (1, _FINITE),
    "nir": (1, _FINITE),
    "seed": (0, 2**32 - 1),  # what scikit-learn takes
    "tiles.size": (64, _FINITE),
    "tiles.halo": (0, _FINITE),
    "superpixels.scale": (0, _FINITE),
    "superpixels.sigma": (0, 100),
    "superpixels.min_size": (1, _FINITE),
    "superpixels.n_segments": (1, _FINITE),
    "superpixels.compactness": (1e-6, _FINITE),
    "backprop.learning_rate": (1e-9, _FINITE),
    "backprop.momentum": (0, 1),
    "backprop.max_steps": (1, _FINITE),
    "backprop.min_labels": (1, _FINITE),
    "backprop.entropy_weight": (0, _FINITE),
    "backprop.distillation_weight": (0, 1),
    "learn.windows": (1, _FINITE),
    "learn.crop": (32, 4096),  # px; more would not fit the memory
    "learn.batch": (1, _FINITE),
    "learn.steps": (1, _FINITE),
    "learn.warmup_fraction": (0, 1),
    "classify.classes": (2, 255),
    "classify.clusters": (2, _FINITE),
    "classify.adjacency_weight": (0, _FINITE),
    "rag.threshold": (0, _FINITE),
    "polygons.min_pixels": (0, _FINITE),
    "polygons.simplify": (0, _FINITE),
    "polygons.max_vertices": (4, _FINITE),  # of a rectangle
}


@dataclass(frozen=True)
class Tiles:
    """How the scene is cut for the work."""

    size: int = 512  # pixels; 0.4 GiB on a worker, and small enough for an even load
    halo: int = 32  # pixels on each side on which neighbouring tiles both vote, where steps are done on them


@dataclass(frozen=True)
class Superpixels:
    """Felzenszwalb and Huttenlocher (2004) or SLIC (Achanta 2012), on the stretched bands.

    None = as it suits the scene's resolution and contrast (`segment.superpixels.fitted`); beside each what that is for
    half a metre and usual contrast.
    """

    method: Literal["felzenszwalb", "slic"] = "felzenszwalb"
    scale: float | None = None  # 32; felzenszwalb: larger joins more; in units of 1/255 of the stretch
    sigma: float | None = None  # 0.5 px; smoothing before felzenszwalb
    min_size: int | None = None  # 32 px; felzenszwalb joins smaller ones
    n_segments: int | None = None  # 10 000; slic: per tile of 512 × 512 pixels
    compactness: float | None = None  # 100; slic: weight of nearness against likeness


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
    entropy_weight: float = 1.0  # of the entropy of the mean prediction: the term against collapse; 0 = none
    distillation_weight: float = (
        0.5  # share of the scene network in a tile's target; 0 = tiles drift apart, 1 = nothing moves
    )


@dataclass(frozen=True)
class Learn:
    """How the scene network is learned."""

    windows: int = 64  # crops drawn from all over the scene
    crop: int = 128  # px; fits the processor's cache
    batch: int = 4  # crops per step
    steps: int = 48
    warmup_fraction: float = 0.66  # share of the steps that are led by the looks of superpixels; 0 = a start at random


@dataclass(frozen=True)
class Classify:
    """How codes become classes of the scene."""

    classes: int | Literal["auto"] = 16  # at most; auto = from 4 to 16, as many as tell the ground apart
    clusters: int = 46  # before they are joined in the tree of classes
    evidence: Literal["votes", "votes+features"] = "votes+features"  # votes alone is what the articles do
    adjacency_weight: float = 3.5  # how much a long common border brings classes together in the tree


@dataclass(frozen=True)
class Rag:
    """How superpixels that touch become one, with the method rag."""

    threshold: float = 0.08  # difference of an average band up to which they do, in units of the stretch


@dataclass(frozen=True)
class Polygons:
    """How classes become polygons."""

    min_pixels: int = 64  # smaller regions go to the neighbour with the longest common border
    simplify: float = 1.0  # px; tolerance of the borders' simplification, 0 = every pixel corner
    smooth: bool = False  # round off the staircase of pixels first; every pixel's middle stays in its region
    max_vertices: int | None = None  # cut larger regions along tile lines, into parts with the same number
    attributes: tuple[str, ...] = ("all",)  # columns beside region, class and color; see `polygons.fields`


@dataclass(frozen=True)
class Config:
    """Everything that decides what comes out for a scene.

    Parameters
    ----------
    bands : numbers of the bands to use, from 1; empty = all but alpha
    red, nir : numbers of the bands that NDVI is computed from; None = as the raster says, where it does
    method : "backprop" = learn; "kmeans" = one codebook of the superpixels' colours; "rag" = the same after joining
        superpixels that touch and look alike. These two learn nothing: network, backprop and learn have no say then,
        and of classify only the number of classes
    training : "scene" = all tiles start from one network learned from all over the scene, "tile" = each from nothing
    tile_steps : steps of backprop on each tile; None = 0 with a scene network, ``backprop.max_steps`` without
    seed : of every random draw, but for the windows of the survey, which are always the same

    Raises
    ------
    ConfigError : a value out of range, or two that do not fit each other
    """

    bands: tuple[int, ...] = ()
    red: int | None = None
    nir: int | None = None
    method: Literal["backprop", "kmeans", "rag"] = "backprop"
    training: Literal["scene", "tile"] = "scene"
    tile_steps: int | None = None
    seed: int = 0
    tiles: Tiles = field(default_factory=Tiles)
    superpixels: Superpixels = field(default_factory=Superpixels)
    network: Network = field(default_factory=Network)
    backprop: Backprop = field(default_factory=Backprop)
    learn: Learn = field(default_factory=Learn)
    classify: Classify = field(default_factory=Classify)
    rag: Rag = field(default_factory=Rag)
    polygons: Polygons = field(default_factory=Polygons)

    def __post_init__(self) -> None:
        _check_ranges(self)
        _check_classify(self)
        _check_network(self.network)
        _check_halo(self)
        _check_learning(
            self.method, {"training": "tile" if self.training == "tile" else None, "tile_steps": self.tile_steps}
        )
        if self.training == "tile" and self.steps == 0:
            raise ConfigError("training tile with tile_steps 0 would leave random classes; give tile_steps 1 or more.")
        if len(set(self.bands)) != len(self.bands) or any(band < 1 for band in self.bands):
            raise ConfigError(f"bands {list(self.bands)} must be different numbers from 1.")
        if self.red is not None and self.red == self.nir:
            raise ConfigError(f"red and nir are both band {self.red}; NDVI needs two different ones.")

    @property
    def steps(self) -> int:
        """Steps of backprop on each tile."""
        if self.tile_steps is not None:
            return self.tile_steps
        return 0 if self.training == "scene" else self.backprop.max_steps

    @property
    def halo(self) -> int:
        """Pixels on each side of a tile on which its neighbours vote too.

        Where no steps are done on tiles, all of them would say the same of a pixel. One pixel is then enough, to see
        the borders of superpixels.
        """
        return self.tiles.halo if self.steps else 1

    def to_dict(self) -> dict[str, Any]:
        """Return the values as plain dicts, lists and numbers."""
        return typing.cast(dict[str, Any], _plain(dataclasses.asdict(self)))


def load_config(source: str | Path | dict[str, Any] | None = None, **changes: Any) -> Config:
    """Return a checked configuration.

    Parameters
    ----------
    source : the name of a configuration that comes with geoseg, a YAML file, what `Config.to_dict` gave,
        or None for the defaults
    **changes : values that differ, by field name (``seed=1``) or by path with a double underscore
        (``classify__classes=8``); None leaves a value as it is

    Raises
    ------
    ConfigError : an unknown name, file or key, or a value out of range; says what would be right

    Examples
    --------
    >>> load_config("yonv2019", seed=7).training
    'tile'
    """
    values = copy.deepcopy(source) if isinstance(source, dict) else _read(source) if source is not None else {}
    for path, value in changes.items():
        if value is not None:
            _change(values, path.split("__"), value)
    _follow_classes(values)
    _check_learning(values.get("method"), {name: changes.get(name) for name in ("training", "tile_steps")})
    config: Config = build(Config, values)
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
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as err:  # ValueError: a date that is none, or no UTF-8
        raise ConfigError(f"{path} is no readable YAML file: {' '.join(str(err).split())}") from err
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; expected names with values, such as 'seed: 1'.")
    return values


def _change(values: dict[str, Any], path: list[str], value: object) -> None:
    *sections, name = path
    for section in sections:
        if values.get(section) is None:  # absent, or a name with nothing below it
            values[section] = {}
        if not isinstance(values[section], dict):
            return  # the file is wrong here, and `build` will say so
        values = values[section]
    values[name] = value


def _follow_classes(values: dict[str, Any]) -> None:
    """Let the number of fine classes rise with a number of classes that was given alone."""
    wanted = values.get("classify")
    if isinstance(wanted, dict) and isinstance(classes := wanted.get("classes"), int):
        wanted.setdefault("clusters", max(Classify.clusters, 2 * classes))


def _check_ranges(config: Config) -> None:
    values = config.to_dict()
    for path, (least, most) in _RANGES.items():
        section, _, name = path.rpartition(".")
        value = (values[section] if section else values)[name]
        if value not in (None, "auto") and not least <= value <= most:
            bounds = f"at least {least} and finite" if most == _FINITE else f"from {least} to {most}"
            raise ConfigError(f"{path} is {value}; it must be {bounds}.")


def _check_classify(config: Config) -> None:
    classes, clusters = config.classify.classes, config.classify.clusters
    if classes != "auto" and classes > clusters:
        raise ConfigError(
            f"classify.classes ({classes}) are joined from classify.clusters ({clusters}), so there must be at least "
            f"as many of these; try {2 * classes}."
        )


def _check_learning(method: object, given: dict[str, object]) -> None:
    """Refuse options of the backprop method beside one that learns nothing."""
    told = [f"{name} {value}" for name, value in given.items() if value is not None]
    if method in ("kmeans", "rag") and told:
        raise ConfigError(
            f"method {method} learns nothing, so {' and '.join(told)} would have no say; leave that out, or take "
            f"method backprop."
        )


def _check_network(layers: Network) -> None:
    n_kernels, n_channels = len(layers.kernels), len(layers.channels)
    if n_kernels == 0 or n_kernels != n_channels:
        raise ConfigError(
            f"network.kernels has {n_kernels} layers and network.channels {n_channels}; give one number for each layer."
        )
    if any(kernel < 1 or kernel % 2 == 0 for kernel in layers.kernels):
        raise ConfigError(f"network.kernels is {list(layers.kernels)}; they must be odd numbers such as 1, 3 or 5.")
    if min(layers.channels) < 2 or layers.channels[-1] > _MOST_CODES:
        raise ConfigError(
            f"network.channels is {list(layers.channels)}; each must be at least 2, and the last at most {_MOST_CODES}."
        )


def _check_halo(config: Config) -> None:
    size, halo = config.tiles.size, config.tiles.halo
    reach = max(config.network.reach, 1)  # borders between tiles are seen from inside the halo
    if halo * 2 > size:
        raise ConfigError(f"halo ({halo} px) must be at most half of the tile ({size} px); try a halo of {size // 8}.")
    if halo < reach:
        raise ConfigError(
            f"halo ({halo} px) is too small: the network looks {reach} px around a pixel; "
            f"try a halo of {max(size // 16, reach)}."
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value
