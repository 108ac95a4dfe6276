"""The dialog “Install geoseg…”: an explanation, a button, progress, a log. Nothing is downloaded before the click."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from qgis.PyQt.QtCore import QThread, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QVBoxLayout,
)

from .runner.environment import search_path
from .runner.installation import InstallError, Request, default_source, install
from .settings import environment_folder

_TEXT = (
    "<p>geoseg is installed into a Python environment of its own, which leaves QGIS's Python as it is:</p>"
    "<p><code>{folder}</code></p>"
    "<p>About 0.5 GB is downloaded from the Python Package Index and, on Linux without CUDA, from "
    "download.pytorch.org. The environment takes about 2 GB. uv makes it if it is installed, else Python 3.11 or "
    "later.</p>"
)


class _Worker(QThread):
    """Thread that installs."""

    line = pyqtSignal(str)
    ended = pyqtSignal(str, str)  # version, error

    def __init__(self, request: Request, parent: Any) -> None:
        super().__init__(parent)
        self._request = request

    def run(self) -> None:
        """Install, and emit the version or the error."""
        try:
            variables = {**os.environ, "PATH": search_path(os.environ, Path.home())}
            version = install(self._request, variables, self.line.emit, self.isInterruptionRequested)
        except InstallError as err:
            self.ended.emit("", str(err))
        except Exception as err:  # a thread that dies without a word would leave the dialog waiting
            self.ended.emit("", f"unexpected {type(err).__name__}: {err}. Please report it, with the log.")
        else:
            self.ended.emit(version, "")


class InstallDialog(QDialog):
    """Dialog that installs geoseg.

    Parameters
    ----------
    parent : QWidget or None
    """

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Install geoseg")
        self.resize(640, 460)
        self._worker: _Worker | None = None
        source, self._constraints = default_source(Path(__file__).parent)
        self._default = source
        text = QLabel(_TEXT.format(folder=environment_folder()))
        text.setWordWrap(True)
        self._source = QLineEdit(source)
        self._source.setPlaceholderText("Folder, wheel, address or name of geoseg, as pip takes it")
        self._cpu = QCheckBox("Without CUDA (smaller; for computers without an NVIDIA GPU)")
        self._cpu.setChecked(True)
        self._progress = QProgressBar()
        self._progress.setVisible(False)
        self._state = QLabel()
        self._state.setWordWrap(True)
        self._log = QPlainTextEdit()
        self._log.setReadOnly(True)
        self._buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self._install = self._buttons.addButton("Install", QDialogButtonBox.ButtonRole.ActionRole)
        self._install.clicked.connect(self._start)
        self._buttons.rejected.connect(self.reject)
        form = QFormLayout()
        form.addRow("Install from", self._source)
        form.addRow("", self._cpu)
        layout = QVBoxLayout(self)
        layout.addWidget(text)
        layout.addLayout(form)
        for widget in (self._progress, self._state, self._log, self._buttons):
            layout.addWidget(widget)

    def reject(self) -> None:
        """Cancel the installation, or close the dialog if there is none."""
        if self._worker is None:
            super().reject()
            return
        self._state.setText("Cancelling…")
        self._worker.requestInterruption()

    def _start(self) -> None:
        source = self._source.text().strip()
        if not source:
            self._state.setText("Write what to install: the folder of a clone of geoseg, or a wheel.")
            return
        constraints = self._constraints if source == self._default else None
        request = Request(source, environment_folder(), self._cpu.isChecked(), constraints)
        self._set_running(True)
        self._log.clear()
        self._worker = _Worker(request, self)
        self._worker.line.connect(self._show_line)
        self._worker.ended.connect(self._show_end)
        self._worker.start()

    def _show_line(self, line: str) -> None:
        self._log.appendPlainText(line)
        if not line.startswith("> "):
            self._state.setText(line[:200])

    def _show_end(self, version: str, error: str) -> None:
        if self._worker is not None:
            self._worker.wait()
        self._worker = None
        self._set_running(False)
        self._state.setText(error or f"geoseg {version} is installed. Its algorithms are in the Processing toolbox.")

    def _set_running(self, is_running: bool) -> None:
        self._progress.setVisible(is_running)
        self._progress.setRange(0, 0 if is_running else 1)  # 0, 0 = busy
        self._install.setEnabled(not is_running)
        self._source.setEnabled(not is_running)
        self._cpu.setEnabled(not is_running)
        button = self._buttons.button(QDialogButtonBox.StandardButton.Close)
        button.setText("Cancel" if is_running else "Close")
