"""The algorithms of the provider: which command each one runs, and with which widget an option is shown.

An option that is not listed gets an advanced parameter that follows from its kind, so a new option of geoseg needs no
entry here. What is listed may be missing in the command.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .commands import Command, Option

HIDDEN = {  # the plugin's own business, or of use in a shell only; FURTHER takes the addresses of clusters
    *("progress", "verbose", "quiet", "dry_run", "json", "dashboard"),
    *("scheduler", "scheduler_file", "tls_ca_file", "tls_cert", "tls_key", "cluster"),
}
FURTHER = "further"  # parameter for other options, as text


@dataclass(frozen=True)
class Shown:
    """A parameter of an algorithm.

    Parameters
    ----------
    name : str
        Of the option of the command.
    label : str
    widget : str
        raster, bands, band, vector_output, raster_output, file_output, file, folder, choice, classes, configuration,
        integer, number, flag, text, area, window, reference or field.
    advanced : bool
        Whether it is folded away.
    detail : str
        Parent parameter of bands and fields; file filter of files.
    """

    name: str
    label: str
    widget: str
    advanced: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Algorithm:
    """An algorithm of the provider.

    Parameters
    ----------
    name : str
    command : str
        Name of the command of geoseg.
    title : str
    tags : tuple of str
        Words to find it by.
    shown : tuple of Shown
        The parameters that are not made from the kind of the option, in the order of the dialog.
    """

    name: str
    command: str
    title: str
    tags: tuple[str, ...]
    shown: tuple[Shown, ...]


_AREA = Shown("aoi", "Area of interest (polygons)", "area")
_RESUME = Shown("resume", "Continue the interrupted run", "flag")
_OVERWRITE = Shown("overwrite", "Replace existing files", "flag")
_OUT = Shown("out", "Polygons", "vector_output")
_REGION_RASTER = Shown("region_raster", "Region raster", "raster_output", True)
_REPORT = Shown("report", "Report", "file_output", True, "HTML files (*.html)")
_POLYGON_FILES = "Polygons (*.gpkg *.fgb *.parquet)"
_SAMPLE_FILES = "Samples (*.gpkg *.shp *.fgb *.parquet *.geojson *.json *.kml *.gml *.csv *.tsv *.txt)"
_SEGMENTATION = (
    Shown("config", "Configuration", "configuration"),
    Shown("classes", "Number of classes (0 = automatic)", "classes"),
    Shown("bands", "Bands", "bands", detail="scene"),
    Shown("min_pixels", "Minimum size of a region (pixels)", "integer"),
)
_ADVANCED = (
    Shown("rgb", "Bands shown as red, green and blue", "text", True),
    Shown("method", "Method", "choice", True),
    Shown("training", "Training", "choice", True),
    Shown("tile_steps", "Training steps on each tile", "integer", True),
    Shown("superpixels", "Superpixels", "choice", True),
    Shown("seed", "Seed of random numbers", "integer", True),
    Shown("nodata_mode", "Nodata", "choice", True),
    Shown("collar", "Collar of fill values", "choice", True),
)
ALGORITHMS = (
    Algorithm(
        "segment",
        "tile",
        "Segment raster",
        ("segmentation", "classification", "unsupervised", "OBIA", "superpixels", "polygons", "land cover"),
        (
            Shown("scene", "Raster", "raster"),
            *_SEGMENTATION,
            Shown("simplify", "Simplify borders (pixels)", "number"),
            _AREA,
            _RESUME,
            _OVERWRITE,
            *_ADVANCED,
            Shown("features", "Raster of features", "raster", True),
            Shown("feature_weight", "Weight of the features", "number", True),
            Shown("model", "Trained model", "file", True, "geoseg models (*.geoseg)"),
            Shown("restretch", "Fit the stretch of the model to the raster", "flag", True),
            Shown("smooth", "Smooth borders", "flag", True),
            Shown("max_vertices", "Split polygons with more vertices than", "integer", True),
            Shown("attributes", "Columns", "text", True),
            Shown("values", "Raster for statistics", "raster", True),
            Shown("red", "Red band for NDVI", "band", True, "scene"),
            Shown("nir", "Near-infrared band for NDVI", "band", True, "scene"),
            Shown("class_layer", "Also write dissolved classes", "flag", True),
            _OUT,
            Shown("class_raster", "Class raster", "raster_output"),
            _REGION_RASTER,
            Shown("save_model", "Save model", "file_output", True, "geoseg models (*.geoseg)"),
            Shown("run_dir", "Run folder", "folder", True),
            _REPORT,
        ),
    ),
    Algorithm(
        "outline",
        "outline",
        "Outline labels",
        ("polygonize", "vectorize", "raster to vector", "labels", "coverage", "zonal statistics"),
        (
            Shown("labels", "Labels", "raster"),
            Shown("band", "Band of the labels", "band", detail="labels"),
            Shown("values", "Raster for zonal statistics", "raster"),
            Shown("bands", "Bands of the values", "bands", detail="values"),
            Shown("min_pixels", "Minimum size of a region (pixels)", "integer"),
            Shown("simplify", "Simplify borders (pixels)", "number"),
            _AREA,
            _RESUME,
            _OVERWRITE,
            Shown("nodata", "Nodata value", "text", True),
            Shown("rgb", "Bands shown as red, green and blue", "text", True),
            Shown("nodata_mode", "Nodata of the values", "choice", True),
            Shown("collar", "Collar of fill values", "choice", True),
            Shown("smooth", "Smooth borders", "flag", True),
            Shown("max_vertices", "Split polygons with more vertices than", "integer", True),
            Shown("attributes", "Columns", "text", True),
            _OUT,
            _REGION_RASTER,
            Shown("run_dir", "Run folder", "folder", True),
            _REPORT,
        ),
    ),
    Algorithm(
        "preview",
        "preview",
        "Preview segmentation",
        ("preview", "segmentation", "parameters"),
        (
            Shown("scene", "Raster", "raster"),
            Shown("window", "Window", "window"),
            *_SEGMENTATION,
            _AREA,
            _OVERWRITE,
            *_ADVANCED,
            Shown("features", "Raster of features", "raster", True),
            Shown("feature_weight", "Weight of the features", "number", True),
            Shown("out", "Picture", "file_output", detail="PNG files (*.png)"),
            Shown("animation", "Animation", "file_output", True, "GIF files (*.gif)"),
        ),
    ),
    Algorithm(
        "tune",
        "tune",
        "Tune parameters",
        ("parameters", "scale", "optimisation", "segmentation", "unsupervised"),
        (
            Shown("scene", "Raster", "raster"),
            *_SEGMENTATION,
            Shown("windows", "Number of windows", "integer"),
            Shown("window_size", "Size of a window (pixels)", "integer"),
            _AREA,
            _OVERWRITE,
            Shown("scales", "Superpixel scales to try", "text", True),
            Shown("sizes", "Minimum sizes to try", "text", True),
            Shown("levels", "Numbers of classes to try", "text", True),
            *_ADVANCED,
            Shown("features", "Raster of features", "raster", True),
            Shown("feature_weight", "Weight of the features", "number", True),
            Shown("out", "Chart", "file_output", detail="HTML files (*.html);;PNG files (*.png)"),
            Shown("report", "Figures", "file_output", True, "JSON files (*.json)"),
        ),
    ),
    Algorithm(
        "evaluate",
        "evaluate",
        "Evaluate classes",
        ("accuracy", "confusion matrix", "validation", "reference"),
        (
            Shown("classes", "Class raster", "raster"),
            Shown("reference", "Reference (raster or polygons)", "reference"),
            Shown("field", "Field of the label", "field", detail="reference"),
            Shown("unsupervised", "Scene, in place of a reference", "raster"),
            Shown("tolerance", "Tolerance of boundaries (metres)", "number", True),
            _OVERWRITE,
            Shown("report", "Scores", "file_output", detail="JSON files (*.json)"),
        ),
    ),
    Algorithm(
        "classify",
        "classify",
        "Classify regions by samples",
        ("classification", "supervised", "training", "samples", "random forest", "active learning", "land cover"),
        (
            Shown("labels", "Polygons of a segmentation", "file", detail=_POLYGON_FILES),
            Shown("samples", "Samples", "file", detail=_SAMPLE_FILES),
            Shown("field", "Field with the names", "text"),
            Shown("min_probability", "Unknown below this probability", "number"),
            Shown("dissolve", "Unite adjacent regions of one name", "flag"),
            Shown("suggest", "Number of regions to name next", "integer"),
            _OVERWRITE,
            Shown("layer", "Layer of the samples", "text", True),
            Shown("crs", "CRS of the coordinates in a CSV", "text", True),
            Shown("model", "Saved forest, instead of samples", "file", True, "geoseg forests (*.forest)"),
            Shown("validate", "Leave out the cross-validation", "flag", True),
            _OUT,
            Shown("save_model", "Save forest", "file_output", True, "geoseg forests (*.forest)"),
            Shown("report", "Figures", "file_output", True, "JSON files (*.json)"),
        ),
    ),
    Algorithm(
        "name",
        "name",
        "Name classes",
        ("legend", "names", "colours", "classes"),
        (
            Shown("labels", "Polygons of a segmentation", "file", detail=_POLYGON_FILES),
            Shown("names", "Table of names", "file", detail="CSV files (*.csv *.txt)"),
            Shown("raster", "Class raster of the run", "file", True, "GeoTIFFs (*.tif *.tiff)"),
            _OVERWRITE,
            _OUT,
            Shown("class_raster", "Class raster with names", "raster_output", True),
        ),
    ),
)


def parameters_of(algorithm: Algorithm, command: Command) -> tuple[Shown, ...]:
    """Return the parameters of an algorithm: those that are listed and exist, then one for every other option."""
    existing = {option.name for option in command.options}
    listed = [shown for shown in algorithm.shown if shown.name in existing]
    names = {shown.name for shown in listed} | HIDDEN - {shown.name for shown in algorithm.shown}
    inputs = [shown for shown in listed if not shown.widget.endswith("output")]
    outputs = [shown for shown in listed if shown.widget.endswith("output")]
    others = [_by_kind(option) for option in command.options if option.name not in names]
    more_outputs = [shown for shown in others if shown.widget.endswith("output")]
    return (*inputs, *(shown for shown in others if shown not in more_outputs), *outputs, *more_outputs)


def _by_kind(option: Option) -> Shown:
    label = option.name.replace("_", " ").capitalize()
    widget = option.kind
    if option.kind == "file" and re.match(r"(Also )?[Ww]rite ", option.help):
        widget = "file_output"
    return Shown(option.name, label, widget, advanced=not option.required)
