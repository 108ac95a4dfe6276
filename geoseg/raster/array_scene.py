"""Scenes whose pixels are in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rasterio.enums import ColorInterp

from geoseg.errors import RasterError
from geoseg.grid import GeoBox, Window
from geoseg.raster.alpha import is_named_alpha
from geoseg.raster.band_roles import BandRoles, roles_in_use
from geoseg.raster.bands import BandDescriptions
from geoseg.raster.nodata import NodataMode
from geoseg.raster.scene import Scene
from geoseg.raster.wavelengths import described_wavelengths

NAME = "the array"  # stands in messages where the path of a file would
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class ArrayPixels:
    """Pixels in memory, a `PixelSource`. Two are equal only if they are the same object.

    Parameters
    ----------
    values : (band, y, x)
        Any real dtype; not copied.
    valid : (y, x) bool or None
        False = not valid; None = all valid.
    nodata : float or None
        Value of bands without data; None = no such value.
    alpha : tuple of int
        Numbers of the bands that are 0 where a pixel is not valid.
    """

    values: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    nodata: float | None = None
    alpha: tuple[int, ...] = ()

    def read(self, bands: tuple[int, ...], window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the pixels (band, y, x) float32 of a window and where each band has data, (band, y, x) bool."""
        inner = window.within(Window(0, 0, self.values.shape[2], self.values.shape[1]))
        values = self.values[:, *inner][[band - 1 for band in bands]]
        known = np.broadcast_to(True if self.valid is None else self.valid[inner], values.shape)
        if isinstance(values, np.ma.MaskedArray):
            known = known & ~np.ma.getmaskarray(values)
            values = values.data
        if self.nodata is not None:
            known = known & (values != self.nodata)
        for band in self.alpha:
            known = known & (np.ma.getdata(self.values)[band - 1][inner] > 0)
        return _as_float32(values), known


@dataclass(frozen=True)
class BandChoice:
    """Which bands of an image to use, as in `open_scene`.

    Parameters
    ----------
    bands : tuple of int
        Band numbers from 1. Empty = all but one that is named alpha.
    roles : BandRoles
        What the user states of the bands.
    nodata_mode : {"all", "any"}
        As in `Scene`.
    """

    bands: tuple[int, ...] = ()
    roles: BandRoles = field(default_factory=BandRoles)
    nodata_mode: NodataMode = "all"


def scene_of_array(
    image: ArrayLike,
    geobox: GeoBox,
    *,
    valid: ArrayLike | None = None,
    nodata: float | None = None,
    names: tuple[str, ...] = (),
    choice: BandChoice = BandChoice(),
) -> Scene:
    """Return a scene whose pixels are in memory; it is read like one of a file with the same values.

    Parameters
    ----------
    image : (band, y, x) or (y, x) array_like
        Any real dtype. A masked array is not valid where a file with this mask would not be. It is not copied, and
        must not change while the scene is in use.
    geobox : GeoBox
        Of the same (y, x) shape.
    valid : (y, x) bool or None
        False = not valid. None = all valid. NaN and infinite values are not valid in any case.
    nodata : float or None
        Value of bands without data, see `raster.nodata`. None = no such value.
    names : tuple of str
        Description of each band of `image`, such as "red" or "B08". Empty = none.
    choice : BandChoice

    Raises
    ------
    RasterError
        If the dtype is not numeric or is complex, if shapes differ, or if a chosen band does not exist.

    Examples
    --------
    >>> from affine import Affine
    >>> from geoseg.raster.scene import read
    >>> geobox = GeoBox((1, 2), Affine.identity(), "EPSG:32631")
    >>> scene = scene_of_array([[[1.5, np.nan]]], geobox)
    >>> read(scene, geobox.window)
    (array([[[1.5, 0. ]]], dtype=float32), array([[ True, False]]))
    """
    values = _checked_values(image, geobox)
    described = _describe_bands(len(values), names, choice.bands)
    alpha = tuple(band for band in _named_alpha(names) if band not in described.numbers)
    used = roles_in_use(described, NAME, choice.roles)
    return Scene(
        NAME,
        geobox,
        described.numbers,
        described.names,
        dtypes=(values.dtype.name,) * len(described.numbers),
        red_green_blue=used.red_green_blue,
        vegetation=used.vegetation,
        aoi=None,
        files=(),
        source=ArrayPixels(values, _checked_valid(valid, geobox), nodata, alpha),
        alpha=alpha,
        nodata=(nodata,) * len(described.numbers),
        nodata_mode=choice.nodata_mode,
        notes=used.notes,
        colour_rule=used.rule,
    )


def _describe_bands(n_bands: int, names: tuple[str, ...], wanted: tuple[int, ...]) -> BandDescriptions:
    bands = wanted or tuple(band for band in range(1, n_bands + 1) if band not in _named_alpha(names))
    if missing := [band for band in bands if not 1 <= band <= n_bands]:
        raise RasterError(f"{NAME} has bands 1 to {n_bands}; there is no band {missing[0]}. Choose among them.")
    if names and len(names) != n_bands:
        raise RasterError(f"{NAME} has {n_bands} bands and {len(names)} names; give one name for each band.")
    chosen = tuple(names[band - 1].strip() if names else "" for band in bands)
    return BandDescriptions(
        bands,
        names=chosen,
        colours=(ColorInterp.undefined,) * len(bands),
        scales=(1.0,) * len(bands),
        offsets=(0.0,) * len(bands),
        wavelengths=described_wavelengths(chosen),
        n_bands=n_bands - len(_named_alpha(names)),
    )


def _named_alpha(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(band for band, name in enumerate(names, start=1) if is_named_alpha(name))


def _checked_values(image: ArrayLike, geobox: GeoBox) -> NDArray[Any]:
    values: NDArray[Any] = np.asanyarray(image)
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[1:] != geobox.shape or values.size == 0:
        raise RasterError(
            f"{NAME} has the shape {np.shape(image)}; expected (band, {geobox.shape[0]}, {geobox.shape[1]}), with at "
            "least one band and one pixel. Move a last axis of bands to the front: np.moveaxis(image, -1, 0)"
        )
    if values.dtype.kind == "c":
        raise RasterError(f"{NAME} has complex numbers ({values.dtype}). Take their magnitude first: np.abs(image)")
    if values.dtype.kind not in "buif":
        raise RasterError(f"{NAME} has the dtype {values.dtype}; expected integers or floating point numbers.")
    return values.view(np.uint8) if values.dtype == bool else values


def _checked_valid(valid: ArrayLike | None, geobox: GeoBox) -> NDArray[np.bool_] | None:
    if valid is None:
        return None
    mask = np.asarray(valid)
    if mask.shape != geobox.shape or mask.dtype.kind not in "bui":
        raise RasterError(
            f"valid has the shape {mask.shape} and the dtype {mask.dtype}; expected {geobox.shape} and bool, one "
            "value per pixel."
        )
    return mask.astype(bool)


def _as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return the values as GDAL converts them: those beyond the range of float32 become infinite."""
    if values.dtype.kind == "f" and values.dtype.itemsize > 4:
        values = np.where(np.abs(values) > _FLOAT32_MAX, np.copysign(np.inf, values), values)
    return values.astype(np.float32)
