"""The options that decide the result of a run, and nothing else.

A configuration is a tree of frozen dataclasses. A YAML file gives the values that differ from the defaults below; the
named configurations (``--config drone``) are in the folder ``configs``, with a reason beside each value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from geoseg.config_parser import (
    MAX_BAND,
    MAX_CHANNELS,
    MAX_CODES,
    MAX_KERNEL,
    MAX_LAYERS,
    build,
    check_ranges,
    check_renamed_values,
    check_types,
    choose_least_size,
    follow_classes,
    option_paths,
    parse_yaml,
    shown,
    to_plain,
    unknown_option,
)
from geoseg.errors import ConfigError, shorten

_RENAMED = {  # former names of options and sections → today's paths
    "prior": "training",
    "harmonize": "classify",
    "fine_classes": "classify.clusters",
    "interleaving": "classify.adjacency_weight",
    "hold": "backprop.distillation_weight",
    "lead": "learn.warmup_fraction",
}
_RENAMED_VALUES = {("training", "none"): "tile", ("classify.evidence", "votes+looks"): "votes+features"}


@dataclass(frozen=True)
class Tiles:
    """How the scene is divided into tiles."""

    size: int = 512  # px; 0.5 GiB per worker, and small enough to distribute the work evenly
    halo: int = 32  # px on each side where the votes of neighbouring tiles are blended, if there are tile steps


@dataclass(frozen=True)
class Superpixels:
    """Felzenszwalb and Huttenlocher (2004) or SLIC (Achanta 2012), on the stretched bands.

    None = derived from the resolution and contrast of the scene (`segment.superpixels.fit_parameters`); the comments
    give the result for 0.5 m and average contrast.
    """

    method: Literal["felzenszwalb", "slic"] = "felzenszwalb"
    scale: float | None = None  # 32; felzenszwalb: larger values merge more; in units of 1/255 of the stretch
    sigma: float | None = None  # 0.5 px; Gaussian smoothing before felzenszwalb
    min_size: int | None = None  # 32 px; felzenszwalb merges smaller ones
    n_segments: int | None = None  # 10 000; slic: per tile of 512 × 512 pixels
    compactness: float | None = None  # 100; slic: weight of spatial distance against colour distance


@dataclass(frozen=True)
class Network:
    """The layers of the network. The last one has no ReLU, and its channels are the codes."""

    kernels: tuple[int, ...] = (3, 1, 3, 1)
    channels: tuple[int, ...] = (64, 32, 64, 32)
    order: Literal["bn-relu", "relu-bn"] = "bn-relu"  # Yonv (2019); Kanezaki (2018) has relu-bn
    inputs: Literal["bands", "bands+texture"] = "bands+texture"

    @property
    def reach(self) -> int:
        """Pixels on each side that a pixel's code depends on."""
        return sum(kernel // 2 for kernel in self.kernels)


@dataclass(frozen=True)
class Backprop:
    """The optimiser of the method, and when it stops."""

    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    max_steps: int = 128  # per tile, without a scene network
    min_labels: int = 4  # stop when fewer labels than this remain
    entropy_weight: float = 1.0  # of the entropy of the mean prediction, which prevents a single class; 0 = none
    # Share of the scene network's prediction in a tile's target; 0 = tiles become inconsistent, 1 = no change.
    distillation_weight: float = 0.5


@dataclass(frozen=True)
class Learn:
    """How the scene network is trained."""

    windows: int = 64  # crops from all over the scene
    crop: int = 128  # px; fits the processor's cache
    batch: int = 4  # crops per step
    steps: int = 48
    warmup_fraction: float = 0.66  # of the steps, with clusters of superpixel features as targets; 0 = none


@dataclass(frozen=True)
class Classify:
    """How superpixels are assigned to the classes of the scene."""

    classes: int | Literal["auto"] = 16  # at most; auto = from 4 to 16, as many as the scene's features separate
    clusters: int = 46  # before they are merged in the class tree
    evidence: Literal["votes", "votes+features"] = "votes+features"  # votes alone is the published method
    # Where what lies around a superpixel counts: nowhere, when it is assigned to a cluster, or when clusters are found
    # too, which has fewer borders. No effect with evidence votes.
    context: Literal["none", "assignment", "clusters"] = "assignment"
    adjacency_weight: float = 5.5  # how strongly a long common border favours a merge in the class tree
    feature_weight: float = 1.0  # of a features raster; 1 = its variance counts as much as that of the scene


@dataclass(frozen=True)
class Rag:
    """How adjacent superpixels are merged, with method rag."""

    threshold: float = 0.08  # largest difference of an average band to be merged, in units of the stretch


@dataclass(frozen=True)
class Polygons:
    """How classes become polygons."""

    min_pixels: int = 64  # smaller regions are merged into the neighbour with the longest common border
    min_area: float | None = None  # m²; in place of min_pixels, see `run.least_size`
    simplify: float = 1.0  # px; tolerance of line simplification, 0 = every pixel corner
    smooth: bool = False  # smooth pixel staircases first; the centre of every pixel stays in its region
    max_vertices: int | None = None  # split larger regions along tile boundaries, into parts with the same number
    attributes: tuple[str, ...] = ("spectral",)  # columns beside region, class and color; see `output.columns`


@dataclass(frozen=True)
class Config:
    """All options that decide the result for a scene.

    Parameters
    ----------
    bands : tuple of int
        Numbers of the bands to use, from 1. Empty = all except alpha.
    rgb : tuple of int
        Numbers of the bands shown as red, green and blue in the colours of classes and previews. Empty = by the rules
        of `raster.band_roles`.
    red, nir : int or None
        Numbers of the bands for NDVI. None = by the same rules.
    sensor : {"sentinel2", "landsat"} or None
        Whose usual order of bands is assumed where the raster does not state what its bands are; None = no assumption.
    nodata_mode : {"all", "any"}
        Whether a pixel is nodata where all bands are, or where any band is; see `raster.nodata`.
    collar : {"nodata", "keep"}
        Whether fill values around the data that the raster does not declare are nodata; see `raster.collar_search`.
    allow_no_crs : bool
        Whether a scene without a CRS is segmented in pixel coordinates; see `raster.dataset.geobox_of`.
    method : {"backprop", "kmeans", "rag"}
        "backprop" trains a network. "kmeans" clusters the mean colours of superpixels; "rag" merges neighbours first.
        These two train nothing: of network, backprop, learn and classify, only classify.classes and
        classify.feature_weight have an effect.
    training : {"scene", "tile"}
        "scene" = one network for the whole scene. "tile" = one network per tile, from random weights.
    tile_steps : int or None
        Backprop steps on each tile. None = 0 with a scene network, ``backprop.max_steps`` without.
    seed : int
        Seed of every random draw except the windows of the survey, which do not depend on it.
    tiles, superpixels, network, backprop, learn, classify, rag, polygons
        See the classes of these names.

    Raises
    ------
    ConfigError
        If a value has the wrong type or is out of range, or two options conflict.

    Examples
    --------
    >>> Config(seed=3).classify.classes
    16
    """

    bands: tuple[int, ...] = ()
    rgb: tuple[int, ...] = ()
    red: int | None = None
    nir: int | None = None
    sensor: Literal["sentinel2", "landsat"] | None = None
    nodata_mode: Literal["all", "any"] = "all"
    collar: Literal["nodata", "keep"] = "nodata"
    allow_no_crs: bool = False
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
        check_types(self)
        check_ranges(self.to_dict())
        _check_classify(self)
        _check_network(self.network)
        _check_halo(self)
        _check_learning(
            self.method, {"training": "tile" if self.training == "tile" else None, "tile_steps": self.tile_steps}
        )
        if self.training == "tile" and self.steps == 0:
            raise ConfigError("training tile with tile_steps 0 gives random classes; give tile_steps 1 or more.")
        if len(set(self.bands)) != len(self.bands) or any(not 1 <= band <= MAX_BAND for band in self.bands):
            raise ConfigError(f"bands {shown(list(self.bands))} must be different numbers from 1 to {MAX_BAND}.")
        if len(self.rgb) not in (0, 3) or any(not 1 <= band <= MAX_BAND for band in self.rgb):
            raise ConfigError(
                f"rgb is {shown(list(self.rgb))}; expected the numbers of three bands from 1 to {MAX_BAND}."
            )
        if self.red is not None and self.red == self.nir:
            raise ConfigError(f"red and nir are both band {self.red}; NDVI needs two different ones.")

    @property
    def steps(self) -> int:
        """Backprop steps on each tile."""
        if self.tile_steps is not None:
            return self.tile_steps
        return 0 if self.training == "scene" else self.backprop.max_steps

    @property
    def halo(self) -> int:
        """Pixels on each side of a tile that its neighbours vote on too; 1 where all tiles agree on the votes."""
        return self.tiles.halo if self.steps else 1

    @property
    def uses_context(self) -> bool:
        """Whether what lies around a superpixel counts in its class."""
        by_features = self.method == "backprop" and self.classify.evidence == "votes+features"
        return by_features and self.classify.context != "none"

    def to_dict(self) -> dict[str, Any]:
        """Return the values as plain dicts, lists and numbers."""
        return dict(to_plain(self))


def load_config(source: str | Path | Mapping[str, Any] | Config | None = None, **changes: Any) -> Config:
    """Return a checked configuration.

    Parameters
    ----------
    source : str, Path, dict, Config or None
        Named configuration, YAML file, values as of `Config.to_dict`, or a configuration. None = the defaults.
    **changes
        Values that differ, such as ``seed=1`` or ``classify__classes=8``; None = not changed.

    Returns
    -------
    Config
        The values of `source` with the changes, and the defaults for all others.

    Raises
    ------
    ConfigError
        If a name, file or option does not exist, or a value has the wrong type or is out of range.

    Examples
    --------
    >>> load_config("yonv2019", seed=7).training
    'tile'
    """
    values = _values_of(source)
    for name, value in changes.items():
        path = name.replace("__", ".")
        if path not in option_paths(Config):
            raise unknown_option(Config, path, _RENAMED)
        if value is not None:
            _change(values, path, to_plain(value))
    check_renamed_values(values, _RENAMED_VALUES)
    choose_least_size(values, changes)
    follow_classes(values, Classify.clusters)
    _check_learning(values.get("method"), {name: changes.get(name) for name in ("training", "tile_steps")})
    config: Config = build(Config, values, _RENAMED)
    return config


def named_configs() -> dict[str, Path]:
    """Return name → file of the configurations that come with geoseg."""
    package = Path(__file__).parent
    folder = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _values_of(source: object) -> dict[str, Any]:
    """Return the values of a source as a dict of its own, whose sections can be changed."""
    if source is None:
        return {}
    if isinstance(source, Config):
        return source.to_dict()
    if isinstance(source, str | Path):
        return _read(source)
    if not isinstance(source, Mapping):
        raise ConfigError(
            f"the config is {shown(source)}; expected the name of a configuration, a YAML file, a dict or a Config."
        )
    return dict(to_plain(source))


def _read(source: str | Path) -> dict[str, Any]:
    named = named_configs()
    path = named.get(str(source), Path(source))
    try:
        if not path.is_file():
            raise ConfigError(
                f"there is no config {shown(str(source))}: give a YAML file or one of {', '.join(named)}."
            )
        values = parse_yaml(path) or {}
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as err:  # ValueError: an invalid date, or not UTF-8
        raise ConfigError(f"{shorten(path)} is not a readable YAML file: {shorten(err)}") from err
    if not isinstance(values, dict):
        raise ConfigError(f"{path} contains a {type(values).__name__}; expected names with values, such as 'seed: 1'.")
    return values


def _change(values: dict[str, Any], path: str, value: object) -> None:
    section, _, name = path.rpartition(".")
    if not section:
        values[name] = value
        return
    if values.get(section) is None:  # absent, or a name with nothing below it
        values[section] = {}
    if isinstance(values[section], dict):  # otherwise the source is wrong here, and `build` raises the error
        values[section][name] = value


def _check_classify(config: Config) -> None:
    classes, clusters = config.classify.classes, config.classify.clusters
    if classes != "auto" and classes > clusters:
        raise ConfigError(
            f"classify.classes ({classes}) are merged from classify.clusters ({clusters}), so there must be at least "
            f"as many clusters as classes; try {2 * classes} clusters."
        )


def _check_learning(method: object, given: dict[str, object]) -> None:
    """Refuse options of the backprop method with a method that has no network."""
    options = [f"{name} {value}" for name, value in given.items() if value is not None]
    if method in ("kmeans", "rag") and options:
        raise ConfigError(
            f"method {method} trains no network, so {' and '.join(options)} would have no effect; leave that out, or "
            f"use method backprop."
        )


def _check_network(layers: Network) -> None:
    n_kernels, n_channels = len(layers.kernels), len(layers.channels)
    if n_kernels == 0 or n_kernels != n_channels:
        raise ConfigError(
            f"network.kernels has {n_kernels} layers and network.channels {n_channels}; give one number for each layer."
        )
    if n_kernels > MAX_LAYERS:
        raise ConfigError(f"network.kernels has {n_kernels} layers; expected at most {MAX_LAYERS}.")
    if any(not 1 <= kernel <= MAX_KERNEL or kernel % 2 == 0 for kernel in layers.kernels):
        raise ConfigError(
            f"network.kernels is {shown(list(layers.kernels))}; expected odd numbers such as 1, 3 or 5, at most "
            f"{MAX_KERNEL}."
        )
    if not 2 <= min(layers.channels) <= max(layers.channels) <= MAX_CHANNELS or layers.channels[-1] > MAX_CODES:
        raise ConfigError(
            f"network.channels is {shown(list(layers.channels))}; each must be at least 2 and at most {MAX_CHANNELS}, "
            f"and the last at most {MAX_CODES}."
        )


def _check_halo(config: Config) -> None:
    size, halo = config.tiles.size, config.tiles.halo
    reach = max(config.network.reach, 1)  # the halo must contain the borders between tiles
    if halo * 2 > size:
        raise ConfigError(f"halo ({halo} px) must be at most half of the tile ({size} px); try a halo of {size // 8}.")
    if halo < reach:
        raise ConfigError(
            f"halo ({halo} px) is too small: a code depends on {reach} px around a pixel; "
            f"try a halo of {max(size // 16, reach)}."
        )
