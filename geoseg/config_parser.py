"""Trees of dataclasses from plain dicts and YAML, with errors that name the option, its value and what is expected.

Every number has limits. They are far from sensible values, and keep a configuration from elsewhere from asking for any
amount of memory.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import reprlib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from geoseg.errors import ConfigError, shorten

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
    "classify.feature_weight": (0.001, 1000),
    "rag.threshold": (0, 1e6),
    "polygons.min_pixels": (0, 2**53),
    "polygons.min_area": (1e-9, 1e15),
    "polygons.simplify": (0, 1e6),
    "polygons.max_vertices": (4, 2**53),  # a rectangle has 4
}

_TYPES = {int: "a whole number", float: "a number", str: "a word", bool: "true or false", types.NoneType: "null"}
_hints: Callable[[Any], dict[str, Any]] = functools.cache(typing.get_type_hints)  # evaluating annotations is slow


def check_ranges(values: Mapping[str, Any]) -> None:
    """Check the numbers of the values of a config, as of `Config.to_dict`.

    Raises
    ------
    ConfigError
        If one is outside its range.
    """
    given = flat_values(values)
    for path, (low, high) in RANGES.items():
        value = given[path]
        if value not in (None, "auto") and not low <= value <= high:
            raise ConfigError(f"{path} is {shown(value)}; it must be from {low:.12g} to {high:.12g}.")


def flat_values(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by their path.

    Examples
    --------
    >>> flat_values({"seed": 1, "tiles": {"size": 512}})
    {'seed': 1, 'tiles.size': 512}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat_values(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def parse_yaml(path: Path) -> Any:
    """Return the content of a YAML file, after checking its size with the repetitions of aliases.

    Raises
    ------
    ConfigError
        If it is too large, or has a name twice.
    yaml.YAMLError, OSError, UnicodeDecodeError
        If it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(_MAX_YAML_BYTES + 1)
    if len(content) > _MAX_YAML_BYTES:
        raise ConfigError(f"{path} has more than {_MAX_YAML_BYTES} bytes; expected a config of some lines.")
    loader = yaml.SafeLoader(content.decode("utf-8"))
    root = loader.get_single_node()
    if root is not None and _n_nodes(root, {}) > _MAX_YAML_NODES:
        raise ConfigError(
            f"{path} has more than {_MAX_YAML_NODES} values, those that aliases repeat included; expected a config of "
            "some lines."
        )
    check_unique(root, path)
    return None if root is None else loader.construct_document(root)


def check_unique(root: yaml.Node | None, path: Path) -> None:
    """Check that no section of a YAML file has a name twice: the last value would be taken silently.

    Raises
    ------
    ConfigError
        If one has.
    """
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:  # an alias can lead to the same node again
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]
            _check_names([key for key, _ in node.value if isinstance(key, yaml.ScalarNode)], path)


def _check_names(keys: list[yaml.ScalarNode], path: Path) -> None:
    found: set[str] = set()
    for key in keys:
        if key.value in found:
            line = key.start_mark.line + 1
            raise ConfigError(f"{path} has {shown(key.value)} twice (line {line}); expected it once. Remove one.")
        found.add(key.value)


def _n_nodes(node: yaml.Node, known: dict[int, float]) -> float:
    """Return the number of nodes below a node and itself; infinite if it contains itself."""
    if id(node) not in known:
        known[id(node)] = float("inf")  # until its own content is counted
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        inner = parts if isinstance(parts, list) else []
        known[id(node)] = 1 + sum(_n_nodes(part, known) for part in inner)
    return known[id(node)]


def build(root: type[Any], values: Mapping[str, Any], renamed: Mapping[str, str]) -> Any:
    """Return a dataclass with the given values, and its defaults for all others.

    Parameters
    ----------
    root : type
        A dataclass with a default for each field. A field whose type is such a dataclass is a section.
    values : dict
        Values by option name; a section is a dict, or None for its defaults.
    renamed : dict
        Former option name → path of the option that replaces it, for the error message.

    Raises
    ------
    ConfigError
        If an option does not exist, or a value has another type.
    """
    hints, arguments = _hints(root), {}
    for name, value in values.items():
        if name not in hints:
            raise unknown_option(root, str(name), renamed)
        if not dataclasses.is_dataclass(hints[name]):
            arguments[name] = _converted(hints[name], value, name)
        elif value is not None:
            arguments[name] = _build_section(root, name, value, renamed)
    return root(**arguments)


def option_paths(root: type[Any]) -> dict[str, str]:
    """Return path → last part of it, of every section and option: "tiles" and "tiles.size" among them."""
    sections = {name: hint for name, hint in _hints(root).items() if dataclasses.is_dataclass(hint)}
    below = {f"{section}.{option}": option for section, hint in sections.items() for option in _hints(hint)}
    return {name: name for name in _hints(root)} | below


def unknown_option(root: type[Any], path: str, renamed: Mapping[str, str]) -> ConfigError:
    """Return the error for an option that does not exist: it names the new name, or the most similar one."""
    paths, path = option_paths(root), shorten(path)
    *sections, name = path.split(".")
    new = renamed.get(name) or renamed.get(sections[0] if sections else "")
    if new is not None:
        return ConfigError(f"{path} was renamed to {new}; give that instead.")
    if path in paths:
        return ConfigError(
            f"there is no option with a dot in its name, such as {path}; give {name} below {sections[0]}."
        )
    nearest = max(paths, key=lambda option: difflib.SequenceMatcher(None, name, paths[option]).ratio())
    return ConfigError(f"there is no option {path}; the nearest one is {nearest}.")


def check_types(config: Any, path: str = "") -> None:
    """Check that every field of a tree of dataclasses has a value of its type.

    Raises
    ------
    ConfigError
        If one does not.
    """
    for name, hint in _hints(type(config)).items():
        value = getattr(config, name)
        if not dataclasses.is_dataclass(hint):
            _converted(hint, value, f"{path}{name}", numbers_in_quotes=False)
        elif isinstance(value, typing.cast(type[Any], hint)):
            check_types(value, f"{path}{name}.")
        else:
            raise ConfigError(f"{path}{name} is {shown(value)}; expected names with values below it.")


def to_plain(value: Any) -> Any:
    """Return a copy of nested dataclasses, dicts, lists, tuples and numpy arrays in dicts and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(inner) for inner in value]
    return value.tolist() if hasattr(value, "tolist") else value


def shown(value: object) -> str:
    """Return a value as it stands in an error message: on one line and not too long."""
    try:
        return shorten(_short_repr().repr(value))
    except ValueError:  # an integer of more than 4300 digits
        return "a number too long to show"


def _short_repr() -> reprlib.Repr:
    """Return what writes a value without all of its parts: a list of a few lines of YAML can stand for gigabytes."""
    short = reprlib.Repr()
    short.maxlevel = 3
    short.maxlist = short.maxtuple = short.maxdict = short.maxset = 20
    short.maxstring = short.maxother = short.maxlong = 200
    return short


def _build_section(root: type[Any], section: str, values: Any, renamed: Mapping[str, str]) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{section} is {shown(values)}; expected names with values below it.")
    kind = _hints(root)[section]
    hints, arguments = _hints(kind), {}
    for name, value in values.items():
        path = f"{section}.{name}"
        if name not in hints:
            raise unknown_option(root, path, renamed)
        arguments[name] = _converted(hints[name], value, path)
    return kind(**arguments)


def _converted(hint: Any, value: Any, path: str, *, numbers_in_quotes: bool = True) -> Any:
    """Return a value as the type `hint`, without any conversion but int → float, list → tuple and word → float."""
    import msgspec  # here, because it takes 50 ms and `geoseg --help` has no use for it

    # YAML reads 1e-3, without a point, as a word.
    is_word = numbers_in_quotes and isinstance(value, str) and float in (hint, *typing.get_args(hint))
    try:
        if isinstance(value, set | frozenset):
            raise msgspec.ValidationError("a set has no order")
        return msgspec.convert(value, hint, strict=not is_word)
    except msgspec.ValidationError as err:
        raise ConfigError(f"{path} is {shown(value)}; expected {_describe(hint)}.") from err


def _describe(hint: Any) -> str:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        words = ", ".join(map(str, options))
        return words if len(options) == 1 else f"one of {words}"
    if origin is tuple:
        return f"a list of {_TYPES[options[0]].removeprefix('a ')}s"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_describe, options))
    return _TYPES[hint]


def check_renamed_values(values: Mapping[str, Any], renamed: Mapping[tuple[str, str], str]) -> None:
    """Refuse former words of options; `renamed` has (path, former word) → today's word."""
    section = values.get("classify")
    given = {"training": values.get("training")}
    given["classify.evidence"] = section.get("evidence") if isinstance(section, dict) else None
    for path, value in given.items():
        if isinstance(value, str) and (new := renamed.get((path, value))) is not None:
            raise ConfigError(f"{path} {value} was renamed to {path} {new}; give that instead.")


def follow_classes(values: Mapping[str, Any], clusters: int) -> None:
    """Raise the number of clusters, `clusters` by default, with a number of classes that was given alone."""
    section = values.get("classify")
    if isinstance(section, dict) and isinstance(classes := section.get("classes"), int):
        section.setdefault("clusters", max(clusters, 2 * classes))


def choose_least_size(values: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Let a change of the smallest size in pixels replace a former one in m², and refuse changes of both.

    Parameters
    ----------
    values : dict
        Of a config; changed.
    changes : dict
        As of `config.load_config`.

    Raises
    ------
    ConfigError
        If `changes` has both.
    """
    if changes.get("polygons__min_pixels") is None:
        return
    if changes.get("polygons__min_area") is not None:
        raise ConfigError("min_pixels and min_area both give the smallest size of a region; give one of them.")
    section = values.get("polygons")
    if isinstance(section, dict):
        section["min_area"] = None
