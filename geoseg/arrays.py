"""Segmentation of arrays in memory: the same stages as for files, and pixel for pixel the same result."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import ArrayLike, NDArray

from geoseg.config import Config
from geoseg.errors import ConfigError, RasterError
from geoseg.grid import GeoBox
from geoseg.output.model import Model, Origin, save_model
from geoseg.output.model_checks import check_fits
from geoseg.pipeline import run_stages
from geoseg.progress import ProgressCallback, ignore
from geoseg.raster.array_scene import BandChoice, scene_of_array
from geoseg.raster.scene import Scene
from geoseg.run.job import Job, Task
from geoseg.run.memory import MemoryFolder
from geoseg.run.options import array_settings, config_of
from geoseg.run.plan import blocks_of, pick_device, tiles_of
from geoseg.run.products import CLASS_MODEL, NETWORK, OUTLINES, VERTEX_COUNTS, ZONAL_SUMS, ProductStore
from geoseg.run.stages import Stages
from geoseg.segment.class_tree import ClassTree
from geoseg.steps import segment, vectorize
from geoseg.steps.tables import batches, cores, region_table
from geoseg.vectorize.regions import Regions

if TYPE_CHECKING:
    import geopandas

_PIXEL_SIZE = 0.5  # m; the published superpixel parameters suit it


@dataclass(frozen=True)
class Place:
    """Where an array lies.

    Parameters
    ----------
    transform : Affine or None
        Pixel corner (col, row) → coordinates; None = the coordinates are columns and rows.
    crs : object
        Anything that `pyproj.CRS` takes; None = coordinates without a CRS.
    pixel_size : float or None
        Side of a pixel in metres, where there is no CRS.
    """

    transform: Affine | None = None
    crs: Any = None
    pixel_size: float | None = None

    def geobox(self, shape: tuple[int, int]) -> GeoBox:
        """Return the grid of an array of `shape` (rows, cols).

        Raises
        ------
        RasterError
            If the CRS cannot be read, has no transform, or the transform is degenerate.
        ConfigError
            If a pixel size is given although the CRS or the transform defines it, or is not positive.
        """
        if self.transform is not None and self.transform.determinant == 0:
            raise RasterError(
                f"the transform {tuple(self.transform)[:6]} gives pixels without an area; give another one."
            )
        if self.crs is not None:
            if self.transform is None:
                raise RasterError("crs is given without transform, so the pixels have no coordinates. Give both.")
            self._refuse_pixel_size("crs")
            return GeoBox(shape, self.transform, _wkt(self.crs))
        if self.transform is not None:
            self._refuse_pixel_size("transform")
            return GeoBox(shape, self.transform, _local_crs(1.0))
        size = _PIXEL_SIZE if self.pixel_size is None else self.pixel_size
        if not (isinstance(size, int | float) and 0 < size < np.inf):
            raise ConfigError(f"pixel_size is {size!r}; expected metres above 0.")
        return GeoBox(shape, Affine.identity(), _local_crs(float(size)))

    def _refuse_pixel_size(self, name: str) -> None:
        if self.pixel_size is not None:
            raise ConfigError(f"pixel_size has no effect beside {name}, which defines the size of a pixel; omit it.")


@dataclass(frozen=True, repr=False)
class Segmentation:
    """Classes, regions and polygons of an array.

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
        lookup = np.concatenate([[0], self.region_list.classes])
        return self._painted(lookup, np.uint8 if lookup.max(initial=0) <= 255 else np.uint16)

    @functools.cached_property
    def regions(self) -> NDArray[np.unsignedinteger[Any]]:
        """Region of each pixel, (y, x) uint32, from 1; 0 = nodata."""
        return self._painted(np.arange(len(self.region_list) + 1), np.uint32)

    @functools.cached_property
    def superpixels(self) -> NDArray[np.int64]:
        """Superpixel of each pixel, (y, x) int64, from 1; 0 = nodata."""
        numbers = np.where(self.regions > 0, segment.superpixels_of(self.job, self.job.scene.geobox.window), -1)
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
        return SceneModel(Model(self.job.config, survey, network, class_model, Origin.of(self.job.scene)))

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
        outlines = {product.folder for product in (ZONAL_SUMS, VERTEX_COUNTS, OUTLINES)}
        kept = {name: arrays for name, arrays in folder.arrays.items() if name not in outlines}
        job = replace(self.job, config=config, store=ProductStore(MemoryFolder(kept, dict(folder.documents))))
        vectorize.outline_tiles(job, _stages(job.store, job.scene, config, ignore))
        return job

    def _painted(self, lookup: NDArray[Any], dtype: Any) -> NDArray[Any]:
        painted = np.zeros(self.job.scene.geobox.shape, dtype)
        tiles = tiles_of(self.job.scene, self.job.config)
        table = region_table(self.job, tiles, self.region_list)[0]
        for core, values in cores(table, lookup):
            painted[core.within(self.job.scene.geobox.window)] = values
        return painted


@dataclass(frozen=True)
class SceneModel:
    """A trained model: it segments other images into the classes of the one that it was fitted to.

    Parameters
    ----------
    model : Model
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
        **options: Any,
    ) -> Segmentation:
        """Segment another image into the same classes, without training.

        Parameters
        ----------
        image, valid, transform, crs, pixel_size
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
            If the image has other bands or another type of values.
        """
        restretch = bool(options.pop("restretch", False))
        changes, device = array_settings(options)
        config = config_of(self.model.config, changes)
        source, place = _unwrapped(image, Place(_affine(transform), crs, pixel_size))
        scene = _scene(source, place, valid, config)
        check_fits(self.model, scene)
        task = Task(_store(), scene, config, pick_device(device, config), self.model, restretch)
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
    source, place = _unwrapped(image, Place(_affine(transform), crs, pixel_size))
    scene = _scene(source, place, valid, chosen)
    return _segmented(Task(_store(), scene, chosen, pick_device(device, chosen)), place, progress or ignore)


def _segmented(task: Task, place: Place, progress: ProgressCallback) -> Segmentation:
    job, regions = run_stages(task, _stages(task.store, task.scene, task.config, progress))
    return Segmentation(job, regions, place.crs)


def _store() -> ProductStore:
    return ProductStore(MemoryFolder())


def _stages(store: ProductStore, scene: Scene, config: Config, progress: ProgressCallback) -> Stages:
    tiles = tiles_of(scene, config)
    rows, cols = scene.geobox.shape
    return Stages(store, tiles, blocks_of(scene, config, tiles), n_pixels=rows * cols, progress=progress)


@dataclass(frozen=True)
class _Source:
    """The values of an image, its nodata value and the names of its bands."""

    values: Any
    nodata: float | None = None
    names: tuple[str, ...] = ()


def _unwrapped(image: Any, place: Place) -> tuple[_Source, Place]:
    """Return the values of an image, and its place with what an xarray.DataArray knows of it."""
    if not (hasattr(image, "dims") and hasattr(image, "values")):
        return _Source(image), place
    names = tuple(str(name) for name in image.dims)
    if len(names) not in (2, 3):
        raise RasterError(f"the DataArray has the dimensions {names}; expected (band, y, x) or (y, x).")
    rio = getattr(image, "rio", None)  # there once rioxarray is imported
    if rio is None:
        return _Source(image.values), place
    has_place = place.transform is not None or place.crs is not None or rio.crs is None
    if not has_place:
        place = replace(place, transform=rio.transform(), crs=rio.crs.to_wkt())
    nodata = rio.encoded_nodata if rio.nodata is None else rio.nodata
    usable = nodata is not None and np.isfinite(nodata)
    return _Source(image.values, float(nodata) if usable else None, _band_names(image.attrs)), place


def _band_names(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    names = attributes.get("long_name", ())
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def _scene(source: _Source, place: Place, valid: ArrayLike | None, config: Config) -> Scene:
    shape = np.shape(source.values)
    if len(shape) not in (2, 3):
        raise RasterError(f"the image has the shape {shape}; expected (band, y, x) or (y, x).")
    return scene_of_array(
        source.values,
        place.geobox((int(shape[-2]), int(shape[-1]))),
        valid=valid,
        nodata=source.nodata,
        names=source.names,
        choice=BandChoice(config.bands, config.red, config.nir),
    )


def _affine(transform: Any) -> Affine | None:
    if transform is None or isinstance(transform, Affine):
        return transform
    try:
        return Affine(*[float(value) for value in transform][:6])
    except (TypeError, ValueError) as err:
        raise RasterError(
            f"transform is {transform!r}; expected an Affine or six numbers, as rasterio has them."
        ) from err


def _wkt(crs: Any) -> str:
    try:
        return str(pyproj.CRS.from_user_input(crs).to_wkt())
    except pyproj.exceptions.CRSError as err:
        raise RasterError(f"crs is {crs!r}, which pyproj cannot read: {' '.join(str(err).split())}") from err


def _local_crs(metres: float) -> str:
    """Return a CRS that is nowhere on the Earth, whose unit has so many metres."""
    unit = f'LENGTHUNIT["pixel",{metres!r}]'
    return f'ENGCRS["array",EDATUM["unknown"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],{unit}]'
