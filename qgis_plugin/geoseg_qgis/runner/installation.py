"""The installation of geoseg into an environment of its own, with uv if there is one, else with venv and pip."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .environment import NotFoundError, environment_for, executable_in, version_of
from .process import Control, Ended, run_process

PYTHONS = ("python3.11", "python3.12", "python3.13", "python3", "python")
TORCH_CPU = "https://download.pytorch.org/whl/cpu"  # for Linux, where the default build is for CUDA, and large
LOG_NAME = "install.log"  # beside the environment
_MARKER = "geoseg-qgis.txt"  # in the environments that the plugin has made; no other folder is removed
_PROBE = "import ensurepip, venv, sys; print('%d.%d' % sys.version_info[:2])"
_ADVICE = (
    (r"No space left|Errno 28|disk is full|os error 112", "Free about 3 GB on the disk"),
    (r"CERTIFICATE_VERIFY_FAILED|certificate verify|peer certificate|UnknownIssuer",
     "The certificate of the server was not accepted: set SSL_CERT_FILE to the certificates of your network"),
    (r"ensurepip|python3-venv", "Install the package python3-venv, or uv"),
    (r"requires a different Python|Requires-Python|No interpreter found", "Install Python 3.11, or uv"),
    (r"resolve|Max retries|ConnectionError|dns error|timed out|Proxy|error sending request|unreachable|Connection",
     "Check the connection to the internet; behind a proxy, set HTTPS_PROXY before QGIS starts"),
    (r"No matching distribution|no version of|Could not find a version",
     "Check the connection to the internet, and that there are packages for this system (64 bit)"),
    (r"Permission denied|Errno 13|Access is denied|os error 5", "Check the permissions of the folder"),
)  # fmt: skip


class InstallError(Exception):
    """The installation did not succeed; the message states what to do."""


@dataclass(frozen=True)
class Request:
    """What to install, and where.

    Parameters
    ----------
    source : str
        What pip installs: a folder with the source code, a wheel, an address or a requirement.
    folder : Path
        Of the environment.
    is_cpu_only : bool
        On Linux: install the build of torch without CUDA, which is gigabytes smaller.
    constraints : Path or None
        File with the versions that geoseg is tested with, on Python 3.11.
    """

    source: str
    folder: Path
    is_cpu_only: bool = True
    constraints: Path | None = None


@dataclass(frozen=True)
class Tools:
    """The programs that make environments; None = there is none.

    Parameters
    ----------
    uv : Path or None
    python : Path or None
        Of a Python that geoseg runs on.
    version : str
        Of that Python, such as "3.11".
    """

    uv: Path | None
    python: Path | None
    version: str = "3.11"


@dataclass(frozen=True)
class Step:
    """A process of the installation.

    Parameters
    ----------
    title : str
    command : tuple of str
    """

    title: str
    command: tuple[str, ...]


def find_tools(variables: Mapping[str, str]) -> Tools:
    """Return the programs on the PATH that can make an environment."""
    path = variables.get("PATH", "")
    uv = shutil.which("uv", path=path)
    if uv is not None:
        return Tools(Path(uv), None)
    for name in PYTHONS:
        found = shutil.which(name, path=path)
        version = "" if found is None else _version_of_python(found, variables)
        if found is not None and version and tuple(map(int, version.split("."))) >= (3, 11):
            return Tools(None, Path(found), version)
    return Tools(None, None)


def steps_of(request: Request, tools: Tools) -> tuple[Step, ...]:
    """Return the processes of an installation, in their order.

    Raises
    ------
    InstallError
        If there is neither uv nor a Python.
    """
    python = str(executable_in(request.folder, "python"))
    if tools.uv is not None:
        make: tuple[str, ...] = (str(tools.uv), "venv", "--python", "3.11", str(request.folder))
        pip: tuple[str, ...] = (str(tools.uv), "pip", "install", "--python", python)
    elif tools.python is not None:
        make = (str(tools.python), "-m", "venv", str(request.folder))
        pip = (python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input")
    else:
        raise InstallError(
            "there is neither uv nor Python 3.11 or later on the PATH. Install uv (https://docs.astral.sh/uv/) or "
            "Python 3.11 with its venv module, restart QGIS, and try again."
        )
    if request.constraints is not None and tools.version == "3.11":
        pip = (*pip, "-c", str(request.constraints))
    steps = [Step("Make an environment", make)]
    if request.is_cpu_only and sys.platform.startswith("linux"):
        steps.append(Step("Install torch", (*pip, "torch", "--index-url", TORCH_CPU)))
    return (*steps, Step("Install geoseg", (*pip, request.source)))


def install(
    request: Request, variables: Mapping[str, str], on_line: Callable[[str], None], is_cancelled: Callable[[], bool]
) -> str:
    """Install geoseg and return its version.

    It replaces an environment that the plugin has made before. If it fails, the former environment is kept.

    Parameters
    ----------
    request : Request
    variables : mapping of str to str
        Environment variables.
    on_line : callable
        Takes each line of the log.
    is_cancelled : callable
        Returns whether to stop.

    Raises
    ------
    InstallError
        If it fails or is cancelled.
    """
    steps = steps_of(request, find_tools(variables))
    log = request.folder.parent / LOG_NAME
    former = _move_aside(request.folder)
    try:
        version = _install(request, steps, variables, (log, on_line, is_cancelled))
    except (InstallError, NotFoundError, OSError) as err:
        shutil.rmtree(request.folder, ignore_errors=True)
        if former is not None:
            former.rename(request.folder)
        if isinstance(err, OSError):
            what = f"{err.filename or request.folder} cannot be written: {err.strerror or err}. Check the disk"
        else:
            what = str(err).rstrip(".")
        raise InstallError(f"{what}. The log is in {log}.") from err
    if former is not None:
        shutil.rmtree(former, ignore_errors=True)
    return version


def _install(
    request: Request,
    steps: tuple[Step, ...],
    variables: Mapping[str, str],
    display: tuple[Path, Callable[[str], None], Callable[[], bool]],
) -> str:
    log, on_line, is_cancelled = display
    request.folder.mkdir(parents=True)
    (request.folder / _MARKER).write_text("Made by the QGIS plugin geoseg.\n", encoding="utf-8")
    with log.open("w", encoding="utf-8") as file:

        def write(line: str) -> None:
            file.write(f"{line}\n")
            file.flush()
            on_line(line)

        for number, step in enumerate(steps, start=1):
            write(f"{number} of {len(steps)}: {step.title}")
            write("> " + " ".join(step.command))
            _run(step, variables, Control(write, is_cancelled, stops_at_eof=False, grace=10, merges_output=True))
    return version_of(executable_in(request.folder), variables)


def _run(step: Step, variables: Mapping[str, str], control: Control) -> None:
    ended = run_process(step.command, environment_for(variables), control)
    if ended.is_cancelled:
        raise InstallError("the installation was cancelled; nothing is left of it")
    if ended.code != 0:
        raise InstallError(f"“{step.title}” failed: {_reason(ended)}")


def _reason(ended: Ended) -> str:
    """Return the line that names the cause, and what to do."""
    lines = [line.strip() for line in ended.lines if line.strip()]
    errors = [line for line in lines if re.search("error|cannot|could not", line, re.IGNORECASE)]
    text = "\n".join(lines)
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, text)), "Read the log, and try again")
    line = (errors or lines or [f"exit code {ended.code}"])[-1]
    return f"{line[:300].rstrip('.')}. {advice}"


def _version_of_python(python: str, variables: Mapping[str, str]) -> str:
    """Return the version of a Python that can make environments, such as "3.11"; "" if it cannot."""
    control = Control(lambda _line: None, lambda: False, stops_at_eof=False)
    try:
        ended = run_process([python, "-c", _PROBE], environment_for(variables), control)
    except OSError:
        return ""
    return ended.output.strip() if re.fullmatch(r"\d+\.\d+", ended.output.strip()) else ""


def _move_aside(folder: Path) -> Path | None:
    """Rename an environment that the plugin has made, and return its new path; None if there is none.

    Raises
    ------
    InstallError
        If the folder contains anything else, or is in use.
    """
    aside = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if not folder.exists():
        return None
    if any(folder.iterdir()) and not (folder / _MARKER).is_file():
        raise InstallError(f"{folder} exists and was not made by this plugin. Move it away, and try again.")
    try:
        folder.rename(aside)
    except OSError as err:  # on Windows, while geoseg runs
        raise InstallError(f"{folder} is in use ({err.strerror}). End what runs there, and try again.") from err
    return aside


def default_source(plugin: Path) -> tuple[str, Path | None]:
    """Return what to install, and its constraints: the source code packed with the plugin, or the clone around it.

    Parameters
    ----------
    plugin : Path
        Folder of the plugin.

    Returns
    -------
    source : str
        "" if there is neither.
    constraints : Path or None
    """
    for folder in (plugin / "source", plugin.resolve().parent.parent):
        project = folder / "pyproject.toml"
        if project.is_file() and re.search(r'^name = "geoseg"$', project.read_text(encoding="utf-8"), re.MULTILINE):
            constraints = folder / "constraints.txt"
            return str(folder), constraints if constraints.is_file() else None
    return "", None
