"""The algorithms: each runs one command of geoseg."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputHtml,
    QgsProcessingOutputNumber,
    QgsProcessingUtils,
)
from qgis.PyQt.QtGui import QIcon

from .compat import ADVANCED
from .layers import Further, load_results
from .parameters import Given, definitions, further, value_of
from .runner.commands import Command, Reference, command_line
from .runner.environment import NotFoundError, environment_for, version_of
from .runner.messages import error_text, failed_text, legend, resume_text, with_labels
from .runner.process import Control, Ended, run_process
from .runner.progress import Progress
from .runner.table import FURTHER, Algorithm, Shown, parameters_of
from .settings import ICON, installed

_TILES_FAILED = 3  # exit code
_SCORES = {"oa": "Overall accuracy", "miou": "Mean IoU", "ari": "Adjusted Rand index", "seam_ratio": "Seam ratio"}
_HTML = "HTML"


class CommandAlgorithm(QgsProcessingAlgorithm):
    """Algorithm that runs a command of geoseg as a subprocess.

    Parameters
    ----------
    algorithm : Algorithm
    reference : Reference
    """

    def __init__(self, algorithm: Algorithm, reference: Reference) -> None:
        super().__init__()
        self._algorithm = algorithm
        self._reference = reference

    @property
    def _command(self) -> Command:
        return self._reference.commands[self._algorithm.command]

    @property
    def _parameters(self) -> tuple[Shown, ...]:
        return parameters_of(self._algorithm, self._command)

    def createInstance(self) -> CommandAlgorithm:
        return CommandAlgorithm(self._algorithm, self._reference)

    def name(self) -> str:
        return self._algorithm.name

    def displayName(self) -> str:
        return self._algorithm.title

    def tags(self) -> list[str]:
        return list(self._algorithm.tags)

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def svgIconPath(self) -> str:
        return ICON

    def shortDescription(self) -> str:
        return with_labels(self._command.help.split("\n\n")[0], self._labels())

    def shortHelpString(self) -> str:
        """Return the help of the command and of its parameters, as in the command reference."""
        paragraphs = [text for text in self._command.help.split("\n\n") if not text.startswith("Exit codes")]
        paragraphs = [with_labels(text, self._labels()) for text in paragraphs]
        rows = [
            f"<b>{html.escape(definition.description())}</b>: {html.escape(definition.help())}"
            for definition in self.parameterDefinitions()
            if not definition.flags() & ADVANCED
        ]
        return "".join(f"<p>{text}</p>" for text in (*map(html.escape, paragraphs), *rows))

    def _labels(self) -> dict[str, str]:
        """Return the labels of the parameters by what stands for them in the texts of geoseg."""
        options = {shown.label: self._command.option(shown.name) for shown in self._parameters}
        return {option.flag or option.name.upper(): label for label, option in options.items()}

    def initAlgorithm(self, config: Mapping[str, Any] | None = None) -> None:
        """Add the parameters and outputs."""
        has_further = False
        for shown in self._parameters:
            if shown.widget.endswith("output") and not has_further:
                self.addParameter(further())
                has_further = True
            for definition in definitions(shown, self._command.option(shown.name), self._reference):
                definition.setHelp(with_labels(definition.help(), self._labels()))
                self.addParameter(definition)
        if self._command.name == "evaluate":
            for key, title in _SCORES.items():
                self.addOutput(QgsProcessingOutputNumber(key.upper(), title))
        if self._command.name in ("evaluate", "preview", "tune"):
            self.addOutput(QgsProcessingOutputHtml(_HTML, self._algorithm.title))

    def canExecute(self) -> tuple[bool, str]:
        """Return whether geoseg is installed, and what to do if it is not."""
        try:
            installed()
        except NotFoundError as err:
            return False, str(err)
        return True, ""

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run the command, and return its outputs."""
        given = Given(self, parameters, context, feedback)
        values = {shown.name: value_of(shown, given) for shown in self._parameters}
        try:
            arguments = command_line(
                self._command, values, self.parameterAsString(parameters, FURTHER.upper(), context)
            )
            executable = self._executable(feedback)
        except (NotFoundError, ValueError) as err:
            raise QgsProcessingException(str(err)) from err
        feedback.pushCommandInfo(_shown_command([str(executable), *arguments]))
        ended, failed = self._run([str(executable), *arguments], feedback)
        if ended.is_cancelled or ended.code not in (0, _TILES_FAILED):
            context.setLayersToLoadOnCompletion({})
        if ended.is_cancelled:
            raise QgsProcessingException(f"The run was cancelled. {self._resume_text(values)}".strip())
        if ended.code not in (0, _TILES_FAILED):
            raise QgsProcessingException(error_text(ended) + legend(error_text(ended), self._labels()))
        if failed:
            feedback.reportError(failed_text(failed))
        if ended.output.strip():
            feedback.pushConsoleInfo(ended.output.rstrip())
        first = self._parameters[0].name
        layer = self.parameterAsLayer(parameters, first.upper(), context)
        name = layer.name() if layer is not None else Path(str(values[first])).stem  # None: a file that is no layer
        further_layers = Further(bool(failed), bool(values.get("class_layer")))
        load_results(context, self.provider().style_loader, name, further_layers)
        return {**self._outputs(values), **self._more_outputs(values, ended)}

    def _executable(self, feedback: QgsProcessingFeedback) -> Path:
        found = installed()
        version = version_of(found.executable, os.environ)
        feedback.pushInfo(f"geoseg {version} from {found.origin}: {found.executable}")
        if version != self._reference.version:
            feedback.pushWarning(
                f"this plugin was made for geoseg {self._reference.version}; options may differ in {version}."
            )
        return found.executable

    def _run(self, command: list[str], feedback: QgsProcessingFeedback) -> tuple[Ended, tuple[int, ...]]:
        """Run a command, and return how it ended and the tiles that failed."""
        progress = Progress(self._command.name)
        failed: list[int] = []
        waiting: list[str] = []  # notes, of which the last ones are the error if the run fails

        def show_notes() -> None:
            for note in waiting:
                feedback.pushWarning(note + legend(note, self._labels()))
            waiting.clear()

        def on_line(line: str) -> None:
            if not line.strip():
                return
            update = progress.receive(line)
            failed.extend(update.failed)
            if update.note:
                waiting.append(update.note)
                return
            show_notes()
            if update.percent is not None:
                feedback.setProgress(update.percent)
            if update.text:
                feedback.setProgressText(update.text)

        try:
            ended = run_process(command, environment_for(os.environ), Control(on_line, feedback.isCanceled))
        except OSError as err:
            raise QgsProcessingException(f"{command[0]} cannot be run: {err.strerror or err}.") from err
        if ended.code in (0, _TILES_FAILED):
            show_notes()
        return ended, tuple(failed)

    def _resume_text(self, values: Mapping[str, Any]) -> str:
        """Return how to continue a cancelled run; "" if that is not possible."""
        out = str(values.get("out") or "")
        if not out or "resume" not in values:
            return ""
        is_temporary = Path(QgsProcessingUtils.tempFolder()) in Path(out).parents
        return resume_text(out, values.get("run_dir"), is_temporary=is_temporary)

    def _outputs(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the files that were written."""
        named = {shown.name for shown in self._parameters if shown.widget.endswith("output")}
        return {name.upper(): values[name] for name in named if values.get(name)}

    def _more_outputs(self, values: Mapping[str, Any], ended: Ended) -> dict[str, Any]:
        """Return the page with the picture of a preview, the table of a tuning, or that and scores of an evaluation."""
        if self._command.name == "preview":
            pictures = [Path(values[name]).as_uri() for name in ("out", "animation") if values.get(name)]
            return {_HTML: _write_page("".join(f'<p><img src="{html.escape(uri)}"></p>' for uri in pictures))}
        if self._command.name == "tune":  # Qt's viewer draws no SVG in a page; the chart is the file of Chart
            return {_HTML: _write_page(f"<pre>{html.escape(ended.output)}</pre>")}
        if self._command.name == "evaluate":
            scores = json.loads(Path(values["report"]).read_text(encoding="utf-8"))
            numbers = {key.upper(): scores[key] for key in _SCORES if scores.get(key) is not None}
            return {_HTML: _write_page(f"<pre>{html.escape(ended.output)}</pre>"), **numbers}
        return {}


def _shown_command(command: list[str]) -> str:
    """Return a command as it would be typed."""
    return " ".join(f'"{part}"' if " " in part else part for part in command if part != "--stop-at-eof")


def _write_page(body: str) -> str:
    path = QgsProcessingUtils.generateTempFilename("result.html")
    page = f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>geoseg</title></head><body>{body}</body></html>'
    Path(path).write_text(page, encoding="utf-8")
    return path
