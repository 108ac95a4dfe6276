"""Layers of objects: the regions of one object of a coarser level of the class tree as one polygon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.output.columns import LEVELS, Layer, label_fields
from geoseg.output.extra_columns import Field
from geoseg.output.polygons import ObjectLayer
from geoseg.output.style import border_scale, color_qml
from geoseg.raster.pixel_size import resolution
from geoseg.steps.attributes import combined_attributes
from geoseg.steps.tables import RegionTable
from geoseg.steps.vectorize import index_names
from geoseg.vectorize import zonal_stats
from geoseg.vectorize.attributes import object_perimeter

_REGIONS = Field("regions", pa.int64(), "Regions", "Number of regions of the object")


def object_layers(table: RegionTable, levels: Sequence[int], note: Callable[[str], None]) -> list[ObjectLayer]:
    """Return the layers of objects, in the order of `levels`; a level that the class tree lacks is left out.

    Parameters
    ----------
    table : RegionTable
        Of a segmented scene; has columns `object_8` for level 8.
    levels : sequence of int
    note : callable
        Receives which levels are left out.
    """
    for level in levels:
        if f"object_{level}" not in table.measured:
            note(f"the scene has too few classes for objects of {level} classes, so there is no layer of them")
    known = [level for level in levels if f"object_{level}" in table.measured]
    if not known:
        return []
    total = table.sums
    adjacency = combined_attributes(table.job, table.tiles, table.regions).adjacency
    layers = []
    for level in known:
        objects = table.measured[f"object_{level}"]
        n_objects = int(objects.max(initial=0))
        sums = zonal_stats.combine([(total, objects)], n_objects)
        sums = replace(sums, perimeter=object_perimeter(total.perimeter, adjacency, objects))
        columns = zonal_stats.columns(sums, bands=table.job.scene.bands, indices=index_names(table.job.scene))
        layers.append(_layer(table, level, objects, columns))
    return layers


def _layer(
    table: RegionTable, level: int, objects: NDArray[np.integer], columns: dict[str, NDArray[Any]]
) -> ObjectLayer:
    scene, n_objects = table.job.scene, len(columns["pixels"])
    order = np.lexsort((table.sums.pixels, objects))
    largest = order[np.searchsorted(objects[order], np.arange(1, n_objects + 1), side="right") - 1]
    of_largest = table.columns.of(largest)
    coarser = [name for n in LEVELS if n < level and (name := f"object_{n}") in table.measured]
    columns |= {
        "object": np.arange(1, n_objects + 1),
        "class": of_largest[f"class_{level}"],
        "color": of_largest["color"],
        "regions": np.bincount(objects - 1, minlength=n_objects),
        **{name: of_largest[name] for name in coarser},
    }
    fields = _fields(table, level, coarser)
    name = Path(scene.path).name
    description = f"Connected regions of the same class_{level} in {name}. Areas and lengths in metres."
    layer = Layer(f"objects_{level}", f"Objects of {level} classes in {name}", description, scene.geobox.crs, fields)
    style = color_qml(layer.aliases, borders=border_scale(resolution(scene.geobox)))
    return ObjectLayer(layer, columns, style, f"object_{level}", objects)


def _fields(table: RegionTable, level: int, coarser: Sequence[str]) -> tuple[Field, ...]:
    bands, indices = table.job.scene.bands, index_names(table.job.scene)
    _, of_each_class = np.unique(table.regions.classes, return_index=True)
    n_classes = int(table.columns.of(of_each_class)[f"class_{level}"].max(initial=0))
    n_regions = len(table.regions)
    own = label_fields(bands=bands, levels=(), n_regions=n_regions, n_classes=n_classes, indices=indices)
    number, class_, color, *others = own
    return (
        Field("object", number.type, "Object", f"Number of the object, as in object_{level} of the layer labels"),
        Field("class", class_.type, "Class", f"Class at the level of the tree with {level} classes, as class_{level}"),
        color._replace(description="Colour of the class of its largest region"),
        _REGIONS,
        *others,
        *(
            Field(name, number.type, f"Object of {name[7:]} classes", "Object of that level in which it lies")
            for name in coarser
        ),
    )
