"""The commands of geoseg as ``commands.json`` describes them, and command lines from values."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMANDS_FILE = Path(__file__).parent.parent / "commands.json"


@dataclass(frozen=True)
class Option:
    """A parameter of a command.

    Parameters
    ----------
    name : str
        Such as "class_raster".
    flag : str or None
        Such as "--class-raster"; None = an argument without a name.
    kind : str
        flag, choice, integer, number, file or text.
    required : bool
    choices : tuple of str
        Of the kind choice.
    group : str
        Title of its group in the command reference.
    help : str
    """

    name: str
    flag: str | None
    kind: str
    required: bool
    choices: tuple[str, ...]
    group: str
    help: str


@dataclass(frozen=True)
class Command:
    """A command of geoseg.

    Parameters
    ----------
    name : str
    help : str
    options : tuple of Option
    """

    name: str
    help: str
    options: tuple[Option, ...]

    def option(self, name: str) -> Option:
        """Return the option of a name; KeyError if there is none."""
        return {option.name: option for option in self.options}[name]


@dataclass(frozen=True)
class Reference:
    """What ``commands.json`` contains.

    Parameters
    ----------
    version : str
        Of geoseg.
    configurations : tuple of str
        Names for --config.
    commands : dict of str to Command
    """

    version: str
    configurations: tuple[str, ...]
    commands: dict[str, Command]


def load_reference(path: Path = COMMANDS_FILE) -> Reference:
    """Return the commands that a file describes."""
    document = json.loads(path.read_text(encoding="utf-8"))
    commands = {
        name: Command(name, entry["help"], tuple(_option(option) for option in entry["parameters"]))
        for name, entry in document["commands"].items()
    }
    return Reference(document["version"], tuple(document["configurations"]), commands)


def command_line(command: Command, values: Mapping[str, Any], further: str = "") -> list[str]:
    """Return the arguments of geoseg that run a command.

    Parameters
    ----------
    command : Command
    values : mapping of str to object
        Values by the name of the option; None, False, "" and empty lists are left out, lists are joined by commas.
    further : str
        Further options, as they would be written in a shell.

    Raises
    ------
    ValueError
        If a quotation mark in `further` is not closed.

    Examples
    --------
    >>> tile = load_reference().commands["tile"]
    >>> command_line(tile, {"scene": "a.tif", "out": "a.gpkg", "bands": [1, 2], "resume": True, "simplify": 0.5})
    ['--stop-at-eof', 'tile', '--out=a.gpkg', '--bands=1,2', '--simplify=0.5', '--resume', '--progress=json', 'a.tif']
    """
    try:
        more = shlex.split(further)
    except ValueError as err:
        raise ValueError(
            f"the further options {further!r} cannot be read ({err}). Close every quotation mark."
        ) from err
    shown = dict(values)
    if any(option.name == "progress" for option in command.options):
        shown["progress"] = "json"
    options, arguments = [], []
    for option in command.options:
        value = shown.get(option.name)
        if value is None or value is False or value in ("", [], ()):
            continue
        if option.flag is None:
            arguments.append(_text(value))
        else:
            options.append(option.flag if value is True else f"{option.flag}={_text(value)}")
    return ["--stop-at-eof", command.name, *options, *more, *arguments]


def _option(entry: Mapping[str, Any]) -> Option:
    return Option(**{**entry, "choices": tuple(entry["choices"])})


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)
