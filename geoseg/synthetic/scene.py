"""Aerial-like scenes of any size, with the truth behind them.

A scene is a window of an endless invented landscape: parcels with rows and tramlines, woodland of single crowns, lakes
and rivers, a network of roads, villages and halls with their shadows, seen through a camera with blur, noise and
drifting light. Every pixel depends on its place and the seed alone, so windows can be painted in any order.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.windows
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError

from geoseg.errors import ConfigError, OutputError
from geoseg.grid import Window
from geoseg.output.files import staged
from geoseg.synthetic.camera import Exposure, kernel
from geoseg.synthetic.land_cover import LAND_COVERS

__all__ = ["LAND_COVERS", "SceneOptions", "paint", "write_scene"]

_WHITE = {"uint8": 255, "uint16": 4095}  # uint16: as of a 12-bit camera
_SIZE = 512  # px, of the files' blocks and of the windows that are painted
_CRS = "EPSG:32631"
_CORNER = (430_000.0, 5_180_000.0)  # m, upper left: invented, in the middle of France
_MEANINGS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined)
_NAMES = ("red", "green", "blue", "nir")


@dataclass(frozen=True)
class SceneOptions:
    """What a scene is like.

    Parameters
    ----------
    shape : (rows, cols)
    seed : another number, another landscape; from 0
    resolution : metres per pixel
    nir : add a fourth band, near infrared
    dtype : "uint8", or "uint16" of which 12 bits are used
    collar : leave an irregular rim without data, as round a picture that was turned to the north

    Raises
    ------
    ConfigError : a value that cannot be painted
    """

    shape: tuple[int, int] = (4096, 4096)
    seed: int = 1
    resolution: float = 0.5
    nir: bool = False
    dtype: str = "uint8"
    collar: bool = False

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or any(length != int(length) or not 0 < length < 2**31 for length in self.shape):
            raise ConfigError(f"a scene of {self.shape} (rows, cols) cannot be painted; give two whole numbers from 1.")
        if self.dtype not in _WHITE:
            raise ConfigError(f"a scene cannot be of dtype {self.dtype!r}; choose {' or '.join(_WHITE)}.")
        if not 0.05 <= self.resolution <= 5:
            raise ConfigError(f"at {self.resolution} m per pixel there is no landscape to see; choose 0.05 to 5 m.")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"{self.seed} cannot be a seed; choose a whole number from 0.")


def paint(window: Window, options: SceneOptions) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Paint a window of a scene.

    Parameters
    ----------
    window : pixels of the scene; the landscape goes on outside of it, so any window can be painted

    Returns
    -------
    pixels : (band, y, x) of the options' dtype; 0 = no data, in all bands at once
    truth : (y, x) uint8, 1 + position in `LAND_COVERS`; 0 = no data. A shadow belongs to the ground it falls on
    """
    rows, cols = options.shape
    n_bands, white = 4 if options.nir else 3, _WHITE[options.dtype]
    # Plain ints and floats only: other types would have the kernel compiled again.
    exposure = Exposure(float(options.resolution), n_bands, white, bool(options.collar), int(rows), int(cols))
    pixels, truth = kernel()(Window(*map(int, window)), exposure, int(options.seed))
    return pixels.astype(options.dtype), truth


def write_scene(path: str | Path, options: SceneOptions, *, truth: str | Path | None = None) -> None:
    """Write a scene, and if asked its truth, as GeoTIFF; in memory is one window of 512 × 512 pixels at a time.

    The files appear under their names when they are complete and have been read back.

    Parameters
    ----------
    path : file to write; must not be there yet
    truth : file for the grounds, likewise; None = none

    Raises
    ------
    OutputError : a file is there already, or cannot be written
    """
    targets = [Path(path)] if truth is None else [Path(path), Path(truth)]
    for target in targets:
        _check_free(target)
    if len({target.resolve() for target in targets}) < len(targets):
        raise OutputError(f"{path} cannot hold both the scene and its truth; give the truth another name.")
    try:
        with ExitStack() as stack, rasterio.Env(GDAL_CACHEMAX=64):  # MB; every block is written once
            folders = [stack.enter_context(staged(target)) for target in targets]  # the truth is published first
            unfinished = [folder / target.name for folder, target in zip(folders, targets, strict=True)]
            _check_written(unfinished, options, _write(unfinished, options))
    except (OSError, RasterioError) as err:
        reason = " ".join(str(err.__cause__ or err).split())
        raise OutputError(f"{path} cannot be written: {reason}") from err


def _check_free(target: Path) -> None:
    if target.exists():
        raise OutputError(f"{target} is there already; remove it, or choose another name.")
    if not target.parent.is_dir():
        raise OutputError(f"{target} cannot be written, as there is no folder {target.parent}; make it first.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{target} cannot be written, as the folder {target.parent} allows no new files.")


def _write(paths: list[Path], options: SceneOptions) -> list[list[int]]:
    """Write the scene and, where there is a second path, its truth; return the checksums of their windows."""
    sums: list[list[int]] = [[] for _ in paths]
    profiles = [_profile(options), _profile(options, truth=True)][: len(paths)]
    files: list[Any] = []
    try:
        files += [rasterio.open(path, "w", **profile) for path, profile in zip(paths, profiles, strict=True)]
        _describe(files, options)
        for window in _windows(options):
            pixels, grounds = paint(window, options)
            for file, picture, found in zip(files, (pixels, grounds[None]), sums, strict=False):
                file.write(picture, window=rasterio.windows.Window(*window))
                found.append(zlib.crc32(picture.tobytes()))
    finally:
        for file in files:
            file.close()
    return sums


def _profile(options: SceneOptions, *, truth: bool = False) -> dict[str, Any]:
    step = options.resolution
    profile = {
        "driver": "GTiff",
        "height": options.shape[0],
        "width": options.shape[1],
        "crs": _CRS,
        "transform": Affine(step, 0.0, _CORNER[0], 0.0, -step, _CORNER[1]),
        "tiled": True,
        "blockxsize": _SIZE,
        "blockysize": _SIZE,
        "compress": "deflate",
        "predictor": 2,
        "BIGTIFF": "IF_SAFER",
    }
    if truth:
        return profile | {"count": 1, "dtype": "uint8", "nodata": 0}
    # Without ALPHA=NO the fourth band would be taken for transparency.
    colours = {"photometric": "RGB", "interleave": "pixel", "ALPHA": "NO", "ZLEVEL": 4}
    collar = {"nodata": 0} if options.collar else {}
    return profile | colours | collar | {"count": 4 if options.nir else 3, "dtype": options.dtype}


def _describe(files: list[Any], options: SceneOptions) -> None:
    """Say in the files what their bands and values mean."""
    scene = files[0]
    scene.colorinterp = _MEANINGS[: scene.count]
    scene.descriptions = _NAMES[: scene.count]
    scene.update_tags(seed=options.seed)
    for truth in files[1:]:
        truth.descriptions = ("ground",)
        truth.update_tags(seed=options.seed)
        truth.update_tags(1, **{str(number): name for number, name in enumerate(LAND_COVERS, start=1)})


def _windows(options: SceneOptions) -> Iterator[Window]:
    rows, cols = options.shape
    for row in range(0, rows, _SIZE):
        for col in range(0, cols, _SIZE):
            yield Window(col, row, min(_SIZE, cols - col), min(_SIZE, rows - row))


def _check_written(paths: list[Path], options: SceneOptions, sums: list[list[int]]) -> None:
    """Read everything back: GDAL says nothing when the disk is full, and the file then reads as zeros."""
    for path, expected in zip(paths, sums, strict=True):
        with rasterio.open(path) as file:
            for window, number in zip(_windows(options), expected, strict=True):
                picture = file.read(window=rasterio.windows.Window(*window))
                if zlib.crc32(picture.tobytes()) != number:
                    raise OSError("what was written reads back as something else; is the disk full?")
