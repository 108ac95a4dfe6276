"""Where geoseg is: a setting, the PATH, or the environment that the plugin has made."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .process import Control, run_process

INSTALL_HINT = (
    "Choose Plugins > geoseg > Install geoseg…, or write the path of an installed geoseg in Settings > Options > "
    "Processing > Providers > geoseg"
)
IS_WINDOWS = sys.platform == "win32"
_NOT_PASSED_ON = {  # of QGIS's own Python, GDAL and PROJ, which are not those of geoseg
    *("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"),
    *("GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA", "QT_PLUGIN_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH"),
}


class NotFoundError(Exception):
    """geoseg is not installed, or not where a setting names it."""


@dataclass(frozen=True)
class Installed:
    """An installed geoseg.

    Parameters
    ----------
    executable : Path
    origin : str
        Where it was found: "the setting", "the PATH" or "the environment of the plugin".
    """

    executable: Path
    origin: str


def find_geoseg(setting: str, own: Path, path: str) -> Installed:
    """Return the geoseg to run.

    Parameters
    ----------
    setting : str
        Path of the executable, or of the environment that contains it; "" = not set.
    own : Path
        Folder of the environment that the plugin makes.
    path : str
        The value of PATH. Relative folders in it are ignored.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    if setting.strip():
        given = Path(setting.strip()).expanduser()
        for candidate in (given, executable_in(given), given / _name()):
            if candidate.is_file():
                return Installed(candidate, "the setting")
        raise NotFoundError(
            f"the setting for the path of geoseg is {given}, where there is no geoseg. Correct or empty it in Settings "
            f"> Options > Processing > Providers > geoseg."
        )
    for folder in path.split(os.pathsep):
        candidate = Path(folder) / _name()
        if folder and candidate.is_absolute() and candidate.is_file() and os.access(candidate, os.X_OK):
            return Installed(candidate, "the PATH")
    if executable_in(own).is_file():
        return Installed(executable_in(own), "the environment of the plugin")
    raise NotFoundError(
        f"geoseg is not installed: it is neither on the PATH nor in the environment of the plugin ({own}). "
        f"{INSTALL_HINT}."
    )


def search_path(variables: Mapping[str, str], home: Path) -> str:
    """Return PATH with the folders in which installers put programs, which desktops do not pass on to QGIS.

    Examples
    --------
    >>> search_path({"PATH": "/usr/bin"}, Path("/home/me")).split(os.pathsep)[0]
    '/usr/bin'
    """
    more = [home / ".local" / "bin", home / ".cargo" / "bin"]  # uv, pipx
    if IS_WINDOWS:
        programs = Path(variables.get("LOCALAPPDATA") or home / "AppData" / "Local") / "Programs" / "Python"
        more += [programs / f"Python{version}" for version in (311, 312, 313)]
    else:
        more += [Path("/opt/homebrew/bin"), Path("/usr/local/bin")]
    return os.pathsep.join([variables.get("PATH", ""), *map(str, more)])


def executable_in(environment: Path, name: str = "geoseg") -> Path:
    """Return the path of a program in a virtual environment."""
    return environment / ("Scripts" if IS_WINDOWS else "bin") / _name(name)


def environment_for(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables for geoseg: those of QGIS without what belongs to its own Python and GDAL.

    Examples
    --------
    >>> environment_for({"PATH": "/usr/bin", "PYTHONHOME": "/opt/qgis"})
    {'PATH': '/usr/bin', 'PYTHONIOENCODING': 'utf-8'}
    """
    kept = {name: value for name, value in variables.items() if name.upper() not in _NOT_PASSED_ON}
    return {**kept, "PYTHONIOENCODING": "utf-8"}


def own_environment(variables: Mapping[str, str], home: Path) -> Path:
    """Return the folder of the environment that the plugin makes, the same for all profiles of QGIS."""
    if IS_WINDOWS:
        return Path(variables.get("LOCALAPPDATA") or home / "AppData" / "Local") / "geoseg" / "qgis-environment"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "geoseg" / "qgis-environment"
    return Path(variables.get("XDG_DATA_HOME") or home / ".local" / "share") / "geoseg" / "qgis-environment"


def version_of(executable: Path, variables: Mapping[str, str]) -> str:
    """Return the version of an installed geoseg.

    Raises
    ------
    NotFoundError
        If it cannot be run, or is another program.
    """
    control = Control(on_line=lambda _line: None, is_cancelled=lambda: False)
    try:
        ended = run_process([str(executable), "--version"], environment_for(variables), control)
    except OSError as err:
        raise NotFoundError(f"{executable} cannot be run ({err.strerror or err}). {INSTALL_HINT}.") from err
    found = re.match(r"geoseg, version (\S+)", ended.output.strip())
    if ended.code != 0 or found is None:
        answer = (ended.output.strip() or "\n".join(ended.lines).strip() or f"exit code {ended.code}").splitlines()[-1]
        raise NotFoundError(f"{executable} is not a working geoseg: {answer[:300]}. {INSTALL_HINT}.")
    return found[1]


def _name(name: str = "geoseg") -> str:
    return f"{name}.exe" if IS_WINDOWS else name
