"""Unsupervised segmentation of rasters too large for memory into seamless, georeferenced polygons."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoseg.config import Config, load_config
    from geoseg.output.paths import Outputs
    from geoseg.pipeline import outline_labels, segment_scene
    from geoseg.raster.label_raster import LabelInput
    from geoseg.steps.write import Result

__version__ = "0.1.0"

__all__ = ["Config", "LabelInput", "Outputs", "Result", "load_config", "outline_labels", "segment_scene"]

_HOMES = {
    "Config": "geoseg.config",
    "load_config": "geoseg.config",
    "LabelInput": "geoseg.raster.label_raster",
    "outline_labels": "geoseg.pipeline",
    "segment_scene": "geoseg.pipeline",
    "Outputs": "geoseg.output.paths",
    "Result": "geoseg.steps.write",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for, so that ``import geoseg`` is quick."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
