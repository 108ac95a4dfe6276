"""The command line: options become a configuration, and every deliberate error one line.

Nothing heavy is imported before an option needs it, so ``geoseg --help`` is quick.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import click

from geoseg import __version__
from geoseg.cli.ineffective import check_animation, check_cluster, check_halo
from geoseg.cli.options import (
    ATTRIBUTES_OPTION,
    DEVICE_OPTION,
    DISPLAY_OPTIONS,
    MAX_VERTICES_OPTION,
    METHOD_OPTIONS,
    MODEL_OPTIONS,
    POLYGON_OPTIONS,
    SMOOTH_OPTION,
    WORK_OPTIONS,
)
from geoseg.errors import GeosegError

EXIT_DONE, EXIT_FIXABLE, EXIT_USAGE, EXIT_TILES_FAILED = 0, 1, 2, 3
_INTERRUPTED = 130  # what shells give for Ctrl-C


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        code = commands(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("geoseg: interrupted; where a run folder was begun, --resume goes on from here", err=True)
        code = _INTERRUPTED
    except click.ClickException as err:
        err.show()
        code = err.exit_code
    except GeosegError as err:
        click.echo(f"geoseg: {' '.join(str(err).split())}", err=True)
        code = EXIT_FIXABLE
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="geoseg")
def commands() -> None:
    """Cut rasters too large for memory into seamless polygons of look-alike ground, without training data."""


@commands.command()
@click.argument("scene")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Polygons: .gpkg, .fgb or .parquet.")
@click.option("--class-raster", type=click.Path(path_type=Path), help="Also write the classes as a COG.")
@click.option("--region-raster", type=click.Path(path_type=Path), help="Also write the region numbers as a COG.")
@click.option("--class-layer", is_flag=True, help="Also write the dissolved classes, as a second layer of a .gpkg.")
@click.option("--save-model", type=click.Path(path_type=Path), help="Also keep the network and its classes: .geoseg.")
@MODEL_OPTIONS
@POLYGON_OPTIONS
@METHOD_OPTIONS
@DEVICE_OPTION
@WORK_OPTIONS
@DISPLAY_OPTIONS
def tile(scene: str, **options: Any) -> int:
    """Segment SCENE, a GeoTIFF of any size, and write a styled layer of polygons.

    Exit codes: 0 done; 1 you can fix it, one line says how; 2 usage; 3 done, but some tiles failed.
    """
    from geoseg.cli.progress_bars import show
    from geoseg.output.paths import Outputs
    from geoseg.pipeline import run_scene

    with show(_display_mode(options)) as progress:
        _start_log(options)  # in here, so that its lines do not break the bars
        result = run_scene(
            scene,
            Outputs(
                options["out"],
                options["class_raster"],
                options["region_raster"],
                options["save_model"],
                options["class_layer"],
            ),
            _config(options),
            options=_run_options(options),
            cluster=_cluster_options(options),
            progress=progress,
        )
        progress.summary(result)
    return EXIT_TILES_FAILED if result.failed else EXIT_DONE


@commands.command()
@click.argument("labels")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Polygons: .gpkg, .fgb or .parquet.")
@click.option(
    "--values", metavar="RASTER", help="Tell its mean, spread, least and greatest value in each region; same grid."
)
@click.option("--region-raster", type=click.Path(path_type=Path), help="Also write the region numbers as a COG.")
@click.option("--band", type=int, help="The band of LABELS that holds them.  [default: the only one]")
@click.option(
    "--nodata",
    metavar="N|none",
    default="file",
    help="The number that is no label; none = all are.  [default: as the file says]",
)
@click.option("--bands", metavar="N,N,…", help="Bands of the values, from 1.  [default: all but alpha]")
@click.option("--aoi", type=click.Path(path_type=Path), help="Vector file; pixels outside its polygons are no data.")
@click.option("--min-pixels", type=int, default=0, show_default=True, help="Smaller regions go to a neighbour.")
@click.option(
    "--simplify", type=float, default=0, show_default=True, help="Tolerance of the borders in pixels, 0 = none."
)
@ATTRIBUTES_OPTION
@SMOOTH_OPTION
@MAX_VERTICES_OPTION
@click.option("--tile-size", type=int, help="Pixels of a tile's side.  [default: 512]")
@WORK_OPTIONS
@DISPLAY_OPTIONS
def outline(labels: str, **options: Any) -> int:
    """Outline LABELS, a raster of whole numbers from any program, as a styled layer of polygons.

    One polygon for each connected piece of one label; pixels that touch at a corner only are not connected. What is
    no data the file says, by its nodata value or a mask; 0 is a label like any other unless the file or --nodata 0 says
    it is none.

    Exit codes: 0 done; 1 you can fix it, one line says how; 2 usage; 3 done, but some tiles failed.
    """
    from geoseg.cli.progress_bars import show
    from geoseg.config import load_config
    from geoseg.output.paths import Outputs
    from geoseg.pipeline import run_labels
    from geoseg.raster.label_raster import LabelInput

    config = load_config(
        bands=_whole_numbers(options["bands"], "--bands", "4,3,2"),
        tiles__size=options["tile_size"],
        polygons__min_pixels=options["min_pixels"],
        polygons__simplify=options["simplify"],
        polygons__smooth=options["smooth"],
        polygons__max_vertices=options["max_vertices"],
        polygons__attributes=_words(options["attributes"]),
    )
    with show(_display_mode(options)) as progress:
        _start_log(options)
        result = run_labels(
            LabelInput(labels, options["values"], options["band"], _nodata(options["nodata"])),
            Outputs(options["out"], region_raster=options["region_raster"]),
            config,
            options=_run_options(options),
            cluster=_cluster_options(options),
            progress=progress,
        )
        progress.summary(result)
    return EXIT_TILES_FAILED if result.failed else EXIT_DONE


@commands.command()
@click.argument("scene")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The picture, a .png.  [default: SCENE_preview.png in this folder]"
)
@click.option("--window", metavar="COL,ROW,WIDTH,HEIGHT", help="Pixels to show.  [default: the most varied ones]")
@click.option("--size", type=int, default=512, show_default=True, help="Sides of the most varied window, in pixels.")
@click.option("--classes", metavar="N,N,…|auto", help="At how many classes.  [default: 4,8,16]")
@click.option(
    "--stage",
    type=click.Choice(["all", "scene", "superpixels", "classes"]),
    default="all",
    show_default=True,
    help="What to show.",
)
@click.option(
    "--animation",
    type=click.Path(path_type=Path),
    help="Also write a .gif: labels after 1, 2, 4, … steps from nothing.",
)
@click.option("--steps", type=int, help="Of the animation, at most.  [default: 128]")
@METHOD_OPTIONS
@DEVICE_OPTION
@click.option("--overwrite", is_flag=True, help="Replace earlier pictures.")
@DISPLAY_OPTIONS
def preview(scene: str, **options: Any) -> int:
    """Show a window of SCENE as picture, superpixels and classes, in seconds; the classes are those of the window."""
    from geoseg.cli.progress_bars import show
    from geoseg.preview.preview import preview_scene

    check_animation(options)
    window = _whole_numbers(options["window"], "--window", "0,0,512,512", n=4)
    auto = options["classes"] == "auto"
    levels = [] if auto else _whole_numbers(options["classes"], "--classes", "4,8,16") or []
    most = "auto" if auto else max(levels, default=None)
    names = ("size", "stage", "animation", "steps", "aoi", "overwrite", "device")
    with show(_display_mode(options)) as progress:
        _start_log(options)
        made = preview_scene(
            scene,
            options["out"],
            _config(options | {"classes": most}),
            window=window,
            classes="auto" if auto else levels,
            progress=progress,
            **{name: options[name] for name in names},
        )
        files, place = ", ".join(map(str, made.paths)), ",".join(map(str, made.window))
        progress.finish(f"window {place} in {made.seconds:.0f} s: {files}")
    return EXIT_DONE


@commands.command(hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def scene(arguments: tuple[str, ...]) -> int:
    """Refuse the former name of `synthetic`."""
    given = " ".join(arguments) or "OUT"
    raise click.UsageError(f"'geoseg scene' is now 'geoseg synthetic'; run: geoseg synthetic {given}")


@commands.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", default="4096x4096", show_default=True, metavar="COLSxROWS", help="Pixels.")
@click.option("--seed", type=int, default=1, show_default=True, help="Generate the scene from this seed.")
@click.option("--truth", type=click.Path(path_type=Path), help="Also write the true class of every pixel to this file.")
@click.option("--resolution", type=float, default=0.5, show_default=True, help="Metres per pixel.")
@click.option("--nir", is_flag=True, help="Add a near infrared band.")
@click.option("--dtype", type=click.Choice(["uint8", "uint16"]), default="uint8", show_default=True)
@click.option("--collar", is_flag=True, help="Leave an irregular margin of nodata.")
def synthetic(out: Path, size: str, truth: Path | None, **options: Any) -> int:
    """Write OUT, a synthetic aerial scene of any size, for demonstrations and tests."""
    from geoseg.synthetic.scene import SceneOptions, write_scene

    cols, _, rows = size.partition("x")
    if not (cols.isdecimal() and rows.isdecimal()):
        raise click.BadParameter(f"{size!r} is no size; write columns and rows as 4096x4096.", param_hint="--size")
    write_scene(out, SceneOptions(shape=(int(rows), int(cols)), **options), truth=truth)
    return EXIT_DONE


@commands.command()
@click.argument("classes")
@click.option("--reference", required=True, help="Raster of labels (0 = no label), or polygons.")
@click.option("--field", metavar="NAME", help="Of polygons: the number or word of each.  [default: inside or outside]")
@click.option("--layer", metavar="NAME", help="Of polygons, where the file has several.")
@click.option("--tolerance", type=float, metavar="METRES", help="Of the borders.  [default: 3 pixels]")
@click.option(
    "--tile-size",
    type=int,
    default=512,
    show_default=True,
    help="Count seams on the lines of tiles of this size.",
)
@click.option("--json", "report", metavar="FILE|-", help="Also write all figures as JSON; - = only that, to stdout.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier JSON file.")
def evaluate(classes: str, reference: str, tile_size: int, report: str | None, **options: Any) -> int:
    """Score CLASSES, a class raster, against a reference: accuracy, agreement, borders and seams."""
    from geoseg.evaluate.evaluate import evaluate_classes
    from geoseg.evaluate.report import check_report, to_json, write_report

    overwrite = options.pop("overwrite")
    target = None if report in (None, "-") else Path(str(report))
    if target is not None:
        check_report(target, (classes, reference), overwrite=overwrite)
    evaluation = evaluate_classes(classes, reference, tile_size=tile_size, **options)
    click.echo(to_json(evaluation) if report == "-" else str(evaluation))
    if target is not None:
        write_report(target, evaluation, overwrite=overwrite)
    return EXIT_DONE


@commands.command()
@click.argument("name", required=False)
def config(name: str | None) -> int:
    """List the named configurations, or print the one called NAME with its comments."""
    from geoseg.config import named_configs

    files = named_configs()
    if name is None:
        for each, file in files.items():
            summary = file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
            click.echo(f"{each:<14} {summary}")
        return EXIT_DONE
    if name not in files:
        message = f"{name!r} is not a named configuration; choose one of {', '.join(files)}."
        raise click.BadParameter(message, param_hint="NAME")
    click.echo(files[name].read_text(encoding="utf-8"), nl=False)
    return EXIT_DONE


def _run_options(options: dict[str, Any]) -> Any:
    from geoseg.run.plan import RunOptions

    return RunOptions(**{name: options[name] for name in RunOptions.__dataclass_fields__ if name in options})


def _cluster_options(options: dict[str, Any]) -> Any:
    from geoseg.run.executors import ClusterOptions

    check_cluster(options)
    names = ("workers", "scheduler", "scheduler_file", "dashboard")
    return ClusterOptions(**{name: options[name] for name in names})


def _nodata(text: str) -> Any:
    if text in ("file", "none"):
        return text
    if not text.strip().removeprefix("-").isdecimal():
        message = f"{text!r} is no label; write a whole number such as 0, or none."
        raise click.BadParameter(message, param_hint="--nodata")
    return int(text)


def _config(options: dict[str, Any]) -> Any:
    from geoseg.config import load_config

    config = load_config(
        options["config"] or _config_of_model(options.get("model")),
        bands=_whole_numbers(options["bands"], "--bands", "4,3,2"),
        red=options.get("red"),
        nir=options.get("nir"),
        method=options["method"],
        training=options["training"],
        tile_steps=options["tile_steps"],
        seed=options["seed"],
        tiles__size=options["tile_size"],
        tiles__halo=options["halo"],
        superpixels__method=options["superpixels"],
        classify__classes=options["classes"],
        polygons__min_pixels=options["min_pixels"],
        polygons__simplify=options.get("simplify"),  # the preview draws no polygons
        polygons__smooth=options.get("smooth"),
        polygons__max_vertices=options.get("max_vertices"),
        polygons__attributes=_words(options.get("attributes")),
    )
    check_halo(options, steps=config.steps if config.method == "backprop" else 0)
    return config


def _config_of_model(model: Path | None) -> dict[str, Any] | None:
    if model is None:
        return None
    from geoseg.output.model import load_model  # here, because a run without a model need not wait for it

    return load_model(model).config.to_dict()


def _whole_numbers(text: str | None, option: str, example: str, *, n: int | None = None) -> list[int] | None:
    """Return the numbers of a list such as `example`; there must be `n` of them, None = any number."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(parts) != (n or len(parts)):
        raise click.BadParameter(f"{text!r} is no list of numbers; write them as {example}.", param_hint=option)
    return [int(part) for part in parts]


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _display_mode(options: dict[str, Any]) -> str:
    """Return the display of --progress; --quiet means none and excludes every other choice."""
    if options["quiet"] and options["progress"] not in ("auto", "none"):
        raise click.UsageError(f"--quiet shows no progress, but --progress is {options['progress']}; leave out one.")
    return "none" if options["quiet"] else str(options["progress"])


def _start_log(options: dict[str, Any]) -> None:
    level = (
        logging.DEBUG if options["verbose"] else logging.ERROR if _display_mode(options) == "none" else logging.WARNING
    )
    logging.basicConfig(level=logging.WARNING, format="geoseg: %(message)s")
    logging.getLogger("geoseg").setLevel(level)
