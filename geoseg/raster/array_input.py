"""Images as users have them: arrays with or without coordinates, and xarray.DataArray."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import ArrayLike

from geoseg.errors import ConfigError, RasterError
from geoseg.grid import GeoBox
from geoseg.raster.array_scene import BandChoice, scene_of_array
from geoseg.raster.features_raster import check_features
from geoseg.raster.nodata import NodataMode
from geoseg.raster.placement import check_placement
from geoseg.raster.scene import Scene

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
            geobox = GeoBox(shape, self.transform, _wkt(self.crs))
            check_placement(geobox, "the image")
            return geobox
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


def open_array(
    image: Any, place: Place, *, valid: ArrayLike | None = None, choice: BandChoice | None = None
) -> tuple[Scene, Place]:
    """Return the scene of an image, and its place with the CRS and the transform of an xarray.DataArray.

    Parameters
    ----------
    image : (band, y, x) or (y, x) array_like, or xarray.DataArray
    place : Place
    valid : (y, x) bool or None
    choice : BandChoice or None

    Raises
    ------
    RasterError
        If the image is not a real array of two or three dimensions.
    """
    source, place = _unwrapped(image, place)
    shape = np.shape(source.values)
    if len(shape) not in (2, 3):
        raise RasterError(f"the image has the shape {shape}; expected (band, y, x) or (y, x).")
    geobox = place.geobox((int(shape[-2]), int(shape[-1])))
    scene = scene_of_array(
        source.values, geobox, valid=valid, nodata=source.nodata, names=source.names, choice=choice or BandChoice()
    )
    return scene, place


def open_features_array(features: Any, scene: Scene, *, nodata_mode: NodataMode = "all") -> Scene:
    """Return a features raster whose cells are in memory, after checking that it suits a scene.

    Parameters
    ----------
    features : (band, y, x) or (y, x) array_like, or xarray.DataArray
        Without a CRS of its own it covers the scene, with one cell for each pixel or for each square of k x k pixels.
    scene : Scene
    nodata_mode : {"all", "any"}
        As in `features_raster.open_features`.

    Raises
    ------
    RasterError
        If it is not a real array of two or three dimensions, its shape does not fit the scene, or `check_features`
        fails.
    """
    source, place = _unwrapped(features, Place())
    shape = np.shape(source.values)
    if len(shape) not in (2, 3):
        raise RasterError(f"features have the shape {shape}; expected (band, y, x) or (y, x).")
    if place.crs is None:
        size = _cell_size(scene.geobox.shape, shape)
        geobox = GeoBox((shape[-2], shape[-1]), scene.geobox.transform @ Affine.scale(size), scene.geobox.crs)
    else:
        geobox = place.geobox((shape[-2], shape[-1]))
    choice = BandChoice(nodata_mode=nodata_mode)
    opened = scene_of_array(source.values, geobox, nodata=source.nodata, names=source.names, choice=choice)
    opened = replace(opened, path="the array of features")
    check_features(opened, scene)
    return opened


def _cell_size(scene: tuple[int, int], features: tuple[int, ...]) -> int:
    """Return the side of a cell in pixels."""
    size = max(scene[0] // max(features[-2], 1), 1)
    if tuple(size * n for n in features[-2:]) != scene:
        raise RasterError(
            f"features have the shape {features}, and the image has {scene[0]} x {scene[1]} pixels; expected as many "
            "cells, or one for each square of k x k pixels. Give a DataArray with a CRS, whose coordinates place it."
        )
    return size


def affine_of(transform: Any) -> Affine | None:
    """Return an Affine of six numbers, or of an Affine; None stays None.

    Raises
    ------
    RasterError
        If it is neither.
    """
    if transform is None or isinstance(transform, Affine):
        return transform
    try:
        return Affine(*[float(value) for value in transform][:6])
    except (TypeError, ValueError) as err:
        raise RasterError(
            f"transform is {transform!r}; expected an Affine or six numbers, as rasterio has them."
        ) from err


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
        return _Source(image.values, names=_band_names(image)), place
    has_place = place.transform is not None or place.crs is not None or rio.crs is None
    if not has_place:
        place = replace(place, transform=rio.transform(), crs=rio.crs.to_wkt())
    nodata = rio.encoded_nodata if rio.nodata is None else rio.nodata
    usable = nodata is not None and np.isfinite(nodata)
    return _Source(image.values, float(nodata) if usable else None, _band_names(image)), place


def _band_names(image: Any) -> tuple[str, ...]:
    """Return the names of the bands of a DataArray, from `long_name` or from the coordinates of its first dimension."""
    names = getattr(image, "attrs", {}).get("long_name", ())
    if isinstance(names, list | tuple) and names:
        return tuple(map(str, names))
    coords, dims = getattr(image, "coords", {}), image.dims
    values = coords[dims[0]].values.tolist() if len(dims) == 3 and dims[0] in coords else []
    return tuple(values) if all(isinstance(value, str) for value in values) else ()


def _wkt(crs: Any) -> str:
    try:
        return str(pyproj.CRS.from_user_input(crs).to_wkt())
    except pyproj.exceptions.CRSError as err:
        raise RasterError(f"crs is {crs!r}, which pyproj cannot read: {' '.join(str(err).split())}") from err


def _local_crs(metres: float) -> str:
    """Return a CRS that is nowhere on the Earth, whose unit has so many metres."""
    unit = f'LENGTHUNIT["pixel",{metres!r}]'
    return f'ENGCRS["array",EDATUM["unknown"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],{unit}]'
