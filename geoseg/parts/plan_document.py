"""The document in a run folder from which every part of a run knows what to compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.config import Config, load_config
from geoseg.errors import ConfigError, GeosegError, RunError
from geoseg.run.folder import RunFolder
from geoseg.run.inputs import InputFiles
from geoseg.run.manifest import read_plan, write_plan
from geoseg.run.resources import pick_device
from geoseg.run.run_options import RunOptions

_OPTIONS = ("aoi", "features", "values", "model", "restretch", "device")  # those that concern the result


@dataclass(frozen=True)
class PlanDocument:
    """What was settled when a run was planned.

    Parameters
    ----------
    scene : str
        Absolute path, or an address.
    config : Config
    options : RunOptions
        Those that concern the result: area of interest, features, values, model, restretch, and the device, which is
        not "auto".
    inputs : InputFiles
        The files of the scene, the features and the values, in the state in which their content was identified.
    tiles : tuple of int
        Numbers of the tiles, ascending.
    """

    scene: str
    config: Config
    options: RunOptions
    inputs: InputFiles
    tiles: tuple[int, ...]

    def write(self, folder: RunFolder) -> None:
        """Store it in a run folder.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        options = {name: getattr(self.options, name) for name in _OPTIONS}
        document = {
            "scene": self.scene,
            "config": self.config.to_dict(),
            "options": {name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
            "inputs": [list(state) for state in self.inputs.states],
            "tiles": list(self.tiles),
        }
        write_plan(folder, document)

    @classmethod
    def read(cls, folder: RunFolder) -> PlanDocument:
        """Return the document of a run folder.

        Raises
        ------
        RunError
            If there is none of the run in this folder, or it is damaged.
        """
        document = read_plan(folder)
        if document is None:
            raise RunError(
                f"{folder.path} has no plan of the run in it. Plan it with geoseg plan SCENE --run-dir {folder.path} "
                f"--resume, or continue geoseg tile with --resume."
            )
        try:
            return cls(
                str(document["scene"]),
                load_config(document["config"]),
                _options(document["options"]),
                InputFiles(tuple(_state(*state) for state in document["inputs"])),
                tuple(map(int, document["tiles"])),
            )
        except (KeyError, TypeError, ValueError, GeosegError) as err:
            raise RunError(
                f"the plan in {folder.path} is of another version of geoseg ({type(err).__name__}: {str(err)[:80]}); "
                f"plan the run again with geoseg plan --resume."
            ) from err

    def device_here(self) -> str:
        """Return the device of the plan.

        Raises
        ------
        ConfigError
            If this machine has none.
        """
        try:
            return pick_device(self.options.device, self.config)
        except ConfigError as err:
            raise ConfigError(
                "the run was planned on a machine with a GPU, which all tiles are to be computed on, and torch finds "
                "none here. Compute them on a machine with a GPU, or plan the run anew with geoseg plan --device cpu."
            ) from err


def _options(values: Mapping[str, Any]) -> RunOptions:
    aoi, model = (None if values[name] is None else Path(values[name]) for name in ("aoi", "model"))
    others = {name: values[name] for name in ("features", "restretch", "device")}
    return RunOptions(aoi=aoi, model=model, values=tuple(map(str, values["values"])), **others)


def _state(path: str, size: int, mtime: int, ctime: int) -> tuple[str, int, int, int]:
    return str(path), int(size), int(mtime), int(ctime)
