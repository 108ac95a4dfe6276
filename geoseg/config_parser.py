"""Trees of dataclasses from what a YAML file says, with an error that names the value where it does not fit."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import types
import typing
from typing import Any, Literal

from geoseg.errors import ConfigError

_WORDS = {int: "whole number", str: "word", float: "number", bool: "truth value, true or false"}


def build(root: type[Any], values: object) -> Any:
    """Return a dataclass with the values that are given, and its defaults for all others.

    Parameters
    ----------
    root : a dataclass that has a default for each field; fields may be such dataclasses again
    values : names with values below them, as YAML has them

    Raises
    ------
    ConfigError : an unknown name, or a value of another type; says what would be right
    """
    return _built(root, values, "", root)


def _built(kind: type[Any], values: object, path: str, root: type[Any]) -> Any:
    if values is None:
        return kind()  # a name with nothing below it
    if not isinstance(values, dict):
        raise ConfigError(f"{path[:-1]} is {values!r}; expected names with values below it.")
    hints = typing.get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        if name not in hints:
            near = _nearest(str(name), {f"{path}{own}": own for own in hints}, root)
            raise ConfigError(f"there is no option {path}{name}; the nearest one is {near}.")
        arguments[name] = _convert(hints[name], value, f"{path}{name}", root)
    return kind(**arguments)


def _nearest(name: str, here: dict[str, str], root: type[Any]) -> str:
    """Return the path of the option that is named most alike, of those that may stand here or anywhere else."""
    sections = {section: values for section, values in dataclasses.asdict(root()).items() if isinstance(values, dict)}
    options = here | {f"{section}.{option}": option for section, values in sections.items() for option in values}
    return max(options, key=lambda path: difflib.SequenceMatcher(None, name, options[path]).ratio())


def _convert(hint: Any, value: object, path: str, root: type[Any]) -> Any:
    if dataclasses.is_dataclass(hint):
        return _built(typing.cast(type[Any], hint), value, f"{path}.", root)
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in options:
            raise ConfigError(f"{path} is {value!r}; expected one of {', '.join(map(str, options))}.")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple) or not all(type(item) is options[0] for item in value):
            raise ConfigError(f"{path} is {value!r}; expected a list of {_WORDS[options[0]]}s.")
        return tuple(value)
    if origin in (types.UnionType, typing.Union):
        words = [word for option in options for word in typing.get_args(option)]  # those of a Literal
        if value in words or (value is None and types.NoneType in options):
            return value
        if words and isinstance(value, str):
            raise ConfigError(f"{path} is {value!r}; expected a {_WORDS[options[0]]} or {' or '.join(words)}.")
        return _convert(options[0], value, path, root)
    if hint is float:
        return _number(value, path)
    if type(value) is not hint:  # True is an int too, for isinstance
        raise ConfigError(f"{path} is {value!r}; expected a {_WORDS[hint]}.")
    return value


def _number(value: object, path: str) -> float:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)  # a str too: YAML takes 1e-3, without a point, for one
    raise ConfigError(f"{path} is {value!r}; expected a number.")
