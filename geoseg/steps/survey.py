"""The survey of a scene: what must be known of all of it before the first tile."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.config import Config
from geoseg.errors import RasterError
from geoseg.grid import TileGrid, Window
from geoseg.raster.pixel_size import resolution
from geoseg.raster.scene import Scene, read, read_leniently
from geoseg.segment.features import REACH, Standardizer, Stretch, network_input
from geoseg.segment.superpixels import Sizes, contrast, fitted

log = logging.getLogger(__name__)

_PERCENTILES = (1.0, 99.0)  # a stretch from the very lowest to the very highest would be one of the outliers
_ROUNDS = 4  # draws of windows, where many of them lie in no data
_MIN_VALID = 0.5  # share of data in a window that is worth learning from
_SEARCHED = 512  # px; not the size of the tiles, which must have no say in the result
_PIXELS_PER_WINDOW = 4096  # for the stretch
_JITTER = 0  # of the windows, and not the run's seed: a stretch that seeds could move would move every class


@dataclass(frozen=True)
class Survey:
    """What is the same for all tiles of a scene.

    Parameters
    ----------
    stretch : per band, one for the whole scene; a stretch per tile would make seams
    standard : of the network's input
    windows : crops for learning, spread over the scene, all of one shape
    superpixels : their parameters, as they suit the scene
    """

    stretch: Stretch
    standard: Standardizer
    windows: tuple[Window, ...]
    superpixels: Sizes

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"windows": [list(window) for window in self.windows]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Survey:
        """Return the survey that `to_dict` gave."""
        return cls(
            Stretch(*(tuple(values["stretch"][end]) for end in ("low", "high"))),
            Standardizer(*(tuple(values["standard"][moment]) for moment in ("mean", "deviation"))),
            tuple(Window(*window) for window in values["windows"]),
            Sizes(**values["superpixels"]),
        )


def survey(scene: Scene, config: Config) -> Survey:
    """Look at windows from all over a scene and say how its values are spread.

    Raises
    ------
    RasterError : nothing in the scene is data, or nothing of it can be read
    """
    windows = _draw_windows(scene, config)
    stretch = _fit_stretch(scene, windows)
    standard = _fit_standard(scene, windows, stretch, config)
    return Survey(stretch, standard, tuple(windows), _fit_superpixels(scene, windows, stretch, config))


def fit_stretch(scene: Scene, config: Config) -> Stretch:
    """Return the stretch of a scene, as `survey` finds it."""
    return _fit_stretch(scene, _draw_windows(scene, config))


def read_crop(
    scene: Scene, window: Window, stretch: Stretch, inputs: Literal["bands", "bands+texture"]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Read a window with the margin that the network's input needs.

    Returns
    -------
    bands : (band, y, x) float32, stretched
    layers : (channel, y, x) float32, as `channels.network_input` gives them
    valid : (y, x) bool
    """
    wide = window.expanded(REACH, scene.geobox.shape)
    pixels, valid = read_leniently(scene, wide, core=window)
    bands = stretch.apply(pixels, valid)
    inner = window.within(wide)
    return bands[:, *inner], network_input(bands, valid, inputs)[:, *inner], valid[inner]


def _draw_windows(scene: Scene, config: Config) -> list[Window]:
    whole = _extent(scene)
    rows, cols = scene.geobox.shape
    size = (min(config.learn.crop, rows), min(config.learn.crop, cols))
    draw = np.random.default_rng(_JITTER)
    good: list[Window] = []
    poor: list[Window] = []
    for _ in range(_ROUNDS):
        for window in _spread(whole, size, scene.geobox.shape, config.learn.windows, draw):
            share = _valid_share(scene, window)
            (good if share >= _MIN_VALID else poor).append(window)
            if share == 0.0:
                poor.pop()
        if len(good) >= config.learn.windows // 2:
            break
    if len(good) < config.learn.windows // 2:
        good += poor  # ground that is scattered: a few full windows alone would not speak for it
    windows = good or list(_search(scene, size))
    if not windows:
        raise RasterError(f"{scene.path} has no data in the bands {list(scene.bands)}: there is nothing to segment.")
    return windows[: config.learn.windows]


def _extent(scene: Scene) -> Window:
    """Return the window that holds the area of interest, or the whole scene."""
    whole = scene.geobox.window
    if scene.aoi is None:
        return whole
    to_pixels = ~scene.geobox.transform
    coords = shapely.get_coordinates(shapely.from_wkb(scene.aoi))
    cols, rows = np.array([to_pixels @ tuple(xy) for xy in coords]).T
    left, top = int(np.floor(cols.min())), int(np.floor(rows.min()))
    extent = Window(left, top, int(np.ceil(cols.max())) - left, int(np.ceil(rows.max())) - top)
    return extent.intersection(whole) or whole


def _spread(
    extent: Window, size: tuple[int, int], shape: tuple[int, int], n_windows: int, draw: np.random.Generator
) -> Iterator[Window]:
    """Yield windows, one at random in each cell of a lattice with about `n_windows` cells."""
    n_cols = max(1, round(np.sqrt(n_windows * extent.width / extent.height)))
    n_rows = max(1, round(n_windows / n_cols))
    cells = [(row, col) for row in range(n_rows) for col in range(n_cols)]
    for i in draw.permutation(len(cells)):  # in any order, so that the first ones are spread too
        row, col = cells[i] + draw.random(2)
        top = int(extent.row_off + row / n_rows * extent.height - size[0] / 2)
        left = int(extent.col_off + col / n_cols * extent.width - size[1] / 2)
        top, left = min(max(top, 0), shape[0] - size[0]), min(max(left, 0), shape[1] - size[1])
        yield Window(left, top, size[1], size[0])


def _search(scene: Scene, size: tuple[int, int]) -> Iterator[Window]:
    """Yield windows with data in a scene where a draw found none, piece by piece."""
    rows, cols = scene.geobox.shape
    grid = TileGrid((rows, cols), _SEARCHED, 0)
    for number in grid.touching(_extent(scene)):
        core = grid.tile(number).core
        try:
            _, valid = read(scene, core)
        except RasterError:
            continue
        if valid.any():
            row, col = np.argwhere(valid).mean(axis=0).astype(int)
            top = min(max(core.row_off + row - size[0] // 2, 0), rows - size[0])
            left = min(max(core.col_off + col - size[1] // 2, 0), cols - size[1])
            window = Window(int(left), int(top), size[1], size[0])
            if _valid_share(scene, window) > 0:
                yield window


def _valid_share(scene: Scene, window: Window) -> float:
    try:
        return float(read(scene, window)[1].mean())
    except RasterError as err:
        log.warning("%s", err)
        return 0.0


def _fit_stretch(scene: Scene, windows: list[Window]) -> Stretch:
    sample = []
    for window in windows:
        pixels, valid = read(scene, window)
        seen = pixels[:, valid]
        sample.append(seen[:, :: max(1, seen.shape[1] // _PIXELS_PER_WINDOW)])
    values = np.concatenate(sample, axis=1).astype(np.float64)
    low, high = np.percentile(values, _PERCENTILES, axis=1)
    even = low == high  # nearly all is of one value, and the little else must not be lost
    low, high = np.where(even, values.min(axis=1), low), np.where(even, values.max(axis=1), high)
    return Stretch(tuple(low.tolist()), tuple(high.tolist()))


def _fit_standard(scene: Scene, windows: list[Window], stretch: Stretch, config: Config) -> Standardizer:
    sample = []
    for window in windows:
        _, layers, valid = read_crop(scene, window, stretch, config.network.inputs)
        values = layers[:, valid]
        sample.append(values[:, :: max(1, values.shape[1] // _PIXELS_PER_WINDOW)])
    values = np.concatenate(sample, axis=1).astype(np.float64)
    deviation = np.maximum(values.std(axis=1), 1e-6)
    return Standardizer(tuple(values.mean(axis=1).tolist()), tuple(deviation.tolist()))


def _fit_superpixels(scene: Scene, windows: list[Window], stretch: Stretch, config: Config) -> Sizes:
    stretched = []
    for window in windows:
        pixels, valid = read(scene, window)
        stretched.append(contrast(stretch.apply(pixels, valid), valid))
    return fitted(config.superpixels, resolution=resolution(scene.geobox), contrast=float(np.mean(stretched)))
