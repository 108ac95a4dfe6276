"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from geoseg.cli.ineffective import refuse_prior

Command = TypeVar("Command", bound=Callable[..., Any])


def _grouped(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _classes(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.strip().removeprefix("-").isdecimal():
        raise click.BadParameter(f"{text!r} is no number of classes; write one such as 12, or auto.")
    return int(text)


MODEL_OPTIONS = _grouped(
    click.option(
        "--model", type=click.Path(path_type=Path), help="Take a kept network and its classes; nothing is learned."
    ),
    click.option("--restretch", is_flag=True, help="Fit the stretch to the scene instead of taking the model's."),
)
METHOD_OPTIONS = _grouped(
    click.option("--config", metavar="NAME|FILE", help="A named configuration or a YAML file; options go over it."),
    click.option("--bands", metavar="N,N,…", help="Numbers of the bands to use, from 1.  [default: all but alpha]"),
    click.option(
        "--aoi", type=click.Path(path_type=Path), help="Vector file; pixels outside its polygons are no data."
    ),
    click.option("--tile-size", type=int, help="Pixels of a tile's side.  [default: 512]"),
    click.option(
        "--halo", type=int, help="Pixels on each side on which neighbours vote too, with --tile-steps.  [default: 32]"
    ),
    click.option(
        "--method",
        type=click.Choice(["backprop", "kmeans", "rag"]),
        help="Learn, or classes from colours alone, of superpixels or of merged regions.  [default: backprop]",
    ),
    click.option(
        "--training", type=click.Choice(["scene", "tile"]), help="One network for all tiles, or each from nothing."
    ),
    click.option("--prior", hidden=True, expose_value=False, callback=refuse_prior),
    click.option("--tile-steps", type=int, help="Steps of backprop on each tile.  [default: 0 with --training scene]"),
    click.option("--superpixels", type=click.Choice(["felzenszwalb", "slic"]), help="[default: felzenszwalb]"),
    click.option("--seed", type=int, help="Of every random draw.  [default: 0]"),
    click.option("--min-pixels", type=int, help="Smaller regions go to a neighbour.  [default: 64]"),
)
SMOOTH_OPTION = click.option(
    "--smooth", is_flag=True, default=None, help="Round off the staircase of pixels along borders."
)
MAX_VERTICES_OPTION = click.option(
    "--max-vertices", type=int, help="Cut larger polygons along tile lines.  [default: none is cut]"
)
ATTRIBUTES_OPTION = click.option(
    "--attributes",
    metavar="NAME,NAME,…",
    help="Columns beside region, class and color: all, basic, mean, levels, names, patterns.  [default: all]",
)
POLYGON_OPTIONS = _grouped(
    click.option(
        "--classes",
        metavar="N|auto",
        type=_classes,
        help="At most this many classes; auto = from 4 to 16, as many as tell the ground apart.  [default: 16]",
    ),
    ATTRIBUTES_OPTION,
    click.option("--red", type=int, help="Number of the red band, for ndvi_mean.  [default: as the scene says]"),
    click.option("--nir", type=int, help="Number of the near infrared band.  [default: as the scene says]"),
    click.option("--simplify", type=float, help="Tolerance of the borders in pixels, 0 = none.  [default: 1]"),
    SMOOTH_OPTION,
    MAX_VERTICES_OPTION,
)
DEVICE_OPTION = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
WORK_OPTIONS = _grouped(
    click.option("-j", "--workers", type=int, help="Processes; 0 = all in this one.  [default: one per core]"),
    click.option("--scheduler", metavar="ADDRESS", help="A Dask scheduler that runs already."),
    click.option("--scheduler-file", type=click.Path(), help="The file that such a scheduler has written."),
    click.option("--dashboard", is_flag=True, help="Show Dask's dashboard on this machine."),
    click.option(
        "--run-dir", type=click.Path(path_type=Path), help="The run folder.  [default: OUT with the ending .run]"
    ),
    click.option("--resume", is_flag=True, help="Go on with what the run folder holds."),
    click.option("--overwrite", is_flag=True, help="Replace earlier results."),
    click.option("--keep", is_flag=True, help="Leave the work of all steps in the run folder."),
)
DISPLAY_OPTIONS = _grouped(
    click.option(
        "--progress",
        type=click.Choice(["auto", "bar", "plain", "json", "none"]),
        default="auto",
        show_default=True,
        help="Show progress as bars, plain lines or JSON lines on stderr; auto = bars on a terminal, else plain lines.",
    ),
    click.option("-v", "--verbose", is_flag=True, help="Say more, with the cause of every failure."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
)
