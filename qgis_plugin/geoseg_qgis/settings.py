"""The settings of the provider: Settings > Options > Processing > Providers > geoseg."""

from __future__ import annotations

import os
from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.PyQt.QtGui import QIcon

from .runner.environment import Installed, find_geoseg, own_environment, search_path

GROUP = "geoseg"
ICON = str(Path(__file__).with_name("icon.svg"))
_PATH = "GEOSEG_PATH"


def add_settings() -> None:
    """Show the settings in the options of Processing."""
    ProcessingConfig.settingIcons[GROUP] = QIcon(ICON)
    text = "Path of geoseg, or of its Python environment (empty: on the PATH, then as installed by the plugin)"
    ProcessingConfig.addSetting(Setting(GROUP, _PATH, text, "", valuetype=Setting.FILE))
    ProcessingConfig.readSettings()


def remove_settings() -> None:
    """Remove the settings from the options of Processing; their values are kept."""
    ProcessingConfig.removeSetting(_PATH)


def environment_folder() -> Path:
    """Return the folder of the environment that the plugin makes."""
    return own_environment(os.environ, Path.home())


def installed() -> Installed:
    """Return the geoseg to run; NotFoundError if there is none."""
    setting = str(ProcessingConfig.getSetting(_PATH) or "")
    return find_geoseg(setting, environment_folder(), search_path(os.environ, Path.home()))
