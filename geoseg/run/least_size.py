"""The smallest size of a region, in pixels of the scene."""

from __future__ import annotations

import math
from dataclasses import replace

from geoseg.config import Config
from geoseg.errors import ConfigError
from geoseg.grid import GeoBox
from geoseg.raster.pixel_size import resolution

_ROUNDING = 1e-6  # relative; an area of exactly n pixels is n pixels


def with_least_size(config: Config, geobox: GeoBox) -> Config:
    """Return a config whose `polygons.min_pixels` follows from `polygons.min_area`, where that is given.

    Parameters
    ----------
    config : Config
    geobox : GeoBox
        Of the scene. The area of a pixel is that in the middle row; it varies with the latitude in a geographic CRS.

    Raises
    ------
    ConfigError
        If the area of a pixel is unknown, or larger than the smallest area.
    """
    least = config.polygons.min_area
    if least is None:
        return config
    area = resolution(geobox) ** 2
    if area == 0:
        raise ConfigError(
            "min_area is in m², and the area of a pixel of the scene is unknown. Give min_pixels instead."
        )
    n_pixels = math.ceil(least / area * (1 - _ROUNDING))
    if least < area * (1 - _ROUNDING):
        raise ConfigError(
            f"min_area is {least:g} m², less than a pixel of the scene ({area:.4g} m²), so no region would be merged. "
            f"Give a larger area, or min_pixels 0 to keep every region."
        )
    return replace(config, polygons=replace(config.polygons, min_pixels=n_pixels))


def least_size_note(config: Config) -> str | None:
    """Return what the user should know of the smallest area of a config from `with_least_size`; None = nothing."""
    least, n_pixels = config.polygons.min_area, config.polygons.min_pixels
    return None if least is None else f"the smallest area of {least:g} m² is {n_pixels} pixels of the scene"
