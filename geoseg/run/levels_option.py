"""The option of layers of objects: which levels there can be, and the columns that these layers need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from geoseg.config import Config
from geoseg.errors import ConfigError
from geoseg.output.columns import with_objects


def config_with_objects(config: Config, levels: Sequence[int]) -> Config:
    """Return a configuration whose columns include the objects of levels.

    Raises
    ------
    ConfigError
        If there cannot be such a level.
    """
    classes = config.classify.classes
    if classes != "auto" and (wrong := [level for level in levels if level >= classes]):
        raise ConfigError(
            f"levels has {wrong[0]}, and the scene has at most {classes} classes; give levels below that, or more "
            "classes."
        )
    attributes = with_objects(config.polygons.attributes, levels)
    return replace(config, polygons=replace(config.polygons, attributes=attributes))
