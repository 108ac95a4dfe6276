"""Commands and options as JSON, for programs that build on them without importing geoseg, such as the QGIS plugin.

``python -m geoseg.cli.reference_json > qgis_plugin/geoseg_qgis/commands.json``
"""

from __future__ import annotations

import json
from typing import Any

import click
from cloup import OptionGroup

from geoseg import __version__
from geoseg.cli.main import commands
from geoseg.cli.options import check_name, check_names
from geoseg.cli.reference import text_of


def reference_json() -> str:
    """Return the commands that are not hidden, with their parameters, and the named configurations, as JSON.

    The kind of a parameter is flag, choice, integer, number, file (a file name or an address) or text.
    """
    from geoseg.config import named_configs

    visible = [command for command in commands.commands.values() if not command.hidden]
    document = {
        "version": __version__,
        "configurations": list(named_configs()),
        "commands": {command.name: _command(command) for command in visible},
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _command(command: click.Command) -> dict[str, Any]:
    context = click.Context(command, info_name=f"geoseg {command.name}")
    parameters = command.get_params(context)
    shown = [one for one in parameters if not getattr(one, "hidden", False) and "--help" not in one.opts]
    return {"help": text_of(command.help), "parameters": [_parameter(one, context) for one in shown]}


def _parameter(parameter: click.Parameter, context: click.Context) -> dict[str, Any]:
    group = getattr(parameter, "group", None)
    help_text = getattr(parameter, "help", None)
    if isinstance(parameter, click.Option):
        record = parameter.get_help_record(context)
        help_text = record[1] if record else help_text  # with the default
    choices = parameter.type.choices if isinstance(parameter.type, click.Choice) else ()
    return {
        "name": parameter.name,
        "flag": parameter.opts[-1] if isinstance(parameter, click.Option) else None,
        "kind": _kind(parameter),
        "required": parameter.required,
        "choices": list(choices),
        "group": str(group.title) if isinstance(group, OptionGroup) else "",
        "help": text_of(help_text),
    }


def _kind(parameter: click.Parameter) -> str:
    if getattr(parameter, "is_flag", False):
        return "flag"
    if isinstance(parameter.type, click.Choice):
        return "choice"
    if isinstance(parameter.type, click.Path) or parameter.callback in (check_name, check_names):
        return "file"
    if isinstance(parameter.type, click.types.IntParamType):
        return "integer"
    return "number" if isinstance(parameter.type, click.types.FloatParamType) else "text"


if __name__ == "__main__":
    click.echo(reference_json(), nl=False)
