"""The document in a run folder from which every part of a run knows what to compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.config import Config, load_config
from geoseg.errors import RunError
from geoseg.run.folder import RunFolder
from geoseg.run.inputs import InputFiles
from geoseg.run.plan import RunOptions

_DOCUMENT = "plan"


@dataclass(frozen=True)
class PlanDocument:
    """What was settled when a run was planned.

    Parameters
    ----------
    scene : str
        Absolute path, or an address.
    config : Config
    options : RunOptions
        Those that concern the result: area of interest, model, restretch, device.
    inputs : InputFiles
        The files of the scene, in the state in which their content was identified.
    tiles, blocks : tuple of int
        Numbers of the tiles, and of the blocks of superpixels that they read, ascending.
    """

    scene: str
    config: Config
    options: RunOptions
    inputs: InputFiles
    tiles: tuple[int, ...]
    blocks: tuple[int, ...]

    def write(self, folder: RunFolder) -> None:
        """Store it in a run folder.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        options = {name: getattr(self.options, name) for name in ("aoi", "model", "restretch", "device")}
        document = {
            "scene": self.scene,
            "config": self.config.to_dict(),
            "options": {name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
            "inputs": [list(state) for state in self.inputs.states],
            "tiles": list(self.tiles),
            "blocks": list(self.blocks),
        }
        folder.put_json(_DOCUMENT, document)

    @classmethod
    def read(cls, folder: RunFolder) -> PlanDocument:
        """Return the document of a run folder.

        Raises
        ------
        RunError
            If there is none, or it is damaged.
        """
        document = folder.get_json(_DOCUMENT)
        if document is None:
            raise RunError(
                f"{folder.path} has no intact plan of a run. Plan it first, or again: geoseg plan SCENE --run-dir "
                f"{folder.path}"
            )
        return cls(
            document["scene"],
            load_config(document["config"]),
            _options(document["options"]),
            InputFiles(tuple((str(path), *map(int, state)) for path, *state in document["inputs"])),  # type: ignore[misc]
            tuple(document["tiles"]),
            tuple(document["blocks"]),
        )


def _options(values: Mapping[str, Any]) -> RunOptions:
    aoi, model = (None if values[name] is None else Path(values[name]) for name in ("aoi", "model"))
    return RunOptions(aoi=aoi, model=model, restretch=values["restretch"], device=values["device"])
