"""Options of a tuning and their checks."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from geoseg.config import Config
from geoseg.config_parser import shown
from geoseg.errors import ConfigError
from geoseg.evaluate.unsupervised import check_weight
from geoseg.preview.options import MAX_SIZE, MIN_SIZE

_MAX_WINDOWS, _MAX_CANDIDATES = 64, 1000
_FACTORS = (0.5, 1.0, 2.0, 4.0)  # of the scale that suits the scene
_SIZE_FACTORS = (0.25, 1.0, 4.0)  # of min_pixels
_CLASS_FACTORS = (0.5, 1.0, 2.0)  # of the number of classes
_AUTO_LEVELS = (8, 16, 32)  # besides "auto"


@dataclass(frozen=True)
class TuneOptions:
    """Options of a tuning.

    Parameters
    ----------
    scales : tuple of float
        Superpixel scales to try, of ``superpixels.scale``, or of ``superpixels.n_segments`` with slic. Empty = 0.5, 1,
        2 and 4 times the one that suits the scene.
    sizes : tuple of int
        Values of ``polygons.min_pixels`` to try. Empty = 1/4, 1 and 4 times that of the configuration.
    levels : tuple of int
        Numbers of classes to try. Empty = half, once and twice that of the configuration.
    windows : int
        Number of windows.
    size : int
        Side of a window in pixels; a smaller scene is used as a whole.
    weight : float
        The weight a of F, see `geoseg.evaluate.candidates`.
    aoi : Path or None
        Vector file; pixels outside its polygons are nodata.
    features : str or None
        Features raster, whose bands take part in the classes but not in the scores.
    overwrite : bool
        Whether an existing file is replaced.
    device : {"auto", "cpu", "cuda", "mps"}
        "auto" = cuda if there is a GPU.

    Raises
    ------
    ConfigError
        If a value has the wrong type or is out of range.
    """

    scales: tuple[float, ...] = ()
    sizes: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    windows: int = 4
    size: int = 512
    weight: float = 1.0
    aoi: Path | None = None
    features: str | None = None
    overwrite: bool = False
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    def __post_init__(self) -> None:
        for name, least, most in (("windows", 1, _MAX_WINDOWS), ("size", MIN_SIZE, MAX_SIZE)):
            value = getattr(self, name)
            if not (isinstance(value, int) and least <= value <= most):
                raise ConfigError(f"{name} is {shown(value)}; give an integer from {least} to {most}.")
        for name, kind, least in (("scales", (int, float), 1), ("sizes", int, 0), ("levels", int, 2)):
            values = getattr(self, name)
            if not all(isinstance(value, kind) and least <= value <= 1e9 for value in values):
                raise ConfigError(f"{name} are {shown(list(values))}; give numbers from {least}, such as 16, 32, 64.")
        if self.device not in ("auto", "cpu", "cuda", "mps"):
            raise ConfigError(f"device is {self.device!r}; choose one of auto, cpu, cuda, mps.")
        check_weight(self.weight)


@dataclass(frozen=True)
class Axes:
    """The values of each parameter that are tried, and those of the configuration, which are among them.

    Parameters
    ----------
    scales : tuple of float
    sizes : tuple of int
    levels : tuple of (int or "auto")
    default : (float, int, int or "auto")
    """

    scales: tuple[float, ...]
    sizes: tuple[int, ...]
    levels: tuple[int | Literal["auto"], ...]
    default: tuple[float, int, int | Literal["auto"]]


def axes_of(options: TuneOptions, config: Config, scale: float) -> Axes:
    """Return the values to try.

    Parameters
    ----------
    options : TuneOptions
    config : Config
    scale : float
        The superpixel scale that suits the scene, or that of the configuration.

    Raises
    ------
    ConfigError
        If there are more classes than clusters, or too many combinations.

    Examples
    --------
    >>> axes_of(TuneOptions(scales=(20,), levels=(4, 8)), Config(), 32.0)
    Axes(scales=(20.0, 32.0), sizes=(16, 64, 256), levels=(4, 8, 16), default=(32.0, 64, 16))
    """
    default, size, classes = scale, config.polygons.min_pixels, config.classify.classes
    scales = options.scales or tuple(float(f"{scale * factor:.2g}") for factor in _FACTORS if factor != 1)
    sizes = options.sizes or tuple(round(max(size, 16) * factor) for factor in _SIZE_FACTORS)
    most = config.classify.clusters if config.method == "backprop" else 255
    levels = options.levels or (
        _AUTO_LEVELS if classes == "auto" else tuple(max(2, round(classes * factor)) for factor in _CLASS_FACTORS)
    )
    if options.levels and max(levels) > most:
        raise ConfigError(f"levels has {max(levels)} classes, but there are {most} clusters; raise classify.clusters.")
    numbers = {min(level, most) for level in levels} | ({classes} if isinstance(classes, int) else set())
    found = Axes(
        tuple(sorted({*map(float, scales), default})),
        tuple(sorted({*sizes, size})),
        (*(("auto",) if classes == "auto" else ()), *sorted(numbers)),
        (default, size, classes),
    )
    n = len(found.scales) * len(found.sizes) * len(found.levels)
    if n > _MAX_CANDIDATES:
        raise ConfigError(f"there are {n} combinations of scales, sizes and levels; give at most {_MAX_CANDIDATES}.")
    return found


def parse_tune_options(values: Mapping[str, Any]) -> TuneOptions:
    """Return checked options from keyword arguments.

    Raises
    ------
    ConfigError
        If a name is unknown, or a value has the wrong type or is out of range.
    """
    names = [field.name for field in fields(TuneOptions)]
    for name in values:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}."
            raise ConfigError(f"unknown option {shown(name)} of a tuning; {hint}")
    given = dict(values)
    for name in ("scales", "sizes", "levels"):
        if name in given:
            given[name] = _numbers(name, given[name])
    area, features = given.pop("aoi", None), given.pop("features", None)
    for name, value in (("aoi", area), ("features", features)):
        if value is not None and not isinstance(value, str | os.PathLike):
            raise ConfigError(f"{name} is {shown(value)}; give the path of a file as a str or a Path.")
    raster = None if features is None else str(features)  # a Path would change the slashes of an address
    return replace(TuneOptions(**given), aoi=None if area is None else Path(area), features=raster)


def _numbers(name: str, value: object) -> tuple[Any, ...]:
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"{name} is {shown(value)}; give numbers such as (16, 32, 64).")
    return tuple(value)
