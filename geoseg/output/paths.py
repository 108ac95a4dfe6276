"""Paths of the output files of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import ConfigError, OutputError
from geoseg.output.class_document import CLASSES_SUFFIXES
from geoseg.output.files import check_output
from geoseg.output.model import MODEL_SUFFIXES
from geoseg.output.names import check_folder_name, check_output_name, check_outside
from geoseg.output.polygons import CLASS_STYLE, POLYGON_SUFFIXES, sidecars
from geoseg.output.publication import Publication
from geoseg.output.rasters import RASTER_SUFFIXES, raster_sidecars
from geoseg.output.system import file_key

REGION_STYLE = "regions"
REPORT_SUFFIXES = (".html", ".htm")
STYLES = (CLASS_STYLE, REGION_STYLE)  # of the polygons; QGIS applies the first by default


@dataclass(frozen=True)
class Outputs:
    """Output files of a run.

    Parameters
    ----------
    polygons : Path
        Ends in .gpkg, .fgb or .parquet. The QGIS styles are inside the .gpkg; beside the other two they are written as
        labels.qml and labels.regions.qml.
    class_raster, region_raster : Path or None
        End in .tif; None = not written.
    model : Path or None
        Ends in .geoseg: the trained model, which segments other scenes. None = not written.
    class_layer : bool
        Whether the .gpkg gets a second layer, the polygons dissolved by class.
    class_file : bool
        Whether the class document is written, see `classes`.
    levels : tuple of int
        Levels of the class tree whose objects become further layers of the .gpkg.
    report : Path or None
        Ends in .html: the report, one file that a browser shows. None = not written.

    Examples
    --------
    >>> outputs = Outputs(Path("labels.gpkg"), class_raster=Path("classes.tif"))
    >>> [path.name for path in outputs.paths]
    ['labels.gpkg', 'classes.tif', 'labels.classes.json']
    """

    polygons: Path
    class_raster: Path | None = None
    region_raster: Path | None = None
    model: Path | None = None
    class_layer: bool = False
    class_file: bool = True
    report: Path | None = None
    levels: tuple[int, ...] = ()

    @property
    def classes(self) -> Path | None:
        """Path of the class document, named after the polygons: labels.classes.json; None = not written."""
        return class_document_path(self.polygons) if self.class_file else None

    @property
    def paths(self) -> list[Path]:
        """All output files, without styles and other sidecar files."""
        paths = (self.polygons, *self._rasters, self.model, self.classes, self.report)
        return [path for path in paths if path is not None]

    def check_names(self, run_dir: Path | None) -> None:
        """Check that files of these names can be written, and that none is in the run folder; nothing is changed.

        Parameters
        ----------
        run_dir : Path or None
            The run folder; None = beside the polygons.

        Raises
        ------
        OutputError
            If a name cannot be used.
        """
        for path in self.paths:
            check_output_name(path)
        if run_dir is not None:
            check_folder_name(run_dir)
            check_outside(self.paths, run_dir)

    @property
    def files(self) -> list[Path]:
        """All output files and the sidecar files that are replaced or removed with them."""
        beside = sidecars(self.polygons, STYLES)
        for path in self._rasters:
            beside += raster_sidecars(path, has_style=path == self.class_raster)
        return [*self.paths, *beside]

    @property
    def _rasters(self) -> list[Path]:
        return [path for path in (self.class_raster, self.region_raster) if path is not None]

    def check(self, inputs: Iterable[str], *, overwrite: bool | Publication) -> None:
        """Check that all output files can be written.

        Parameters
        ----------
        inputs : iterable of str
            Files of the scene, which must not be overwritten.
        overwrite : bool or Publication
            Whether existing files may be replaced.

        Raises
        ------
        OutputError
            If a file cannot be written or is one of `inputs`, or two files have the same name.
        ConfigError
            If a suffix is not supported, or the format of the polygons has no second layer.
        """
        sources = {file_key(Path(path)) for path in inputs}
        for path in self.paths:
            if file_key(path) in sources:
                raise OutputError(f"{path} is the scene itself; give the output file another name.")
        styles = sidecars(self.polygons, STYLES) + [path.with_suffix(".qml") for path in self._rasters]
        if len({file_key(path) for path in (*self.paths, *styles)}) < len(self.paths) + len(styles):
            raise OutputError("two output files or their .qml styles have the same name; give each another name.")
        if self.class_layer and self.polygons.suffix.lower() != ".gpkg":
            raise ConfigError(
                f"{self.polygons} cannot store a second layer for the classes; give --out a .gpkg, or leave out "
                f"--class-layer."
            )
        if self.levels and self.polygons.suffix.lower() != ".gpkg":
            raise ConfigError(
                f"{self.polygons} cannot store further layers for objects; give --out a .gpkg, or leave out --levels."
            )
        beside = sidecars(self.polygons, STYLES)
        check_output(self.polygons, overwrite=overwrite, suffixes=POLYGON_SUFFIXES, sidecars=beside)
        if self.classes is not None:
            check_output(self.classes, overwrite=overwrite, suffixes=CLASSES_SUFFIXES)
        for path in self._rasters:
            beside = raster_sidecars(path, has_style=path == self.class_raster)
            check_output(path, overwrite=overwrite, suffixes=RASTER_SUFFIXES, sidecars=beside)
        if self.model is not None:
            check_output(self.model, overwrite=overwrite, suffixes=MODEL_SUFFIXES)
        if self.report is not None:
            check_output(self.report, overwrite=overwrite, suffixes=REPORT_SUFFIXES)


def class_document_path(polygons: Path) -> Path:
    """Return the path of the class document that belongs to a polygon file."""
    return polygons.parent / f"{polygons.stem}.classes.json"
