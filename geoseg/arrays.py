"""Segmentation of arrays in memory: the same stages as for files, and pixel for pixel the same result."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoseg.config import Config
from geoseg.errors import ConfigError
from geoseg.output.model import Model, Origin, save_model
from geoseg.output.model_checks import check_fits
from geoseg.pipeline import run_stages
from geoseg.progress import ProgressCallback, ignore
from geoseg.raster.array_input import Place, affine_of, open_array, open_features_array
from geoseg.raster.array_scene import BandChoice
from geoseg.raster.band_roles import BandRoles
from geoseg.raster.scene import Scene
from geoseg.run.features_option import check_features_options
from geoseg.run.job import Job, Task
from geoseg.run.least_size import with_least_size
from geoseg.run.memory import MemoryFolder
from geoseg.run.options import array_settings, config_of
from geoseg.run.plan import blocks_of, tiles_of
from geoseg.run.products import (
    ATTRIBUTES,
    CLASS_MODEL,
    FEATURE_REDUCTION,
    NETWORK,
    OUTLINES,
    VERTEX_COUNTS,
    ZONAL_SUMS,
    ProductStore,
)
from geoseg.run.resources import pick_device
from geoseg.run.stages import Stages
from geoseg.segment.class_tree import ClassTree
from geoseg.steps import prepared_tile, vectorize
from geoseg.steps.tables import batches, cores, region_table
from geoseg.vectorize.regions import Regions

if TYPE_CHECKING:
    import geopandas


@dataclass(frozen=True, repr=False)
class Segmentation:
    """Classes, regions and polygons of an array.

    Parameters
    ----------
    job : Job
        The surveyed image with the products of all stages.
    region_list : Regions
        The regions of the image.
    crs : object
        CRS of the polygons, or None.

    Attributes
    ----------
    classes : (y, x) uint8 or uint16
        Class of each pixel, from 1; 0 = nodata.
    regions : (y, x) uint32
        Region of each pixel, from 1; 0 = nodata.
    superpixels : (y, x) int64
        Superpixel of each pixel, from 1; 0 = nodata.
    tree : ClassTree
        How clusters merge into classes.
    model : SceneModel
        Segments other images into the same classes.

    Examples
    --------
    >>> image = np.zeros((1, 70, 80), np.float32)
    >>> image[:, 30:] = 1
    >>> segmentation = segment_array(image, classes=2, method="kmeans")
    >>> segmentation.classes.shape, sorted(np.unique(segmentation.classes).tolist())
    ((70, 80), [1, 2])
    """

    job: Job
    region_list: Regions
    crs: Any

    def __repr__(self) -> str:
        rows, cols = self.job.scene.geobox.shape
        n_classes = len(np.unique(self.region_list.classes))
        return f"<Segmentation of {rows} x {cols} pixels: {len(self.region_list)} regions of {n_classes} classes>"

    @functools.cached_property
    def classes(self) -> NDArray[np.unsignedinteger[Any]]:
        """Class of each pixel, (y, x), from 1; 0 = nodata."""
        classes = self.region_list.classes
        return self._painted(classes, np.uint8 if classes.max(initial=0) <= 255 else np.uint16)

    @functools.cached_property
    def regions(self) -> NDArray[np.unsignedinteger[Any]]:
        """Region of each pixel, (y, x) uint32, from 1; 0 = nodata."""
        return self._painted(None, np.uint32)

    @functools.cached_property
    def superpixels(self) -> NDArray[np.int64]:
        """Superpixel of each pixel, (y, x) int64, from 1; 0 = nodata."""
        numbers = np.where(self.regions > 0, prepared_tile.superpixels_of(self.job, self.job.scene.geobox.window), -1)
        used, index = np.unique(numbers, return_inverse=True)
        return index.reshape(numbers.shape).astype(np.int64) + (0 if used[0] < 0 else 1)

    @property
    def tree(self) -> ClassTree:
        """How clusters merge into classes."""
        return self.job.store.get(CLASS_MODEL).tree

    @property
    def model(self) -> SceneModel:
        """The trained model, which segments other images into the same classes.

        Raises
        ------
        ConfigError
            If the method or the training has no network of the whole image.
        """
        if not self.job.store.has(NETWORK):
            raise ConfigError(
                "there is no network of the whole image to predict with. Use method backprop with training scene."
            )
        network, class_model = self.job.store.get(NETWORK).arrays, self.job.store.get(CLASS_MODEL)
        survey = replace(self.job.survey, windows=())
        features = None if self.job.features is None else self.job.store.get(FEATURE_REDUCTION)
        return SceneModel(Model(self.job.config, survey, network, class_model, Origin.of(self.job.scene), features))

    def polygons(
        self, *, simplify: float | None = None, smooth: bool | None = None, attributes: list[str] | None = None
    ) -> geopandas.GeoDataFrame:
        """Return the polygons of all regions, one row per region, with the columns of `segment_scene`.

        Parameters
        ----------
        simplify : float or None
            Tolerance in pixels; 0 = along the pixel edges, None = as in the config, which is 1 by default.
        smooth : bool or None
            Whether the staircase of pixels is smoothed; None = as in the config.
        attributes : list of str or None
            Columns, as in ``polygons.attributes`` of the config.

        Raises
        ------
        ConfigError
            If the tolerance is negative or there is no such column.
        """
        import geopandas  # here, because it takes most of a second to import
        import pyarrow as pa

        given = {"simplify": simplify, "smooth": smooth, "attributes": attributes}
        changes = {f"polygons__{name}": value for name, value in given.items() if value is not None}
        job = self._outlined(config_of(self.job.config, changes))
        tiles = list(tiles_of(job.scene, job.config))
        table, _ = region_table(job, tiles, self.region_list)
        parts, _ = vectorize.parts_of_run(job, tiles)
        frame = pa.Table.from_batches(list(batches(table, parts)), table.layer.schema).to_pandas()
        geometry = geopandas.GeoSeries.from_wkb(frame.pop("geometry"), crs=self.crs)
        return geopandas.GeoDataFrame(frame, geometry=geometry).sort_values("region", ignore_index=True)

    def _outlined(self, config: Config) -> Job:
        """Return the job with outlines for another config; this segmentation keeps its own."""
        if config.polygons == self.job.config.polygons:
            return self.job
        folder = self.job.store.folder
        if not isinstance(folder, MemoryFolder):
            raise TypeError("the products of a segmentation of an array are in memory")
        outlines = {product.folder for product in (ZONAL_SUMS, ATTRIBUTES, VERTEX_COUNTS, OUTLINES)}
        kept = {name: arrays for name, arrays in folder.arrays.items() if name not in outlines}
        job = replace(self.job, config=config, store=ProductStore(MemoryFolder(kept, dict(folder.documents))))
        vectorize.outline_tiles(job, _stages(job.store, job.scene, config, ignore))
        return job

    def _painted(self, column: NDArray[Any] | None, dtype: Any) -> NDArray[Any]:
        painted = np.zeros(self.job.scene.geobox.shape, dtype)
        tiles = tiles_of(self.job.scene, self.job.config)
        for core, values in cores(self.job, tiles, self.region_list, column):
            painted[core.within(self.job.scene.geobox.window)] = values
        return painted


@dataclass(frozen=True)
class SceneModel:
    """A trained model: it segments other images into the classes of the one that it was fitted to.

    Parameters
    ----------
    model : Model
        Network, stretch and classes.

    Examples
    --------
    >>> image = np.zeros((1, 70, 80), np.float32)
    >>> image[:, 30:] = 1
    >>> quick = {"learn": {"windows": 4, "crop": 32, "steps": 4}}
    >>> model = segment_array(image, classes=2, config=quick, device="cpu").model
    >>> model.predict(image, device="cpu")
    <Segmentation of 70 x 80 pixels: 2 regions of 2 classes>
    """

    model: Model

    def predict(
        self,
        image: Any,
        *,
        valid: ArrayLike | None = None,
        transform: Any = None,
        crs: Any = None,
        pixel_size: float | None = None,
        features: Any = None,
        **options: Any,
    ) -> Segmentation:
        """Segment another image into the same classes, without training.

        Parameters
        ----------
        image, valid, transform, crs, pixel_size, features
            As in `segment_array`; with the same bands.
        **options
            ``restretch=True`` fits the stretch to this image; ``device``; config values that the model does not
            determine, such as ``min_pixels`` and ``simplify``.

        Returns
        -------
        Segmentation

        Raises
        ------
        ModelError
            If the image or its features have other bands, or the image another type of values.
        """
        restretch = bool(options.pop("restretch", False))
        changes, device = array_settings(options)
        config = config_of(self.model.config, changes)
        place = Place(affine_of(transform), crs, pixel_size)
        scene, place = open_array(image, place, valid=valid, choice=_bands_of(config))
        config = with_least_size(config, scene.geobox)
        extra = _open_features(features, scene, config)
        check_fits(self.model, scene, extra)
        task = Task(_store(), scene, config, pick_device(device, config), self.model, restretch, extra)
        return _segmented(task, place, ignore)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the model to a .geoseg file, which ``geoseg tile --model`` and `segment_scene` take."""
        save_model(Path(path), self.model, overwrite=overwrite)


def segment_array(
    image: Any,
    *,
    valid: ArrayLike | None = None,
    transform: Any = None,
    crs: Any = None,
    pixel_size: float | None = None,
    features: Any = None,
    classes: int | Literal["auto"] | None = None,
    config: str | Path | dict[str, Any] | Config | None = None,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Segmentation:
    """Segment an image in memory.

    Parameters
    ----------
    image : (band, y, x) or (y, x) array_like, or xarray.DataArray
        Any real dtype. NaN, infinite and masked values are nodata. Of a DataArray, the CRS, the transform and the
        nodata value of rioxarray are used where they are present and not given here.
    valid : (y, x) bool or None
        False = nodata; None = all other pixels are valid.
    transform : Affine, sequence of 6 float, or None
        Pixel corner (col, row) → coordinates, as in rasterio; None = the coordinates are columns and rows.
    crs : object
        Anything that `pyproj.CRS` takes; None = coordinates without a CRS.
    pixel_size : float or None
        Side of a pixel in metres, where neither `transform` nor `crs` is given; None = 0.5 m. Superpixel parameters and
        areas depend on it.
    features : (band, y, x) or (y, x) array_like, xarray.DataArray, or None
        Values that take part in the classes, with ``feature_weight``, but not in the statistics and colours, such as
        the embeddings of a network. An array has one cell per pixel, or per square of k x k pixels; a DataArray with a
        CRS is placed by its coordinates.
    classes : int, "auto" or None
        At most this many classes; None = as in the config, which is 16 by default.
    config : str, Path, dict, Config or None
        As in `segment_scene`.
    progress : callable or None
        Receives the events of `geoseg.progress`.
    **options
        ``device``, and config values by name, such as ``seed``, ``min_pixels`` or ``method``.

    Returns
    -------
    Segmentation
        Pixel for pixel what `segment_scene` gives for a file with the same content.

    Raises
    ------
    RasterError
        If the image is not a real array of two or three dimensions, or no pixel is valid.
    ConfigError
        If an option is unknown or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.zeros((3, 80, 120), np.uint8)
    >>> image[:, :, 60:] = 200
    >>> segmentation = segment_array(image, classes=2, method="kmeans")
    >>> segmentation
    <Segmentation of 80 x 120 pixels: 2 regions of 2 classes>
    >>> segmentation.polygons()["pixels"].tolist()
    [4800, 4800]
    """
    changes, device = array_settings(options)
    chosen = config_of(config, changes | ({} if classes is None else {"classify__classes": classes}))
    place = Place(affine_of(transform), crs, pixel_size)
    scene, place = open_array(image, place, valid=valid, choice=_bands_of(chosen))
    chosen = with_least_size(chosen, scene.geobox)
    extra = _open_features(features, scene, chosen)
    task = Task(_store(), scene, chosen, pick_device(device, chosen), features=extra)
    return _segmented(task, place, progress or ignore)


def _open_features(features: Any, scene: Scene, config: Config) -> Scene | None:
    check_features_options(config, has_features=features is not None)
    if features is None:
        return None
    return open_features_array(features, scene, nodata_mode=config.nodata_mode)


def _segmented(task: Task, place: Place, progress: ProgressCallback) -> Segmentation:
    job, regions = run_stages(task, _stages(task.store, task.scene, task.config, progress))
    return Segmentation(job, regions, place.crs)


def _bands_of(config: Config) -> BandChoice:
    return BandChoice(config.bands, BandRoles.of(config), config.nodata_mode)


def _store() -> ProductStore:
    return ProductStore(MemoryFolder())


def _stages(store: ProductStore, scene: Scene, config: Config, progress: ProgressCallback) -> Stages:
    tiles = tiles_of(scene, config)
    rows, cols = scene.geobox.shape
    return Stages(store, tiles, blocks_of(scene, config, tiles), n_pixels=rows * cols, progress=progress)
