"""Read rasters window by window.

Pixels are read here and in `label_raster`, and nowhere else. A raster is described by a `Scene`, a small value that
is sent to the workers; each thread there opens the file itself (`read`).
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
import rasterio.windows
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geoseg.errors import RasterError
from geoseg.grid import GeoBox, Window
from geoseg.raster.alpha import AlphaBands, corrected_colours, find_alpha
from geoseg.raster.aoi import inside, read_aoi, touches_area
from geoseg.raster.band_roles import BandRoles, roles_in_use
from geoseg.raster.bands import BandDescriptions, VegetationBands
from geoseg.raster.collar import Collar
from geoseg.raster.dataset import dataset_of, files_of, geobox_of, opened, reading
from geoseg.raster.nodata import NodataMode, finite_and_valid, has_data
from geoseg.raster.wavelengths import band_wavelength, described_wavelengths, listed_wavelengths

log = logging.getLogger(__name__)

_MOSAIC_PART = 16  # px; a damaged window of a mosaic is read in parts of this size


class PixelSource(Protocol):
    """Pixels that do not come from a file; see `array_scene`."""

    def read(self, bands: tuple[int, ...], window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the pixels (band, y, x) float32 of a window and where each band has data, (band, y, x) bool."""
        ...


@dataclass(frozen=True)
class Scene:
    """A raster to be segmented: its location, grid and bands.

    Parameters
    ----------
    path : str
        File, or http(s) or s3 address. For pixels in memory a name used in messages.
    geobox : GeoBox
    bands : tuple of int
        Numbers of the bands in use, from 1.
    names : tuple of str
        Description of each of `bands`; "" where the raster has none.
    dtypes : tuple of str
        Data type of each of `bands`, such as "uint8".
    red_green_blue : (int, int, int)
        Positions in `bands` of the bands that are shown in these colours, by the rules of `band_roles`.
    vegetation : VegetationBands or None
        Positions in `bands` of red and near infrared; None = unknown.
    aoi : bytes or None
        Area of interest as WKB in the CRS of the scene. A pixel whose centre is outside is not valid. None = all.
    files : tuple of str
        Every file of the raster.
    source : PixelSource or None
        Pixels in memory; None = the file at `path`.
    alpha : tuple of int
        Numbers of the alpha bands of the file; a pixel that is 0 in one of them is not valid.
    nodata : tuple of float or None
        Nodata value of each of `bands`; None = none.
    nodata_mode : {"all", "any"}
        Whether nodata in all bands or in any band makes a pixel nodata.
    notes : tuple of str
        What the user should know about how the bands are used.
    colour_rule : str
        How `red_green_blue` was found, such as "by description".
    collar : Collar or None
        Fill values around the data, which are not valid; None = not searched for.
    """

    path: str
    geobox: GeoBox
    bands: tuple[int, ...]
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    red_green_blue: tuple[int, int, int]
    vegetation: VegetationBands | None
    aoi: bytes | None
    files: tuple[str, ...]
    source: PixelSource | None = None
    alpha: tuple[int, ...] = ()
    nodata: tuple[float | None, ...] = ()
    nodata_mode: NodataMode = "all"
    notes: tuple[str, ...] = ()
    colour_rule: str = ""
    collar: Collar | None = None


def open_scene(
    path: str | Path,
    *,
    bands: tuple[int, ...] = (),
    aoi: str | Path | None = None,
    roles: BandRoles | None = None,
    nodata_mode: NodataMode = "all",
    allow_no_crs: bool = False,
) -> Scene:
    """Return the description of a raster file, after checking that it can be segmented.

    Parameters
    ----------
    path : str or Path
        GeoTIFF or another format of `dataset.DRIVERS`; a .vrt over local files; an http(s) or s3 address.
    bands : tuple of int
        Band numbers from 1. Empty = all except alpha.
    aoi : str, Path or None
        Vector file with polygons. Pixels outside are not valid.
    roles : BandRoles or None
        What the user states of the bands; None = nothing.
    nodata_mode : {"all", "any"}
        As in `Scene`.
    allow_no_crs : bool
        As in `dataset.geobox_of`.

    Raises
    ------
    RasterError
        If the file is missing, unreadable or not georeferenced, has complex or palette bands, or lacks a given band; if
        only one of the bands of NDVI is known.
    """
    with opened(str(path), reload=True) as src:
        found = find_alpha(src)
        chosen = _choose_bands(src, str(path), bands, found)
        geobox = geobox_of(src, str(path), allow_no_crs=allow_no_crs)
        described = _describe_bands(src, chosen, found)
        dtypes = tuple(src.dtypes[band - 1] for band in chosen)
        used = roles_in_use(described, str(path), roles or BandRoles())
        files = files_of(src, str(path))
        nodata_of_all = src.nodatavals
        nodata = tuple(nodata_of_all[band - 1] for band in chosen)
    area = None if aoi is None else read_aoi(Path(aoi), geobox)
    scene = Scene(str(path), geobox, chosen, described.names, dtypes, used.red_green_blue, used.vegetation, area, files)
    alpha = tuple(band for band in found.used if band not in chosen)
    notes = (*used.notes, *(_note_on(band, scene) for band in found.mistaken if band not in bands))
    return replace(scene, alpha=alpha, nodata=nodata, nodata_mode=nodata_mode, notes=notes, colour_rule=used.rule)


def read(scene: Scene, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the pixels of a window and which of them are valid.

    Returns
    -------
    pixels : (band, y, x) float32
        Values as stored; 0 where not valid.
    valid : (y, x) bool
        False = nodata by the rule of `raster.nodata`.

    Raises
    ------
    RasterError
        If the file is damaged there.
    """
    pixels, known = read_bands(scene, window)
    valid = finite_and_valid(pixels, known, scene.nodata_mode)
    return np.where(valid, pixels, np.float32(0)), valid


def read_bands(scene: Scene, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the pixels of a window and where each band has data.

    Returns
    -------
    pixels : (band, y, x) float32
        Values as stored.
    known : (band, y, x) bool, perhaps read-only
        False = nodata or masked in that band, transparent, in the collar, or outside the area of interest. Values that
        are not finite are not looked for.

    Raises
    ------
    RasterError
        If the file is damaged there.
    """
    pixels, known = _read_file(scene, window) if scene.source is None else scene.source.read(scene.bands, window)
    if scene.aoi is not None:
        known = known & inside(scene.aoi, scene.geobox.cropped(window))
    if scene.collar is not None and scene.collar.fills:
        known = known & ~scene.collar.within(window)
    return pixels, known


def read_tolerant(
    scene: Scene, window: Window, *, core: Window | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the pixels of a window as `read` does; damaged pixels outside `core` are not valid.

    Parameters
    ----------
    scene : Scene
    window : Window
    core : Window or None
        Part of `window` that must be readable; None = none of it.

    Raises
    ------
    RasterError
        If the core is damaged.
    """
    with contextlib.suppress(RasterError):
        return read(scene, window)
    pixels = np.zeros((len(scene.bands), *window.shape), np.float32)
    valid = np.zeros(window.shape, bool)
    for part in _parts(window, _block_shape(scene)):
        inner = part.within(window)
        pixels[:, *inner], valid[inner] = _read_part(scene, part, core)
    return pixels, valid


def touches(scene: Scene, window: Window) -> bool:
    """Return True if a window overlaps the area of interest, or there is none."""
    return scene.aoi is None or touches_area(scene.aoi, scene.geobox.cropped(window))


def _describe_bands(src: Any, bands: tuple[int, ...], alpha: AlphaBands) -> BandDescriptions:
    positions = [band - 1 for band in bands]
    colours = corrected_colours(src, alpha.mistaken)
    descriptions, scales, offsets = src.descriptions, src.scales, src.offsets  # each asks all bands
    names = tuple((descriptions[i] or "").strip() for i in positions)
    return BandDescriptions(
        bands,
        names=names,
        colours=tuple(colours[i] for i in positions),
        scales=tuple(scales[i] for i in positions),
        offsets=tuple(offsets[i] for i in positions),
        wavelengths=_wavelengths(src, bands, names),
        n_bands=src.count - len(alpha.used),
    )


def _wavelengths(src: Any, bands: tuple[int, ...], names: tuple[str, ...]) -> tuple[float | None, ...]:
    """Return the wavelengths of bands in nm by their descriptions, else by their metadata or that of the raster."""
    listed = listed_wavelengths(src.tags(ns="ENVI") | src.tags(), src.count)
    of_metadata = (
        band_wavelength(src.tags(band) | src.tags(band, ns="IMAGERY")) or (listed[band - 1] if listed else None)
        for band in bands
    )
    return tuple(described or other for described, other in zip(described_wavelengths(names), of_metadata, strict=True))


def _note_on(band: int, scene: Scene) -> str:
    """Return what the user should know of a band that is mistaken for alpha."""
    vegetation = scene.vegetation
    is_nir = vegetation is not None and band in scene.bands and scene.bands.index(band) == vegetation.nir
    use = "near infrared" if is_nir else "a band like the others" if band in scene.bands else "neither band nor alpha"
    return (
        f"band {band} of {scene.path} is flagged as alpha, but has the values of a measurement; it is used as {use}. "
        "If it is transparency, set its description to alpha."
    )


def _read_file(scene: Scene, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    part = rasterio.windows.Window(*window)
    with reading(scene.path, window) as handle:
        pixels = np.empty((len(scene.bands), *window.shape), np.float32)
        kinds = _by_dtype(scene.dtypes)
        for positions in kinds:
            bands = [scene.bands[i] for i in positions]
            if len(kinds) == 1:
                handle.read(bands, window=part, out=pixels)
            else:
                pixels[positions] = handle.read(bands, window=part, out_dtype=np.float32)
        return pixels, has_data(handle, scene.bands, part, pixels, alpha=scene.alpha)


def _by_dtype(dtypes: tuple[str, ...]) -> list[list[int]]:
    """Return the positions of the bands of each data type; rasterio reads only bands of one type at once."""
    return [[i for i, dtype in enumerate(dtypes) if dtype == one] for one in dict.fromkeys(dtypes)]


def _block_shape(scene: Scene) -> tuple[int, int]:
    """Return the (rows, cols) of the unit that is either readable or damaged."""
    handle = dataset_of(scene.path)
    rows, cols = handle.block_shapes[0]
    # The blocks of a mosaic are not those of its files.
    return (_MOSAIC_PART, _MOSAIC_PART) if handle.driver == "VRT" else (int(rows), int(cols))


def _parts(window: Window, shape: tuple[int, int]) -> list[Window]:
    """Split a window at the block boundaries of a raster with blocks of `shape`."""
    rows, cols = (
        sorted({begin, *range(begin - begin % step + step, end, step), end})
        for begin, end, step in (
            (window.row_off, window.row_end, shape[0]),
            (window.col_off, window.col_end, shape[1]),
        )
    )
    return [
        Window(left, top, right - left, bottom - top)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(cols)
    ]


def _read_part(scene: Scene, part: Window, core: Window | None) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a part of a damaged window: all of it, or only its pixels in the core, which must be readable."""
    try:
        return read(scene, part)
    except RasterError as err:
        log.info("%s", err)
    pixels = np.zeros((len(scene.bands), *part.shape), np.float32)
    valid = np.zeros(part.shape, bool)
    required = None if core is None else part.intersection(core)
    if required is not None:
        inner = required.within(part)
        pixels[:, *inner], valid[inner] = read(scene, required)
    return pixels, valid


def _choose_bands(src: Any, path: str, wanted: tuple[int, ...], alpha: AlphaBands) -> tuple[int, ...]:
    missing = [band for band in wanted if band not in src.indexes]
    if missing:
        raise RasterError(f"{path} has bands 1 to {src.count}; there is no band {missing[0]}. Choose among them.")
    bands = wanted or tuple(band for band in src.indexes if band not in alpha.used)
    if not bands:
        raise RasterError(f"{path} has only alpha bands, so there is nothing to segment.")
    colours = src.colorinterp
    for band in bands:
        dtype = src.dtypes[band - 1]
        if "complex" in dtype:
            raise RasterError(
                f"{path} has complex numbers ({dtype}) in band {band}. Take their magnitude first: "
                f"gdal_calc.py -A {path} --calc 'abs(A)' --type Float32 --outfile magnitude.tif"
            )
        if colours[band - 1] == ColorInterp.palette:
            raise RasterError(
                f"{path} has palette indices in band {band}, not measurements. "
                f"Expand them first: gdal_translate -expand rgb {path} rgb.tif"
            )
    return bands
