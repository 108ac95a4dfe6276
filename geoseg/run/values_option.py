"""The option of rasters of values: how it is written, what it cannot be, and its part of the identity of a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg.config_parser import shown
from geoseg.errors import ConfigError
from geoseg.output.value_columns import column_names
from geoseg.raster.nodata import NodataMode
from geoseg.raster.scene import Scene
from geoseg.raster.values_raster import ValuesRaster, check_overlap, open_values

_NAME = re.compile(r"(?P<path>..+):(?P<name>[A-Za-z]\w{0,39})", re.DOTALL | re.ASCII)
_MAJORITY = ":majority"


@dataclass(frozen=True)
class ValuesOption:
    """A raster of values as it is given.

    Parameters
    ----------
    path : str
    name : str
        Begin of the names of its columns; "" = none is given.
    majority : bool
        Whether its values are categories.
    """

    path: str
    name: str = ""
    majority: bool = False

    @classmethod
    def parse(cls, text: str) -> ValuesOption:
        """Return the option from FILE, FILE:NAME, FILE:NAME:majority or FILE:majority.

        Examples
        --------
        >>> ValuesOption.parse("dem.tif:height")
        ValuesOption(path='dem.tif', name='height', majority=False)
        >>> ValuesOption.parse("/vsicurl/https://host/crops.tif:crop:majority").name
        'crop'
        """
        if Path(text).exists():
            return cls(text)
        majority = text.endswith(_MAJORITY)
        rest = text.removesuffix(_MAJORITY)
        found = None if Path(rest).exists() else _NAME.fullmatch(rest)
        return cls(rest, majority=majority) if found is None else cls(found["path"], found["name"], majority)

    @property
    def column(self) -> str:
        """The name, or else that of the file in letters, digits and underscores."""
        stem = re.sub(r"\W+", "_", Path(self.path).stem, flags=re.ASCII).strip("_")[:40]
        return self.name or (stem if stem[:1].isalpha() else f"v{stem}")


def split_values(texts: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Return the raster without a name, which lies on the grid of labels, or None; and the others.

    Raises
    ------
    ConfigError
        If several have no name.

    Examples
    --------
    >>> split_values(["scene.tif", "dem.tif:height"])
    ('scene.tif', ('dem.tif:height',))
    """
    is_named = [bool(option.name or option.majority) for option in map(ValuesOption.parse, texts)]
    plain = [text for text, named in zip(texts, is_named, strict=True) if not named]
    if len(plain) > 1:
        raise ConfigError(
            f"{plain[0]} and {plain[1]} are both values without a name, and only one raster gives the columns mean_n "
            f"and the colours. Name the others, as in {plain[1]}:NAME."
        )
    return (plain[0] if plain else None), tuple(text for text, named in zip(texts, is_named, strict=True) if named)


def open_values_of(texts: Sequence[str], grid: Scene, nodata_mode: NodataMode) -> tuple[ValuesRaster, ...]:
    """Return the descriptions of rasters of values, after checking that they suit a scene or labels.

    Parameters
    ----------
    texts : sequence of str
        As for `ValuesOption.parse`.
    grid : Scene
    nodata_mode : {"all", "any"}

    Raises
    ------
    ConfigError
        If two have the same name, or columns of that name exist.
    RasterError
        If one cannot be read or does not overlap.
    """
    options = [ValuesOption.parse(text) for text in texts]
    rasters: list[ValuesRaster] = []
    taken = {"ndvi_mean": "geoseg itself"}
    for option in options:
        raster = open_values(option.path, option.column, majority=option.majority, nodata_mode=nodata_mode)
        check_overlap(raster, grid.geobox, grid.path)
        for name in column_names(raster):
            if name.casefold() in taken:  # a GeoPackage has no columns that differ in case alone
                owner = taken[name.casefold()]
                raise ConfigError(
                    f"the values {shown(option.path)} would be the column {name}, which is taken by {owner}. "
                    f"Name them, as in {option.path}:NAME."
                )
            taken[name.casefold()] = option.path
        rasters.append(raster)
    return tuple(rasters)


def values_identity(rasters: Sequence[ValuesRaster]) -> list[dict[str, Any]]:
    """Return names, grids and bins of rasters of values as JSON values; their content is among the input files."""
    return [
        {
            "name": raster.name,
            "raster": Path(raster.source.path).name,
            "shape": list(raster.source.geobox.shape),
            "transform": list(raster.source.geobox.transform)[:6],
            "crs": raster.source.geobox.crs,
            "categories": raster.is_categories,
            "bins": [asdict(bins) for bins in raster.bins],
        }
        for raster in rasters
    ]


def values_facts(rasters: Sequence[ValuesRaster]) -> dict[str, Any]:
    """Return what the report of a run states of rasters of values: the largest error of the percentiles of each band.

    Empty without rasters.
    """
    facts = [
        {
            "name": raster.name,
            "path": raster.source.path,
            "kind": "categories" if raster.is_categories else "values",
            "percentile_error": [bins.width / 2 for bins in raster.bins],
        }
        for raster in rasters
    ]
    return {"value_rasters": facts} if facts else {}
