"""Where the results of a run go, and whether they can."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import ConfigError, OutputError
from geoseg.output.class_document import CLASSES_SUFFIXES
from geoseg.output.files import check_output
from geoseg.output.model import MODEL_SUFFIXES
from geoseg.output.polygons import CLASS_STYLE, POLYGON_SUFFIXES, sidecars
from geoseg.output.rasters import RASTER_SUFFIXES

REGION_STYLE = "regions"
STYLES = (CLASS_STYLE, REGION_STYLE)  # of the polygons; QGIS applies the first


@dataclass(frozen=True)
class Outputs:
    """Where the results go.

    What the classes of a scene are is told beside the polygons, in a file named after them: labels.classes.json.

    Parameters
    ----------
    polygons : .gpkg, .fgb or .parquet; their styles lie beside the latter two, as labels.qml and labels.regions.qml
    class_raster, region_raster : .tif, or None where they are not wanted
    model : .geoseg, what the run has learned, to segment other scenes; or None
    class_layer : also write the classes as a second layer of the .gpkg, all polygons of a class in one row
    class_file : whether there is a file that tells what the classes are
    """

    polygons: Path
    class_raster: Path | None = None
    region_raster: Path | None = None
    model: Path | None = None
    class_layer: bool = False
    class_file: bool = True

    @property
    def classes(self) -> Path | None:
        """What the classes are and how they are joined."""
        if not self.class_file:
            return None
        return self.polygons.parent / f"{self.polygons.stem}.classes.json"

    @property
    def paths(self) -> list[Path]:
        """The files that are wanted."""
        return [path for path in (self.polygons, *self._rasters, self.model, self.classes) if path is not None]

    @property
    def _rasters(self) -> list[Path]:
        return [path for path in (self.class_raster, self.region_raster) if path is not None]

    def check(self, inputs: Iterable[str], *, overwrite: bool) -> None:
        """Look whether all of them can be written.

        Raises
        ------
        OutputError, ConfigError : one cannot, or is one of the files `inputs`, or two are the same
        """
        sources = {Path(path).resolve() for path in inputs}
        for path in self.paths:
            if path.resolve() in sources:
                raise OutputError(f"{path} is the scene itself; give the result another name.")
        beside = sidecars(self.polygons, STYLES) + [path.with_suffix(".qml") for path in self._rasters]
        if len({path.resolve() for path in (*self.paths, *beside)}) < len(self.paths) + len(beside):
            raise OutputError("two results have the same name, or their .qml styles would; name each differently.")
        if self.class_layer and self.polygons.suffix.lower() != ".gpkg":
            raise ConfigError(
                f"{self.polygons} has no place for a second layer, that of the classes; give --out a .gpkg, or leave "
                f"out --class-layer."
            )
        check_output(self.polygons, overwrite=overwrite, suffixes=POLYGON_SUFFIXES)
        if self.classes is not None:
            check_output(self.classes, overwrite=overwrite, suffixes=CLASSES_SUFFIXES)
        for path in self._rasters:
            check_output(path, overwrite=overwrite, suffixes=RASTER_SUFFIXES)
        if self.model is not None:
            check_output(self.model, overwrite=overwrite, suffixes=MODEL_SUFFIXES)
