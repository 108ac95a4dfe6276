"""Synthetic aerial scenes of any size with known land cover.

A scene is a window of an unbounded procedural landscape: parcels with crop rows and tramlines, woodland of single
crowns, lakes and rivers, roads, villages and halls with their shadows, recorded by a camera with blur, noise and uneven
light. A pixel depends only on its position and the seed, so windows can be rendered in any order.
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

from geoseg.errors import ConfigError, OutputError
from geoseg.grid import Window
from geoseg.output.files import staged
from geoseg.output.names import check_output_name
from geoseg.output.publication import Publication
from geoseg.raster.unreadable import GDAL_ERRORS
from geoseg.run.lock import locked_outputs
from geoseg.synthetic.camera import Exposure, kernel
from geoseg.synthetic.land_cover import LAND_COVERS

__all__ = ["LAND_COVERS", "SceneOptions", "paint", "write_scene"]

_WHITE = {"uint8": 255, "uint16": 4095}  # uint16: a 12-bit camera
_SIZE = 512  # px, of the blocks of the files and of the windows that are rendered
_CRS = "EPSG:32631"
_CORNER = (430_000.0, 5_180_000.0)  # m, upper left; arbitrary
_MEANINGS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined)
_NAMES = ("red", "green", "blue", "nir")


@dataclass(frozen=True)
class SceneOptions:
    """Parameters of a synthetic scene.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols).
    seed : int
        From 0; each seed gives another landscape.
    resolution : float
        Metres per pixel, from 0.05 to 5.
    nir : bool
        Whether there is a fourth band, near infrared.
    dtype : {"uint8", "uint16"}
        With uint16, 12 bits are used.
    collar : bool
        Whether there is an irregular nodata margin, as around an image that was rotated to north.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    shape: tuple[int, int] = (4096, 4096)
    seed: int = 1
    resolution: float = 0.5
    nir: bool = False
    dtype: str = "uint8"
    collar: bool = False

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or any(length != int(length) or not 0 < length < 2**31 for length in self.shape):
            raise ConfigError(f"shape is {self.shape}; expected (rows, cols), two integers from 1 to {2**31 - 1}.")
        if self.dtype not in _WHITE:
            raise ConfigError(f"dtype is {self.dtype!r}; choose {' or '.join(_WHITE)}.")
        if not 0.05 <= self.resolution <= 5:
            raise ConfigError(f"resolution is {self.resolution} m per pixel; choose a value from 0.05 to 5.")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}; choose an integer from 0 to {2**63 - 1}.")


def paint(window: Window, options: SceneOptions) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return the pixels and the land cover of a window of a scene.

    Parameters
    ----------
    window : Window
        Pixels of the scene. The landscape is unbounded, so the window may extend beyond the scene.
    options : SceneOptions

    Returns
    -------
    pixels : (band, y, x) uint8 or uint16
        0 is nodata, always in all bands.
    land_cover : (y, x) uint8
        1 + position in `LAND_COVERS`; 0 is nodata. A shadow has the land cover of the surface it falls on.

    Examples
    --------
    >>> pixels, land_cover = paint(Window(0, 0, 64, 32), SceneOptions(seed=3))
    >>> pixels.shape, land_cover.shape
    ((3, 32, 64), (32, 64))
    """
    rows, cols = options.shape
    n_bands, white = 4 if options.nir else 3, _WHITE[options.dtype]
    # Built-in ints and floats only: other types would cause the kernel to be compiled again.
    exposure = Exposure(float(options.resolution), n_bands, white, bool(options.collar), int(rows), int(cols))
    pixels, land_cover = kernel()(Window(*map(int, window)), exposure, int(options.seed))
    return pixels.astype(options.dtype), land_cover


def write_scene(path: str | Path, options: SceneOptions, *, truth: str | Path | None = None) -> None:
    """Write a synthetic scene, and optionally its land cover, as GeoTIFF.

    One window of 512 × 512 pixels is in memory at a time. The files appear under their names when they are complete and
    have been read back.

    Parameters
    ----------
    path : str or Path
        The scene; must not exist.
    options : SceneOptions
    truth : str, Path or None
        The raster of land cover; must not exist. None = not written.

    Raises
    ------
    OutputError
        If a file exists already or cannot be written.
    """
    targets = [Path(path)] if truth is None else [Path(path), Path(truth)]
    for target in targets:
        _check_free(target)
    if len({target.resolve() for target in targets}) < len(targets):
        raise OutputError(f"{path} cannot be both the scene and its land cover; give the land cover another name.")
    try:
        with locked_outputs(targets), ExitStack() as stack, rasterio.Env(GDAL_CACHEMAX=64 * 2**20):
            folders = [
                stack.enter_context(staged(target, Publication())) for target in targets
            ]  # the land cover is published first
            unfinished = [folder / target.name for folder, target in zip(folders, targets, strict=True)]
            _check_written(unfinished, options, _write(unfinished, options))
    except (OSError, *GDAL_ERRORS) as err:
        reason = " ".join(str(err.__cause__ or err).split())
        raise OutputError(f"{path} cannot be written: {reason}") from err


def _check_free(target: Path) -> None:
    check_output_name(target)
    if target.exists():
        raise OutputError(f"{target} exists; remove it or choose another name.")
    if not target.parent.is_dir():
        raise OutputError(f"{target} cannot be written, because there is no folder {target.parent}; create it first.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"{target} cannot be written, because the folder {target.parent} is not writable; choose another folder."
        )


def _write(paths: list[Path], options: SceneOptions) -> list[list[int]]:
    """Write the scene and, if there is a second path, its land cover; return the checksums of their windows."""
    sums: list[list[int]] = [[] for _ in paths]
    profiles = [_profile(options), _profile(options, land_cover=True)][: len(paths)]
    files: list[Any] = []
    try:
        files += [rasterio.open(path, "w", **profile) for path, profile in zip(paths, profiles, strict=True)]
        _describe(files, options)
        for window in _windows(options):
            pixels, land_cover = paint(window, options)
            for file, values, checksums in zip(files, (pixels, land_cover[None]), sums, strict=False):
                file.write(values, window=rasterio.windows.Window(*window))
                checksums.append(zlib.crc32(values.tobytes()))
    finally:
        for file in files:
            file.close()
    return sums


def _profile(options: SceneOptions, *, land_cover: bool = False) -> dict[str, Any]:
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
    if land_cover:
        return profile | {"count": 1, "dtype": "uint8", "nodata": 0}
    # Without ALPHA=NO, the fourth band would be interpreted as alpha.
    colours = {"photometric": "RGB", "interleave": "pixel", "ALPHA": "NO", "ZLEVEL": 4}
    collar = {"nodata": 0} if options.collar else {}
    return profile | colours | collar | {"count": 4 if options.nir else 3, "dtype": options.dtype}


def _describe(files: list[Any], options: SceneOptions) -> None:
    """Write the names of the bands and of the values to the files."""
    scene = files[0]
    scene.colorinterp = _MEANINGS[: scene.count]
    scene.descriptions = _NAMES[: scene.count]
    scene.update_tags(seed=options.seed)
    for land_cover in files[1:]:
        land_cover.descriptions = ("land cover",)
        land_cover.update_tags(seed=options.seed)
        land_cover.update_tags(1, **{str(number): name for number, name in enumerate(LAND_COVERS, start=1)})


def _windows(options: SceneOptions) -> Iterator[Window]:
    rows, cols = options.shape
    for row in range(0, rows, _SIZE):
        for col in range(0, cols, _SIZE):
            yield Window(col, row, min(_SIZE, cols - col), min(_SIZE, rows - row))


def _check_written(paths: list[Path], options: SceneOptions, sums: list[list[int]]) -> None:
    """Read the files back: GDAL does not report a full disk, and the file then reads as zeros."""
    for path, expected in zip(paths, sums, strict=True):
        with rasterio.open(path) as file:
            for window, number in zip(_windows(options), expected, strict=True):
                values = file.read(window=rasterio.windows.Window(*window))
                if zlib.crc32(values.tobytes()) != number:
                    raise OSError("the pixels read back differ from those written. Is the disk full?")
