"""Options of a preview and their checks."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from geoseg.config_parser import shown
from geoseg.errors import ConfigError
from geoseg.grid import Window

Stage = Literal["all", "scene", "superpixels", "classes"]

MIN_SIZE, MAX_SIZE = 32, 2048  # px, of the sides of the window
_MAX_CLASSES = 255
_MAX_STEPS = 100_000


@dataclass(frozen=True)
class PreviewOptions:
    """Options of a preview.

    Parameters
    ----------
    window : Window or None
        Pixels of the scene to show; None = the most varied window.
    size : int
        Side of the most varied window in pixels; a smaller scene is shown as a whole.
    classes : tuple of int or "auto"
        Numbers of classes to show; the largest is the number of classes of the configuration. Empty = 4, 8 and that of
        the configuration, "auto" = 4, 8 and a number that suits the window.
    stage : {"all", "scene", "superpixels", "classes"}
        Panels to show.
    animation : Path or None
        GIF with the labels after 1, 2, 4, … steps of backprop from a random start; None = none.
    steps : int or None
        Largest number of steps of the animation; None = ``backprop.max_steps``.
    aoi : Path or None
        Vector file; pixels outside its polygons are nodata.
    features : str or None
        Features raster, whose bands take part in the classes; see `geoseg.raster.features_raster`.
    overwrite : bool
        Whether existing files are replaced.
    device : {"auto", "cpu", "cuda", "mps"}
        "auto" = cuda if there is a GPU.

    Raises
    ------
    ConfigError
        If a value has the wrong type, is out of range or has no effect.
    """

    window: Window | None = None
    size: int = 512
    classes: tuple[int, ...] | Literal["auto"] = ()
    stage: Stage = "all"
    animation: Path | None = None
    steps: int | None = None
    aoi: Path | None = None
    features: str | None = None
    overwrite: bool = False
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    def __post_init__(self) -> None:
        if not (isinstance(self.size, int) and MIN_SIZE <= self.size <= MAX_SIZE):
            raise ConfigError(f"size is {shown(self.size)} px; give an integer from {MIN_SIZE} to {MAX_SIZE}.")
        if self.classes != "auto" and not all(isinstance(n, int) and 2 <= n <= _MAX_CLASSES for n in self.classes):
            raise ConfigError(
                f"classes are {list(self.classes)}; give integers from 2 to {_MAX_CLASSES}, such as 4, 8, 16."
            )
        for name, allowed in (("stage", get_args(Stage)), ("device", ("auto", "cpu", "cuda", "mps"))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(allowed)}.")
        if self.steps is not None and not (isinstance(self.steps, int) and 1 <= self.steps <= _MAX_STEPS):
            raise ConfigError(f"steps is {shown(self.steps)}; give an integer from 1 to {_MAX_STEPS}.")
        if self.steps is not None and self.animation is None:
            raise ConfigError(f"steps is {self.steps} but there is no animation; give an animation, or omit steps.")

    def shows(self, stage: Stage) -> bool:
        """Return whether the panels of a stage are shown."""
        return self.stage in ("all", stage)


def parse_options(values: Mapping[str, Any]) -> PreviewOptions:
    """Return checked options from keyword arguments.

    Parameters
    ----------
    values : mapping
        Names and values of fields of `PreviewOptions`. Paths may be str, the window may be a sequence of four integers,
        classes may be an integer or a sequence of integers.

    Raises
    ------
    ConfigError
        If there is no such option, or a value has the wrong type or is out of range.

    Examples
    --------
    >>> parse_options({"window": (0, 0, 64, 64), "classes": 4}).window
    Window(col_off=0, row_off=0, width=64, height=64)
    """
    names = [field.name for field in fields(PreviewOptions)]
    for name in values:
        if name not in names:
            nearest = max(names, key=lambda known: difflib.SequenceMatcher(None, name, known).ratio())
            raise ConfigError(f"a preview has no option {name!r}; the nearest one is {nearest!r}.")
    convert: dict[str, Callable[[str, Any], Any]]
    convert = {"window": _window, "classes": _classes, "animation": _path, "aoi": _path, "features": _raster}
    return PreviewOptions(
        **{name: convert[name](name, value) if name in convert else value for name, value in values.items()}
    )


def _window(name: str, value: object) -> Window | None:
    if value is None:
        return None
    numbers = tuple(value) if isinstance(value, Iterable) else ()
    if len(numbers) != 4 or not all(isinstance(number, int) for number in numbers):
        raise ConfigError(
            f"{name} is {value!r}; give four integers: first column, first row, width and height in pixels."
        )
    return Window(*numbers)


def _classes(name: str, value: object) -> tuple[int, ...] | Literal["auto"]:
    if value == "auto":
        return "auto"
    if value is None:
        return ()
    if isinstance(value, int):
        return (value,)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"{name} is {value!r}; give integers such as (4, 8, 16), or 'auto'.")
    return tuple(value)


def _path(name: str, value: object) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike):
        raise ConfigError(f"{name} is {shown(value)}; give the path of a file as a str or a Path.")
    return Path(value)


def _raster(name: str, value: object) -> str | None:
    path = _path(name, value)
    return None if path is None else str(value)  # a Path would change the slashes of an address
