"""The command ``geoseg synthetic``, and its former name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from cloup import argument, command, option, option_group

from geoseg.cli import options as shared
from geoseg.cli.parsing import EXIT_DONE, is_whole
from geoseg.config_parser import shown


@command()
@argument("out", **shared.FILE, help="The .tif file to write.")
@option_group("Output", option("--truth", **shared.FILE, help="Also write the class of every pixel to this .tif."))
@option_group(
    "Scene",
    option("--size", default="4096x4096", show_default=True, metavar="COLSxROWS", help="Write this many pixels."),
    option("--seed", type=int, default=1, show_default=True, help="Seed the random numbers."),
    option("--resolution", type=float, default=0.5, show_default=True, metavar="METRES", help="Set the pixel size."),
    option("--add-nir", "nir", is_flag=True, help="Add a near-infrared band."),
    option(
        "--dtype",
        type=click.Choice(["uint8", "uint16"]),
        default="uint8",
        show_default=True,
        help="Write pixels of this type.",
    ),
    option("--collar", is_flag=True, help="Leave an irregular margin of nodata."),
)
@option_group("Display", shared.VERBOSE)
def synthetic(out: Path, size: str, truth: Path | None, *, verbose: bool, **options: Any) -> int:  # noqa: ARG001 # it has a callback
    """Write OUT, a synthetic aerial scene of any size, for demonstrations and tests."""
    cols, _, rows = size.partition("x")
    if not (is_whole(cols) and is_whole(rows)):
        raise click.BadParameter(
            f"{shown(size)} is not a size; write columns and rows as 4096x4096.", param_hint="--size"
        )
    _run(out, truth, shape=(int(rows), int(cols)), **options)
    return EXIT_DONE


@command(hidden=True, context_settings={"ignore_unknown_options": True})
@argument("arguments", nargs=-1, type=click.UNPROCESSED)
def scene(arguments: tuple[str, ...]) -> int:
    """Refuse the former name of `synthetic`."""
    given = " ".join(arguments) or "OUT"
    raise click.UsageError(f"'geoseg scene' is now 'geoseg synthetic'; run: geoseg synthetic {given}")


def _run(out: Path, truth: Path | None, **options: Any) -> None:
    """Call the Python function behind the command."""
    from geoseg.synthetic.scene import SceneOptions, write_scene

    write_scene(out, SceneOptions(**options), truth=truth)
