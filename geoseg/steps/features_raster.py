"""The features raster of a run: its reduction, once for the scene, and its components at the pixels of a window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.raster.damage import DamageError
from geoseg.raster.features_raster import parts_of, read_cells, to_cells
from geoseg.raster.nodata import percent, valid_pixels
from geoseg.raster.scene import Scene, read_tolerant
from geoseg.run.job import Job, Task
from geoseg.run.products import FEATURE_REDUCTION
from geoseg.segment.feature_reduction import FeatureReduction, fit_reduction
from geoseg.segment.interpolation import interpolate

_MAX_VALUES = 2**23  # of all bands together, to which the reduction is fitted
_MAX_CELLS = 4096  # of a window among them


@dataclass
class _Sample:
    """Cells of a features raster, and how many valid pixels of the scene it covers.

    Parameters
    ----------
    n_valid : int
        Valid pixels of the windows.
    n_covered : int
        Those with a value.
    values : list of (cell, band) float32
    known : list of (cell, band) bool
    """

    n_valid: int = 0
    n_covered: int = 0
    values: list[NDArray[np.float32]] = field(default_factory=list)
    known: list[NDArray[np.bool_]] = field(default_factory=list)


def survey_features(task: Task, features: Scene, windows: Sequence[Window], note: Callable[[str], None]) -> None:
    """Fit the reduction of a features raster to the cells in windows of the scene, or take that of a model; store it.

    Parameters
    ----------
    task : Task
    features : Scene
        The features raster.
    windows : sequence of Window
        Spread over the scene.
    note : callable
        Receives what the user should know of the raster.

    Raises
    ------
    RasterError
        If it has no value in the valid pixels of the windows.
    """
    for text in features.notes:
        note(text)
    sample = _take_sample(task.scene, features, windows)
    if not sample.n_covered:
        raise RasterError(
            f"{features.path} has no value in the valid pixels of a sample of {task.scene.path}. Check its nodata "
            "value, and whether it shows the same place; or omit it."
        )
    if sample.n_covered < sample.n_valid:
        share = percent(1 - sample.n_covered / sample.n_valid)
        note(
            f"{features.path} has no value in {share} of the valid pixels of a sample of {task.scene.path}; "
            "superpixels there are assigned to the classes by the bands of the scene alone"
        )
    model = task.model
    if model is None or model.features is None:
        reduction = fit_reduction(np.concatenate(sample.values), np.concatenate(sample.known))
    else:
        reduction = model.features
    if not (reduction.high > reduction.low).any():
        note(f"{features.path} has one value everywhere, so the classes do not depend on it")
    task.store.put(FEATURE_REDUCTION, reduction)


def extra_of(job: Job, window: Window) -> NDArray[np.float32]:
    """Return the components of the features raster at the pixels of a window, and whether there are any.

    Returns
    -------
    (component + 1, y, x) float32
        As `interpolation.interpolate` returns them.

    Raises
    ------
    RasterError
        If the features raster is damaged there.
    """
    features = job.features
    if features is None:
        raise ValueError("the job has no features raster")
    return _components(job.scene, features, job.store.get(FEATURE_REDUCTION), window)


def _components(scene: Scene, features: Scene, reduction: FeatureReduction, window: Window) -> NDArray[np.float32]:
    found = np.zeros((len(reduction.components) + 1, *window.shape), np.float32)
    transform = to_cells(features, scene.geobox)
    for part, cells in parts_of(features, scene.geobox, window):
        pixels, known = read_cells(features, cells)
        has_value = valid_pixels(known, features.nodata_mode)
        values = reduction.apply(pixels, known)
        found[:, *part.within(window)] = interpolate(values, has_value, cells, transform, part)
    return found


def _take_sample(scene: Scene, features: Scene, windows: Sequence[Window]) -> _Sample:
    """Return a sample of the cells in windows of the scene; damaged cells are left out.

    Raises
    ------
    DamageError
        If no window can be read.
    """
    parts = {window: list(parts_of(features, scene.geobox, window)) for window in windows}
    n_parts = max(sum(map(len, parts.values())), 1)
    most = min(max(_MAX_VALUES // (len(features.bands) * n_parts), 1), _MAX_CELLS)  # cells of a part
    transform = to_cells(features, scene.geobox)
    sample, errors = _Sample(), list[DamageError]()
    for window in windows:
        _, valid = read_tolerant(scene, window)
        sample.n_valid += int(valid.sum())
        for part, cells in parts[window]:
            try:
                pixels, known = read_cells(features, cells)
            except DamageError as err:  # the tiles there will report it
                errors.append(err)
                continue
            has_value = valid_pixels(known, features.nodata_mode)
            covered = interpolate(np.zeros((0, *cells.shape)), has_value, cells, transform, part)[0] > 0
            sample.n_covered += int((valid[part.within(window)] & covered).sum())
            chosen = np.flatnonzero(has_value)
            chosen = chosen[:: max(1, -(-len(chosen) // most))]
            sample.values.append(pixels.reshape(len(pixels), -1)[:, chosen].T)
            sample.known.append(known.reshape(len(pixels), -1)[:, chosen].T)
    if errors and not sample.n_covered:
        raise errors[0]
    return sample
