"""Unsupervised segmentation of rasters too large for memory into seamless, georeferenced polygons."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoseg.arrays import SceneModel, Segmentation, segment_array
    from geoseg.classify.classify import classify_regions
    from geoseg.classify.name import NamedClasses, name_classes
    from geoseg.classify.result import Classification
    from geoseg.config import Config, load_config
    from geoseg.errors import (
        ConfigError,
        GeosegError,
        ModelError,
        OutputError,
        RasterError,
        RunError,
        TileError,
        UnavailableError,
    )
    from geoseg.evaluate.evaluate import evaluate_classes
    from geoseg.evaluate.evaluation import Evaluation
    from geoseg.evaluate.unsupervised import RegionEvaluation, evaluate_regions
    from geoseg.layers.dissolve import DissolvedFile, dissolve_polygons
    from geoseg.output.paths import Outputs
    from geoseg.parts.finish import finish_run
    from geoseg.parts.plan import PlannedRun, plan_scene
    from geoseg.parts.work import PartResult, work_part
    from geoseg.pipeline import outline_labels, segment_scene
    from geoseg.preview.preview import Preview, preview_scene
    from geoseg.preview.tune import tune_scene
    from geoseg.preview.tuning import Tuning
    from geoseg.progress import Note, StageAdvanced, StageFinished, StageStarted
    from geoseg.raster.label_raster import LabelInput
    from geoseg.run.report import Result
    from geoseg.run.status import PartStatus, RunStatus, StageStatus, run_status
    from geoseg.segment.array_superpixels import felzenszwalb, slic
    from geoseg.vectorize.polygonize import polygonize

__version__ = "0.1.0"

_MODULES = {
    "geoseg.arrays": ("SceneModel", "Segmentation", "segment_array"),
    "geoseg.classify.classify": ("classify_regions",),
    "geoseg.classify.name": ("NamedClasses", "name_classes"),
    "geoseg.classify.result": ("Classification",),
    "geoseg.config": ("Config", "load_config"),
    "geoseg.errors": (
        "ConfigError",
        "GeosegError",
        "ModelError",
        "OutputError",
        "RasterError",
        "RunError",
        "TileError",
        "UnavailableError",
    ),
    "geoseg.evaluate.evaluate": ("evaluate_classes",),
    "geoseg.evaluate.evaluation": ("Evaluation",),
    "geoseg.evaluate.unsupervised": ("RegionEvaluation", "evaluate_regions"),
    "geoseg.layers.dissolve": ("DissolvedFile", "dissolve_polygons"),
    "geoseg.output.paths": ("Outputs",),
    "geoseg.parts.finish": ("finish_run",),
    "geoseg.parts.plan": ("PlannedRun", "plan_scene"),
    "geoseg.parts.work": ("PartResult", "work_part"),
    "geoseg.pipeline": ("outline_labels", "segment_scene"),
    "geoseg.preview.preview": ("Preview", "preview_scene"),
    "geoseg.preview.tune": ("tune_scene",),
    "geoseg.preview.tuning": ("Tuning",),
    "geoseg.progress": ("Note", "StageAdvanced", "StageFinished", "StageStarted"),
    "geoseg.raster.label_raster": ("LabelInput",),
    "geoseg.run.report": ("Result",),
    "geoseg.run.status": ("PartStatus", "RunStatus", "StageStatus", "run_status"),
    "geoseg.segment.array_superpixels": ("felzenszwalb", "slic"),
    "geoseg.vectorize.polygonize": ("polygonize",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # the same names as in _MODULES; tests/test_api.py compares them
    "Classification",
    "Config",
    "ConfigError",
    "DissolvedFile",
    "Evaluation",
    "GeosegError",
    "LabelInput",
    "ModelError",
    "NamedClasses",
    "Note",
    "OutputError",
    "Outputs",
    "PartResult",
    "PartStatus",
    "PlannedRun",
    "Preview",
    "RasterError",
    "RegionEvaluation",
    "Result",
    "RunError",
    "RunStatus",
    "SceneModel",
    "Segmentation",
    "StageAdvanced",
    "StageFinished",
    "StageStarted",
    "StageStatus",
    "TileError",
    "Tuning",
    "UnavailableError",
    "classify_regions",
    "dissolve_polygons",
    "evaluate_classes",
    "evaluate_regions",
    "felzenszwalb",
    "finish_run",
    "load_config",
    "name_classes",
    "outline_labels",
    "plan_scene",
    "polygonize",
    "preview_scene",
    "run_status",
    "segment_array",
    "segment_scene",
    "slic",
    "tune_scene",
    "work_part",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import geoseg`` is quick."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
