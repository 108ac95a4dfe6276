"""Open the layer of polygons that geoseg has written: GeoPackage, FlatGeobuf or GeoParquet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import shapely
from pyproj.exceptions import CRSError

from geoseg.errors import GeosegError, RasterError, shorten
from geoseg.raster.regular_file import regular_file
from geoseg.raster.vector_file import opened_vector

LAYER = "labels"
_ERRORS = (OSError, RuntimeError, ValueError, KeyError, pa.ArrowException, shapely.errors.ShapelyError, CRSError)


@dataclass(frozen=True)
class PolygonLayer:
    """A checked file of polygons and its layer.

    Parameters
    ----------
    source : Path
        What is read, until the context ends.
    layer : str or None
        None = a GeoParquet file.
    """

    source: Path
    layer: str | None


@contextmanager
def opened_layer(path: Path) -> Iterator[PolygonLayer]:
    """Return a context manager with the layer `LAYER` of a file, or its only layer.

    Raises
    ------
    RasterError
        If the file is missing, damaged, or has several layers and none is called `LAYER`.
    """
    if path.suffix.lower() == ".parquet":
        with reading_polygons(path):
            regular_file(path)
        yield PolygonLayer(path, None)
        return
    with opened_vector(path, with_fields=True) as found:
        layer = LAYER if LAYER in found.layers else found.layers[0] if len(found.layers) == 1 else None
        if layer is None:
            raise RasterError(
                f"{path} has no layer {LAYER} but {shorten(', '.join(found.layers) or 'none')}; expected the polygons "
                f"of geoseg tile or outline. Give their file."
            )
        yield PolygonLayer(found.path, layer)


@contextmanager
def reading_polygons(path: Path) -> Iterator[None]:
    """Convert the errors of libraries that read polygons.

    Raises
    ------
    RasterError
        In place of them.
    """
    try:
        yield
    except _ERRORS as err:
        if isinstance(err, GeosegError):
            raise
        raise RasterError(f"{path} cannot be read: {shorten(err)}. Is the file complete?") from err
