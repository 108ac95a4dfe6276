"""Jobs: what the functions of a stage need to know. They are small, since workers receive them with every batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from geoseg.config import Config
from geoseg.grid import TileGrid
from geoseg.output.model import Model
from geoseg.raster.label_raster import LabelRaster
from geoseg.raster.scene import Scene
from geoseg.raster.values_raster import ValuesRaster
from geoseg.run.products import ProductStore
from geoseg.segment import superpixels
from geoseg.segment.survey import Survey


def tile_grid(shape: tuple[int, int], config: Config) -> TileGrid:
    """Return the tiles of a scene of `shape` (rows, cols)."""
    return TileGrid(shape, config.tiles.size, config.halo)


def block_grid(shape: tuple[int, int]) -> TileGrid:
    """Return the blocks in which the superpixels of a scene of `shape` (rows, cols) are computed."""
    return TileGrid(shape, superpixels.BLOCK, superpixels.BLOCK_MARGIN)


@dataclass(frozen=True)
class Task:
    """A scene to segment, before its survey.

    Parameters
    ----------
    store : ProductStore
    scene : Scene
    config : Config
    device : {"cpu", "cuda", "mps"}
    model : Model or None
        A saved model that replaces the survey, the training and the search for classes; None = all three are done.
    restretch : bool
        Whether the stretch is fitted to the scene although a model is given.
    features : Scene or None
        Features raster, see `raster.features_raster`; None = the scene's own features alone.
    rasters : tuple of ValuesRaster
        Rasters whose statistics become columns.
    """

    store: ProductStore
    scene: Scene
    config: Config
    device: str = "cpu"
    model: Model | None = None
    restretch: bool = False
    features: Scene | None = None
    rasters: tuple[ValuesRaster, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read, but for the area of interest and the model."""
        others = [*(() if self.features is None else [self.features]), *(raster.source for raster in self.rasters)]
        return (*self.scene.files, *(file for source in others for file in source.files))


@dataclass(frozen=True)
class Job:
    """A surveyed scene: what every later stage needs to know.

    Parameters
    ----------
    store : ProductStore
    scene : Scene
    config : Config
    survey : Survey
    device : {"cpu", "cuda", "mps"}
    features : Scene or None
        Features raster; None = the scene's own features alone.
    rasters : tuple of ValuesRaster
        As in `Task`.
    """

    store: ProductStore
    scene: Scene
    config: Config
    survey: Survey
    device: str
    features: Scene | None = None
    rasters: tuple[ValuesRaster, ...] = ()

    @property
    def tiles(self) -> TileGrid:
        """The tiles of the scene."""
        return tile_grid(self.scene.geobox.shape, self.config)

    @property
    def blocks(self) -> TileGrid:
        """The blocks in which superpixels are computed; they do not depend on the tiles."""
        return block_grid(self.scene.geobox.shape)


@dataclass(frozen=True)
class LabelJob:
    """A raster of labels to outline.

    Parameters
    ----------
    store : ProductStore
    config : Config
    source : LabelRaster
    values : Scene or None
        Raster on the same grid for zonal statistics; None = no statistics.
    rasters : tuple of ValuesRaster
        As in `Task`.
    """

    store: ProductStore
    config: Config
    source: LabelRaster
    values: Scene | None
    rasters: tuple[ValuesRaster, ...] = ()

    @property
    def scene(self) -> Scene:
        """The grid of the labels."""
        return self.source.grid

    @property
    def tiles(self) -> TileGrid:
        """The tiles of the raster."""
        return tile_grid(self.source.geobox.shape, self.config)

    @property
    def uses_features(self) -> bool:
        """Whether mean values decide which neighbour a small region joins."""
        return self.values is not None and self.config.polygons.min_pixels > 1


class MapJob(Protocol):
    """What the stages from a class map to polygons need to know: a `Job` or a `LabelJob`."""

    @property
    def store(self) -> ProductStore:
        """The stored products."""

    @property
    def scene(self) -> Scene:
        """The raster on whose grid the map lies."""

    @property
    def config(self) -> Config:
        """The configuration."""

    @property
    def rasters(self) -> tuple[ValuesRaster, ...]:
        """Rasters whose statistics become columns."""

    @property
    def tiles(self) -> TileGrid:
        """The tiles of the scene."""
