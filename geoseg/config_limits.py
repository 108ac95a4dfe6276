"""The largest and smallest values of a configuration, and how much a YAML file may contain.

The limits are far from every sensible value. A configuration may come from somebody else: without them, it could ask
for any amount of memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from geoseg.errors import ConfigError

MAX_BAND = 65_535  # what GDAL counts
MAX_CODES = 256  # codes are stored as uint8
MAX_LAYERS, MAX_CHANNELS, MAX_KERNEL = 32, 4096, 31
_MAX_YAML_BYTES = 1_000_000
_MAX_YAML_NODES = 10_000  # names and values, counted as often as an alias repeats them
_STEPS = 1_000_000  # far more than a run of days
RANGES: dict[str, tuple[float, float]] = {  # option → smallest and largest value
    "tile_steps": (0, _STEPS),
    "red": (1, MAX_BAND),
    "nir": (1, MAX_BAND),
    "seed": (0, 2**32 - 1),  # what scikit-learn takes
    "tiles.size": (64, 8192),  # px; a tile of three bands then takes 20 GiB
    "tiles.halo": (0, 4096),
    "superpixels.scale": (0, 1e9),
    "superpixels.sigma": (0, 100),
    "superpixels.min_size": (1, 2**31),
    "superpixels.n_segments": (1, 2**24),
    "superpixels.compactness": (1e-6, 1e9),
    "backprop.learning_rate": (1e-9, 1e6),
    "backprop.momentum": (0, 1),
    "backprop.max_steps": (1, _STEPS),
    "backprop.min_labels": (1, _STEPS),
    "backprop.entropy_weight": (0, 1e6),
    "backprop.distillation_weight": (0, 1),
    "learn.windows": (1, 65_536),
    "learn.crop": (32, 4096),  # px; larger crops do not fit into memory
    "learn.batch": (1, 1024),
    "learn.steps": (1, _STEPS),
    "learn.warmup_fraction": (0, 1),
    "classify.classes": (2, 255),
    "classify.clusters": (2, 4096),  # merging them takes memory in proportion to the square
    "classify.adjacency_weight": (0, 1e6),
    "rag.threshold": (0, 1e6),
    "polygons.min_pixels": (0, 2**53),
    "polygons.simplify": (0, 1e6),
    "polygons.max_vertices": (4, 2**53),  # a rectangle has 4
}


def parse_yaml(path: Path) -> Any:
    """Return the content of a YAML file, after checking its size with the repetitions of aliases.

    Raises
    ------
    ConfigError
        If it is too large.
    yaml.YAMLError, OSError, UnicodeDecodeError
        If it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(_MAX_YAML_BYTES + 1)
    if len(content) > _MAX_YAML_BYTES:
        raise ConfigError(f"{path} has more than {_MAX_YAML_BYTES} bytes; expected a config of some lines.")
    text = content.decode("utf-8")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is not None and _n_nodes(root, {}) > _MAX_YAML_NODES:
        raise ConfigError(
            f"{path} has more than {_MAX_YAML_NODES} values, those that aliases repeat included; expected a config of "
            "some lines."
        )
    return yaml.safe_load(text)


def _n_nodes(node: yaml.Node, known: dict[int, float]) -> float:
    """Return the number of nodes below a node and itself; infinite if it contains itself."""
    if id(node) not in known:
        known[id(node)] = float("inf")  # until its own content is counted
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        inner = parts if isinstance(parts, list) else []
        known[id(node)] = 1 + sum(_n_nodes(part, known) for part in inner)
    return known[id(node)]
