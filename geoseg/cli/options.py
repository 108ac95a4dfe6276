"""Options that several commands share. An option has the same meaning in every command that has it.

Defaults in the help texts are read from `Config`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import click
from cloup import argument, option, option_group

from geoseg.cli.ineffective import refuse_prior
from geoseg.cli.parsing import LOG_FORMAT, failed_tiles, is_whole
from geoseg.config import Config
from geoseg.config_parser import shown
from geoseg.errors import ConfigError
from geoseg.raster.names import name_problem, quoted

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_CONFIG = Config()


def check_name(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return a file name or address as it is, after checking that a file can have it.

    Raises
    ------
    ConfigError
        If no file can.
    """
    problem = None if value is None else name_problem(value)
    if problem is not None:
        name = parameter.opts[0] if isinstance(parameter, click.Option) else str(parameter.name).upper()
        raise ConfigError(f"{name} is {quoted(str(value))}, which {problem}; give the name of a file.")
    return value


def check_names(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return file names as they are, after checking each as `check_name` does."""
    for value in values:
        check_name(context, parameter, value)
    return values


def _to_path(context: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """Convert a checked name; not by the type of the option, for which an empty name is the current folder."""
    name = check_name(context, parameter, value)
    return None if name is None else Path(name)


FILE: dict[str, Any] = {"type": click.Path(), "callback": _to_path}


def default_of(key: str) -> str:
    """Return the default of a configuration key as it is shown in a help text, such as ``[default: 512]``."""
    value = attrgetter(key)(_CONFIG)
    return f"[default: {','.join(map(str, value)) if isinstance(value, tuple) else value}]"


def _classes(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not is_whole(text.strip().removeprefix("-")):
        raise click.BadParameter(f"{shown(text)} is not a number of classes; write one such as 12, or auto.")
    return int(text)


# Inputs
SCENE = argument("scene", callback=check_name, help="GeoTIFF or another raster that GDAL reads.")

# Output
OUT = option("--out", required=True, **FILE, help="Write the polygons to this .gpkg, .fgb or .parquet file.")
REGION_RASTER = option("--region-raster", **FILE, help="Also write the region numbers to this COG, a .tif file.")
REPORT = option(
    "--report", **FILE, help="Also write a report to this .html file: a map, tables, charts and provenance."
)
OVERWRITE = option("--overwrite", is_flag=True, help="Replace existing output files.")

# Segmentation
CONFIG = option(
    "--config",
    metavar="NAME|FILE",
    callback=check_name,
    help="Use a named configuration (see geoseg config) or a YAML file; other options take precedence over it.",
)
BANDS = option("--bands", metavar="N,N,…", help="Use these bands, numbered from 1.  [default: all except alpha]")
RGB = option(
    "--rgb",
    metavar="R,G,B",
    help="Show these bands as red, green and blue, in the colours of the classes.  [default: from the metadata, or the "
    "usual order of the sensor of --config]",
)
NODATA_MODE = option(
    "--nodata-mode",
    type=click.Choice(["all", "any"]),
    help="Treat a pixel as nodata where all bands are nodata, or where any band is.  " + default_of("nodata_mode"),
)
COLLAR = option(
    "--collar",
    type=click.Choice(["nodata", "keep"]),
    help="Treat a collar of fill values that the raster does not declare as nodata, or keep it as data.  "
    + default_of("collar"),
)
ALLOW_NO_CRS = option(
    "--allow-no-crs",
    is_flag=True,
    default=None,
    help="Use pixel coordinates for a raster without a CRS, such as a picture; areas and lengths are then in pixels.",
)
AOI = option("--aoi", **FILE, help="Treat pixels outside the polygons of this vector file as nodata.")
METHOD = option(
    "--method",
    type=click.Choice(["backprop", "kmeans", "rag"]),
    help="Train a network (backprop), or cluster the colours of superpixels (kmeans) or of merged superpixels (rag).  "
    + default_of("method"),
)
TRAINING = option(
    "--training",
    type=click.Choice(["scene", "tile"]),
    help="Train one network for the scene, or one per tile as published.  " + default_of("training"),
)
F_WEIGHT = option(
    "--f-weight",
    type=float,
    default=1.0,
    metavar="A",
    show_default=True,
    help="Weight the variance within regions in F: above 1 it counts more than Moran's I, which favours small regions.",
)
FORMER_PRIOR = click.option("--prior", hidden=True, expose_value=False, callback=refuse_prior)
TILE_STEPS = option(
    "--tile-steps",
    type=int,
    metavar="N",
    help=f"Train N steps on each tile.  [default: {_CONFIG.steps}; {_CONFIG.backprop.max_steps} with --training tile]",
)
SUPERPIXELS = option(
    "--superpixels",
    type=click.Choice(["felzenszwalb", "slic"]),
    help="Compute superpixels with this algorithm.  " + default_of("superpixels.method"),
)
SEED = option("--seed", type=int, help="Seed the random numbers.  " + default_of("seed"))
CLASSES = option(
    "--classes",
    metavar="N|auto",
    type=_classes,
    help="Find at most N classes; auto chooses from 4 to 16.  " + default_of("classify.classes"),
)
# Of the commands that segment windows
WINDOW_SEGMENTATION: tuple[Decorator, ...] = (
    CONFIG,
    CLASSES,
    BANDS,
    RGB,
    NODATA_MODE,
    COLLAR,
    ALLOW_NO_CRS,
    AOI,
    METHOD,
    TRAINING,
    TILE_STEPS,
    SUPERPIXELS,
    SEED,
)
MODEL = option("--model", **FILE, help="Use the network and classes of this .geoseg file; nothing is trained.")

FEATURES = option(
    "--features",
    metavar="RASTER",
    callback=check_name,
    help="Let the bands of this raster take part in the classes, but not in the columns; it has the CRS of SCENE and "
    "any resolution.",
)
FEATURE_WEIGHT = option(
    "--feature-weight",
    type=float,
    metavar="W",
    help="Weight --features; 1 means as much as the bands of SCENE.  " + default_of("classify.feature_weight"),
)

VALUES = option(
    "--values",
    metavar="RASTER[:NAME]",
    multiple=True,
    callback=check_names,
    help="Add the mean, std, min, max, median, p10 and p90 of this raster as columns NAME_mean, …; any grid and CRS. "
    "With a palette or as RASTER:NAME:majority, the most frequent value. May be repeated.  [default NAME: of the file]",
)

# Polygons
ATTRIBUTES = option(
    "--attributes",
    metavar="NAME,NAME,…",
    help="Write these columns besides region, class and color: names, patterns such as mean_*, or the groups spectral, "
    "shape, texture, context, votes, objects, all, basic, mean, std, min, max, levels. Of shape to objects alone, the "
    "columns are added to spectral.  " + default_of("polygons.attributes"),
)
SMOOTH = option("--smooth", is_flag=True, default=None, help="Smooth the pixel steps of the borders.")
MAX_VERTICES = option(
    "--max-vertices",
    type=int,
    metavar="N",
    help="Split polygons with more than N vertices along tile lines.  [default: no limit]",
)
MIN_PIXELS_HELP = "Merge regions with fewer than N pixels into a neighbour.  "
SIMPLIFY_HELP = "Simplify the borders with this tolerance in pixels; 0 keeps every pixel edge.  "
MIN_PIXELS = option("--min-pixels", type=int, metavar="N", help=MIN_PIXELS_HELP + default_of("polygons.min_pixels"))
MIN_AREA = option(
    "--min-area",
    type=float,
    metavar="M2",
    help="Merge regions of less than this area in m² into a neighbour, in place of --min-pixels.",
)
SIMPLIFY = option("--simplify", type=float, help=SIMPLIFY_HELP + default_of("polygons.simplify"))

# Tiling and run
TILE_SIZE = option("--tile-size", type=int, help="Set the side of a tile in pixels.  " + default_of("tiles.size"))
HALO = option(
    "--halo",
    type=int,
    help="Blend neighbouring tiles over this many pixels on each side, with --tile-steps.  " + default_of("tiles.halo"),
)
KEEP = option("--keep", is_flag=True, help="Keep the products of all stages in the run folder.")
MAX_FAILED = option(
    "--max-failed",
    metavar="N|SHARE",
    type=failed_tiles,
    help="Stop, and write nothing, if more than N tiles or a SHARE such as 5% of them fail.  [default: stop if 10 "
    "in a row fail in the same way]",
)
RUN_OPTIONS: tuple[Decorator, ...] = (
    option("--run-dir", **FILE, help="Use this run folder.  [default: OUT with the suffix .run]"),
    option("--resume", is_flag=True, help="Continue the run in the run folder."),
    OVERWRITE,
    KEEP,
    MAX_FAILED,
)

# Where to compute
WORKERS = option(
    "-j",
    "--workers",
    type=int,
    metavar="N",
    help="Start N processes; 0 computes in this one, one tile at a time.  [default: 0 with --threads, but one process "
    "per core for a large scene on more than 4 cores]",
)
THREADS = option(
    "--threads",
    type=int,
    metavar="N",
    help="Compute N tiles at a time in this process.  [default: one per core, at most 4]",
)
DEVICE = option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Run the network on this device; auto uses a GPU of CUDA if there is one, and mps is checked against the CPU.",
)
MEMORY = option(
    "--memory",
    metavar="SIZE",
    help="Refuse a run that needs more than this for any of its processes, such as 2GiB.  [default: what the machine "
    "has, shared by all]",
)
CLUSTER_OPTIONS: tuple[Decorator, ...] = (
    WORKERS,
    THREADS,
    option("--scheduler", metavar="ADDRESS", help="Connect to a running Dask scheduler."),
    option(
        "--scheduler-file",
        type=click.Path(),
        callback=check_name,
        help="Connect to the Dask scheduler that wrote this file.",
    ),
    option("--tls-ca-file", type=click.Path(), callback=check_name, help="Verify a scheduler at tls:// with this."),
    option(
        "--tls-cert",
        type=click.Path(),
        callback=check_name,
        help="Present this to the scheduler.",
    ),
    option("--tls-key", type=click.Path(), callback=check_name, help="Use this key with --tls-cert."),
    option(
        "--cluster",
        metavar="FILE",
        callback=check_name,
        help="Start the cluster that this YAML file describes: Slurm, PBS, or one process per GPU.",
    ),
    option("--dashboard", is_flag=True, help="Serve Dask's dashboard on this machine."),
    option(
        "--tile-timeout",
        type=float,
        metavar="SECONDS",
        help="Restart the worker of a tile that takes longer, and try the tile once more.  [default: 20 times the "
        "median, at least 600]",
    ),
)


def _log_details(_context: click.Context, _option: click.Parameter, value: bool) -> bool:  # click's
    """Start to log before the command does, so that an error in its other options is logged too."""
    if value:
        logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
        logging.getLogger("geoseg").setLevel(logging.DEBUG)
    return value


VERBOSE = option(
    "-v",
    "--verbose",
    is_flag=True,
    is_eager=True,
    callback=_log_details,
    help="Log details, with the cause of every failure.",
)
DISPLAY = option_group(
    "Display",
    option(
        "--progress",
        type=click.Choice(["auto", "bar", "plain", "json", "none"]),
        default="auto",
        show_default=True,
        help="Show progress as bars, plain lines or JSON lines on stderr; auto shows bars on a terminal, else plain "
        "lines.",
    ),
    VERBOSE,
    option("-q", "--quiet", is_flag=True, help="Show nothing but errors."),
)

# Groups of several commands
OUTPUT_GROUP = option_group(
    "Output",
    OUT,
    option("--class-raster", **FILE, help="Also write the classes to this COG, a .tif file."),
    REGION_RASTER,
    option("--class-layer", is_flag=True, help="Also write the dissolved classes, as a second layer of a .gpkg."),
    option(
        "--levels",
        metavar="N,N,…",
        help="Also write the connected regions of the coarser classes at these levels, such as 8,4, as layers "
        "objects_8 and objects_4 of a .gpkg, and their numbers as columns object_8 and object_4.",
    ),
    option("--save-model", **FILE, help="Also write the network and its classes to this .geoseg file."),
    REPORT,
)
SEGMENTATION_GROUP = option_group(
    "Segmentation",
    CONFIG,
    CLASSES,
    BANDS,
    RGB,
    NODATA_MODE,
    COLLAR,
    ALLOW_NO_CRS,
    AOI,
    METHOD,
    TRAINING,
    TILE_STEPS,
    SUPERPIXELS,
    SEED,
    FEATURES,
    FEATURE_WEIGHT,
    MODEL,
    option("--restretch", is_flag=True, help="Fit the stretch to the scene instead of using that of --model."),
)

POLYGON_GROUP = option_group(
    "Polygons",
    MIN_PIXELS,
    MIN_AREA,
    SIMPLIFY,
    SMOOTH,
    MAX_VERTICES,
    ATTRIBUTES,
    VALUES,
    option("--red", type=int, metavar="N", help="Compute ndvi_mean with this red band.  [default: as for --rgb]"),
    option(
        "--nir",
        type=int,
        metavar="N",
        help="Compute ndvi_mean with this near-infrared band.  [default: as for --rgb]",
    ),
)
