"""Find bands whose values lose differences as float32, in which all pixels are computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoseg.raster.scene import Scene

_WIDE = ("int32", "uint32", "int64", "uint64", "float64")  # types with numbers that float32 rounds
_EXACT = 2.0**24  # whole numbers up to this are float32
_MAX = float(np.finfo(np.float32).max) / 2
_LEAST_STEPS = 250  # between the ends of the stretch; as many as 8 bits have


def precision_notes(scene: Scene, low: Sequence[float], high: Sequence[float]) -> list[str]:
    """Return a note, a sentence without a full stop, on each band whose differences float32 rounds away.

    Parameters
    ----------
    scene : Scene
    low, high : sequence of float
        Ends of the stretch of each band.
    """
    notes = []
    for band, dtype, least, most in zip(scene.bands, scene.dtypes, low, high, strict=True):
        largest = max(abs(least), abs(most))
        step = float(np.spacing(np.float32(min(largest, _MAX))))
        is_rounded = largest >= _EXACT or (dtype == "float64" and most > least)
        if dtype in _WIDE and is_rounded and most - least < _LEAST_STEPS * step:
            notes.append(
                f"band {band} of {scene.path} has values around {largest:.6g} of type {dtype}, of which float32 keeps "
                f"steps of {step:g} only; smaller differences are lost. Subtract an offset first: gdal_calc.py -A "
                f"{scene.path} --A_band {band} --calc 'A-offset' --type Float32 --outfile band.tif"
            )
    return notes
